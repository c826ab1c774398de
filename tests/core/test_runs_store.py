"""A run store: what is put in comes out, by whatever name it is asked for."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from drivebay._core.errors import AbortedError, RunError, RunNotFoundError, StoreError
from drivebay._core.runs import RunStore, RunWriter

COLUMNS = [
    ("voltage_v", "V", "float"),
    ("current_a", "A", "float"),
    ("count", "", "int"),
    ("in_compliance", "", "bool"),
]
PLUGIN = {"name": "keithley_2400", "version": "1.0.0", "sha256": "ab" * 32}


def run_files(folder: Path) -> list[Path]:
    """What runs have left in a folder, locks and logs included, but for the catalogue."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if not path.name.startswith("catalogue.")]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "a folder" / "runs")


def begin(store: RunStore, **given: object) -> RunWriter:
    facts: dict[str, object] = {
        "method": "iv_sweep",
        "plugin": PLUGIN,
        "identity": {"manufacturer": "KEITHLEY", "model": "2400"},
        "resource": "TCPIP::127.0.0.1::5025::SOCKET",
        "parameters": {"start_v": -1.0, "stop_v": 1.0, "points": 5},
        "columns": COLUMNS,
        "provenance": {"operator": "Zoë"},
    }
    return store.create(**(facts | given))  # type: ignore[arg-type]


def chunk(*voltages: float) -> dict[str, object]:
    volts = np.array(voltages)
    return {
        "voltage_v": volts,
        "current_a": volts / 50,
        "count": np.arange(len(volts)),
        "in_compliance": volts > 0.5,
    }


def test_a_finished_run_holds_everything_that_was_given_to_it(store: RunStore):
    writer = begin(store)
    writer.append(chunk(-1.0, 0.0))
    writer.append(chunk(1.0))
    writer.add_values({"resistance_ohm": 50.0})
    run = writer.finish("done")

    assert (run.state, run.reason, len(run)) == ("done", None, 3)
    assert run.method == "iv_sweep"
    assert run.resource == "TCPIP::127.0.0.1::5025::SOCKET"
    assert run.plugin == PLUGIN
    assert run.identity == {"manufacturer": "KEITHLEY", "model": "2400"}
    assert run.parameters == {"start_v": -1.0, "stop_v": 1.0, "points": 5}
    assert run.provenance == {"operator": "Zoë"}
    assert run.values == {"resistance_ohm": 50.0}
    assert run.units == {"voltage_v": "V", "current_a": "A", "count": "", "in_compliance": ""}
    assert run["voltage_v"].tolist() == [-1.0, 0.0, 1.0]
    assert run["count"].tolist() == [0, 1, 0]
    assert run["in_compliance"].tolist() == [False, False, True]
    assert [a.dtype.str for a in run.columns.values()] == ["<f8", "<f8", "<i8", "|b1"]
    assert list(run) == list(run.columns) == [name for name, *_ in COLUMNS]
    assert "current_a" in run
    assert run.started_at < (run.ended_at or "")
    assert run.duration_s > 0


def test_a_finished_run_is_one_file_that_can_be_copied_and_opened_alone(
    store: RunStore, tmp_path: Path
):
    with begin(store) as writer:
        writer.append(chunk(1.0, 2.0))

    assert run_files(store.folder) == [writer.path]
    copy = tmp_path / "mailed.sqlite"
    copy.write_bytes(writer.path.read_bytes())
    run = RunStore(tmp_path).open(copy)
    assert (run.id, run.state) == (writer.id, "done")
    assert run["voltage_v"].tolist() == [1.0, 2.0]


def test_a_run_ends_exactly_once(store: RunStore):
    writer = begin(store)
    writer.finish("aborted", "stopped by the user")

    for late in (
        lambda: writer.finish("done"),
        lambda: writer.append(chunk(1.0)),
        lambda: writer.add_event("late"),
        lambda: writer.add_values({"late": 1}),
    ):
        with pytest.raises(RunError, match="has ended"):
            late()
    assert (store.open().state, store.open().reason) == ("aborted", "stopped by the user")


def test_an_end_that_is_no_end_is_refused_and_the_run_goes_on(store: RunStore):
    writer = begin(store)

    with pytest.raises(RunError, match="cannot end as 'finished'; it ends as done, aborted"):
        writer.finish("finished")
    writer.append(chunk(1.0))
    assert writer.finish("done").state == "done"


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (None, "done", None),
        (AbortedError("enough"), "aborted", "enough"),
        (ValueError("no such range"), "failed", "ValueError: no such range"),
    ],
)
def test_leaving_the_with_block_ends_the_run_as_what_happened(store, error, state, reason):
    def measure() -> None:
        with begin(store) as writer:
            writer.append(chunk(1.0))
            if error is not None:
                raise error

    if error is None:
        measure()
    else:
        with pytest.raises(type(error)):
            measure()

    run = store.open()
    assert (run.state, run.reason, len(run)) == (state, reason, 1)


def test_a_running_run_is_read_live_and_grows(store: RunStore):
    writer = begin(store)
    run = store.open()

    assert (run.state, len(run), run["voltage_v"].tolist()) == ("running", 0, [])
    writer.append(chunk(1.0, 2.0))
    assert (len(run), run["voltage_v"].tolist()) == (2, [1.0, 2.0])
    writer.append(chunk(3.0))
    assert (len(run), run["voltage_v"].tolist()) == (3, [1.0, 2.0, 3.0])
    assert store.list()[0].state == "running"
    writer.finish("done")
    assert (run.state, len(run)) == ("done", 3)


def test_a_run_without_declared_columns_takes_those_of_its_first_chunk(store: RunStore):
    writer = begin(store, columns=())
    early = writer.run
    assert list(early) == []

    writer.append({"x": np.array([1, 2]), "ok": np.array([True, False]), "y": [0.5, 1]})

    assert early.kinds == {"x": "int", "ok": "bool", "y": "float"}
    with pytest.raises(RunError, match="a chunk has columns"):
        writer.append({"z": [1.0]})
    assert writer.finish("done")["y"].tolist() == [0.5, 1.0]


def test_a_run_without_rows_is_still_a_run(store: RunStore):
    writer = begin(store)
    writer.append(chunk())
    run = writer.finish("failed", "instrument went away")

    assert run
    assert len(run) == 0
    assert {name: len(a) for name, a in run.columns.items()} == dict.fromkeys(run, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"voltage_v": [1.0]}, "a chunk has columns"),
        ({**chunk(1.0), "more": [1.0]}, "a chunk has columns"),
        ({**chunk(1.0), "current_a": [1.0, 2.0]}, "has shape"),
        ({**chunk(1.0), "voltage_v": [[1.0]]}, "has shape"),
        ({**chunk(1.0), "count": [1.5]}, "'count' is int; got values of float64"),
        ({**chunk(1.0), "voltage_v": ["1"]}, "'voltage_v' is float; got values of <U1"),
        ({**chunk(1.0), "voltage_v": [1j]}, "'voltage_v' is float; got values of complex128"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused_and_the_run_goes_on(store, bad, message):
    writer = begin(store)
    writer.append(chunk(1.0))

    with pytest.raises(RunError, match=message):
        writer.append(bad)

    writer.append(chunk(2.0))
    assert writer.finish("done")["voltage_v"].tolist() == [1.0, 2.0]


def test_masked_numbers_are_stored_as_not_a_number(store: RunStore):
    writer = begin(store, columns=[("x", "", "float")])
    writer.append({"x": np.ma.array([1.0, 9.9e37], mask=[False, True])})

    stored = writer.finish("done")["x"]
    assert stored[0] == 1.0
    assert np.isnan(stored[1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([("a", "V", "float"), ("a", "A", "float")], "each only once"),
        ([("", "V", "float")], "must have a name"),
        ([("a\r", "V", "float")], "unprintable"),
        ([("a", "V", "text")], "'text'; kinds are float, int, bool"),
    ],
)
def test_columns_that_make_no_table_are_refused_before_a_file_exists(store, columns, message):
    with pytest.raises(RunError, match=message):
        begin(store, columns=columns)
    assert store.list() == []


def test_what_is_no_data_is_named_by_its_place(store: RunStore):
    with pytest.raises(RunError, match="parameters/a/1 is a function"):
        begin(store, parameters={"a": [1, begin]})


def test_ids_sort_in_the_order_in_which_runs_began(store: RunStore):
    ids = [begin(store).finish("done").id for _ in range(20)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 20
    assert [run.id for run in store.list()] == ids[::-1]
    assert [run.id for run in store.list(limit=3)] == ids[:-4:-1]


def test_many_threads_write_runs_of_their_own_at_once(store: RunStore):
    def measure(number: int) -> str:
        with begin(store) as writer:
            for step in range(5):
                writer.append(chunk(number, step))
        return writer.id

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(measure, range(12)))

    assert len(set(ids)) == 12
    for number, name in enumerate(ids):
        assert store.open(name)["voltage_v"][::2].tolist() == [number] * 5


def test_a_run_is_found_by_id_beginning_ending_and_age(store: RunStore):
    ids = [begin(store).finish("done").id for _ in range(3)]
    first = ids[0]

    assert store.open("last").id == store.open().id == ids[2]
    assert store.open("last-2").id == first
    assert store.open(first).id == first
    assert store.open(first[-4:]).id == first
    shortest = next(
        first[:n] for n in range(1, 22) if sum(i.startswith(first[:n]) for i in ids) < 2
    )
    assert store.open(shortest).id == first


def test_a_name_that_no_run_answers_to_says_which_exist(store: RunStore):
    with pytest.raises(RunNotFoundError, match=r"no run 'last': .* holds no runs yet"):
        store.open()
    ids = [begin(store).finish("done").id for _ in range(7)]

    with pytest.raises(RunNotFoundError, match=f"no run 'nope': .* holds {ids[6]}, .* and 2 more"):
        store.open("nope")
    with pytest.raises(RunNotFoundError, match="no run 'last-7'"):
        store.open("last-7")
    with pytest.raises(RunNotFoundError, match="'20' could be any of 7 runs"):
        store.open("20")
    with pytest.raises(RunNotFoundError, match="no run ''"):
        store.open("")
    with pytest.raises(RunNotFoundError, match="no run file"):
        store.open(store.folder / "gone.sqlite")


def test_a_column_that_is_not_there_is_named_with_those_that_are(store: RunStore):
    run = begin(store).finish("done")

    with pytest.raises(KeyError, match="no column 'curent_a'; did you mean 'current_a'"):
        run["curent_a"]


def test_events_keep_their_order_and_their_time(store: RunStore):
    writer = begin(store)
    writer.add_event("reload", {"plugin": "k", "sha256": "cd"})
    writer.append(chunk(1.0))
    writer.add_event("abort", None)
    begin_, *events, end = writer.finish("aborted").events

    assert (begin_[1], end[1], end[2]["state"]) == ("begin", "end", "aborted")
    assert [(kind, data) for _, kind, data in events] == [
        ("reload", {"plugin": "k", "sha256": "cd"}),
        ("abort", None),
    ]
    assert 0 <= events[0][0] <= events[1][0]


def test_the_json_object_of_a_run_is_strict_json(store: RunStore):
    writer = begin(store, parameters={"limit": float("inf"), "levels": np.array([1.0, 2.0])})
    writer.append({**chunk(1.0), "current_a": [float("nan")]})
    writer.add_values({"x": complex(1, 2)})
    found = writer.finish("done").to_dict()

    json.dumps(found, allow_nan=False)
    assert found["run"] == writer.id
    assert found["plugin"] == PLUGIN
    assert found["parameters"] == {"limit": None, "levels": [1.0, 2.0]}
    assert found["columns"]["current_a"] == [None]
    assert found["values"] == {"x": [1.0, 2.0]}
    assert found["units"]["current_a"] == "A"
    assert found["state"] == "done"


def test_a_notebook_shows_a_short_table_with_names_that_cannot_be_markup(store: RunStore):
    writer = begin(store, columns=[("<b>x", "V", "float")])
    writer.append({"<b>x": np.arange(1000.0)})
    page = writer.finish("failed", "<script>")._repr_html_()

    assert page.count("<tr>") == 12
    assert "&lt;b&gt;x [V]" in page
    assert "<script>" not in page


def test_pandas_gets_a_frame_with_units(store: RunStore):
    pandas = pytest.importorskip("pandas", reason="pandas is an extra: drivebay[export]")
    writer = begin(store)
    writer.append(chunk(1.0, 2.0))
    frame = writer.finish("done").to_pandas()

    assert isinstance(frame, pandas.DataFrame)
    assert frame["voltage_v"].tolist() == [1.0, 2.0]
    assert frame.attrs["units"]["voltage_v"] == "V"


def test_without_pandas_to_pandas_says_what_to_install(store: RunStore, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)

    with pytest.raises(RunError, match=r"pip install 'drivebay\[export\]'"):
        begin(store).finish("done").to_pandas()


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="cannot create a run in"):
        begin(RunStore(tmp_path / "file" / "runs"))
    with pytest.raises(StoreError, match="cannot list"):
        RunStore(tmp_path / "file").list()


def test_arrays_of_a_run_cannot_be_changed_by_accident(store: RunStore):
    writer = begin(store)
    writer.append(chunk(1.0, 2.0))
    run = writer.finish("done")

    with pytest.raises(ValueError, match="read-only"):
        run["voltage_v"][0] = 7.0
    assert run["voltage_v"][0] == 1.0


def test_importing_the_store_does_not_import_numpy():
    code = "import sys, drivebay._core.runs; sys.exit('numpy' in sys.modules)"
    src = Path(__file__).parents[2] / "src"
    assert (
        os.spawnve(
            os.P_WAIT,
            __import__("sys").executable,
            [__import__("sys").executable, "-c", code],
            {**os.environ, "PYTHONPATH": str(src)},
        )
        == 0
    )
