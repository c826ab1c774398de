"""Tags and notes of a run: what people say of it, during it or years later.

Promises: a mark is on the disk when the call returns; any process may add one, also while the run
is written, and is never in the writer's way for longer than one small commit; nothing is ever
taken away, so that the history says who tagged, untagged and noted what, and when.
"""

from __future__ import annotations

import contextlib
import getpass
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import fileformat, plain

Kind = Literal["tag", "untag", "note"]

LONGEST_TAG: Final = 64
LONGEST_NOTE: Final = 100_000

_FIELDS: Final = "number, at, by, kind, text, crc32"


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody wrote about a run: when (UTC, ISO 8601), who, and the text."""

    at: str
    by: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One entry of the history: ``tag``, ``untag`` or ``note``; ``text`` is the tag or the note."""

    number: int
    at: str
    by: str
    kind: str
    text: str

    @property
    def crc32(self) -> int:
        """Checksum of the row."""
        return fileformat.text_crc32(self.number, self.at, self.by, self.kind, self.text)


def read(database: sqlite3.Connection, path: Path) -> list[Mark]:
    """Return the history, oldest first; StoreError names the first damaged row."""
    if fileformat.format_of(database) == 1:
        return []
    found: list[Mark] = []
    for fields in rows(database):
        if problem := check(fields):
            raise StoreError(f"{path}: {problem}")
        if fields[0] != len(found):
            raise StoreError(f"{path}: marks row {len(found)} is missing")
        found.append(Mark(*fields[:-1]))
    return found


def rows(database: sqlite3.Connection) -> sqlite3.Cursor:
    """Return the rows as :func:`check` takes them."""
    return database.execute(f"SELECT {_FIELDS} FROM marks ORDER BY number")


def check(fields: tuple[Any, ...]) -> str:
    """Return what is wrong with a row, empty if nothing."""
    if Mark(*fields[:-1]).crc32 != fields[-1]:
        return f"marks row {fields[0]} is damaged: its checksum does not match"
    return ""


def tags_of(marks: Iterable[Mark]) -> tuple[str, ...]:
    """Return the tags that stand, in the order in which they were given."""
    standing: dict[str, None] = {}
    for mark in marks:
        if mark.kind == "tag":
            standing[mark.text] = None
        elif mark.kind == "untag":
            standing.pop(mark.text, None)
    return tuple(standing)


def notes_of(marks: Iterable[Mark]) -> tuple[Note, ...]:
    """Return the notes, oldest first."""
    return tuple(Note(mark.at, mark.by, mark.text) for mark in marks if mark.kind == "note")


def checked_tag(tag: str) -> str:
    """Return a tag; RunError if it is none: a short printable word."""
    if not 1 <= len(tag) <= LONGEST_TAG:
        raise RunError(f"a tag is a word of 1 to {LONGEST_TAG} characters; got {tag!r:.100}")
    if not tag.isprintable() or any(char.isspace() or char == "," for char in tag):
        raise RunError(f"a tag is one printable word, without spaces and commas; got {tag!r}")
    return tag


def checked_note(text: str) -> str:
    """Return a note; RunError if it is empty or too long."""
    if not text.strip() or len(text) > LONGEST_NOTE:
        raise RunError(f"a note is a text of 1 to {LONGEST_NOTE:,} characters; got {text!r:.100}")
    return text


def add(path: Path, given: Sequence[tuple[Kind, str]], by: str | None = None) -> None:
    """Add marks to a run in one step; tags that stand are not given again, nor others taken.

    A run of an older format is brought to today's first, on a copy.

    Args:
        path: the run file.
        given: kind and text of each, checked already.
        by: who says so; by default the user of this process.

    Raises:
        StoreError: the file is damaged, from a newer version, or cannot be written.
    """
    with fileformat.reading(path) as database:
        form = fileformat.format_of(database)
    if form < fileformat.FORMAT_VERSION:
        from drivebay._core.runs.migrate import migrate  # it needs the writer, which needs us

        migrate(path)
    author = by if by is not None else user()
    with fileformat.store_errors(path, "mark"):
        database = _connected(path)
        try:
            database.execute("BEGIN IMMEDIATE")
            _insert(database, path, given, author)
            database.execute("COMMIT")
        finally:
            database.close()  # what was not committed is as if it had not been


def user() -> str:
    """Name of the user of this process, empty where there is none."""
    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return ""


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=fileformat.BUSY_MS / 1000,
    )
    # EXTRA: the removal of the journal is synced too, or a power cut brings the old state back.
    database.execute("PRAGMA synchronous = EXTRA")
    database.execute("PRAGMA fullfsync = ON")
    return database


def _insert(
    database: sqlite3.Connection, path: Path, given: Sequence[tuple[Kind, str]], by: str
) -> None:
    (number,) = database.execute("SELECT coalesce(max(number) + 1, 0) FROM marks").fetchone()
    standing = set(tags_of(read(database, path)))
    at = fileformat.iso(datetime.now(UTC))
    for kind, text in given:
        if (kind == "tag" and text in standing) or (kind == "untag" and text not in standing):
            continue
        mark = Mark(number, at, plain.spelt_out(by), kind, plain.spelt_out(text))
        database.execute(
            "INSERT INTO marks VALUES (?, ?, ?, ?, ?, ?)",
            (number, at, mark.by, kind, mark.text, mark.crc32),
        )
        number += 1
        standing ^= {text} if kind != "note" else set()
