"""``iv_sweep``: the parameters of an I-V sweep, the levels they mean, and what must hold.

The same on every instrument. Levels are each visited once, in order, and never leave the span of
``start_v`` and ``stop_v``; nothing here knows a command of any instrument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from drivebay._core.errors import Diagnostic
from drivebay._core.methods.spec import Column, MethodSpec, quantity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_POINTS = 100_000
MIN_LOG_RATIO = 1e-12
_SLOW_MAINS_HZ = 50.0
_ANY = (-inf, inf)


class IVSweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``iv_sweep``: step a voltage, measure voltage and current at each level."""

    start_v: Annotated[
        float, quantity("V", "First level; with levels_v it may be left out", limit="voltage_v")
    ]
    stop_v: Annotated[
        float, quantity("V", "Last level; with levels_v it may be left out", limit="voltage_v")
    ]
    points: Annotated[
        int,
        quantity("", "Levels on one way, both ends included", code="P002", ge=2, le=MAX_POINTS),
    ]
    compliance_a: Annotated[
        float,
        quantity(
            "A",
            "Current the instrument never exceeds, set before the output goes on",
            limit="current_a",
            code="P006",
            gt=0,
        ),
    ]
    delay_s: Annotated[
        float,
        quantity("s", "Wait between a level and its measurement", limit="delay_s", ge=0),
    ] = 0.0
    nplc: Annotated[
        float,
        quantity("", "Integration time in periods of the mains", limit="nplc", gt=0),
    ] = 1.0
    spacing: Annotated[
        Literal["linear", "log", "list"],
        msgspec.Meta(description="linear steps, equal ratios, or exactly levels_v"),
    ] = "linear"
    levels_v: Annotated[
        tuple[float, ...] | None, quantity("V", "The levels themselves, for spacing list")
    ] = None
    up_and_down: Annotated[
        bool, msgspec.Meta(description="Come back the same way; the turning point is taken once")
    ] = False
    source_range_v: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        quantity("V", "Fixed source range; by default the smallest that holds every level"),
    ] = None
    sense_range_a: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        quantity("A", "Fixed current range; by default the instrument ranges by itself"),
    ] = None
    four_wire: Annotated[
        bool, msgspec.Meta(description="Sense the voltage at the device with two more leads")
    ] = False

    @property
    def levels(self) -> NDArray[np.float64]:
        """The voltages in the order in which they are sourced, in volts.

        With ``up_and_down`` the way back follows without the turning point, so n points give
        2n - 1 levels.
        """
        import numpy as np

        if self.spacing == "list":
            levels = np.array(self.levels_v, dtype=np.float64)
        elif self.spacing == "log":
            levels = np.geomspace(self.start_v, self.stop_v, self.points)
        else:
            levels = np.linspace(self.start_v, self.stop_v, self.points)
        if self.spacing != "list":
            # Rounding inside numpy may carry a level a bit past an end; a limit is a limit.
            low, high = sorted((self.start_v, self.stop_v))
            np.clip(levels, low, high, out=levels)
            levels[0], levels[-1] = self.start_v, self.stop_v
        if self.up_and_down:
            levels = np.concatenate([levels, levels[-2::-1]])
        return levels

    @property
    def max_abs_v(self) -> float:
        """The largest magnitude among the levels, in volts."""
        if self.spacing == "list":
            return max(abs(level) for level in self.levels_v or ())
        return max(abs(self.start_v), abs(self.stop_v))

    @property
    def steps(self) -> int:
        """How many levels are sourced, the way back included."""
        return 2 * self.points - 1 if self.up_and_down else self.points

    @property
    def step_s(self) -> float:
        """Least time one level takes, in seconds: the delay and one integration at 50 Hz mains.

        A floor, not a forecast: ranging, auto-zero and a second measured function come on top.
        """
        return self.delay_s + self.nplc / _SLOW_MAINS_HZ

    @property
    def duration_s(self) -> float:
        """Least time the whole sweep takes, in seconds."""
        return self.steps * self.step_s

    def segments(self, at_most: int = 100, seconds: float = 0.25) -> Iterator[NDArray[np.float64]]:
        """The levels in pieces that an instrument runs on its own, in order.

        A piece is as many levels as fit into ``seconds`` (at least one), so that an instrument
        that listens only between sweeps listens often.

        Args:
            at_most: most levels in a piece, 1 or more (a 2400 takes 100 values a list command).
            seconds: about how long a piece may run by :attr:`step_s`.

        Raises:
            ValueError: ``at_most`` is below 1 or ``seconds`` is not above 0.
        """
        if at_most < 1 or not seconds > 0:
            raise ValueError(f"at_most={at_most!r} must be 1 or more and seconds={seconds!r} > 0")
        size = min(at_most, max(1, int(seconds / self.step_s)))
        levels = self.levels
        for first in range(0, len(levels), size):
            yield levels[first : first + size]

    @classmethod
    def prepare(cls, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fill in ``start_v``, ``stop_v`` and ``points`` from a list of levels."""
        if params.get("spacing") != "list":
            return params
        levels: Any = params.get("levels_v")
        levels = () if levels is None else getattr(levels, "tolist", lambda: levels)()
        if not isinstance(levels, list | tuple) or not levels:
            # Ask for the levels, not for ends that a list does not need. What is no list goes on
            # as text, because msgspec would take a set, which has no order, for one.
            levels = levels if isinstance(levels, list | tuple) else str(levels)
            return {"start_v": 0.0, "stop_v": 0.0, "points": 2, **params, "levels_v": levels}
        ends = {"start_v": levels[0], "stop_v": levels[-1], "points": len(levels)}
        return {**ends, **params, "levels_v": levels}

    @staticmethod
    def refine_schema(schema: dict[str, Any]) -> dict[str, Any]:
        """Say in JSON Schema that a list of levels stands for its ends and their number."""
        ends = ["start_v", "stop_v", "points"]
        schema["required"] = [name for name in schema["required"] if name not in ends]
        by_list = {"required": ["levels_v"], "properties": {"spacing": {"const": "list"}}}
        schema["anyOf"] = [{"required": ends}, by_list]
        return schema

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
        return self._times_fit(ranges) and _in_region(get("regions"), max(high, -low), amp)

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
        found: list[Diagnostic] = []
        if self.spacing != "linear" or self.levels_v is not None:
            found += self._spacing_problems(ranges)
        if self.start_v == self.stop_v and self.spacing != "list":
            found.append(_bad("P003", "/stop_v", f"equals start_v ({self.start_v:g} V)"))
        # An empty or unusable list has been reported above and has no largest level.
        if found:
            return found
        top_v = self.max_abs_v
        if self.source_range_v is not None:
            if self.source_range_v < top_v:
                text = f"{self.source_range_v:g} V does not hold the level {top_v:g} V"
                found.append(_bad("P014", "/source_range_v", text))
            top_v = max(top_v, self.source_range_v)
        if ranges is not None:
            found += self._envelope_problems(ranges, top_v)
        return found

    def _spacing_problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        if self.spacing == "list":
            return self._list_problems(ranges)
        if self.levels_v is not None:
            return [_bad("P014", "/levels_v", f"needs spacing 'list', not {self.spacing!r}")]
        low, high = sorted((abs(self.start_v), abs(self.stop_v)))
        if self.start_v * self.stop_v <= 0 or low < high * MIN_LOG_RATIO:
            text = f"a log sweep cannot go through 0 V ({self.start_v:g} to {self.stop_v:g} V)"
            return [_bad("P003", "/start_v", text)]
        return []

    def _list_problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        levels = self.levels_v
        if not levels:
            return [_bad("P012", "/levels_v", "spacing 'list' needs the levels themselves")]
        found = [
            _bad("P001", f"/levels_v/{index}", f"{level!r} is not a finite number")
            for index, level in enumerate(levels)
            if not isfinite(level)
        ]
        if (self.start_v, self.stop_v, self.points) != (levels[0], levels[-1], len(levels)):
            text = "start_v, stop_v and points must be left out or agree with levels_v"
            found.append(_bad("P014", "/levels_v", text))
        limit = (ranges or {}).get("voltage_v")
        if limit is not None:
            # The ends are checked by name; only the levels between them are left.
            found += [
                _bad("P004", f"/levels_v/{index}", f"{level:g} V is outside {_span(limit)}")
                for index, level in enumerate(levels)
                if isfinite(level) and not limit[0] <= level <= limit[1]
            ]
        return found

    def _envelope_problems(self, ranges: Mapping[str, Any], top_v: float) -> list[Diagnostic]:
        found: list[Diagnostic] = []
        regions = ranges.get("regions")
        if regions:
            here = [r["current_a"] for r in regions if top_v <= r["voltage_v"]]
            if here and self.compliance_a > max(here):
                text = (
                    f"{self.compliance_a:g} A is too much at {top_v:g} V: at most {max(here):g} A"
                    f" there ({ranges.get('source', 'instrument')})"
                )
                found.append(_bad("P004", "/compliance_a", text))
        longest_s = ranges.get("max_duration_s")
        if longest_s is not None and self.duration_s > longest_s:
            text = f"takes at least {self.duration_s:.0f} s, limit {longest_s:g} s"
            found.append(_bad("P011", "", text))
        return found


def _in_region(regions: Any, top_v: float, top_a: float) -> bool:
    if not regions:
        return True
    for region in regions:  # noqa: SIM110 - setting up any()'s generator costs more than the loop
        if top_v <= region["voltage_v"] and top_a <= region["current_a"]:
            return True
    return False


def _bad(code: str, path: str, message: str) -> Diagnostic:
    return Diagnostic(code, message, path=path)


def _span(limit: Any) -> str:
    return f"{limit[0]:g} to {limit[1]:g} V"


IV_SWEEP = MethodSpec(
    name="iv_sweep",
    title="I-V sweep",
    parameters=IVSweep,
    columns=(
        Column("voltage_v", "V", help="measured voltage at the terminals or sense leads"),
        Column("current_a", "A", help="measured current, positive out of the high terminal"),
        Column("time_s", "s", help="time of the measurement since the sweep began"),
        Column("in_compliance", "", "bool", help="whether the instrument was limiting"),
    ),
    help="Step a voltage through levels and measure voltage and current at each of them.",
)
