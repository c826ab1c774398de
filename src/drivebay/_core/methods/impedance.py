"""``cv_measurement`` and ``cf_sweep``: capacitance over bias, and over frequency.

Promises one meaning: the capacitance and the conductance are those of the two in parallel. A series
model follows by arithmetic (``D = G / (2 pi f C)``, ``Cs = C (1 + D**2)``), so there is no
parameter for it. Where a technique measures no conductance, that column is not a number, never a
zero that looks measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from drivebay._core.errors import Diagnostic
from drivebay._core.methods.levels import Axis, Levels, bad, too_long
from drivebay._core.methods.parameters import OVERLOAD, DelayS, HoldS, Points, Spacing, UpAndDown
from drivebay._core.methods.spec import Column, MethodSpec, quantity

TECHNIQUES = ("ac", "quasi_static")
"""How a capacitance is measured: by a small alternating voltage, or by the current of a ramp."""

_Aperture = Annotated[
    Literal["short", "medium", "long"],
    msgspec.Meta(description="How long one reading takes, in the instrument's three steps"),
]
_Averages = Annotated[
    int, quantity("", "Readings that are averaged into one", code="P002", ge=1, le=10_000)
]
_AcLevelV = Annotated[
    float,
    quantity("V", "Alternating voltage, root mean square", limit="ac_level_v", gt=0),
]


class CVMeasurement(Levels, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``cv_measurement``: step a bias voltage, measure the capacitance at each."""

    AXIS: ClassVar = Axis("start_v", "stop_v", "levels_v", "V", "voltage_v")

    start_v: Annotated[
        float, quantity("V", "First bias; with levels_v it may be left out", limit="voltage_v")
    ]
    stop_v: Annotated[
        float, quantity("V", "Last bias; with levels_v it may be left out", limit="voltage_v")
    ]
    points: Points
    technique: Annotated[
        Literal["ac", "quasi_static"] | None,
        msgspec.Meta(description="By default the one the instrument has; another is refused"),
    ] = None
    frequency_hz: Annotated[
        float,
        quantity("Hz", "Of the alternating voltage (technique ac)", limit="frequency_hz", gt=0),
    ] = 100e3
    ac_level_v: _AcLevelV = 0.03
    aperture: _Aperture = "medium"
    averages: _Averages = 1
    delay_s: DelayS = 0.0
    hold_s: HoldS = 0.0
    ramp_v_per_s: Annotated[
        float, quantity("V/s", "How fast the bias rises (technique quasi_static)", gt=0)
    ] = 0.1
    compliance_a: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        quantity(
            "A",
            "Current never exceeded (technique quasi_static, which needs it)",
            limit="current_a",
            code="P006",
        ),
    ] = None
    spacing: Spacing = "linear"
    levels_v: Annotated[
        tuple[float, ...] | None, quantity("V", "The bias voltages themselves, for spacing list")
    ] = None
    up_and_down: UpAndDown = False

    @property
    def step_s(self) -> float:
        """Least time one bias takes, in seconds; the readings come on top."""
        return self.delay_s

    @property
    def duration_s(self) -> float:
        """Least time all of it takes, in seconds."""
        start, stop = self.ends
        ways = 2 if self.up_and_down else 1
        ramp_s = ways * abs(stop - start) / self.ramp_v_per_s
        return self.hold_s + (
            ramp_s if self.technique == "quasi_static" else self.steps * self.step_s
        )

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What does not fit together, or not into the instrument; empty when all is well.

        Args:
            ranges: limits of the model; ``techniques`` names what it does, by method.
        """
        found = self.level_problems(ranges)
        can = ((ranges or {}).get("techniques") or {}).get("cv_measurement")
        if can is not None and self.technique not in {None, can}:
            text = f"{self.technique!r} is not what the instrument does: {can!r}"
            found.append(bad("P004", "/technique", text))
        technique = can if self.technique is None else self.technique
        if technique == "quasi_static":
            if self.compliance_a is None:
                text = "is missing; a limit is required before the output goes on"
                found.append(bad("P006", "/compliance_a", text))
            if self.spacing != "linear":
                text = f"a ramp has even steps, not spacing {self.spacing!r}"
                found.append(bad("P014", "/spacing", text))
        return found or too_long(ranges, self.duration_s)


class CFSweep(Levels, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``cf_sweep``: step the frequency, measure the capacitance at each."""

    AXIS: ClassVar = Axis("start_hz", "stop_hz", "levels_hz", "Hz", "frequency_hz", neutral=1_000.0)

    start_hz: Annotated[
        float,
        quantity(
            "Hz", "First frequency; with levels_hz it may be left out", limit="frequency_hz", gt=0
        ),
    ]
    stop_hz: Annotated[
        float,
        quantity(
            "Hz", "Last frequency; with levels_hz it may be left out", limit="frequency_hz", gt=0
        ),
    ]
    points: Points
    bias_v: Annotated[float, quantity("V", "Steady voltage at the device", limit="voltage_v")] = 0.0
    ac_level_v: _AcLevelV = 0.03
    aperture: _Aperture = "medium"
    averages: _Averages = 1
    delay_s: DelayS = 0.0
    hold_s: HoldS = 0.0
    spacing: Spacing = "log"
    levels_hz: Annotated[
        tuple[float, ...] | None, quantity("Hz", "The frequencies themselves, for spacing list")
    ] = None
    up_and_down: UpAndDown = False

    @property
    def step_s(self) -> float:
        """Least time one frequency takes, in seconds; the readings come on top."""
        return self.delay_s

    @property
    def duration_s(self) -> float:
        """Least time all of it takes, in seconds."""
        return self.hold_s + self.steps * self.step_s

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What does not fit together, or not into the instrument; empty when all is well."""
        found = self.level_problems(ranges)
        if not found and min(self.levels_hz or (1.0,)) <= 0:
            found.append(bad("P014", "/levels_hz", "a frequency must be above 0 Hz"))
        return found or too_long(ranges, self.duration_s)


CAPACITANCE_COLUMNS = (
    Column("voltage_v", "V", help="bias voltage: measured where the instrument does, else as set"),
    Column("frequency_hz", "Hz", help="frequency of the measurement; 0 for a ramp"),
    Column("capacitance_f", "F", help="capacitance in parallel with the conductance"),
    Column("conductance_s", "S", help="conductance in parallel; not a number for a ramp"),
    Column("time_s", "s", help="time of the measurement since it began"),
    OVERLOAD,
)

CV_MEASUREMENT = MethodSpec(
    name="cv_measurement",
    title="C-V measurement",
    parameters=CVMeasurement,
    columns=CAPACITANCE_COLUMNS,
    help=(
        "Step a bias voltage and measure the capacitance at each level: technique `ac` on an LCR "
        "meter, `quasi_static` on a source-measure unit. The plugin's manifest says which."
    ),
    example={"compliance_a": 1e-3},
)
CF_SWEEP = MethodSpec(
    name="cf_sweep",
    title="C-f sweep",
    parameters=CFSweep,
    columns=CAPACITANCE_COLUMNS,
    help="Step the frequency and measure the capacitance at each, at one bias voltage.",
    example={"start_hz": 1e3, "stop_hz": 1e4},
)
