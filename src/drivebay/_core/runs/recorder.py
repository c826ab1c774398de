"""Recording while the instrument goes on: the disk works in a thread of its own.

Promises: a chunk is handed on only after it is on the disk; chunks that come within 20 ms, or while
the disk is busy, share one sync; the first error of the store stops the recording, is told at once,
and is raised by every later call. The end is stored with or after the last chunk, or ``failed`` if
the store failed. Never drops a chunk in silence, and never keeps more than a few hundred in memory:
then :meth:`Recorder.put` waits for the disk.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from drivebay._core.errors import DrivebayError, RunError
from drivebay._core.runs.run import Run
from drivebay._core.runs.writer import PreparedChunk, RunDraft, RunWriter, check_values

_MOST_WAITING: Final = 256
"""Chunks, each about a quarter of a second of measuring, that may wait for a slow disk."""


_GATHER_S: Final = 0.02
"""Least time from one sync to the next: too short for a person to see, and an instrument that gives
a thousand chunks a second keeps the disk no busier than one that gives fifty."""


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
    """

    def __init__(
        self,
        draft: RunDraft,
        kept: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.run_id = draft.id
        self._draft = draft
        self._kept = kept
        self._failed = failed
        self._work: queue.SimpleQueue[tuple[PreparedChunk, Any] | _End] = queue.SimpleQueue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._ending = threading.Event()
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
        self._thread.join()
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
            self._keep_all(self._writer)
        except BaseException as exc:  # noqa: BLE001 - task root
            self._error = exc
            self._open.set()
            self._room.release(_MOST_WAITING)
            if not self._ending.is_set():
                self._failed(exc)
            self._ending.wait()
            self._end_as_failed(exc)

    def _keep_all(self, writer: RunWriter) -> None:
        earliest_s = time.monotonic() + _GATHER_S
        end = None
        while end is None:
            batch, end = self._gathered(earliest_s)
            earliest_s = time.monotonic() + _GATHER_S
            prepared = [one for one, _ in batch]
            if end is None:
                writer.keep(prepared)
            else:
                self._run = writer.finish(end.state, end.reason, end.values, prepared)
            for _, chunk in batch:
                self._kept(chunk)
            if batch:
                self._room.release(len(batch))

    def _gathered(self, earliest_s: float) -> tuple[list[tuple[PreparedChunk, Any]], _End | None]:
        """Everything that has come, at least one thing; not before ``earliest_s`` or the end."""
        batch: list[tuple[PreparedChunk, Any]] = []
        item = self._work.get()
        self._ending.wait(max(0.0, earliest_s - time.monotonic()))
        while not isinstance(item, _End):
            batch.append(item)
            if self._work.empty():  # nobody else takes from it
                return batch, None
            item = self._work.get()
        return batch, item

    def _end_as_failed(self, error: BaseException) -> None:
        """Say in the run why it stops, where the disk still takes that."""
        if self._writer is None or self._writer.ended:
            return
        with contextlib.suppress(DrivebayError):
            self._writer.finish("failed", f"{type(error).__name__}: {error}")
