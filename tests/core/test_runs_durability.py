"""What was acknowledged is there: after kill -9, on a full disk, in a read-only folder, damaged."""

from __future__ import annotations

import gc
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore, fileformat
from drivebay._core.runs import writer as writing
from drivebay._core.runs.run import Run

SRC = Path(__file__).parents[2] / "src"
COLUMNS = [("x", "V", "float"), ("ok", "", "bool")]
HEAD = f"""
import os, sys
import numpy as np
from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore
store = RunStore(sys.argv[1])
def chunk(number, rows=10):
    return {{"x": np.full(rows, float(number)), "ok": np.ones(rows, bool)}}
def begin():
    return store.create(method="m", columns={COLUMNS!r})
"""
# Acknowledges each chunk down the pipe after append() returned, until it is killed.
ENDLESS = """
writer = begin()
for number in range(1_000_000):
    writer.append(chunk(number))
    os.write(1, b"%d\\n" % number)
"""


def child(script: str, folder: Path, **given: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + script, str(folder)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **given,  # type: ignore[call-overload]
    )


def kill_after(folder: Path, chunks: int) -> int:
    """Kill -9 a writing process once it acknowledged so many; return the last it acknowledged."""
    with child(ENDLESS, folder) as process:
        assert process.stdout is not None
        for _ in range(chunks):
            assert process.stdout.readline(), process.stderr and process.stderr.read()
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
    complete = [line for line in rest if line.endswith(b"\n")]
    return int(complete[-1]) if complete else chunks - 1


def run_files(folder: Path) -> list[Path]:
    """What runs have left in a folder, locks and logs included, but for the catalogue."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if not path.name.startswith("catalogue.")]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.fixture
def finished(store: RunStore) -> Path:
    """A run of 40 chunks of 25 rows: x counts the rows."""
    writer = store.create(method="m", columns=COLUMNS, parameters={"a": list(range(300))})
    for number in range(40):
        x = np.arange(25.0) + 25 * number
        writer.append({"x": x, "ok": x > 0})
    writer.add_values({"v": "text"})
    writer.finish("done")
    return writer.path


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [1, 7, 60])
def test_every_acknowledged_chunk_is_there_after_kill_9(store: RunStore, chunks: int):
    last = kill_after(store.folder, chunks)

    run = store.open()
    assert run.state == "interrupted"
    assert "stopped writing without an end" in (run.reason or "")
    assert len(run) >= 10 * (last + 1)
    assert run["x"].tolist() == [float(n) for n in range(len(run) // 10) for _ in range(10)]


@pytest.mark.slow
def test_an_interrupted_run_becomes_one_file_when_the_store_meets_it(store: RunStore):
    kill_after(store.folder, 5)
    assert len(run_files(store.folder)) > 1

    (run,) = store.list()

    assert run.state == "interrupted"
    assert run_files(store.folder) == [run.path]
    assert run.duration_s > 0
    assert run.started_at < (run.ended_at or "")
    assert store.open().state == "interrupted"


@pytest.mark.slow
def test_a_run_is_running_for_other_processes_while_its_writer_lives(store: RunStore):
    with child(ENDLESS, store.folder) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()

        (run,) = store.list()
        seen = [run.state, len(run) >= 30, run["x"][:30].tolist()]
        process.kill()
        process.stdout.read()

    assert seen == ["running", True, [0.0] * 10 + [1.0] * 10 + [2.0] * 10]
    assert run.state == "interrupted"


@pytest.mark.slow
def test_a_fork_of_the_writer_does_not_keep_a_dead_run_alive(store: RunStore):
    script = """
import warnings
writer = begin()
writer.append(chunk(0))
if os.fork() == 0:
    sys.stdin.read()      # lives on, with copies of all descriptors, until the pipe closes
    os._exit(0)
os.write(1, b"ready\\n")
os.kill(os.getpid(), 9)
"""
    with child(script, store.folder, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        process.wait()
        state = store.list()[0].state
        process.stdin.close()

    assert state == "interrupted"


@pytest.mark.slow
def test_a_fork_while_another_thread_ends_a_run_can_read_and_write_runs(store: RunStore):
    script = """
import signal, threading
from drivebay._core.runs import holder
begin().finish("done")
holding, forked = threading.Event(), threading.Event()
def hold():
    with holder._guard:
        holding.set()
        forked.wait()
thread = threading.Thread(target=hold)
thread.start()
holding.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    assert store.open().state == "done"
    begin().finish("aborted")
    os._exit(0)
forked.set()
thread.join()
_, status = os.waitpid(child, 0)
os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(status))
"""
    with child(script, store.folder) as process:
        out, err = process.communicate()

    assert out == b"0\n", err
    assert [run.state for run in store.list()] == ["aborted", "done"]


def test_a_live_run_copied_without_its_lock_is_interrupted_not_running(
    store: RunStore, tmp_path: Path
):
    writer = store.create(method="m", columns=COLUMNS)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(writer.path, copy)

    assert Run(copy).state == "interrupted"
    assert writer.run.state == "running"
    writer.finish("done")


def test_a_reader_that_holds_on_does_not_keep_a_run_from_ending(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writing, "_SEAL_WAIT_S", 0.0)
    writer = store.create(method="m", columns=COLUMNS)
    writer.append({"x": [1.0], "ok": [True]})
    reader = sqlite3.connect(writer.path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM chunks").fetchone()

    run = writer.finish("done")
    seen = (run.state, run["x"].tolist(), run.is_one_file)
    reader.close()

    assert seen == ("done", [1.0], False)
    assert store.list()[0].state == "done"  # which is also what folds the log in
    assert run_files(store.folder) == [writer.path]


def test_a_writer_waits_for_a_reader_to_let_go_and_leaves_one_file(store: RunStore):
    writer = store.create(method="m", columns=COLUMNS)
    reader = sqlite3.connect(writer.path, check_same_thread=False)
    reader.execute("SELECT * FROM header").fetchone()
    leaves = threading.Timer(0.05, reader.close)
    leaves.start()

    writer.finish("done")
    leaves.join()

    assert run_files(store.folder) == [writer.path]


def test_a_run_whose_last_change_of_mode_was_lost_is_whole_and_is_tidied(store: RunStore):
    """The one write of a run that is not synced: the mode, after everything else is on the disk."""
    writer = store.create(method="m", columns=COLUMNS)
    writer.append({"x": [1.0], "ok": [True]})
    run = writer.finish("done")
    assert run.is_one_file
    content = bytearray(writer.path.read_bytes())
    assert content[18:20] == b"\1\1"
    content[18:20] = b"\2\2"  # as before the change
    writer.path.write_bytes(content)

    again = store.open()

    assert (again.state, again["x"].tolist(), again.is_one_file) == ("done", [1.0], True)
    assert run_files(store.folder) == [writer.path]


def test_the_journal_is_synchronous_full_while_a_run_is_written(store: RunStore):
    writer = store.create(method="m")
    database = writer._database

    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # 2 is FULL, 1 NORMAL
    writer.finish("done")


@pytest.mark.slow
def test_a_full_disk_is_a_store_error_and_keeps_what_was_acknowledged(store: RunStore):
    # A limit on the size of one file is what a full disk looks like to SQLite, without root.
    script = """
writer = begin()
number = 0
try:
    while True:
        writer.append(chunk(number, rows=1000))
        number += 1
except StoreError as exc:
    print(number, "append to" in str(exc), flush=True)
try:
    writer.finish("failed", "disk full")
except StoreError:
    pass
"""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    process = child(script, store.folder, preexec_fn=limit)
    out, err = process.communicate()

    assert process.returncode == 0, err.decode()
    number, named = out.split()
    assert int(number) > 3
    assert named == b"True"
    assert len(store.open()) == int(number) * 1000
    assert np.unique(store.open()["x"]).tolist() == [float(n) for n in range(int(number))]


@pytest.mark.slow
def test_a_read_only_folder_can_be_read_and_says_so_when_written(store: RunStore):
    # Root may write anywhere, so the child becomes nobody first.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = []
        for state in ("done", "interrupted"):
            if state == "done":
                ids.append(RunStore(folder).create(method="m").finish("done").id)
            else:
                kill_after(folder, 2)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        script = """
if os.geteuid() == 0:
    os.setuid(65534)
print([run.state for run in store.list()], len(store.open("last")) >= 20)
try:
    begin()
except StoreError as exc:
    print(exc)
"""
        process = child(script, folder)
        out, err = process.communicate()
        for path in (folder, *filter(Path.is_dir, folder.rglob("*"))):
            path.chmod(0o755)

    assert process.returncode == 0, err.decode()
    first, second = out.decode().splitlines()
    assert first == "['interrupted', 'done'] True"
    assert second.startswith(f"cannot create a run in {name}: ")


def test_a_newer_format_is_refused_with_both_versions(finished: Path, store: RunStore):
    database = sqlite3.connect(finished)
    database.execute("PRAGMA user_version = 7")
    database.close()

    with pytest.raises(StoreError, match=r"has run format 7; .* reads formats 1 to 2"):
        store.open()
    (run,) = store.list()
    assert (run.state, len(run)) == ("damaged", 0)
    assert "run format 7" in (run.reason or "")
    assert "damaged" in repr(run)
    assert run.to_summary()["state"] == "damaged"
    with pytest.raises(StoreError, match="run format 7"):
        run["x"]


def test_a_table_this_version_does_not_know_is_left_alone(finished: Path, store: RunStore):
    database = sqlite3.connect(finished)
    database.execute("CREATE TABLE pictures (number INTEGER PRIMARY KEY, data BLOB)")
    database.close()

    assert len(store.open()["x"]) == 1000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is a database but not a Drivebay run"),
        (b"hello, world\n" * 100, "file is not a database"),
    ],
)
def test_a_file_that_is_no_run_is_listed_as_damaged_and_hides_nothing(
    store: RunStore, content: bytes, reason: str
):
    good = store.create(method="m").finish("done")
    (store.folder / "20990101-000000-2222.sqlite").write_bytes(content)
    (store.folder / "notes.sqlite").write_bytes(b"not by its name")

    runs = store.list()

    assert [run.state for run in runs] == ["damaged", "done"]
    assert reason in (runs[0].reason or "")
    assert runs[1].id == good.id
    with pytest.raises(StoreError, match=reason):
        store.open("20990101-000000-2222")


def test_a_damaged_chunk_is_named_and_the_others_can_be_salvaged(finished: Path, store: RunStore):
    database = sqlite3.connect(finished)
    (data,) = database.execute("SELECT data FROM chunks WHERE number = 7").fetchone()
    flipped = bytes([data[0] ^ 1]) + data[1:]
    with database:
        database.execute("UPDATE chunks SET data = ? WHERE number = 7", (flipped,))
    database.close()
    run = store.open()

    with pytest.raises(StoreError, match=r"\.sqlite: chunk 7 is damaged: its checksum"):
        run["x"]
    columns, problems = run.salvage()

    assert columns["x"].tolist() == [float(x) for x in range(1000) if not 175 <= x < 200]
    assert len(problems) == 1
    assert "chunk 7" in problems[0]
    assert run.salvage()[0]["ok"].dtype == bool


@pytest.mark.parametrize(
    "edit",
    [
        "DELETE FROM chunks WHERE number = 3",
        "DELETE FROM chunks WHERE number = 39",
        "UPDATE chunks SET number = number + 100 WHERE number = 3",
        "UPDATE chunks SET rows = 24 WHERE number = 3",
        "UPDATE chunks SET data = 'text' WHERE number = 3",
        "UPDATE chunks SET first_row = 'text' WHERE number = 3",
        "UPDATE header SET value = '[]' WHERE key = 'columns'",
    ],
)
def test_rows_that_are_gone_moved_or_changed_are_never_read_as_data(
    finished: Path, store: RunStore, edit: str
):
    assert len(store.open()["x"]) == 1000  # the control
    with sqlite3.connect(finished) as database:
        database.execute(edit)
    database.close()

    with pytest.raises(StoreError, match=finished.name):
        _ = store.open().columns


@pytest.mark.parametrize(
    ("edit", "read"),
    [
        ("UPDATE results SET value = '1'", lambda run: run.values),
        ("UPDATE events SET data = '1'", lambda run: run.events),
        ("UPDATE ending SET state = 'failed'", lambda run: run.state),
        ("UPDATE header SET value = '{}' WHERE key = 'parameters'", lambda run: run),
        ("DELETE FROM header WHERE key = 'parameters'", lambda run: run),
    ],
)
def test_a_changed_text_is_found_by_its_checksum(store: RunStore, edit, read):
    writer = store.create(method="m", parameters={"a": 1})
    writer.add_values({"v": 2})
    writer.add_event("e")
    writer.finish("done")
    read(store.open())  # the control
    with sqlite3.connect(writer.path) as database:
        database.execute(edit)
    database.close()

    with pytest.raises(StoreError, match="damaged"):
        read(store.open())


@pytest.mark.slow
def test_random_damage_is_an_error_or_harmless_never_a_wrong_number(
    finished: Path, store: RunStore
):
    whole = finished.read_bytes()
    dice = random.Random(20261122)
    right = np.arange(1000.0).tolist()
    outcomes = {"refused": 0, "harmless": 0}
    for _ in range(200):
        damaged = bytearray(whole)
        if dice.random() < 0.3:
            del damaged[dice.randrange(len(damaged)) :]
        else:
            for _ in range(dice.choice([1, 4, 64])):
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        finished.write_bytes(damaged)
        (listed,) = store.list()
        try:
            run = store.open()
            found = (run["x"].tolist(), run.parameters, run.values, run.state)
        except StoreError as exc:
            outcomes["refused"] += finished.name in str(exc)
            continue
        assert found == (right, {"a": list(range(300))}, {"v": "text"}, "done")
        assert listed.state == "done"
        outcomes["harmless"] += 1

    assert sum(outcomes.values()) == 200
    assert min(outcomes.values()) > 10  # both kinds were really tried


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # Python 3.13 says so
def test_a_writer_that_is_dropped_without_an_end_gives_its_run_up(store: RunStore):
    def forget() -> Iterator[str]:
        writer = store.create(method="m", columns=COLUMNS)
        yield writer.run.state

    (state,) = list(forget())
    gc.collect()

    assert state == "running"
    assert store.list()[0].state == "interrupted"


def test_a_run_is_complete_or_absent_while_it_is_being_made(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    def power_cut(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fileformat, "_sync", power_cut)
    with pytest.raises(StoreError, match=r"cannot create .*Input/output error"):
        store.create(method="m")
    monkeypatch.undo()

    assert store.list() == []
    assert store.create(method="m").finish("done").state == "done"


def test_a_run_that_cannot_become_one_file_yet_still_lets_readers_in(store: RunStore):
    writer = store.create(method="m", columns=COLUMNS)
    writer.append({"x": [1.0], "ok": [True]})
    holds_on = sqlite3.connect(writer.path)
    holds_on.execute("BEGIN")
    holds_on.execute("SELECT * FROM chunks").fetchone()

    writer._database.execute("PRAGMA busy_timeout = 0")
    left = writing._leave_log(writer._database)
    comes = sqlite3.connect(writer.path, timeout=0.0)
    seen = comes.execute("SELECT rows FROM chunks").fetchall()
    comes.close()
    holds_on.close()

    assert not left
    assert seen == [(1,)]
    assert writing._leave_log(writer._database)  # the control: nobody holds on now
    writer.finish("done")
