"""``dc_voltage``, ``dc_current``, ``resistance``: readings of a meter, one or many.

The same on a multimeter and on a source-measure unit used as one. A source-measure unit sources
nothing but what makes it a meter: 0 A for a voltage, 0 V for a current.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from drivebay._core.errors import Diagnostic
from drivebay._core.methods.levels import SLOW_MAINS_HZ, piece_size, too_long
from drivebay._core.methods.parameters import (
    OVERLOAD,
    TIME,
    FourWire,
    IntervalS,
    Nplc,
    OptionalDelayS,
    Readings,
)
from drivebay._core.methods.spec import Column, MethodSpec, quantity

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_AutoZero = Annotated[
    bool, msgspec.Meta(description="Take the meter's own zero into account at every reading")
]


class _Meter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many readings, how often, and how well."""

    readings: Readings = 1
    interval_s: IntervalS = 0.0
    nplc: Nplc = 1.0
    delay_s: OptionalDelayS = None
    auto_zero: _AutoZero = True

    @property
    def step_s(self) -> float:
        """Least time from one reading to the next, in seconds."""
        return max(self.interval_s, (self.delay_s or 0.0) + self.nplc / SLOW_MAINS_HZ)

    @property
    def duration_s(self) -> float:
        """Least time all readings take, in seconds."""
        return self.readings * self.step_s

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
        """What does not fit into the instrument; empty when all is well."""
        return too_long(ranges, self.duration_s)


class DCVoltage(_Meter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``dc_voltage``: read a voltage."""

    range_v: Annotated[
        _Positive | None,
        quantity("V", "Fixed range; by default the instrument chooses", limit="voltage_v"),
    ] = None
    high_impedance: Annotated[
        bool,
        msgspec.Meta(description="The highest input resistance there is, where one can choose"),
    ] = False


class DCCurrent(_Meter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``dc_current``: read a current."""

    range_a: Annotated[
        _Positive | None,
        quantity("A", "Fixed range; by default the instrument chooses", limit="current_a"),
    ] = None


class Resistance(_Meter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``resistance``: read a resistance with two leads or four."""

    four_wire: FourWire = False
    range_ohm: Annotated[
        _Positive | None,
        quantity("ohm", "Fixed range; by default the instrument chooses", limit="resistance_ohm"),
    ] = None
    offset_compensation: Annotated[
        bool, msgspec.Meta(description="Take voltages out that are there without a current")
    ] = False
    max_current_a: Annotated[
        _Positive | None,
        quantity(
            "A",
            "Most current through the device; an instrument that needs more refuses",
            limit="current_a",
        ),
    ] = None
    max_voltage_v: Annotated[
        _Positive | None,
        quantity(
            "V",
            "Most voltage across the leads; an instrument that cannot hold it refuses",
            limit="voltage_v",
        ),
    ] = None


DC_VOLTAGE = MethodSpec(
    name="dc_voltage",
    title="DC voltage",
    parameters=DCVoltage,
    columns=(Column("voltage_v", "V", help="measured voltage"), TIME, OVERLOAD),
    help="Read a DC voltage, once or at intervals.",
)
DC_CURRENT = MethodSpec(
    name="dc_current",
    title="DC current",
    parameters=DCCurrent,
    columns=(
        Column("current_a", "A", help="measured current, positive into the meter"),
        TIME,
        OVERLOAD,
    ),
    help="Read a DC current, once or at intervals.",
)
RESISTANCE = MethodSpec(
    name="resistance",
    title="Resistance",
    parameters=Resistance,
    columns=(Column("resistance_ohm", "ohm", help="measured resistance"), TIME, OVERLOAD),
    help="Read a resistance with two leads or four, once or at intervals.",
)
