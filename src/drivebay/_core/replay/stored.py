"""From a stored run to its replay: what of the run is played, and whose code may run.

Promises: code that no plugin of this machine has runs only when somebody says so, because a run
file that was mailed holds somebody's program; a run that cannot be replayed says why.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from drivebay._core.errors import ForeignCodeError, LimitError, RunError, StoreError
from drivebay._core.replay.code import is_known
from drivebay._core.replay.engine import DEADLINE_S, replay
from drivebay._core.replay.recording import Message, Recording

if TYPE_CHECKING:
    from drivebay._core.replay.report import Replay
    from drivebay._core.runs import Run

_NS: Final = 1e9
_STOPPING_S: Final = 5.0
"""Longest that making an instrument safe takes."""


def recording_of(run: Run) -> Recording:
    """Take a recording out of a run.

    Raises:
        RunError: the run holds no transcript, as one of an older version, or that of several
            instruments.
        StoreError: a part of it is damaged, or is not what a run holds; the message names it.
    """
    try:
        return _recording_of(run)
    except (TypeError, ValueError, AttributeError) as exc:
        # Whole, by its checksums, and yet written by something else than Drivebay.
        raise StoreError(f"{run.path} holds what no run of Drivebay does: {exc}") from exc


def _recording_of(run: Run) -> Recording:
    if len(run.instruments) > 1:
        who = " and ".join(
            f"{name} ({dict(each.get('plugin') or {}).get('name', '?')})"
            for name, each in run.instruments.items()
        )
        raise RunError(
            f"run {run.id} was measured by {len(run.instruments)} instruments in step, {who}, and"
            " a replay is of one driver; its transcript says of each message whose it is"
        )
    messages = [Message(m.time_ns, m.phase, m.direction, m.data) for m in run.messages()]
    if not messages:
        raise RunError(f"run {run.id} holds no transcript, so there is nothing to replay it with")
    plugin = str(run.plugin.get("name", ""))
    sources = run.all_sources
    limits = run.limits or {}
    path = PurePath(str(run.provenance.get("plugin_path", "")))
    return Recording(
        plugin=plugin,
        sources=sources.pop(plugin, {}),
        sha256=str(run.plugin.get("sha256", "")),
        messages=messages,
        method=run.method,
        parameters=dict(run.parameters),
        resource=str(run.resource),
        identity={str(k): str(v) for k, v in dict(run.identity or {}).items()},
        idn=str(run.provenance.get("idn", "")),
        channels=run.bench.get("channels") or {},
        strict=bool(run.bench.get("strict")),
        source=str(run.bench.get("source") or ""),
        refused=_refused(run),
        limits={str(name): (float(low), float(high)) for name, (low, high) in limits.items()},
        config=run.provenance.get("config"),
        columns=run.columns,
        values=run.values,
        state=run.state,
        reason=run.reason,
        stopped_ns=_stopped_ns(run),
        began_s=datetime.fromisoformat(run.started_at).timestamp(),
        folder=path.parent.name,
        alias=_installed_as(path) if run.provenance.get("plugin_source") == "entry_point" else "",
        others=sources,
    )


def _refused(run: Run) -> list[str]:
    """What the limits did not let pass, as its driver was told.

    The refusal that ended a run is told to its record beside the end, and may come too late.
    """
    found = [str(data.get("text")) for _, kind, data in run.events if kind == "refused"]
    kind, _, text = (run.reason or "").partition(": ")
    if run.state == "failed" and kind == LimitError.__name__ and text not in found:
        found.append(text)
    return found


def _installed_as(path: PurePath) -> str:
    """The package that a plugin out of a wheel was in, by which its code may import itself.

    >>> _installed_as(PurePath("/venv/lib/python3.11/site-packages/acme/k1/plugin.yaml"))
    'acme.k1'
    """
    parts = path.parent.parts
    places = [at for at, part in enumerate(parts) if part in {"site-packages", "dist-packages"}]
    return ".".join(parts[places[-1] + 1 :]) if places else ""


def _stopped_ns(run: Run) -> int | None:
    """When somebody stopped it, as its events say; None where they do not.

    An abort is noted before anything is sent. Of what stops an instrument from outside (an
    emergency stop, a lease that ran out) the record has the end: there it is the first of the
    commands that made safe.
    """
    events = run.events
    aborts = [seconds for seconds, kind, _ in events if kind == "abort"]
    if aborts:
        return int(aborts[0] * _NS)
    safe = [(seconds, data) for seconds, kind, data in events if kind == "safe_state"]
    if not safe:
        return None
    seconds, data = safe[0]
    sent = {str(command).encode() for command in data.get("sent", ())}
    since_ns = (seconds - _STOPPING_S) * _NS
    return next(
        (
            message.time_ns
            for message in run.messages()
            if message.time_ns >= since_ns
            and message.direction == "w"
            and message.data.strip() in sent
        ),
        int(seconds * _NS),
    )


def replay_run(
    run: Run,
    code: str | Path | None = None,
    *,
    trust: bool = False,
    timeout_s: float = DEADLINE_S,
    home: Path | None = None,
) -> Replay:
    """Replay a run with the code stored in it, or with other code; nothing is sent anywhere.

    Args:
        run: the run, which has ended.
        code: a plugin's folder, file or name to run instead.
        trust: run the stored code though no plugin of this machine has it. A run file that
            somebody sent holds somebody's program, and it runs with your rights: a process of its
            own keeps its crashes away, not its intentions.
        timeout_s: total deadline; the code is ended then.
        home: where the user's plugins are; default ``DRIVEBAY_HOME``.

    Raises:
        ForeignCodeError: the stored code is not known here, and ``trust`` was not given.
        RunError: the run holds no transcript or no code, is still running, was measured by two
            instruments together, or its code is not what measured.
        StoreError: a part of the run is damaged.
        PluginError: the code cannot be loaded.
    """
    if run.state == "running":
        raise RunError(f"run {run.id} is still running; it can be replayed when it has ended")
    recording = recording_of(run)
    if code is None:
        recording.check_sources()
        if not trust and not is_known(recording.plugin, recording.sha256, home):
            raise ForeignCodeError(
                f"run {run.id} holds code of {recording.plugin!r} ({recording.sha256[:12]}) that no"
                " plugin here has, and a replay runs it with your rights",
                plugin=recording.plugin,
                sha256=recording.sha256,
            )
    return replace(replay(recording, code, timeout_s=timeout_s, home=home), run=run.id)
