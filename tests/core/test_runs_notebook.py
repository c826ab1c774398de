"""What a notebook shows of a run: a glance that is always well-formed and never runs anything."""

from __future__ import annotations

import math
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivebay._core.runs import Run, RunStore, notebook

EVIL = "<script>alert(1)</script>'\"><img src=x onerror=y>&"
COLUMNS = [("voltage_v", "V", "float"), ("current_a", "A", "float"), ("time_s", "s", "float")]


def make(folder: Path, columns: Any = COLUMNS, rows: Any = None, **given: Any) -> Run:
    facts: dict[str, Any] = {"method": "iv_sweep", "parameters": {"start_v": -1.0, "points": 5}}
    writer = RunStore(folder).create(columns=columns, **(facts | given))
    if rows is not None:
        writer.append(dict(zip((name for name, *_ in columns), rows, strict=True)))
    return writer.finish("done")


class Tags(HTMLParser):
    """Collects elements, and complains of those that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def picture(page: str) -> ElementTree.Element:
    (found,) = re.findall(r"<svg.*?</svg>", page, re.S)
    return ElementTree.fromstring(found)


def curve(page: str) -> str:
    paths = [element for element in picture(page) if element.get("stroke") == "#0072B2"]
    (path,) = paths
    return path.get("d", "")


def test_a_run_shows_what_was_measured_how_and_its_tags(tmp_path: Path):
    volts = np.linspace(-1.0, 1.0, 21)
    run = make(
        tmp_path,
        rows=(volts, volts / 50, volts),
        identity={"manufacturer": "KEITHLEY", "model": "2400"},
    )
    run.tag("good", "diode")
    run.note("looks fine", by="ada")

    page = run._repr_html_()

    for said in (run.id, "done", "KEITHLEY 2400", "start_v", "-1.0", "#good", "#diode", "looks"):
        assert said in page
    assert [text.text for text in picture(page) if text.tag.endswith("text")] == [
        "-1",
        "1",
        "voltage_v [V]",
        "-0.02",
        "0.02",
        "current_a [A]",
    ]
    assert curve(page).count("L") == 20
    assert {tag for tag, _ in Tags(page).seen} <= {
        *("div", "b", "span", "br", "code", "i", "table", "tr", "th", "td", "svg", "path", "text")
    }


def test_nothing_that_was_written_into_a_run_becomes_markup(tmp_path: Path):
    run = make(
        tmp_path,
        [(EVIL, EVIL, "float"), (f"{EVIL}2", EVIL, "float")],
        ([1.0, 2.0], [3.0, 4.0]),
        method=EVIL,
        resource=EVIL,
        identity={"model": EVIL},
        plugin={"name": EVIL, "version": EVIL},
        parameters={EVIL: EVIL},
    )
    run.note(EVIL)

    seen = Tags(run._repr_html_()).seen

    assert not {"script", "img"} & {tag for tag, _ in seen}
    assert not [name for _, attrs in seen for name in attrs if name.startswith("on")]
    picture(run._repr_html_())  # well-formed


def test_a_gap_breaks_the_line_and_a_lonely_point_is_a_dot(tmp_path: Path):
    x = np.arange(6.0)
    y = np.array([1.0, 2.0, math.nan, 3.0, math.nan, 4.0])

    path = curve(make(tmp_path, rows=(x, y, x))._repr_html_())

    assert (path.count("M"), path.count("L"), path.count("h0")) == (3, 1, 3)
    assert "nan" not in path


def test_of_a_long_run_every_peak_is_kept(tmp_path: Path):
    y = np.zeros(100_000)
    y[54_321] = 1.0
    x = np.arange(100_000.0)

    path = curve(make(tmp_path, rows=(x, y, x))._repr_html_())

    heights = [float(h) for h in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
    assert len(heights) <= 700
    assert (min(heights), max(heights)) == (8.0, 136.0)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(), st.floats(), st.floats()), max_size=8),
    kind=st.sampled_from(["float", "int"]),
)
def test_any_numbers_make_a_picture_inside_its_frame(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]], kind: str
):
    columns = {name: np.array([row[at] for row in rows]) for at, name in enumerate("xyz")}
    units, kinds = dict.fromkeys(columns, "V"), dict.fromkeys(columns, "float")

    found = notebook._picture(columns, units, kinds)

    if found:
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", curve(found)):
            assert 88.0 <= float(x) <= 352.0
            assert 8.0 <= float(y) <= 136.0
        assert "nan" not in curve(found)
    assert bool(found) == any(math.isfinite(row[0]) and math.isfinite(row[1]) for row in rows)


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (COLUMNS, None),
        ([], None),
        ([("on", "", "bool")], ([True, False],)),
        ([("time_s", "s", "float")], ([1.0, 2.0],)),
    ],
)
def test_a_run_with_nothing_to_draw_has_no_picture(tmp_path: Path, columns: Any, rows: Any):
    page = make(tmp_path, columns, rows)._repr_html_()

    assert "<svg" not in page
    Tags(page)


def test_a_single_column_is_drawn_over_its_points(tmp_path: Path):
    page = make(tmp_path, [("level_v", "V", "float")], ([1.0, 2.0, 4.0],))._repr_html_()

    assert "point" in page
    assert curve(page).count("L") == 2


def test_a_damaged_run_shows_its_reason(tmp_path: Path):
    run = make(tmp_path, rows=([1.0], [2.0], [3.0]))
    with sqlite3.connect(run.path) as database:
        database.execute("UPDATE chunks SET data = zeroblob(length(data))")
    database.close()

    page = Run(run.path)._repr_html_()
    stands_for = Run(run.path, damage=f"it burnt {EVIL}")._repr_html_()

    assert "chunk 0 is damaged" in page
    assert "it burnt &lt;script&gt;" in stands_for
    Tags(page)
    Tags(stands_for)
