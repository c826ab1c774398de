"""The replay of a run by two instruments: both drivers against what each was told, in step.

Promises: the drivers are led by the same order as in the measurement (``pacing``); each is compared
with its own part of the transcript, and a difference says whose it is. Time is one for both, the
recording's; ``time_s`` was the owner's own clock and is not compared. Otherwise as ``engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from drivebay._core.contract.readout import check_chunk
from drivebay._core.errors import DrivebayError, RunError
from drivebay._core.host import Limits
from drivebay._core.methods import STANDARD, validate
from drivebay._core.pacing import Curves, Pace, paced
from drivebay._core.replay.code import named_code, stored_code
from drivebay._core.replay.engine import DEADLINE_S, Pass, Played, same_end
from drivebay._core.replay.player import Difference, ReplayClock
from drivebay._core.replay.points import compared, joined
from drivebay._core.replay.recording import Recording
from drivebay._core.replay.report import Replay

if TYPE_CHECKING:
    from drivebay._core.loader import Generation

_CLOCK_COLUMN: Final = "time_s"


@dataclass(frozen=True)
class PairRecording:
    """One measurement by two instruments, ready to be replayed.

    Attributes:
        parts: ``gate`` and ``drain``: what each driver was, and the traffic of its instrument.
        whole: the measurement, with the traffic of both in the order of its times.
    """

    parts: Mapping[str, Recording]
    whole: Recording


def replay_both(
    recording: PairRecording,
    code: str | Path | None = None,
    *,
    timeout_s: float = DEADLINE_S,
    limits: Limits | None = None,
    home: Path | None = None,
) -> Replay:
    """Replay a measurement by two instruments.

    Args:
        recording: what was measured.
        code: a plugin's folder, file or name, to run in the place of the driver of that name, or of
            both where both had one; None for the recording's own files.
        timeout_s: total deadline of the drivers' run.
        limits: what each of their processes may use.
        home: where the user's plugins are.

    Raises:
        RunError: the recording's code is not what measured, or ``code`` is for neither of the two.
        PluginError: the code cannot be loaded.
    """
    with _generations(recording, code, home) as running:
        clock = ReplayClock(recording.whole.began_s)
        passes = {
            name: Pass(part, running[name], limits or Limits(), timeout_s, clock=clock)
            for name, part in recording.parts.items()
        }
        error, columns, output = _play(recording, passes)
    return _report(recording, passes, error, columns, output, stored=code is None)


@contextmanager
def _generations(
    recording: PairRecording, code: str | Path | None, home: Path | None
) -> Iterator[dict[str, Generation]]:
    """The code that runs at each place."""
    with ExitStack() as stack:
        plugins = {name: part.plugin for name, part in recording.parts.items()}
        named = None if code is None else stack.enter_context(named_code(code, home))
        taken = set(plugins) if named is not None and len(set(plugins.values())) == 1 else set()
        if named is not None:
            taken |= {name for name, plugin in plugins.items() if plugin == named.metadata.name}
            if not taken:
                raise RunError(
                    f"{named.metadata.name!r} is neither of the drivers that measured:"
                    f" {', '.join(f'{plugin!r} at the {name}' for name, plugin in plugins.items())}"
                )
        found: dict[str, Generation] = {}
        for name, part in recording.parts.items():
            if named is not None and name in taken:
                found[name] = named
            else:
                found[name] = stack.enter_context(stored_code(part))
        yield found


def _play(
    recording: PairRecording, passes: Mapping[str, Pass]
) -> tuple[DrivebayError | None, Mapping[str, Any], list[str]]:
    """Run both drivers through the curves; whatever they raised is the error."""
    whole = recording.whole
    spec = STANDARD[whole.method]
    chunks: list[Mapping[str, Any]] = []
    output: list[str] = []
    error: DrivebayError | None = None
    current: Pass | None = None

    def caller(one: Pass) -> Callable[..., Any]:
        def call(method: str, *args: Any) -> Any:
            nonlocal current
            current = one
            return one.host.call(method, *args)

        return call

    with ExitStack() as stack:
        try:
            for one in passes.values():
                current = one
                stack.enter_context(one.opened(output))
            p = cast("Curves", validate(spec, whole.parameters))
            for one in passes.values():
                one.begin()
            gate, drain = passes["gate"], passes["drain"]
            pace = Pace(gate.clock.elapse, now_s=lambda: gate.clock.now_s)
            for chunk in paced(p, caller(gate), caller(drain), pace):
                chunks.append(check_chunk(spec, chunk, whole.method))  # noqa: PERF401 - some stay
        except DrivebayError as exc:
            error = exc if current is None else current.timely(exc)
    if whole.state == "done" and error is None:
        for one in passes.values():
            one.link.end()
    return error, joined(chunks), output


def _report(
    recording: PairRecording,
    passes: Mapping[str, Pass],
    error: DrivebayError | None,
    columns: Mapping[str, Any],
    output: list[str],
    *,
    stored: bool,
) -> Replay:
    whole = recording.whole
    links = {name: one.link for name, one in passes.items()}
    played = Played(next(iter(links.values())), columns=columns, error=error)
    stopped = any(link.stopped for link in links.values())
    ended = whole.state == "done" and error is None
    points = compared(whole.columns, columns, ended=ended)
    refused = [each for one in passes.values() for each in one.judge.refusals]
    sent = [
        message._replace(instrument=name) for name, link in links.items() for message in link.sent
    ]
    difference = _first_difference(recording, passes)
    return Replay(
        run="",
        plugin={**_code(passes), "stored": stored},
        traffic=difference,
        points=[each for each in points if each.column != _CLOCK_COLUMN],
        values=[],
        error=error,
        same_end=stopped if whole.state in {"aborted", "interrupted"} else same_end(whole, played),
        clock_columns=[_CLOCK_COLUMN],
        recorded=whole.messages,
        replayed=sorted(sent, key=lambda message: (message.phase != "connect", message.time_ns)),
        columns=columns,
        refusals=tuple(refused),
        same_refusals=sorted(each.text for each in refused) == sorted(whole.refused),
        guesses=sum(link.guesses for link in links.values()),
        unanswered=[each for link in links.values() for each in link.unanswered],
        left=sum(len(link.left) for link in links.values()) if difference is None else 0,
        rows=max((len(each) for each in columns.values()), default=0),
        output=output,
    )


def _first_difference(recording: PairRecording, passes: Mapping[str, Pass]) -> Difference | None:
    """The one of them at the earliest place of the recording."""
    found = []
    for name, one in passes.items():
        difference = one.link.difference
        if difference is None:
            continue
        phase = [m for m in recording.parts[name].messages if m.phase == difference.phase]
        place = phase[difference.number - 1].time_ns if difference.number <= len(phase) else None
        last = recording.whole.messages[-1].time_ns
        found.append((last if place is None else place, replace(difference, instrument=name)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _code(passes: Mapping[str, Pass]) -> dict[str, str]:
    """Name, version and hash of what ran; of two that differ, both."""
    facts = [
        (one.generation.metadata.name, one.generation.metadata.version, one.generation.sha256)
        for one in passes.values()
    ]
    if len(set(facts)) == 1:
        return dict(zip(("name", "version", "sha256"), facts[0], strict=True))
    return {
        key: " and ".join(each)
        for key, each in zip(("name", "version", "sha256"), zip(*facts, strict=True), strict=True)
    }
