"""Plots of a run: a figure for a paper, and a curve for the terminal while it is being measured.

Promises: axes carry units with engineering prefixes, both directions of a sweep and points in
compliance can be told apart, no global state of matplotlib is touched (no pyplot), so drawing in
a thread or without a display works. ``plot_text`` needs nothing but the standard library.
matplotlib (the extra ``drivebay[plot]``) is imported when the first figure is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Plottable", "engineering", "plot_run", "plot_text"]

# -- numbers with units ------------------------------------------------------------------------

_PREFIXES = {
    -18: "a", -15: "f", -12: "p", -9: "n", -6: "\u00b5", -3: "m",
    0: "", 3: "k", 6: "M", 9: "G", 12: "T",
}  # fmt: skip
_TAKES_PREFIX = {"V", "A", "s", "Hz", "F", "W", "Ω", "H", "C", "J", "S"}
_SIGNS = {"ohm": "Ω", "degC": "°C", "um": "\u00b5m"}


def engineering(value: float, unit: str = "", digits: int = 3) -> str:
    """Return a number as a person would write it, with an engineering prefix.

    Args:
        value: in the unit, without a prefix.
        unit: SI unit; one that takes no prefix (``%``, ``K``) gets none.
        digits: significant digits.

    >>> engineering(-0.0123456, "A"), engineering(4.7e4, "ohm"), engineering(0, "V")
    ('-12.3 mA', '47 kΩ', '0 V')
    """
    sign = _SIGNS.get(unit, unit)
    if not math.isfinite(value):
        return f"{value} {sign}".rstrip()
    # Rounded first, so that 999.96 mA is 1 A and never 1e+03 mA.
    rounded = float(f"{value:.{digits}g}")
    exponent = _exponent(rounded, sign)
    scaled = float(f"{rounded / 10.0**exponent:.{digits}g}")
    number = f"{scaled:g}" if abs(scaled) < 1e6 else f"{scaled:.{digits}g}"
    return f"{number} {_PREFIXES.get(exponent, '')}{sign}".rstrip()


def _exponent(largest: float, sign: str) -> int:
    """Power of ten, a multiple of three, in which numbers up to ``largest`` read well."""
    size = abs(largest)
    if size == 0 or not math.isfinite(size) or sign not in _TAKES_PREFIX:
        return 0
    return min(12, max(-18, 3 * math.floor(math.log10(size * (1 + 1e-12)) / 3)))


# -- a figure ----------------------------------------------------------------------------------

_UP, _DOWN, _LIMIT = "#1f5fa8", "#d9822b", "#c0392b"
_MORE = ("#1f5fa8", "#d9822b", "#3a8a5c", "#8e5ea2", "#7f8c8d", "#b8860b")
_GREY, _FAINT = "#5f6b76", "#e3e7eb"
_LOG_DECADES = 3.0  # currents that span more than this are shown on a logarithmic axis too
_CAPTION_IN, _MARGIN_IN = 0.58, 0.12
_TURN = 0.02  # of the span; less is noise of a measured abscissa
_MARKED_POINTS = 120  # with more points than this the line alone is clearer
_TITLES = {"iv_sweep": "I-V sweep", "cv_sweep": "C-V sweep"}
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": "#22292f",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelcolor": "#22292f",
    "ytick.labelcolor": "#22292f",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",  # text stays text, so that a figure can be edited and searched
    "svg.hashsalt": "drivebay",  # the same run gives the same file
}


class Plottable(Protocol):
    """What :func:`plot_run` reads of a run; :class:`drivebay.Run` is one."""

    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def units(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class _Axis:
    """A quantity on an axis: its name, unit and the power of ten it is shown in."""

    name: str
    unit: str
    exponent: int = 0

    @property
    def label(self) -> str:
        unit = f"{_PREFIXES[self.exponent]}{self.unit}"
        return f"{self.name} ({unit})" if unit else self.name


def plot_run(run: Plottable, path: Path | str | None = None, log: bool | None = None) -> Figure:
    """Draw a run: what was measured against what was set.

    One measured quantity gets the full treatment: the way up and the way back in two colours,
    points in compliance ringed, and a second panel with the magnitude on a logarithmic axis.
    Several quantities are drawn one panel a unit.

    Args:
        run: a run, also one that is still being measured.
        path: where to save it; the ending (``.png``, ``.svg``, ``.pdf``) is the format.
        log: whether to add the logarithmic panel; None adds it when the data spans more than
            three decades, as a diode's current does.

    Raises:
        ValueError: the run has no column of numbers, or the ending is no picture format.
        ModuleNotFoundError: matplotlib is not installed (``pip install 'drivebay[plot]'``).
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            "plotting needs matplotlib, which is not installed: pip install 'drivebay[plot]'",
            name=exc.name,
        ) from exc
    columns, units = dict(run.columns), dict(run.units)
    x, ys = _choose(columns, units)
    with mpl.rc_context(_STYLE):
        if len(ys) == 1:
            figure = _draw_one(columns, units, x, ys[0], log)
        else:
            figure = _draw_many(columns, units, x, ys)
        _caption(figure, run)
        if path is not None:
            # No date inside, so that the same run gives the same bytes.
            metadata = {"Date": None} if Path(path).suffix.lower() == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)
    return figure


def _choose(columns: Mapping[str, Any], units: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the column for the x axis and those to draw against it."""
    numbers = [name for name, values in columns.items() if values.dtype.kind in "fi"]
    if not numbers:
        names = ", ".join(columns) or "none"
        raise ValueError(f"nothing to plot: the run has no column of numbers (columns: {names})")
    # Time is a fact about each point; it is the x axis only where nothing else was set.
    plain = [name for name in numbers if not (units.get(name) == "s" and "time" in name)]
    if len(plain) >= 2:
        return plain[0], plain[1:]
    return (numbers[0], numbers[1:]) if len(numbers) > 1 else ("", numbers)


def _draw_one(
    columns: Mapping[str, Array], units: Mapping[str, str], x: str, y: str, log: bool | None
) -> Figure:
    values = columns[y]
    across = columns[x] if x else _numbers_from_0(len(values))
    both = _spans_decades(values) if log is None else log
    figure = _new_figure(9.2 if both else 5.6, 4.1)
    axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    x_axis = _axis(x, units.get(x, ""), across) if x else _Axis("Point", "")
    y_axis = _axis(y, units.get(y, ""), values)
    limited = columns.get("in_compliance")
    _sweep(axes[0], across, values, x_axis, y_axis, limited)
    _zero_lines(axes[0])
    if both:
        magnitude = _Axis(f"|{y_axis.name}|", y_axis.unit)
        _sweep(axes[1], across, abs(values), x_axis, magnitude, limited)
        _log_scale(axes[1], abs(values))
    handles, labels = axes[0].get_legend_handles_labels()
    if len(handles) > 1:
        axes[0].legend(handles, labels, loc="best")
    return figure


def _draw_many(
    columns: Mapping[str, Array], units: Mapping[str, str], x: str, ys: Sequence[str]
) -> Figure:
    by_unit: dict[str, list[str]] = {}
    for name in ys:
        by_unit.setdefault(units.get(name, ""), []).append(name)
    figure = _new_figure(6.4, 1.6 + 2.1 * len(by_unit))
    panels = figure.subplots(len(by_unit), 1, sharex=True, squeeze=False)[:, 0]
    x_axis = _axis(x, units.get(x, ""), columns[x])
    across = columns[x] / 10.0**x_axis.exponent
    for panel, (unit, names) in zip(panels, by_unit.items(), strict=True):
        largest = max((columns[name] for name in names), key=_largest)
        shown = _axis(names[0], unit, largest)
        for name, colour in zip(names, _cycle(_MORE), strict=False):
            label = _words(name, unit)
            panel.plot(across, columns[name] / 10.0**shown.exponent, color=colour, label=label)
        words = ", ".join(_words(name, unit) for name in names)
        panel.set_ylabel(_Axis(words, shown.unit, shown.exponent).label)
        if len(names) > 1:
            panel.legend(loc="best")
    panels[-1].set_xlabel(x_axis.label)
    return figure


def _sweep(
    panel: Axes, x: Array, y: Array, x_axis: _Axis, y_axis: _Axis, limited: Array | None
) -> None:
    """Draw one curve, each direction in its colour, points in compliance ringed."""
    across, up = x / 10.0**x_axis.exponent, y / 10.0**y_axis.exponent
    pieces = list(_directions(x))
    two_ways = len({rising for _, rising in pieces}) > 1
    marker = "o" if len(x) <= _MARKED_POINTS else ""
    named: set[str] = set()
    for piece, rising in pieces:
        name = ("up" if rising else "down") if two_ways else "measured"
        back = two_ways and not rising
        panel.plot(
            across[piece],
            up[piece],
            color=_DOWN if back else _UP,
            linestyle=(0, (4, 1.6)) if back else "-",
            marker=marker,
            markersize=2.8,
            markerfacecolor="white" if back else _UP,
            markeredgewidth=0.9,
            label=None if name in named else name,
            zorder=3 if back else 2.5,
        )
        named.add(name)
    if limited is not None and limited.any():
        panel.plot(
            across[limited],
            up[limited],
            linestyle="none",
            marker="o",
            markersize=5.8,
            markerfacecolor="none",
            markeredgecolor=_LIMIT,
            markeredgewidth=1.0,
            label="in compliance",
            zorder=4,
        )
    panel.set_xlabel(x_axis.label)
    panel.set_ylabel(y_axis.label)
    panel.locator_params(axis="x", nbins=6, steps=[1, 2, 5, 10])


def _directions(x: Array) -> Iterator[tuple[slice, bool]]:
    """Split a sweep where it turns; pieces share the turning point, so that no gap shows.

    x is often measured: in compliance it stands still but for noise, which must not look like a
    way back. So a turn is a turn once it has gone a part of the whole span back.
    """
    places = [(at, value) for at, value in enumerate(x.tolist()) if math.isfinite(value)]
    values = [value for _, value in places]
    least = _TURN * (max(values) - min(values)) if values else 0.0
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
    yield slice(begin, len(x)), rising


def _log_scale(panel: Axes, magnitude: Array) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    if not (magnitude > 0).any():
        return
    panel.set_yscale("log", nonpositive="mask")
    panel.yaxis.set_major_locator(LogLocator(numticks=12))
    panel.yaxis.set_minor_locator(LogLocator(subs="auto", numticks=99))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _zero_lines(panel: Axes) -> None:
    """Show where zero is, on the axes that cross it."""
    for draw, (low, high) in ((panel.axvline, panel.get_xlim()), (panel.axhline, panel.get_ylim())):
        if low < 0 < high:
            draw(0, color="#b8c1c9", linewidth=0.9, zorder=1)


def _caption(figure: Figure, run: object) -> None:
    """Write what was measured on what, and in small letters how to find it again."""
    method = str(getattr(run, "method", "") or "run")
    words = method.replace("_", " ")
    title = _TITLES.get(method, words[:1].upper() + words[1:])
    instrument = _instrument(getattr(run, "identity", None))
    plugin = getattr(run, "plugin", None) or {}
    facts = [
        str(getattr(run, "id", "")),
        f"{plugin.get('name', '')} {plugin.get('version', '')}".strip(),
        *_conditions(getattr(run, "parameters", None) or {}),
    ]
    state = str(getattr(run, "state", "done"))
    if state != "done":
        facts.insert(1, state)
    width, height = figure.get_size_inches()
    line = "  ·  ".join(fact for fact in facts if fact)
    heading = f"{title} · {instrument}" if instrument else title
    left = _MARGIN_IN / width
    figure.text(
        left, 1 - 0.12 / height, heading,
        ha="left", va="top", fontsize=11.5, fontweight="bold", color="#22292f",
    )  # fmt: skip
    figure.text(left, 1 - 0.36 / height, line, ha="left", va="top", fontsize=8, color=_GREY)


def _conditions(parameters: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(limit := parameters.get("compliance_a"), int | float):
        yield f"compliance {engineering(limit, 'A')}"
    if isinstance(nplc := parameters.get("nplc"), int | float):
        yield f"{nplc:g} PLC"


def _instrument(identity: object) -> str:
    if not isinstance(identity, Mapping):
        return str(identity or "")
    words = [str(identity.get(key) or "") for key in ("manufacturer", "model")]
    serial = identity.get("serial") or identity.get("serial_number")
    maker = words[0].title() if words[0].isupper() and len(words[0]) > 4 else words[0]
    maker = maker.replace(" Instruments Inc.", "").replace(" Instruments", "")
    name = " ".join(part for part in (maker, words[1].removeprefix("MODEL ")) if part)
    return f"{name} (no. {serial})" if serial and name else name


def _axis(name: str, unit: str, values: Array) -> _Axis:
    sign = _SIGNS.get(unit, unit)
    return _Axis(_words(name, unit), sign, _exponent(_largest(values), sign))


def _words(name: str, unit: str) -> str:
    """``current_a`` in A is ``Current``: the unit stands beside it."""
    bare = name.removesuffix(f"_{unit.lower()}") if unit else name
    words = bare.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _largest(values: Array) -> float:
    import numpy as np

    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _spans_decades(values: Array) -> bool:
    """Whether the data has more in it than a linear axis shows."""
    import numpy as np

    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if sizes.size < 5:
        return False
    # The median against the top: a resistor's is half of it whatever its noise about zero, a
    # diode's is orders below.
    low, high = np.quantile(sizes, [0.25, 1.0])
    return bool(high / low > 10**_LOG_DECADES)


def _numbers_from_0(count: int) -> Array:
    import numpy as np

    return np.arange(float(count))


def _cycle(colours: Sequence[str]) -> Iterator[str]:
    while True:
        yield from colours


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    class NotebookFigure(Figure):
        """A figure that a notebook shows without pyplot."""

        def _repr_png_(self) -> bytes:
            from io import BytesIO

            picture = BytesIO()
            self.savefig(picture, format="png", dpi=110)
            return picture.getvalue()

    figure = NotebookFigure(figsize=(width, height))
    # The panels share what the two lines of the caption leave.
    room = (0.0, 0.0, 1.0, 1 - _CAPTION_IN / height)
    engine = ConstrainedLayoutEngine(w_pad=_MARGIN_IN, h_pad=0.08, wspace=0.04, rect=room)
    figure.set_layout_engine(engine)
    FigureCanvasAgg(figure)
    return figure


# -- a curve in the terminal -------------------------------------------------------------------

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
