"""An index over all runs of a folder: a hundred thousand are searched while somebody waits.

Promises: it is never the truth. What it says of a file is believed only while the file and its
folder bear the stamps under which it was read; whatever bears another is read again, before an
answer is given. Deleted, damaged, older, locked or not writable, it is made anew, in memory if need
be, and the answer is the same. The writers of runs know nothing of it, so they never wait for it.

Two limits. A change that leaves a file's length and both its times as they were is not seen: no
program does that by accident; a failing disk may, and ``verify`` of a run, or a rebuilding, finds
it. And a run overwritten in place, in a folder that does not change with it, is seen when it is
about to be shown and not when it would newly meet a criterion. SQLite changes no file like that,
nor does saving a file, copying a new one or moving one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from drivebay._core.runs import facts, fileformat, mounts, shelf
from drivebay._core.runs.facts import Facts
from drivebay._core.runs.query import Query

_T = TypeVar("_T")
_log = logging.getLogger("drivebay.runs")

APPLICATION_ID: Final = 0x44425243  # "DBRC"
VERSION: Final = 1  # any other is made anew
_WAIT_MS: Final = (
    250  # for another process that is writing to the index; then this one does without
)
_BATCH: Final = 500  # files read between two commits, so that a long catching-up is not lost
_MOST_ROUNDS: Final = 5  # of looking again because files changed meanwhile

_COLUMNS: Final = ", ".join(Facts._fields)
_SCHEMA: Final = f"""
CREATE TABLE folders (folder TEXT PRIMARY KEY, modified_ns INTEGER, changed_ns INTEGER,
    size INTEGER, files INTEGER) WITHOUT ROWID;
CREATE TABLE runs ({_COLUMNS.replace("order,", '"order",')}, crc32 INTEGER,
    PRIMARY KEY ("order", folder, name)) WITHOUT ROWID;
CREATE UNIQUE INDEX places ON runs (folder, name);
CREATE INDEX ids ON runs (id);
CREATE INDEX unsettled ON runs (folder, name) WHERE NOT settled;
CREATE TABLE texts ("order" TEXT, folder TEXT, name TEXT, text TEXT,
    PRIMARY KEY ("order", folder, name)) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
_SELECT: Final = "SELECT " + ", ".join(f'runs."{field}"' for field in Facts._fields)
_INSERT: Final = f"INSERT INTO runs VALUES ({', '.join('?' * len(Facts._fields))}, ?)"
_HERE: Final = "folder = ? AND name = ?"
_NEWEST_FIRST: Final = 'ORDER BY runs."order" DESC, runs.folder DESC, runs.name DESC'

# What a file that another program wrote over, or a page torn by a power cut, looks like.
_DAMAGE: Final = (sqlite3.DatabaseError, ValueError, TypeError)
# Errors of a sound file: they say that it cannot be used now.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOLFS,
    }
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuilding found.

    Attributes:
        runs: run files that can be read.
        damaged: files that cannot.
        kept: whether the catalogue could be written; false in a folder that cannot.
    """

    runs: int
    damaged: int
    kept: bool


class Catalogue:
    """The index of one folder, opened for each question and closed again.

    Args:
        folder: where the runs lie; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / shelf.CATALOGUE
        self._seal_path = self.path.with_suffix(".seal")

    def find(self, wanted: Query, limit: int | None = None) -> list[Facts]:
        """Return what is known of the runs that meet all criteria, newest first.

        Args:
            wanted: the criteria.
            limit: at most so many; None for all.

        Raises:
            OSError: the folder cannot be listed.
        """
        return self._answered(lambda index: index.shown(_sql(wanted), limit))

    def named(self, name: str, limit: int) -> list[Facts]:
        """Return runs whose id or file has this name, or else begins or ends like it.

        Args:
            name: an id, the beginning of one, or its last part.
            limit: at most so many.

        Raises:
            OSError: the folder cannot be listed.
        """
        exact = ("runs.id = ?", [name])
        # The index of ids holds the places too: it is read through in half the time of the table.
        similar = (
            '(runs."order", runs.folder, runs.name) IN (SELECT "order", folder, name'
            " FROM runs INDEXED BY ids WHERE (id >= ? AND id < ?) OR id LIKE ? ESCAPE '\\'"
            " OR name = ?)",
            [name, f"{name}\U0010ffff", f"%-{_escaped(name)}", f"{name}{fileformat.SUFFIX}"],
        )

        def ask(index: _Index) -> list[Facts]:
            if found := index.shown(exact, limit):
                return found
            found = index.shown(similar, limit) if name else []
            return [each for each in found if shelf.stem(each.name) == name] or found

        return self._answered(ask)

    def ids(self) -> list[str]:
        """Return the ids of all runs, newest first.

        Raises:
            OSError: the folder cannot be listed.
        """
        return self._answered(lambda index: index.ids())

    def rebuild(self) -> Rebuilt:
        """Read every file again and put what they say in the place of the catalogue.

        Raises:
            OSError: the folder cannot be listed.
        """
        with _memory() as database:
            fresh = _Index(self.folder, database)
            fresh.refresh()
            runs, damaged = fresh.counts()
            kept = self._keep(fresh)
        return Rebuilt(runs, damaged, kept)

    def _answered(self, ask: Callable[[_Index], _T]) -> _T:
        """Ask the catalogue, a new one if that is damaged, one in memory if there can be none."""
        for _attempt in range(2 if self._may_be_kept() else 0):
            try:
                with self._database() as database:
                    index = _Index(self.folder, database)
                    if not self._is_sealed():
                        index.check()
                    try:
                        index.refresh()
                        return ask(index)
                    finally:
                        if index.changed:
                            self._seal()
            except _DAMAGE as exc:
                if _is_passing(exc):
                    break
                self._empty()
        with _memory() as database:
            index = _Index(self.folder, database)
            with contextlib.suppress(*_DAMAGE), self._readable() as old:
                left = _Index(self.folder, old)
                if not self._is_sealed():
                    left.check()
                index.become(left)
            index.refresh()
            return ask(index)

    def _may_be_kept(self) -> bool:
        """Whether there is a folder in which a database can be relied on."""
        return self.folder.is_dir() and not mounts.on_network(self.folder)

    def _keep(self, fresh: _Index) -> bool:
        for _attempt in range(2 if self._may_be_kept() else 0):
            try:
                with self._database() as database:
                    _Index(self.folder, database).become(fresh)
                    self._seal()
                    return True
            except _DAMAGE as exc:
                if _is_passing(exc):
                    return False
                self._empty()
        return False

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = _connect(f"{self.path.absolute().as_uri()}?mode=rwc")
        try:
            _make_ready(database)
            yield database
        finally:
            database.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[sqlite3.Connection]:
        """The catalogue as somebody else left it, in a folder one may not write to."""
        database = _connect(f"{self.path.absolute().as_uri()}?mode=ro")
        try:
            _require_ours(database)
            yield database
        finally:
            database.close()

    def _is_sealed(self) -> bool:
        """Whether nobody but a catalogue has changed the file, so that it need not be checked."""
        try:
            return self._seal_path.read_text(encoding="ascii") == str(shelf.stamp_of(self.path))
        except (OSError, ValueError):
            return False

    def _seal(self) -> None:
        """Note that the file is as a catalogue left it; a program killed before costs a check."""
        with contextlib.suppress(OSError):
            self._seal_path.write_text(str(shelf.stamp_of(self.path)), encoding="ascii")

    def _empty(self) -> None:
        """Make a damaged catalogue an empty database.

        The same file, not another of its name: two programs with one file each would take each
        other's journal for their own. And through its name: closing a descriptor of it would drop
        the locks that other threads of this process hold on it.
        """
        with contextlib.suppress(OSError):
            os.truncate(self.path, 0)


def _is_passing(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _PASSING


def _connect(uri: str) -> sqlite3.Connection:
    database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_WAIT_MS / 1000)
    try:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def _memory() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(_connect("file::memory:")) as database:
        _make_ready(database)
        yield database


def _make_ready(database: sqlite3.Connection) -> None:
    """Give a database the tables, unless it has them.

    Raises:
        sqlite3.DatabaseError: it is something else, or of another version.
    """
    # The journal stays where it is, empty: making and removing it would change the folder, and so
    # would a write-ahead log. In a catalogue that cannot be written the mode does not matter.
    with contextlib.suppress(sqlite3.OperationalError):
        database.execute("PRAGMA journal_mode = TRUNCATE")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA cache_spill = OFF")  # others can read until the very commit
    database.execute("BEGIN IMMEDIATE" if _is_empty(database) else "BEGIN")
    try:
        if _is_empty(database):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
        _require_ours(database)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _is_empty(database: sqlite3.Connection) -> bool:
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0)


def _require_ours(database: sqlite3.Connection) -> None:
    """Raise DatabaseError for another database, or a catalogue of another version."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if (application, version) != (APPLICATION_ID, VERSION):
        raise sqlite3.DatabaseError(f"catalogue {application:#x} of version {version}")


class _Index:
    """One opened index: what it says, and how it is brought up to date."""

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self._folder = folder
        self._database = database
        self.changed = False
        self._read_places: set[tuple[str, str]] = set()  # in the refreshing under way

    # -- asking --------------------------------------------------------------------------------

    def shown(self, where: tuple[str, list[Any]], limit: int | None) -> list[Facts]:
        """Return the facts a condition selects, after those whose file changed were read again."""
        found: list[Facts] = []
        for _round in range(_MOST_ROUNDS):
            found = self._select(where, limit)
            stale = [each for each in found if self._stamp(each) != _stamp(each)]
            if not stale:
                break
            self._read_again([(each.folder, each.name) for each in stale])
        return found

    def ids(self) -> list[str]:
        """Return all ids, newest first."""
        rows = self._database.execute(
            f"SELECT id FROM runs WHERE state <> ? {_NEWEST_FIRST}", (facts.FOREIGN,)
        )
        return [row[0] for row in rows]

    def counts(self) -> tuple[int, int]:
        """Return how many runs there are that can be read, and that cannot."""
        row = self._database.execute(
            "SELECT count(*), coalesce(sum(state = 'damaged'), 0) FROM runs WHERE state <> ?",
            (facts.FOREIGN,),
        ).fetchone()
        return row[0] - row[1], row[1]

    def _select(self, where: tuple[str, list[Any]], limit: int | None) -> list[Facts]:
        condition, values = where
        # Texts lie in a table of their own, in the same order: other searches need not read them,
        # and a search of them is one pass that ends with the last run wanted.
        origin = "runs"
        if "texts." in condition:
            origin = 'texts CROSS JOIN runs USING ("order", folder, name)'
        order = _NEWEST_FIRST.replace("runs.", "texts.") if origin != "runs" else _NEWEST_FIRST
        rows = self._database.execute(
            f"{_SELECT} FROM {origin} WHERE runs.state <> ? AND ({condition}) {order} LIMIT ?",
            [facts.FOREIGN, *values, -1 if limit is None else limit],
        )
        return [Facts(*row) for row in rows]

    # -- being up to date ----------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring the index up to what the folders hold now.

        Raises:
            OSError: the folder cannot be listed.
        """
        now_ns = shelf.now_ns()
        self._read_places.clear()
        self._count_again()
        known = self._folders()
        names = set(known) - {""}
        stamp = shelf.stamp_of(self._folder)
        if stamp is None:  # no runs yet, or none any more
            self._forget_folders({"", *names})
            return
        if known.get("") != stamp:
            there = shelf.look(self._folder)
            self._fold("", there, stamp, now_ns)
            self._forget_folders(names - there.folders)
            names = there.folders
        for name in sorted(names):
            self._refresh_folder(name, known.get(name), now_ns)
        unsettled = self._database.execute("SELECT folder, name FROM runs WHERE NOT settled")
        self._read_again(set(unsettled.fetchall()) - self._read_places)

    def _refresh_folder(self, name: str, known: shelf.Stamp | None, now_ns: int) -> None:
        stamp = shelf.stamp_of(self._folder / name)
        if stamp == known and known is not None:
            return
        try:
            there = shelf.look(self._folder / name)
        except OSError as exc:  # moved away meanwhile, or not ours to read: the others are
            if not isinstance(exc, FileNotFoundError):
                _log.warning("runs in %s are left out: %s", self._folder / name, exc)
            self._forget_folders({name})
            return
        self._fold(name, there, stamp or shelf.NOTHING, now_ns)

    def check(self) -> None:
        """Look whether everything is as it was written.

        Raises:
            sqlite3.DatabaseError: something is not.
        """
        problems = self._database.execute("PRAGMA integrity_check(1)").fetchall()
        rows = self._database.execute(
            f'{_SELECT}, text, crc32 FROM runs LEFT JOIN texts USING ("order", folder, name)'
        )
        wrong = sum(fileformat.text_crc32(*row) != crc for *row, crc in rows)
        if problems != [("ok",)] or wrong:
            raise sqlite3.DatabaseError(f"{wrong} rows of the catalogue are damaged")
        self._forget_stamps()

    def become(self, other: _Index) -> None:
        """Take everything from another index, in one step."""
        tables = {
            table: other._database.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("folders", "runs", "texts")
        }
        with self._step():
            for table, rows in tables.items():
                self._database.execute(f"DELETE FROM {table}")
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    self._database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def _count_again(self) -> None:
        """Look at every folder anew if rows were lost: a damage that SQLite does not see."""
        (rows,) = self._database.execute("SELECT count(*) FROM runs").fetchone()
        (files,) = self._database.execute("SELECT coalesce(sum(files), 0) FROM folders").fetchone()
        if rows != files:
            self._forget_stamps()

    def _forget_stamps(self) -> None:
        """Have every folder looked at again; the runs known in it stay."""
        if self._folders():
            with self._step():
                self._database.execute("DELETE FROM folders")

    def _folders(self) -> dict[str, shelf.Stamp]:
        rows = self._database.execute("SELECT folder, modified_ns, changed_ns, size FROM folders")
        return {row[0]: row[1:] for row in rows}

    def _forget_folders(self, gone: set[str]) -> None:
        if not gone:
            return
        with self._step():
            for name in gone:
                for table in ("texts", "runs", "folders"):
                    self._database.execute(f"DELETE FROM {table} WHERE folder = ?", (name,))

    def _fold(self, folder: str, there: shelf.Shelf, stamp: shelf.Stamp, now_ns: int) -> None:
        """Bring one folder up to date; its own stamp is noted last, when all of it is in."""
        rows = self._database.execute(
            "SELECT name, modified_ns, changed_ns, size FROM runs WHERE folder = ?", (folder,)
        )
        known = {row[0]: row[1:] for row in rows}
        live = {f"{name}{fileformat.SUFFIX}" for name in there.unfinished} & there.files.keys()
        changed = [name for name, of in there.files.items() if known.get(name) != of]
        gone = [(folder, name) for name in known.keys() - there.files.keys()]
        noted = stamp if shelf.is_settled(stamp, now_ns) else shelf.NOTHING

        def note_folder() -> None:
            self._remove(gone)
            self._recount({folder})
            self._database.execute(
                "UPDATE folders SET modified_ns = ?, changed_ns = ?, size = ? WHERE folder = ?",
                (*noted, folder),
            )

        as_before = not gone and self._folders().get(folder) == noted
        self._read_again(
            {(folder, name) for name in (*changed, *live)}, None if as_before else note_folder
        )

    def _read_again(
        self, given: Iterable[tuple[str, str]], last: Callable[[], None] | None = None
    ) -> None:
        """Read files and note what is new about them; nothing new costs no sync.

        Args:
            given: their places.
            last: what else to write, in the step of the last of them.
        """
        places = sorted(given)
        self._read_places.update(places)
        for first in range(0, max(1, len(places)), _BATCH):
            changes = list(filter(None, map(self._change, places[first : first + _BATCH])))
            is_last = first + _BATCH >= len(places)
            if not changes and not (is_last and last):
                continue
            with self._step():
                self._write(changes)
                if is_last and last:
                    last()

    def _write(self, changes: Sequence[tuple[tuple[str, str], tuple[Facts, str] | None]]) -> None:
        now = [each for _, each in changes if each is not None]
        removed = self._remove([place for place, _ in changes])
        self._database.executemany(
            _INSERT, [(*each, fileformat.text_crc32(*each, text)) for each, text in now]
        )
        self._database.executemany(
            "INSERT INTO texts VALUES (?, ?, ?, ?)",
            [(each.order, each.folder, each.name, text) for each, text in now],
        )
        if removed != len(now):
            self._recount({folder for (folder, _), _ in changes})

    def _change(
        self, place: tuple[str, str]
    ) -> tuple[tuple[str, str], tuple[Facts, str] | None] | None:
        """Read one file; return it with its facts (None when it is gone), if that is news."""
        before = self._database.execute(
            f'{_SELECT}, texts.text FROM runs JOIN texts USING ("order", folder, name)'
            f" WHERE runs.folder = ? AND runs.name = ?",
            place,
        ).fetchone()
        now = self._read(place)
        if now is None:
            return None if before is None else (place, None)
        return None if before == (*now[0], now[1]) else (place, now)

    def _read(self, place: tuple[str, str]) -> tuple[Facts, str] | None:
        now_ns = shelf.now_ns()
        stamp = shelf.stamp_of(self._folder.joinpath(*place))
        if stamp is None:
            return None
        return facts.read(self._folder, place, stamp, believed=shelf.is_settled(stamp, now_ns))

    def _remove(self, places: Sequence[tuple[str, str]]) -> int:
        # The texts first: only the runs' table finds a place without its order.
        self._database.executemany(
            'DELETE FROM texts WHERE ("order", folder, name) IN'
            f' (SELECT "order", folder, name FROM runs WHERE {_HERE})',
            places,
        )
        return self._database.executemany(f"DELETE FROM runs WHERE {_HERE}", places).rowcount

    def _recount(self, folders: set[str]) -> None:
        """Note how many files of a folder are in, so that lost ones are missed."""
        self._database.executemany(
            "INSERT INTO folders SELECT ?1, 0, 0, -1, count(*) FROM runs WHERE folder = ?1"
            " ON CONFLICT (folder) DO UPDATE SET files = excluded.files",
            [(folder,) for folder in folders],
        )

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """One transaction of the index."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
            self.changed = True
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _stamp(self, found: Facts) -> shelf.Stamp | None:
        if not found.settled:  # read a moment ago
            return _stamp(found)
        return shelf.stamp_of(self._folder / found.folder / found.name)


def _stamp(found: Facts) -> shelf.Stamp:
    return found.modified_ns, found.changed_ns, found.size


def _sql(wanted: Query) -> tuple[str, list[Any]]:
    """Return the condition and its values."""
    conditions, values = ["1"], list[Any]()
    for name, value in wanted.equal:
        conditions.append(f'runs."{name}" = ? COLLATE NOCASE')
        values.append(value)
    for tag in wanted.tags:
        conditions.append("instr(runs.tags, ?)")
        values.append(f"\n{tag}\n")
    for operator, value in ((">=", wanted.since), ("<", wanted.until)):
        if value:
            conditions.append(f"runs.started_at {operator} ?")
            values.append(value)
    for word in wanted.words:
        conditions.append("texts.text LIKE ? ESCAPE '\\'")
        values.append(f"%{_escaped(word)}%")
    return " AND ".join(conditions), values


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
