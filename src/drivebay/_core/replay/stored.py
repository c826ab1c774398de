"""From a stored run to its replay: what of the run is played, and whose code may run.

Promises: code that no plugin of this machine has runs only when somebody says so, because a run
file that was mailed holds somebody's program; a run that cannot be replayed says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, TypeVar

from drivebay._core.errors import ForeignCodeError, LimitError, RunError, StoreError
from drivebay._core.replay.both import PairRecording, replay_both
from drivebay._core.replay.code import is_known
from drivebay._core.replay.engine import DEADLINE_S, replay
from drivebay._core.replay.recording import Message, Recording

if TYPE_CHECKING:
    from drivebay._core.replay.report import Replay
    from drivebay._core.runs import Run

_Taken = TypeVar("_Taken")

_NS: Final = 1e9
_STOPPING_S: Final = 5.0
"""Longest that making an instrument safe takes."""


def recording_of(run: Run) -> Recording:
    """Take a recording out of a run.

    Raises:
        RunError: the run holds no transcript, as one of an older version.
        StoreError: a part of it is damaged, or is not what a run holds; the message names it.
    """
    return _checked(run, _recording_of)


def both_recordings_of(run: Run) -> PairRecording:
    """Take the recordings of both instruments out of a run by two. Raises: as above."""
    return _checked(run, _both_recordings_of)


def _checked(run: Run, take: Callable[[Run], _Taken]) -> _Taken:
    try:
        return take(run)
    except (TypeError, ValueError, AttributeError, KeyError) as exc:
        if isinstance(exc, RunError | StoreError):
            raise
        # Whole, by its checksums, and yet written by something else than Drivebay.
        raise StoreError(f"{run.path} holds what no run of Drivebay does: {exc}") from exc


def _both_recordings_of(run: Run) -> PairRecording:
    whole = _recording_of(run)
    sources = run.all_sources
    parts = {}
    for name in ("gate", "drain"):
        each = run.instruments[name]
        plugin, bench = dict(each["plugin"]), dict(each["bench"])
        others = {key: files for key, files in sources.items() if key != plugin["name"]}
        parts[name] = replace(
            whole,
            plugin=str(plugin["name"]),
            sources=sources.get(str(plugin["name"]), {}),
            sha256=str(plugin["sha256"]),
            others=others,
            messages=[message for message in whole.messages if message.instrument == name],
            resource=str(each["resource"]),
            identity={str(k): str(v) for k, v in dict(each["identity"] or {}).items()},
            idn=str(each["idn"]),
            config=each["config"],
            folder="" if plugin["name"] != whole.plugin else whole.folder,
            alias="" if plugin["name"] != whole.plugin else whole.alias,
            **_limits(bench),
        )
    return PairRecording(parts, whole)


def _limits(bench: Mapping[str, Any]) -> dict[str, Any]:
    limits = bench.get("limits") or {}
    return {
        "limits": {str(name): (float(low), float(high)) for name, (low, high) in limits.items()},
        "channels": bench.get("channels") or {},
        "strict": bool(bench.get("strict")),
        "source": str(bench.get("source") or ""),
    }


def _recording_of(run: Run) -> Recording:
    messages = [
        Message(m.time_ns, m.phase, m.direction, m.data, m.instrument) for m in run.messages()
    ]
    if not messages:
        raise RunError(f"run {run.id} holds no transcript, so there is nothing to replay it with")
    plugin = str(run.plugin.get("name", ""))
    sources = run.all_sources
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
        **_limits(run.bench),
        refused=_refused(run),
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
    pair = both_recordings_of(run) if run.instruments else None
    recording = recording_of(run) if pair is None else pair.whole
    if code is None or pair is not None:
        for part in (recording,) if pair is None else pair.parts.values():
            part.check_sources()
            if not trust and code is None and not is_known(part.plugin, part.sha256, home):
                raise ForeignCodeError(
                    f"run {run.id} holds code of {part.plugin!r} ({part.sha256[:12]}) that no"
                    " plugin here has, and a replay runs it with your rights",
                    plugin=part.plugin,
                    sha256=part.sha256,
                )
    if pair is not None:
        return replace(replay_both(pair, code, timeout_s=timeout_s, home=home), run=run.id)
    return replace(replay(recording, code, timeout_s=timeout_s, home=home), run=run.id)
