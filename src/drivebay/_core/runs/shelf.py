"""Where run files lie: a folder, and one folder for each month in it.

Promises: a new run goes into its month's folder, so that a folder stays short enough to be listed
while somebody waits; a file that lies in the folder itself (older versions wrote there) or in any
folder right under it is found too, whatever its name. Never opens a file, and never looks into
``trash`` or into folders whose name begins with a dot.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from drivebay._core.runs import fileformat

_log = logging.getLogger("drivebay.runs")

# Without 0, 1, i, l and o, which people confuse; in ASCII order, so that ids sort as times do.
DIGITS: Final = "23456789abcdefghjkmnpqrstuvwxyz"
ID: Final = re.compile(rf"\d{{8}}-\d{{6}}-[{DIGITS}]{{4}}")
TRASH: Final = "trash"
CATALOGUE: Final = f"catalogue{fileformat.SUFFIX}"

SETTLED_NS: Final = 2_000_000_000
"""How old a time stamp must be to be believed. A file system gives two changes within one tick of
its clock the same stamp; the coarsest tick there is, FAT's, is two seconds."""

_LEFT_OVERS: Final = (
    fileformat.LOCK_SUFFIX,
    f"{fileformat.SUFFIX}-wal",
    f"{fileformat.SUFFIX}-journal",
)


Stamp: TypeAlias = tuple[int, int, int]
"""What changes when a file or a folder does: nanoseconds of its last writing and of its last
change, which nobody but the system sets, and its length. A plain tuple: thousands are compared."""

NOTHING: Final[Stamp] = (0, 0, -1)
"""A stamp that no file has."""


@dataclass(slots=True)
class Shelf:
    """What lies in one folder.

    Attributes:
        files: run files by name, with their stamps.
        unfinished: stems of files that have a lock or a log beside them.
        folders: names of the folders in it that may hold runs.
    """

    files: dict[str, Stamp] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)


def month_of(run_id: str) -> str:
    """Return the folder of a new run.

    >>> month_of("20261122-231502-k3f9")
    '2026-11'
    """
    return f"{run_id[:4]}-{run_id[4:6]}"


def places_of(folder: Path, run_id: str) -> Iterator[Path]:
    """Where a run of this id would lie if nobody had moved it: its month, or as of old."""
    name = f"{run_id}{fileformat.SUFFIX}"
    yield folder / month_of(run_id) / name
    yield folder / name


def look(folder: Path) -> Shelf:
    """List one folder.

    Raises:
        OSError: it cannot be listed.
    """
    found = Shelf()
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not _is_text(name):
                _log.warning("%r in %s is left out: its name is not text", name, folder)
            elif name.endswith(fileformat.SUFFIX):
                _note_file(found, entry)
            elif name.endswith(_LEFT_OVERS):
                found.unfinished.add(stem(name))
            elif "." not in name[:1] and name != TRASH and _is_folder(entry):
                found.folders.add(name)
    found.files.pop(CATALOGUE, None)
    return found


def _is_text(name: str) -> bool:
    """Whether a name is more than bytes that the system could not read."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _note_file(found: Shelf, entry: os.DirEntry[str]) -> None:
    try:
        status = entry.stat()
    except OSError:  # removed since, or a link that leads nowhere
        return
    found.files[entry.name] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size)


def is_settled(stamp: Stamp, now_ns: int) -> bool:
    """Whether a later change would show in a stamp."""
    return abs(now_ns - stamp[1]) >= SETTLED_NS


def stem(name: str) -> str:
    """A file's name without what run files and their companions end in.

    >>> stem("20261122-231502-k3f9.sqlite-wal")
    '20261122-231502-k3f9'
    """
    for ending in (*_LEFT_OVERS, fileformat.SUFFIX):
        if name.endswith(ending):
            return name[: -len(ending)]
    return name


def is_unfinished(path: Path) -> bool:
    """Whether a lock or a log lies beside a run file."""
    return any(path.with_name(f"{stem(path.name)}{ending}").exists() for ending in _LEFT_OVERS)


def stamp_of(path: Path) -> Stamp | None:
    """Return a file's or folder's stamp; None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size


def now_ns() -> int:
    """The clock that stamps are compared with."""
    return time.time_ns()


def parents_of_new(folder: Path) -> set[Path]:
    """Return the folders that will hold a new one when ``folder`` is made."""
    parents = set()
    while not folder.exists():
        folder = folder.parent
        parents.add(folder)
    return parents


def sync_folder(folder: Path) -> None:
    """Have what lies in a folder on the disk.

    A new folder is there for certain only when the one that holds it was synced: without that a
    power cut may take it, with every run in it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
