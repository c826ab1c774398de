"""What of a run is drawn: which column against which, in which curves, which way they go.

Promises: arithmetic on arrays and no drawing, so a figure and a terminal show the same thing; a
run's columns are never changed. numpy is imported when the first run is looked at.

A standard method says what is drawn by its name. Of any other run the first column of numbers that
is no time is the x axis; where nothing but time was stepped, time is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from drivebay.plotting.numbers import (
    PREFIXES,
    engineering,
    exponent_of,
    sign_of,
    told_apart,
    words,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

TURN = 0.02  # of the span; less is noise of a measured abscissa
_LOG_DECADES = 3.0  # values that span more than this are shown on a logarithmic axis too
_SAME = 1e-3  # of its size; a column that varies less than this was not stepped
_ROUNDING = 1e-12  # of its size; what is less comes from arithmetic
_DOTS, _LEAST_DOTS = 2048, 16  # of an axis of a picture, which is at most 2000 dots wide
_MOST_DRAWN = 6000  # points of a piece; more than any picture is wide, few enough for an SVG
TITLES = {
    "iv_sweep": "I-V sweep",
    "vi_sweep": "V-I sweep",
    "cv_measurement": "C-V measurement",
    "cv_sweep": "C-V sweep",
    "cf_sweep": "C-f sweep",
    "iv_monitor": "Voltage and current over time",
    "dc_voltage": "DC voltage",
    "dc_current": "DC current",
}
# Method: the x axis, what is drawn against it, and what tells the curves of a family apart.
_RECIPES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "iv_sweep": ("voltage_v", ("current_a",), ""),
    "vi_sweep": ("current_a", ("voltage_v",), ""),
    "transfer_curve": ("gate_voltage_v", ("drain_current_a",), "drain_voltage_v"),
    "output_curve": ("drain_voltage_v", ("drain_current_a",), "gate_voltage_v"),
    "cv_measurement": ("voltage_v", ("capacitance_f",), ""),
    "cf_sweep": ("frequency_hz", ("capacitance_f",), ""),
    "iv_monitor": ("time_s", ("current_a", "voltage_v"), ""),
}


class Plottable(Protocol):
    """What a plot reads of a run; :class:`drivebay.Run` is one."""

    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def units(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Axis:
    """A quantity on an axis: its name, unit and the power of ten it is shown in.

    Where a value hardly changes the axis shows how far it is from ``offset``, since nobody can
    read 5.000001 and 5.000002.
    """

    name: str
    unit: str
    exponent: int = 0
    offset: float = 0.0

    @property
    def title(self) -> str:
        """The name, and what is taken off."""
        if not self.offset:
            return self.name
        sign = "\u2212" if self.offset > 0 else "+"
        return f"{self.name} {sign} {engineering(abs(self.offset), self.unit, 10)}"

    @property
    def label(self) -> str:
        unit = f"{PREFIXES[self.exponent]}{self.unit}"
        return f"{self.title} ({unit})" if unit else self.title

    def shown(self, values: Array) -> Array:
        """The values as they stand on the axis."""
        moved: Array = (values - self.offset) / 10.0**self.exponent
        return moved


@dataclass(frozen=True, slots=True)
class Curve:
    """Points that belong together, and a name where there are several curves."""

    x: Array
    y: Array
    limited: Array | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn of a run: one x axis, one or more quantities.

    Attributes:
        x: name of the column on the x axis; empty for the number of the point.
        ys: names of the columns drawn against it.
        family: name of the column whose level tells curves apart; empty for one curve.
    """

    x: str
    ys: tuple[str, ...]
    family: str
    columns: Mapping[str, Array]
    units: Mapping[str, str]

    def across(self) -> Array:
        """The abscissae, in the unit of their column."""
        import numpy as np

        return self.columns[self.x] if self.x else np.arange(float(len(self.columns[self.ys[0]])))

    def curves(self, y: str) -> list[Curve]:
        """The curves of one quantity: one, or one for each level of the family's column."""
        x, values, limited = self.across(), self.columns[y], self.columns.get("in_compliance")
        if not self.family:
            return [Curve(x, values, limited)]
        levels = self.columns[self.family]
        unit = self.units.get(self.family, "")
        parts = list(_plateaus(levels))
        named = told_apart([_median(levels[part]) for part in parts], unit)
        about = words(self.family, unit)
        return [
            Curve(x[part], values[part], None if limited is None else limited[part], f"{about} {n}")
            for part, n in zip(parts, named, strict=True)
        ]


def chart_of(run: Plottable) -> Chart:
    """Say what to draw of a run.

    Raises:
        ValueError: the run has no column of numbers.
    """
    columns, units = dict(run.columns), dict(run.units)
    x, ys, family = _RECIPES.get(str(getattr(run, "method", "")), ("", (), ""))
    if not x or any(name not in columns for name in (x, *ys)):
        x, ys = _choose(columns, units)
        family = ""
    return Chart(x, ys, family if family in columns else "", columns, units)


def _choose(columns: Mapping[str, Array], units: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the column for the x axis and those to draw against it."""
    numbers = [name for name, values in columns.items() if values.dtype.kind in "fiu"]
    if not numbers:
        names = ", ".join(columns) or "none"
        raise ValueError(f"nothing to plot: the run has no column of numbers (columns: {names})")
    times = [name for name in numbers if units.get(name) == "s" and "time" in name]
    # Time is a fact about each point; it is the x axis only where nothing else was stepped.
    plain = [name for name in numbers if name not in times]
    if times and plain and (len(plain) == 1 or _stands_still(columns[plain[0]])):
        return times[0], tuple(plain)
    if len(plain) >= 2:
        return plain[0], tuple(plain[1:])
    return "", (numbers[0],)


def _stands_still(values: Array) -> bool:
    import numpy as np

    finite = values[np.isfinite(values)]
    if finite.size < 3:
        return False
    return bool(np.ptp(finite) <= _SAME * np.abs(finite).max())


def _plateaus(levels: Array) -> Iterator[slice]:
    """Split where a measured level jumps; its noise is no jump."""
    import numpy as np

    if not len(levels):
        return
    span = float(np.ptp(levels[np.isfinite(levels)])) if np.isfinite(levels).any() else 0.0
    size = float(np.nanmax(np.abs(levels))) if span else 0.0
    jumps = np.abs(np.diff(levels)) > max(TURN * span, _SAME * size)
    edges = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(levels)]
    for begin, end in pairwise(edges):
        yield slice(begin, end)


def _median(values: Array) -> float:
    import numpy as np

    return float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan


def directions(x: Array) -> Iterator[tuple[slice, bool]]:
    """Split a sweep where it turns; pieces share the turning point, so that no gap shows.

    x is often measured: in compliance it stands still but for noise, which must not look like a
    way back. So a turn is a turn once it has gone a part of the whole span back.
    """
    yield from turns(_extrema(x), len(x))


def turns(places: Sequence[tuple[int, float]], length: int) -> Iterator[tuple[slice, bool]]:
    """What :func:`directions` gives of a sweep of so many points, seen at some of its places."""
    values = [value for _, value in places]
    least = TURN * (max(values) - min(values)) if values else 0.0
    begin, rising = 0, True
    known = False
    last_at, last = places[0] if places else (0, 0.0)
    for at, value in places:
        step = value - last
        if known and step != 0 and (step > 0) != rising and abs(step) > least:
            yield slice(begin, last_at + 1), rising
            begin, rising = last_at, not rising
            last_at, last = at, value
        elif (not known and abs(step) > least) or (known and (step >= 0) == rising):
            rising, known = (step > 0) if not known else rising, True
            last_at, last = at, value
    yield slice(begin, length), rising


def _extrema(x: Array) -> list[tuple[int, float]]:
    """The finite values that a way may turn at, and where: of a plateau its first and last.

    What lies between two of them goes one way, so nothing that :func:`directions` looks for is
    there, and of a million points it looks at a few.
    """
    import numpy as np

    at = np.flatnonzero(np.isfinite(x))
    steps = np.sign(np.diff(x[at]))
    kept = np.ones(len(at), dtype=bool)
    kept[1:-1] = steps[1:] != steps[:-1]
    return list(zip(at[kept].tolist(), x[at[kept]].tolist(), strict=True))


def strokes(x: Array, y: Array, pieces: Sequence[slice]) -> tuple[Array, Array]:
    """Return many pieces as one line with gaps in which what lies on the same dots comes once.

    Sweeps that were repeated a thousand times lie over each other, and a picture that draws each of
    them is slow, large and looks the same. The highest and the lowest point over each dot of the
    width are among what is returned, and no point is moved.

    Args:
        x: abscissae as they stand on the axis, all of the run.
        y: ordinates likewise; logarithms for a logarithmic axis.
        pieces: parts of both, each a line of its own.
    """
    import numpy as np

    places = np.concatenate([np.arange(p.start, p.stop) for p in pieces])
    piece = np.repeat(np.arange(len(pieces)), [p.stop - p.start for p in pieces])
    finite = np.isfinite(x[places]) & np.isfinite(y[places])
    a, b = x[places], y[places]
    joined = (piece[1:] == piece[:-1]) & finite[1:] & finite[:-1]
    candidates = np.flatnonzero(joined)
    column = _dots(a, finite, _DOTS)
    dots = _DOTS  # fewer where a cloud of noise would be drawn stroke by stroke
    while True:
        spot = column * dots + _dots(b, finite, dots)
        way = spot[candidates] * (_DOTS * dots) + spot[candidates + 1]
        once = candidates[np.unique(way, return_index=True)[1]]
        if len(once) <= _MOST_DRAWN or dots <= _LEAST_DOTS:
            break
        dots //= 2
    # Extremes that share a dot with what is drawn already would only fill the gaps of a dash.
    spot = column * _DOTS + _dots(b, finite, _DOTS)
    extremes = _extremes(column, b, finite)
    lacking = extremes[~np.isin(spot[extremes], spot[np.concatenate([once, once + 1])])]
    leaves = np.append(joined, False)
    steps = np.where(leaves[lacking], lacking, lacking - 1)  # else the step that leads to it
    return _line(a, b, np.union1d(once, steps[(steps >= 0) & leaves[steps]]))


def _dots(values: Array, finite: Array, dots: int) -> Array:
    """Which dot of an axis each value falls on; not finite ones on the first."""
    import numpy as np

    kept = values[finite]
    low, span = (kept.min(), np.ptp(kept)) if kept.size else (0.0, 0.0)
    scaled = np.where(finite, values - low, 0.0) / (span or 1.0) * (dots - 1)
    found: Array = np.rint(scaled).astype(np.int64)
    return found


def spots(x: Array, y: Array) -> Array:
    """Return which points to mark: all, or of very many one on each dot of a picture.

    Args:
        x: abscissae as they stand on the axis.
        y: ordinates likewise.
    """
    import numpy as np

    shown = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    dots = _DOTS
    while len(shown) > _MOST_DRAWN and dots > _LEAST_DOTS:
        all_ = np.ones(len(shown), dtype=bool)
        dot = _dots(x[shown], all_, dots) * dots + _dots(y[shown], all_, dots)
        shown = np.sort(shown[np.unique(dot, return_index=True)[1]])
        dots //= 2
    return shown


def _extremes(column: Array, y: Array, finite: Array) -> Array:
    """Places of the lowest and the highest point over each dot of the width."""
    import numpy as np

    at = np.flatnonzero(finite)
    order = at[np.lexsort((y[at], column[at]))]
    if not order.size:
        return order
    change = np.flatnonzero(np.diff(column[order]))
    return np.concatenate([order[[0]], order[change], order[change + 1], order[[-1]]])


def _line(x: Array, y: Array, begins: Array) -> tuple[Array, Array]:
    """A line through steps from a place to the next one, with a gap where steps do not follow."""
    import numpy as np

    if not begins.size:
        return np.empty(0), np.empty(0)
    last = np.append(np.diff(begins) != 1, True)  # its end is where no other step begins
    none, gap = -2, -1
    steps = [begins, np.where(last, begins + 1, none), np.where(last, gap, none)]
    places = np.stack(steps, axis=1).ravel()
    places = places[places != none][:-1]
    known = places >= 0
    return np.where(known, x[places], np.nan), np.where(known, y[places], np.nan)


def thinned(x: Array, y: Array) -> Array:
    """Return which points to draw: all, or of very many the lowest and highest of each stretch.

    A stretch is narrower than a dot of the picture, so nothing that shows is left out, and a
    figure of a million points is no larger than one of a few thousand.
    """
    import numpy as np

    count = len(x)
    if count <= _MOST_DRAWN:
        return np.arange(count)
    size = math.ceil(count / (_MOST_DRAWN // 2))
    stretches = math.ceil(count / size)
    # The last stretch is filled with its last point, which changes neither extreme.
    padded = np.full(stretches * size, y[-1], dtype=float)
    padded[:count] = y
    rows = padded.reshape(stretches, size)
    begin = np.arange(stretches) * size
    low = begin + np.argmin(np.where(np.isnan(rows), np.inf, rows), axis=1)
    high = begin + np.argmax(np.where(np.isnan(rows), -np.inf, rows), axis=1)
    return np.unique(np.minimum(np.concatenate([[0], low, high, [count - 1]]), count - 1))


def axis_of(name: str, unit: str, values: Array, *, steady: bool = True) -> Axis:
    """The axis of a column: its words, unit, and the prefix its largest value reads well in.

    Args:
        name: the column.
        unit: its unit.
        values: everything that will be on the axis.
        steady: whether a value that hardly changes is shown by how far it is from its median.
    """
    import numpy as np

    finite = values[np.isfinite(values)]
    top, span = largest(values), float(np.ptp(finite)) if finite.size else 0.0
    if steady and _ROUNDING * top < span < _SAME * top:
        # No finer than ten times what is left to be shown: 5 V, and neither 5.000001 V nor 1 kohm
        # of which 400 mohm are left.
        step = 10.0 ** (math.floor(math.log10(span)) + 1)
        offset = float(f"{round(float(np.median(finite)) / step) * step:.12g}")
        return Axis(words(name, unit), sign_of(unit), exponent_of(span, unit), offset)
    # 0.9 V is an axis in V, not one up to 900 mV.
    return Axis(words(name, unit), sign_of(unit), exponent_of(2 * top, unit))


def largest(values: Array) -> float:
    """The largest finite magnitude; 0 where there is none."""
    import numpy as np

    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def spans_decades(values: Array) -> bool:
    """Whether the data has more in it than a linear axis shows."""
    import numpy as np

    sizes = np.abs(values[np.isfinite(values)])
    above = sizes[sizes > 0]
    if above.size < 5:
        return False
    # A quarter of the points against the top: a resistor's is a part of it whatever its noise about
    # zero, a diode's is orders below. What is below the resolution is zero, which no such axis can
    # show, but it is as low as the lowest that shows.
    low, high = np.quantile(np.maximum(sizes, above.min()), [0.25, 1.0])
    return bool(high / low > 10**_LOG_DECADES)


def log_floor(sizes: Array) -> float:
    """Where a logarithmic axis begins: noise about zero would have it begin at any depth.

    Args:
        sizes: magnitudes above zero, at least one.
    """
    import numpy as np

    low = float(np.quantile(sizes, 0.03))
    return low if sizes.min() < low / 10 else float(sizes.min())


def wants_log(charts: Sequence[Chart], y: str, log: bool | None) -> bool:
    """Whether the magnitude of a quantity goes on a logarithmic axis: as told, or by the data.

    Only a current spans decades as a matter of course; a voltage that does crosses zero.
    """
    if log is not None:
        return log
    return any(
        spans_decades(curve.y)
        for chart in charts
        if chart.units.get(y) == "A"
        for curve in chart.curves(y)  # one by one: a family's lowest is no part of its highest
    )


def heading_of(run: object) -> str:
    """What was measured, as a title."""
    method = str(getattr(run, "method", "") or "run")
    text = method.replace("_", " ")
    return TITLES.get(method, text[:1].upper() + text[1:])
