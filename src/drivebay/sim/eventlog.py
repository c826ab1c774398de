"""The simulator's own record of what happened when.

Promises: every event has the time of the system's monotonic clock, which other processes on the
machine share, so a deadline is read off the log and not off a test's own stopwatch. Never
influences what it records.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from os import PathLike
from typing import Any, TextIO

MOST_EVENTS = 200_000


class EventLog:
    """Events in order, in memory and, if asked, as JSON lines in a file.

    Each event is a dict with ``t`` (monotonic seconds), ``event`` (its name) and what belongs to
    it. The names are listed in ``docs/reference/simulator.md``.
    """

    def __init__(self, path: str | PathLike[str] | None = None, traffic: bool = False) -> None:
        """Opens the log.

        Args:
            path: a file to append JSON lines to.
            traffic: also record every message in and every answer out.
        """
        self.traffic = traffic
        self._events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        self._changed = threading.Condition()
        self._waiting = 0
        self._file: TextIO | None = None
        if path is not None:
            # Held open for the life of the log, which close() ends.
            self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def add(self, event: str, **facts: Any) -> None:
        """Records one event, now."""
        with self._changed:
            # The time is taken in here, so that the order of events is the order of their times.
            entry = {"t": time.monotonic(), "event": event, **facts}
            self._events.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(entry) + "\n")
            if self._waiting:
                self._changed.notify_all()

    @property
    def events(self) -> list[dict[str, Any]]:
        """A copy of all events so far."""
        with self._changed:
            return list(self._events)

    def named(self, *names: str) -> list[dict[str, Any]]:
        """The events with one of these names, in order."""
        with self._changed:
            return self._named(*names)

    def wait_for(self, name: str, count: int = 1, timeout_s: float = 10.0) -> dict[str, Any]:
        """The ``count``-th event of that name since the log began, waited for if need be.

        Raises:
            TimeoutError: it had not happened by then.
        """
        with self._changed:
            self._waiting += 1
            try:
                if self._changed.wait_for(lambda: len(self._named(name)) >= count, timeout_s):
                    return self._named(name)[count - 1]
            finally:
                self._waiting -= 1
        raise TimeoutError(f"no event {name!r} ({count}x) within {timeout_s} s")

    def _named(self, *names: str) -> list[dict[str, Any]]:
        return [entry for entry in self._events if entry["event"] in names]

    def close(self) -> None:
        """Closes the file; events stay readable."""
        with self._changed:
            if self._file is not None:
                self._file.close()
                self._file = None
