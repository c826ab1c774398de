"""``spot`` and ``iv_monitor``: one level is held, voltage and current are measured there.

A level is a voltage with a current limit, or a current with a voltage limit; never both, and never
a level without its limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from drivebay._core.errors import Diagnostic
from drivebay._core.methods.levels import (
    MAX_READINGS,
    SLOW_MAINS_HZ,
    bad,
    piece_size,
    range_holds,
    too_long,
    too_much,
)
from drivebay._core.methods.parameters import (
    DelayS,
    FourWire,
    Nplc,
    SenseRangeA,
    SenseRangeV,
    SourceRangeA,
    SourceRangeV,
)
from drivebay._core.methods.spec import MethodSpec, quantity
from drivebay._core.methods.sweep import IV_COLUMNS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_LevelV = Annotated[
    float | None,
    quantity("V", "Voltage to hold; needs compliance_a", limit="voltage_v"),
]
_LevelA = Annotated[
    float | None,
    quantity("A", "Current to hold; needs compliance_v", limit="current_a"),
]
_ComplianceA = Annotated[
    _Positive | None,
    quantity(
        "A",
        "Current the instrument never exceeds while it holds level_v",
        limit="current_a",
        code="P006",
    ),
]
_ComplianceV = Annotated[
    _Positive | None,
    quantity(
        "V",
        "Voltage the instrument never exceeds while it holds level_a",
        limit="voltage_v",
        code="P006",
    ),
]
_NO_LIMIT = "is missing; a limit is required before the output goes on"


class _Bias(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A level that is held, with its limit, and how to measure there."""

    level_v: _LevelV = None
    compliance_a: _ComplianceA = None
    level_a: _LevelA = None
    compliance_v: _ComplianceV = None
    delay_s: DelayS = 0.0
    nplc: Nplc = 1.0
    source_range_v: SourceRangeV = None
    source_range_a: SourceRangeA = None
    sense_range_v: SenseRangeV = None
    sense_range_a: SenseRangeA = None
    four_wire: FourWire = False

    @property
    def sources_voltage(self) -> bool:
        """Whether a voltage is held, not a current."""
        return self.level_v is not None

    @property
    def level(self) -> float:
        """The level, in volts or amperes as :attr:`sources_voltage` says."""
        level = self.level_v if self.level_v is not None else self.level_a
        return 0.0 if level is None else level

    @property
    def compliance(self) -> float:
        """The limit of the other quantity, in amperes or volts."""
        limit = self.compliance_a if self.sources_voltage else self.compliance_v
        return 0.0 if limit is None else limit

    @property
    def source_range(self) -> float | None:
        """The fixed range of what is sourced; None leaves it to the instrument."""
        return self.source_range_v if self.sources_voltage else self.source_range_a

    @property
    def sense_range(self) -> float | None:
        """The fixed range of what is measured beside it; None leaves it to the instrument."""
        return self.sense_range_a if self.sources_voltage else self.sense_range_v

    @property
    def duration_s(self) -> float:
        """Least time it takes, in seconds."""
        return self.delay_s + self.nplc / SLOW_MAINS_HZ

    @classmethod
    def refine_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Say in JSON Schema that a level comes with its limit."""
        schema["oneOf"] = [
            {"required": ["level_v", "compliance_a"]},
            {"required": ["level_a", "compliance_v"]},
        ]
        return schema

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What does not fit together, or not into the instrument; empty when all is well.

        Args:
            ranges: limits of the model; ``regions`` is its power envelope.
        """
        if self.level_v is None and self.level_a is None:
            return [bad("P012", "/level_v", "is missing: give level_v or level_a")]
        if self.level_v is not None and self.level_a is not None:
            return [bad("P014", "/level_a", "a voltage and a current cannot both be held")]
        here, there = ("v", "a") if self.sources_voltage else ("a", "v")
        unit = here.upper()
        found = [
            bad(
                "P014",
                f"/{name}",
                f"has no meaning while {'volts' if here == 'v' else 'amperes'} are sourced",
            )
            for name in (f"compliance_{here}", f"source_range_{there}", f"sense_range_{here}")
            if getattr(self, name) is not None
        ]
        if getattr(self, f"compliance_{there}") is None:
            return [*found, bad("P006", f"/compliance_{there}", _NO_LIMIT)]
        found += range_holds(f"/source_range_{here}", self.source_range, abs(self.level), unit)
        top = max(abs(self.level), self.source_range or 0.0)
        if self.sources_voltage:
            found += too_much(ranges, top, self.compliance, "/compliance_a")
        else:
            found += too_much(ranges, self.compliance, top, "/compliance_v", volts=True)
        return found + too_long(ranges, self.duration_s)


class Spot(_Bias, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``spot``: hold a level, read voltage and current once."""


class IVMonitor(_Bias, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``iv_monitor``: hold a level, read voltage and current again and again."""

    duration_s: Annotated[
        float, quantity("s", "How long readings are taken, from the first one on", gt=0)
    ]
    interval_s: Annotated[
        float, quantity("s", "From the start of one reading to the start of the next", gt=0)
    ]

    @property
    def readings(self) -> int:
        """How many readings are taken: one at the start and one after each interval."""
        # A whole number of intervals must not lose one to rounding (0.3 / 0.1 is 2.999...).
        return int(self.duration_s / self.interval_s * (1 + 1e-12)) + 1

    @property
    def times_s(self) -> NDArray[np.float64]:
        """When each reading is due, in seconds from the first one on."""
        import numpy as np

        return np.arange(self.readings, dtype=np.float64) * self.interval_s

    @property
    def step_s(self) -> float:
        """Least time from one reading to the next, in seconds."""
        return max(self.interval_s, self.nplc / SLOW_MAINS_HZ)

    def segments(self, at_most: int = 100, seconds: float = 0.25) -> Iterator[int]:
        """How many readings the instrument takes on its own, piece after piece.

        Args:
            at_most: most readings in a piece, 1 or more.
            seconds: about how long a piece may take by :attr:`step_s`.

        Raises:
            ValueError: ``at_most`` is below 1 or ``seconds`` is not above 0.
        """
        size, left = piece_size(self.step_s, at_most, seconds), self.readings
        while left > 0:
            yield min(size, left)
            left -= size

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What does not fit together, or not into the instrument; empty when all is well."""
        found = super().problems(ranges)
        if self.readings > MAX_READINGS:
            text = (
                f"{self.interval_s:g} s makes {self.readings:,} readings, at most {MAX_READINGS:,}"
            )
            found.append(bad("P014", "/interval_s", text))
        return found


SPOT = MethodSpec(
    name="spot",
    title="Spot measurement",
    parameters=Spot,
    columns=IV_COLUMNS,
    help="Source one level, wait, and measure voltage and current once.",
    example={"level_v": 0.1, "compliance_a": 1e-3},
)
IV_MONITOR = MethodSpec(
    name="iv_monitor",
    title="Voltage and current over time",
    parameters=IVMonitor,
    columns=IV_COLUMNS,
    help="Hold one level and measure voltage and current at regular intervals.",
    example={"level_v": 0.1, "compliance_a": 1e-3, "duration_s": 0.1, "interval_s": 0.05},
)
