"""CSV and JSON.

CSV: one header line with units, ``current_a [A]``, one line a row, floats with all their digits,
booleans as 1 and 0; what the run was is in a second file beside it, so that every program reads
the first one without being told about comment lines. A text that a spreadsheet would run as a
formula gets an apostrophe in front; numbers are never touched.

JSON: one object, strict, by the schema of ``schema.py``. Where a number was none or infinite
there is null, and ``not_finite`` (of what is known of the run) and ``not_finite_columns`` (of its
points) say which, so that nothing is lost.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from drivebay._core.runs import plain
from drivebay._core.runs.extract import NULL_IN_COLUMNS, Extract, not_finite_rows

# Where a cell may begin: at the front, and after a semicolon, which is what a spreadsheet set to
# a decimal comma splits at. The wide forms are formulas to some (OWASP, "CSV Injection"). A
# column's name has no tab or line end.
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@＝＋－＠])")  # noqa: RUF001 - the wide ones are meant
_ROWS_A_STEP = 10_000


def write_csv(extract: Extract, stream: TextIO) -> None:
    """Write the columns, without what is known of the run."""
    writer = csv.writer(stream, lineterminator="\n")
    titles = (f"{name} [{unit}]" if unit else name for name, unit in extract.units.items())
    writer.writerow([_FORMULA.sub(r"\1'", title) for title in titles])
    writer.writerows(_rows(extract))


def write_json(extract: Extract, stream: TextIO) -> None:
    """Write the run as one object: everything that is known of it, and the columns last.

    Column after column, so that the run is read once for each of them, and never held whole.
    """
    head = json.dumps(extract.about, ensure_ascii=False, allow_nan=False)
    stream.write(f'{head[:-1]}, "null_in_columns": {json.dumps(NULL_IN_COLUMNS)}, "columns": {{')
    not_finite: dict[str, dict[str, Any]] = {}
    for at, name in enumerate(extract.units):
        stream.write(f"{', ' if at else ''}{json.dumps(name, ensure_ascii=False)}: [")
        row = 0
        for part in _parts(extract, name):
            if row:
                stream.write(", ")
            stream.write(json.dumps(plain.strict(part.tolist()), allow_nan=False)[1:-1])
            _add(not_finite.setdefault(name, {}), not_finite_rows(part, row))
            row += len(part)
        stream.write("]")
    said = {name: found for name, found in not_finite.items() if found}
    stream.write(f'}}, "not_finite_columns": {json.dumps(said, ensure_ascii=False)}}}\n')


def _add(found: dict[str, Any], more: dict[str, Any]) -> None:
    for word, what in more.items():
        found[word] = found[word] + what if word in found else what


def _rows(extract: Extract) -> Iterator[tuple[Any, ...]]:
    for block in extract.blocks():
        arrays = [a.astype("i1") if a.dtype.kind == "b" else a for a in block.values()]
        for at in range(0, len(arrays[0]), _ROWS_A_STEP):
            # Lists: numpy's numbers are turned into text ten times slower than Python's.
            yield from zip(*(a[at : at + _ROWS_A_STEP].tolist() for a in arrays), strict=True)


def _parts(extract: Extract, name: str) -> Iterator[Any]:
    for block in extract.blocks():
        array = block[name]
        for at in range(0, len(array), _ROWS_A_STEP):
            yield array[at : at + _ROWS_A_STEP]
