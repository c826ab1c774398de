"""Chunks on their way to whoever reads a measurement: the newest in memory, all of them on disk.

Promises: nothing that was kept is left out, in order, each once; whoever reads slowly makes nobody
wait and holds a few chunks in memory at most, for the older ones are read back from the run. Never
gives a chunk that is not on the disk.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from drivebay._core.runs import Run

if TYPE_CHECKING:
    from drivebay._core.contract.calling import Chunk

MOST_CHUNKS: Final = 64
"""So many are in memory at most: some quarter of a minute of a segmented sweep."""

MOST_BYTES: Final = 16 << 20
"""And so much, if it is more than one chunk."""


class Handover:
    """Between the thread that records and the one that reads.

    Args:
        run: gives the run that is being recorded.
    """

    def __init__(self, run: Callable[[], Run]) -> None:
        self._run = run
        self._news = threading.Condition()
        self._fresh: deque[tuple[int, int, Chunk]] = deque()  # number, bytes, chunk
        self._bytes = 0
        self._kept = 0  # chunks that the run has
        self._over = False

    def put(self, chunk: Chunk) -> None:
        """Take a chunk that is on the disk; never waits for the reader."""
        size = sum(getattr(values, "nbytes", 0) for values in chunk.values())
        with self._news:
            self._fresh.append((self._kept, size, chunk))
            self._bytes += size
            # A run has no chunks without rows. Such a one has the number of the next.
            self._kept += any(len(values) for values in chunk.values())
            while len(self._fresh) > 1 and (
                len(self._fresh) > MOST_CHUNKS or self._bytes > MOST_BYTES
            ):
                _, old, _ = self._fresh.popleft()
                self._bytes -= old
            self._news.notify()

    def end(self) -> None:
        """There will be no more."""
        with self._news:
            self._over = True
            self._news.notify()

    def chunks(self) -> Iterator[Chunk]:
        """Give every chunk as it is kept, until the end.

        Raises:
            StoreError: one that had left the memory cannot be read back.
        """
        wanted = 0
        while (found := self._next()) is not None:
            first, chunk = found
            if wanted < first:
                yield from self._from_disk(wanted, first)
            wanted = first + any(len(values) for values in chunk.values())
            yield chunk

    def _next(self) -> tuple[int, Chunk] | None:
        """The oldest that is in memory, taken out of it; None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._fresh or self._over)
            if not self._fresh:
                return None
            number, size, chunk = self._fresh.popleft()
            self._bytes -= size
            return number, chunk

    def _from_disk(self, first: int, end: int) -> Iterator[Chunk]:
        for number, chunk in enumerate(self._run().chunks(first), first):
            if number == end:
                return
            yield chunk
