"""Figures of runs, with matplotlib: one run, or several over each other.

Promises: axes in units with engineering prefixes; up and down, and one curve and the next, differ
in more than colour (dash, marker, arrow), and the colours are told apart by colour-blind eyes; the
same runs give the same bytes. pyplot is never imported and no setting outlives a call.

Colours: M. Okabe and K. Ito, "Color Universal Design", 2008; a family of curves has an order and is
drawn in cividis, which is ordered in grey too (Nuñez, Anderton and Renslow, PLoS ONE 13, 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivebay.plotting import facts
from drivebay.plotting.curves import (
    Axis,
    Chart,
    Curve,
    Plottable,
    axis_of,
    chart_of,
    directions,
    heading_of,
    log_floor,
    spots,
    strokes,
    thinned,
    wants_log,
)
from drivebay.plotting.numbers import words

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Array = np.ndarray[Any, np.dtype[Any]]
    Fit = Callable[[Array], Array]

__all__ = ["plot_run", "plot_runs"]

_INK, _GREY, _FAINT, _ZERO = "#22292f", "#5f6b76", "#e3e7eb", "#b8c1c9"
_UP, _DOWN = "#0072B2", "#D55E00"
_SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#22292f")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_BACK = (0, (4, 1.6))  # the dash of the way down
_CAPTION_IN, _LINE_IN, _MARGIN_IN = 0.46, 0.135, 0.12
_SMALL_PER_IN = 17.2  # characters of the small line that fit an inch
_MARKED_POINTS = 120  # with more points than this the line alone is clearer
_MARKS_A_CURVE = 10
_MOST_PIECES = 12  # ways of a sweep that are drawn as one line each
_ARROW = 0.05  # of the width of the panel
_MOST_NAMED = 4  # entries of a legend among the curves; a larger one lies on them
_LONG_NAME = 30
_ENTRY_INCHES, _LETTER_INCHES = 0.6, 0.072  # an entry's line and gaps, and a letter of its words
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",  # text stays text, so that a figure can be edited and searched
    "svg.hashsalt": "drivebay",  # the same run gives the same file
}


@dataclass(frozen=True, slots=True)
class _Series:
    """A curve and how it looks; the way down has a colour of its own where there is one curve.

    ``shift`` is the part of a step between marks by which its marks are moved, so that the marks of
    curves that lie on each other do not.
    """

    curve: Curve
    colour: str
    back_colour: str
    mark: str = "o"
    label: str = ""
    shift: float = 0.0


def plot_run(
    run: Plottable,
    path: Path | str | None = None,
    log: bool | None = None,
    *,
    fit: Fit | None = None,
) -> Figure:
    """Draw a run: what was measured against what was set.

    A standard method is drawn as people draw it: current against voltage, capacitance against
    bias, a family of transfer or output curves, anything monitored against time. One quantity gets
    the full treatment: the way up and the way back in two colours, points in compliance ringed,
    and a second panel with the magnitude on a logarithmic axis. Several quantities are drawn one
    panel a unit.

    Args:
        run: a run, also one that is still being measured.
        path: where to save it; the ending (``.png``, ``.svg``, ``.pdf``) is the format.
        log: whether to add the logarithmic panel; None adds it when a current spans more than
            three decades, as a diode's does.
        fit: gives the fitted ordinates at abscissae, such as ``DiodeFit.current_a``; drawn over
            the points.

    Raises:
        ValueError: the run has no column of numbers, or the ending is no picture format.
        ModuleNotFoundError: matplotlib is not installed (``pip install 'drivebay[plot]'``).
    """
    return _figure([run], path, log, fit)


def plot_runs(
    runs: Sequence[Plottable], path: Path | str | None = None, log: bool | None = None
) -> Figure:
    """Draw runs over each other; the legend names what differs between them.

    Args:
        runs: runs with the same columns, one or more.
        path: where to save it; the ending (``.png``, ``.svg``, ``.pdf``) is the format.
        log: whether to add the logarithmic panel; None adds it when a current of any run spans
            more than three decades.

    Raises:
        ValueError: no runs, or runs in which different things were measured.
        ModuleNotFoundError: matplotlib is not installed (``pip install 'drivebay[plot]'``).
    """
    return _figure(list(runs), path, log, None)


def _figure(
    runs: Sequence[Plottable], path: Path | str | None, log: bool | None, fit: Fit | None
) -> Figure:
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            "plotting needs matplotlib, which is not installed: pip install 'drivebay[plot]'",
            name=exc.name,
        ) from exc
    charts = same_charts(runs)
    names = facts.differences(runs) if len(runs) > 1 else [""]
    with mpl.rc_context(_STYLE):
        if len(charts[0].ys) == 1:
            figure = _draw_one(charts, names, runs, log, fit)
        elif len(runs) == 1:
            figure = _draw_units(charts[0], runs)
        else:
            figure = _draw_stack(charts, names, runs)
        if path is not None:
            # No date inside, so that the same run gives the same bytes.
            metadata = {"Date": None} if Path(path).suffix.lower() == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)
    return figure


def same_charts(runs: Sequence[Plottable]) -> list[Chart]:
    """Return what to draw of each run.

    Raises:
        ValueError: no runs, or runs that do not fit on the same axes.
    """
    if not runs:
        raise ValueError("no runs to plot")
    charts = [chart_of(run) for run in runs]
    first = charts[0]
    for run, chart in zip(runs, charts, strict=True):
        if (chart.x, chart.ys) != (first.x, first.ys):
            raise ValueError(
                f"runs of different things cannot share axes: {_id(runs[0])} has"
                f" {', '.join(first.ys)} against {first.x or 'point'}, {_id(run)} has"
                f" {', '.join(chart.ys)} against {chart.x or 'point'}"
            )
    return charts


def _id(run: object) -> str:
    return str(getattr(run, "id", "") or "the run")


# -- panels ------------------------------------------------------------------------------------


def _draw_one(
    charts: Sequence[Chart],
    names: Sequence[str],
    runs: Sequence[object],
    log: bool | None,
    fit: Fit | None,
) -> Figure:
    y = charts[0].ys[0]
    both = wants_log(charts, y, log)
    figure = _new_figure(9.6 if both else 6.2, 4.2, runs)
    panels = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    x_axis, y_axis = _x_axis(charts), _y_axis(charts, y)
    series = list(_series(charts, names, y))
    _draw_panel(panels[0], series, x_axis, y_axis, fit)
    _log_frequency(panels[0], charts)
    _zero_lines(panels[0])
    if both:
        magnitude = Axis(f"|{y_axis.name}|", y_axis.unit)
        _draw_panel(panels[1], series, x_axis, magnitude, fit, magnitude=True)
        _log_scale(panels[1], [entry.curve.y for entry in series])
        _log_frequency(panels[1], charts)
    _legend(panels[0], series)
    return figure


def _draw_stack(charts: Sequence[Chart], names: Sequence[str], runs: Sequence[object]) -> Figure:
    """Several runs of several quantities: one panel a quantity, one x axis."""
    ys = charts[0].ys
    figure = _new_figure(6.6, 1.4 + 2.2 * len(ys), runs)
    panels = figure.subplots(len(ys), 1, sharex=True, squeeze=False)[:, 0]
    x_axis = _x_axis(charts)
    for panel, y in zip(panels, ys, strict=True):
        series = list(_series(charts, names, y))
        _draw_panel(panel, series, x_axis, _y_axis(charts, y), None)
        panel.set_xlabel("")
    panels[-1].set_xlabel(x_axis.label)
    _log_frequency(panels[0], charts)
    _legend(panels[0], series)
    return figure


def _draw_units(chart: Chart, runs: Sequence[object]) -> Figure:
    """One run of several quantities: one panel a unit, one x axis."""
    import numpy as np

    by_unit: dict[str, list[str]] = {}
    for name in chart.ys:
        by_unit.setdefault(chart.units.get(name, ""), []).append(name)
    figure = _new_figure(6.6, 1.4 + 2.2 * len(by_unit), runs)
    panels = figure.subplots(len(by_unit), 1, sharex=True, squeeze=False)[:, 0]
    x_axis, across = _x_axis([chart]), chart.across()
    for panel, (unit, names) in zip(panels, by_unit.items(), strict=True):
        shown = axis_of(names[0], unit, np.concatenate([chart.columns[name] for name in names]))
        for name, colour, dash in zip(names, _SERIES, _dashes(), strict=False):
            kept = thinned(across, chart.columns[name])
            panel.plot(
                x_axis.shown(across[kept]),
                shown.shown(chart.columns[name][kept]),
                color=colour,
                linestyle=dash,
                label=words(name, unit),
            )
        text = ", ".join(words(name, unit) for name in names)
        panel.set_ylabel(Axis(text, shown.unit, shown.exponent, shown.offset).label)
        if len(names) > 1:
            panel.legend(loc="best")
    panels[-1].set_xlabel(x_axis.label)
    _log_frequency(panels[0], [chart])
    return figure


def _dashes() -> Iterator[Any]:
    while True:
        yield from ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))


def _x_axis(charts: Sequence[Chart]) -> Axis:
    import numpy as np

    first = charts[0]
    if not first.x:
        return Axis("Point", "")
    together = np.concatenate([chart.columns[first.x] for chart in charts])
    return axis_of(first.x, first.units.get(first.x, ""), together, steady=False)


def _y_axis(charts: Sequence[Chart], y: str) -> Axis:
    import numpy as np

    together = np.concatenate([chart.columns[y] for chart in charts])
    return axis_of(y, charts[0].units.get(y, ""), together)


def _series(charts: Sequence[Chart], names: Sequence[str], y: str) -> Iterator[_Series]:
    """Give every curve its look: by run where there are several, else by its place in a family."""
    if len(charts) > 1:
        colours = _SERIES if len(charts) <= len(_SERIES) else _ordered(len(charts))
        for at, (chart, name) in enumerate(zip(charts, names, strict=True)):
            for number, curve in enumerate(chart.curves(y)):
                mark = _MARKS[at % len(_MARKS)]
                label = "" if number else name
                shift = at / len(charts)
                yield _Series(curve, colours[at], colours[at], mark, label, shift)
        return
    curves = charts[0].curves(y)
    if len(curves) == 1:
        yield _Series(curves[0], _UP, _DOWN, "o", "")
        return
    for at, (curve, colour) in enumerate(zip(curves, _ordered(len(curves)), strict=True)):
        mark = _MARKS[at % len(_MARKS)]
        yield _Series(curve, colour, colour, mark, curve.label, at / len(curves))


def _ordered(count: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # Its brightest yellow cannot be seen on white.
    steps = (0.82 * at / max(1, count - 1) for at in range(count))
    return [to_hex(colormaps["cividis"](step)) for step in steps]


def _draw_panel(
    panel: Axes,
    series: Sequence[_Series],
    x_axis: Axis,
    y_axis: Axis,
    fit: Fit | None,
    *,
    magnitude: bool = False,
) -> None:
    for entry in series:
        before = len(panel.lines)
        _draw_series(panel, entry, x_axis, y_axis, len(series) > 1, magnitude)
        if fit is not None:  # points and a curve, as measured and calculated are told apart
            for line in (each for each in panel.lines[before:] if each.get_linestyle() != "None"):
                line.set(linestyle="none", marker="o", markersize=3.2)
    if fit is not None:
        _draw_fit(panel, series, x_axis, y_axis, fit, magnitude)
    panel.set_xlabel(x_axis.label)
    panel.set_ylabel(y_axis.label)
    panel.locator_params(axis="x", nbins=6, steps=[1, 2, 5, 10])


def _draw_series(
    panel: Axes, entry: _Series, x_axis: Axis, y_axis: Axis, many: bool, magnitude: bool
) -> None:
    """Draw one curve, each direction in its look, points in compliance ringed."""
    curve = entry.curve
    across = x_axis.shown(curve.x)
    up = y_axis.shown(abs(curve.y) if magnitude else curve.y)
    pieces = list(directions(curve.x))
    two_ways = len({rising for _, rising in pieces}) > 1
    named: set[str] = set()
    for x, y, rising in _ways(across, up, pieces, magnitude):
        name = entry.label or (("up" if rising else "down") if two_ways else "measured")
        back = two_ways and not rising
        panel.plot(
            x,
            y,
            color=entry.back_colour if back else entry.colour,
            linestyle=_BACK if back else "-",
            label=None if name in named or (many and not entry.label) else name,
            zorder=3 if back else 2.5,
            **_marked(entry, len(curve.x), len(x), back, many),
        )
        if two_ways and not magnitude and len(x) > 2:
            colour = entry.back_colour if back else entry.colour
            if len(pieces) > _MOST_PIECES:  # the first way stands for all
                x, y = next((across[p], up[p]) for p, goes_up in pieces if goes_up is rising)
            _arrow(panel, x, y, colour, 0.4 if back else 0.74)
        named.add(name)
    if curve.limited is not None and curve.limited.any():
        kept = spots(across[curve.limited], up[curve.limited])
        panel.plot(
            across[curve.limited][kept],
            up[curve.limited][kept],
            linestyle="none",
            marker="o",
            markersize=6.2,
            markerfacecolor="none",
            markeredgecolor=_INK,
            markeredgewidth=0.9,
            label=None if _has(panel, "in compliance") else "in compliance",
            zorder=4,
        )


def _ways(
    across: Array, up: Array, pieces: Sequence[tuple[slice, bool]], magnitude: bool
) -> Iterator[tuple[Array, Array, bool]]:
    """What is drawn as one line each, and whether it rises: pieces, or all of a direction."""
    import numpy as np

    if len(pieces) <= _MOST_PIECES:
        for piece, rising in pieces:
            kept = thinned(across[piece], up[piece])
            yield across[piece][kept], up[piece][kept], rising
        return
    for rising in (True, False):
        with np.errstate(divide="ignore"):
            heights = np.log10(up) if magnitude else up
        x, y = strokes(across, heights, [piece for piece, goes_up in pieces if goes_up is rising])
        if len(x):
            yield x, (10.0**y if magnitude else y), rising


def _marked(entry: _Series, points: int, kept: int, back: bool, many: bool) -> dict[str, Any]:
    """Markers: every point where there are few and one curve, some where there are several."""
    if not many and points > _MARKED_POINTS:
        return {}
    look = {
        "marker": entry.mark,
        "markersize": 4.2 if many else 2.8,
        "markerfacecolor": "white" if back else entry.colour,
        "markeredgewidth": 0.9,
    }
    if not many:
        return look
    step = max(1, kept // _MARKS_A_CURVE)
    return look | {"markevery": (int(entry.shift * step), step)}


def _has(panel: Axes, label: str) -> bool:
    return any(line.get_label() == label for line in panel.lines)


def _arrow(panel: Axes, x: Array, y: Array, colour: str, part: float) -> None:
    """Point along a curve, a part of its length from where it begins."""
    import numpy as np

    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < 3 or not (np.ptp(x) > 0):
        return
    steps = np.hypot(np.diff(x) / np.ptp(x), np.diff(y) / (np.ptp(y) or 1.0))
    length = np.cumsum(steps)
    at = min(int(np.searchsorted(length, part * length[-1])), len(x) - 2)
    # Longer than the head, which would lie the other way round on a shorter shaft.
    to = min(int(np.searchsorted(length, length[at] + _ARROW)) + 1, len(x) - 1)
    panel.annotate(
        "",
        xy=(x[to], y[to]),
        xytext=(x[at], y[at]),
        arrowprops={
            "arrowstyle": "-|>,head_width=0.22,head_length=0.7",
            "color": colour,
            "linewidth": 0,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 14,
        },
        zorder=5,
    )


def _draw_fit(
    panel: Axes,
    series: Sequence[_Series],
    x_axis: Axis,
    y_axis: Axis,
    fit: Fit,
    magnitude: bool,
) -> None:
    """Draw the fitted curve where points are, without stretching the axes to where it goes."""
    import numpy as np

    x = series[0].curve.x[np.isfinite(series[0].curve.x)]
    if not x.size:
        return
    limits = panel.get_ylim()
    dense = np.linspace(x.min(), x.max(), 400)
    fitted = np.asarray(fit(dense), dtype=float)
    panel.plot(
        x_axis.shown(dense),
        y_axis.shown(abs(fitted) if magnitude else fitted),
        color=_INK,
        linewidth=1.1,
        label="fit",
        zorder=2.2,
    )
    if not magnitude:
        panel.set_ylim(limits)


def _legend(panel: Axes, series: Sequence[_Series]) -> None:
    from matplotlib.lines import Line2D

    handles, labels = panel.get_legend_handles_labels()
    if len(series) > 1:
        two_ways = any(
            len({rising for _, rising in directions(entry.curve.x)}) > 1 for entry in series
        )
        if two_ways:
            handles += [Line2D([], [], color=_GREY), Line2D([], [], color=_GREY, linestyle=_BACK)]
            labels += ["up", "down"]
    if len(handles) < 2:
        return
    # Compliance is said last: it is no curve.
    order = sorted(range(len(labels)), key=lambda at: labels[at] == "in compliance")
    handles, labels = [handles[at] for at in order], [labels[at] for at in order]
    longest = max(map(len, labels))
    if len(handles) > _MOST_NAMED or longest > _LONG_NAME:
        # Below the curves: a legend of that size covers them wherever it lies.
        width = panel.figure.bbox.width / panel.figure.dpi  # inches
        columns = int(min(4, max(1, width // (_ENTRY_INCHES + _LETTER_INCHES * longest))))
        panel.figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    else:
        panel.legend(handles, labels, loc="best")


def _log_scale(panel: Axes, values: Sequence[Array]) -> None:
    import numpy as np
    from matplotlib.ticker import LogLocator, NullFormatter

    sizes = np.abs(np.concatenate(list(values)))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not sizes.size:
        return
    panel.set_yscale("log", nonpositive="mask")
    # By the points alone: a fit goes to zero, and noise about zero to any depth.
    panel.set_ylim(log_floor(sizes) / 2, 2 * float(sizes.max()))
    panel.yaxis.set_major_locator(LogLocator(numticks=12))
    panel.yaxis.set_minor_locator(LogLocator(subs="auto", numticks=99))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _log_frequency(panel: Axes, charts: Sequence[Chart]) -> None:
    """A sweep of frequencies over decades is drawn over decades."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    from drivebay.plotting.numbers import engineering

    x = charts[0].x
    if charts[0].units.get(x) != "Hz":
        return
    ends = [
        (chart.columns[x].min(), chart.columns[x].max())
        for chart in charts
        if len(chart.columns[x])
    ]
    if not ends or not all(low > 0 and high / low > 30 for low, high in ends):
        return
    exponent = _x_axis(charts).exponent
    panel.set_xscale("log")
    panel.set_xlabel(words(x, "Hz"))
    panel.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: engineering(value * 10.0**exponent, "Hz"))
    )
    panel.xaxis.set_minor_formatter(NullFormatter())


def _zero_lines(panel: Axes) -> None:
    """Show where zero is, on the axes that cross it."""
    for draw, (low, high) in ((panel.axvline, panel.get_xlim()), (panel.axhline, panel.get_ylim())):
        if low < 0 < high:
            draw(0, color=_ZERO, linewidth=0.9, zorder=1)


# -- the sheet ---------------------------------------------------------------------------------


def _heading(runs: Sequence[object]) -> str:
    """What was measured on what; of several runs what they have in common."""
    titles = {heading_of(run) for run in runs}
    instruments = {facts.instruments(run) for run in runs}
    title = titles.pop() if len(titles) == 1 else "Runs"
    name = instruments.pop() if len(instruments) == 1 else ""
    title = f"{title} · {name}" if name else title
    return f"{title} · {len(runs)} runs" if len(runs) > 1 else title


def _small_print(runs: Sequence[object]) -> list[str]:
    """How to find it again, and under which conditions it was measured."""
    if len(runs) > 1:
        begun = sorted(filter(None, map(facts.when, runs)))
        first, last = (begun[0][:16], begun[-1][:16]) if begun else ("", "")
        time = f"{first} to {last}" if first != last else first
        shared = _in_common([list(_about(run)) for run in runs])
        return list(filter(None, [time and f"{time} UTC", *shared]))
    (run,) = runs
    state = str(getattr(run, "state", "done"))
    time = facts.when(run)[:16]
    parts = [_id(run) if getattr(run, "id", "") else "", "" if state == "done" else state]
    return list(filter(None, [*parts, time and f"{time} UTC", *_about(run)]))


def _wrapped(parts: Sequence[str], room: int) -> list[str]:
    """Set facts into lines; none is torn apart."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}  ·  {part}" if lines[-1] else part
        if lines[-1] and len(longer) > room:
            lines.append(part)
        else:
            lines[-1] = longer
    return lines


def _about(run: object) -> Iterator[str]:
    yield facts.plugin(run)
    yield from facts.conditions(getattr(run, "parameters", None) or {})


def _in_common(lists: Sequence[Sequence[str]]) -> list[str]:
    return [fact for fact in lists[0] if all(fact in other for other in lists)]


def _new_figure(width: float, height: float, runs: Sequence[object]) -> Figure:
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

    room = math.floor((width - 2 * _MARGIN_IN) * _SMALL_PER_IN)
    lines = _wrapped(_small_print(runs), room)
    caption = _CAPTION_IN + _LINE_IN * len(lines)
    figure = NotebookFigure(figsize=(width, height))
    # The panels share what the lines of the caption leave.
    box = (0.0, 0.0, 1.0, 1 - caption / height)
    engine = ConstrainedLayoutEngine(w_pad=_MARGIN_IN, h_pad=0.08, wspace=0.04, rect=box)
    figure.set_layout_engine(engine)
    FigureCanvasAgg(figure)
    left = _MARGIN_IN / width
    figure.text(
        left, 1 - 0.12 / height, _heading(runs),
        ha="left", va="top", fontsize=11.5, fontweight="bold", color=_INK,
    )  # fmt: skip
    small = "\n".join(lines)
    figure.text(left, 1 - 0.36 / height, small, ha="left", va="top", fontsize=8, color=_GREY)
    return figure
