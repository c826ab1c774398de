"""Columns that grow while a run is read: what was handed out stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from drivebay._core.runs import fileformat
from drivebay._core.runs.growing import GrowingColumns

COLUMNS = fileformat.columns_of([("x", "V", "float"), ("ok", "", "bool")])


def chunk(first: int, rows: int) -> tuple[int, bytes]:
    x = np.arange(float(first), first + rows)
    return fileformat.encode(COLUMNS, {"x": x, "ok": x % 2 == 0})


@pytest.mark.parametrize("room", [0, 3, 100])
def test_chunks_are_joined_whatever_room_was_made_for_them(room: int):
    growing = GrowingColumns(COLUMNS, room)
    for first in range(0, 40, 5):
        growing.take(*chunk(first, 5))

    found = growing.arrays()

    assert growing.rows == 40
    assert found["x"].tolist() == list(range(40))
    assert found["ok"].tolist() == [n % 2 == 0 for n in range(40)]
    assert found["ok"].dtype == bool


def test_an_array_that_was_handed_out_keeps_its_rows_and_cannot_be_written():
    growing = GrowingColumns(COLUMNS, 0)
    growing.take(*chunk(0, 4))
    early = growing.arrays()["x"]

    growing.take(*chunk(4, 1000))

    assert early.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        early[0] = 7.0
    assert growing.arrays()["x"].tolist() == list(range(1004))


def test_columns_without_rows_are_empty_and_of_their_kinds():
    found = GrowingColumns(COLUMNS, 0).arrays()

    assert [(array.dtype.str, len(array)) for array in found.values()] == [("<f8", 0), ("|b1", 0)]
