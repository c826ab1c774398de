"""Power cuts: what was acknowledged is on the disk, whichever moment the power goes.

Each image is made from what the real writer asked of the disk (see ``powercut.py``), and read with
the SQLite that Python ships. ``make soak`` looks at ten times as many.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore, fileformat, transcript
from drivebay._core.runs.run import Run
from drivebay._core.runs.writer import Beside
from powercut import Disk, Op, image

SOAK = int(os.environ.get("DRIVEBAY_SOAK", "1"))
COLUMNS = [("x", "V", "float"), ("twice", "", "int"), ("odd", "", "bool")]


def rows(first: int, count: int) -> dict[str, Any]:
    """Rows that say which they are."""
    x = np.arange(first, first + count)
    return {"x": x * 1.0, "twice": 2 * x, "odd": x % 2 == 1}


@dataclass
class Promise:
    """What was acknowledged of one run, each with how much had been asked of the disk then."""

    id: str
    begun: int
    rows: list[tuple[int, int]] = field(default_factory=list)  # (operations, rows so far)
    facts: list[tuple[int, Callable[[Run], bool]]] = field(default_factory=list)

    def rows_at(self, cut: int) -> int:
        return max((count for at, count in self.rows if at <= cut), default=0)


@dataclass
class Recorded:
    """A workload: what it asked of the disk, and what it was told."""

    log: list[Op]
    promises: list[Promise]
    steps: dict[str, tuple[int, int]]  # operations from and to, by what was done

    def cuts(self, step: str) -> range:
        """Every cut within a step: before its first operation to after its last."""
        first, last = self.steps[step]
        return range(first, last + 1)


class Workload:
    """Measures as a bay does, and keeps what was acknowledged."""

    def __init__(self, disk: Disk, store: RunStore) -> None:
        self.disk = disk
        self.store = store
        self.promises: list[Promise] = []
        self.steps: dict[str, tuple[int, int]] = {}

    def step(self, name: str, action: Callable[[], Any]) -> Any:
        first = len(self.disk.log)
        found = action()
        self.steps[name] = first, len(self.disk.log)
        return found

    def run(self, chunks: int, columns: Any = COLUMNS, name: str = "") -> Run:
        writer = self.step(f"{name}begin", lambda: self.store.create(method="m", columns=columns))
        promise = Promise(writer.id, len(self.disk.log))
        self.promises.append(promise)

        def told(fact: Callable[[Run], bool]) -> None:
            promise.facts.append((len(self.disk.log), fact))

        done = 0
        for number in range(chunks):
            count = (1, 7, 60, 300)[number % 4]
            writer.append(rows(done, count))
            done += count
            promise.rows.append((len(self.disk.log), done))
        writer.add_values({"answer": 42})
        told(lambda run: run.values["answer"] == 42)
        writer.add_event("half", {"way": True})
        told(lambda run: any(kind == "half" for _, kind, _ in run.events))
        self.step(f"{name}tag", lambda: writer.run.tag("live"))  # through another connection
        told(lambda run: ("tag", "live") in [(each.kind, each.text) for each in run.marks])
        blocks = transcript.blocks("measure", [(1, "w", b":READ?"), (2, "r", b"1.0")])
        writer.keep([], Beside(blocks))
        told(lambda run: [each.data for each in run.transcript] == [b":READ?", b"1.0"])
        with writer.points() as points:
            for number in range(50):
                points.add(float(done + number), 2 * (done + number), (done + number) % 2 == 1)
            points.flush()
            done += 50
            promise.rows.append((len(self.disk.log), done))
        run = self.step(f"{name}finish", lambda: writer.finish("done", None, {"last": "value"}))
        told(lambda run: run.state == "done" and run.values["last"] == "value")
        self.step(f"{name}note", lambda: run.note("looks right", "me"))
        told(lambda run: [note.text for note in run.notes] == ["looks right"])
        self.step(f"{name}untag", lambda: run.untag("live"))
        told(lambda run: ("untag", "live") in [(each.kind, each.text) for each in run.marks])
        return run


def record(folder: Path, work: Callable[[Workload], None], **given: Any) -> Recorded:
    disk = Disk(folder, **given)
    with disk.recording():
        workload = Workload(disk, RunStore(folder / "runs"))
        work(workload)
    return Recorded(disk.log, workload.promises, workload.steps)


def measured(workload: Workload) -> None:
    """Two runs and a look at the list, so that the catalogue is torn as well."""
    workload.run(180)
    workload.store.list()
    workload.run(40, (), name="second ")
    workload.store.list()


@dataclass
class Found:
    """What images showed, counted."""

    images: int = 0
    lost_rows: int = 0
    lost_runs: int = 0
    lost_facts: int = 0
    corrupt: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.images > 0 and not (
            self.lost_rows or self.lost_runs or self.lost_facts or self.corrupt
        )


def look(found: Found, folder: Path, recorded: Recorded, cut: int) -> None:
    """Open an image as a person would after the power came back."""
    store = RunStore(folder / "runs")
    found.images += 1
    listed = {run.id: run for run in store.list()}
    for promise in recorded.promises:
        run = listed.get(promise.id)
        if run is None:
            found.lost_runs += promise.begun <= cut
            found.lost_rows += promise.rows_at(cut)
        else:
            _look_at(found, run, promise, cut)


def _look_at(found: Found, run: Run, promise: Promise, cut: int) -> None:
    try:
        columns = dict(run.columns)
        facts = [fact(run) for at, fact in promise.facts if at <= cut]
        problems = run.verify()  # with SQLite's own check of the database
    except (StoreError, KeyError) as exc:
        found.corrupt.append(f"cut {cut}: {exc}")
        found.lost_rows += promise.rows_at(cut)
        return
    count = len(run)
    found.lost_rows += max(0, promise.rows_at(cut) - count)
    found.lost_facts += facts.count(False)
    right = {name: values.tolist() for name, values in rows(0, count).items()}
    if count and {name: values.tolist() for name, values in columns.items()} != right:
        found.corrupt.append(f"cut {cut}: rows that were never stored")
    if problems or run.state not in {"done", "interrupted"}:
        found.corrupt.append(f"cut {cut}: {run.state}, {problems}")


def images(folder: Path, recorded: Recorded, cuts: Iterator[int], seed: int) -> Found:
    dice = random.Random(seed)
    found = Found()
    for number, cut in enumerate(cuts):
        place = folder / f"image-{seed}-{number}"
        image(recorded.log, cut, dice, place)
        look(found, place, recorded, cut)
    return found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("disk"), measured)


def anywhere(recorded: Recorded, count: int, seed: int) -> Iterator[int]:
    dice = random.Random(seed)
    return (dice.randint(0, len(recorded.log)) for _ in range(count))


@pytest.mark.slow
def test_no_power_cut_takes_what_was_acknowledged(recorded: Recorded, tmp_path: Path):
    found = images(tmp_path, recorded, anywhere(recorded, 100 * SOAK, 1), 1)

    assert found.whole, found
    assert found.images == 100 * SOAK


@pytest.mark.slow
def test_with_a_weaker_sync_power_cuts_do_take_rows(tmp_path: Path):
    """The control: the same workload and the same cuts, ``synchronous=NORMAL``."""
    (tmp_path / "disk").mkdir()
    weak = record(tmp_path / "disk", measured, weakened=True)

    found = images(tmp_path, weak, anywhere(weak, 30 * SOAK, 1), 1)

    assert found.lost_rows > 100


def every_cut(folder: Path, recorded: Recorded, step: str, times: int) -> Found:
    """Each moment of a step, several images each."""
    cuts = [cut for cut in recorded.cuts(step) for _ in range(times * SOAK)]
    return images(folder, recorded, iter(cuts), 2)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["begin", "second begin"])
def test_a_run_is_complete_or_not_there_whenever_the_power_goes_at_its_beginning(
    recorded: Recorded, tmp_path: Path, step: str
):
    assert len(recorded.cuts(step)) > 5

    assert every_cut(tmp_path, recorded, step, 2).whole


@pytest.mark.slow
@pytest.mark.parametrize("lazy", ["the file", "the folder"])
def test_a_run_published_with_one_sync_less_is_lost_or_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: str
):
    """The control: without the sync of the draft, or of the folder that it is renamed in."""
    real = fileformat._sync

    def sync(path: Path) -> None:
        if path.is_dir() != (lazy == "the folder"):
            real(path)

    monkeypatch.setattr(fileformat, "_sync", sync)
    (tmp_path / "disk").mkdir()
    weak = record(tmp_path / "disk", lambda workload: workload.run(1))
    monkeypatch.undo()
    (begun,) = (promise.begun for promise in weak.promises)

    found = images(tmp_path, weak, iter([begun] * 20), 3)

    assert found.lost_runs or found.corrupt


@pytest.mark.slow
@pytest.mark.parametrize("step", ["finish", "second finish"])
def test_the_end_of_a_run_may_be_cut_anywhere(recorded: Recorded, tmp_path: Path, step: str):
    """Where the log is folded in, removed, and the mode of the file is changed without a sync."""
    kinds = {op.kind for op in recorded.log[slice(*recorded.steps[step])]}
    assert {"write", "sync", "unlink"} <= kinds

    assert every_cut(tmp_path, recorded, step, 2).whole


@pytest.mark.slow
@pytest.mark.parametrize("step", ["tag", "second note", "untag"])
def test_a_mark_is_there_when_the_call_has_returned_and_never_harms_the_run(
    recorded: Recorded, tmp_path: Path, step: str
):
    assert every_cut(tmp_path, recorded, step, 2).whole


@pytest.mark.slow
def test_a_mark_that_comes_while_a_run_becomes_one_file_is_not_lost(tmp_path: Path):
    """When the log was folded in and before the mode is changed, which asks for no sync."""
    (tmp_path / "disk").mkdir()

    def work(workload: Workload) -> None:
        writer = workload.store.create(method="m", columns=COLUMNS)
        promise = Promise(writer.id, len(workload.disk.log))
        workload.promises.append(promise)
        writer.append(rows(0, 300))
        promise.rows.append((len(workload.disk.log), 300))

        def tag() -> None:
            writer.run.tag("late")
            promise.facts.append((len(workload.disk.log), lambda run: run.tags == ("late",)))

        def come(statement: str) -> None:
            if "synchronous = OFF" in statement and not comes.is_alive():
                comes.start()

        comes = threading.Thread(target=tag)
        workload.disk.before = come

        def finish() -> None:
            writer.finish("done")
            comes.join()

        workload.step("finish", finish)
        assert promise.facts

    recorded = record(tmp_path / "disk", work)

    assert every_cut(tmp_path, recorded, "finish", 2).whole


@pytest.mark.slow
def test_a_run_that_was_interrupted_by_one_cut_survives_another_while_it_is_tidied(
    recorded: Recorded, tmp_path: Path
):
    dice = random.Random(4)
    found = Found()
    for number in range(5 * SOAK):
        first = dice.choice([at for at, _ in recorded.promises[0].rows])
        disk = Disk(tmp_path / f"first-{number}")
        image(recorded.log, first, dice, disk.root)
        disk.adopt()
        with disk.recording():
            RunStore(disk.root / "runs").list()
        for again in sorted(dice.sample(range(disk.adopted, len(disk.log) + 1), 10)):
            place = tmp_path / f"second-{number}-{again}"
            image(disk.log, again, dice, place)
            look(found, place, recorded, first)

    assert found.whole, found
    assert found.images == 50 * SOAK
