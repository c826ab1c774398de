"""``transfer_curve`` and ``output_curve``: two voltages, three terminals, a family of curves.

One channel is at the gate, one at the drain; both share the source terminal. The outer voltage is
held while the inner one is swept. It is the same whether the channels sit in one instrument or in
two: nothing here knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from drivebay._core.errors import Diagnostic
from drivebay._core.methods.levels import (
    MAX_READINGS,
    Axis,
    Levels,
    bad,
    not_finite,
    outside,
    piece_size,
    too_long,
    too_much,
)
from drivebay._core.methods.parameters import (
    TIME,
    DelayS,
    FourWire,
    HoldS,
    Nplc,
    Points,
    SenseRangeA,
    UpAndDown,
)
from drivebay._core.methods.spec import Column, MethodSpec, quantity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DrainComplianceA = Annotated[
    float,
    quantity(
        "A",
        "Drain current that is never exceeded, set before the output goes on",
        limit="current_a",
        code="P006",
        gt=0,
    ),
]
_GateComplianceA = Annotated[
    float,
    quantity(
        "A",
        "Gate current that is never exceeded, set before the output goes on",
        limit="current_a",
        code="P006",
        gt=0,
    ),
]


class _Curves(Levels):
    """What both families have: an inner sweep, and a list of outer levels."""

    __slots__ = ()
    OUTER: ClassVar[str]

    if TYPE_CHECKING:

        @property
        def drain_compliance_a(self) -> float: ...
        @property
        def gate_compliance_a(self) -> float: ...
        @property
        def hold_s(self) -> float: ...

    @property
    def outer_levels(self) -> tuple[float, ...]:
        """The voltage that is held for each curve, in volts, in order."""
        levels: tuple[float, ...] = getattr(self, self.OUTER)
        return levels

    @property
    def rows(self) -> int:
        """How many points all curves have together."""
        return len(self.outer_levels) * self.steps

    @property
    def duration_s(self) -> float:
        """Least time all curves take, in seconds."""
        return len(self.outer_levels) * (self.hold_s + self.steps * self.step_s)

    def curves(
        self, at_most: int = 100, seconds: float = 0.25
    ) -> Iterator[tuple[float, bool, NDArray[np.float64]]]:
        """Pieces of the curves, in order, each with the voltage that is held meanwhile.

        Args:
            at_most: most levels in a piece, 1 or more.
            seconds: about how long a piece may run by :attr:`step_s`.

        Yields:
            The outer voltage in volts; whether a curve begins here (then ``hold_s`` comes between
            its first level and the first reading); the inner levels in volts.

        Raises:
            ValueError: ``at_most`` is below 1 or ``seconds`` is not above 0.
        """
        size = piece_size(self.step_s, at_most, seconds)
        levels = self.levels
        for outer in self.outer_levels:
            for first in range(0, len(levels), size):
                yield outer, first == 0, levels[first : first + size]

    @classmethod
    def prepare(cls, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take one number, or its text, for a list of one outer level."""
        outer = params.get(cls.OUTER)
        plain = getattr(outer, "tolist", lambda: outer)()
        if isinstance(plain, int | float | str) and not isinstance(plain, bool):
            return {**params, cls.OUTER: [plain]}
        return {**params, cls.OUTER: plain} if cls.OUTER in params else params

    @classmethod
    def refine_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Say in JSON Schema that one outer level needs no list."""
        entry = schema["properties"][cls.OUTER]
        several = {key: entry.pop(key) for key in ("type", "items") if key in entry}
        entry["anyOf"] = [{**several, "minItems": 1}, *several["items"].get("anyOf", ())]
        return schema

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What does not fit together, or not into the instruments; empty when all is well.

        Args:
            ranges: limits of both channels; ``regions`` is their power envelope.
        """
        path, outer = f"/{self.OUTER}", self.outer_levels
        found = self.level_problems(ranges)
        if not outer:
            found.append(bad("P012", path, "needs one voltage at least"))
        found += not_finite(path, outer)
        found += outside(path, outer, "V", (ranges or {}).get("voltage_v"))
        if found:
            return found
        if self.rows > MAX_READINGS:
            text = f"makes {self.rows:,} points in all, at most {MAX_READINGS:,}"
            found.append(bad("P002", "/points", text))
        held = max(abs(level) for level in outer)
        gate, drain = self.max_abs, held
        if self.OUTER.startswith("gate"):
            gate, drain = held, self.max_abs
        found += too_much(ranges, drain, self.drain_compliance_a, "/drain_compliance_a")
        found += too_much(ranges, gate, self.gate_compliance_a, "/gate_compliance_a")
        return found + too_long(ranges, self.duration_s)


class TransferCurve(_Curves, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``transfer_curve``: sweep the gate at one or more drain voltages."""

    AXIS: ClassVar = Axis("gate_start_v", "gate_stop_v", "", "V", "voltage_v")
    OUTER: ClassVar = "drain_v"

    gate_start_v: Annotated[float, quantity("V", "First gate voltage", limit="voltage_v")]
    gate_stop_v: Annotated[float, quantity("V", "Last gate voltage", limit="voltage_v")]
    points: Points
    drain_v: Annotated[
        tuple[float, ...], quantity("V", "Drain voltages, one curve at each of them")
    ]
    drain_compliance_a: _DrainComplianceA
    gate_compliance_a: _GateComplianceA
    delay_s: DelayS = 0.0
    hold_s: HoldS = 0.0
    nplc: Nplc = 1.0
    up_and_down: UpAndDown = False
    drain_sense_range_a: SenseRangeA = None
    gate_sense_range_a: SenseRangeA = None
    four_wire: FourWire = False


class OutputCurve(_Curves, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``output_curve``: sweep the drain at one or more gate voltages."""

    AXIS: ClassVar = Axis("drain_start_v", "drain_stop_v", "", "V", "voltage_v")
    OUTER: ClassVar = "gate_v"

    drain_start_v: Annotated[float, quantity("V", "First drain voltage", limit="voltage_v")]
    drain_stop_v: Annotated[float, quantity("V", "Last drain voltage", limit="voltage_v")]
    points: Points
    gate_v: Annotated[tuple[float, ...], quantity("V", "Gate voltages, one curve at each of them")]
    drain_compliance_a: _DrainComplianceA
    gate_compliance_a: _GateComplianceA
    delay_s: DelayS = 0.0
    hold_s: HoldS = 0.0
    nplc: Nplc = 1.0
    up_and_down: UpAndDown = False
    drain_sense_range_a: SenseRangeA = None
    gate_sense_range_a: SenseRangeA = None
    four_wire: FourWire = False


CURVE_COLUMNS = (
    Column("gate_voltage_v", "V", help="measured voltage between gate and source"),
    Column("drain_voltage_v", "V", help="measured voltage between drain and source"),
    Column("drain_current_a", "A", help="measured current into the drain"),
    Column("gate_current_a", "A", help="measured current into the gate"),
    TIME,
    Column("in_compliance", "", "bool", help="whether one of the two channels was limiting"),
)

TRANSFER_CURVE = MethodSpec(
    name="transfer_curve",
    title="Transfer curve",
    parameters=TransferCurve,
    columns=CURVE_COLUMNS,
    help="Sweep the gate of a transistor at each of some drain voltages; measure both channels.",
    example={"drain_v": [0.1]},
)
OUTPUT_CURVE = MethodSpec(
    name="output_curve",
    title="Output curve",
    parameters=OutputCurve,
    columns=CURVE_COLUMNS,
    help="Sweep the drain of a transistor at each of some gate voltages; measure both channels.",
    example={"gate_v": [0.0, 0.1]},
)
