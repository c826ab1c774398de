"""What is in a run file: its tables, its chunks, its checksums; and how it is opened.

Rules: numbers are little endian whatever the machine; every row carries a checksum over its own
content and place, so that neither a flipped bit nor a swapped row is read as data; a file of a
newer format is refused, a table this version does not know is left alone.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import plain, remedies

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SUFFIX = ".sqlite"
LOCK_SUFFIX = ".lock"
APPLICATION_ID = 0x44425259  # "DBRY": file(1) and other tools can tell a run from any database
FORMAT_VERSION = 2
BUSY_MS = 10_000  # how long a step waits for a reader of the same file
_PAGE_BYTES = 8192  # a chunk of 1,000 points is then four pages to write, not seven
_LOG_PAGES = 100

SCHEMA = """
CREATE TABLE header (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc32 INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE chunks (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL,
    rows INTEGER NOT NULL, time_ns INTEGER NOT NULL, crc32 INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE results (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc32 INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE events (number INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    data TEXT NOT NULL, crc32 INTEGER NOT NULL);
CREATE TABLE sources (number INTEGER PRIMARY KEY, plugin TEXT NOT NULL, path TEXT NOT NULL,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, data BLOB, crc32 INTEGER NOT NULL);
CREATE TABLE transcript (number INTEGER PRIMARY KEY, phase TEXT NOT NULL,
    first_message INTEGER NOT NULL, messages INTEGER NOT NULL, crc32 INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE TABLE marks (number INTEGER PRIMARY KEY, at TEXT NOT NULL, by TEXT NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL, crc32 INTEGER NOT NULL);
CREATE TABLE ending (only INTEGER PRIMARY KEY CHECK (only = 1), state TEXT NOT NULL,
    reason TEXT, ended_at TEXT NOT NULL, time_ns INTEGER NOT NULL, chunks INTEGER NOT NULL,
    rows INTEGER NOT NULL, events INTEGER NOT NULL, blocks INTEGER NOT NULL,
    messages INTEGER NOT NULL, crc32 INTEGER NOT NULL);
"""

END_FIELDS = {
    1: "state, reason, ended_at, time_ns, chunks, rows",
    2: "state, reason, ended_at, time_ns, chunks, rows, events, blocks, messages",
}
"""What an ending says, by format; its checksum covers these in this order."""

_FLOAT = struct.Struct("<d")
_DTYPES = {"float": "<f8", "int": "<i8", "bool": "|b1"}
_WIDTHS = {"float": 8, "int": 8, "bool": 1}
INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"
_PLACE = struct.Struct("<qqqq")


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column: its name, SI unit (empty for none) and kind, ``float``, ``int`` or ``bool``."""

    name: str
    unit: str = ""
    kind: str = "float"


def columns_of(given: Sequence[Any]) -> tuple[StoredColumn, ...]:
    """Return columns from ``(name, unit, kind)`` tuples or from objects with these attributes.

    Raises:
        RunError: a name twice, empty or unprintable, or a kind that is not float, int or bool.
    """
    columns = []
    for item in given:
        if hasattr(item, "kind"):
            column = StoredColumn(str(item.name), str(item.unit or ""), str(item.kind))
        else:
            name, unit, kind = (*item, "", "float")[:3] if len(item) < 3 else item
            column = StoredColumn(str(name), str(unit or ""), str(kind))
        if column.kind not in _DTYPES:
            kinds = ", ".join(_DTYPES)
            raise RunError(f"column {column.name!r} is of kind {column.kind!r}; kinds are {kinds}")
        if not (column.name + column.unit).isprintable():
            raise RunError(f"column {column.name!r} [{column.unit!r}] has unprintable characters")
        columns.append(column)
    names = [column.name for column in columns]
    if len(set(names)) != len(names) or "" in names:
        raise RunError(f"columns must have a name each, and each only once; got {names}")
    return tuple(columns)


def columns_of_chunk(chunk: Mapping[str, Any]) -> tuple[StoredColumn, ...]:
    """Return the columns that an undeclared chunk shows: kinds from its arrays, units unknown."""
    import numpy as np

    kinds = {"f": "float", "i": "int", "u": "int", "b": "bool"}
    found = []
    for name, values in chunk.items():
        code = np.asarray(values).dtype.kind
        if code not in kinds:
            raise RunError(f"column {name!r} holds {np.asarray(values).dtype}, not numbers")
        found.append((name, "", kinds[code]))
    return columns_of(found)


def encode(columns: Sequence[StoredColumn], chunk: Mapping[str, Any]) -> tuple[int, bytes]:
    """Return the number of rows and the bytes of a chunk: column after column, little endian.

    Raises:
        RunError: a column is missing, unknown, of another length or of another kind.
    """
    import numpy as np

    names = [column.name for column in columns]
    if set(chunk) != set(names):
        raise RunError(f"a chunk has columns {sorted(chunk)}, the run has {sorted(names)}")
    rows = -1
    parts: list[bytes | memoryview] = []
    for column in columns:
        values = chunk[column.name]
        if type(values) is float and column.kind == "float" and rows in {-1, 1}:
            rows = 1
            parts.append(_FLOAT.pack(values))  # a point alone is on the disk before the next
            continue
        if isinstance(values, np.ma.MaskedArray) and column.kind == "float":
            values = np.ma.filled(values.astype(float), np.nan)
        array = np.atleast_1d(np.asarray(values))
        if array.ndim != 1 or rows not in {-1, len(array)}:
            raise RunError(
                f"column {column.name!r} has shape {array.shape}; expected"
                f" {'one value a row' if rows < 0 else f'({rows},) as the columns before it'}"
            )
        if not np.can_cast(array.dtype, _DTYPES[column.kind], casting="same_kind"):
            raise RunError(f"column {column.name!r} is {column.kind}; got values of {array.dtype}")
        rows = len(array)
        parts.append(np.ascontiguousarray(array, dtype=_DTYPES[column.kind]).data)
    return max(rows, 0), b"".join(parts)


def decode(columns: Sequence[StoredColumn], rows: int, data: bytes) -> dict[str, Array]:
    """Return the arrays (read-only views of ``data``) of a chunk whose checksum was right."""
    import numpy as np

    found, at = {}, 0
    for column in columns:
        found[column.name] = np.frombuffer(data, _DTYPES[column.kind], rows, at)
        at += rows * _WIDTHS[column.kind]
    return found


def dtype(column: StoredColumn) -> str:
    """Numpy's name for what a column holds."""
    return _DTYPES[column.kind]


@functools.cache  # asked for each chunk
def row_bytes(columns: tuple[StoredColumn, ...]) -> int:
    """Bytes that one row takes in a chunk."""
    return sum(_WIDTHS[column.kind] for column in columns)


def chunk_crc32(number: int, first_row: int, rows: int, time_ns: int, data: bytes) -> int:
    """Checksum of a chunk and of its place in the run."""
    return zlib.crc32(data, zlib.crc32(_PLACE.pack(number, first_row, rows, time_ns)))


def event_crc32(form: int, number: int, time_ns: int, kind: str, data: str) -> int:
    """Checksum of an event; format 1 did not cover its place."""
    place = () if form == 1 else (number,)
    return text_crc32(*place, time_ns, kind, data)


def event_row(number: int, time_ns: int, kind: str, data: str) -> tuple[Any, ...]:
    """An event as :data:`INSERT_EVENT` takes it."""
    return (
        number, time_ns, kind, data, event_crc32(FORMAT_VERSION, number, time_ns, kind, data)
    )  # fmt: skip


def text_crc32(*parts: object) -> int:
    """Checksum of the fields of a row that holds text."""
    return zlib.crc32("\0".join(map(str, parts)).encode("utf-8", "surrogatepass"))


@contextmanager
def store_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn what SQLite and the system raise into StoreError with the file's name."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as exc:  # the last: damaged text
        if isinstance(exc, StoreError):
            raise
        raise StoreError(f"cannot {doing} {path}: {remedies.with_remedy(exc, path)}") from exc


def write_draft(
    building: Path,
    header: Mapping[str, str],
    sources: Iterable[tuple[Any, ...]] = (),
    events: Iterable[tuple[Any, ...]] = (),
) -> None:
    """Write a whole run file under a name that no reader looks at; nothing is synced yet.

    Made in memory from a copy of an empty run and written in one go, which takes a tenth of the
    time of one statement after the other in a file.
    """
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.deserialize(_empty_run())
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO header VALUES (?, ?, ?)",
            [(key, text, text_crc32(key, text)) for key, text in header.items()],
        )
        database.executemany("INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?)", sources)
        database.executemany(INSERT_EVENT, events)
        database.execute("COMMIT")
        content = bytearray(database.serialize())
    finally:
        database.close()
    # Born with a write-ahead log: switching to one later costs a journal and four syncs. Bytes 18
    # and 19 are the file's write and read version (sqlite.org/fileformat2.html, 1.3.3).
    content[18:20] = b"\2\2"
    building.write_bytes(content)


@functools.cache
def _empty_run() -> bytes:
    """A run file without a header, as bytes."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        database.executescript(SCHEMA)
        return database.serialize()
    finally:
        database.close()


def publish_draft(building: Path, path: Path) -> None:
    """Make a draft the run's file: complete and on the disk, or not there."""
    _sync(building)
    building.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open a run for writing: every commit is on the disk when it returns."""
    database = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
    )
    database.execute("PRAGMA journal_mode = WAL")
    # FULL and nothing less: with NORMAL a power cut took acknowledged rows in 269 of 300 tries.
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA fullfsync = ON")  # macOS keeps a plain fsync in the drive's cache
    # A log that is folded in early is written over again instead of growing, and a sync of blocks
    # that the file system has given already is cheaper: single points at 0.6 of a bare loop of
    # append and fsync with SQLite's 4 MB, 0.85 with 0.8 MB (ext4).
    database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    return database


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a run for a short look; never writes, never keeps a writer from finishing for long.

    Raises:
        StoreError: it is not a run, is from a newer version, or SQLite finds it damaged.
    """
    with store_errors(path, "read"):
        if not path.exists():
            raise StoreError(f"cannot read {path}: no such file")
        database = _connect_reader(path)
        try:
            yield database
        finally:
            database.close()


def _connect_reader(path: Path) -> sqlite3.Connection:
    try:
        return _checked_reader(path)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
    _undo_half_a_mark(path)
    return _checked_reader(path)


def _checked_reader(path: Path) -> sqlite3.Connection:
    database = _connected(path, "ro")
    try:
        check_format(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _undo_half_a_mark(path: Path) -> None:
    """Put a run back as it was before a mark in whose middle the power went or a program died.

    Until then it cannot be read, and a connection that only reads cannot do it: this is the one
    time that reading writes.
    """
    database = _connected(path, "rw")
    try:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        database.close()


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_MS / 1000,
    )


def check_format(database: sqlite3.Connection, path: Path) -> int:
    """Return the format; refuse what is not a run file of one this version reads."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a database but not a Drivebay run")
    if not 1 <= version <= FORMAT_VERSION:
        raise StoreError(
            f"{path} has run format {version}; this version of Drivebay reads formats 1 to"
            f" {FORMAT_VERSION}"
        )
    return int(version)


def format_of(database: sqlite3.Connection) -> int:
    """The format of a run file that was checked when it was opened."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def is_one_file(database: sqlite3.Connection) -> bool:
    """Whether a run's write-ahead log has been folded into its file."""
    return bool(database.execute("PRAGMA journal_mode").fetchone() != ("wal",))


def read_texts(database: sqlite3.Connection, path: Path, table: str, key: str) -> dict[str, str]:
    """Return ``{key: value}`` of a table of texts; StoreError names the first damaged row."""
    found: dict[str, str] = {}
    for name, value, crc in database.execute(f"SELECT {key}, value, crc32 FROM {table}"):
        if text_crc32(name, value) != crc:
            raise StoreError(f"{path}: {table} {name!r} is damaged: its checksum does not match")
        if found and name <= next(reversed(found)):  # a page stands in the place of another
            raise StoreError(f"{path}: {table} is damaged: {name!r} is not in its place")
        found[name] = value
    return found


def columns_text(columns: Sequence[StoredColumn]) -> str:
    """Return columns as the header keeps them."""
    return plain.to_text([[c.name, c.unit, c.kind] for c in columns], "columns")


def iso(moment: datetime) -> str:
    """Return a UTC moment as text with microseconds always, so that texts sort as times do."""
    return moment.isoformat(timespec="microseconds")
