"""When a silent driver is taken to hang: the judgement, apart from what is done about it.

Rules: a driver hangs when it worked for ``hang_s`` without a sign of life that was due, or when its
whole process said nothing for that long (stopped, or holding the interpreter in C). Time in which
this process itself did not run (stopped in a debugger, a laptop's lid) is never held against it.
Sends and ends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from drivebay._core.host.settings import Limits

_SLACK: Final = 4
"""A pause that took this many times as long as it should: this process was stopped as well."""


class Life:
    """The last sign of life of one host.

    Args:
        limits: what it was told.
        clock: monotonic seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.clock = clock
        # One tuple, stored at once: written by the monitor's thread, read by those who wait.
        self.last = (0.0, 0.0)
        self.pause_s = max(0.02, min(0.25, limits.hang_s / 8, limits.load_s / 8))
        """How long to wait for an answer before one looks whether it hangs."""

    def beat(self, idle_s: float) -> None:
        """Its attendant said that the driver has been silent for ``idle_s``, negative: excused."""
        self.last = (self.clock(), idle_s)

    def watch(self, *, loading: bool = False) -> Watch:
        """Go on waiting for an answer that did not come within the first pause."""
        return Watch(self, loading)


class Watch:
    """One wait for a host; made when an answer did not come within the first pause."""

    def __init__(self, life: Life, loading: bool) -> None:
        self._life = life
        self._looked = life.clock()
        self._began = self._looked - life.pause_s
        self._loading = loading
        self._allowed_s = life.limits.load_s if loading else life.limits.hang_s

    def silent_s(self) -> float:
        """How long it has been silent, if that is too long; else 0."""
        now = self._life.clock()
        if now - self._looked > _SLACK * self._life.pause_s:
            # We did not run ourselves; what it said meanwhile may not have been heard yet.
            self._began += now - self._looked
        self._looked = now
        waited_s = now - self._began
        if self._loading:
            return waited_s if waited_s > self._allowed_s else 0.0
        heard_at, idle_s = self._life.last
        if heard_at <= self._began:
            # No beat since: they come more often than that while it works.
            silent_s = waited_s - self._life.limits.idle_beat_s
        else:
            silent_s = min(waited_s, max(idle_s, 0.0) + now - heard_at)
            if idle_s < 0:
                # Excused for a while, but its attendant must be heard all the same.
                silent_s = now - heard_at
        return silent_s if silent_s > self._allowed_s else 0.0
