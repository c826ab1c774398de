"""Files damaged at random: an error that names the file, or the truth; never a crash or a lie.

Beside flipped bits and cut ends, what disks and file systems do: sectors of zeros, pages that
changed places, an old page, a foreign one. Every part of a run is read after each; the same is done
to the catalogue. ``make soak`` does ten times as many.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore, shelf, transcript
from drivebay._core.runs.run import Run
from drivebay._core.runs.writer import Beside

SOAK = int(os.environ.get("DRIVEBAY_SOAK", "1"))
PAGE, SECTOR = 4096, 512
CHUNKS, ROWS = 60, 40
COLUMNS = [("x", "V", "float"), ("n", "", "int"), ("ok", "", "bool")]

Dice = random.Random


def flip(data: bytearray, dice: Dice) -> None:
    for _ in range(dice.choice([1, 4, 64])):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def cut(data: bytearray, dice: Dice) -> None:
    del data[dice.randrange(len(data)) :]


def zero(data: bytearray, dice: Dice) -> None:
    for _ in range(dice.choice([1, 3])):
        at = dice.randrange(0, len(data), SECTOR)
        data[at : at + SECTOR] = bytes(len(data[at : at + SECTOR]))


def swap(data: bytearray, dice: Dice) -> None:
    one, other = (dice.randrange(0, len(data), PAGE) for _ in range(2))
    pages = bytes(data[one : one + PAGE]), bytes(data[other : other + PAGE])
    data[one : one + PAGE], data[other : other + PAGE] = pages[1], pages[0]


def repeat(data: bytearray, dice: Dice) -> None:
    one, other = (dice.randrange(0, len(data), PAGE) for _ in range(2))
    data[one : one + PAGE] = bytes(data[other : other + PAGE])


def foreign(data: bytearray, dice: Dice) -> None:
    at = dice.randrange(0, len(data), SECTOR)
    data[at : at + SECTOR] = dice.randbytes(len(data[at : at + SECTOR]))


KINDS = (flip, flip, cut, zero, swap, repeat, foreign)


def make(store: RunStore, name: str = "first") -> Run:
    """A run that has something of everything."""
    writer = store.create(
        method="m",
        columns=COLUMNS,
        plugin={"name": name, "version": "1"},
        parameters={"levels": list(range(200))},
        sources={name: {"driver.py": b"print('hello')\n" * 400}},
    )
    for number in range(CHUNKS):
        n = np.arange(ROWS) + ROWS * number
        said = [(at, "w", b":READ? %d" % at) for at in range(20 * number, 20 * number + 20)]
        chunk = writer._shape.prepare({"x": n / 7, "n": n, "ok": n % 2 == 0})
        writer.keep([chunk], Beside(transcript.blocks("measure", said)))
    writer.add_event("note", {"of": "something"})
    run = writer.finish("done", None, {"resistance_ohm": 42.0})
    run.tag("good")
    run.note("a note", "me")
    return run


PARTS: dict[str, Callable[[Run], Any]] = {
    "state": lambda run: (run.state, run.reason, run.ended_at, len(run)),
    "columns": lambda run: {name: values.tolist() for name, values in run.columns.items()},
    "chunks": lambda run: [chunk["n"].tolist() for chunk in run.chunks()],
    "values": lambda run: run.values,
    "events": lambda run: run.events,
    "transcript": lambda run: run.transcript,
    "sources": lambda run: run.sources,
    "marks": lambda run: (run.tags, run.notes),
    "head": lambda run: (run.parameters, run.plugin, run.provenance, run.method, run.writer),
}


def read(store: RunStore, name: str) -> tuple[dict[str, Any], list[str]]:
    """Every part that can be read, and what is said of the others."""
    found: dict[str, Any] = {}
    said = []
    for part, look in PARTS.items():
        try:
            found[part] = look(store.open(name))
        except StoreError as exc:
            said.append(str(exc))
    return found, said


def verified(store: RunStore, name: str) -> bool:
    try:
        return store.open(name).verify() == ()
    except StoreError:
        return False


def salvaged_rows_are_true(store: RunStore, name: str) -> bool:
    """What is salvaged is a part of the truth, row by row, in its order."""
    try:
        columns, _ = store.open(name).salvage()
    except StoreError:
        return True
    n = columns["n"] if "n" in columns else np.empty(0, int)
    if not len(n):
        return True
    rows = (columns["x"] == n / 7).all() and (columns["ok"] == (n % 2 == 0)).all()
    return bool(rows and (np.diff(n) > 0).all() and n[0] >= 0 and n[-1] < CHUNKS * ROWS)


@pytest.mark.slow
def test_a_damaged_run_is_refused_or_true_and_hides_no_other(tmp_path: Path):
    store = RunStore(tmp_path / "runs")
    run, other = make(store), make(store, "second")
    whole, truth = run.path.read_bytes(), read(store, run.id)
    assert truth[1] == []
    dice = random.Random(20261125)
    seen: Counter[str] = Counter()
    for _ in range(200 * SOAK):
        damaged = bytearray(whole)
        kind = dice.choice(KINDS)
        kind(damaged, dice)
        run.path.write_bytes(damaged)

        found, said = read(store, run.id)

        wrong = [part for part in found if found[part] != truth[0][part]]
        assert wrong == [], (kind.__name__, wrong, said)
        assert all(run.path.name in text for text in said), said
        assert not (said and verified(store, run.id)), said
        assert salvaged_rows_are_true(store, run.id), kind.__name__
        assert {each.id for each in store.list()} == {run.id, other.id}
        seen["refused" if said else "harmless"] += 1
        seen["partly read"] += bool(said and found)
    assert PARTS["columns"](store.open(other.id))["n"] == list(range(CHUNKS * ROWS))
    assert min(seen["refused"], seen["harmless"], seen["partly read"]) > 10, seen


@pytest.mark.slow
def test_a_damaged_catalogue_changes_nothing_that_is_listed_or_found(tmp_path: Path):
    store = RunStore(tmp_path / "runs")
    runs = [make(store, name) for name in ("first", "second")]
    for _ in range(40):
        store.create(method="other", parameters={"a": "text" * 20}).finish("done")
    listed = [run.id for run in store.list()]
    catalogue = tmp_path / "runs" / shelf.CATALOGUE
    whole = catalogue.read_bytes()
    dice = random.Random(20261126)
    for _ in range(50 * SOAK):
        damaged = bytearray(whole)
        kind = dice.choice(KINDS)
        kind(damaged, dice)
        catalogue.write_bytes(damaged)

        assert [run.id for run in RunStore(store.folder).list()] == listed, kind.__name__
        found = RunStore(store.folder).search(plugin="second")
        assert [run.id for run in found] == [runs[1].id], kind.__name__


def test_a_transcript_is_not_called_whole_where_its_count_is_lost(tmp_path: Path):
    run = make(RunStore(tmp_path / "runs"))
    with contextlib.closing(sqlite3.connect(run.path)) as database, database:
        database.execute(
            "DELETE FROM transcript WHERE number = (SELECT max(number) FROM transcript)"
        )
        database.execute("UPDATE ending SET crc32 = crc32 + 1")
    run = RunStore(tmp_path / "runs").open(run.id)

    with pytest.raises(StoreError, match=r"whether .* are all of them is not known"):
        _ = run.transcript

    assert len(run.salvage_transcript()[0]) == 20 * (CHUNKS - 1)
    assert run.events[-1][1] == "end"  # which is itself the last of all
