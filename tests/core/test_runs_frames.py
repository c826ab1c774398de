"""A run as pandas and xarray have it: the same values, kinds and units."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay._core.errors import RunError
from drivebay._core.runs import Run, RunStore

COLUMNS = [
    ("voltage_v", "V", "float"),
    ("current_a", "A", "float"),
    ("time_s", "s", "float"),
    ("n", "", "int"),
    ("in_compliance", "", "bool"),
]


def make(folder: Path, columns: list[tuple[str, str, str]] = COLUMNS, rows: int = 3) -> Run:
    chunk: dict[str, Any] = {}
    for at, (name, _, kind) in enumerate(columns):
        values = np.arange(rows) + at
        chunk[name] = values > 2 if kind == "bool" else values.astype({"int": "i8"}.get(kind, "f8"))
    identity = {"manufacturer": "KEITHLEY", "model": "2400", "serial": "7"}
    writer = RunStore(folder).create(
        method="iv_sweep", columns=columns, identity=identity, parameters={"start_v": -1.0}
    )
    if rows:
        writer.append(chunk)
    return writer.finish("done")


def test_a_frame_has_the_values_the_kinds_and_what_is_known(tmp_path: Path):
    pytest.importorskip("pandas")
    run = make(tmp_path)

    frame = run.to_pandas()

    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "voltage_v": "float64",
        "current_a": "float64",
        "time_s": "float64",
        "n": "int64",
        "in_compliance": "bool",
    }
    assert all(np.array_equal(frame[name].to_numpy(), run[name]) for name in run)
    assert frame.attrs["units"] == run.units
    assert (frame.attrs["run"], frame.attrs["parameters"]) == (run.id, {"start_v": -1.0})


def test_a_frame_can_be_changed_and_the_run_stays(tmp_path: Path):
    pytest.importorskip("pandas")
    run = make(tmp_path)

    frame = run.to_pandas()
    frame.loc[0, "voltage_v"] = 99.0

    assert run["voltage_v"][0] == 0.0


def test_a_data_set_has_what_was_swept_and_the_time_as_coordinates(tmp_path: Path):
    pytest.importorskip("xarray")
    run = make(tmp_path)

    found = run.to_xarray()

    assert set(found.coords) == {"voltage_v", "time_s"}
    assert list(found.data_vars) == ["current_a", "n", "in_compliance"]
    assert dict(found.sizes) == {"point": 3}
    assert {name: str(v.dtype) for name, v in found.variables.items()} == {
        name: {"float": "float64", "int": "int64", "bool": "bool"}[kind]
        for name, kind in run.kinds.items()
    }
    assert all(np.array_equal(found[name].values, run[name]) for name in run)
    assert found["current_a"].attrs == {"long_name": "current_a", "units": "A"}
    assert "units" not in found["n"].attrs


def test_a_data_set_says_what_the_run_was_in_texts(tmp_path: Path):
    pytest.importorskip("xarray")
    run = make(tmp_path)

    attrs = run.to_xarray().attrs

    assert all(isinstance(value, str) for value in attrs.values())
    assert attrs["source"] == "KEITHLEY 2400 7"
    assert json.loads(attrs["parameters"]) == {"start_v": -1.0}
    assert json.loads(attrs["metadata"])["run"] == run.id


def test_what_was_swept_can_be_made_the_index(tmp_path: Path):
    pytest.importorskip("xarray")

    found = make(tmp_path).to_xarray().swap_dims(point="voltage_v")

    assert found["current_a"].sel(voltage_v=2.0).item() == 3.0


@pytest.mark.parametrize(
    ("columns", "along"),
    [
        ([("time_s", "s", "float"), ("voltage_v", "V", "float")], {"time_s"}),
        ([("voltage_v", "V", "float")], set()),
        ([("point", "", "int"), ("voltage_v", "V", "float")], {"point"}),
        ([("on", "", "bool"), ("v", "V", "float"), ("i", "A", "float")], {"v"}),
    ],
)
def test_other_columns_have_the_coordinates_they_can_have(
    tmp_path: Path, columns: list[tuple[str, str, str]], along: set[str]
):
    pytest.importorskip("xarray")

    found = make(tmp_path, columns).to_xarray()

    assert set(found.coords) == along
    assert set(found.variables) == {name for name, _, _ in columns}


def test_a_run_without_a_point_is_a_frame_and_a_data_set_of_the_right_kinds(tmp_path: Path):
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    run = make(tmp_path, rows=0)

    assert [str(kind) for kind in run.to_pandas().dtypes] == ["float64"] * 3 + ["int64", "bool"]
    assert run.to_xarray().sizes == {"point": 0}
    assert run.to_xarray()["n"].dtype == "int64"


@pytest.mark.parametrize("name", ["pandas", "xarray"])
def test_without_the_library_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    run = make(tmp_path)
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(RunError, match=rf"needs {name}.* pip install 'drivebay\[export\]'"):
        getattr(run, f"to_{name}")()
