"""Recording while the instrument goes on: the disk works in a thread of its own.

Promises: a chunk is handed on only after it is on the disk, with what was said to the instrument
until then; chunks that come within 20 ms, or while the disk is busy, share one sync; the first
error of the store stops the recording, is told at once, and is raised by every later call. The end
is stored with or after the last chunk, or ``failed`` if the store failed. Never drops a chunk in
silence, and never keeps more than a few hundred in memory: then :meth:`Recorder.put` waits for the
disk. What it must leave out beside the chunks (traffic that came too fast, events without end) it
counts and says in an event.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from drivebay._core.errors import DrivebayError, RunError
from drivebay._core.runs import plain
from drivebay._core.runs.run import Run
from drivebay._core.runs.transcript import Block, Phase, blocks
from drivebay._core.runs.writer import (
    Beside,
    Event,
    PreparedChunk,
    RunDraft,
    RunWriter,
    check_values,
)

Heard = Sequence[tuple[int, str, bytes]]
"""Messages: nanoseconds on the monotonic clock, ``w`` or ``r``, bytes."""

Traffic = Callable[[], tuple[Heard, int]]
"""Gives what came since it was last called, and how many messages were missed."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One instrument of a measurement, as its record hears it.

    Attributes:
        traffic: asked for what was said to it and by it; from the recorder's thread. What came
            before the run began is left out.
        connected: what was said when its driver connected.
    """

    traffic: Traffic
    connected: Heard = ()


_MOST_WAITING: Final = 256
"""Chunks, each about a quarter of a second of measuring, that may wait for a slow disk."""


_GATHER_S: Final = 0.02
"""Least time from one sync to the next: too short for a person to see, and an instrument that gives
a thousand chunks a second keeps the disk no busier than one that gives fifty."""


_PACK_EVERY_S: Final = 0.002
_PACK_BYTES: Final = 8_192
"""How often it is looked, while a step waits, whether there is so much traffic to pack: to do that
between the chunks and not at the end keeps the end of a short sweep short."""

_LISTEN_S: Final = 0.25
"""Longest time between two looks at the traffic. The keeper holds 20,000 messages, so those of an
instrument that answers 80,000 times a second would be had."""

_MOST_EVENTS: Final = 10_000
"""Events of one run, beside begin and end: a driver that prints without end fills no disk."""

_MOST_TEXT: Final = 4_000


@dataclass(frozen=True, slots=True)
class _End:
    state: str
    reason: str | None
    values: Mapping[str, object]


class Recorder:
    """Keeps the chunks of one measurement; starts at once by publishing the run.

    Args:
        draft: the run.
        kept: called with each chunk, in order, once it is on the disk; from the recorder's thread.
        failed: called once with the error if the store fails before the end was asked for; from
            the recorder's thread. Must not raise.
        voices: the instruments, by what each is called in the run; one alone needs no name.
    """

    def __init__(
        self,
        draft: RunDraft,
        kept: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        voices: Mapping[str, Voice] | None = None,
    ) -> None:
        self.run_id = draft.id
        self._draft = draft
        self._kept = kept
        self._failed = failed
        self._voices = dict(voices or {})
        self._connected = {name: voice.connected for name, voice in self._voices.items()}
        # Not packed yet, by instrument.
        self._said: dict[str, list[tuple[int, str, bytes]]] = {name: [] for name in self._voices}
        self._packed: list[Block] = []  # not stored yet
        self._noted: deque[Event] = deque()  # its append and popleft are atomic
        self._events = 0
        self._events_left_out = 0
        self._work: queue.SimpleQueue[tuple[PreparedChunk, Any] | _End] = queue.SimpleQueue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._ending = threading.Event()
        self._ended = threading.Event()  # all is on the disk, or never will be
        self._open = threading.Event()  # the draft is a run, or will never be one
        self._writer: RunWriter | None = None
        self._run: Run | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._record, name=f"drivebay-{draft.id}")
        self._thread.start()

    @property
    def run(self) -> Run:
        """The run as it is on the disk now.

        Raises:
            StoreError: it could not be made.
        """
        return self._run or self._opened().run

    def put(self, chunk: Mapping[str, Any]) -> None:
        """Take one chunk, as it is now; returns before it is kept.

        Raises:
            RunError: the columns are not the run's.
            StoreError: the store has failed; this chunk is not kept.
        """
        prepared = self._draft.shape.prepare(chunk)
        self._room.acquire()
        if self._error is not None:
            raise self._error
        self._work.put((prepared, chunk))

    def note(self, kind: str, data: Any) -> None:
        """Note that something happened now; from any thread, waits for nobody, never raises."""
        self._events += 1
        if self._events > _MOST_EVENTS:
            self._events_left_out += 1
            return
        try:
            text = plain.to_text(data, kind)
        except RunError as exc:
            text = plain.to_text(str(exc), kind)
        if len(text) > _MOST_TEXT:
            text = plain.to_text(f"{text[:_MOST_TEXT]} (cut, {len(text)} characters)", kind)
        self._noted.append(Event(self._draft.shape.now_ns(), plain.spelt_out(kind), text))

    def finish(self, state: str, reason: str | None, values: Mapping[str, object]) -> Run:
        """Store what is left, the values and the end; return when all of it is on the disk.

        Raises:
            RunError: a value is no data; the run has ended as failed, with all its chunks.
            StoreError: the store has failed; the run has ended as failed if it could say so.
        """
        problem = None
        try:
            check_values(values)
        except RunError as exc:
            problem, values = exc, {}
            state, reason = "failed", f"{type(exc).__name__}: {exc}"
        self._work.put(_End(state, reason, values))
        self._ending.set()
        self._ended.wait()
        if problem is not None or self._error is not None:
            raise self._error or problem  # type: ignore[misc]  # one of them is none
        return self.run

    def _opened(self) -> RunWriter:
        self._open.wait()
        if self._writer is None:
            assert self._error is not None  # noqa: S101 - _record set one of the two
            raise self._error
        return self._writer

    # -- in the recorder's thread ------------------------------------------------------------------

    def _record(self) -> None:
        """Task root: an error becomes a value, which every call from outside raises."""
        try:
            self._writer = self._draft.open()
            self._open.set()
            # The first step makes the log, with a sync of its own: better now than at the end.
            self._writer.keep((), self._beside(last=False))
            self._keep_all(self._writer)
        except BaseException as exc:  # noqa: BLE001 - task root
            self._error = exc
            self._open.set()
            self._room.release(_MOST_WAITING)
            if not self._ending.is_set():
                self._failed(exc)
            self._ending.wait()
            self._end_as_failed(exc)
        finally:
            # All is on the disk, and whoever waits for the run has it; the rest is tidying.
            self._ended.set()
            if self._writer is not None:
                self._writer.fold()

    def _keep_all(self, writer: RunWriter) -> None:
        earliest_s = time.monotonic() + _GATHER_S
        end = None
        while end is None:
            batch, end = self._gathered(earliest_s)
            earliest_s = time.monotonic() + _GATHER_S
            prepared = [one for one, _ in batch]
            # Looked at after the chunks were taken: what was said to get them is stored with them.
            beside = self._beside(last=end is not None)
            if end is None:
                writer.keep(prepared, beside)
            else:
                self._run = writer.end(end.state, end.reason, end.values, prepared, beside)
            for _, chunk in batch:
                self._kept(chunk)
            if batch:
                self._room.release(len(batch))

    def _gathered(self, earliest_s: float) -> tuple[list[tuple[PreparedChunk, Any]], _End | None]:
        """Everything that has come, not before ``earliest_s`` or the end; nothing after a while."""
        batch: list[tuple[PreparedChunk, Any]] = []
        try:
            item = self._work.get(timeout=_LISTEN_S)
        except queue.Empty:
            return batch, None
        self._pass_time(earliest_s)
        while not isinstance(item, _End):
            batch.append(item)
            if self._work.empty():  # nobody else takes from it
                return batch, None
            item = self._work.get()
        return batch, item

    def _pass_time(self, until_s: float) -> None:
        """Wait for the next step, or the end; what was said meanwhile is packed already then."""
        while (left_s := until_s - time.monotonic()) > 0:
            if self._ending.wait(min(left_s, _PACK_EVERY_S)):
                return
            self._listen()
            if sum(len(data) for each in self._said.values() for _, _, data in each) >= _PACK_BYTES:
                self._pack_said()

    def _beside(self, *, last: bool) -> Beside:
        """What was said and what happened since this was last asked."""
        self._listen()
        self._pack_said()
        packed, self._packed = self._packed, []
        if last and self._events_left_out:
            left_out = {"events_left_out": self._events_left_out}
            text = plain.to_text(left_out, "events")
            self._noted.append(Event(self._draft.shape.now_ns(), "incomplete", text))
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        return Beside(packed, noted)

    def _listen(self) -> None:
        """Take what was said since this was last asked."""
        for name, voice in list(self._voices.items()):
            who = {"instrument": name} if name else {}
            try:
                heard, missed = voice.traffic()
            except DrivebayError as exc:
                # Its keeper is gone, and so is what it heard; the measurement hears of that itself.
                del self._voices[name]
                self.note("incomplete", {"transcript": f"{type(exc).__name__}: {exc}", **who})
                continue
            if missed:
                self.note("incomplete", {"messages_left_out": missed, **who})
            began_ns = self._draft.shape.started_ns
            self._said[name] += [each for each in heard if each[0] >= began_ns]

    def _pack_said(self) -> None:
        connected, self._connected = self._connected, {}
        said, self._said = self._said, {name: [] for name in self._said}
        began_ns = self._draft.shape.started_ns
        phases: tuple[tuple[Phase, Mapping[str, Heard]], ...] = (
            ("connect", connected),
            ("measure", said),
        )
        for phase, by_name in phases:
            for name, heard in by_name.items():
                since = [(at_ns - began_ns, way, data) for at_ns, way, data in heard]
                self._packed += blocks(phase, since, name)

    def _end_as_failed(self, error: BaseException) -> None:
        """Say in the run why it stops, where the disk still takes that."""
        if self._writer is None or self._writer.ended:
            return
        with contextlib.suppress(DrivebayError):
            self._writer.finish("failed", f"{type(error).__name__}: {error}")
