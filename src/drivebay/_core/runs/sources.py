"""The source files of a plugin inside a run file: the code that measured, byte for byte.

Promises: a file comes back as it was hashed when the code was loaded, whatever became of the
folder; equal files of one run are stored once. Never runs or imports any of it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from drivebay._core.errors import StoreError
from drivebay._core.runs import fileformat, plain

Sources = Mapping[str, Mapping[str, bytes]]
"""Plugin name -> relative path -> bytes; the run's own plugin is the first."""

_FIELDS = "number, plugin, path, sha256, size, data, crc32"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One file as it is stored; without data where an earlier row has the same content."""

    number: int
    plugin: str
    path: str
    sha256: str
    size: int
    data: bytes | None

    @property
    def crc32(self) -> int:
        """Checksum of the row."""
        head = fileformat.text_crc32(self.number, self.plugin, self.path, self.sha256, self.size)
        return zlib.crc32(self.data or b"", head)


def rows_of(sources: Sources) -> Iterator[tuple[Any, ...]]:
    """Return the rows that keep these files."""
    seen: set[str] = set()
    number = 0
    for plugin, files in sources.items():
        for path, content in sorted(files.items()):
            digest, packed = _packed(bytes(content))
            data = None if digest in seen else packed
            names = plain.spelt_out(plugin), plain.spelt_out(path)
            row = SourceRow(number, *names, digest, len(content), data)
            seen.add(digest)
            number += 1
            yield (
                row.number, row.plugin, row.path, row.sha256, row.size, row.data, row.crc32
            )  # fmt: skip


@lru_cache(maxsize=256)  # the same code measures again and again
def _packed(content: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(content).hexdigest(), zlib.compress(content, 6)


def read(database: sqlite3.Connection, path: Path) -> dict[str, dict[str, bytes]]:
    """Return the files by plugin; StoreError names the first that is damaged."""
    found: dict[str, dict[str, bytes]] = {}
    contents: dict[str, bytes] = {}
    for number, fields in enumerate(rows(database)):
        problem = check(fields, contents)
        if problem:
            raise StoreError(f"{path}: {problem}")
        if fields[0] != number:
            raise StoreError(f"{path}: sources row {number} is missing")
        found.setdefault(fields[1], {})[fields[2]] = contents[fields[3]]
    return found


def check(fields: tuple[Any, ...], contents: dict[str, bytes]) -> str:
    """Return what is wrong with a row, empty if nothing; its content is added to ``contents``."""
    *values, crc = fields
    number, _, name, digest, size, data = values
    where = f"sources row {number} ({name})"
    try:
        if SourceRow(*values).crc32 != crc:
            return f"{where} is damaged: its checksum does not match"
        if data is not None:
            contents[digest] = zlib.decompress(data)
    except (zlib.error, TypeError, ValueError) as exc:
        return f"{where} is damaged: {exc}"
    content = contents.get(digest)
    if content is None:
        return f"{where}: the row that holds the same content is not there"
    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
        return f"{where} is damaged: it is not the content that was stored"
    return ""


def rows(database: sqlite3.Connection) -> sqlite3.Cursor:
    """Return the rows as :func:`check` takes them."""
    return database.execute(f"SELECT {_FIELDS} FROM sources ORDER BY number")
