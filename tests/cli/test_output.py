"""What commands print: strict JSON, aligned columns, and the curve of a running sweep."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.cli.output import plain, table
from drivebay.cli.sweepview import total_of, view

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_any_value_becomes_strict_json(value):
    text = json.dumps(plain(value), allow_nan=False)

    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_numbers_of_numpy_paths_and_bytes_become_plain():
    value = {"a": np.float64(1.5), "b": np.int64(2), "c": Path("x"), "d": b"*IDN?", "e": {3}}

    assert plain(value) == {"a": 1.5, "b": 2, "c": "x", "d": "*IDN?", "e": [3]}
    assert plain(math.inf) is None


@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(
            st.lists(
                st.text(st.characters(codec="ascii", exclude_categories=["C"])),
                min_size=width,
                max_size=width,
            ),
            min_size=1,
        )
    )
)
def test_columns_of_a_table_begin_at_the_same_place_in_every_line(rows):
    heads = [f"h{at}" for at in range(len(rows[0]))]
    widths = [max(len(heads[at]), *(len(row[at]) for row in rows)) + 2 for at in range(len(heads))]

    lines = table(heads, rows).split("\n")

    assert len(lines) == len(rows) + 1
    for line, row in zip(lines[1:], rows, strict=True):
        start = 0
        for cell, width in zip(row, widths, strict=True):
            assert line[start:].startswith(cell.rstrip()) or not cell.strip()
            start += width


def test_nothing_is_drawn_where_nobody_looks(capsys):
    sweep = SimpleNamespace(parameters={"points": 3, "start_v": 0.0, "stop_v": 1.0})

    with view(sweep, curve=True) as shown:
        shown.add({"voltage_v": np.zeros(3), "current_a": np.zeros(3)})

    assert capsys.readouterr().out == ""


def test_the_points_of_a_sweep_there_and_back_share_the_turning_point():
    assert total_of({"points": 3}) == 3
    assert total_of({"points": 3, "up_and_down": True}) == 5
    assert total_of({"frequency_hz": 3}) is None
