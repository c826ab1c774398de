"""Run a driver against a recording instead of an instrument, and say what is not as recorded.

Promises: the code runs in a process of its own with the limits of every driver and a total
deadline; whatever it does, a report or a DrivebayError comes of it in that time. What passes is
compared in this process, where that code cannot reach. No instrument is opened, nothing is kept.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from drivebay._core.errors import (
    DrivebayError,
    DriverCrashedError,
    DriverError,
    DriverHungError,
)
from drivebay._core.host import Code, Host, Limits
from drivebay._core.replay.code import named_code, stored_code
from drivebay._core.replay.desk import Desk
from drivebay._core.replay.judging import Judge, judge_of
from drivebay._core.replay.player import Difference, PlayedLink, ReplayClock, first_difference
from drivebay._core.replay.points import ColumnDifference, compared, joined
from drivebay._core.replay.recording import CONNECT, MEASURE, Message, Recording
from drivebay._core.replay.report import Replay
from drivebay._core.runs import plain
from drivebay._core.session import narrowed, ranges_for

if TYPE_CHECKING:
    from drivebay._core.loader import Generation

DEADLINE_S: Final = 120.0
_OTHER_RATE: Final = 1.5
_SPARE_ROWS: Final = 100_000
_MOST_OUTPUT: Final = 200
_CONTRACT: Final = "/_core/contract/"
_TALKING: Final = ("/conversation.py", "/scpi.py", "/calling.py", "/readout.py")
_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+) in (\S+)')


def replay(
    recording: Recording,
    code: str | Path | None = None,
    *,
    timeout_s: float = DEADLINE_S,
    limits: Limits | None = None,
    home: Path | None = None,
) -> Replay:
    """Replay a recording.

    Args:
        recording: what was measured.
        code: a plugin's folder, file or name; None for the recording's own files.
        timeout_s: total deadline of the driver's run.
        limits: what its process may use.
        home: where the user's plugins are.

    Raises:
        RunError: the recording's code is not what measured.
        PluginError: the code cannot be loaded.
    """
    source: AbstractContextManager[Generation]
    source = stored_code(recording) if code is None else named_code(code, home)
    with source as generation:
        played = Pass(recording, generation, limits or Limits(), timeout_s).play()
        points = _points(recording, played)
        clock_columns: list[str] = []
        if points and played.link.difference is None and played.error is None:
            # What another clock changes came from the clock, and could never be equal.
            again = Pass(recording, generation, limits or Limits(), timeout_s, _OTHER_RATE).play()
            clock_columns = [each.column for each in compared(played.columns, again.columns)]
            points = [each for each in points if each.column not in clock_columns]
        return _report(recording, generation, played, points, clock_columns, stored=code is None)


@dataclass
class Played:
    """What one pass gave."""

    link: PlayedLink
    judge: Judge = field(default_factory=Judge)
    columns: Mapping[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    error: DrivebayError | None = None
    output: list[str] = field(default_factory=list)


class Pass:
    """One run of the code from its connecting to its end."""

    def __init__(
        self,
        recording: Recording,
        generation: Generation,
        limits: Limits,
        timeout_s: float,
        rate: float = 1.0,
        clock: ReplayClock | None = None,
    ) -> None:
        self.recording = recording
        self.generation = generation
        self.limits = limits
        self.timeout_s = timeout_s
        self.clock = clock or ReplayClock(recording.began_s, rate)
        self.judge = judge_of(recording, generation.metadata)
        self.link = PlayedLink(
            recording.resource, recording.idn, self.clock, self._where, self.judge
        )
        self.late = False
        self._host: Host | None = None

    def play(self) -> Played:
        """Run it; whatever the driver raised is in the result."""
        played = Played(self.link, self.judge)
        chunks: list[Mapping[str, Any]] = []
        try:
            with self.opened(played.output):
                self._measure(chunks, played.values)
        except DrivebayError as exc:
            played.error = self.timely(exc)
        if self.recording.state == "done" and played.error is None:
            self.link.end()
        played.columns = joined(chunks)
        return played

    @contextmanager
    def opened(self, output: list[str]) -> Iterator[None]:
        """Start the driver's process and connect it; ended when the context is left.

        Args:
            output: gets what it prints and logs.

        Raises:
            DrivebayError: what the driver raised, or what became of its process.
        """
        metadata = self.generation.metadata
        with Desk(self.link, self.clock) as desk:
            try:
                self._host = host = Host.start(
                    metadata.name,
                    metadata.version,
                    limits=self.limits,
                    on_output=lambda line: _keep(output, line),
                    on_log=lambda name, level, text: _keep(output, text),
                )
                with self._deadline(host):
                    self._connect(host, desk.grant)
                    yield
            finally:
                if self._host is not None:
                    self._host.close(0.0)

    @property
    def host(self) -> Host:
        """The process of the driver, once it was opened."""
        assert self._host is not None  # noqa: S101 - opened made it
        return self._host

    def begin(self) -> None:
        """Begin with the measurement's part of the recording."""
        self.link.play(
            MEASURE, self.recording.measured, strict=True, stop_ns=_stop_ns(self.recording)
        )

    def _connect(self, host: Host, grant: Mapping[str, Any]) -> None:
        code = Code(self.generation.plan, self.generation.metadata, self.generation.files)
        uses = [Code(g.plan, g.metadata, g.files) for g in self.generation.needs()]
        loaded = host.load(code, uses, kept=grant)
        link = {"kept": grant} if loaded.scpi else None
        connected = self.recording.connected
        self.link.play(CONNECT, connected, strict=False)
        recording = self.recording
        host.create(recording.resource, recording.config, ranges=self._ranges(), link=link)
        host.connect()
        if connected:
            self.link.difference = _connect_difference(connected, self.link.sent)

    def _ranges(self) -> dict[str, Any] | None:
        """Within what the parameters must lie: of the instrument, narrowed by the bench."""
        model = self.recording.identity.get("model", "")
        ranges = ranges_for(self.generation.metadata, model)
        limits = self.recording.limits
        source = self.recording.source or "the bench of the run"
        return narrowed(ranges, limits, source) if limits else ranges

    def _measure(self, chunks: list[Mapping[str, Any]], values: dict[str, Any]) -> None:
        recording, host = self.recording, self.host
        most = 2 * max((len(each) for each in recording.columns.values()), default=0) + _SPARE_ROWS
        self.begin()
        rows = 0
        with closing(host.stream(recording.method, recording.parameters, values)) as stream:
            for chunk in stream:
                chunks.append(chunk)
                rows += max((getattr(each, "size", 1) for each in chunk.values()), default=0)
                if rows > most:
                    name = self.generation.metadata.name
                    text = f"{name}: {rows:,} points, far more than were recorded; it was stopped"
                    raise DriverError(text, plugin=name)

    @contextmanager
    def _deadline(self, host: Host) -> Iterator[None]:
        def end() -> None:
            self.late = True
            host.kill_now()

        timer = threading.Timer(self.timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def timely(self, exc: DrivebayError) -> DrivebayError:
        """The error, or that the deadline had come where that is why the process died."""
        if not self.late or not isinstance(exc, DriverCrashedError):
            return exc
        metadata = self.generation.metadata
        return DriverHungError(
            f"{metadata.name} {metadata.version}: the replay was not over after"
            f" {self.timeout_s:g} s and was ended",
            plugin=metadata.name,
            resource=self.recording.resource,
            traceback=exc.traceback,
            version=metadata.version,
            method=self.recording.method,
            waited_s=self.timeout_s,
        )

    def _where(self) -> tuple[str, ...]:
        """The driver's lines that run now, innermost first; called while it waits for the link.

        Where none of its own do (a base class sends what its hooks gave), those of its base class.
        """
        if self._host is None:
            return ()
        frames = _FRAME.findall(self._host.where())
        home = self.generation.files.home.rstrip("/") + "/"
        own = [
            f"{path.removeprefix(home)}:{line} in {name}"
            for path, line, name in frames
            if path.startswith(home)
        ]
        based = [
            f"drivebay{_CONTRACT}{path.rpartition('/')[2]}:{line} in {name}"
            for path, line, name in frames
            if _CONTRACT in path and not path.endswith(_TALKING)
        ]
        return tuple(own or based)


def _keep(output: list[str], line: str) -> None:
    if len(output) < _MOST_OUTPUT:
        output.append(line)


def _stop_ns(recording: Recording) -> int | None:
    """From when on the recorded traffic is not the driver's any more; None if it all is."""
    if recording.state == "aborted" and recording.stopped_ns is not None:
        return recording.stopped_ns
    if recording.state in {"aborted", "interrupted"}:
        # When is not known: it is at the end of what was recorded at the latest.
        return max((each.time_ns for each in recording.messages), default=0) + 1
    return None


def _connect_difference(recorded: list[Message], sent: list[Message]) -> Difference | None:
    """Compare the driver's connecting with that part of the recording.

    What else was asked when the instrument was opened (who it is, so that a plugin could be chosen)
    stands before or after it there, so the driver's part may begin and end anywhere.
    """
    old = [(each.direction, each.data) for each in recorded]
    new = [(each.direction, each.data) for each in sent]
    size = len(new)
    if any(old[at : at + size] == new for at in range(len(old) - size + 1)):
        return None
    # The place where most of it fits; there the first message that does not is named.
    fits = [_fit(old[at:], new) for at in range(len(old) + 1)]
    start = max(range(len(fits)), key=lambda at: (fits[at], at))
    place = start + fits[start]
    way, expected = old[place] if place < len(old) else ("", b"")
    got = new[fits[start]][1] if fits[start] < size else b""
    kind = "more" if not way else "bytes" if got else "less"
    offset = first_difference(expected, got) if kind == "bytes" else 0
    return Difference(CONNECT, place + 1, way, offset, expected, got, kind)


def _fit(old: list[tuple[Any, bytes]], new: list[tuple[Any, bytes]]) -> int:
    count = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        count += 1
    return count


def _points(recording: Recording, played: Played) -> list[ColumnDifference]:
    ended = recording.state == "done" and played.error is None
    names = set(recording.values)
    replayed = {name: each for name, each in played.columns.items() if name not in names}
    return compared(recording.columns, replayed, ended=ended)


def _values(recording: Recording, played: Played) -> list[str]:
    """Names of the other results that are not the recorded ones."""
    if recording.state != "done" or played.error is not None:
        return []  # they come with the end of a measurement
    old = {name: plain.to_text(value, name) for name, value in recording.values.items()}
    new = {name: plain.to_text(value, name) for name, value in played.values.items()}
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def _report(
    recording: Recording,
    generation: Generation,
    played: Played,
    points: list[ColumnDifference],
    clock_columns: list[str],
    *,
    stored: bool,
) -> Replay:
    metadata = generation.metadata
    link = played.link
    return Replay(
        run="",
        plugin={
            "name": metadata.name,
            "version": metadata.version,
            "sha256": generation.sha256,
            "stored": stored,
        },
        traffic=link.difference,
        points=points,
        values=_values(recording, played),
        error=played.error,
        same_end=same_end(recording, played),
        clock_columns=clock_columns,
        recorded=recording.messages,
        replayed=link.sent,
        columns=played.columns,
        refusals=tuple(played.judge.refusals),
        same_refusals=_same_refusals(recording, played),
        guesses=link.guesses,
        unanswered=link.unanswered,
        left=len(link.left) if link.difference is None else 0,
        rows=max((len(each) for each in played.columns.values()), default=0),
        output=played.output,
    )


def _same_refusals(recording: Recording, played: Played) -> bool:
    """Whether the limits refused what they refused in the run; not asked where it was stopped."""
    found = [each.text for each in played.judge.refusals]
    if recording.state in {"done", "failed"}:
        return found == list(recording.refused)
    return found == list(recording.refused)[: len(found)]


def same_end(recording: Recording, played: Played) -> bool:
    """Whether it ended as the run did."""
    if recording.state == "done":
        return played.error is None
    if recording.state == "failed":
        kind = (recording.reason or "").partition(":")[0]
        return played.error is not None and type(played.error).__name__ == kind
    return played.link.stopped
