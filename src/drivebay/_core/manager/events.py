"""Events reach their subscribers: in order, once, and never under a lock of the manager's.

Promises: every subscriber hears every event in the order in which things happened; while one is
called no plugin is locked, so it may load, reload, stop a watcher, or wait for a thread that does;
a subscriber that raises is logged and the others are called. Never waits for a subscriber on
another thread: events that come while one thread delivers are left to that thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from drivebay._core.manager.info import PluginEvent

Subscriber = Callable[[PluginEvent], None]


class Events:
    """The queue between what happens and who wants to know."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._waiting: deque[PluginEvent] = deque()
        self._subscribers: tuple[Subscriber, ...] = ()
        self._changing = threading.Lock()
        # Held by the thread that delivers. Never waited for: the collector may end a driver, which
        # is an event, in the middle of a delivery on the very same thread.
        self._delivering = threading.Lock()
        self._thread = threading.local()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call back for every event from now on; return what ends that."""
        with self._changing:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._changing:
                kept = (each for each in self._subscribers if each is not subscriber)
                self._subscribers = tuple(kept)

        return unsubscribe

    @property
    def wanted(self) -> bool:
        """Tell whether anybody has subscribed."""
        return bool(self._subscribers)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the events of this thread until the block (the outermost one) is left.

        It goes outside the locks that an event may be caused under, and so ends after them.
        """
        self._thread.depth = getattr(self._thread, "depth", 0) + 1
        try:
            yield
        finally:
            self._thread.depth -= 1
            self._deliver()

    def publish(self, events: Iterable[PluginEvent]) -> None:
        """Put events in the queue and deliver it, or leave that to whoever is at it."""
        self._waiting.extend(events)
        self._deliver()

    def _deliver(self) -> None:
        if getattr(self._thread, "depth", 0):
            return
        # Looked at again after the lock is free: what came meanwhile was left to this thread.
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                while self._waiting:
                    self._tell(self._waiting.popleft())
            finally:
                self._delivering.release()

    def _tell(self, event: PluginEvent) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # a listener's fault is not the plugin's
                self._logger.exception("a subscriber failed on %s", event)
