"""What a source-measure unit is set to, is told and has read, in terms no instrument owns.

Plain values, made and read by :class:`SourceMeter` and its drivers. Promises of :class:`Timeline`:
time never runs back, whatever the instrument's counter does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from drivebay._core.links.passing import PASSING
from drivebay._core.methods.levels import SLOW_MAINS_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from drivebay._core.contract.readout import FloatArray

Chunk = dict[str, Any]
_LEAST_STEP_S = 1e-6


class Source(NamedTuple):
    """What is sourced, and how it is measured.

    Attributes:
        function: ``VOLT`` or ``CURR``, SCPI's words; the other one is what is limited.
        top: largest magnitude that is sourced, in volts or amperes.
        compliance: limit of the other quantity.
        range: fixed source range; None for that of ``top``.
        sense_range: fixed range of the other quantity; None lets the instrument choose.
        delay_s: from each level to its measurement; None for the instrument's own.
        nplc: integration time in periods of the mains.
        four_wire: whether the voltage is sensed at the device.
        auto_zero: whether reference readings are taken with every reading.
        channel: which output, as the driver names it; empty where there is one.
    """

    function: str
    top: float
    compliance: float
    range: float | None = None
    sense_range: float | None = None
    delay_s: float | None = 0.0
    nplc: float = 1.0
    four_wire: bool = False
    auto_zero: bool = True
    channel: str = ""

    @property
    def sense(self) -> str:
        """What is measured and limited beside what is sourced: ``CURR`` or ``VOLT``."""
        return "CURR" if self.function == "VOLT" else "VOLT"

    @property
    def step_s(self) -> float:
        """Least that one reading takes, in seconds, at 50 Hz mains."""
        return (self.delay_s or 0.0) + self.nplc / SLOW_MAINS_HZ


class Run(NamedTuple):
    """What an instrument does by itself between two words of the driver.

    Attributes:
        messages: what it is told; the last one asks for the readings.
        rows: how many readings there must be.
        step_s: least time from one reading to the next, in seconds.
    """

    messages: Sequence[str]
    rows: int
    step_s: float


class Asked(Protocol):
    """Numbers that are on their way; :class:`AskedNumbers` are."""

    def wait(self) -> None:
        """Wait until the instrument is free."""

    def numbers(self) -> FloatArray:
        """An array with a row for each column of the answer."""


class Readings(NamedTuple):
    """Readings of both quantities, equally long; out of a source counts as positive.

    Attributes:
        voltage_v: volts; infinite or no number where there was none.
        current_a: amperes; the same.
        time_s: when, on the instrument's clock, which may start again at any piece.
        limited: whether the source was held by its limit.
        over_range: whether what is measured beside the level was too large for its range.
    """

    voltage_v: NDArray[np.float64]
    current_a: NDArray[np.float64]
    time_s: NDArray[np.float64]
    limited: NDArray[np.bool_]
    over_range: NDArray[np.bool_]

    def points(self) -> Chunk:
        """Columns of a sweep; what was no reading is no number."""
        import numpy as np

        volt, amp = self.voltage_v, self.current_a
        return {
            "voltage_v": np.where(np.isfinite(volt), volt, np.nan),
            "current_a": np.where(np.isfinite(amp) & ~self.over_range, amp, np.nan),
            "time_s": self.time_s,
            "in_compliance": self.limited,
        }

    def volts(self) -> Chunk:
        """Columns of a voltmeter."""
        volt = self.voltage_v
        return {"voltage_v": volt, "time_s": self.time_s, "overload": self._missing(volt)}

    def amps(self) -> Chunk:
        """Columns of an ammeter: a source counts what flows out of it, a meter what flows in."""
        amp = self.current_a
        return {"current_a": 0.0 - amp, "time_s": self.time_s, "overload": self._missing(amp)}

    def ohms(self, rows: int, no_current_a: float) -> Chunk:
        """Columns of an ohmmeter.

        At the voltage limit the current is what the device lets through and both are measured, so
        their ratio still holds, until there is no current to speak of.

        Args:
            rows: readings that belong to one resistance: 1, or 2 where the second of each pair
                was taken without a current.
            no_current_a: what may be left of a current where there is no device.
        """
        import numpy as np

        volt, amp = self.voltage_v.reshape(-1, rows), self.current_a.reshape(-1, rows)
        limited, over = self.limited[::rows], self.over_range[::rows]
        # With a zero beside the level, what is there without a current is taken out.
        rise_v = volt[:, 0] - (volt[:, 1] if rows > 1 else 0.0)
        rise_a = amp[:, 0] - (amp[:, 1] if rows > 1 else 0.0)
        none = limited & (np.abs(rise_a) < no_current_a)
        overload = none | over | ~np.isfinite(rise_v) | ~np.isfinite(rise_a) | (rise_a == 0)
        ratio = rise_v / np.where(rise_a == 0, 1.0, rise_a)
        return {
            "resistance_ohm": np.where(overload, np.inf, ratio),
            "time_s": self.time_s[rows - 1 :: rows],
            "overload": overload,
        }

    def _missing(self, value: FloatArray) -> Any:
        """Whether a reading of a meter is none: over range, or held by the limit."""
        import numpy as np

        return self.limited | self.over_range | ~np.isfinite(value)


class Timeline:
    """The time stamps of an instrument as one line that never runs back.

    A counter that goes on through all pieces is used as it is. Where it has started again, with a
    piece or within one, the host's clock says where the rest belongs.
    """

    def __init__(self) -> None:
        self._began_s = PASSING.monotonic()
        self._offset_s = 0.0
        self._last_s = -1.0

    def rising(self, stamps: FloatArray) -> FloatArray:
        """The stamps of the next piece, in seconds, in order."""
        import numpy as np

        host_s = PASSING.monotonic() - self._began_s
        # Inside a piece: one step back is the counter starting again.
        restart = np.flatnonzero(np.diff(stamps) < 0)
        if restart.size:
            last_s, first_s = stamps[restart[0]], stamps[restart[0] + 1]
            stamps = stamps.copy()
            stamps[restart[0] + 1 :] += last_s + max(0.0, _LEAST_STEP_S - first_s)
        seconds: FloatArray = stamps + self._offset_s
        if seconds[0] <= self._last_s:
            least_s = max(float(stamps[0]), _LEAST_STEP_S)
            shift_s = max(host_s - seconds[-1], self._last_s - seconds[0] + least_s)
            self._offset_s += shift_s
            seconds = seconds + shift_s
        self._last_s = float(seconds[-1])
        return seconds
