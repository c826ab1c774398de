"""What a notebook shows of a run: one card with a small picture, the conditions and some rows.

Promises: plain HTML and SVG with no script and nothing from elsewhere, so that it stays in a saved
notebook; whatever an instrument, a driver or a person wrote is shown as text and never as markup;
a damaged run is shown with its reason. Colours are those of the page, light or dark. The picture is
a glance: :func:`drivebay.plotting.plot_run` draws the figure.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from drivebay._core.errors import StoreError
from drivebay._core.runs import frames

if TYPE_CHECKING:
    import numpy as np

    from drivebay._core.runs.run import Run

    Array = np.ndarray[Any, np.dtype[Any]]

_PREVIEW_ROWS: Final = 5
_WIDTH, _HEIGHT = 360.0, 170.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 88.0, 8.0, 8.0, 34.0
_MOST_PLACES: Final = 600  # of a curve; more than the picture has pixels across
_MOST_TEXT: Final = 80
# Okabe and Ito: told apart by colour-blind eyes, and seen on white and on black.
_CURVE: Final = "#0072B2"
_STATES: Final = {"done": "#009E73", "running": "#0072B2", "aborted": "#E69F00"}
_BAD: Final = "#D55E00"
_FAINT: Final = "opacity:.7"


def html_of(run: Run) -> str:
    """Return a run as HTML."""
    head = _head(run)
    if run.state == "damaged":
        return f"<div>{head}</div>"
    try:
        columns, units = run.columns, run.units
    except StoreError as exc:
        return f"<div>{head}<p>{_text(exc, most=400)}</p></div>"
    picture = _picture(columns, units, run.kinds)
    facts = "".join(
        f"<div><span style='{_FAINT}'>{_text(name)}</span> {_text(value)}</div>"
        for name, value in run.parameters.items()
    )
    middle = f"<div style='display:flex;flex-wrap:wrap;gap:1em'>{picture}<div>{facts}</div></div>"
    return (
        f"<div>{head}{middle}{_rows(columns, units, len(next(iter(columns.values()), ())))}</div>"
    )


def _head(run: Run) -> str:
    colour = _STATES.get(run.state, _BAD)
    badge = f"<span style='color:{colour};font-weight:bold'>{_text(run.state)}</span>"
    lines = [f"<b>{_text(run.id)}</b> {badge} {_text(f'{run.method}, {len(run)} rows')}"]
    if run.reason:
        lines.append(_text(run.reason, most=400))
    if run.state != "damaged":
        plugin = f"{run.plugin.get('name') or '?'} {run.plugin.get('version') or ''}"
        about = [
            frames.instrument(run.identity),
            run.resource,
            plugin,
            run.started_at[:19] + " UTC",
        ]
        lines.append(" · ".join(_text(part) for part in about if part))
        lines += _said(run)
    return f"<div>{'<br>'.join(lines)}</div>"


def _said(run: Run) -> Iterator[str]:
    """The tags and the last note; damage among them hides nothing else."""
    try:
        tags, notes = run.tags, run.notes
    except StoreError as exc:
        yield _text(exc, most=400)
        return
    if tags:
        yield " ".join(f"<code>#{_text(tag)}</code>" for tag in tags)
    if notes:
        yield f"<i>{_text(notes[-1].text, most=200)}</i>"


# -- the picture -----------------------------------------------------------------------------------


def _picture(
    columns: Mapping[str, Array], units: Mapping[str, str], kinds: Mapping[str, str]
) -> str:
    """The first thing measured against what was swept; empty where there is no such thing."""
    import numpy as np

    x_name = frames.abscissa(units, kinds)
    numbers = [name for name in units if kinds[name] != "bool" and name != x_name]
    y_name = next((name for name in numbers if not frames.is_time(name, units[name])), None)
    if y_name is None or not len(columns[y_name]):
        return ""
    y = columns[y_name].astype(float)
    x = columns[x_name].astype(float) if x_name else np.arange(float(len(y)))
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        return ""
    ends = [(float(v[good].min()), float(v[good].max())) for v in (x, y)]
    kept = _thinned(np.where(good, y, ends[1][0]))
    inner = (_LEFT, _WIDTH - _RIGHT), (_HEIGHT - _BOTTOM, _TOP)
    places = [
        _placed(values[kept], *span, *room)
        for values, span, room in zip((x, y), ends, inner, strict=True)
    ]
    curve = _path(places[0], places[1], good[kept])
    titles = (x_name or "point", units.get(x_name or "", "")), (y_name, units[y_name])
    name = html.escape(f"{y_name} over {titles[0][0]}")
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{name}'"
        f" width='{_WIDTH:g}' height='{_HEIGHT:g}' viewBox='0 0 {_WIDTH:g} {_HEIGHT:g}'"
        f" font-size='11' font-family='sans-serif' fill='currentColor'>{_frame(ends, titles)}"
        f"<path d='{curve}' fill='none' stroke='{_CURVE}' stroke-width='1.6'"
        " stroke-linejoin='round' stroke-linecap='round'/></svg>"
    )


def _thinned(y: Array) -> Array:
    """Places of at most so many points, the highest and the lowest of every stretch among them."""
    import numpy as np

    if len(y) <= _MOST_PLACES:
        return np.arange(len(y))
    edges = np.linspace(0, len(y), _MOST_PLACES // 2 + 1).astype(int)
    kept = {0, len(y) - 1}
    for low, high in pairwise(edges.tolist()):
        kept |= {low + int(y[low:high].argmin()), low + int(y[low:high].argmax())}
    return np.array(sorted(kept))


def _placed(values: Array, low: float, high: float, start: float, end: float) -> Array:
    """Return values as places of the picture; halves, since the span of two may be no number."""
    import numpy as np

    span = high / 2 - low / 2
    if not span > 0:
        return np.full(len(values), (start + end) / 2)
    return np.asarray(start + (values / 2 - low / 2) / span * (end - start))


def _path(across: Array, up: Array, good: Array) -> str:
    """A line through the points that are numbers, broken where one is not."""
    parts, drawing = [], False
    for x, y, is_number in zip(across.tolist(), up.tolist(), good.tolist(), strict=True):
        if is_number:
            # A point alone is seen as a dot, because a line of no length has round ends.
            parts.append(f"L{x:.1f} {y:.1f}" if drawing else f"M{x:.1f} {y:.1f}h0")
        drawing = is_number
    return "".join(parts)


def _frame(ends: list[tuple[float, float]], titles: tuple[tuple[str, str], tuple[str, str]]) -> str:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    (x_low, x_high), (y_low, y_high) = ends
    x_title, y_title = (_text(_title(*title), most=30) for title in titles)
    middle = (_LEFT + right) / 2
    written = [
        (_LEFT, floor + 14, "start", f"{x_low:.4g}"),
        (right, floor + 14, "end", f"{x_high:.4g}"),
        (middle, floor + 28, "middle", x_title),
        (_LEFT - 5, floor, "end", f"{y_low:.4g}"),
        (_LEFT - 5, _TOP + 9, "end", f"{y_high:.4g}"),
    ]
    texts = "".join(
        f"<text x='{x:g}' y='{y:g}' text-anchor='{anchor}'>{text}</text>"
        for x, y, anchor, text in written
    )
    upright = (_TOP + floor) / 2
    return (
        f"<path d='M{_LEFT:g} {_TOP:g}V{floor:g}H{right:g}' fill='none' stroke='currentColor'"
        f" opacity='.4'/>{texts}<text text-anchor='middle'"
        f" transform='translate(12 {upright:g}) rotate(-90)'>{y_title}</text>"
    )


# -- the rows --------------------------------------------------------------------------------------


def _rows(columns: Mapping[str, Array], units: Mapping[str, str], count: int) -> str:
    """The first and the last rows, as a table."""
    titles = "".join(f"<th>{_text(_title(name, units[name]))}</th>" for name in columns)
    lines = [f"<tr>{titles}</tr>"]
    for at in _preview(count):
        cells = ("…" if at is None else _cell(array[at]) for array in columns.values())
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table>{''.join(lines)}</table>" if columns else ""


def _preview(rows: int) -> list[int | None]:
    """Indices of the first and last rows, None for those left out between."""
    if rows <= 2 * _PREVIEW_ROWS:
        return list(range(rows))
    return [*range(_PREVIEW_ROWS), None, *range(rows - _PREVIEW_ROWS, rows)]


def _cell(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else html.escape(str(value))


def _title(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name


def _text(value: object, most: int = _MOST_TEXT) -> str:
    """Return anything as text that is no markup, neither between tags nor in an attribute."""
    said = str(value)
    return html.escape(said if len(said) <= most else f"{said[: most - 1]}…")
