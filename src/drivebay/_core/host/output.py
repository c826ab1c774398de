"""What a driver prints, as lines for whoever listens and as the last of it for whoever asks later.

Promises: a driver that prints without end costs a bounded amount of memory and of the listener's
time; what was left out is counted and said. Bytes that are no text are shown, never an error.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

RING_BYTES: Final = 1 << 20
LINE_BYTES: Final = 1 << 16
SECOND_BYTES: Final = 1 << 20
"""How much is handed to the listener in a second."""


class Output:
    """Collects what comes from a driver's stdout and stderr.

    Args:
        listener: is given each line without its end.
        clock: monotonic seconds.

    >>> lines = []
    >>> output = Output(lines.append)
    >>> output.add(b"one" + bytes([10]) + b"tw")
    >>> output.add(b"o")
    >>> output.finish()
    >>> lines
    ['one', 'two']
    """

    def __init__(
        self, listener: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._part = b""
        self._ring: deque[bytes] = deque()
        self._held = 0
        self._second = clock()
        self._given = 0
        self._left_out = 0
        self.dropped_bytes = 0
        """How much is no longer in :attr:`text`."""

    @property
    def text(self) -> str:
        """The last of it, at most 1 MiB."""
        return b"".join(self._ring).decode("utf-8", "backslashreplace")

    def add(self, data: bytes) -> None:
        """Take what was printed."""
        self._keep(data)
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines:
            self._give(line)
        while len(self._part) > LINE_BYTES:
            self._give(self._part[:LINE_BYTES])
            self._part = self._part[LINE_BYTES:]

    def finish(self) -> None:
        """No more will come: hand out what had no line end, and what was left out."""
        if self._part:
            self._give(self._part)
            self._part = b""
        self._say_left_out()

    def _keep(self, data: bytes) -> None:
        self._ring.append(data)
        self._held += len(data)
        while self._held > RING_BYTES:
            oldest = self._ring.popleft()
            self._held -= len(oldest)
            self.dropped_bytes += len(oldest)

    def _give(self, line: bytes) -> None:
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._given = now, 0
            self._say_left_out()
        if self._given + len(line) > SECOND_BYTES:
            self._left_out += 1
            return
        self._given += len(line) + 1
        self._listener(line.removesuffix(b"\r").decode("utf-8", "backslashreplace"))

    def _say_left_out(self) -> None:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            self._listener(f"({count:,} lines left out: more than 1 MiB in a second)")
