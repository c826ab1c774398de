"""A curve of braille dots for the terminal, while it is being measured.

Promises: always fills the same rectangle, so that it can be drawn over itself; needs nothing but
the standard library, since it runs beside a measurement. A curve of a finished run, with marks and
a legend, is :mod:`drivebay.plotting.terminal`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from drivebay.plotting.numbers import engineering

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

# A braille character is two dots wide and four high; bit of the dot at [row][column].
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
_LABEL_WIDTH = 7  # "-100 mA": a live curve must not jump sideways as its labels grow


def plot_text(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    width: int = 72,
    height: int = 16,
    *,
    x_unit: str = "",
    y_unit: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log: bool = False,
    title: str = "",
) -> str:
    """Return a curve as text, always the same number of lines, so that it can be drawn over itself.

    Args:
        x: abscissae, in ``x_unit``; points that are not finite are left out.
        y: ordinates, in ``y_unit``.
        width: characters a line, axis labels included; at least 30.
        height: lines of the curve itself; two or three more hold the axis and the title.
        x_unit: SI unit of x, shown with an engineering prefix.
        y_unit: SI unit of y.
        x_range: what the x axis shows; None takes the data's. A live curve passes the sweep's
            limits, so that it grows from left to right instead of shrinking.
        y_range: what the y axis shows; None takes the data's.
        log: draw the magnitude of y on a logarithmic axis, leaving out zeros.
        title: a first line; none when empty.

    Raises:
        ValueError: x and y are of different lengths, or the picture is smaller than 30 x 3.
    """
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} points and y has {len(y)}; they must be as many")
    if width < 30 or height < 3:
        raise ValueError(f"a curve of {width} x {height} characters is too small; 30 x 3 at least")
    points = [p for p in map(_point, x, y) if p is not None and (not log or p[1] != 0)]
    if log:
        points = [(a, math.log10(abs(b))) for a, b in points]
        y_range = y_range and (math.log10(abs(y_range[0])), math.log10(abs(y_range[1])))
    left, right = x_range or _range([a for a, _ in points])
    low, high = y_range or _range([b for _, b in points])
    # What rounds to zero on this axis is called zero, not -127 pA beside 10 mA.
    least = 0.0 if log else (high - low) / 1000
    ticks = [
        engineering(10**value if log else value if abs(value) > least else 0.0, y_unit)
        for value in (high, (low + high) / 2, low)
    ]
    margin = max(_LABEL_WIDTH, *map(len, ticks))
    inner = width - margin - 2
    canvas = _Canvas(inner, height)
    canvas.curve([(_place(a, left, right), _place(b, low, high)) for a, b in points])
    if not points and y_range is None:
        ticks = [""] * 3  # nothing to scale by yet; the width stays that of the first label
    labels = {0: ticks[0], height // 2: ticks[1], height - 1: ticks[2]}
    lines = [title[:width]] if title else []
    for row, text in enumerate(canvas.lines()):
        label = labels.get(row, "")
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{text}")
    middle = "┬".join("─" * n for n in (inner // 2, inner - inner // 2 - 1))
    lines.append(f"{'':>{margin}} └{middle}")
    lines.append(
        _under(margin + 2, inner, [(left, x_unit), ((left + right) / 2, x_unit), (right, x_unit)])
    )
    return "\n".join(lines)


def _point(x: float, y: float) -> tuple[float, float] | None:
    a, b = float(x), float(y)
    return (a, b) if math.isfinite(a) and math.isfinite(b) else None


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest, never equal: a flat line runs through the middle."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = 0.5 * abs(low) or 0.5
    return (low, high) if high > low else (low - room, high + room)


def _place(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high != low else 0.5


def _under(indent: int, width: int, values: Sequence[tuple[float, str]]) -> str:
    """The line of labels under the axis: left, middle and right."""
    left, middle, right = (engineering(value, unit) for value, unit in values)
    line = list(f"{left:<{width}}")
    begin = width // 2 - len(middle) // 2
    line[begin : begin + len(middle)] = middle
    line[width - len(right) :] = right
    return " " * indent + "".join(line)


class _Canvas:
    """A raster of braille dots."""

    def __init__(self, width: int, height: int) -> None:
        self._columns, self._rows = 2 * width, 4 * height
        self._cells = [[0] * width for _ in range(height)]

    def curve(self, places: Sequence[tuple[float, float]]) -> None:
        """Join places, each 0..1 from the lower left; what lies outside is not drawn."""
        dots = [
            (round(a * (self._columns - 1)), round((1 - b) * (self._rows - 1)))
            for a, b in places
            if -1 < a < 2 and -1 < b < 2
        ]
        for dot in dots[:1]:
            self._set(*dot)
        for (a, b), (c, d) in pairwise(dots):
            steps = max(abs(c - a), abs(d - b), 1)
            for step in range(1, steps + 1):
                self._set(a + round((c - a) * step / steps), b + round((d - b) * step / steps))

    def lines(self) -> Iterator[str]:
        """The raster, one text a line."""
        for row in self._cells:
            yield "".join(chr(_BRAILLE + cell) for cell in row)

    def _set(self, column: int, row: int) -> None:
        if 0 <= column < self._columns and 0 <= row < self._rows:
            self._cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
