"""``iv_sweep`` and ``vi_sweep``: a voltage or a current is stepped, both are measured.

The same on every instrument. Levels are each visited once, in order, and never leave the span of
the two ends; nothing here knows a command of any instrument.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Annotated, Any, ClassVar

import msgspec

from drivebay._core.errors import Diagnostic
from drivebay._core.methods.levels import (
    Axis,
    Levels,
    in_region,
    range_holds,
    too_long,
    too_much,
)
from drivebay._core.methods.parameters import (
    COMPLIANCE,
    CURRENT,
    TIME,
    VOLTAGE,
    ComplianceA,
    ComplianceV,
    DelayS,
    FourWire,
    Nplc,
    Points,
    SenseRangeA,
    SenseRangeV,
    SourceRangeA,
    SourceRangeV,
    Spacing,
    UpAndDown,
)
from drivebay._core.methods.spec import MethodSpec, quantity

_ANY = (-inf, inf)


class IVSweep(Levels, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``iv_sweep``: step a voltage, measure voltage and current at each level."""

    AXIS: ClassVar = Axis("start_v", "stop_v", "levels_v", "V", "voltage_v")

    start_v: Annotated[
        float, quantity("V", "First level; with levels_v it may be left out", limit="voltage_v")
    ]
    stop_v: Annotated[
        float, quantity("V", "Last level; with levels_v it may be left out", limit="voltage_v")
    ]
    points: Points
    compliance_a: ComplianceA
    delay_s: DelayS = 0.0
    nplc: Nplc = 1.0
    spacing: Spacing = "linear"
    levels_v: Annotated[
        tuple[float, ...] | None, quantity("V", "The levels themselves, for spacing list")
    ] = None
    up_and_down: UpAndDown = False
    source_range_v: SourceRangeV = None
    sense_range_a: SenseRangeA = None
    four_wire: FourWire = False

    @property
    def max_abs_v(self) -> float:
        """The largest magnitude among the levels, in volts."""
        return self.max_abs

    def fits(self, ranges: Mapping[str, Any] | None) -> bool:
        """Whether this is plainly a good sweep; False means that it must be looked at closely.

        Made for speed: a linear sweep inside one region of the model, which is nearly every call.
        """
        start_v, stop_v, amp = self.start_v, self.stop_v, self.compliance_a
        plain = self.spacing == "linear" and self.levels_v is None
        if not plain or self.source_range_v is not None or self.sense_range_a is not None:
            return False
        # One sum is finite only if all of them are (or overflows, and is then looked at).
        if start_v == stop_v or not isfinite(start_v + stop_v + amp + self.delay_s + self.nplc):
            return False
        if ranges is None:
            return True
        low, high = (start_v, stop_v) if start_v < stop_v else (stop_v, start_v)
        get = ranges.get
        volt_span, amp_span = get("voltage_v", _ANY), get("current_a", _ANY)
        if low < volt_span[0] or high > volt_span[1] or not amp_span[0] <= amp <= amp_span[1]:
            return False
        return self._times_fit(ranges) and in_region(get("regions"), max(high, -low), amp)

    def _times_fit(self, ranges: Mapping[str, Any]) -> bool:
        nplc, delay = ranges.get("nplc", _ANY), ranges.get("delay_s", _ANY)
        if not (nplc[0] <= self.nplc <= nplc[1] and delay[0] <= self.delay_s <= delay[1]):
            return False
        return "max_duration_s" not in ranges and "points" not in ranges

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What does not fit together, or not into the instrument; empty when all is well.

        Args:
            ranges: limits of the model; ``regions`` is its power envelope.
        """
        found = self.level_problems(ranges)
        # An empty or unusable list has been reported above and has no largest level.
        if found:
            return found
        found += range_holds("/source_range_v", self.source_range_v, self.max_abs, "V")
        top_v = max(self.max_abs, self.source_range_v or 0.0)
        found += too_much(ranges, top_v, self.compliance_a, "/compliance_a")
        return found + too_long(ranges, self.duration_s)


class VISweep(Levels, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``vi_sweep``: step a current, measure voltage and current at each level."""

    AXIS: ClassVar = Axis("start_a", "stop_a", "levels_a", "A", "current_a")

    start_a: Annotated[
        float, quantity("A", "First level; with levels_a it may be left out", limit="current_a")
    ]
    stop_a: Annotated[
        float, quantity("A", "Last level; with levels_a it may be left out", limit="current_a")
    ]
    points: Points
    compliance_v: ComplianceV
    delay_s: DelayS = 0.0
    nplc: Nplc = 1.0
    spacing: Spacing = "linear"
    levels_a: Annotated[
        tuple[float, ...] | None, quantity("A", "The levels themselves, for spacing list")
    ] = None
    up_and_down: UpAndDown = False
    source_range_a: SourceRangeA = None
    sense_range_v: SenseRangeV = None
    four_wire: FourWire = False

    @property
    def max_abs_a(self) -> float:
        """The largest magnitude among the levels, in amperes."""
        return self.max_abs

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What does not fit together, or not into the instrument; empty when all is well.

        Args:
            ranges: limits of the model; ``regions`` is its power envelope.
        """
        found = self.level_problems(ranges)
        if found:
            return found
        found += range_holds("/source_range_a", self.source_range_a, self.max_abs, "A")
        top_a = max(self.max_abs, self.source_range_a or 0.0)
        found += too_much(ranges, self.compliance_v, top_a, "/compliance_v", volts=True)
        return found + too_long(ranges, self.duration_s)


IV_COLUMNS = (VOLTAGE, CURRENT, TIME, COMPLIANCE)
"""What every method gives that sources one of voltage and current and measures both."""

IV_SWEEP = MethodSpec(
    name="iv_sweep",
    title="I-V sweep",
    parameters=IVSweep,
    columns=IV_COLUMNS,
    help="Step a voltage through levels and measure voltage and current at each of them.",
)
VI_SWEEP = MethodSpec(
    name="vi_sweep",
    title="V-I sweep",
    parameters=VISweep,
    columns=IV_COLUMNS,
    help="Step a current through levels and measure voltage and current at each of them.",
)
