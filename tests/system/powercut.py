"""A disk that loses power: records what SQLite and the store ask of it, and makes disk images.

Promises: the code under test is the real one, its statements run in a real SQLite (apsw's, because
only there a file system can be given from Python); every write, truncation, sync, creation, rename
and removal below one folder is noted in order. An image is what a disk may hold after a cut: all
that was synced, and of the rest any part: each write is kept, dropped or torn at 512 B sectors,
each folder shows a beginning of what happened in it since it was last synced.

Never emulates a disk that lies about a sync: software can do nothing about that.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

SECTOR_BYTES = 512  # the smallest unit that a disk writes whole
KEPT = 0.45
TORN = 0.2  # the rest is dropped

_BORN_SYNCED = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
_names = itertools.count()

Fault = Callable[[str, str], int]


@dataclass(frozen=True, slots=True)
class Op:
    """One thing asked of the disk.

    Attributes:
        kind: ``create``, ``mkdir``, ``rename``, ``unlink``, ``syncdir`` of a name; ``write``,
            ``truncate``, ``sync`` of a file.
        name: path below the recorded folder.
        file: which file, whatever its name is by now.
        at: offset of a write, new length of a truncation.
        data: what was written.
        to: new name.
    """

    kind: str
    name: str = ""
    file: int = -1
    at: int = 0
    data: bytes = b""
    to: str = ""


class Disk:
    """What was asked of the disk below one folder.

    Attributes:
        root: the folder.
        log: everything, in order.
        fault: asked before each write, truncation and sync, with its kind and the file's name; an
            error number that it returns (0 is none) is what the disk answers.
        before: called with each statement before it is run.
        adopted: how many of the operations only say what was there before.
        weakened: whether each commit is left unsynced, as ``synchronous=NORMAL`` does.
    """

    def __init__(self, root: Path, *, weakened: bool = False) -> None:
        self.root = root.resolve()
        self.log: list[Op] = []
        self.fault: Fault = lambda kind, name: 0
        self.before: Callable[[str], None] = lambda statement: None
        self.weakened = weakened
        self.adopted = 0
        self._files: dict[str, int] = {}  # which file has a name now
        self._numbers = itertools.count()
        self._guard = threading.RLock()
        self._vfs = _Recording(self, f"powercut-{next(_names)}")

    def adopt(self) -> None:
        """Take what lies in the folder as being on the disk for certain."""
        for path in sorted(self.root.rglob("*")):
            name = os.path.relpath(path, self.root)
            if path.is_dir():
                self.log.append(Op("mkdir", name))
            else:
                file = self._seen(name)
                self.log.append(Op("sync", name, file))
            self.log.append(Op("syncdir", os.path.dirname(name) or "."))
        self.adopted = len(self.log)

    # -- noting --------------------------------------------------------------------------------

    def inside(self, path: object) -> str | None:
        """The name below the recorded folder, None for what lies elsewhere."""
        full = os.path.abspath(os.fspath(path))  # type: ignore[call-overload]
        if full != str(self.root) and not full.startswith(f"{self.root}/"):
            return None
        return os.path.relpath(full, self.root)

    def opened(self, name: str) -> int:
        """The number of a file; one that is new to us was just created."""
        with self._guard:
            if name not in self._files:
                self._files[name] = next(self._numbers)
                self.log.append(Op("create", name, self._files[name]))
            return self._files[name]

    def note(self, op: Op) -> None:
        with self._guard:
            self.log.append(op)

    def unlinked(self, name: str) -> None:
        with self._guard:
            if self._files.pop(name, None) is not None:
                self.log.append(Op("unlink", name))

    def renamed(self, name: str, to: str) -> None:
        with self._guard:
            file = self._seen(name)
            self._files[to] = file
            del self._files[name]
            self.log.append(Op("rename", name, file, to=to))

    def synced(self, descriptor: int) -> None:
        """A program, not SQLite, syncs what it has written."""
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        name = self.inside(path)
        if name is None:
            return
        with self._guard:
            if os.path.isdir(path):
                self.log.append(Op("syncdir", name))
            else:
                self.log.append(Op("sync", name, self._seen(name)))

    def _seen(self, name: str) -> int:
        """A file that was written past SQLite: what is in it now was written, and not synced."""
        new = name not in self._files
        file = self.opened(name)
        if new:
            self.log.append(Op("write", name, file, 0, (self.root / name).read_bytes()))
        return file

    # -- recording -----------------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[Disk]:
        """Note everything that happens below the folder while inside."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", self._connect_instead_of(sqlite3.connect))
            patch.setattr(os, "fsync", self._fsync_instead_of(os.fsync))
            for name in ("rename", "replace"):
                patch.setattr(os, name, self._rename_instead_of(getattr(os, name)))
            for name in ("unlink", "remove"):
                patch.setattr(os, name, self._unlink_instead_of(getattr(os, name)))
            patch.setattr(os, "mkdir", self._mkdir_instead_of(os.mkdir))
            yield self

    def _connect_instead_of(self, real: Any) -> Any:
        def connect(database: Any, *args: Any, timeout: float = 5.0, **given: Any) -> Any:
            text = os.fspath(database)
            path = text.removeprefix("file://").partition("?")[0]
            if text == ":memory:" or self.inside(path) is None:
                return real(database, *args, timeout=timeout, **given)
            return _Connection(self, text, self._vfs.name, timeout)

        return connect

    def _fsync_instead_of(self, real: Any) -> Any:
        def fsync(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            path = os.readlink(f"/proc/self/fd/{number}")
            if (name := self.inside(path)) and (error := self.fault("sync", name)):
                raise OSError(error, os.strerror(error))
            real(number)
            self.synced(number)

        return fsync

    def _rename_instead_of(self, real: Any) -> Any:
        def rename(source: Any, target: Any, **given: Any) -> None:
            name, to = self.inside(source), self.inside(target)
            if name is not None and to is not None:
                self.renamed(name, to)
            real(source, target, **given)

        return rename

    def _unlink_instead_of(self, real: Any) -> Any:
        def unlink(path: Any, **given: Any) -> None:
            real(path, **given)
            if (name := self.inside(path)) is not None:
                self.unlinked(name)

        return unlink

    def _mkdir_instead_of(self, real: Any) -> Any:
        def mkdir(path: Any, *args: Any, **given: Any) -> None:
            real(path, *args, **given)
            if (name := self.inside(path)) is not None:
                self.note(Op("mkdir", name))

        return mkdir


class _Recording(apsw.VFS):
    """SQLite's own way to the disk, and a note of everything that goes it."""

    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__(name, "unix")
        self.name = name
        self._disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        name = self._disk.inside(filename)
        if name is not None:
            self._disk.unlinked(name)
            if syncdir:
                self._disk.note(Op("syncdir", os.path.dirname(name) or "."))


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        asked = flags[0]
        super().__init__("unix", name, flags)
        self._disk = disk
        found = disk.inside(path) if path else None
        self._name = found or ""
        self._file = disk.opened(found) if found is not None else -1
        # As os_unix.c does it: the folder of a new log or journal is synced with its first sync.
        self._folder_too = bool(asked & apsw.SQLITE_OPEN_CREATE and asked & _BORN_SYNCED)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._ask("write")
        super().xWrite(data, offset)
        self._note(Op("write", self._name, self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._ask("truncate")
        super().xTruncate(newsize)
        self._note(Op("truncate", self._name, self._file, newsize))

    def xSync(self, flags: int) -> None:
        self._ask("sync")
        super().xSync(flags)
        self._note(Op("sync", self._name, self._file))
        if self._folder_too:
            self._folder_too = False
            self._note(Op("syncdir", os.path.dirname(self._name) or "."))

    def _ask(self, kind: str) -> None:
        if self._file >= 0 and (error := self._disk.fault(kind, self._name)):
            # As os_unix.c tells them apart.
            kind_of = apsw.FullError if error == errno.ENOSPC else apsw.IOError
            raise kind_of(os.strerror(error))

    def _note(self, op: Op) -> None:
        if self._file >= 0:
            self._disk.note(op)


class _Cursor:
    """The rows of a statement that has run to its end."""

    def __init__(self, rows: list[Any], rowcount: int = -1) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class _Connection:
    """As much of ``sqlite3.Connection`` as the store uses, on apsw."""

    def __init__(self, disk: Disk, database: str, vfs: str, timeout: float) -> None:
        self._disk = disk
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        with _sqlite3_errors():
            self._real = apsw.Connection(database, flags=flags, vfs=vfs)
            self._real.set_busy_timeout(int(timeout * 1000))

    @property
    def in_transaction(self) -> bool:
        return bool(self._real.in_transaction)

    def execute(self, statement: str, values: Any = ()) -> _Cursor:
        self._disk.before(statement)
        if self._disk.weakened:
            statement = re.sub(r"synchronous = (FULL|EXTRA)", "synchronous = NORMAL", statement)
        with _sqlite3_errors():
            return _Cursor(list(self._real.execute(statement, values)))

    def executemany(self, statement: str, rows: Any) -> _Cursor:
        before = self._real.total_changes()
        with _sqlite3_errors():
            found = list(self._real.executemany(statement, list(rows)))
        return _Cursor(found, self._real.total_changes() - before)

    def close(self) -> None:
        # SQLite closes whatever the disk says meanwhile, and Python's module does not tell of it.
        with suppress(apsw.Error):
            self._real.close()


_CODES = {apsw.FullError: apsw.SQLITE_FULL, apsw.IOError: apsw.SQLITE_IOERR}
"""Of errors that were raised here."""


@contextmanager
def _sqlite3_errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as exc:
        kind = sqlite3.DatabaseError
        if isinstance(exc, apsw.BusyError | apsw.IOError | apsw.FullError | apsw.CantOpenError):
            kind = sqlite3.OperationalError
        error = kind(str(exc))
        code = getattr(exc, "extendedresult", 0) or _CODES.get(type(exc), 0)
        error.sqlite_errorcode = code
        raise error from exc


# -- what a cut leaves -----------------------------------------------------------------------------


@dataclass
class _State:
    """The disk at a cut: what is certain, and what may or may not have got there."""

    names: dict[str, int] = field(default_factory=dict)  # -1 is a folder
    contents: dict[int, bytearray] = field(default_factory=dict)
    writes: dict[int, list[Op]] = field(default_factory=dict)
    entries: dict[str, list[Op]] = field(default_factory=dict)  # by folder

    def take(self, op: Op) -> None:
        if op.kind in {"write", "truncate"}:
            self.writes.setdefault(op.file, []).append(op)
        elif op.kind == "sync":
            for one in self.writes.pop(op.file, []):
                self.apply(one)
        elif op.kind == "syncdir":
            for one in self.entries.pop(op.name, []):
                self.enter(one)
        else:
            self.entries.setdefault(os.path.dirname(op.name) or ".", []).append(op)

    def apply(self, op: Op) -> None:
        content = self.contents.setdefault(op.file, bytearray())
        end = op.at + len(op.data)
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if op.kind == "truncate":
            del content[op.at :]
        else:
            content[op.at : end] = op.data

    def enter(self, op: Op) -> None:
        if op.kind == "unlink":
            self.names.pop(op.name, None)
        elif op.kind == "rename":
            self.names.pop(op.name, None)
            self.names[op.to] = op.file
        else:
            self.names[op.name] = op.file


def _torn(op: Op, dice: random.Random) -> Iterator[Op]:
    """Some of the sectors of a write."""
    at, end = op.at, op.at + len(op.data)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if dice.random() < 0.5:
            yield Op("write", op.name, op.file, at, op.data[at - op.at : until - op.at])
        at = until


def image(log: list[Op], cut: int, dice: random.Random, folder: Path) -> None:
    """Make what a disk may hold if the power goes after ``cut`` of the operations."""
    state = _State()
    for op in log[:cut]:
        state.take(op)
    _some_of(state, dice)
    folder.mkdir()
    for name in sorted(state.names):
        path, file = folder / name, state.names[name]
        if not path.parent.is_dir():
            continue  # its folder is lost, and all that is in it
        if file < 0:
            path.mkdir()
        else:
            path.write_bytes(state.contents.get(file, b""))


def _some_of(state: _State, dice: random.Random) -> None:
    """Let any part of what was not synced have got to the disk."""
    for op in itertools.chain.from_iterable(state.writes.values()):
        luck = dice.random()
        if luck < KEPT:
            state.apply(op)
        elif luck < KEPT + TORN and op.kind == "write":
            for part in _torn(op, dice):
                state.apply(part)
    for ops in state.entries.values():
        for op in ops[: dice.randint(0, len(ops))]:
            state.enter(op)
