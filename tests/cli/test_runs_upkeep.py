"""``drivebay runs verify, rebuild, gc``; and a run taken before a crash is found again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from drivebay import RunStore
from drivebay.cli import failures


@pytest.fixture
def store(home: Path) -> RunStore:
    return RunStore(home / "runs")


def made(store: RunStore, state: str = "done", rows: int = 3) -> str:
    writer = store.create(method="iv_sweep", columns=[("voltage_v", "V", "float")])
    if rows:
        writer.append({"voltage_v": [0.0] * rows})
    return writer.finish(state).id


def harm(store: RunStore, name: str) -> None:
    with sqlite3.connect(store.open(name).path) as database:
        database.execute("UPDATE chunks SET data = zeroblob(24) WHERE number = 0")
        database.execute("UPDATE chunks SET crc32 = 1 WHERE number = 0")
    database.close()


def test_whole_runs_are_whole_and_a_damaged_one_is_named_with_its_place(drivebay, store):
    good, bad = made(store), made(store)
    assert drivebay("runs", "verify", "--all").code == failures.OK
    harm(store, bad)

    done = drivebay("runs", "verify", bad)
    everything = drivebay("runs", "verify", "--all", "--json")

    assert done.code == everything.code == failures.FAILED
    assert f"{bad}  damaged" in done.out
    assert "chunk" in done.out
    problems = {each["run"]: each["problems"] for each in everything.json}
    assert problems[good] == []
    assert len(problems[bad]) >= 1
    assert drivebay("runs", "verify", good, "--json").json[0]["problems"] == []
    assert "1 whole, 1 damaged" in drivebay("runs", "verify", "--all").out


def test_a_file_that_cannot_be_opened_is_damaged_and_the_others_are_checked(drivebay, store):
    good = made(store)
    (store.folder / "20990101-000000-2222.sqlite").write_bytes(b"hello " * 100)

    done = drivebay("runs", "verify", "--all", "--json")

    assert done.code == failures.FAILED
    assert [bool(each["problems"]) for each in done.json] == [True, False]
    assert done.json[1]["run"] == good


@pytest.mark.parametrize("table", ["marks", "events", "sources"])
def test_damage_in_one_part_of_a_run_is_told_and_hides_no_other(drivebay, store, table):
    name = made(store)
    run = store.open(name)
    run.tag("wafer7")
    with sqlite3.connect(run.path) as database:
        database.execute(f"DROP TABLE {table}")
    database.close()

    shown = drivebay("runs", "show", name)

    assert shown.code == failures.OK
    assert table in shown.out
    assert "row  voltage_v" in shown.out
    assert name in drivebay("runs", "list").out
    assert [each["rows"] for each in drivebay("runs", "list", "--json").json] == [3]
    assert drivebay("runs", "verify", name).code == failures.FAILED


def test_verify_takes_runs_or_all(drivebay, store):
    name = made(store)

    assert drivebay("runs", "verify", name, "--all").code == failures.USAGE
    assert drivebay("runs", "verify").out == f"{name}  whole\n"


def test_a_rebuild_says_what_it_found(drivebay, store):
    made(store)
    (store.folder / "20200101-000000-2222.sqlite").write_bytes(b"x" * 100)

    told = drivebay("runs", "rebuild")

    assert f"1 run in {store.folder}, 1 damaged file\n" in told.out
    assert drivebay("runs", "rebuild", "--json").json == {"runs": 1, "damaged": 1, "kept": True}


def test_what_can_go_is_shown_and_goes_only_with_yes(drivebay, store):
    kept, empty = made(store), made(store, "failed", rows=0)
    assert "nothing to throw away" in drivebay("runs", "gc").out  # not yet a month old

    shown = drivebay("runs", "gc", "--older-than", "0 s")
    assert f"{empty}.sqlite" in shown.out
    assert "--yes" in shown.out
    assert store.ids() == [empty, kept]

    (moved,) = drivebay("runs", "gc", "--older-than", "0 s", "--yes", "--json").json
    assert Path(moved["moved_to"]).parent == store.folder / "trash"
    assert Path(moved["moved_to"]).is_file()
    assert store.ids() == [kept]


def test_a_tagged_run_stays_until_it_is_named(drivebay, store):
    empty = made(store, "failed", rows=0)
    drivebay("runs", "tag", empty, "keep")

    assert drivebay("runs", "gc", "--older-than", "0 s", "--yes", "--json").json == []
    assert drivebay("runs", "gc", empty, "--json").json[0]["moved_to"] is None
    assert drivebay("runs", "gc", empty, "--yes").code == failures.OK
    assert store.ids() == []


def test_the_help_of_the_group_names_every_command(drivebay):
    told = drivebay("runs", "--help").out

    for name in ("list", "show", "tag", "note", "plot", "compare", "export", "verify", "gc"):
        assert f"\n  {name} " in told


SWEEP = ["--start-v", "0", "--stop-v", "0.5", "--points", "5", "--compliance-a", "10mA"]
MEASURING = """\
import sys
from drivebay import Bay
with Bay() as bay, bay.open(sys.argv[1]) as smu:
    rows = 0
    for chunk in smu.stream("iv_sweep", start_v=0, stop_v=0.5, points=100_000, compliance_a=0.01):
        rows += len(chunk["voltage_v"])
        print(rows, flush=True)
        if rows >= 200:
            sys.stdin.read()  # waits to be killed, in the middle of the sweep
"""


@pytest.mark.slow
@pytest.mark.parametrize("found_by", ["list", "rebuild"])
def test_a_run_taken_before_a_crash_is_found_again_without_its_catalogue(
    drivebay, process, environment, bench, home, found_by
):
    drivebay("measure", "iv_sweep", "--on", bench.resource, *SWEEP)
    before = drivebay("runs", "list", "--json").json[0]["run"]
    rows = 0
    with subprocess.Popen(
        [sys.executable, "-c", MEASURING, bench.resource],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        while rows < 200:
            rows = int(owner.stdout.readline())
        os.kill(owner.pid, signal.SIGKILL)
    for file in (home / "runs").glob("catalogue.*"):
        file.unlink()

    if found_by == "rebuild":
        assert json.loads(process("runs", "rebuild", "--json").out)["runs"] == 2
    found = json.loads(process("runs", "list", "--json").out)

    assert [each["run"] for each in found][1:] == [before]
    assert (found[0]["state"], found[0]["rows"] >= rows) == ("interrupted", True)
    shown = json.loads(process("runs", "show", found[0]["run"], "--json").out)
    assert len(shown["columns"]["current_a"]) == found[0]["rows"]
    assert process("runs", "verify", "--all").code == failures.OK
