"""The simulator's own record of what happened when.

Promises: every event has the time of the system's monotonic clock, which other processes on the machine share, so a
deadline is read off the log and not off a test's own stopwatch. Never influences what it records.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, TextIO


class EventLog:
    """Events in order, in memory and, if asked, as JSON lines in a file.

    Each event is a dict with ``t`` (monotonic seconds), ``event`` (its name) and what belongs to it. The names are
    listed in ``docs/reference/simulator.md``.
    """

    def __init__(self, path: str | Path | None = None, traffic: bool = False) -> None:
        """Opens the log.

        Args:
            path: a file to append JSON lines to.
            traffic: also record every message in and every answer out.
        """
        self.traffic = traffic
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._file: TextIO | None = None
        if path is not None:
            self._file = Path(path).open("a", encoding="utf-8", buffering=1)

    def add(self, event: str, **facts: Any) -> None:
        """Records one event, now."""
        entry = {"t": time.monotonic(), "event": event, **facts}
        with self._changed:
            self._events.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(entry) + "\n")
            self._changed.notify_all()

    @property
    def events(self) -> list[dict[str, Any]]:
        """A copy of all events so far."""
        with self._changed:
            return list(self._events)

    def named(self, *names: str) -> list[dict[str, Any]]:
        """The events with one of these names, in order."""
        return [entry for entry in self.events if entry["event"] in names]

    def wait_for(self, name: str, count: int = 1, timeout_s: float = 10.0) -> dict[str, Any]:
        """Waits until an event has happened ``count`` times since the log began, and returns that one.

        Raises:
            TimeoutError: it had not happened by then.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                hits = [entry for entry in self._events if entry["event"] == name]
                if len(hits) >= count:
                    return hits[count - 1]
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    raise TimeoutError(f"no event {name!r} ({count}x) within {timeout_s} s")

    def close(self) -> None:
        """Closes the file; events stay readable."""
        with self._changed:
            if self._file is not None:
                self._file.close()
                self._file = None
