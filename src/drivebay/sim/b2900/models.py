"""What the members of the B2900 series can do, as data.

From the *Agilent B2900 Series SCPI Command Reference*, B2910-90030 Edition 2, "Source Output
Ranges" (2-24) and "Measurement Ranges" (2-27), the *B2900 User's Guide*, Edition 5 (2-14), and the
series' data sheet ("Over range", 16). Never contains behaviour. Left out: pulses (to 10.5 A). The B
versions have the ranges and the commands of the A versions.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

MAX_VOLTAGE_V, MAX_CURRENT_A = 210.0, 3.03
# Without pulses: what a level and the limit of the other quantity may be together.
REGIONS = ((6.0, 3.03), (21.0, 1.515), (210.0, 0.105))
# Up to this voltage two channels share their current.
_SHARED_V = 21.0
VOLTAGE_RANGES_V = (0.2, 2.0, 20.0, 200.0)
_CURRENT_RANGES_A = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.5, 3.0)


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        name: as ``*IDN?`` says it.
        channels: how many.
        current_ranges_a: nominal source and measure ranges, ascending.
    """

    name: str
    channels: int
    current_ranges_a: tuple[float, ...]

    def range_for(self, key: str, value: float) -> float:
        """The nominal range that holds a value of ``VOLT`` or ``CURR``; the highest if none."""
        ranges = VOLTAGE_RANGES_V if key == "VOLT" else self.current_ranges_a
        full = [full_scale(each) for each in ranges]
        place = bisect_left(full, abs(value) / 1.000001)
        return ranges[min(place, len(ranges) - 1)]


def full_scale(nominal: float) -> float:
    """How far a source range goes: 5 % beyond its name, 1 % in the two highest of current."""
    return nominal * (1.01 if nominal in {1.5, 3.0} else 1.05)


def readable(nominal: float) -> float:
    """How far a measurement range goes: 6 % beyond its name, 2 % in the two highest of current."""
    return nominal * (1.02 if nominal in {1.5, 3.0} else 1.06)


def largest(key: str) -> float:
    """Largest level or limit of ``VOLT`` or ``CURR``."""
    return MAX_VOLTAGE_V if key == "VOLT" else MAX_CURRENT_A


def allowed(volt: float, amp: float) -> bool:
    """Whether a voltage and a current are within the operating area together."""
    return any(
        abs(volt) <= each_v * 1.000001 and abs(amp) <= each_a * 1.000001
        for each_v, each_a in REGIONS
    )


def allowed_together(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two channels may have these voltages and currents (User's Guide, table 2-4).

    >>> allowed_together((6.0, 2.0), (6.0, 2.0)), allowed_together((6.0, 3.0), (21.0, 1.0))
    (True, False)
    """
    if max(abs(one[0]), abs(other[0])) > _SHARED_V:
        return True  # 105 mA of one leave the other all it has
    # The four rows of the table come to this: above 6 V a current counts 1.6 times.
    weighed = (abs(amp) * (1.6 if abs(volt) > 6.0 else 1.0) for volt, amp in (one, other))
    return sum(weighed) <= 4.0 * 1.000001


MODELS = {
    f"{name}{version}": Model(f"{name}{version}", channels, ranges)
    for version in "AB"
    for name, channels, ranges in (
        ("B2901", 1, _CURRENT_RANGES_A),
        ("B2902", 2, _CURRENT_RANGES_A),
        ("B2911", 1, (1e-8, *_CURRENT_RANGES_A)),
        ("B2912", 2, (1e-8, *_CURRENT_RANGES_A)),
    )
}
