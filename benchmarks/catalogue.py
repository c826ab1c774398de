"""Rows of the catalogue: 100,000 runs in two years of folders, listed, searched and opened.

Every run is a real file that any reader opens, as small as SQLite makes one. The figures are those
of `bay.runs`, the folder as it stands and, where the row says so, right after another run ended.
"""

from __future__ import annotations

import datetime
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rows import Row, seconds
from timing import compare

from drivebay import RunStore
from drivebay._core.runs import fileformat, plain, shelf

SCRIPT = "`benchmarks/catalogue.py`"
MUST_S = 0.05
MONTHS = 24
PARAMETERS = {"start_v": -1.0, "stop_v": 1.0, "points": 101, "compliance_a": 0.01, "nplc": 1.0}


def _ids(count: int) -> Iterator[str]:
    """Ids spread evenly over the months that end with this one."""
    now = datetime.datetime.now(datetime.UTC)
    step = datetime.timedelta(days=30.4 * MONTHS) / count
    for number in range(count):
        moment = now - step * (count - number)
        order = shelf.DIGITS[number // 31 % 31] + shelf.DIGITS[number % 31]
        yield f"{moment:%Y%m%d-%H%M%S}-{order}{shelf.DIGITS[number // 961 % 31]}2"


def _template(folder: Path) -> sqlite3.Connection:
    """A finished run in memory, with the smallest pages there are."""
    writer = RunStore(folder).create(
        method="iv_sweep",
        plugin={"name": "keithley_2400", "version": "1.0.0", "sha256": "ab" * 32},
        identity={"manufacturer": "KEITHLEY", "model": "2400", "serial": "1234567"},
        resource="TCPIP::192.168.1.7::5025::SOCKET",
        parameters=PARAMETERS,
        columns=[("voltage_v", "V", "float"), ("current_a", "A", "float")],
        provenance={"user": "zoe", "host": "bench", "program": "wafer.py"},
    )
    writer.append({"voltage_v": [0.0, 1.0], "current_a": [0.0, 0.02]})
    run = writer.finish("done")
    database = sqlite3.connect(run.path, isolation_level=None)
    database.execute("PRAGMA page_size = 512")
    database.execute("VACUUM")
    content = database.serialize()
    database.close()
    memory = sqlite3.connect(":memory:", isolation_level=None)
    memory.deserialize(content)
    return memory


def fill(folder: Path, count: int) -> list[str]:
    """Make so many runs that differ in id, time, method and parameters; return their ids."""
    database = _template(folder.parent / "template")
    (head,) = database.execute("SELECT value FROM header WHERE key = 'run'").fetchone()
    about, dice, ids = plain.from_text(head), random.Random(4), list(_ids(count))
    for number, name in enumerate(ids):
        at = datetime.datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=datetime.UTC)
        method = "cv_sweep" if number % 1000 == 0 else "iv_sweep"
        texts = {
            "run": about | {"id": name, "started_at": fileformat.iso(at), "method": method},
            "parameters": PARAMETERS | {"stop_v": dice.randrange(1_000_000) / 1e6},
        }
        for key, value in texts.items():
            text = plain.to_text(value, key)
            database.execute(
                "UPDATE header SET value = ?, crc32 = ? WHERE key = ?",
                (text, fileformat.text_crc32(key, text), key),
            )
        path = next(shelf.places_of(folder, name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(database.serialize())
    database.close()
    return ids


def _stat_all(folder: Path) -> None:
    """What a list without a catalogue does at least: name and stamp of every file."""
    for month in os.scandir(folder):
        if month.is_dir():
            for entry in os.scandir(month.path):
                entry.stat()


def _timed(function: Callable[[], object]) -> Callable[[], float]:
    def case() -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    return case


def _after_a_run(store: RunStore) -> Callable[[], float]:
    def case() -> float:
        ended = store.create(method="iv_sweep", parameters=PARAMETERS).finish("done")
        started = time.perf_counter()
        assert store.list(20)[0].id == ended.id
        return time.perf_counter() - started

    return case


def catalogue(work: Path, quick: bool) -> list[Row]:
    """List, search and open one of many."""
    count = 1_000 if quick else 100_000
    folder = work / "runs"
    ids = fill(folder, count)
    started = time.perf_counter()
    rebuilt = RunStore(folder).rebuild()
    rebuild_s = time.perf_counter() - started
    assert rebuilt.runs == count
    store, middle = RunStore(folder), ids[count // 2]
    cases: dict[str, Callable[[], object]] = {
        "last 20": lambda: store.list(20),
        "by method": lambda: store.search(method="cv_sweep", limit=20),
        "by age": lambda: store.search(since="40 days", until="30 days", limit=20),
        "by tag": lambda: store.search(tag="no-such-tag"),
        "by a word": lambda: store.search(text="wafer.py keithley", limit=20),
        "by a word no run has": lambda: store.search(text="no-such-word"),
        "open by id": lambda: store.open(middle),
        "open by the end of its id": lambda: store.open(middle[9:]),
        "open the last": lambda: store.open("last"),
    }
    timed = {name: _timed(case) for name, case in cases.items()}
    timed["every file"] = _timed(lambda: _stat_all(folder))
    turns = 3 if quick else 15
    figures = compare(timed, turns)
    after = compare({"a list": _after_a_run(store)}, turns).median_s("a list")
    worst = max(cases, key=figures.median_s)
    each = ", ".join(f"{name} {seconds(figures.median_s(name))}" for name in cases)
    size = (folder / shelf.CATALOGUE).stat().st_size
    return [
        Row(
            f"a folder of {count:,} runs: list, search, open one ({each}; last 20 after another"
            f" run {seconds(after)})",
            seconds(figures.median_s(worst)),
            f"name and stamp of every file {seconds(figures.median_s('every file'))}",
            f"the slowest, {worst}, takes {figures.ratio(worst, 'every file'):.2g}x of that",
            f"<= {seconds(MUST_S)} each",
            max(figures.median_s(worst), after) <= MUST_S,
            SCRIPT,
        ),
        Row(
            f"its catalogue made anew (`runs rebuild`), {size / count:.0f} bytes a run",
            seconds(rebuild_s),
            "none",
            f"{count / rebuild_s:,.0f} runs/s",
            "no limit set",
            True,
            SCRIPT,
        ),
    ]


ALL = (catalogue,)
