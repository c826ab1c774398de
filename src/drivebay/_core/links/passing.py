"""How time passes for the driver of this process: as it does, or as a recording says it did.

Promises: in a replay nothing waits; a wait moves the recording's clock and returns. Outside one
this is the clock of the system. Knows no driver; the keeper's deadlines never come from here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from drivebay._core.links.kept import KeeperPort


class Passing:
    """The clock a driver lives by.

    >>> passing = Passing()
    >>> passing.replayed
    False
    """

    def __init__(self) -> None:
        self._port: KeeperPort | None = None

    def follow(self, port: KeeperPort) -> None:
        """From now on time is what the keeper of a replay says it is."""
        self._port = port

    @property
    def replayed(self) -> bool:
        """Whether time is that of a recording."""
        return self._port is not None

    def monotonic(self) -> float:
        """Seconds on a clock that never runs back."""
        if self._port is None:
            return time.monotonic()
        return float(self._port.call("clock")[0])

    def wall(self) -> float:
        """Seconds since 1970, UTC."""
        if self._port is None:
            return time.time()
        return float(self._port.call("clock")[1])

    def elapse(self, seconds: float) -> None:
        """Let time pass in a replay, without waiting."""
        if self._port is not None:
            self._port.call("elapse", float(seconds))


PASSING: Final = Passing()
"""That of this process, which runs one driver."""
