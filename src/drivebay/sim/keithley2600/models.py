"""What the members of the 2600B family can do, as data.

Facts from the Series 2600B Reference Manual (2600BS-901-01) and its specifications: ranges and
operating areas of the 2601B/2602B/2604B (40 V, 3 A), 2611B/2612B/2614B (200 V, 1.5 A) and
2634B/2635B/2636B (the same with lower current ranges); the 2600A models have the same DC limits.
Pulse ranges (10 A) are left out. Never contains behaviour.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

OVERRANGE = 1.01
_LOW_A = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        name: the model in ``*IDN?``.
        channels: 1 or 2.
        voltage_ranges_v: nominal ranges, ascending.
        current_ranges_a: the same for current.
        regions: (voltage, current) corners; a level and its limit must lie within one of them.
        interlocked_v: voltage ranges above this need the interlock; 0 where there is none.
    """

    name: str
    channels: int
    voltage_ranges_v: tuple[float, ...]
    current_ranges_a: tuple[float, ...]
    regions: tuple[tuple[float, float], ...]
    interlocked_v: float = 0.0

    def ranges(self, quantity: str) -> tuple[float, ...]:
        """Those of ``v`` or ``i``."""
        return self.voltage_ranges_v if quantity == "v" else self.current_ranges_a

    def top(self, quantity: str) -> float:
        """The largest level or limit of ``v`` or ``i``."""
        return max(region[0 if quantity == "v" else 1] for region in self.regions)

    def range_of(self, quantity: str, value: float) -> float:
        """The lowest nominal range that holds a value; the highest if none does."""
        ranges = self.ranges(quantity)
        place = bisect_left(ranges, abs(value) / OVERRANGE / 1.000001)
        return ranges[min(place, len(ranges) - 1)]

    def allows(self, volt: float, amp: float) -> bool:
        """Whether both together are within the operating area."""
        return any(volt <= v * 1.000001 and amp <= a * 1.000001 for v, a in self.regions)


def _family(
    names: dict[str, int],
    volt: tuple[float, ...],
    amp: tuple[float, ...],
    regions: tuple[tuple[float, float], ...],
    interlocked_v: float = 0.0,
) -> list[Model]:
    return [
        Model(name, channels, volt, amp, regions, interlocked_v) for name, channels in names.items()
    ]


_40V = ((6.06, 3.03), (40.4, 1.01))
_200V = ((20.2, 1.515), (202.0, 0.101))
_HIGH_V = (0.2, 2.0, 20.0, 200.0)

MODELS = {
    model.name: model
    for model in (
        *_family(
            {"2602B": 2, "2601B": 1, "2604B": 2, "2602A": 2, "2601A": 1},
            (0.1, 1.0, 6.0, 40.0),
            (*_LOW_A, 3.0),
            _40V,
        ),
        *_family(
            {"2612B": 2, "2611B": 1, "2614B": 2, "2612A": 2, "2611A": 1},
            _HIGH_V,
            (*_LOW_A, 1.5),
            _200V,
            20.0,
        ),
        *_family({"2634B": 2}, _HIGH_V, (1e-9, 1e-8, *_LOW_A, 1.5), _200V, 20.0),
        *_family(
            {"2636B": 2, "2635B": 1, "2636A": 2, "2635A": 1},
            _HIGH_V,
            (1e-10, 1e-9, 1e-8, *_LOW_A, 1.5),
            _200V,
            20.0,
        ),
    )
}
