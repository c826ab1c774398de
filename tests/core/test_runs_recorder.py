"""The recorder: the disk in a thread of its own, and still nothing is shown that is not kept."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import Recorder, RunStore, fileformat
from drivebay._core.runs import recorder as recording
from drivebay._core.runs.run import Run

SRC = Path(__file__).parents[2] / "src"
COLUMNS = [("x", "V", "float")]


def chunk(number: int, rows: int = 3) -> dict[str, Any]:
    return {"x": np.full(rows, float(number))}


class Told:
    """What a recorder told: chunks that were kept, errors of the store."""

    def __init__(self, on_kept: Callable[[Any], None] | None = None) -> None:
        self.kept: list[Any] = []
        self.failed: list[BaseException] = []
        self._on_kept = on_kept

    def keep(self, given: Any) -> None:
        self.kept.append(given)
        if self._on_kept is not None:
            self._on_kept(given)


def recorder(store: RunStore, told: Told, columns: Any = COLUMNS) -> Recorder:
    draft = store.draft(method="m", columns=columns)
    return Recorder(draft, kept=told.keep, failed=told.failed.append)


def put_all(one: Recorder, numbers: range) -> None:
    for number in numbers:
        one.put(chunk(number))


def destroy(path: Path) -> None:
    """What a store that fails in the middle looks like to SQLite, without root or a full disk."""
    database = sqlite3.connect(path)
    database.execute("DROP TABLE chunks")
    database.close()


def run_files(folder: Path) -> list[Path]:
    """What runs have left in a folder, locks and logs included, but for the catalogue."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if not path.name.startswith("catalogue.")]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def test_what_is_handed_on_is_on_the_disk_in_order(store: RunStore):
    seen: list[tuple[int, int]] = []
    told = Told(lambda _: seen.append((len(told.kept), len(store.open(one.run_id)))))
    one = recorder(store, told)

    for number in range(20):
        one.put(chunk(number))
    run = one.finish("done", None, {"note": "fine"})

    assert [given["x"][0] for given in told.kept] == list(range(20))
    assert len(seen) == 20
    assert all(rows >= 3 * kept for kept, rows in seen)
    assert (run.state, len(run), run.values) == ("done", 60, {"note": "fine"})
    assert run["x"].tolist() == [float(n) for n in range(20) for _ in range(3)]
    path = run.path  # waits until it is one file
    assert run_files(store.folder) == [path]


def test_chunks_that_come_while_the_disk_is_busy_share_one_step(store: RunStore):
    busy, go_on = threading.Event(), threading.Event()

    def be_slow(_: Any) -> None:
        busy.set()
        assert go_on.wait(60)

    told = Told(be_slow)
    one = recorder(store, told)
    one.put(chunk(0))
    assert busy.wait(60)
    statements: list[str] = []
    one._opened()._database.set_trace_callback(statements.append)
    for number in range(1, 30):
        one.put(chunk(number))
    go_on.set()
    run = one.finish("done", None, {})

    # The 29, and the end where it came later than the thread looked.
    assert statements.count("COMMIT") <= 2
    assert len(run) == 90


def test_the_instrument_goes_on_while_the_run_is_still_being_made(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    go_on = threading.Event()
    sync = fileformat._sync

    def slow(path: Path) -> None:
        assert go_on.wait(60)
        sync(path)

    monkeypatch.setattr(fileformat, "_sync", slow)
    told = Told()
    one = recorder(store, told)
    put_all(one, range(5))  # does not wait
    before = (list(told.kept), store.list())
    go_on.set()

    assert before == ([], [])
    assert len(one.finish("done", None, {})) == 15


def test_a_chunk_is_stored_as_it_was_when_it_was_given(store: RunStore):
    one = recorder(store, Told())
    given = chunk(1)
    one.put(given)
    given["x"][:] = 2.0  # a driver that uses one buffer for all its chunks

    assert one.finish("done", None, {})["x"].tolist() == [1.0, 1.0, 1.0]


def test_a_run_without_declared_columns_takes_those_of_the_first_chunk(store: RunStore):
    one = recorder(store, Told(), columns=())
    one.put({"y": np.array([1.0]), "ok": np.array([True])})
    with pytest.raises(RunError, match="the run has"):
        one.put({"z": np.array([1.0])})

    run = one.finish("failed", "other columns", {})

    assert run.kinds == {"y": "float", "ok": "bool"}
    assert (run.state, len(run)) == ("failed", 1)


def test_a_store_that_fails_is_told_once_and_every_later_call_says_so(store: RunStore):
    told = Told()
    one = recorder(store, told)
    one.put(chunk(0))
    destroy(one.run.path)

    with pytest.raises(StoreError, match="no such table"):
        put_all(one, range(1, 10_000))
    with pytest.raises(StoreError, match="no such table") as caught:
        one.finish("done", None, {})

    assert told.failed == [caught.value]
    run = Run(one.run.path)
    assert run.state == "failed"
    assert "StoreError: cannot append to" in (run.reason or "")


def test_a_store_that_fails_wakes_whoever_waits_for_room(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recording, "_MOST_WAITING", 1)
    told = Told(lambda _: destroy(one.run.path))
    one = recorder(store, told)

    with pytest.raises(StoreError, match="no such table"):
        put_all(one, range(5))
    with pytest.raises(StoreError):
        one.finish("failed", "of the store", {})


def test_control_little_room_only_makes_the_instrument_wait(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recording, "_MOST_WAITING", 1)
    one = recorder(store, Told())

    put_all(one, range(5))

    assert len(one.finish("done", None, {})) == 15


def test_a_run_that_cannot_be_made_leaves_neither_lock_nor_file(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    def power_cut(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fileformat, "_sync", power_cut)
    told = Told()
    one = recorder(store, told)

    with pytest.raises(StoreError, match="cannot create"):
        put_all(one, range(10_000))
    for use in (lambda: one.put(chunk(0)), lambda: one.run, lambda: one.finish("done", None, {})):
        with pytest.raises(StoreError, match=r"cannot create .*Input/output error"):
            use()
    assert len(told.failed) == 1
    assert run_files(store.folder) == []


def test_a_value_that_is_no_data_ends_the_run_as_failed_with_its_chunks(store: RunStore):
    told = Told()
    one = recorder(store, told)
    one.put(chunk(0))

    with pytest.raises(RunError, match="values/f is a function"):
        one.finish("done", None, {"f": lambda: None})

    run = store.open()
    assert (run.state, len(run), len(told.kept)) == ("failed", 3, 1)
    assert "values/f" in (run.reason or "")
    assert told.failed == []  # nothing of the store


@pytest.mark.slow
def test_every_chunk_that_was_handed_on_is_there_after_kill_9(store: RunStore):
    script = f"""
import os, sys
import numpy as np
from drivebay._core.runs import Recorder, RunStore
store = RunStore(sys.argv[1])
def kept(chunk):
    os.write(1, b"%d\\n" % chunk["x"][0])
one = Recorder(store.draft(method="m", columns={COLUMNS!r}), kept=kept, failed=print)
for number in range(1_000_000):
    one.put({{"x": np.full(3, float(number))}})
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store.folder)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        for _ in range(700):
            assert process.stdout.readline()
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
    complete = [line for line in rest if line.endswith(b"\n")]
    last = int(complete[-1]) if complete else 699

    run = store.open()

    assert run.state == "interrupted"
    assert len(run) >= 3 * (last + 1)
    assert run["x"].tolist() == [float(n) for n in range(len(run) // 3) for _ in range(3)]
