"""A run of an older format becomes one of today's, on a copy.

Promises: the original is what it was until the copy is complete, verified and on the disk; then the
copy takes its place in one step. A damaged run is never migrated: new checksums would hide that.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final

from drivebay._core.errors import StoreError
from drivebay._core.runs import fileformat, holder, plain
from drivebay._core.runs.verify import require_whole
from drivebay._core.runs.writer import tidy
from drivebay._version import __version__

_NEW_TABLES: Final = ("sources", "transcript", "marks", "ending")


def migrate(path: Path) -> None:
    """Bring a run file to today's format.

    Raises:
        StoreError: it is still being written, it is damaged, or the copy cannot be written.
    """
    with fileformat.reading(path) as database:
        one_file = fileformat.is_one_file(database)
    if not one_file:
        tidy(path)
    with fileformat.store_errors(path, "migrate"):
        lock = holder.hold(path.with_suffix(fileformat.LOCK_SUFFIX))
        if lock is None:
            raise StoreError(f"cannot migrate {path}: it is still being written, in an old format")
        try:
            with fileformat.reading(path) as database:
                form = fileformat.format_of(database)
            if form < fileformat.FORMAT_VERSION:  # nobody was quicker
                _replace(path)
        finally:
            lock.release()


def _replace(path: Path) -> None:
    require_whole(path, "migrate")
    copy = path.with_suffix(".migrating")
    copy.unlink(missing_ok=True)
    try:
        _write_copy(path, copy)
        require_whole(copy, "migrate")
        fileformat.publish_draft(copy, path)
    except BaseException:
        with contextlib.suppress(OSError):
            copy.unlink(missing_ok=True)
        raise


def _write_copy(path: Path, copy: Path) -> None:
    database = sqlite3.connect(copy, isolation_level=None)
    try:
        with fileformat.reading(path) as original:
            original.backup(database)
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("BEGIN")
        _to_two(database)
        database.execute("COMMIT")
    finally:
        database.close()


def _to_two(database: sqlite3.Connection) -> None:
    """Format 1 to 2: new tables, events that know their place, and an ending that counts them."""
    names = fileformat.END_FIELDS[1]
    end = database.execute(f"SELECT {names} FROM ending").fetchone()
    database.execute("DROP TABLE ending")
    for statement in fileformat.SCHEMA.split(";"):
        if any(f"CREATE TABLE {name} " in statement for name in _NEW_TABLES):
            database.execute(statement)
    query = "SELECT time_ns, kind, data FROM events ORDER BY number"
    events: list[tuple[Any, ...]] = list(database.execute(query))
    last_ns = end[3] if end is not None else max((e[0] for e in events), default=0)
    told = plain.to_text({"from": 1, "to": 2, "drivebay": __version__}, "migrated")
    events.append((last_ns, "migrated", told))
    database.execute("DELETE FROM events")
    database.executemany(
        fileformat.INSERT_EVENT,
        (fileformat.event_row(number, *event) for number, event in enumerate(events)),
    )
    if end is not None:
        row = (*end, len(events), 0, 0)
        marks = ", ".join("?" * (len(row) + 1))
        database.execute(
            f"INSERT INTO ending VALUES (1, {marks})", (*row, fileformat.text_crc32(*row))
        )
    database.execute("PRAGMA user_version = 2")
