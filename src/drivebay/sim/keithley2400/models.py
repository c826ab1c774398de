"""What the members of the 2400 family can do, as data.

Facts from the 2400 Series SourceMeter User's Manual (2400S-900-01 Rev. K): limits from section 18,
"SOURce subsystem" (source levels and compliance), ranges from section 3, table 3-1, and appendix A,
operating boundaries from section 6, "Operating boundaries". Never contains behaviour. The 2430 is
its DC mode only.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

_OVERRANGE = 1.05
_MICRO_TO_100M = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        name: the number in ``*IDN?``.
        voltage_ranges_v: nominal source and measure ranges, ascending.
        current_ranges_a: the same for current.
        max_voltage_v: largest source level and limit.
        max_current_a: largest source level and limit.
        regions: (voltage, current) corners; an operating point must lie within one of them.
        default_voltage_range_v: nominal V-source range after ``*RST``.
    """

    name: str
    voltage_ranges_v: tuple[float, ...]
    current_ranges_a: tuple[float, ...]
    max_voltage_v: float
    max_current_a: float
    regions: tuple[tuple[float, float], ...]
    default_voltage_range_v: float = 20.0

    def voltage_range(self, volt: float) -> float:
        """The full scale (105 %) of the lowest voltage range that holds a level."""
        return self._full_scale(self.voltage_ranges_v, abs(volt), self.max_voltage_v)

    def current_range(self, amp: float) -> float:
        """The full scale (105 %) of the lowest current range that holds a level."""
        return self._full_scale(self.current_ranges_a, abs(amp), self.max_current_a)

    def allows(self, volt: float, amp: float) -> bool:
        """True if both levels together are within the operating boundaries."""
        return any(volt <= v * 1.000001 and amp <= a * 1.000001 for v, a in self.regions)

    @staticmethod
    def _full_scale(ranges: tuple[float, ...], level: float, largest: float) -> float:
        place = bisect_left(ranges, level / _OVERRANGE / 1.000001)
        return min(ranges[place] * _OVERRANGE, largest) if place < len(ranges) - 1 else largest


MODELS = {
    model.name: model
    for model in (
        Model(
            "2400",
            (0.2, 2.0, 20.0, 200.0),
            (*_MICRO_TO_100M, 1.0),
            210.0,
            1.05,
            ((21.0, 1.05), (210.0, 0.105)),
        ),
        Model("2401", (0.2, 2.0, 20.0), (*_MICRO_TO_100M, 1.0), 21.0, 1.05, ((21.0, 1.05),)),
        Model(
            "2410",
            (0.2, 2.0, 20.0, 1000.0),
            (1e-6, 1e-5, 1e-4, 1e-3, 2e-2, 1e-1, 1.0),
            1100.0,
            1.05,
            ((21.0, 1.05), (1100.0, 0.021)),
        ),
        Model(
            "2420",
            (0.2, 2.0, 20.0, 60.0),
            (*_MICRO_TO_100M[1:], 1.0, 3.0),
            63.0,
            3.15,
            ((21.0, 3.15), (63.0, 1.05)),
        ),
        Model(
            "2425",
            (0.2, 2.0, 20.0, 100.0),
            (*_MICRO_TO_100M[1:], 1.0, 3.0),
            105.0,
            3.15,
            ((21.0, 3.15), (105.0, 1.05)),
        ),
        Model(
            "2430",
            (0.2, 2.0, 20.0, 100.0),
            (*_MICRO_TO_100M[1:], 1.0, 3.0),
            105.0,
            3.15,
            ((21.0, 3.15), (105.0, 1.05)),
        ),
        Model(
            "2440",
            (0.2, 2.0, 10.0, 40.0),
            (*_MICRO_TO_100M[1:], 1.0, 5.0),
            42.0,
            5.25,
            ((10.5, 5.25), (42.0, 1.05)),
            default_voltage_range_v=10.0,
        ),
    )
}
