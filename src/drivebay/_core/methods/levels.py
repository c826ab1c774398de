"""The levels of a sweep, whatever it steps: a voltage, a current, a frequency.

Promises that each level is visited once, in order, and never leaves the span of its two ends.
Knows nothing of a method's columns or of any instrument; where a value is wrong, says so under the
name that the method gives it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from drivebay._core.errors import Diagnostic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_POINTS = 100_000
MAX_READINGS = 10_000_000  # four months at one a second
MIN_LOG_RATIO = 1e-12
SLOW_MAINS_HZ = 50.0
_LEAST_STEP = 1e-14
_MOST_STEPS = 1e12
_EXACT_TENS = 22


def _without_noise(levels: NDArray[np.float64]) -> None:
    """Round evenly spaced levels to a billionth of a step.

    What is sent, kept and read is then 0.1616 and not 0.16160000000000002. Only where a power of
    ten that a double holds exactly does it, so that each is the double nearest to its decimals.
    """
    first, last = float(levels[0]), float(levels[-1])
    step, most = abs(last - first) / max(len(levels) - 1, 1), max(abs(first), abs(last))
    if not _LEAST_STEP < step <= most < _MOST_STEPS * step:
        return
    decimals = 9 - math.floor(math.log10(step))
    if 0 <= decimals <= _EXACT_TENS:
        levels.round(decimals, out=levels)


class Axis(msgspec.Struct, frozen=True):
    """How a method calls the ends of what it steps, and what holds them.

    Attributes:
        start: parameter of the first level.
        stop: parameter of the last one.
        given: parameter of the levels themselves; empty if it takes none.
        unit: SI unit of all three.
        limit: key of the model's ranges that they must stay within.
        neutral: an end that is never wrong, put in where a list of levels is wanted and missing.
    """

    start: str
    stop: str
    given: str
    unit: str
    limit: str
    neutral: float = 0.0


class Levels:
    """What every sweep has beside its parameters. A parameter Struct derives from it.

    Attributes:
        AXIS: the names of its ends.
    """

    __slots__ = ()
    AXIS: ClassVar[Axis]

    if TYPE_CHECKING:  # parameters of every sweep, defined with their sentences by each of them

        @property
        def points(self) -> int: ...
        @property
        def up_and_down(self) -> bool: ...

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last level."""
        axis = self.AXIS
        return getattr(self, axis.start), getattr(self, axis.stop)

    @property
    def step_s(self) -> float:
        """Least time one level takes, in seconds: the delay and one integration at 50 Hz mains.

        A floor, not a forecast: ranging, auto-zero and a second measured function come on top.
        """
        delay_s: float = getattr(self, "delay_s", 0.0)
        nplc: float = getattr(self, "nplc", 0.0)
        return delay_s + nplc / SLOW_MAINS_HZ

    @property
    def levels(self) -> NDArray[np.float64]:
        """The levels in the order in which they are set, in the unit of the ends.

        With ``up_and_down`` the way back follows without the turning point, so n points give
        2n - 1 levels.
        """
        import numpy as np

        start, stop = self.ends
        spacing = getattr(self, "spacing", "linear")
        if spacing == "list":
            levels = np.array(getattr(self, self.AXIS.given), dtype=np.float64)
        elif spacing == "log":
            levels = np.geomspace(start, stop, self.points)
        else:
            levels = np.linspace(start, stop, self.points)
            _without_noise(levels)
        if spacing != "list":
            # Rounding inside numpy may carry a level a bit past an end; a limit is a limit.
            low, high = sorted((start, stop))
            np.clip(levels, low, high, out=levels)
            levels[0], levels[-1] = start, stop
        if self.up_and_down:
            levels = np.concatenate([levels, levels[-2::-1]])
        return levels

    @property
    def max_abs(self) -> float:
        """The largest magnitude among the levels."""
        if getattr(self, "spacing", "linear") == "list":
            given: tuple[float, ...] = getattr(self, self.AXIS.given) or ()
            return max(map(abs, given))
        start, stop = self.ends
        return max(abs(start), abs(stop))

    @property
    def steps(self) -> int:
        """How many levels are set, the way back included."""
        return 2 * self.points - 1 if self.up_and_down else self.points

    @property
    def duration_s(self) -> float:
        """Least time the whole sweep takes, in seconds."""
        return self.steps * self.step_s

    def segments(
        self, at_most: int = 100, seconds: float = 0.25, *, overhead_s: float = 0.0
    ) -> Iterator[NDArray[np.float64]]:
        """The levels in pieces that an instrument runs on its own, in order.

        A piece is as many levels as fit into ``seconds`` (at least one), so that an instrument
        that listens only between sweeps listens often.

        Args:
            at_most: most levels in a piece, 1 or more (a 2400 takes 100 values a list command).
            seconds: about how long a piece may run by :attr:`step_s`.
            overhead_s: what the instrument needs for a level beside delay and integration.

        Raises:
            ValueError: ``at_most`` is below 1 or ``seconds`` is not above 0.
        """
        size = piece_size(self.step_s + overhead_s, at_most, seconds)
        levels = self.levels
        for first in range(0, len(levels), size):
            yield levels[first : first + size]

    @classmethod
    def prepare(cls, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fill in the ends and ``points`` from a list of levels."""
        axis = cls.AXIS
        if not axis.given or params.get("spacing") != "list":
            return params
        levels: Any = params.get(axis.given)
        levels = () if levels is None else getattr(levels, "tolist", lambda: levels)()
        if not isinstance(levels, list | tuple) or not levels:
            # Ask for the levels, not for ends that a list does not need. What is no list goes on
            # as text, because msgspec would take a set, which has no order, for one.
            levels = levels if isinstance(levels, list | tuple) else str(levels)
            stand_in = {axis.start: axis.neutral, axis.stop: axis.neutral, "points": 2}
            return {**stand_in, **params, axis.given: levels}
        ends = {axis.start: levels[0], axis.stop: levels[-1], "points": len(levels)}
        return {**ends, **params, axis.given: levels}

    @classmethod
    def refine_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Say in JSON Schema that a list of levels stands for its ends and their number."""
        axis = cls.AXIS
        if not axis.given:
            return schema
        ends = [axis.start, axis.stop, "points"]
        needed = [name for name in ends if name in schema["required"]]
        schema["required"] = [name for name in schema["required"] if name not in ends]
        by_list = {"required": [axis.given], "properties": {"spacing": {"const": "list"}}}
        schema["anyOf"] = [{"required": needed}, by_list]
        if "default" in schema["properties"]["spacing"]:
            # A spacing that is left out is the default one, which is no list.
            by_list["required"] = [axis.given, "spacing"]
        return schema

    def level_problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What is wrong with the levels alone; empty when all is well."""
        axis = self.AXIS
        start, stop = self.ends
        spacing = getattr(self, "spacing", "linear")
        found: list[Diagnostic] = []
        if spacing == "list":
            return self._list_problems(ranges)
        if axis.given and getattr(self, axis.given) is not None:
            found.append(bad("P014", f"/{axis.given}", f"needs spacing 'list', not {spacing!r}"))
        elif spacing == "log":
            low, high = sorted((abs(start), abs(stop)))
            if start * stop <= 0 or low < high * MIN_LOG_RATIO:
                span = f"{start:g} to {stop:g} {axis.unit}"
                text = f"a log sweep cannot go through 0 {axis.unit} ({span})"
                found.append(bad("P003", f"/{axis.start}", text))
        if start == stop:
            text = f"equals {axis.start} ({start:g} {axis.unit})"
            found.append(bad("P003", f"/{axis.stop}", text))
        return found

    def _list_problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        axis = self.AXIS
        path = f"/{axis.given}"
        levels: tuple[float, ...] | None = getattr(self, axis.given)
        if not levels:
            return [bad("P012", path, "spacing 'list' needs the levels themselves")]
        found = not_finite(path, levels)
        if (*self.ends, self.points) != (levels[0], levels[-1], len(levels)):
            text = f"{axis.start}, {axis.stop} and points must be left out or agree with"
            found.append(bad("P014", path, f"{text} {axis.given}"))
        # The ends are checked by name as well; only the levels between them are new.
        return found + outside(path, levels, axis.unit, (ranges or {}).get(axis.limit))


def piece_size(step_s: float, at_most: int, seconds: float) -> int:
    """How many steps of ``step_s`` seconds fit into a piece of about ``seconds``; one or more.

    Raises:
        ValueError: ``at_most`` is below 1 or ``seconds`` is not above 0.
    """
    if at_most < 1 or not seconds > 0:
        raise ValueError(f"at_most={at_most!r} must be 1 or more and seconds={seconds!r} > 0")
    # A step may take no time by this reckoning, and seconds may be endless.
    return max(1, int(min(at_most, seconds / step_s))) if step_s > 0 else at_most


def not_finite(path: str, values: tuple[float, ...]) -> list[Diagnostic]:
    """A problem for every entry of a list that is no finite number."""
    return [
        bad("P001", f"{path}/{index}", f"{value!r} is not a finite number")
        for index, value in enumerate(values)
        if not isfinite(value)
    ]


def outside(path: str, values: tuple[float, ...], unit: str, span: Any) -> list[Diagnostic]:
    """A problem for every entry of a list that the instrument cannot do."""
    if span is None:
        return []
    text = f"{span[0]:g} to {span[1]:g} {unit}"
    return [
        bad("P004", f"{path}/{index}", f"{value:g} {unit} is outside {text}")
        for index, value in enumerate(values)
        if isfinite(value) and not span[0] <= value <= span[1]
    ]


def too_much(
    ranges: Mapping[str, Any] | None, top_v: float, top_a: float, path: str, *, volts: bool = False
) -> list[Diagnostic]:
    """A problem if no operating region of the model holds this voltage with this current.

    Args:
        ranges: limits of the model; ``regions`` is its power envelope.
        top_v: largest voltage there may be, in volts.
        top_a: largest current there may be, in amperes.
        path: the parameter to blame, as a JSON pointer.
        volts: whether that parameter is the voltage.
    """
    regions = (ranges or {}).get("regions")
    if not regions:
        return []
    source = (ranges or {}).get("source", "instrument")
    if volts:
        most = max((r["voltage_v"] for r in regions if top_a <= r["current_a"]), default=None)
        if most is None or top_v <= most:
            return []
        text = f"{top_v:g} V is too much at {top_a:g} A: at most {most:g} V there ({source})"
    else:
        most = max((r["current_a"] for r in regions if top_v <= r["voltage_v"]), default=None)
        if most is None or top_a <= most:
            return []
        text = f"{top_a:g} A is too much at {top_v:g} V: at most {most:g} A there ({source})"
    return [bad("P004", path, text)]


def too_long(ranges: Mapping[str, Any] | None, duration_s: float) -> list[Diagnostic]:
    """A problem if a measurement takes longer than the limits allow, by its least duration."""
    longest_s = (ranges or {}).get("max_duration_s")
    if longest_s is None or duration_s <= longest_s:
        return []
    return [bad("P011", "", f"takes at least {duration_s:.0f} s, limit {longest_s:g} s")]


def range_holds(path: str, range_: float | None, top: float, unit: str) -> list[Diagnostic]:
    """A problem if a fixed range does not hold the largest level."""
    if range_ is None or range_ >= top:
        return []
    return [bad("P014", path, f"{range_:g} {unit} does not hold the level {top:g} {unit}")]


def in_region(regions: Any, top_v: float, top_a: float) -> bool:
    """Whether some operating region holds both; True without regions."""
    if not regions:
        return True
    for region in regions:  # noqa: SIM110 - setting up any()'s generator costs more than the loop
        if top_v <= region["voltage_v"] and top_a <= region["current_a"]:
            return True
    return False


def bad(code: str, path: str, message: str) -> Diagnostic:
    """A problem with one parameter."""
    return Diagnostic(code, message, path=path)
