"""A long run, whole: recorded as a measurement is, verified, listed, exported, plotted, read back.

A million points in ``make soak``, fifty thousand in the suite; the chunks are those of a list sweep
with what was said to the instrument beside them.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay._core.runs import Recorder, RunStore
from drivebay._core.runs.run import Run
from drivebay.plotting import ascii_plot

POINTS = 1_000_000 if int(os.environ.get("DRIVEBAY_SOAK", "1")) > 1 else 50_000
CHUNK_ROWS = 1_000
COLUMNS = [
    ("voltage_v", "V", "float"),
    ("current_a", "A", "float"),
    ("time_s", "s", "float"),
    ("in_compliance", "", "bool"),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    """Sweeps up and down on a resistor, with noise, and the top cut off by the compliance."""
    dice = np.random.default_rng(5)
    up = np.linspace(-1, 1, 1001)
    voltage_v = np.resize(np.concatenate([up, up[-2:0:-1]]), POINTS)
    ideal_a = voltage_v * 1e-3 + dice.normal(0, 1e-8, POINTS)
    return {
        "voltage_v": voltage_v,
        "current_a": np.clip(ideal_a, -1, 0.9e-3),
        "time_s": np.arange(POINTS) * 1e-3,
        "in_compliance": ideal_a > 0.9e-3,
    }


@pytest.fixture(scope="module")
def run(truth: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = RunStore(tmp_path_factory.mktemp("long") / "runs")
    draft = store.draft(method="iv_sweep", columns=COLUMNS, parameters={"points": POINTS})
    kept: list[int] = []
    recorder = Recorder(
        draft, kept=lambda chunk: kept.append(len(chunk["time_s"])), failed=lambda exc: None
    )
    for first in range(0, POINTS, CHUNK_ROWS):
        part = slice(first, first + CHUNK_ROWS)
        recorder.put({name: values[part] for name, values in truth.items()})
    run = recorder.finish("done", None, {"resistance_ohm": 1000.0})
    assert sum(kept) == POINTS
    return run


def test_it_is_whole_listed_and_no_larger_than_its_numbers(run: Run, truth: dict[str, Any]):
    (listed,) = RunStore(run.path.parents[1]).list()

    assert (listed.id, listed.state, len(listed)) == (run.id, "done", POINTS)
    assert listed.verify() == ()
    assert run.path.stat().st_size < 30 * POINTS
    for name, values in truth.items():
        assert np.array_equal(listed[name], values), name


def test_it_is_read_in_pieces_that_are_small(run: Run, truth: dict[str, Any]):
    at = 0
    for chunk in Run(run.path).chunks():
        rows = len(chunk["time_s"])
        assert rows <= CHUNK_ROWS
        assert np.array_equal(chunk["current_a"], truth["current_a"][at : at + rows])
        at += rows
    assert at == POINTS


def exported(run: Run, tmp_path: Path, name: str) -> Path:
    (path, *_) = RunStore(run.path.parents[1]).export(run, tmp_path / name)
    return path


def test_its_csv_has_every_number(run: Run, tmp_path: Path, truth: dict[str, Any]):
    with exported(run, tmp_path, "run.csv").open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.reader(file) if line and not line[0].startswith("#")]

    assert len(lines) == POINTS + 1
    last = [values[-1] for values in truth.values()]
    assert [float(text) for text in lines[-1][:3]] == last[:3]


def test_its_parquet_hdf5_and_netcdf_have_every_number(
    run: Run, tmp_path: Path, truth: dict[str, Any]
):
    h5py, parquet, xarray = (
        pytest.importorskip(name) for name in ("h5py", "pyarrow.parquet", "xarray")
    )
    table = parquet.read_table(exported(run, tmp_path, "run.parquet"))
    assert np.array_equal(table["current_a"].to_numpy(), truth["current_a"])

    with h5py.File(exported(run, tmp_path, "run.h5")) as file:
        found: list[Any] = []
        file.visititems(lambda name, item: found.append(item) if "current_a" in name else None)
        assert np.array_equal(found[0][:], truth["current_a"])

    with xarray.open_dataset(exported(run, tmp_path, "run.nc")) as dataset:
        assert np.array_equal(dataset["current_a"].to_numpy(), truth["current_a"])


def test_it_is_drawn_on_paper_and_in_the_terminal(run: Run, tmp_path: Path):
    run.plot(tmp_path / "run.png")

    assert 10_000 < (tmp_path / "run.png").stat().st_size < 1_000_000
    assert len(ascii_plot(run).splitlines()) > 10


def test_it_becomes_a_frame(run: Run, truth: dict[str, Any]):
    pytest.importorskip("pandas")
    frame = run.to_pandas()

    assert len(frame) == POINTS
    assert np.array_equal(frame["in_compliance"], truth["in_compliance"])
