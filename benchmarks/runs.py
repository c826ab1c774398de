"""Rows of the run store: durable chunks and points, grouped points, size, reading back."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row, installed, seconds
from timing import child, compare

SCRIPT = "`benchmarks/runs.py`"
CHUNK_ROWS = 1_000
COLUMNS = [("time_s", "s", "float"), ("voltage_v", "V", "float"), ("current_a", "A", "float")]
ROW_BYTES = 24

_numbers = itertools.count()


def _measured(rows: int) -> np.ndarray[Any, Any]:
    """A sweep up and down again and again, with noise: rows of time, voltage and current."""
    dice = np.random.default_rng(0)
    time_s = np.arange(rows) * 1e-3 + dice.normal(0, 1e-5, rows)
    voltage_v = np.resize(np.linspace(-1, 1, 1001), rows)
    current_a = voltage_v * 1e-3 + dice.normal(0, 1e-8, rows)
    return np.column_stack([time_s, voltage_v, current_a])


def _chunks(data: np.ndarray[Any, Any]) -> list[dict[str, np.ndarray[Any, Any]]]:
    names = [name for name, *_ in COLUMNS]
    return [
        {name: np.ascontiguousarray(part[:, at]) for at, name in enumerate(names)}
        for part in np.split(data, range(CHUNK_ROWS, len(data), CHUNK_ROWS))
    ]


@contextlib.contextmanager
def _place(work: Path) -> Iterator[Path]:
    """A folder of its own for each turn, so that none finds blocks that another has left."""
    folder = work / f"turn-{next(_numbers)}"
    folder.mkdir()
    os.sync()  # what an earlier turn left unwritten is not this one's to pay
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _timed(work: Path, write: Callable[[Path], None]) -> Callable[[], float]:
    def case() -> float:
        with _place(work) as folder:
            started = time.perf_counter()
            write(folder)
            return time.perf_counter() - started

    return case


def _raw(parts: list[bytes], *, synced: bool = True) -> Callable[[Path], None]:
    """The least that durable can cost: append to a file, ask for a sync, each time."""

    def write(folder: Path) -> None:
        descriptor = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for part in parts:
                os.write(descriptor, part)
                if synced:
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)

    return write


def _stored(chunks: list[dict[str, Any]]) -> Callable[[Path], None]:
    """A whole run, its beginning and its end included."""
    from drivebay._core.runs import RunStore

    def write(folder: Path) -> None:
        with RunStore(folder).create(method="iv_sweep", columns=COLUMNS) as writer:
            for chunk in chunks:
                writer.append(chunk)

    return write


def _qcodes(chunks: list[dict[str, Any]]) -> Callable[[Path], None]:
    """QCoDeS's own dataset: SQLite with a row for each array, which asks for no sync of a row."""
    import logging

    from qcodes.dataset import (
        Measurement,
        initialise_or_create_database_at,
        load_or_create_experiment,
    )

    logging.disable(logging.CRITICAL)

    def write(folder: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            initialise_or_create_database_at(folder / "qcodes.db")
            load_or_create_experiment("e", "s")
            measurement = Measurement()
            for name in ("time_s", "voltage_v"):
                measurement.register_custom_parameter(name)
            measurement.register_custom_parameter("current_a", setpoints=("time_s", "voltage_v"))
            with measurement.run() as saver:
                for chunk in chunks:
                    saver.add_result(*chunk.items())
            saver.dataset.conn.close()

    return write


def durable_chunks(work: Path, quick: bool) -> list[Row]:
    """Chunks of 1,000 points, each on the disk before the next is taken."""
    count = 20 if quick else 1_000
    data = _measured(count * CHUNK_ROWS)
    chunks = _chunks(data)
    cases = {
        "own": _timed(work, _stored(chunks)),
        "raw": _timed(work, _raw([part.tobytes() for part in np.split(data, count)])),
    }
    if installed("qcodes"):
        cases["qcodes"] = _timed(work, _qcodes(chunks))
    taken = compare(cases, 2 if quick else 5)
    own, raw = taken.median_s("own"), taken.median_s("raw")
    beside = f"append + fsync of the same bytes {_rate(len(data), raw)}"
    ratio = taken.ratio("raw", "own")
    said = f"{ratio:.2f}x the raw loop"
    met: bool | None = None
    if "qcodes" in cases:
        peer = taken.ratio("qcodes", "own")
        beside += f", QCoDeS {_rate(len(data), taken.median_s('qcodes'))}, not synced"
        said += f", {peer:.1f}x QCoDeS"
        met = ratio >= 0.6 and peer >= 15
    else:
        beside += ", QCoDeS not installed"
    each = _bytes_a_point(work, chunks)
    return [
        Row(
            f"{len(data):,} points in chunks of 1,000, one sync each, begin and end included",
            _rate(len(data), own),
            beside,
            said,
            ">= 0.6x the raw loop (aim 0.9x), >= 15x QCoDeS",
            met,
            SCRIPT,
        ),
        Row(
            "size of that run: three float columns and all that is stored beside them",
            f"{each:.1f} bytes a point",
            f"the numbers alone {ROW_BYTES} bytes",
            f"{each / ROW_BYTES:.2f}x",
            "<= 30 bytes a point",
            each <= 30,
            SCRIPT,
        ),
    ]


def _rate(points: int, taken_s: float) -> str:
    return f"{points / taken_s:,.0f} points/s"


def _bytes_a_point(work: Path, chunks: list[dict[str, Any]]) -> float:
    with _place(work) as folder:
        _stored(chunks)(folder)
        files = [path for path in folder.rglob("*.sqlite*") if path.name[0].isdigit()]
        return sum(path.stat().st_size for path in files) / (len(chunks) * CHUNK_ROWS)


def durable_points(work: Path, quick: bool) -> list[Row]:
    """One point at a time, each on the disk before the next is taken."""
    count = 50 if quick else 2_000
    data = _measured(count)
    names = [name for name, *_ in COLUMNS]
    points = [dict(zip(names, row, strict=True)) for row in data.tolist()]
    cases = {
        "own": _timed(work, _stored(points)),
        "raw": _timed(work, _raw([row.tobytes() for row in data])),
    }
    taken = compare(cases, 2 if quick else 7)
    ratio = taken.ratio("raw", "own")
    return [
        Row(
            f"{count:,} points one at a time, one sync each, begin and end included",
            _rate(count, taken.median_s("own")),
            f"append + fsync of the same bytes {_rate(count, taken.median_s('raw'))}",
            f"{ratio:.2f}x the raw loop",
            ">= 0.7x",
            ratio >= 0.7,
            SCRIPT,
        )
    ]


def grouped_points(work: Path, quick: bool) -> list[Row]:
    """One point at a time from the caller's thread, committed in groups every 0.1 s."""
    from drivebay._core.runs import RunStore

    every_s = 0.1
    count = 2_000 if quick else 1_000_000
    rows = [tuple(row) for row in _measured(count).tolist()]

    def write(folder: Path) -> None:
        writer = RunStore(folder).create(method="iv_sweep", columns=COLUMNS)
        with writer.points(every_s=every_s) as points:
            for row in rows:
                points.add(*row)
        writer.finish("done")

    def bare(folder: Path) -> None:
        keep: list[tuple[float, ...]] = []
        add = keep.append
        for row in rows:
            add(row)

    taken = compare({"own": _timed(work, write), "bare": _timed(work, bare)}, 2 if quick else 5)
    rate = count / taken.median_s("own")
    return [
        Row(
            f"{count:,} points one at a time, commits in groups, until all are on the disk",
            _rate(count, taken.median_s("own")),
            f"`list.append` of the same {_rate(count, taken.median_s('bare'))}",
            f"a cut takes at most the last {seconds(every_s)} and one sync",
            ">= 200,000 points/s, loss bounded by a stated interval",
            rate >= 200_000,
            SCRIPT,
        )
    ]


def reading_back(work: Path, quick: bool) -> list[Row]:
    """All points of a run as arrays, each time in a fresh process, the files in memory."""
    from drivebay._core.runs import RunStore

    count = 10 if quick else 1_000
    data = _measured(count * CHUNK_ROWS)
    with _place(work) as folder:
        writer = RunStore(folder / "runs").create(method="iv_sweep", columns=COLUMNS)
        for chunk in _chunks(data):
            writer.append(chunk)
        path = writer.finish("done").path
        raw = folder / "raw"
        raw.write_bytes(data.T.tobytes())
        return [_reading_row(path, raw, len(data), quick)]


def _reading_row(path: Path, raw: Path, points: int, quick: bool) -> Row:
    def read(case: str, file: Path) -> Callable[[], float]:
        def fresh() -> float:
            done = child(__file__, case, str(file))
            assert done["points"] == points
            return float(done["seconds"])

        return fresh

    taken = compare({"own": read("own", path), "raw": read("raw", raw)}, 2 if quick else 15)
    ratio = taken.ratio("own", "raw")
    return Row(
        f"{points:,} points read back into arrays, fresh process, every checksum verified",
        seconds(taken.median_s("own")),
        f"`numpy.fromfile` of the same bytes, nothing verified, {seconds(taken.median_s('raw'))}",
        f"{ratio:.2f}x",
        "<= 5x (aim 2x)",
        ratio <= 5,
        SCRIPT,
    )


def _read_here(case: str, file: str) -> dict[str, float]:
    """Read once, in a process that has not read this before: its memory is as new as a user's."""
    if case == "own":
        from drivebay._core.runs import Run

        with contextlib.suppress(Exception):
            Run(Path(file).with_name("none"))  # what is imported at the first use is no reading
    started = time.perf_counter()
    if case == "own":
        points = len(Run(Path(file)).columns["current_a"])
    else:
        points = np.fromfile(file).reshape(3, -1).shape[1]
    return {"seconds": time.perf_counter() - started, "points": points}


ALL = (durable_chunks, durable_points, grouped_points, reading_back)


if __name__ == "__main__":
    print(json.dumps(_read_here(*sys.argv[1:])))
