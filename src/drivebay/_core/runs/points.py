"""Points one at a time from a program's own loop, in grouped commits.

Promises: :meth:`Points.add` never waits for the disk while it keeps up; a point is on the disk at
most the stated interval and one sync after ``add`` returned, so that is what a killed process or a
power cut can take; an error of the store is raised by the next call. Never drops a point in
silence, and never reorders any.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from drivebay._core.errors import DrivebayError, RunError
from drivebay._core.runs import fileformat

if TYPE_CHECKING:
    from drivebay._core.runs.writer import ChunkShape, PreparedChunk

SHORTEST_S: Final = 0.001
LONGEST_S: Final = 60.0

_MOST_WAITING: Final = 1_000_000
"""Points that may wait for a slow disk; then ``add`` waits too."""

_CHUNK_ROWS: Final = 65_536


class Points:
    """Takes points and commits them in groups. Made by :meth:`RunWriter.points`.

    One thread adds; the disk works in another. As a context manager it stores what is left; so
    does the end of the run.

    Attributes:
        every_s: longest time between two commits, which bounds what can be lost.
    """

    def __init__(
        self,
        keep: Callable[[Sequence[PreparedChunk]], None],
        shape: ChunkShape,
        every_s: float,
    ) -> None:
        if not SHORTEST_S <= every_s <= LONGEST_S:
            raise RunError(f"every_s {every_s!r} is not within {SHORTEST_S:g} to {LONGEST_S:g} s")
        if not shape.columns:
            raise RunError("points one at a time need a run whose columns were declared")
        self.every_s = every_s
        self._keep = keep
        self._shape = shape
        self._columns = shape.columns
        self._known: set[tuple[type, ...]] = set()  # types of values that were found fit
        self._waiting: deque[tuple[Any, ...]] = deque()  # its append and popleft are atomic
        self._error: BaseException | None = None
        self._closed = False
        self._wake = threading.Event()
        self._turn = threading.Condition()
        self._asked = 0  # flushes asked for, and of them those that are done
        self._done = 0
        # A program that forgets to close must still be able to end; it loses what it could lose
        # at any time.
        self._thread = threading.Thread(target=self._record, name="drivebay-points", daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        """Whether it takes points still."""
        return not self._closed

    def add(self, *values: Any) -> None:
        """Take one point: a value for each column, in the order of the columns.

        Raises:
            RunError: too few or too many values, or one that is not of its column's kind; or the
                run has ended.
            StoreError: the disk is full or gone; points of the last interval may not be kept.
        """
        if self._error is not None or self._closed:
            self._refuse()
        if tuple(map(type, values)) not in self._known:
            self._check(values)
        if len(self._waiting) >= _MOST_WAITING:
            self.flush()
        self._waiting.append(values)

    def flush(self) -> None:
        """Return when every point added before is on the disk. Raises: as :meth:`add`."""
        with self._turn:
            self._asked += 1
            mine = self._asked
            self._wake.set()
            self._turn.wait_for(lambda: self._done >= mine or self._error is not None)
        if self._error is not None:
            self._refuse()

    def close(self) -> None:
        """Store what is left and take no more; a second call does nothing. Raises: as ``add``."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._thread.join()
        if self._error is not None:
            self._refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _refuse(self) -> None:
        error = self._error
        if isinstance(error, DrivebayError):
            raise error
        if error is not None:
            text = f"a point could not be stored: {type(error).__name__}: {error}"
            raise RunError(text) from error
        raise RunError("no more points can be added: they were closed")

    def _check(self, values: tuple[Any, ...]) -> None:
        """Refuse a point that would spoil those it is stored with; remember types that are fit."""
        if len(values) != len(self._columns):
            names = ", ".join(column.name for column in self._columns)
            raise RunError(f"a point has {len(values)} values, the run has columns {names}")
        single = {c.name: value for c, value in zip(self._columns, values, strict=True)}
        rows, _ = fileformat.encode(self._columns, single)
        if rows != 1:
            raise RunError(f"a point is one number a column; got {rows} in each")
        # Only numbers of one size: two arrays of one type may be of different lengths.
        if all(getattr(value, "ndim", 0) == 0 for value in values):
            self._known.add(tuple(map(type, values)))

    # -- in the thread of the disk -----------------------------------------------------------------

    def _record(self) -> None:
        """Task root: an error becomes a value, which every call from outside raises."""
        try:
            while not self._closed:
                self._wake.wait(self.every_s)
                self._wake.clear()
                self._store()
            self._store()
        except BaseException as exc:  # noqa: BLE001 - task root
            with self._turn:
                self._error = exc
                self._turn.notify_all()

    def _store(self) -> None:
        with self._turn:
            asked = self._asked
        if self._waiting:
            self._keep([self._shape.prepare(chunk) for chunk in self._taken()])
        with self._turn:
            self._done = asked
            self._turn.notify_all()

    def _taken(self) -> Iterator[dict[str, Any]]:
        """What waits now, as chunks."""
        import numpy as np

        take = self._waiting.popleft
        left = len(self._waiting)
        while left:
            count = min(left, _CHUNK_ROWS)
            values = zip(*[take() for _ in range(count)], strict=True)
            yield {
                column.name: np.array(each, fileformat.dtype(column))
                for column, each in zip(self._columns, values, strict=True)
            }
            left -= count
