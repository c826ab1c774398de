"""One thread of the owner that hears what hosts say unasked: beats, prints, logs, their death.

Promises: a descriptor is read, and closed, on this thread only, so a number that the system gives
out anew is never taken for the old one; what a listener raises is logged and ends nothing but that
call. It never answers a driver's call: callers read the answers themselves, which is faster.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger("drivebay.host")

Listener = Callable[[], object]


class Monitor:
    """A thread that waits for descriptors to become readable; it starts with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._selector: selectors.BaseSelector | None = None
        self._jobs: deque[Listener] = deque()
        self._wake_read = self._wake_write = -1

    def watch(self, fd: int, listener: Listener) -> None:
        """Call ``listener`` on the thread whenever ``fd`` is readable; it must not wait."""
        self.do(lambda: self._register(fd, listener))

    def close(self, fd: int) -> None:
        """Stop watching ``fd`` and close it; it is closed when this returns."""
        self.do(lambda: self._close(fd), wait=True)

    def do(self, job: Listener, *, wait: bool = False) -> None:
        """Run ``job`` on the thread.

        Args:
            job: must not wait for anything.
            wait: return only when it has run; on the thread itself it runs at once.
        """
        if threading.current_thread() is self._thread:
            job()
            return
        self._start()
        done = threading.Event()

        def run() -> None:
            try:
                job()
            finally:
                done.set()

        self._jobs.append(run)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")
        if wait:
            done.wait()

    def on_thread(self) -> bool:
        """Whether the caller runs on this thread, which must not wait."""
        return threading.current_thread() is self._thread

    def descriptors(self) -> list[int]:
        """Every descriptor that is held here, for a process that was forked and must let go."""
        if self._selector is None:
            return []
        held = [key.fd for key in list(self._selector.get_map().values())]
        return [*held, self._wake_write]

    def abandon(self) -> None:
        """In a forked process: let go of everything that belongs to the parent."""
        for fd in self.descriptors():
            with contextlib.suppress(OSError):
                os.close(fd)
        if self._selector is not None:
            self._selector.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._selector = selectors.DefaultSelector()
            self._wake_read, self._wake_write = os.pipe()
            os.set_blocking(self._wake_read, False)
            os.set_blocking(self._wake_write, False)
            self._selector.register(self._wake_read, selectors.EVENT_READ, self._run_jobs)
            self._thread = threading.Thread(
                target=self._run, args=(self._selector,), name="drivebay-hosts", daemon=True
            )
            self._thread.start()

    def _register(self, fd: int, listener: Listener) -> None:
        assert self._selector is not None  # noqa: S101 - jobs run on the thread, which made it
        self._selector.register(fd, selectors.EVENT_READ, listener)

    def _close(self, fd: int) -> None:
        assert self._selector is not None  # noqa: S101 - as above
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)
        with contextlib.suppress(OSError):
            os.close(fd)

    def _run(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                # A listener before it may have closed this one.
                if selector.get_map().get(key.fd) is key:
                    _contained(key.data)

    def _run_jobs(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while self._jobs:
            _contained(self._jobs.popleft())


def _contained(listener: Listener) -> None:
    try:
        listener()
    except Exception:  # noqa: BLE001 - the border: a listener of the owner's program
        _log.exception("a listener to a driver's process failed")
