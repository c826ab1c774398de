"""A run exported is the run: each kind of file read back by its own library, column by column."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import Run, RunStore, extract
from drivebay._core.runs import run as stored
from drivebay._core.runs.export import ENDINGS, KINDS, hdf5
from drivebay._core.runs.export.netcdf import clean_name
from drivebay._core.runs.transcript import Message, blocks
from drivebay._core.runs.writer import Beside

h5py = pytest.importorskip("h5py", reason="an extra: drivebay[export]")
pq = pytest.importorskip("pyarrow.parquet", reason="an extra: drivebay[export]")
xarray = pytest.importorskip("xarray", reason="an extra: drivebay[export]")

Columns = Mapping[str, "np.ndarray[Any, Any]"]
DTYPES = {"float": np.dtype("f8"), "int": np.dtype("i8"), "bool": np.dtype("?")}
PARAMETERS = {"start_v": -1.0, "points": 5, "dual": True, "mode": "=1+1", "levels_v": [0.1, 0.2]}
FILE_OF = {"csv": "x.csv", "json": "x.json", "parquet": "x.parquet", "hdf5": "x.h5"} | {
    "netcdf": "x.nc"
}


def make(folder: Path, columns: list[tuple[str, str, str]], *chunks: Columns, **given: Any) -> Run:
    facts: dict[str, Any] = {"method": "iv_sweep", "parameters": PARAMETERS}
    writer = RunStore(folder).create(columns=columns, **(facts | given))
    for chunk in chunks:
        writer.append(chunk)
    return writer.finish("done")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    columns = [
        ("voltage_v", "V", "float"),
        ("current_a", "A", "float"),
        ("time_s", "s", "float"),
        ("n", "", "int"),
        ("in_compliance", "", "bool"),
    ]
    chunks = [
        {
            "voltage_v": np.array([0.1, -0.0, math.nan]),
            "current_a": np.array([math.inf, -math.inf, 5e-324]),
            "time_s": np.array([0.0, 0.25, 0.5]),
            "n": np.array([-(2**63), 2**63 - 1, 0]),
            "in_compliance": np.array([True, False, True]),
        },
        {
            "voltage_v": np.array([1 / 3]),
            "current_a": np.array([1e-12]),
            "time_s": np.array([0.75]),
            "n": np.array([2**53 + 1]),
            "in_compliance": np.array([False]),
        },
    ]
    identity = {"manufacturer": "KEITHLEY", "model": "2400", "serial": "1\0"}
    return make(tmp_path / "runs", columns, *chunks, identity=identity, resource="TCPIP::x")


def export(run: Run, target: Path | io.StringIO, kind: str | None = None, **options: Any) -> Any:
    return RunStore(run.path.parent).export(run, target, kind, **options)


# -- what each library finds -----------------------------------------------------------------------


def read_csv(path: Path, run: Run) -> tuple[Columns, Mapping[str, str], Any]:
    with path.open(newline="", encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    about = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    columns = {}
    for at, name in enumerate(about["columns"]):
        kind = {"float": float, "int": int, "bool": lambda text: {"0": False, "1": True}[text]}
        values = [kind[about["kinds"][name]](row[at]) for row in rows]  # type: ignore[operator]
        columns[name] = np.array(values, DTYPES[about["kinds"][name]])
        assert head[at].replace("'", "").startswith(name.replace("'", ""))
    return columns, about["units"], about["parameters"]


def read_json(path: Path, run: Run) -> tuple[Columns, Mapping[str, str], Any]:
    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    columns = {
        name: np.array([math.nan if v is None else v for v in values], DTYPES[found["kinds"][name]])
        for name, values in found["columns"].items()
    }
    for name, words in found["not_finite_columns"].items():
        nulls = found["columns"][name].count(None)
        for word in words.keys() - {"nan"}:
            columns[name][words[word]] = float(word)
        assert nulls == words.get("nan", 0) + sum(len(words.get(w, ())) for w in ("inf", "-inf"))
    jsonschema_rs.Draft202012Validator(Run.json_schema()).validate(found)
    return columns, found["units"], found["parameters"]


def read_parquet(path: Path, run: Run) -> tuple[Columns, Mapping[str, str], Any]:
    table = pq.read_table(path)
    assert not any(column.null_count for column in table.columns)
    columns = {name: table.column(at).to_numpy() for at, name in enumerate(table.column_names)}
    units = {field.name: field.metadata[b"unit"].decode() for field in table.schema}
    about = json.loads(table.schema.metadata[b"drivebay"])
    assert about["columns"] == list(run)
    return columns, units, about["parameters"]


def read_hdf5(path: Path, run: Run) -> tuple[Columns, Mapping[str, str], Any]:
    with h5py.File(path) as file:
        datasets = list(file["columns"].values())
        columns = {dataset.attrs["name"]: dataset[:] for dataset in datasets}
        units = {dataset.attrs["name"]: dataset.attrs["unit"] for dataset in datasets}
        about = json.loads(file["metadata"][()])
    return columns, units, about["parameters"]


def read_netcdf(path: Path, run: Run) -> tuple[Columns, Mapping[str, str], Any]:
    with xarray.open_dataset(path, engine="h5netcdf") as file:
        found = file.load()
    by_name = {variable.attrs["long_name"]: variable for variable in found.variables.values()}
    columns = {name: by_name[name].values for name in run}  # a data set has no order of all
    units = {name: variable.attrs.get("units", "") for name, variable in by_name.items()}
    return columns, units, json.loads(found.attrs["parameters"])


READERS: dict[str, Callable[[Path, Run], tuple[Columns, Mapping[str, str], Any]]] = {
    "csv": read_csv,
    "json": read_json,
    "parquet": read_parquet,
    "hdf5": read_hdf5,
    "netcdf": read_netcdf,
}


def hdf5_about(path: Path) -> Any:
    with h5py.File(path) as file:
        return json.loads(file["metadata"][()])


def netcdf_about(path: Path) -> Any:
    with xarray.open_dataset(path) as found:
        return json.loads(found.attrs["metadata"])


ABOUT: dict[str, Callable[[Path], Any]] = {
    "csv": lambda path: json.loads(Path(f"{path}.json").read_text("utf-8")),
    "json": lambda path: json.loads(path.read_text("utf-8")),
    "parquet": lambda path: json.loads(pq.read_schema(path).metadata[b"drivebay"]),
    "hdf5": hdf5_about,
    "netcdf": netcdf_about,
}


def assert_it_is_the_run(run: Run, path: Path, kind: str) -> None:
    columns, units, parameters = READERS[kind](path, run)

    assert list(columns) == list(run)
    assert units == run.units
    assert parameters == run.parameters
    for name, wanted in run.columns.items():
        found = columns[name]
        assert found.dtype == DTYPES[run.kinds[name]], name
        if wanted.dtype.kind == "f" and kind not in {"csv", "json"}:
            # Bit by bit, but for the payload of a not-a-number.
            assert np.array_equal(np.signbit(found), np.signbit(wanted)) or np.isnan(wanted).any()
        assert np.array_equal(found, wanted, equal_nan=wanted.dtype.kind == "f"), name


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_read_back_by_its_own_library_is_the_run(run: Run, tmp_path: Path, kind: str):
    written = export(run, tmp_path / FILE_OF[kind])

    assert_it_is_the_run(run, written[0], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_json_does_not_have_is_named_where_it_is_null(tmp_path: Path, kind: str):
    writer = RunStore(tmp_path / "runs").create(method="own", parameters={"a": [1.0, math.inf]})
    writer.append({"voltage_v": np.array([1.0])})
    writer.add_values({"fit/r": math.nan, "none": None, "whole": 1.5})
    run = writer.finish("done")

    about = ABOUT[kind](export(run, tmp_path / FILE_OF[kind])[0])

    assert about["not_finite"] == {"/parameters/a/1": "inf", "/values/fit~1r": "nan"}
    assert about["values"] == {"fit/r": None, "none": None, "whole": 1.5}


def test_a_run_as_a_dictionary_says_the_same_as_its_export(run: Run, tmp_path: Path):
    exported = json.loads(export(run, tmp_path / "x.json")[0].read_text("utf-8"))
    found = json.loads(json.dumps(run.to_dict(), allow_nan=False))

    assert found["columns"] == exported["columns"]
    assert found["not_finite_columns"] == exported["not_finite_columns"]
    assert found["not_finite_columns"]["current_a"] == {"inf": [0], "-inf": [1]}


@pytest.mark.parametrize(
    "change",
    [{"rows": -1}, {"state": "lost"}, {"columns": {"a": ["x"]}}, {"not_finite": {"/a": "big"}}],
)
def test_the_schema_refuses_what_is_no_export(run: Run, tmp_path: Path, change: dict[str, Any]):
    exported = json.loads(export(run, tmp_path / "x.json")[0].read_text("utf-8"))

    assert jsonschema_rs.is_valid(Run.json_schema(), exported)
    assert not jsonschema_rs.is_valid(Run.json_schema(), exported | change)


def test_there_is_a_reader_here_for_every_kind_and_an_ending_for_each():
    assert set(READERS) == set(KINDS) == set(ENDINGS.values())


def names() -> st.SearchStrategy[str]:
    odd = [
        "=1+1",
        "a/b",
        ".",
        "..",
        "point",
        "a b",
        "größe",
        "ⅷ",
        "+",
        "'x",
        "a;=2",
        "\uff12",
        "_x",
    ]
    printable = st.text(min_size=1, max_size=12).filter(str.isprintable)
    return st.one_of(st.sampled_from(odd), printable)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[tuple[str, str, str]], list[Columns]]:
    found = draw(st.lists(names(), min_size=1, max_size=4, unique=True))
    units = ["", "V", "A", "s", "ohm", "%", "°C"]
    columns = [
        (name, draw(st.sampled_from(units)), draw(st.sampled_from(list(DTYPES)))) for name in found
    ]
    values = {
        "float": st.floats(),
        "int": st.integers(-(2**63), 2**63 - 1),
        "bool": st.booleans(),
    }

    def chunk(rows: int) -> Columns:
        lists = {
            name: draw(st.lists(values[kind], min_size=rows, max_size=rows))
            for name, _, kind in columns
        }
        return {name: np.array(lists[name], DTYPES[kind]) for name, _, kind in columns}

    return columns, [chunk(rows) for rows in draw(st.lists(st.integers(1, 4), max_size=3))]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(table=tables(), kind=st.sampled_from(KINDS))
def test_whatever_was_measured_comes_back_from_every_kind_of_file(
    tmp_path_factory: pytest.TempPathFactory,
    table: tuple[list[tuple[str, str, str]], list[Columns]],
    kind: str,
):
    folder = tmp_path_factory.mktemp("any")
    run = make(folder / "runs", table[0], *table[1])

    written = export(run, folder / FILE_OF[kind])

    assert_it_is_the_run(run, written[0], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_a_point_and_one_without_a_column_can_be_exported(tmp_path: Path, kind: str):
    empty = make(tmp_path / "runs", [("voltage_v", "V", "float"), ("ok", "", "bool")])
    bare = make(tmp_path / "runs", [])

    for at, run in enumerate((empty, bare)):
        (tmp_path / str(at)).mkdir()
        written = export(run, tmp_path / str(at) / FILE_OF[kind])
        assert_it_is_the_run(run, written[0], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_many_small_chunks_and_blocks_make_one_table(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(extract, "BLOCK_ROWS", 7)
    rows = [{"v": np.arange(at, at + 3.0), "n": np.arange(at, at + 3)} for at in range(0, 120, 3)]
    run = make(tmp_path / "runs", [("v", "V", "float"), ("n", "", "int")], *rows)

    written = export(run, tmp_path / FILE_OF[kind])

    assert len(run) == 120
    assert_it_is_the_run(run, written[0], kind)


# -- what else each file says ----------------------------------------------------------------------


def test_pandas_reads_units_and_parameters_from_parquet(run: Run, tmp_path: Path):
    pandas = pytest.importorskip("pandas")

    frame = pandas.read_parquet(export(run, tmp_path / "x.parquet")[0])

    assert frame.attrs == run.to_pandas().attrs
    assert frame.attrs["units"]["current_a"] == "A"
    pandas.testing.assert_frame_equal(frame, run.to_pandas())


def test_parquet_has_row_groups_of_a_good_size(tmp_path: Path):
    rows = [{"v": np.arange(1000.0)} for _ in range(140)]
    run = make(tmp_path / "runs", [("v", "V", "float")], *rows)

    about = pq.ParquetFile(export(run, tmp_path / "x.parquet")[0]).metadata

    assert [about.row_group(at).num_rows for at in range(about.num_row_groups)] == [
        66_000,
        66_000,
        8_000,
    ]


def test_hdf5_has_parameters_of_their_own_types(run: Run, tmp_path: Path):
    with h5py.File(export(run, tmp_path / "x.h5")[0]) as file:
        found = dict(file["parameters"].attrs)
        top = dict(file.attrs)

    assert found["start_v"] == -1.0
    assert found["start_v"].dtype == "f8"
    assert found["points"] == 5
    assert found["points"].dtype.kind == "i"
    assert found["dual"].dtype == "?"
    assert (found["mode"], json.loads(found["levels_v"])) == ("=1+1", [0.1, 0.2])
    assert (top["run"], top["method"], top["state"]) == (run.id, "iv_sweep", "done")
    assert "reason" not in top


def test_netcdf_opened_by_xarray_is_the_data_set_the_run_gives(run: Run, tmp_path: Path):
    with xarray.open_dataset(export(run, tmp_path / "x.nc")[0]) as found:
        xarray.testing.assert_identical(found.load(), run.to_xarray())


def test_the_data_set_of_a_run_can_be_stored_by_xarray_itself(run: Run, tmp_path: Path):
    run.to_xarray().to_netcdf(tmp_path / "x.nc", engine="h5netcdf")

    with xarray.open_dataset(tmp_path / "x.nc") as found:
        xarray.testing.assert_identical(found.load(), run.to_xarray())


@pytest.mark.parametrize(
    ("name", "clean"),
    [("a/b", "a_b"), ("2nd", "v2nd"), ("größe", "größe"), ("current_a", "current_a")],
)
def test_a_name_in_netcdf_is_one_that_cf_allows(name: str, clean: str):
    assert clean_name(name) == clean


def test_two_names_that_become_one_are_told_apart(tmp_path: Path):
    columns = [("a/b", "V", "float"), ("a b", "A", "float"), ("point", "", "int")]
    chunk = {"a/b": np.array([1.0]), "a b": np.array([2.0]), "point": np.array([3])}
    run = make(tmp_path / "runs", columns, chunk)

    with xarray.open_dataset(export(run, tmp_path / "x.nc")[0]) as found:
        assert {name: v.item() for name, v in found.variables.items()} == {
            "a_b": 1.0,
            "a_b_2": 2.0,
            "point": 3,
        }


# -- formulas --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        (" =1+1", "' =1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("a;@SUM(A1)", "a;'@SUM(A1)"),
        ("a=1", "a=1"),  # the control: what is no formula stays as it is
        ("a-b;c", "a-b;c"),
    ],
)
def test_no_cell_of_the_header_is_a_formula(tmp_path: Path, name: str, cell: str):
    stream = io.StringIO()

    export(make(tmp_path, [(name, "", "float")], {name: np.array([-1.0])}), stream, "csv")

    head, row = list(csv.reader(io.StringIO(stream.getvalue())))
    assert (head, row) == ([cell], ["-1.0"])


# -- the file itself -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_exists_is_replaced_only_when_that_is_asked_for(
    run: Run, tmp_path: Path, kind: str
):
    target = tmp_path / FILE_OF[kind]
    target.write_text("the thesis")

    with pytest.raises(RunError, match="exists already; give another name, or overwrite"):
        export(run, target)
    assert target.read_text() == "the thesis"

    written = export(run, target, overwrite=True)
    assert_it_is_the_run(run, written[0], kind)


def test_the_file_beside_a_csv_is_not_replaced_either(run: Run, tmp_path: Path):
    (tmp_path / "x.csv.json").write_text("mine")

    with pytest.raises(RunError, match=r"x\.csv\.json exists already"):
        export(run, tmp_path / "x.csv")
    assert [path.name for path in tmp_path.glob("x*")] == ["x.csv.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_run_leaves_no_file_and_spoils_none(run: Run, tmp_path: Path, kind: str):
    import sqlite3

    with sqlite3.connect(run.path) as database:
        database.execute("UPDATE chunks SET data = zeroblob(length(data)) WHERE number = 1")
    database.close()
    target = tmp_path / "out" / FILE_OF[kind]
    target.parent.mkdir()
    target.write_text("the last good one")

    with pytest.raises(StoreError, match="chunk 1 is damaged"):
        export(Run(run.path), target, overwrite=True)

    assert target.read_text() == "the last good one"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_beside_the_points_keeps_nobody_from_them(tmp_path: Path, kind: str):
    import sqlite3

    run = make(tmp_path / "runs", [("v", "V", "float")], {"v": np.array([1.0, 2.0])})
    run.tag("good")
    with sqlite3.connect(run.path) as database:
        database.execute("UPDATE events SET kind = 'other' WHERE number = 0")
        database.execute("UPDATE marks SET crc32 = crc32 + 1")
    database.close()

    path = export(Run(run.path), tmp_path / FILE_OF[kind])[0]

    assert_it_is_the_run(run, path, kind)
    about = ABOUT[kind](path)
    assert (about["events"], about["tags"], about["values"]) == (None, None, {})
    assert any("event 0 is damaged" in problem for problem in about["problems"])


def test_hdf5_has_the_traffic_that_is_whole_and_says_what_is_not(tmp_path: Path):
    import sqlite3

    writer = RunStore(tmp_path / "runs").create(
        method="m", columns=[], sources={"meter": {"a.py": b"1"}}, plugin={"name": "meter"}
    )
    for at in range(3):
        writer.keep((), Beside(blocks("measure", [(at, "w", b"%d\n" % at)])))
    run = writer.finish("done")
    with sqlite3.connect(run.path) as database:
        database.execute("UPDATE transcript SET data = x'00' || data WHERE number = 1")
        database.execute("UPDATE sources SET data = x'00'")
    database.close()

    with h5py.File(export(Run(run.path), tmp_path / "x.h5")[0]) as file:
        said = [message.data for message in traffic_in(file["transcript"])]
        problems = file["transcript"].attrs["problems"].tolist()
        lost = file["sources"].attrs["problems"].tolist()

    assert said == [b"0\n", b"2\n"]
    assert "transcript block 1" in problems[0]
    assert len(lost) == 1


def test_a_device_is_never_renamed_over(run: Run, tmp_path: Path):
    with pytest.raises(RunError, match="is no ordinary file"):
        export(run, Path(os.devnull), "csv", overwrite=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="is no ordinary file"):
        export(run, tmp_path / "pipe", "json", overwrite=True)


def test_through_a_link_the_file_it_leads_to_is_written(run: Run, tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "x.json").symlink_to(tmp_path / "there" / "y.json")

    export(run, tmp_path / "x.json")

    assert (tmp_path / "x.json").is_symlink()
    assert_it_is_the_run(run, tmp_path / "there" / "y.json", "json")


def test_a_stream_takes_no_binary_kind(run: Run):
    with pytest.raises(RunError, match="a stream takes csv or json, not 'parquet'"):
        export(run, io.StringIO(), "parquet")


@pytest.mark.parametrize(
    ("name", "module"), [("x.parquet", "pyarrow"), ("x.h5", "h5py"), ("x.nc", "h5netcdf")]
)
def test_without_its_library_an_export_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(RunError, match=rf"{module}, which is not .*'drivebay\[export\]'"):
        export(run, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_run_under_way_is_exported_as_far_as_it_is(tmp_path: Path):
    store = RunStore(tmp_path / "runs")
    with store.create(method="m", columns=[("v", "V", "float")]) as writer:
        writer.append({"v": [1.0, 2.0]})
        look = extract.Extract.of(store.open(writer.path))
        writer.append({"v": [3.0]})

        assert look.about["rows"] == 2
        assert [block["v"].tolist() for block in look.blocks()] == [[1.0, 2.0]]
        store.export(writer.path, tmp_path / "x.json")
        assert json.loads((tmp_path / "x.json").read_text())["columns"] == {"v": [1.0, 2.0, 3.0]}


def traffic_in(group: Any) -> list[Message]:
    data = group["data"][:].tobytes()
    rows = zip(
        group["time_ns"][:].tolist(),
        group["phase"].asstr()[:].tolist(),
        group["direction"].asstr()[:].tolist(),
        group["start"][:].tolist(),
        group["length"][:].tolist(),
        strict=True,
    )
    return [Message(*first, data[start : start + length]) for *first, start, length in rows]


@settings(deadline=None)
@given(
    said=st.lists(st.tuples(st.integers(-9, 9), st.sampled_from("wr"), st.binary(max_size=3))),
    step=st.integers(1, 4),
)
def test_any_traffic_comes_back_from_hdf5(said: list[tuple[int, Any, bytes]], step: int):
    messages = [Message(time_ns, "measure", way, data) for time_ns, way, data in said]

    with (
        pytest.MonkeyPatch.context() as patch,
        h5py.File("traffic", "w", driver="core", backing_store=False) as file,
    ):
        patch.setattr(hdf5, "_MESSAGES_A_STEP", step)
        hdf5._write_transcript(h5py, file.create_group("transcript"), messages)

        assert traffic_in(file["transcript"]) == messages


def test_the_drivers_files_and_the_traffic_go_into_hdf5_byte_for_byte(tmp_path: Path):
    sources = {
        "meter": {"plugin.yaml": b"name: x\n", "a/driver.py": b"\0\xff", "a/empty.py": b""},
        "base": {"lib.py": b"x = 1\n"},
    }
    said = [
        Message(-5, "connect", "w", b"*IDN?\n"),
        Message(7, "measure", "r", b"#14\0\xff\0\n"),
        Message(8, "measure", "r", b""),
    ]
    writer = RunStore(tmp_path / "runs").create(
        method="m", columns=[("v", "V", "float")], sources=sources, plugin={"name": "meter"}
    )
    for phase in ("connect", "measure"):
        talk = [(m.time_ns, m.direction, m.data) for m in said if m.phase == phase]
        writer.keep((), Beside(blocks(phase, talk)))
    run = writer.finish("done")

    with h5py.File(export(run, tmp_path / "x.h5")[0]) as file:
        assert traffic_in(file["transcript"]) == run.transcript == said
        for plugin, files in sources.items():
            group = file["sources"][plugin]
            assert {path: group[path][:].tobytes() for path in files} == files


@pytest.mark.parametrize("kind", KINDS)
def test_tags_notes_and_limits_are_known_in_every_export(tmp_path: Path, kind: str):
    limits = {"voltage_v": [-10.0, 10.0]}
    run = make(tmp_path / "runs", [("v", "V", "float")], bench={"alias": "smu1", "limits": limits})
    run.tag("good")
    run.note("diode no. 3", by="ada")

    about = ABOUT[kind](export(run, tmp_path / FILE_OF[kind])[0])

    assert (about["tags"], about["limits"], about["bench"]["alias"]) == (["good"], limits, "smu1")
    assert [(note["by"], note["text"]) for note in about["notes"]] == [("ada", "diode no. 3")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_run(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    # Smaller steps than in use, so that a run of many of them is quickly made.
    monkeypatch.setattr(extract, "BLOCK_ROWS", 4000)
    monkeypatch.setattr(stored, "_BYTES_A_LOOK", 1 << 16)
    columns = [("v", "V", "float"), ("i", "A", "float")]
    chunk = {"v": np.linspace(0.0, 1.0, 4000), "i": np.linspace(1.0, 0.0, 4000)}
    peaks = []
    for chunks in (4, 4, 16):  # the first one pays for what is imported and kept
        run = make(tmp_path / "runs", columns, *([chunk] * chunks))
        tracemalloc.start()
        export(Run(run.path), tmp_path / FILE_OF[kind], overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[2] < 1.5 * peaks[1]  # numpy's arrays are counted


def test_the_libraries_are_imported_only_for_an_export():
    code = (
        "import sys, drivebay; from drivebay._core.runs import RunStore;"
        "heavy = {'pyarrow', 'h5py', 'xarray', 'pandas', 'h5netcdf', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    source = str(Path(__file__).parents[2] / "src")

    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}, check=False
    )

    assert done.returncode == 0
