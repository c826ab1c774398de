"""What the touch-screen source-meters can do, as data.

Ranges, levels, limits and defaults are those of the reference manuals: 2450-901-01 Rev. B 6-70,
6-71 and 6-74; 2461-901-01 Rev. A 6-93 to 6-97 (its DC mode); 2470-901-01 Rev. A 12-53, 12-78 and
14-177. Not found there, and from memory of the data sheets: the regions of all models, the source
ranges of the 2470, and everything of the 2460, which is taken as the 2461 without its 10 A range.
Never contains behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivebay.sim.readout import range_for

_NANO = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_MICRO = (*_NANO[2:], 4.0, 5.0, 7.0)
_MIDDLE_V = (0.2, 2.0, 7.0, 10.0, 20.0, 100.0)


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        name: the number in ``*IDN?``.
        voltage_ranges_v: nominal ranges, ascending.
        current_ranges_a: the same for current.
        max_voltage_v: largest source level and limit.
        max_current_a: the same for current.
        regions: (voltage, current) corners; range and limit must lie within one of them.
        lowest_limit_v: smallest voltage limit.
        lowest_limit_a: smallest current limit.
        default_limit_v: voltage limit after ``*RST``; that of the current is 105 uA everywhere.
        limit_of_range: share of a fixed measure range that a limit must at least be.
    """

    name: str
    voltage_ranges_v: tuple[float, ...]
    current_ranges_a: tuple[float, ...]
    max_voltage_v: float
    max_current_a: float
    regions: tuple[tuple[float, float], ...]
    lowest_limit_v: float
    lowest_limit_a: float
    default_limit_v: float
    limit_of_range: float = 1e-3

    def ranges(self, function: str) -> tuple[float, ...]:
        """The ranges of "VOLT" or "CURR"."""
        return self.voltage_ranges_v if function == "VOLT" else self.current_ranges_a

    def largest(self, function: str) -> float:
        """The largest level of "VOLT" or "CURR"."""
        return self.max_voltage_v if function == "VOLT" else self.max_current_a

    def lowest_limit(self, function: str) -> float:
        """The smallest limit of "VOLT" or "CURR"."""
        return self.lowest_limit_v if function == "VOLT" else self.lowest_limit_a

    def default_limit(self, function: str) -> float:
        """The limit of "VOLT" or "CURR" after ``*RST``."""
        return self.default_limit_v if function == "VOLT" else 1.05e-4

    def range_of(self, function: str, level: float) -> float:
        """The lowest range that holds a level."""
        return range_for(level, self.ranges(function))

    def allows(self, volt: float, amp: float) -> bool:
        """Whether both together are within the operating boundaries."""
        return any(volt <= v * 1.000001 and amp <= a * 1.000001 for v, a in self.regions)

    def largest_limit(self, function: str, source_range: float) -> float:
        """The largest limit of "VOLT" or "CURR" beside a range of what is sourced."""
        corners = self.regions if function == "CURR" else [(a, v) for v, a in self.regions]
        fitting = [limit for top, limit in corners if source_range <= top * 1.000001]
        return max(fitting, default=min(limit for _, limit in corners))


_HUNDRED_WATTS = ((7.35, 7.35), (10.5, 5.25), (21.0, 4.2), (105.0, 1.05))
_TWENTY_WATTS = ((21.0, 1.05), (210.0, 0.105))
MODELS = {
    model.name: model
    for model in (
        Model(
            "2450",
            (0.02, 0.2, 2.0, 20.0, 200.0),
            _NANO,
            210.0,
            1.05,
            _TWENTY_WATTS,
            0.02,
            1e-9,
            21.0,
        ),
        Model("2460", _MIDDLE_V, _MICRO, 105.0, 7.35, _HUNDRED_WATTS, 0.2, 1e-6, 7.35),
        Model("2461", _MIDDLE_V, (*_MICRO, 10.0), 105.0, 7.35, _HUNDRED_WATTS, 0.2, 1e-6, 7.35),
        Model(
            "2470",
            (0.2, 2.0, 20.0, 200.0, 1000.0),
            _NANO,
            1100.0,
            1.05,
            (*_TWENTY_WATTS, (1100.0, 0.021)),
            0.02,
            1e-9,
            21.0,
            0.106,
        ),
    )
}
