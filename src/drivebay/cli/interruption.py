"""Ctrl-C while an instrument measures: the output goes off first, then the program ends.

Promises: the first signal aborts the measurement, which ends as ``AbortedError`` with its points
kept; a second one interrupts the program itself. The signal handler only writes one byte to a pipe,
because a link's lock may be held by the very code it interrupts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from drivebay import Stream

# A closed terminal (HUP) and a supervisor (TERM) must not leave an output on either.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class StopRequest:
    """Whether somebody asked to stop.

    A request that comes before the measurement runs is heard by nobody; its reader looks here.
    """

    asked = False


@contextlib.contextmanager
def aborting(stream: Stream) -> Iterator[StopRequest]:
    """While inside, a signal to stop aborts ``stream`` instead of killing the program."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Only the main thread may handle signals, and only it receives them.
        return
    reader, writer = os.pipe()
    before: dict[int, Any] = {}

    def stop(number: int, _frame: FrameType | None) -> None:
        request.asked = True
        os.write(writer, b"x")
        # Whoever asks twice does not want to wait for the cleanup.
        signal.signal(number, signal.default_int_handler)

    def wait() -> None:
        if os.read(reader, 1) == b"x":
            stream.abort()

    waiting = threading.Thread(target=wait, name="drivebay-abort", daemon=True)
    waiting.start()
    try:
        for number in _SIGNALS:
            before[number] = signal.signal(number, stop)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writer, b".")
        waiting.join()
        os.close(reader)
        os.close(writer)
