"""Signs of life: whoever waits for a driver must tell a slow instrument from a driver that hangs.

A wait says beforehand how long it may take (:meth:`Pulse.excuse`) and says when it is over
(:meth:`Pulse.tick`). Between the two silence is expected; outside them it is counted. Nothing here
waits, locks or sends: a sign of life costs two stores, so that it can be given at every message.

Rules: an excuse always ends by itself, at the time it named; a later one takes its place, also a
shorter one. What happens on other threads (an abort) counts as life too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final


class Pulse:
    """When this process last gave a sign of life, and until when none is due.

    Args:
        clock: monotonic seconds.

    >>> now = [100.0]
    >>> pulse = Pulse(clock=lambda: now[0])
    >>> now[0] = 103.0
    >>> pulse.idle_s()
    3.0
    >>> pulse.excuse(5.0)
    >>> now[0] = 104.0
    >>> pulse.idle_s()
    -4.0
    >>> pulse.tick()
    >>> now[0] = 105.0
    >>> pulse.idle_s()
    1.0
    """

    __slots__ = ("_clock", "_since")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # One number, so that a reader on another thread never sees half a change.
        self._since = clock()

    def tick(self) -> None:
        """Something was done; silence counts from now on."""
        self._since = self._clock()

    def excuse(self, seconds: float) -> None:
        """What begins now may take ``seconds``; silence counts only after that."""
        self._since = self._clock() + seconds

    def idle_s(self) -> float:
        """Seconds of silence; negative while silence is excused."""
        return self._clock() - self._since


PULSE: Final = Pulse()
"""The pulse of this process, which runs one driver; elsewhere nobody listens to it."""
