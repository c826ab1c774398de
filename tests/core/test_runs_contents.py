"""What a run of format 2 holds beside its points: transcript, sources, marks; and old runs."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import DrivebayError, RunError, StoreError
from drivebay._core.runs import Beside, Event, Message, Run, RunStore, RunWriter, fileformat
from drivebay._core.runs import migrate as migrating
from drivebay._core.runs.transcript import blocks, unpacked

SRC = Path(__file__).parents[2] / "src"
OLD = Path(__file__).parent / "format1"
COLUMNS = [("x", "V", "float")]
PLUGIN = {"name": "meter", "version": "1.0.0", "sha256": "ab" * 32}
SOURCES = {
    "meter": {"driver.py": b"x = 1\n" * 200, "plugin.yaml": b"name: meter\n", "sub/a.py": b""},
    "base": {"lib.py": b"x = 1\n" * 200, "odd\xe9.bin": bytes(range(256))},
}
TALK = [
    (-5, "w", b"*IDN?\n"),
    (-2, "r", b"ACME,1,2,3\n"),
    (10, "w", b":READ?\n"),
    (20, "r", b"1\n"),
]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def begin(store: RunStore) -> RunWriter:
    return store.create(
        method="m",
        plugin=PLUGIN,
        columns=COLUMNS,
        sources=SOURCES,
        bench={"alias": "smu1", "limits": {"voltage_v": [-10, 10]}},
    )


def edit(path: Path, statement: str) -> list[Any]:
    database = sqlite3.connect(path)
    try:
        found = database.execute(statement).fetchall()
        database.commit()
    finally:
        database.close()
    return found


def full(store: RunStore) -> Run:
    """A run with two rows or more in every table."""
    writer = begin(store)
    writer.keep((), Beside(blocks("connect", TALK[:2]), [Event(3, "warning", '"hot"')]))
    for number in range(6):
        writer.append({"x": np.arange(50.0) + 50 * number})
        writer.keep((), Beside(blocks("measure", TALK[2:])))
    writer.add_values({"a": 1, "b": [2.0]})
    run = writer.finish("done")
    run.tag("good", "diode")
    run.note("looks fine", by="ada")
    return run


# -- the transcript --------------------------------------------------------------------------------

HEARD = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.sampled_from("wr"), st.binary(max_size=40))
)


@given(HEARD)
def test_any_message_comes_back_byte_for_byte(heard: Any):
    found = [m for b in blocks("measure", heard) for m in unpacked("measure", b.messages, b.data)]

    assert [(m.time_ns, m.direction, m.data) for m in found] == heard


@given(st.binary(max_size=60), st.integers(0, 9))
def test_bytes_that_are_no_block_are_a_value_error(data: bytes, count: int):
    with pytest.raises(ValueError, match="it"):
        unpacked("measure", count, data)


def test_the_transcript_comes_back_in_order_with_its_phases(store: RunStore):
    run = full(store)

    assert run.transcript[:3] == [
        Message(-5, "connect", "w", b"*IDN?\n"),
        Message(-2, "connect", "r", b"ACME,1,2,3\n"),
        Message(10, "measure", "w", b":READ?\n"),
    ]
    assert len(run.transcript) == 14


def test_a_long_transcript_is_stored_in_blocks_and_read_one_at_a_time(store: RunStore):
    heard = [(n, "w", b"x" * 1_000_000) for n in range(10)]
    writer = begin(store)
    writer.keep((), Beside(blocks("measure", heard)))
    run = writer.finish("done")

    assert edit(run.path, "SELECT count(*) FROM transcript") == [(5,)]
    assert [m.time_ns for m in run.messages()] == list(range(10))
    assert run.path.stat().st_size < 200_000  # packed


def test_a_damaged_block_hides_no_point_and_no_other_block(store: RunStore):
    run = full(store)
    edit(run.path, "UPDATE transcript SET data = x'00' || data WHERE number = 3")
    run = store.open(run.id)

    assert run["x"].tolist() == list(np.arange(300.0))
    with pytest.raises(StoreError, match="transcript block 3"):
        _ = run.transcript
    messages, problems = run.salvage_transcript()
    assert len(messages) == 12
    assert len(problems) == 1
    assert "transcript block 3" in problems[0]


# -- sources and bench -----------------------------------------------------------------------------


def test_the_code_that_measured_comes_back_byte_for_byte(store: RunStore):
    run = full(store)

    assert run.sources == SOURCES["meter"]
    assert run.all_sources == SOURCES
    assert run.bench["alias"] == "smu1"
    assert run.limits == {"voltage_v": [-10, 10]}


def test_equal_files_are_stored_once(store: RunStore):
    run = full(store)

    found = edit(run.path, "SELECT plugin, path FROM sources WHERE data IS NULL")
    assert found == [("base", "lib.py")]


def test_a_run_without_a_bench_says_so(store: RunStore):
    with store.create(method="m", columns=COLUMNS) as writer:
        writer.append({"x": 1.0})

    assert (writer.run.limits, writer.run.sources, writer.run.transcript) == (None, {}, [])


def test_every_run_says_when_it_began_and_ended_by_both_clocks(store: RunStore):
    run = full(store)

    (_, first, begun), *_, (_, last, ended) = run.events
    assert (first, last) == ("begin", "end")
    assert begun["clock"]["monotonic_ns"] < ended["clock"]["monotonic_ns"]
    for clock in (begun["clock"], ended["clock"]):
        assert set(clock) == {"wall", "monotonic_ns", "offset_ns", "zone", "utc_offset_s", "ntp"}


# -- tags and notes --------------------------------------------------------------------------------


def test_tags_and_notes_are_kept_with_their_history(store: RunStore):
    run = full(store)
    run.tag("good", "late")
    run.untag("good", "never-given")
    run.note("the probe was loose", by="grace")

    again = store.open(run.id)
    assert again.tags == ("diode", "late")
    assert [(note.by, note.text) for note in again.notes] == [
        ("ada", "looks fine"),
        ("grace", "the probe was loose"),
    ]
    assert [(mark.kind, mark.text) for mark in again.marks] == [
        ("tag", "good"),
        ("tag", "diode"),
        ("note", "looks fine"),
        ("tag", "late"),
        ("untag", "good"),
        ("note", "the probe was loose"),
    ]
    assert again.verify() == ()
    assert list(run.path.parent.iterdir()) == [run.path]


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "line\nend", "x" * 65, "\x00"])
def test_a_tag_is_one_short_printable_word(store: RunStore, tag: str):
    run = full(store)

    with pytest.raises(RunError, match="tag"):
        run.tag("fine", tag)

    assert run.tags == ("good", "diode")


@pytest.mark.parametrize("text", ["", " \n", "x" * 100_001])
def test_an_empty_or_endless_note_is_refused(store: RunStore, text: str):
    with pytest.raises(RunError, match="note"):
        full(store).note(text)


MARKER = """
import sys
from drivebay._core.runs import Run
for number in range(int(sys.argv[2])):
    run = Run(sys.argv[1])
    run.tag(f"{sys.argv[3]}-{number}")
    run.note(f"note {number}", by=sys.argv[3])
"""


def marker(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", MARKER, str(path), str(count), name],
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )


@pytest.mark.slow
def test_processes_mark_a_run_while_it_is_written_and_nobody_loses_anything(store: RunStore):
    writer = begin(store)
    markers = [marker(writer.path, name, 15) for name in ("a", "b")]
    chunks = 0
    while any(process.poll() is None for process in markers):
        writer.append({"x": float(chunks)})
        chunks += 1
    run = writer.finish("done")

    assert [process.returncode for process in markers] == [0, 0]
    assert sorted(run.tags) == sorted(f"{name}-{n}" for name in "ab" for n in range(15))
    assert len(run.notes) == 30
    assert run["x"].tolist() == [float(n) for n in range(chunks)]
    assert run.verify() == ()


READER = """
import sys
from drivebay._core.runs import Run
run = Run(sys.argv[1])
seen = 0
print("ready", flush=True)
while run.state == "running":
    x = run["x"].tolist()
    assert x == [float(n) for n in range(len(x))]
    assert len(run.transcript) % 2 == 0
    seen += len(x) > 0
print(seen, len(Run(sys.argv[1])["x"]), run.state, flush=True)
"""


@pytest.mark.slow
def test_another_process_reads_a_run_live_and_its_writer_never_waits_for_a_lock(store: RunStore):
    writer = begin(store)
    # A lock that the writer could not get at once would now be an error, not a wait.
    writer._database.execute("PRAGMA busy_timeout = 0")
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(writer.path)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for number in range(400):
            writer.append({"x": float(number)})
            writer.keep((), Beside(blocks("measure", TALK[2:])))
        writer.finish("done")
        seen, rows, state = reader.stdout.readline().split()

    assert (int(rows), state) == (400, "done")
    assert int(seen) > 0


def test_a_run_that_cannot_be_written_says_so(store: RunStore):
    run = full(store)
    edit(run.path, "DROP TABLE marks")

    with pytest.raises(StoreError, match="marks"):
        run.tag("x")


# -- verify ----------------------------------------------------------------------------------------

TAMPERED = [
    ("UPDATE header SET value = value || ' ' WHERE key = 'plugin'", "header 'plugin'"),
    ("DELETE FROM header WHERE key = 'plugin'", "header 'plugin'"),
    ("UPDATE chunks SET data = zeroblob(400) WHERE number = 2", "chunks row 2"),
    ("UPDATE chunks SET time_ns = 'soon' WHERE number = 2", "chunks row 2"),
    ("DELETE FROM chunks WHERE number = 2", "chunks: expected number 2"),
    ("DELETE FROM chunks WHERE number = 5", "5 are there"),
    ("UPDATE results SET value = '3' WHERE name = 'a'", "results 'a'"),
    ("UPDATE events SET kind = 'other' WHERE number = 1", "events row 1"),
    ("DELETE FROM events WHERE number = 1", "events: expected number 1"),
    ("UPDATE sources SET size = 1 WHERE number = 0", "sources row 0"),
    ("UPDATE sources SET data = x'00' WHERE number = 1", "sources row 1"),
    ("DELETE FROM sources WHERE number = 0", "sources"),
    ("UPDATE transcript SET data = x'00' WHERE number = 1", "transcript block 1"),
    ("UPDATE transcript SET phase = 'connect' WHERE number = 1", "transcript block 1"),
    ("DELETE FROM transcript WHERE number = 1", "transcript: expected block 1"),
    ("DELETE FROM transcript WHERE number = 6", "blocks"),
    ("UPDATE marks SET by = 'eve' WHERE number = 2", "marks row 2"),
    ("DELETE FROM marks WHERE number = 0", "marks: expected number 0"),
    ("UPDATE ending SET state = 'failed'", "ending"),
    ("DROP TABLE transcript", "transcript"),
]


@pytest.mark.parametrize(("statement", "named"), TAMPERED)
def test_verify_names_table_and_row_of_whatever_was_changed(
    store: RunStore, statement: str, named: str
):
    run = full(store)
    before = run.verify()
    edit(run.path, statement)

    assert before == ()  # the control
    assert any(named in problem for problem in run.verify()), run.verify()


def test_verify_of_a_run_that_is_written_or_was_interrupted_finds_nothing_wrong(store: RunStore):
    writer = begin(store)
    writer.append({"x": 1.0})
    running = writer.run.verify()
    path = writer.path
    writer._database.close()
    writer._lock.release()
    run = store.open(path.stem)

    assert running == ()
    assert run.state == "interrupted"
    assert run.verify() == ()


def test_random_damage_is_found_or_harmless_and_never_another_content(store: RunStore):
    run = full(store)
    whole = run.path.read_bytes()
    said = (run.transcript, run.all_sources, run.tags, run.events, run["x"].tolist())
    chance = random.Random(7)
    found = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 8])):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        run.path.write_bytes(damaged)
        try:
            again = Run(run.path)
            problems = again.verify()
            now = (
                again.transcript, again.all_sources, again.tags, again.events,
                again["x"].tolist(),
            )  # fmt: skip
        except DrivebayError:
            found += 1
            continue
        assert now == said
        found += bool(problems)
    assert found > 40  # most of the others fell on unused bytes


# -- runs of format 1 ------------------------------------------------------------------------------


@pytest.fixture(params=["done", "interrupted", "with_all"])
def old(request: pytest.FixtureRequest, store: RunStore) -> Path:
    store.folder.mkdir(parents=True)
    path = store.folder / "20261101-120000-abcd.sqlite"
    shutil.copyfile(OLD / f"{request.param}.sqlite", path)
    return path


def form(path: Path) -> int:
    with fileformat.reading(path) as database:
        return fileformat.format_of(database)


def facts(run: Run) -> tuple[Any, ...]:
    columns = {name: array.tolist() for name, array in run.columns.items()}
    return (
        run.state, run.reason, columns, run.started_at, run.ended_at, run.plugin, run.parameters,
        repr(run.values), run.units,
    )  # fmt: skip


def test_a_run_of_format_1_is_read_and_not_touched(store: RunStore, old: Path):
    before = old.read_bytes()
    (run,) = store.list()

    assert run.state in {"done", "interrupted", "aborted"}
    assert run["count"].tolist() == list(range(len(run)))
    assert run["voltage_v"].tolist() == [n / 8 for n in range(len(run))]
    assert (run.transcript, run.sources, run.tags, run.notes, run.limits) == ([], {}, (), (), None)
    assert run.verify() == ()
    assert old.read_bytes() == before
    assert form(old) == 1


def test_a_tag_brings_a_run_of_format_1_to_today_and_loses_nothing(store: RunStore, old: Path):
    before = facts(store.open(old))
    kinds = [kind for _, kind, _ in store.open(old).events]
    store.open(old).tag("old")
    run = store.open(old)

    assert facts(run) == before
    assert run.tags == ("old",)
    assert [kind for _, kind, _ in run.events] == [*kinds, "migrated"]
    assert run.verify() == ()
    assert form(old) == fileformat.FORMAT_VERSION
    assert list(old.parent.glob(f"{old.stem}*")) == [old]


def test_the_original_stays_until_the_copy_is_on_the_disk(
    store: RunStore, old: Path, monkeypatch: pytest.MonkeyPatch
):
    before = old.read_bytes()

    def no_room(building: Path, path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(migrating.fileformat, "publish_draft", no_room)
        with pytest.raises(StoreError, match="No space"):
            store.open(old).tag("old")

    assert old.read_bytes() == before
    assert list(old.parent.glob(f"{old.stem}*")) == [old]
    store.open(old).tag("old")  # the control
    assert store.open(old).tags == ("old",)


def test_a_damaged_run_of_format_1_is_not_given_new_checksums(store: RunStore, old: Path):
    edit(old, "UPDATE chunks SET data = zeroblob(170) WHERE number = 0")
    before = old.read_bytes()

    with pytest.raises(StoreError, match="chunks row 0"):
        store.open(old).tag("old")

    assert old.read_bytes() == before


def test_halves_of_surrogate_pairs_are_spelt_out_wherever_they_are_given(store: RunStore) -> None:
    odd, told = "caf\udce9", "caf\\udce9"
    writer = store.create(
        method=odd, parameters={odd: [odd]}, columns=COLUMNS, sources={odd: {odd: b"x = 1\n"}}
    )
    writer.append({"x": 1.0})
    writer.add_event(odd, {"line": odd})

    run = writer.finish("failed", odd, {odd: odd})
    run.note(odd)

    assert (run.method, run.parameters, run.reason) == (told, {told: [told]}, told)
    assert run.values == {told: told}
    assert [event[1:] for event in run.events][1] == (told, {"line": told})
    assert run.all_sources == {told: {told: b"x = 1\n"}}
    assert [note.text for note in run.notes] == [told]
    assert run.verify() == ()
    assert [each.id for each in store.search(text="caf")] == [run.id]


def test_whole_characters_of_any_plane_are_kept(store: RunStore) -> None:
    writer = store.create(method="m", parameters={"é": "😀 \\ud83d"}, columns=COLUMNS)

    run = writer.finish("aborted", "😀", {"ü": "\\"})

    assert (run.parameters, run.reason, run.values) == ({"é": "😀 \\ud83d"}, "😀", {"ü": "\\"})
