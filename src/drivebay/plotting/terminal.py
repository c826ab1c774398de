"""Curves of finished runs in the terminal: axes with round numbers, marks, a legend.

Promises: every line is as wide as was asked, the picture as high as was asked; directions, runs and
points in compliance differ by mark, not by colour; with ``ascii_only`` nothing but ASCII comes out.
Never draws what a figure of the same runs would not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from drivebay.plotting import facts
from drivebay.plotting.curves import (
    Axis,
    Chart,
    Curve,
    Plottable,
    axis_of,
    directions,
    heading_of,
    log_floor,
    wants_log,
)
from drivebay.plotting.figures import same_charts
from drivebay.plotting.numbers import decades, engineering, in_ascii, round_ticks, words

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_LEAST_WIDTH, _LEAST_HEIGHT = 40, 10
_LIMITED, _LIMITED_ASCII = "\u00d7", "#"
# Up and down, or up only, of the first, second, ... curve. Letters where there is only ASCII.
_MARKS = ("●○", "▲△", "■□", "◆◇", "★☆", "▼▽")
_MARKS_ASCII = ("Aa", "Bb", "Cc", "Dd", "Ee", "Ff", "Gg", "Hh", "Ii", "Jj")
_ONE_ASCII = "*o"
_BOTH, _BOTH_ASCII = "◉", "@"  # of one curve: a place passed on the way up and on the way down
_LINES_A_TICK, _CHARACTERS_A_TICK = 4, 12
_MANY_TIMES = 30  # so much wider a span of frequencies is shown over decades


@dataclass(frozen=True, slots=True)
class _Scale:
    """One direction of the raster: the span it shows and the ticks on it."""

    low: float
    high: float
    cells: int
    ticks: Sequence[float] = ()
    log: bool = False

    def cell(self, value: float) -> int:
        """The cell a value falls into, from 0."""
        return round((value - self.low) / (self.high - self.low) * (self.cells - 1))

    def cells_of(self, values: Array) -> Array:
        """The cells of many values."""
        import numpy as np

        scaled = (values - self.low) / (self.high - self.low) * (self.cells - 1)
        return np.rint(scaled).astype(np.int64)

    def said(self, unit: str) -> list[str]:
        """What stands at each tick: as many digits as it takes to say them as they are."""
        values = [10**tick if self.log else tick for tick in self.ticks]
        apart = min((abs(b - a) for a, b in pairwise(values)), default=0.0)
        digits = next((n for n in range(3, 12) if _are_said(values, n, apart / 100)), 12)
        return [engineering(value, unit, digits) for value in values]


def _are_said(values: Sequence[float], digits: int, within: float) -> bool:
    return all(abs(float(f"{value:.{digits}g}") - value) <= within for value in values)


@dataclass(slots=True)
class _Raster:
    """Characters by row and column; what is drawn later lies on top."""

    width: int
    height: int
    cells: dict[tuple[int, int], str] = field(default_factory=dict)

    def put(self, column: int, row: int, mark: str) -> None:
        if 0 <= column < self.width and 0 <= row < self.height:
            self.cells[self.height - 1 - row, column] = mark

    def lines(self) -> Iterator[str]:
        for row in range(self.height):
            yield "".join(self.cells.get((row, column), " ") for column in range(self.width))


def ascii_plot(
    runs: Plottable | Sequence[Plottable],
    width: int = 80,
    height: int = 24,
    *,
    log: bool | None = None,
    ascii_only: bool = False,
) -> str:
    """Return a run, or several over each other, as text for a terminal.

    Full marks are the way up, hollow ones the way down, crosses points in compliance; several runs
    have marks of their own, and the legend names what differs between them. Of several measured
    quantities the first is drawn.

    Args:
        runs: a run, or runs with the same columns.
        width: characters a line; at least 40.
        height: lines, the title, axes and legend included; at least 10. A longer legend adds to it.
        log: draw the magnitude on a logarithmic axis; None does where a current spans more than
            three decades.
        ascii_only: use no character outside ASCII, for a terminal that has no more.

    Raises:
        ValueError: no runs, runs of different things, no column of numbers, or too small a picture.
    """
    if width < _LEAST_WIDTH or height < _LEAST_HEIGHT:
        raise ValueError(
            f"a picture of {width} x {height} characters is too small;"
            f" {_LEAST_WIDTH} x {_LEAST_HEIGHT} at least"
        )
    several = list(runs) if isinstance(runs, Sequence) else [runs]
    charts = same_charts(several)
    y = charts[0].ys[0]
    logarithmic = wants_log(charts, y, log)
    curves = _curves(charts, facts.differences(several) if len(several) > 1 else [""], y)
    shown = None if logarithmic else _axis(charts, y)
    if shown is not None:
        curves = [replace(curve, y=curve.y - shown.offset) for curve in curves]
    marks = _marks(len(curves), ascii_only)
    legend = _legend(curves, marks, width, ascii_only)
    title = _title(several, charts[0], y, shown, width)
    rows = max(3, height - len(title) - 2 - len(legend))
    body = _body(curves, charts[0], y, logarithmic, (width, rows), marks, ascii_only)
    lines = [*title, *body, *legend]
    if ascii_only:
        lines = [in_ascii(line.translate(_FRAME)) for line in lines]
    return "\n".join(line[:width].ljust(width) for line in lines)


_FRAME = str.maketrans({"┤": "+", "│": "|", "└": "+", "─": "-", "┬": "+"})


def _curves(charts: Sequence[Chart], names: Sequence[str], y: str) -> list[Curve]:
    found = []
    for chart, name in zip(charts, names, strict=True):
        for curve in chart.curves(y):
            label = ", ".join(filter(None, (name, curve.label)))
            found.append(Curve(curve.x, curve.y, curve.limited, label))
    return found


def _marks(count: int, ascii_only: bool) -> list[str]:
    """Two marks a curve, up and down; they come round again where there are too many curves."""
    if ascii_only and count == 1:
        return [_ONE_ASCII]
    known = _MARKS_ASCII if ascii_only else _MARKS
    return [known[at % len(known)] for at in range(count)]


def _axis(charts: Sequence[Chart], y: str) -> Axis:
    """What stands on the axis: of a value that hardly changes how far it is from its median."""
    import numpy as np

    values = np.concatenate([chart.columns[y].astype(float) for chart in charts])
    return axis_of(y, charts[0].units.get(y, ""), values)


def _title(
    runs: Sequence[object], chart: Chart, y: str, shown: Axis | None, width: int
) -> list[str]:
    names = {facts.instruments(run) for run in runs}
    ids = [str(getattr(runs[0], "id", ""))] if len(runs) == 1 else [f"{len(runs)} runs"]
    state = str(getattr(runs[0], "state", "done"))
    parts = [heading_of(runs[0]), names.pop() if len(names) == 1 else "", *ids]
    if len(runs) == 1 and state != "done":
        parts.append(state)
    if len(" · ".join(filter(None, parts))) > width:  # the id finds the serial number again
        parts[1] = parts[1].partition(" (no. ")[0]
    name = words(y, chart.units.get(y, ""))
    what = shown.title if shown is not None else f"|{name}| (logarithmic)"
    against = words(chart.x, chart.units.get(chart.x, "")) if chart.x else "Point"
    return [" · ".join(filter(None, parts))[:width], f"{what} against {against.lower()}"[:width]]


def _body(
    curves: Sequence[Curve],
    chart: Chart,
    y: str,
    logarithmic: bool,
    size: tuple[int, int],
    marks: Sequence[str],
    ascii_only: bool,
) -> list[str]:
    """The raster with its two axes."""
    import numpy as np

    width, rows = size
    x_unit, y_unit = chart.units.get(chart.x, ""), chart.units.get(y, "")
    points = [_points(curve, logarithmic) for curve in curves]
    across = _abscissae(curves)
    # Frequencies over decades are drawn over decades, as in a picture.
    over_decades = x_unit == "Hz" and _spans(across, _MANY_TIMES)
    if over_decades:
        across = np.log10(across)
        points = [replace(each, x=np.log10(each.x)) for each in points]
    heights = np.concatenate([each.y for each in points])
    tall = _scale(heights, rows, _LINES_A_TICK, logarithmic)
    labels = dict(zip(map(tall.cell, tall.ticks), tall.said(y_unit), strict=True))
    margin = max([6, *map(len, labels.values())])
    inner = width - margin - 2
    wide = _scale(across, inner, _CHARACTERS_A_TICK, False)
    if over_decades:
        low, high = float(across.min()), float(across.max())
        wide = _Scale(low, high, inner, decades(low, high, inner // _CHARACTERS_A_TICK), log=True)
    raster = _Raster(inner, rows)
    limited, both = (_LIMITED_ASCII, _BOTH_ASCII) if ascii_only else (_LIMITED, _BOTH)
    for each, pair in zip(points, marks, strict=True):
        _draw(raster, each, wide, tall, pair, limited, both if len(curves) == 1 else "")
    lines = []
    for number, text in enumerate(raster.lines()):
        label = labels.get(rows - 1 - number, "")
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{text}")
    return [*lines, *_under(wide, margin, x_unit)]


def _spans(values: Array, times: float) -> bool:
    """Whether all of them are positive, and the largest is so many times the smallest."""
    return bool(values.size and values.min() > 0 and values.max() > times * values.min())


def _abscissae(curves: Sequence[Curve]) -> Array:
    """The ends of what was swept, also where a logarithm leaves points out."""
    import numpy as np

    together = np.concatenate([curve.x for curve in curves])
    ends: Array = together[np.isfinite(together)]
    return ends


@dataclass(frozen=True, slots=True)
class _Points:
    """The places of a curve in their order, and the kind of mark of each, one of :data:`_KINDS`."""

    x: Array
    y: Array
    kinds: Array


_KINDS = ("up", "down", "limited")
_UP, _DOWN, _LIMIT = range(len(_KINDS))


def _points(curve: Curve, logarithmic: bool) -> _Points:
    """Every place that can be shown; none is thinned out, so no extreme is lost."""
    import numpy as np

    kinds = np.zeros(len(curve.x), dtype=np.int64)
    pieces = list(directions(curve.x))
    if len({rising for _, rising in pieces}) > 1:
        for number, (piece, rising) in enumerate(pieces):
            # The turning point belongs to the piece before.
            kinds[piece.start + bool(number) : piece.stop] = _UP if rising else _DOWN
    if curve.limited is not None:
        kinds[curve.limited] = _LIMIT
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log10(np.abs(curve.y)) if logarithmic else np.asarray(curve.y, dtype=float)
    shown = np.isfinite(curve.x) & np.isfinite(y)
    return _Points(np.asarray(curve.x, dtype=float)[shown], y[shown], kinds[shown])


def _scale(values: Array, cells: int, a_tick: int, log: bool) -> _Scale:
    """A span that holds all values and ends at no odd number, and its ticks."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if log and values.size:
        low = _log_floor(values)
    if not high > low:
        room = 0.5 if log else 0.5 * abs(low) or 0.5
        low, high = low - room, high + room
    about = max(2, cells // a_tick)
    if log:
        return _Scale(low, high, cells, decades(low, high, about), log=True)
    return _Scale(low, high, cells, round_ticks(low, high, about))


def _log_floor(logs: Array) -> float:
    top = float(logs.max())
    return math.log10(log_floor(10.0 ** (logs - top))) + top


def _draw(
    raster: _Raster,
    points: _Points,
    wide: _Scale,
    tall: _Scale,
    marks: str,
    limited: str,
    both: str,
) -> None:
    """Join the points of a curve; the marks of points in compliance come last, on top.

    What falls into the same characters is drawn once, which changes nothing: a million points are
    a few thousand ways between characters.
    """
    import numpy as np

    columns, rows = wide.cells_of(points.x), tall.cells_of(points.y)
    if not columns.size:
        return
    # Below the floor of a logarithm rows are negative.
    lowest, tallness = int(rows.min()), int(np.ptp(rows)) + 1
    codes = (columns * tallness + rows - lowest) * len(_KINDS) + points.kinds
    glyphs = (marks[0], marks[1], limited)
    changes = np.flatnonzero(np.diff(codes))
    for place in changes[_first_of_each(codes[changes], codes[changes + 1])].tolist():
        _draw_way(
            raster,
            _spot(columns, rows, place),
            _spot(columns, rows, place + 1),
            [glyphs[kind] for kind in points.kinds[place : place + 2].tolist()],
            limited,
            marks[0],
        )
    _draw_marks(raster, codes, (tallness, lowest), glyphs, both)


def _first_of_each(one: Array, other: Array) -> Array:
    """Where each pair comes first, in that order."""
    import numpy as np

    most = int(max(one.max(initial=0), other.max(initial=0))) + 1
    _, first = np.unique(one * most + other, return_index=True)
    return np.sort(first)


def _spot(columns: Array, rows: Array, place: int) -> tuple[int, int]:
    return int(columns[place]), int(rows[place])


def _draw_way(
    raster: _Raster,
    begin: tuple[int, int],
    end: tuple[int, int],
    marks: Sequence[str],
    limited: str,
    plain: str,
) -> None:
    """Fill the characters between two places where nothing stands yet."""
    (a, b), (c, d) = begin, end
    before, mark = marks
    steps = max(abs(c - a), abs(d - b), 1)
    # A way between two points is of neither kind "limited"; it is drawn as the way it goes.
    way = mark if mark != limited else before if before != limited else plain
    for step in range(1, steps):
        column, row = a + round((c - a) * step / steps), b + round((d - b) * step / steps)
        if raster.cells.get((raster.height - 1 - row, column)) is None:
            raster.put(column, row, "\u00b7" if way != limited else way)


def _draw_marks(
    raster: _Raster, codes: Array, rows: tuple[int, int], glyphs: Sequence[str], both: str
) -> None:
    """Put the marks over the ways.

    Args:
        raster: where.
        codes: column, row and kind of each point in one number.
        rows: how many rows a column has in it, and which is the lowest.
        glyphs: mark of each kind.
        both: mark where a curve passes upwards and downwards; empty for that of the later one.
    """
    import numpy as np

    tallness, lowest = rows
    # The last point of each kind in each character, in the order in which they came.
    found, from_end = np.unique(codes[::-1], return_index=True)
    kinds: dict[tuple[int, int], list[int]] = {}
    for code in found[np.argsort(-from_end)].tolist():
        spot, kind = divmod(code, len(_KINDS))
        column, row = divmod(spot, tallness)
        kinds.setdefault((column, row + lowest), []).append(kind)
    for (column, row), there in kinds.items():
        if _LIMIT in there:
            raster.put(column, row, glyphs[_LIMIT])
        else:
            raster.put(column, row, both if both and len(there) > 1 else glyphs[there[-1]])


def _under(wide: _Scale, margin: int, unit: str) -> list[str]:
    """The x axis: a line with ticks, and their labels where they do not run into each other."""
    places = dict(zip(map(wide.cell, wide.ticks), wide.said(unit), strict=True))
    axis = "".join("┬" if at in places else "─" for at in range(wide.cells))
    line = [" "] * (margin + 2 + wide.cells)
    free = 0
    for place, label in sorted(places.items()):
        begin = min(max(0, margin + 2 + place - len(label) // 2), len(line) - len(label))
        if begin >= free:
            line[begin : begin + len(label)] = label
            free = begin + len(label) + 1
    return [f"{'':>{margin}} └{axis}", "".join(line)]


def _legend(
    curves: Sequence[Curve], marks: Sequence[str], width: int, ascii_only: bool
) -> list[str]:
    """What the marks mean; nothing where there is one kind."""
    two_ways = any(len({rising for _, rising in directions(curve.x)}) > 1 for curve in curves)
    limited = any(curve.limited is not None and bool(curve.limited.any()) for curve in curves)
    entries = []
    if len(curves) > 1:
        entries = [f"{pair[0]} {curve.label}" for curve, pair in zip(curves, marks, strict=True)]
        if two_ways:
            entries.append(f"{marks[0][0]} up  {marks[0][1]} down")
    elif two_ways:
        both = _BOTH_ASCII if ascii_only else _BOTH
        entries = [f"{marks[0][0]} up", f"{marks[0][1]} down", f"{both} both"]
    if limited:
        entries.append(f"{_LIMITED_ASCII if ascii_only else _LIMITED} in compliance")
    lines: list[str] = []
    for entry in entries:
        if lines and len(lines[-1]) + len(entry) + 3 <= width:
            lines[-1] += f"   {entry}"
        else:
            lines.append(entry[:width])
    return lines
