"""Ctrl-C while an instrument measures: the output goes off first, then the program ends.

Promises: the first signal aborts the measurement, which ends as ``AbortedError`` with its points
kept; another one, for a driver that does not listen, leaves at once, and the keeper, which outlives
this process, makes the instrument safe. The signal handler only writes a byte to a pipe, because a
lock may be held by the very code it interrupts.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
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
_ONE_WISH_S: Final = 1.0
_END: Final = b"."


class StopRequest:
    """Whether somebody asked to stop.

    A request that comes before the measurement runs is heard by nobody; its reader looks here.

    Attributes:
        by: ``keyboard`` or the signal's name, empty as long as nobody asked.
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
        request.by = "keyboard" if number == signal.SIGINT else signal.Signals(number).name
        os.write(writer, b"x")

    def wait() -> None:
        if os.read(reader, 1) == _END:
            return
        asked_s = time.monotonic()
        # On a thread of its own: nothing that stopping may wait for delays the second signal.
        threading.Thread(target=_abort, args=(stream, request.by), daemon=True).start()
        if not select.select([reader], [], [], _PATIENCE_S)[0]:
            click.echo("waiting for the driver to stop; once more Ctrl-C leaves at once", err=True)
        if os.read(reader, 1) == _END:
            return
        # Two quick signals are one wish: an orderly end that is under way may finish.
        left_s = max(0.0, asked_s + _ONE_WISH_S - time.monotonic())
        if select.select([reader], [], [], left_s)[0] and os.read(reader, 1) == _END:
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


def _abort(stream: Stream, by: str) -> None:
    from drivebay import DrivebayError

    try:
        stream.abort(by)
    except DrivebayError as exc:
        click.echo(f"abort: {exc}", err=True)
