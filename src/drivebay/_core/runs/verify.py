"""Whether a run file is what was written: every table, every row, every count.

Promises: finds whatever the checksums, the counts of the ending or SQLite itself can find, names
the table and the row, and goes on after each problem as far as the file can be read. Never writes.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from drivebay._core.errors import DrivebayError, StoreError
from drivebay._core.runs import fileformat, marks, plain, sources, transcript

_HEADER_KEYS: Final = ("run", "plugin", "identity", "parameters", "provenance")
_MOST_OF_SQLITE: Final = 20
_CHUNK_FIELDS: Final = "number, first_row, rows, time_ns, crc32, data"


def problems_of(path: Path) -> tuple[str, ...]:
    """Return every problem of a run file, none when it is whole.

    Raises:
        StoreError: it is no run, is from a newer version, or SQLite cannot even open it.
    """
    with fileformat.reading(path) as database:
        # One view of all tables, also of a run that is being written.
        database.execute("BEGIN")
        return tuple(_Check(database, path).all())


class _Check:
    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database = database
        self._path = path
        self._form = fileformat.format_of(database)
        self._found: list[str] = []
        self._counts: dict[str, int] = {}
        self._columns: tuple[fileformat.StoredColumn, ...] | None = None

    def all(self) -> list[str]:
        """Return the problems, SQLite's own first."""
        self._table("SQLite", self._of_sqlite)
        self._table("header", self._of_header)
        self._table("chunks", self._of_chunks)
        self._table("results", self._of_results)
        self._table("events", self._of_events)
        if self._form > 1:
            self._table("sources", self._of_sources)
            self._table("transcript", self._of_transcript)
            self._table("marks", self._of_marks)
        self._table("ending", self._of_ending)
        return self._found

    def _table(self, name: str, problems: Callable[[], Iterator[str]]) -> None:
        """Collect what a check finds, and what stops it."""
        try:
            self._found.extend(problems())
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            self._found.append(f"{name}: SQLite cannot read all of it: {exc}")
        except DrivebayError as exc:
            self._found.append(f"{name}: {exc}")
        except (TypeError, ValueError, KeyError, struct.error) as exc:
            # A field of another type than was stored; which of them no longer matters.
            self._found.append(f"{name}: a row is damaged: {type(exc).__name__}: {exc}")

    def _of_sqlite(self) -> Iterator[str]:
        for (line,) in self._database.execute(f"PRAGMA integrity_check({_MOST_OF_SQLITE})"):
            if line != "ok":
                yield f"SQLite: {line}"

    def _of_header(self) -> Iterator[str]:
        texts, damaged = {}, False
        for key, value, crc in self._database.execute("SELECT key, value, crc32 FROM header"):
            if fileformat.text_crc32(key, value) != crc:
                damaged = True
                yield f"header {key!r} is damaged: its checksum does not match"
            texts[key] = value
        for key in _HEADER_KEYS:
            if key not in texts:
                yield f"header {key!r} is not there"
        if not damaged:
            self._columns = fileformat.columns_of(plain.from_text(texts.get("columns", "[]")))

    def _of_chunks(self) -> Iterator[str]:
        number = first = 0
        query = f"SELECT {_CHUNK_FIELDS} FROM chunks ORDER BY number"
        for row in self._database.execute(query):
            if row[:2] != (number, first):
                yield f"chunks: expected number {number} at row {first}, found {row[0]} at {row[1]}"
            if not self._is_right_chunk(row):
                yield f"chunks row {row[0]} is damaged: its checksum does not match"
            number, first = row[0] + 1, row[1] + row[2]
            self._add("chunks")
            self._add("rows", row[2])

    def _is_right_chunk(self, row: tuple[Any, ...]) -> bool:
        number, first, rows, time_ns, crc, data = row
        try:
            right = fileformat.chunk_crc32(number, first, rows, time_ns, data) == crc
        except (TypeError, struct.error):
            return False
        width = None if self._columns is None else fileformat.row_bytes(self._columns)
        return right and (width is None or len(data) == rows * width)

    def _of_results(self) -> Iterator[str]:
        for name, value, crc in self._database.execute("SELECT name, value, crc32 FROM results"):
            if fileformat.text_crc32(name, value) != crc:
                yield f"results {name!r} is damaged: its checksum does not match"

    def _of_events(self) -> Iterator[str]:
        query = "SELECT number, time_ns, kind, data, crc32 FROM events ORDER BY number"
        expected = None if self._form == 1 else 0  # SQLite numbered those of format 1 itself
        for number, *rest, crc in self._database.execute(query):
            if expected is not None and number != expected:
                yield f"events: expected number {expected}, found {number}"
            if fileformat.event_crc32(self._form, number, *rest) != crc:
                yield f"events row {number} is damaged: its checksum does not match"
            expected = None if expected is None else number + 1
            self._add("events")

    def _of_sources(self) -> Iterator[str]:
        contents: dict[str, bytes] = {}
        for expected, fields in enumerate(sources.rows(self._database)):
            if fields[0] != expected:
                yield f"sources: expected number {expected}, found {fields[0]}"
            if problem := sources.check(fields, contents):
                yield problem

    def _of_transcript(self) -> Iterator[str]:
        number = first = 0
        for fields in self._database.execute(transcript.SELECT + " ORDER BY number"):
            if (fields[0], fields[2]) != (number, first):
                yield (
                    f"transcript: expected block {number} at message {first}, found {fields[0]} at"
                    f" {fields[2]}"
                )
            try:
                transcript.read_block(fields)
            except ValueError as exc:
                yield f"transcript block {fields[0]} is damaged: {exc}"
            number, first = fields[0] + 1, fields[2] + fields[3]
            self._add("blocks")
            self._add("messages", fields[3])

    def _of_marks(self) -> Iterator[str]:
        for expected, fields in enumerate(marks.rows(self._database)):
            if fields[0] != expected:
                yield f"marks: expected number {expected}, found {fields[0]}"
            if problem := marks.check(fields):
                yield problem

    def _of_ending(self) -> Iterator[str]:
        names = fileformat.END_FIELDS[self._form]
        row = self._database.execute(f"SELECT {names}, crc32 FROM ending").fetchone()
        if row is None:
            return  # it is running or was interrupted, which its state says
        if fileformat.text_crc32(*row[:-1]) != row[-1]:
            yield "ending is damaged: its checksum does not match"
            return
        for name, count in zip(names.split(", ")[4:], row[4:-1], strict=True):
            found = self._counts.get(name, 0)
            if found != count:
                yield f"ending: it counts {count} {name}, {found} are there"

    def _add(self, name: str, count: int = 1) -> None:
        self._counts[name] = self._counts.get(name, 0) + count


def require_whole(path: Path, doing: str) -> None:
    """Raise StoreError if a run file has any problem."""
    found = problems_of(path)
    if found:
        more = f" and {len(found) - 1} more problems" if len(found) > 1 else ""
        raise StoreError(f"cannot {doing} {path}: it is damaged: {found[0]}{more}")
