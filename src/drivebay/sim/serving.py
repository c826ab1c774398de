"""Serving from a process of its own until told to stop: end of input, SIGTERM, SIGINT.

Promises: nothing but what the caller writes goes to standard output, and that is flushed, so that a
program can start a simulator and read its address. Never ends the process by itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import AbstractContextManager
from types import FrameType


class Stop:
    """Set when the process is told to end; made before anything is started.

    Attributes:
        told: the event.
    """

    def __init__(self) -> None:
        """Takes SIGTERM and SIGINT, where this thread may."""
        self.told = threading.Event()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._stopped)
            signal.signal(signal.SIGINT, self._stopped)

    def serve(self, server: AbstractContextManager[object], ready: str, ignore_input: bool) -> None:
        """Says that it is ready and serves until told to stop.

        Args:
            server: what was started already; it is stopped at the end.
            ready: what standard output gets.
            ignore_input: whether the end of standard input is nothing to it.
        """
        try:
            sys.stdout.write(ready)
            sys.stdout.flush()
            # A terminal is no pipe of a program that started us, and reading it stops a
            # background job.
            if not ignore_input and not (sys.stdin and sys.stdin.isatty()):
                threading.Thread(target=self._wait_for_end_of_input, daemon=True).start()
            self.told.wait()
        finally:
            server.__exit__(None, None, None)

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        self.told.set()

    def _wait_for_end_of_input(self) -> None:
        """Ends at the end of standard input; a program without one runs until it is told."""
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            return
        self.told.set()
