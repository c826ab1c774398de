"""The trace buffer: readings kept for later, and their statistics.

Promises: holds at most its size, stops when full, and says so once. Never holds more than 2500
readings. From the 2400 Series User's Manual, section 9, "Data store", and section 18, "TRACe
subsystem" (neither ``*RST`` nor ``:SYSTem:PRESet`` touches it).
"""

from __future__ import annotations

import math

from drivebay.sim.keithley2400.measuring import NOT_AVAILABLE, Readings
from drivebay.sim.syntax import ScpiError

BYTES_A_READING = 20


class TraceBuffer:
    """Readings stored while the feed control is NEXT."""

    def __init__(self) -> None:
        self._size = 100
        self.feed = "SENS"
        self.delta_times = False
        self.statistic = "MEAN"
        self.storing = False
        self.readings = Readings()

    @property
    def size(self) -> int:
        """How many readings it takes."""
        return self._size

    def set_size(self, size: int) -> None:
        """A new size; what was stored is lost.

        Raises:
            ScpiError: +800 while storing.
        """
        if self.storing:
            raise ScpiError(800)
        self._size = size
        self.readings = Readings()

    def set_storing(self, storing: bool) -> None:
        """Starts (from an empty buffer) or stops storing."""
        if storing:
            self.readings = Readings()
        self.storing = storing

    def clear(self) -> None:
        """Forgets the readings."""
        self.readings = Readings()

    def take(self, taken: Readings) -> bool:
        """Stores readings if storing; True if that filled it."""
        if not self.storing:
            return False
        self.readings.extend(taken, self._size - len(self.readings))
        if len(self.readings) < self._size:
            return False
        self.storing = False
        return True

    def stored(self) -> Readings:
        """The readings, timed since the first or since the one before."""
        times_s = self.readings.times_s
        before = times_s[:1] + times_s[:-1] if self.delta_times else times_s[:1] * len(times_s)
        readings = self.readings.last(len(self.readings))
        readings.times_s = [t - b for t, b in zip(times_s, before, strict=True)]
        return readings

    def free(self) -> str:
        """Bytes free and bytes reserved, as ``:TRACe:FREE?`` answers."""
        used = len(self.readings)
        return f"{(2500 - used) * BYTES_A_READING},{used * BYTES_A_READING}"

    def statistics(self) -> list[float]:
        """The selected statistic of voltage, current and resistance.

        Raises:
            ScpiError: -230, nothing is stored.
        """
        if not len(self.readings):
            raise ScpiError(-230)
        columns = (self.readings.volts, self.readings.amps, self.readings.ohms)
        return [self._statistic(column) for column in columns]

    def _statistic(self, column: list[float]) -> float:
        if NOT_AVAILABLE in column:
            return NOT_AVAILABLE
        high, low = max(column), min(column)
        if self.statistic == "MEAN":
            return math.fsum(column) / len(column)
        if self.statistic == "SDEV":
            mean = math.fsum(column) / len(column)
            squares = math.fsum((value - mean) ** 2 for value in column)
            return math.sqrt(squares / max(len(column) - 1, 1))
        return {"MAX": high, "MIN": low, "PKPK": high - low}[self.statistic]
