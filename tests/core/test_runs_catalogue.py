"""The catalogue: whatever happened to the files or to itself, an answer is what the files say."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drivebay._core.errors import RunError, RunNotFoundError, StoreError
from drivebay._core.runs import Run, RunStore, RunWriter, fileformat, holder, mounts, query, shelf
from drivebay._core.runs.catalogue import Catalogue


def begin(store: RunStore, **given: Any) -> RunWriter:
    facts: dict[str, Any] = {
        "method": "iv_sweep",
        "plugin": {"name": "keithley_2400", "version": "1.0.0", "sha256": "ab" * 32},
        "identity": {"manufacturer": "KEITHLEY", "model": "2400", "serial": "1234567"},
        "resource": "TCPIP::127.0.0.1::5025::SOCKET",
        "parameters": {"start_v": -1.0, "points": 5},
        "columns": [("voltage_v", "V", "float")],
        "provenance": {"user": "zoe"},
    }
    return store.create(**(facts | given))


def ended(store: RunStore, state: str = "done", rows: int = 1, **given: Any) -> Run:
    writer = begin(store, **given)
    writer.append({"voltage_v": [0.0] * rows})
    return writer.finish(state)


def ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Believe stamps at once, and wait until the file system's clock has moved on."""
    monkeypatch.setattr(shelf, "SETTLED_NS", 0)

    def wait() -> None:
        probe = tmp_path / "probe"
        probe.touch()
        before = probe.stat().st_ctime_ns
        while probe.stat().st_ctime_ns == before:
            probe.touch()

    return wait


# -- what is found -------------------------------------------------------------------------------


def test_a_new_run_lies_in_the_folder_of_its_month(store: RunStore):
    run = ended(store)

    assert run.path.parent.name == datetime.now(UTC).strftime("%Y-%m")
    assert run.path == store.folder / shelf.month_of(run.id) / f"{run.id}.sqlite"


def test_a_file_where_older_versions_put_it_is_found_like_any_other(store: RunStore):
    old, new = ended(store), ended(store)
    flat = store.folder / old.path.name
    old.path.rename(flat)

    assert ids(store.list()) == [new.id, old.id]
    for name in (old.id, old.id[:-1], old.id[-4:], "last-1", flat):
        assert store.open(name).path == flat


@pytest.mark.parametrize(
    "place", ["mailed.sqlite", "2019-01/Kopie von.sqlite", "from Zoë/x.sqlite"]
)
def test_a_file_dropped_into_the_folder_by_mail_is_found(
    store: RunStore, tmp_path: Path, place: str
):
    elsewhere = ended(RunStore(tmp_path / "elsewhere"), method="cv_sweep")
    here = ended(store)
    assert ids(store.list()) == [here.id]
    (store.folder / place).parent.mkdir(exist_ok=True)

    shutil.copy(elsewhere.path, store.folder / place)

    assert ids(store.list()) == [here.id, elsewhere.id]
    assert ids(store.search(method="cv_sweep")) == [elsewhere.id]
    assert store.open(elsewhere.id).path == store.folder / place
    assert store.open(Path(place).stem).id == elsewhere.id


def test_of_a_run_and_its_copy_both_are_listed_and_the_original_is_opened(store: RunStore):
    run = ended(store)
    shutil.copy(run.path, store.folder / "a copy.sqlite")

    assert ids(store.list()) == [run.id, run.id]
    assert store.open(run.id).path == run.path
    assert store.open(run.id[:-1]).path == run.path


def test_a_damaged_file_is_listed_with_its_reason_and_hides_no_other(store: RunStore):
    good = [ended(store) for _ in range(3)]
    good[1].path.write_bytes(b"hello, world\n" * 100)

    runs = store.list()

    assert [run.state for run in runs] == ["done", "damaged", "done"]
    assert "not a database" in (runs[1].reason or "")
    assert ids(store.search(state="damaged")) == [good[1].id]
    assert ids(store.search(state="done")) == [good[2].id, good[0].id]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE marks SET crc32 = 1",
        "UPDATE chunks SET crc32 = 1",
        "UPDATE sources SET crc32 = 1",
        "DROP TABLE marks",
    ],
)
def test_damage_that_hides_no_points_hides_no_run_from_a_list(store: RunStore, settle, harm: str):
    run = ended(store, sources={"keithley_2400": {"driver.py": b"x = 1"}})
    run.tag("wafer7")
    with sqlite3.connect(run.path) as database:
        database.execute(harm)
    database.close()
    settle()

    for _ in range(2):
        assert [(each.id, each.state) for each in store.list()] == [(run.id, "done")]
        settle()
    assert run.verify() != ()


def test_a_head_that_makes_no_sense_is_a_damaged_run(store: RunStore):
    run, other = ended(store), ended(store)
    with sqlite3.connect(run.path) as database:
        crc = fileformat.text_crc32("run", "[]")
        database.execute("UPDATE header SET value = '[]', crc32 = ? WHERE key = 'run'", (crc,))
    database.close()

    assert [(each.id, each.state) for each in store.list()] == [
        (other.id, "done"),
        (run.id, "damaged"),
    ]


def test_somebody_elses_database_is_no_run(store: RunStore):
    run = ended(store)
    with sqlite3.connect(store.folder / "photos.sqlite") as database:
        database.execute("CREATE TABLE photos (name TEXT)")
    database.close()

    assert ids(store.list()) == store.ids() == [run.id]
    assert store.rebuild().damaged == 0


def test_without_a_folder_nothing_is_found_and_nothing_is_made(store: RunStore):
    assert (store.list(), store.ids(), store.search(method="x")) == ([], [], [])
    assert not store.folder.exists()


def test_links_that_lead_nowhere_hide_nothing(store: RunStore):
    run = ended(store)
    for name in ("loop", "loop.sqlite"):
        (store.folder / name).symlink_to(name)

    assert ids(store.list()) == [run.id]


def test_names_and_texts_that_are_no_text_hide_nothing(store: RunStore):
    odd = ended(store)
    text = '{"label": "half of \\ud83d"}'
    with sqlite3.connect(odd.path) as database:
        database.execute(
            "UPDATE header SET value = ?, crc32 = ? WHERE key = 'parameters'",
            (text, fileformat.text_crc32("parameters", text)),
        )
    database.close()
    (store.folder / os.fsdecode(b"caf\xe9.sqlite")).write_bytes(odd.path.read_bytes())

    assert ids(store.list()) == [odd.id]
    assert ids(store.search(text="half of")) == [odd.id]


# -- searching -----------------------------------------------------------------------------------


def test_every_criterion_lets_the_right_ones_through(store: RunStore):
    iv = ended(store, parameters={"points": 101, "label": "Wafer 7"})
    cv = ended(
        store,
        state="aborted",
        method="cv_sweep",
        resource="GPIB0::17::INSTR",
        plugin={"name": "lcr", "version": "2", "sha256": ""},
        identity={"model": "E4980A", "serial": "MY1"},
        provenance={"user": "max"},
        bench={"alias": "lcr1"},
    )

    for criteria in (
        {"method": "cv_sweep"},
        {"method": "CV_Sweep"},
        {"alias": "lcr1"},
        {"resource": "gpib0::17::instr"},
        {"model": "e4980a"},
        {"model": "MODEL E4980A"},
        {"serial": "MY1"},
        {"plugin": "lcr"},
        {"user": "max"},
        {"state": "aborted"},
        {"text": "E4980A max"},
        {"text": "e4980"},
    ):
        assert ids(store.search(**criteria)) == [cv.id], criteria
    assert ids(store.search(text="wafer POINTS=101")) == [iv.id]
    assert ids(store.search(text="wafer", method="cv_sweep")) == []
    assert ids(store.search(text="sweep")) == [cv.id, iv.id]
    assert ids(store.search(text="sweep", limit=1)) == [cv.id]
    assert ids(store.search()) == ids(store.list())


@pytest.mark.parametrize("text", ["%", "_%", "\\", "' OR 1 --", '"'])
def test_a_text_is_looked_for_as_it_is_written(store: RunStore, text: str):
    ended(store)
    odd = ended(store, parameters={"label": f"x{text.replace(' ', '')}x"})

    found = store.search(text=f"x{text.replace(' ', '')}x")

    assert ids(found) == [odd.id]


def test_runs_are_found_by_when_they_began(store: RunStore):
    run = ended(store)
    began = datetime.fromisoformat(run.started_at)

    for since in ("1 min", "2 days", "1 week", timedelta(hours=1), began, run.started_at):
        assert ids(store.search(since=since)) == [run.id]
    assert store.search(since=began + timedelta(microseconds=1)) == []
    assert store.search(until=began) == []
    assert ids(store.search(since=began, until=began + timedelta(seconds=1))) == [run.id]
    assert store.search(until="1 day") == []


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"state": "finished"}, "no run is 'finished'"),
        ({"state": "doen"}, "did you mean 'done'"),
        ({"since": "soon"}, "since is 'soon', which is no time; try '2 days'"),
        ({"since": "3 fortnights"}, "no unit 'fortnight' of time"),
        ({"until": "2026-13-01"}, "until is '2026-13-01'"),
        ({"since": "99999999999999 years"}, "which is no time"),
    ],
)
def test_a_criterion_that_can_never_match_is_refused(
    store: RunStore, criteria: dict[str, Any], message: str
):
    with pytest.raises(RunError, match=message):
        store.search(**criteria)


def test_ages_and_moments_are_read_as_people_write_them():
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def ago(text: str) -> timedelta:
        return now - query.moment(text, "since", now=now)

    assert ago("90 s") == ago("1.5 min") == ago("1.5min ago") == timedelta(seconds=90)
    assert ago("2 hours") == timedelta(hours=2)
    assert ago("1 month") == timedelta(days=30)
    assert timedelta(0) <= ago("today") < timedelta(days=1)
    assert ago("yesterday") - ago("today") == timedelta(days=1)
    assert ago("2026-11-20T12:00:00+00:00") == timedelta(days=2)


# -- what changes is seen ------------------------------------------------------------------------


def test_a_running_run_is_found_as_running_and_then_as_what_became_of_it(store: RunStore, settle):
    writer = begin(store)
    settle()
    assert ids(store.search(state="running")) == [writer.id]
    settle()
    assert ids(store.search(state="running")) == [writer.id]

    writer.finish("aborted")
    settle()

    assert store.search(state="running") == []
    assert ids(store.search(state="aborted")) == [writer.id]


def test_with_stamps_believed_every_kind_of_change_is_seen(store: RunStore, settle, tmp_path):
    kept, gone, moved = (ended(store) for _ in range(3))
    other = ended(RunStore(tmp_path / "elsewhere"), method="cv_sweep")
    settle()
    assert len(store.list()) == 3
    settle()
    assert len(store.list()) == 3  # now out of a catalogue that believes all stamps

    gone.path.unlink()
    assert ids(store.list()) == [moved.id, kept.id]
    settle()
    moved.path.rename(store.folder / moved.path.name)
    assert ids(store.list()) == [moved.id, kept.id]
    settle()
    shutil.copy(other.path, tmp_path / "other")
    os.replace(tmp_path / "other", kept.path)
    assert store.search(method="iv_sweep")[0].id == moved.id
    assert ids(store.search(method="cv_sweep")) == [other.id]
    settle()
    shutil.rmtree(kept.path.parent)
    assert ids(store.list()) == [moved.id]


def test_a_file_overwritten_in_place_is_seen_when_it_is_shown(store: RunStore, settle, tmp_path):
    run = ended(store)
    other = ended(RunStore(tmp_path / "elsewhere"), method="cv_sweep")
    settle()
    store.list()
    settle()

    run.path.write_bytes(other.path.read_bytes())

    assert store.search(method="iv_sweep") == []
    assert ids(store.search(method="cv_sweep")) == [other.id]
    assert ids(store.list()) == [other.id]


def test_an_unchanged_folder_is_not_read_again(store: RunStore, settle, monkeypatch):
    for _ in range(3):
        ended(store)
    settle()
    store.list()
    settle()
    store.list()
    looked: list[Path] = []
    monkeypatch.setattr(shelf, "look", lambda folder: looked.append(folder))
    monkeypatch.setattr("drivebay._core.runs.facts.read", lambda *_: looked.append(Path()))

    assert len(store.list()) == 3
    assert looked == []


# -- the catalogue itself ------------------------------------------------------------------------


def _gone(path: Path) -> None:
    path.unlink()


def _nonsense(path: Path) -> None:
    path.write_bytes(b"hello, world\n" * 1000)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 7)


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def _other(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE runs (id TEXT)")
    database.close()


def _rows_lost(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM runs WHERE id = (SELECT min(id) FROM runs)")
    database.close()


def _rows_changed(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE runs SET id = '20200101-000000-2222', method = 'x'")
    database.close()


def _texts_lost(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM texts")
    database.close()


def _zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _old(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "harm",
    [_gone, _nonsense, _cut, _newer, _other, _rows_lost, _rows_changed, _texts_lost, _zeroed, _old],
)
def test_a_catalogue_that_was_harmed_is_made_anew(store: RunStore, settle, harm):
    runs = [ended(store, parameters={"number": n}) for n in range(4)]
    settle()
    store.list()
    settle()
    assert ids(store.list()) == ids(runs[::-1])

    harm(store.folder / shelf.CATALOGUE)

    assert ids(store.list()) == ids(runs[::-1])
    assert ids(store.search(text="number=2")) == [runs[2].id]
    assert ids(store.search(method="iv_sweep")) == ids(runs[::-1])
    assert store.open(runs[0].id[:-1]).id == runs[0].id


@pytest.mark.slow
def test_random_damage_of_the_catalogue_gives_no_false_run(store: RunStore, settle):
    runs = [ended(store) for _ in range(30)]
    settle()
    store.list()
    settle()
    store.list()
    path = store.folder / shelf.CATALOGUE
    whole, dice = path.read_bytes(), random.Random(5)

    for _ in range(200):
        content = bytearray(whole)
        for _ in range(dice.choice((1, 8, 100))):
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        if dice.random() < 0.2:
            del content[dice.randrange(len(content)) :]
        path.write_bytes(content)

        assert ids(store.list()) == ids(runs[::-1])


def test_a_locked_catalogue_delays_nobody_and_changes_no_answer(store: RunStore, monkeypatch):
    first = ended(store)
    store.list()
    locker = sqlite3.connect(store.folder / shelf.CATALOGUE, isolation_level=None)
    for lock in ("IMMEDIATE", "EXCLUSIVE"):
        locker.execute(f"BEGIN {lock}")

        later = ended(store)

        assert ids(store.list(2))[0] == later.id
        assert ids(store.search(text=first.id)) == [first.id]
        assert store.rebuild().kept is False
        locker.execute("ROLLBACK")
    locker.close()
    assert store.rebuild().kept is True


def test_a_writer_of_runs_touches_no_catalogue(store: RunStore):
    ended(store)

    assert not (store.folder / shelf.CATALOGUE).exists()
    assert store.list()
    assert (store.folder / shelf.CATALOGUE).exists()


def test_on_a_network_the_catalogue_is_kept_in_memory_only(store, tmp_path, monkeypatch):
    run = ended(store)
    table = tmp_path / "mounts"
    table.write_text(f"server:/x {store.folder} nfs4 rw 0 0\n", encoding="utf-8")
    monkeypatch.setattr(mounts, "MOUNTS", table)

    assert ids(store.search(method="iv_sweep")) == [run.id]
    assert not (store.folder / shelf.CATALOGUE).exists()


def test_a_rebuild_counts_what_it_found_and_is_the_same_as_the_old(store: RunStore):
    runs = [ended(store, state) for state in ("done", "aborted", "failed")]
    (store.folder / "20200101-000000-2222.sqlite").write_bytes(b"x" * 5000)
    before = [(run.id, run.state) for run in store.list()]

    rebuilt = store.rebuild()

    assert (rebuilt.runs, rebuilt.damaged, rebuilt.kept) == (len(runs), 1, True)
    assert [(run.id, run.state) for run in store.list()] == before


def test_many_threads_may_list_while_runs_are_made(store: RunStore):
    ended(store)
    stop, problems = threading.Event(), list[BaseException]()

    def look() -> None:
        while not stop.is_set():
            try:
                assert all(run.state in {"running", "done"} for run in store.list())
            except BaseException as exc:  # noqa: BLE001 - what a thread raises is shown below
                problems.append(exc)
                return

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    made = [ended(store) for _ in range(15)]
    stop.set()
    for thread in threads:
        thread.join()

    assert problems == []
    assert ids(store.list())[:15] == ids(made[::-1])


REBUILDING = """\
import sys
from drivebay._core.runs import RunStore
store = RunStore(sys.argv[1])
while True:
    store.rebuild()
    print(len(store.list(5)), flush=True)
"""


@pytest.mark.slow
def test_a_program_killed_while_it_writes_the_catalogue_leaves_a_good_one(store: RunStore):
    runs = [ended(store) for _ in range(40)]
    dice = random.Random(7)

    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", REBUILDING, str(store.folder)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process:
            assert process.stdout is not None
            for _ in range(dice.randrange(1, 5)):
                assert process.stdout.readline() == b"5\n"
            process.kill()

        assert ids(store.list()) == ids(runs[::-1])
        assert ids(store.search(text=runs[7].id)) == [runs[7].id]


# -- any order of anything -----------------------------------------------------------------------


class Shelves(RuleBasedStateMachine):
    """Runs come, end, change and go, the catalogue too: a list is what the files say."""

    @initialize()
    def start(self) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="drivebay-catalogue-"))
        self.store = RunStore(self.work / "runs")
        self.writers: list[RunWriter] = []
        self.runs: dict[str, tuple[str, str, int]] = {}  # id: state, method, rows
        self.paths: dict[str, Path] = {}

    def teardown(self) -> None:
        for writer in self.writers:
            writer.finish("done")
        shutil.rmtree(self.work)

    @rule(method=st.sampled_from(["iv_sweep", "cv_sweep"]))
    def create(self, method: str) -> None:
        writer = begin(self.store, method=method)
        self.writers.append(writer)
        self.runs[writer.id] = ("running", method, 0)
        self.paths[writer.id] = writer.path

    @precondition(lambda self: self.writers)
    @rule(rows=st.integers(1, 3), data=st.data())
    def append(self, rows: int, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        writer.append({"voltage_v": [1.0] * rows})
        state, method, before = self.runs[writer.id]
        self.runs[writer.id] = (state, method, before + rows)

    @precondition(lambda self: self.writers)
    @rule(state=st.sampled_from(["done", "aborted", "failed"]), data=st.data())
    def end(self, state: str, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        self.writers.remove(writer)
        writer.finish(state)
        self.runs[writer.id] = (state, *self.runs[writer.id][1:])

    def _ended(self) -> list[str]:
        return [name for name, facts in self.runs.items() if facts[0] != "running"]

    @precondition(lambda self: self._ended())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._ended()))
        self.paths.pop(name).unlink()
        del self.runs[name]

    @precondition(lambda self: self._ended())
    @rule(data=st.data(), folder=st.sampled_from([".", "2020-01", "mail"]))
    def move(self, data: st.DataObject, folder: str) -> None:
        name = data.draw(st.sampled_from(self._ended()))
        target = self.store.folder / folder / f"{name}.sqlite"
        target.parent.mkdir(exist_ok=True)
        self.paths[name] = self.paths[name].rename(target)

    @precondition(lambda self: self._ended())
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._ended()))
        self.paths[name].write_bytes(b"no longer a run " * 64)
        self.runs[name] = ("damaged", "", 0)

    @rule(how=st.sampled_from([_gone, _nonsense, _cut, _rows_lost, _rows_changed, _texts_lost]))
    def harm_the_catalogue(self, how: Callable[[Path], None]) -> None:
        path = self.store.folder / shelf.CATALOGUE
        if path.exists() and path.stat().st_size > 4096:
            try:
                how(path)
            except sqlite3.DatabaseError:  # it was harmed already
                return

    @rule()
    def rebuild(self) -> None:
        self.store.rebuild()

    @rule()
    def another_program_looks(self) -> None:
        Catalogue(self.store.folder).find(query.Query())

    @invariant()
    def a_list_is_what_the_files_say(self) -> None:
        expected = dict(sorted(self.runs.items(), reverse=True))
        found = {run.id: (run.state, run.method, len(run)) for run in self.store.list()}
        assert found == expected
        assert list(found) == list(expected) == self.store.ids()
        for method in ("iv_sweep", "cv_sweep"):
            assert ids(self.store.search(method=method, text="keithley")) == [
                name for name, facts in expected.items() if facts[1] == method
            ]


Shelves.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestAnyOrder = pytest.mark.slow(Shelves.TestCase)


# -- opening -------------------------------------------------------------------------------------


def test_a_run_is_opened_by_its_id_without_any_catalogue(store: RunStore):
    run = ended(store)

    assert store.open(run.id).id == run.id
    assert store.resolve(run.id) == run.id
    assert not (store.folder / shelf.CATALOGUE).exists()


def test_a_name_of_many_runs_and_of_none_says_which_there_are(store: RunStore):
    runs = [ended(store) for _ in range(3)]

    with pytest.raises(RunNotFoundError, match=f"could be any of 3 runs: {runs[2].id}, "):
        store.open(runs[0].id[:4])
    with pytest.raises(RunNotFoundError, match=f"no run '%': .* holds {runs[2].id}"):
        store.open("%")
    (store.folder / "20990101-000000-2222.sqlite").write_bytes(b"x")
    with pytest.raises(StoreError):
        store.open("20990101-000000-2222")


# -- what can go ---------------------------------------------------------------------------------


def age(path: Path, hours: float) -> None:
    at = path.stat().st_mtime - hours * 3600
    os.utime(path, (at, at))


def test_runs_without_a_point_can_go_and_everything_else_stays(store: RunStore):
    empty = [begin(store).finish(state) for state in ("failed", "aborted")]
    for state in ("failed", "done"):
        ended(store, state)
    begin(store).finish("done")
    valued = begin(store)
    valued.add_values({"resistance_ohm": 50.0})
    valued.finish("failed")
    running = begin(store)
    before = len(store.list())

    found = store.gc(older_than="0 s")

    assert {each.path for each in found} == {run.path for run in empty}
    assert all(each.moved_to is None and "without a point" in each.reason for each in found)
    assert store.gc() == []  # none of them is a month old
    assert len(store.list()) == before

    gone = store.gc(older_than="0 s", remove=True)

    assert {each.moved_to.name for each in gone if each.moved_to} == {r.path.name for r in empty}
    assert all(each.moved_to and each.moved_to.is_file() for each in gone)
    assert len(store.list()) == before - 2
    assert store.gc(older_than="0 s") == []
    assert running.finish("done").state == "done"


def test_what_was_thrown_away_can_be_moved_back(store: RunStore):
    run = ended(store, rows=3)

    (gone,) = store.gc([run.id], remove=True)
    assert store.list() == []
    assert gone.moved_to is not None
    gone.moved_to.rename(store.folder / gone.moved_to.name)

    (again,) = store.list()
    assert (again.id, len(again)) == (run.id, 3)


def test_two_files_of_one_name_do_not_replace_each_other_in_the_trash(store: RunStore):
    run = ended(store)
    shutil.copy(run.path, store.folder / run.path.name)

    first = store.gc([run.path], remove=True)
    second = store.gc([store.folder / run.path.name], remove=True)

    assert first[0].moved_to != second[0].moved_to
    assert len(list((store.folder / shelf.TRASH).iterdir())) == 2


def test_a_run_that_is_written_cannot_be_thrown_away(store: RunStore):
    writer = begin(store)

    with pytest.raises(RunError, match="is being written"):
        store.gc([writer.id])
    assert writer.finish("done").state == "done"


def test_a_run_that_has_just_ended_here_can_be_thrown_away(store: RunStore):
    writer = begin(store)
    run = writer.end("done")  # in two files, until a thread has folded it
    folding = threading.Timer(0.05, writer.fold)
    folding.start()

    (gone,) = store.gc([run.id], remove=True)
    folding.join()

    assert gone.moved_to is not None
    assert RunStore(store.folder).open(gone.moved_to).verify() == ()


_HOLDING = """
import sys
from pathlib import Path
from drivebay._core.runs import holder
lock = holder.hold(Path(sys.argv[1]))
print("held" if lock else "not held", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
"""


def held_elsewhere(run: Run) -> subprocess.Popen[str]:
    """A process that holds a run as its writer does while it makes one file of it."""
    lock = run.path.with_suffix(fileformat.LOCK_SUFFIX)
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDING, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_that_another_process_has_just_ended_can_be_thrown_away(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    run = ended(store, rows=3)
    waits: list[float] = []

    def release(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            assert elsewhere.stdin is not None
            assert elsewhere.stdout is not None
            elsewhere.stdin.write("\n")
            elsewhere.stdin.flush()
            assert elsewhere.stdout.readline() == "released\n"

    with held_elsewhere(run) as elsewhere:
        monkeypatch.setattr(holder.time, "sleep", release)
        (gone,) = store.gc([run.id], remove=True)

    assert waits
    assert gone.moved_to is not None
    assert RunStore(store.folder).open(gone.moved_to).verify() == ()


def test_a_run_that_another_process_never_lets_go_is_not_waited_for_without_end(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    run = ended(store, rows=3)
    monkeypatch.setattr(holder, "_SETTLE_S", 0.05)

    with held_elsewhere(run) as elsewhere:
        with pytest.raises(RunError, match="is being written"):
            store.gc([run.id], remove=True)
        elsewhere.communicate("\n")
    assert store.open(run.id).verify() == ()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("20260101-000000-2222.building", "half-made run"),
        ("20260101-000000-2222.lock", "lock"),
        ("20260101-000000-2222.sqlite-wal", "log"),
        ("20260101-000000-2222.sqlite-shm", "log"),
    ],
)
def test_what_a_killed_program_left_beside_no_run_can_go_after_an_hour(
    store: RunStore, name: str, kind: str
):
    run = ended(store)
    path = run.path.with_name(name)
    path.write_bytes(b"x")
    assert store.gc() == []  # somebody may just be making it
    age(path, 2)

    (found,) = store.gc(remove=True)

    assert (found.path, found.kind, found.size) == (path, kind, 1)
    assert not path.exists()
    assert ids(store.list()) == [run.id]


def test_the_lock_and_the_log_of_a_run_that_is_written_stay(store: RunStore):
    writer = begin(store)
    for path in writer.path.parent.iterdir():
        age(path, 2)

    assert store.gc(older_than="0 s", remove=True) == []
    assert writer.finish("done").state == "done"
