"""A run for other people's programs: CSV and JSON.

CSV: one header line with units, ``current_a [A]``, one line a row, floats with all their digits,
booleans as 1 and 0; what the run was is in a second file beside it, so that every program reads
the first one without being told about comment lines. A text that a spreadsheet would run as a
formula gets an apostrophe in front; numbers are never touched.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from drivebay._core.errors import RunError
from drivebay._core.runs import fileformat
from drivebay._core.runs.run import Run

KINDS = ("csv", "json")
_FORMULA_STARTS = ("=", "+", "-", "@")  # a column's name has no tab or line end
_ROWS_A_STEP = 10_000


def export_run(run: Run, target: Path | str | TextIO, kind: str | None = None) -> tuple[Path, ...]:
    """Write a run and return the files written.

    A CSV file gets its metadata beside it: ``sweep.csv`` and ``sweep.csv.json``. Written to an
    open text stream, it is the CSV alone and no file is returned.

    Args:
        run: the run.
        target: a path, or an open text stream.
        kind: ``csv`` or ``json``; None takes it from the path's ending.

    Raises:
        RunError: neither csv nor json.
        StoreError: the run is damaged, or the target cannot be written.
    """
    kind = kind or (Path(target).suffix[1:].lower() if isinstance(target, str | Path) else "")
    if kind not in KINDS:
        raise RunError(f"cannot export a run as {kind!r}; kinds are {', '.join(KINDS)}")
    if not isinstance(target, str | Path):
        _write(run, target, kind)
        return ()
    path = Path(target)
    columns = run.columns  # a damaged run is found before the target is touched
    with fileformat.store_errors(path, "write"):
        with path.open("w", encoding="utf-8", newline="") as stream:
            _write(run, stream, kind)
        if kind != "csv":
            return (path,)
        beside = path.with_name(f"{path.name}.json")
        about = run.to_summary() | {"columns": list(columns)}
        beside.write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return path, beside


def _write(run: Run, stream: TextIO, kind: str) -> None:
    if kind == "json":
        json.dump(run.to_dict(), stream, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        return
    writer = csv.writer(stream, lineterminator="\n")
    units = run.units
    writer.writerow([_safe(f"{name} [{unit}]" if unit else name) for name, unit in units.items()])
    writer.writerows(_rows(run))


def _rows(run: Run) -> Iterator[tuple[Any, ...]]:
    arrays = [a.astype("i1") if a.dtype.kind == "b" else a for a in run.columns.values()]
    for at in range(0, len(run), _ROWS_A_STEP):
        # Lists, because numpy's numbers are turned into text ten times slower than Python's.
        yield from zip(*(a[at : at + _ROWS_A_STEP].tolist() for a in arrays), strict=True)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
