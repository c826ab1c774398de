"""What the touch-screen source-meters can do, as data.

Facts from the reference manuals 2450-901-01 (section 6, ":SOURce[1]:<function>:RANGe" and
":SOURce[1]:LIST:<function>"), 2461-901-01 and 2470-901-01, and the data sheets' operating
boundaries for sourcing. The 2461 is its DC mode. Never contains behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivebay.sim.readout import range_for

_NANO = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_MICRO = (*_NANO[2:], 4.0, 5.0, 7.0)


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
        high_range_v: ranges from here on need the interlock.
    """

    name: str
    voltage_ranges_v: tuple[float, ...]
    current_ranges_a: tuple[float, ...]
    max_voltage_v: float
    max_current_a: float
    regions: tuple[tuple[float, float], ...]
    high_range_v: float

    def ranges(self, function: str) -> tuple[float, ...]:
        """The ranges of "VOLT" or "CURR"."""
        return self.voltage_ranges_v if function == "VOLT" else self.current_ranges_a

    def largest(self, function: str) -> float:
        """The largest level of "VOLT" or "CURR"."""
        return self.max_voltage_v if function == "VOLT" else self.max_current_a

    def range_of(self, function: str, level: float) -> float:
        """The lowest range that holds a level."""
        return range_for(level, self.ranges(function))

    def allows(self, volt: float, amp: float) -> bool:
        """Whether both together are within the operating boundaries."""
        return any(volt <= v * 1.000001 and amp <= a * 1.000001 for v, a in self.regions)


_HUNDRED_WATTS = ((7.35, 7.35), (10.5, 5.25), (21.0, 4.2), (105.0, 1.05))
MODELS = {
    model.name: model
    for model in (
        Model(
            "2450",
            (0.02, 0.2, 2.0, 20.0, 200.0),
            _NANO,
            210.0,
            1.05,
            ((21.0, 1.05), (210.0, 0.105)),
            200.0,
        ),
        Model("2460", (0.2, 2.0, 7.0, 10.0, 20.0, 100.0), _MICRO, 105.0, 7.35, _HUNDRED_WATTS, 100),
        Model("2461", (0.2, 2.0, 7.0, 10.0, 20.0, 100.0), _MICRO, 105.0, 7.35, _HUNDRED_WATTS, 100),
        Model(
            "2470",
            (0.2, 2.0, 20.0, 200.0, 1000.0),
            _NANO,
            1100.0,
            1.05,
            ((21.0, 1.05), (210.0, 0.105), (1100.0, 0.021)),
            200.0,
        ),
    )
}
