"""What the members of the 2600B family can do, as data.

From the Series 2600B Reference Manual, 2600BS-901-01 Rev. F (August 2021): ranges and full scales
("Range", 2-44; ``smuX.source.rangeY``, ``lowrangeY``, 9-245), limits and their defaults
(``smuX.source.limitY``, 9-244), the operating areas of direct current ("Operating boundaries",
section 5). The 2600A models have the same (2600AS-901-01, 19-135). Pulse ranges (10 A) are left
out. Never contains behaviour.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

# Full scale is 101 % of a source range and 102 % of a measuring range (2-44).
SOURCE_FULL, MEASURE_FULL = 1.01, 1.02
_ROUNDING = 1.000001
_LOW_A = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        name: the model in ``*IDN?``.
        channels: 1 or 2.
        voltage_ranges_v: nominal ranges, ascending.
        current_ranges_a: the same for current, with those that only measure.
        regions: nominal (voltage, current) corners; what is sourced and its limit must lie within
            one of them.
        lowest_source_a: lowest range that currents are sourced on.
        default_limits: of voltage and current, after a reset.
        interlocked_v: voltage ranges above this need the interlock; 0 where there is none.
        settles: whether the delay of a measurement is automatic after a reset.
    """

    name: str
    channels: int
    voltage_ranges_v: tuple[float, ...]
    current_ranges_a: tuple[float, ...]
    regions: tuple[tuple[float, float], ...]
    lowest_source_a: float = 1e-7
    default_limits: tuple[float, float] = (40.0, 1.0)
    interlocked_v: float = 0.0
    settles: bool = False

    def ranges(self, quantity: str, *, source: bool = False) -> tuple[float, ...]:
        """Those of ``v`` or ``i``, to measure or to source."""
        if quantity == "v":
            return self.voltage_ranges_v
        lowest = self.lowest_source_a if source else 0.0
        return tuple(each for each in self.current_ranges_a if each >= lowest)

    def nominal(self, quantity: str) -> float:
        """The highest range of ``v`` or ``i``: what a limit may be."""
        return self.ranges(quantity)[-1]

    def top(self, quantity: str) -> float:
        """The largest level of ``v`` or ``i``."""
        return self.nominal(quantity) * SOURCE_FULL

    def lowest_limit(self, quantity: str) -> float:
        """The lowest limit of ``v`` or ``i`` (9-244)."""
        return self.ranges(quantity, source=True)[0] / 10

    def range_of(self, quantity: str, value: float, *, source: bool = False) -> float:
        """The lowest nominal range that holds a value; the highest if none does.

        What is sourced may exceed its range by 1 %; measuring changes ranges at 100 % (2-44).
        """
        ranges = self.ranges(quantity, source=source)
        full = SOURCE_FULL if source else 1.0
        place = bisect_left(ranges, abs(value) / full / _ROUNDING)
        return ranges[min(place, len(ranges) - 1)]

    def allows(self, quantity: str, level: float, limit: float) -> bool:
        """Whether a level of ``v`` or ``i`` is within the operating area with a limit."""
        full = level / SOURCE_FULL / _ROUNDING
        volt, amp = (full, limit / _ROUNDING) if quantity == "v" else (limit / _ROUNDING, full)
        return any(volt <= v and amp <= a for v, a in self.regions)


_40V = ((6.0, 3.0), (40.0, 1.0))
_200V = ((20.0, 1.5), (200.0, 0.1))
_HIGH_V = (0.2, 2.0, 20.0, 200.0)
_HIGH_LIMITS = (20.0, 0.1)


def _forty_volts(name: str, channels: int) -> Model:
    return Model(name, channels, (0.1, 1.0, 6.0, 40.0), (*_LOW_A, 3.0), _40V)


def _high_voltage(name: str, channels: int) -> Model:
    amp = (*_LOW_A, 1.5)
    return Model(name, channels, _HIGH_V, amp, _200V, 1e-7, _HIGH_LIMITS, 20.0)


def _low_current(name: str, channels: int) -> Model:
    # The 100 pA range only measures, and the 2634B does not have it.
    amp: tuple[float, ...] = (1e-9, 1e-8, *_LOW_A, 1.5)
    if not name.startswith("2634"):
        amp = (1e-10, *amp)
    return Model(name, channels, _HIGH_V, amp, _200V, 1e-9, _HIGH_LIMITS, 20.0, settles=True)


MODELS = {
    model.name: model
    for model in (
        _forty_volts("2602B", 2),
        _forty_volts("2601B", 1),
        _forty_volts("2604B", 2),
        _forty_volts("2602A", 2),
        _forty_volts("2601A", 1),
        _high_voltage("2612B", 2),
        _high_voltage("2611B", 1),
        _high_voltage("2614B", 2),
        _high_voltage("2612A", 2),
        _high_voltage("2611A", 1),
        _low_current("2634B", 2),
        _low_current("2636B", 2),
        _low_current("2635B", 1),
        _low_current("2636A", 2),
        _low_current("2635A", 1),
    )
}
