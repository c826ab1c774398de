"""Points one at a time: grouped commits lose at most the interval, and never in silence."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import RunStore, RunWriter
from drivebay._core.runs import points as pointing

SRC = Path(__file__).parents[2] / "src"
COLUMNS = [("x", "V", "float"), ("n", "", "int"), ("ok", "", "bool")]
NEVER_S = 60.0
"""Longer than any of these tests: what is on the disk was put there by a flush or an end."""


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return RunStore(tmp_path / "runs").create(method="m", columns=COLUMNS)


def test_points_come_back_in_order_and_of_their_kinds(writer: RunWriter):
    with writer.points(NEVER_S) as points:
        for n in range(1_000):
            points.add(n / 8, n, n % 2 == 0)
    run = writer.finish("done")

    assert run["x"].tolist() == [n / 8 for n in range(1_000)]
    assert run["n"].tolist() == list(range(1_000))
    assert run["ok"].tolist() == [n % 2 == 0 for n in range(1_000)]


@given(st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans())))
def test_any_point_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, rows: Any):
    store = RunStore(tmp_path_factory.mktemp("runs"))
    writer = store.create(method="m", columns=COLUMNS)
    with writer.points(NEVER_S) as points:
        for row in rows:
            points.add(*row)
    run = writer.finish("done")

    assert run["x"].tobytes() == np.array([row[0] for row in rows], "<f8").tobytes()
    assert run["n"].tolist() == [row[1] for row in rows]
    assert run["ok"].tolist() == [row[2] for row in rows]


def test_a_flushed_point_is_on_the_disk_and_the_next_is_on_its_way(writer: RunWriter):
    points = writer.points(NEVER_S)
    points.add(1.0, 1, True)
    before = len(writer.run)
    points.flush()
    after = len(writer.run)
    points.close()

    assert (before, after) == (0, 1)


def test_points_reach_the_disk_within_the_interval_without_being_asked(writer: RunWriter):
    points = writer.points(0.001)
    points.add(1.0, 1, True)
    database = sqlite3.connect(writer.path)
    while not database.execute("SELECT count(*) FROM chunks").fetchone()[0]:
        pass  # the thread of the disk is at work; a hang here is the failure
    database.close()
    points.close()

    assert len(writer.run) == 1


def test_the_end_of_a_run_stores_the_points_that_wait(writer: RunWriter):
    points = writer.points(NEVER_S)
    points.add(1.0, 1, True)
    run = writer.finish("done")

    assert len(run) == 1
    with pytest.raises(RunError, match="closed"):
        points.add(1.0, 1, True)


def test_chunks_and_points_can_be_mixed_in_one_run(writer: RunWriter):
    with writer.points(NEVER_S) as points:
        points.add(1.0, 1, True)
    writer.append({"x": 2.0, "n": 2, "ok": False})  # each on the disk when it returns
    with writer.points(NEVER_S) as points:
        points.add(3.0, 3, True)
    run = writer.finish("done")

    assert run["n"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "values",
    [(1.0, 1), (1.0, 1, True, 2), ("1.0", 1, True), (1.0, 1.5, True), ([1, 2], [1, 2], [0])],
)
def test_a_point_that_does_not_fit_is_refused_at_once_and_spoils_no_other(
    writer: RunWriter, values: tuple[Any, ...]
):
    with writer.points(NEVER_S) as points:
        points.add(1.0, 1, True)
        with pytest.raises(RunError):
            points.add(*values)
        points.add(np.float64(2.0), np.int32(2), np.bool_(False))  # the control
    run = writer.finish("done")

    assert run["n"].tolist() == [1, 2]


def test_a_number_too_large_ends_the_run_as_failed_and_says_so(writer: RunWriter):
    points = writer.points(NEVER_S)
    points.add(1.0, 1, True)
    points.add(1.0, 2**64, True)

    with pytest.raises(RunError, match="could not be stored"):
        writer.finish("done")

    assert writer.run.state == "failed"
    assert "could not be stored" in (writer.run.reason or "")


def test_a_store_that_fails_is_told_by_the_next_call(writer: RunWriter):
    points = writer.points(NEVER_S)
    database = sqlite3.connect(writer.path)
    database.execute("DROP TABLE chunks")
    database.close()
    points.add(1.0, 1, True)

    with pytest.raises(StoreError):
        points.flush()
    with pytest.raises(StoreError):
        points.add(1.0, 1, True)


def test_a_program_that_outruns_the_disk_waits_and_loses_nothing(
    writer: RunWriter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pointing, "_MOST_WAITING", 10)
    with writer.points(NEVER_S) as points:
        for n in range(95):
            points.add(0.0, n, True)
        stored = len(writer.run)
    run = writer.finish("done")

    assert stored >= 85
    assert run["n"].tolist() == list(range(95))


def test_a_run_without_columns_takes_no_single_points(tmp_path: Path):
    with RunStore(tmp_path).create(method="m") as writer:
        with pytest.raises(RunError, match="declared"):
            writer.points()
        writer.append({"x": 1.0})


@pytest.mark.parametrize("every_s", [0.0, -1.0, 61.0, float("nan")])
def test_an_interval_out_of_range_is_refused(writer: RunWriter, every_s: float):
    with pytest.raises(RunError, match="every_s"):
        writer.points(every_s)


def test_only_one_taker_of_points_at_a_time(writer: RunWriter):
    with writer.points(), pytest.raises(RunError, match="already"):
        writer.points()
    writer.points().close()  # the control


FLUSHED = f"""
import os, sys
from drivebay._core.runs import RunStore
writer = RunStore(sys.argv[1]).create(method="m", columns={COLUMNS!r})
points = writer.points(60.0)
for n in range(100):
    points.add(0.5, n, True)
points.flush()
points.add(0.5, 100, True)
os.write(1, b"flushed\\n")
sys.stdin.read()
"""


@pytest.mark.slow
def test_kill_9_takes_no_flushed_point(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", FLUSHED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"flushed\n"
        process.kill()
    run = RunStore(tmp_path).open()

    assert run.state == "interrupted"
    assert run["n"].tolist() == list(range(100))
