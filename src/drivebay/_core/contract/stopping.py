"""Asking a measurement to stop, from any thread, and its being told exactly once.

Promises: a request made while a measurement runs reaches it as one ``AbortedError``; one made while
none runs is forgotten, and never stops the next measurement. Holds no link and waits on none.
"""

from __future__ import annotations

import threading

from drivebay._core.errors import AbortedError


class StopSign:
    """Whether the running measurement has been asked to stop, and whether it knows."""

    __slots__ = ("_asked", "_lock", "_running", "_told")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._running = False
        self._told = False

    def begin(self) -> bool:
        """A measurement starts; False if one is running already."""
        with self._lock:
            if self._running:
                return False
            self._running, self._told = True, False
            self._asked.clear()
            return True

    def end(self) -> None:
        """The measurement has ended, however."""
        with self._lock:
            self._running = False

    @property
    def running(self) -> bool:
        """Whether a measurement is going on."""
        return self._running

    @property
    def asked(self) -> bool:
        """Whether the measurement that runs, or ran last, was asked to stop."""
        return self._asked.is_set()

    @property
    def pending(self) -> bool:
        """Whether a running measurement was asked to stop and has not been told."""
        return self._running and self._asked.is_set() and not self._told

    def ask(self) -> bool:
        """Ask it to stop; False if nothing is running."""
        with self._lock:
            if self._running:
                self._asked.set()
            return self._running

    def check(self) -> None:
        """Raise AbortedError if it was asked to stop and has not been told."""
        if self._asked.is_set():
            with self._lock:
                tell = self._running and not self._told
                self._told = self._told or tell
            if tell:
                raise AbortedError

    def wait(self, seconds: float) -> None:
        """Wait that long, or until it is asked to stop."""
        if self._told:
            # Cleanup after an abort may still need its pauses.
            threading.Event().wait(seconds)
        else:
            self._asked.wait(seconds)
