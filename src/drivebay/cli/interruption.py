"""Ctrl-C while an instrument measures: the output goes off first, then the program ends.

Promises: the first signal aborts the measurement, which ends as ``AbortedError`` with its points
kept; another one, for a driver that does not listen, makes the instrument safe and leaves. The
signal handler only writes a byte to a pipe, because a lock of the link may be held by the very code
it interrupts.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from drivebay import Stream

# A closed terminal (HUP) and a supervisor (TERM) must not leave an output on either.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_PATIENCE_S: Final = 2.0
_GRACE_S: Final = 1.0
_END: Final = b"."


class StopRequest:
    """Whether somebody asked to stop.

    A request that comes before the measurement runs is heard by nobody; its reader looks here.

    Attributes:
        by: the signal's name, empty as long as nobody asked.
    """

    by = ""


@contextlib.contextmanager
def aborting(stream: Stream, give_up: Callable[[], None]) -> Iterator[StopRequest]:
    """While inside, a signal to stop aborts ``stream`` instead of killing the program.

    Args:
        stream: the measurement.
        give_up: called in a thread of its own when a second signal comes; does not return.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Only the main thread may handle signals, and only it receives them.
        return
    reader, writer = os.pipe()
    before: dict[int, Any] = {}

    def stop(number: int, _frame: FrameType | None) -> None:
        request.by = signal.Signals(number).name
        os.write(writer, b"x")

    def wait() -> None:
        if os.read(reader, 1) == _END:
            return
        stream.abort(request.by)
        if not select.select([reader], [], [], _PATIENCE_S)[0]:
            click.echo("waiting for the driver to stop; once more Ctrl-C gives up on it", err=True)
        if os.read(reader, 1) == _END:
            return
        # Two quick signals are one wish: an orderly end that is under way may finish.
        if select.select([reader], [], [], _GRACE_S)[0] and os.read(reader, 1) == _END:
            return
        give_up()

    waiting = threading.Thread(target=wait, name="drivebay-abort", daemon=True)
    waiting.start()
    try:
        for number in _SIGNALS:
            before[number] = signal.signal(number, stop)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writer, _END)
        waiting.join()
        os.close(reader)
        os.close(writer)
