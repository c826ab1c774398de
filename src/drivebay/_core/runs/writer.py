"""Writing a run: every step is on the disk when it returns, and the run ends exactly once."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drivebay._core.errors import AbortedError, DrivebayError, RunError
from drivebay._core.runs import environment, fileformat, holder, plain
from drivebay._core.runs.points import Points
from drivebay._core.runs.run import Run
from drivebay._core.runs.sources import Sources, rows_of
from drivebay._core.runs.transcript import Block, block_crc32

ENDINGS = ("done", "aborted", "failed")
_INSERT_CHUNK = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_BLOCK = "INSERT INTO transcript VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_VALUE = "INSERT OR REPLACE INTO results VALUES (?, ?, ?)"
_SEAL_WAIT_S = 2.0  # for readers of the run to finish their look before its two files become one
_SEAL_STEP_S = 0.01


@dataclass(frozen=True, slots=True)
class PreparedChunk:
    """A chunk as it will be stored: rows, bytes, and nanoseconds since the run began."""

    rows: int
    data: bytes
    time_ns: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as it will be stored: nanoseconds since the run began, JSON text."""

    time_ns: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What is stored in one step with chunks: what was said to the instrument, what happened."""

    blocks: Sequence[Block] = ()
    events: Sequence[Event] = ()


NOTHING = Beside()


class ChunkShape:
    """What the chunks of a run look like, known before its file is and shared with its writer.

    Attributes:
        columns: empty until the first chunk has shown them, where none were declared.
        started_ns: when the run began, on the monotonic clock.
    """

    def __init__(self, columns: tuple[fileformat.StoredColumn, ...], started_ns: int) -> None:
        self.columns = columns
        self.started_ns = started_ns
        self._deciding = threading.Lock()  # short: whose chunk is the first

    def prepare(self, chunk: Mapping[str, Any]) -> PreparedChunk:
        """Return a copy of a chunk for :meth:`RunWriter.keep`; never waits for the disk.

        Raises:
            RunError: the columns are not the run's.
        """
        time_ns = self.now_ns()
        with self._deciding:
            columns = self.columns or fileformat.columns_of_chunk(chunk)
            rows, data = fileformat.encode(columns, chunk)
            if rows:
                self.columns = columns
        return PreparedChunk(rows, data, time_ns)

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""
        return time.monotonic_ns() - self.started_ns


class RunDraft:
    """A run whose file is written, but neither synced nor visible: :meth:`open` makes it a run.

    Apart from :class:`RunWriter` so that the syncs can go on while an instrument is prepared, after
    most of what can fail (a read-only folder, a full disk) has not. Made by
    :meth:`RunStore.draft`.
    """

    def __init__(
        self,
        path: Path,
        lock: holder.Holder,
        columns: tuple[fileformat.StoredColumn, ...],
        started_ns: int,
        header: Mapping[str, str],
        sources: Sources | None = None,
    ) -> None:
        self.path = path
        self._lock = lock
        self.shape = ChunkShape(columns, started_ns)
        self._header = header
        self._building = path.with_suffix(".building")
        begin = plain.to_text({"clock": environment.clocks()}, "begin")
        events = [fileformat.event_row(0, 0, "begin", begin)]
        with self._giving_up():
            fileformat.write_draft(self._building, header, rows_of(sources or {}), events)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.stem

    def open(self) -> RunWriter:
        """Sync and publish the file, once; return its writer.

        Raises:
            StoreError: the disk is full or gone; there is no such run then.
        """
        with self._giving_up():
            fileformat.publish_draft(self._building, self.path)
            return RunWriter(self.path, self._lock, self.shape, self._header)

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Leave neither a lock nor half a file behind an error."""
        try:
            with fileformat.store_errors(self.path, "create"):
                yield
        except BaseException:
            with contextlib.suppress(OSError):
                self._building.unlink(missing_ok=True)
            self._lock.release()
            raise


class RunWriter:
    """The one writer of a run. Made by :meth:`RunStore.create`; safe to use from any thread.

    As a context manager it ends the run itself: ``done``, or ``aborted`` for an AbortedError,
    or ``failed`` with the exception as reason, unless :meth:`finish` was called inside.
    """

    def __init__(
        self,
        path: Path,
        lock: holder.Holder,
        shape: ChunkShape,
        header: Mapping[str, str],
    ) -> None:
        self.path = path
        self._lock = lock
        self._header = header
        self._shape = shape
        self._columns_stored = "columns" in header
        self._chunks = 0
        self._rows = 0
        self._events = 1  # the draft holds its beginning
        self._blocks = 0
        self._messages = 0
        self._ended = False
        self._end_stored = False
        self._folded = False
        self._points: Points | None = None
        self._guard = threading.Lock()  # held while the disk works
        with fileformat.store_errors(path, "write"):
            self._database = fileformat.connect_writer(path)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.stem

    @property
    def run(self) -> Run:
        """The run as it is on the disk now; its head was stored by this writer, and is known."""
        return Run(self.path, head=self._header)

    @property
    def rows(self) -> int:
        """Rows stored so far."""
        return self._rows

    @property
    def ended(self) -> bool:
        """Whether :meth:`finish` was called."""
        return self._ended

    def append(self, chunk: Mapping[str, Any]) -> None:
        """Store one chunk; when this returns it survives a killed process and a power cut.

        A run created without columns takes those of its first chunk, with unknown units.

        Args:
            chunk: one array (or a single number) a column, all of one length. Masked floats are
                stored as not-a-number. A chunk without rows is nothing to store.

        Raises:
            RunError: the columns are not the run's, or the run has ended.
            StoreError: the disk is full or gone; what was acknowledged before is still there.
        """
        self._must_be_open()
        self.keep([self._shape.prepare(chunk)])

    def keep(self, prepared: Sequence[PreparedChunk], beside: Beside = NOTHING) -> None:
        """Store chunks, in this order, all or none; as durable as :meth:`append` when it returns.

        Args:
            prepared: the chunks.
            beside: what is stored in the same step.

        Raises:
            RunError: the run has ended.
            StoreError: the disk is full or gone; what was acknowledged before is still there.
        """
        with self._guard:
            self._must_be_open()
            lines = self._chunk_lines(prepared)
            more = bool(beside.blocks or beside.events)
            if self._columns_stored and len(lines) == 1 and not more:
                with fileformat.store_errors(self.path, "append to"):
                    self._database.execute(_INSERT_CHUNK, lines[0])  # a transaction of its own
            elif lines or more:
                with self._step("append to"):
                    self._insert(lines)
                    self._insert_beside(beside)
            self._count(lines)
            if more:
                self._count_beside(beside)

    def points(self, every_s: float = 0.1) -> Points:
        """Return what takes points one at a time and commits them in groups.

        For a program's own loop: ``with writer.points() as points: points.add(0.1, 2e-6)``. A point
        that must be on the disk when the call returns goes to :meth:`append`, as a chunk of one.

        Args:
            every_s: longest time between two commits, 0.001 to 60 s: so much a killed process or a
                power cut may take.

        Raises:
            RunError: the run was created without columns, has ended, or takes points already.
        """
        self._must_be_open()
        if self._points is not None and self._points.open:
            raise RunError(f"run {self.id} takes points already; close those first")
        self._points = Points(self.keep, self._shape, every_s)
        return self._points

    def _chunk_lines(self, prepared: Sequence[PreparedChunk]) -> list[tuple[Any, ...]]:
        number, first = self._chunks, self._rows
        lines = []
        for one in prepared:
            if one.rows:
                place = (number, first, one.rows, one.time_ns)
                lines.append((*place, fileformat.chunk_crc32(*place, one.data), one.data))
                number, first = number + 1, first + one.rows
        return lines

    def _insert(self, lines: list[tuple[Any, ...]]) -> None:
        if lines and not self._columns_stored:  # together with the first chunk, which shows them
            text = fileformat.columns_text(self._shape.columns)
            self._database.execute(
                "INSERT OR REPLACE INTO header VALUES ('columns', ?, ?)",
                (text, fileformat.text_crc32("columns", text)),
            )
        self._database.executemany(_INSERT_CHUNK, lines)

    def _insert_beside(self, beside: Beside) -> None:
        events = (
            fileformat.event_row(number, one.time_ns, one.kind, one.text)
            for number, one in enumerate(beside.events, self._events)
        )
        self._database.executemany(fileformat.INSERT_EVENT, events)
        first = self._messages
        for number, one in enumerate(beside.blocks, self._blocks):
            place = (number, one.phase, first, one.messages)
            self._database.execute(_INSERT_BLOCK, (*place, block_crc32(*place, one.data), one.data))
            first += one.messages

    def _count_beside(self, beside: Beside) -> None:
        """Note what is on the disk now."""
        self._events += len(beside.events)
        self._blocks += len(beside.blocks)
        self._messages += sum(one.messages for one in beside.blocks)

    def _count(self, lines: list[tuple[Any, ...]]) -> None:
        """Note what is on the disk now."""
        if lines:
            number, first, rows, *_ = lines[-1]
            self._chunks, self._rows, self._columns_stored = number + 1, first + rows, True

    def add_values(self, values: Mapping[str, object]) -> None:
        """Store results that are no columns (a resistance, a settings dict); a name again replaces.

        Raises:
            RunError: a value is no data, or the run has ended.
            StoreError: the disk is full or gone.
        """
        lines = _value_lines(values)
        with self._guard:
            self._must_be_open()
            with self._step("append to"):
                self._database.executemany(_INSERT_VALUE, lines)

    def add_event(self, kind: str, data: object = None) -> None:
        """Store that something happened during the run, with its time.

        Raises:
            RunError: ``data`` is no plain data, or the run has ended.
            StoreError: the disk is full or gone.
        """
        text = plain.to_text(data, f"event {kind}")
        event = Event(self._shape.now_ns(), plain.spelt_out(kind), text)
        self.keep((), Beside(events=(event,)))

    def finish(
        self,
        state: str,
        reason: str | None = None,
        values: Mapping[str, object] | None = None,
        prepared: Sequence[PreparedChunk] = (),
        beside: Beside = NOTHING,
    ) -> Run:
        """End the run and leave one single file that can be copied.

        Args, Returns and Raises: as :meth:`end`.
        """
        try:
            run = self.end(state, reason, values, prepared, beside)
        finally:
            is_one_file = self.fold()
        run.is_one_file = is_one_file
        return run

    def end(
        self,
        state: str,
        reason: str | None = None,
        values: Mapping[str, object] | None = None,
        prepared: Sequence[PreparedChunk] = (),
        beside: Beside = NOTHING,
    ) -> Run:
        """End the run; it is all on the disk, in two files until :meth:`fold`, which must follow.

        Args:
            state: ``done``, ``aborted`` or ``failed``.
            reason: why it was not done, for a person.
            values: as :meth:`add_values` takes them, stored in the same step.
            prepared: last chunks, stored in the same step.
            beside: what else is, before the event of the end.

        Raises:
            RunError: it has ended already, ``state`` is none of the three, or a value is no data.
            DrivebayError: a point could not be stored; the run has ended, as failed if it could be.
            StoreError: the end could not be stored; readers will call the run interrupted.
        """
        if state not in ENDINGS:
            raise RunError(
                f"run {self.id} cannot end as {state!r}; it ends as {', '.join(ENDINGS)}"
            )
        value_lines = _value_lines(values or {})
        reason = None if reason is None else plain.spelt_out(reason)
        problem = self._last_points()
        if problem is not None and state == "done":
            state, reason = "failed", plain.spelt_out(f"{type(problem).__name__}: {problem}")
        with self._guard:
            self._must_be_open()
            self._ended = True
            lines = self._chunk_lines(prepared)
            now, time_ns = datetime.now(UTC), self._shape.now_ns()
            last = Event(time_ns, "end", _end_text(state, reason))
            beside = Beside(beside.blocks, (*beside.events, last))
            with self._step("finish"):
                self._insert(lines)
                self._insert_beside(beside)
                self._count(lines)
                self._count_beside(beside)
                self._database.executemany(_INSERT_VALUE, value_lines)
                _put_ending(
                    self._database,
                    (state, reason, fileformat.iso(now), time_ns, self._chunks, self._rows),
                    (self._events, self._blocks, self._messages),
                )
            self._end_stored = True
            self._lock.ending()
        if problem is not None:
            raise problem
        return self.run

    def fold(self) -> bool:
        """Make one file of a run that has ended and give it up; whether it is one now.

        Not where readers held it, or where its end could not be stored. Does nothing to a run that
        has not ended, or a second time.
        """
        with self._guard:
            if not self._ended or self._folded:
                return False
            self._folded = True
            try:
                return self._end_stored and _become_one_file(self._database)
            except sqlite3.Error:  # the disk: nothing is lost, it stays in the log
                return False
            finally:
                self._database.close()
                self._lock.release()

    def _last_points(self) -> DrivebayError | None:
        """Store the points that wait; what went wrong with any of them."""
        try:
            if self._points is not None:
                self._points.close()
        except DrivebayError as exc:
            return exc
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ended:
            return
        if error is None:
            self.finish("done")
        elif isinstance(error, AbortedError | KeyboardInterrupt):
            self.finish("aborted", str(error) or type(error).__name__)
        else:
            self.finish("failed", f"{type(error).__name__}: {error}")

    def _must_be_open(self) -> None:
        if self._ended:
            raise RunError(f"run {self.id} has ended; nothing can be added to it")

    @contextlib.contextmanager
    def _step(self, doing: str) -> Iterator[None]:
        """One transaction: all of it is on the disk, or nothing."""
        with fileformat.store_errors(self.path, doing):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


def check_values(values: Mapping[str, object]) -> None:
    """Raise RunError if one of the values is no data."""
    _value_lines(values)


def _value_lines(values: Mapping[str, object]) -> list[tuple[str, str, int]]:
    texts = [
        (plain.spelt_out(str(name)), plain.to_text(value, f"values/{name}"))
        for name, value in values.items()
    ]
    return [(name, text, fileformat.text_crc32(name, text)) for name, text in texts]


def _end_text(state: str, reason: str | None) -> str:
    end = {"state": state, "reason": reason, "clock": environment.clocks()}
    return plain.to_text(end, "end")


def _put_ending(
    database: sqlite3.Connection, end: tuple[Any, ...], beside: tuple[int, int, int]
) -> None:
    """Say how a run ended, and how much there is of it.

    Args:
        database: the run, of either format.
        end: state, reason, when, nanoseconds since it began, chunks, rows.
        beside: events, blocks and messages.
    """
    row = end if fileformat.format_of(database) == 1 else (*end, *beside)
    marks = ", ".join("?" * (len(row) + 1))
    database.execute(f"INSERT INTO ending VALUES (1, {marks})", (*row, fileformat.text_crc32(*row)))


def _become_one_file(database: sqlite3.Connection) -> bool:
    """Fold the write-ahead log into the file; False when readers would not let go.

    SQLite gives up at once while another connection has the file open, without asking its busy
    handler, so the waiting is done here. A run that stays in two files is complete, and
    :func:`tidy` tries again when a store next meets it.

    Everything is in the file and synced before the mode changes. The change itself is a few bytes
    within the first sector, which no cut can tear, so it takes no journal on the disk and no sync:
    where it is lost, the run is found in its old mode, whole, and tidied.
    """
    deadline = time.monotonic() + _SEAL_WAIT_S
    database.execute("PRAGMA busy_timeout = 0")
    pause = threading.Event()
    try:
        while not _leave_log(database):
            if time.monotonic() >= deadline:
                return False
            pause.wait(_SEAL_STEP_S)
    except sqlite3.OperationalError:  # no room, or the disk fails: nothing is lost, it stays
        return False
    return True


def _leave_log(database: sqlite3.Connection) -> bool:
    """Fold the log in and do without it; False while others look at the run."""
    try:
        # Alone from here on: a mark that came between the two steps below would be in no sync.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN IMMEDIATE")
        database.execute("COMMIT")
        database.execute("PRAGMA synchronous = FULL")
        busy, frames, folded = database.execute("PRAGMA wal_checkpoint").fetchone()
        if not busy and frames == folded:
            database.execute("PRAGMA synchronous = OFF")
        return _change_mode(database)
    except sqlite3.OperationalError as exc:
        if not _is_locked(exc):
            raise
    return _leave_log_beside_others(database)


def _leave_log_beside_others(database: sqlite3.Connection) -> bool:
    """Try the mode with all its syncs: unlike BEGIN, it lets others in again where it fails."""
    try:
        database.execute("PRAGMA locking_mode = NORMAL")
        database.execute("PRAGMA synchronous = FULL")
        return _change_mode(database)
    except sqlite3.OperationalError as exc:
        if not _is_locked(exc):
            raise
        return False


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _change_mode(database: sqlite3.Connection) -> bool:
    return bool(database.execute("PRAGMA journal_mode = MEMORY").fetchone() != ("wal",))


def tidy(path: Path) -> None:
    """Make one file of a run whose writer is gone, and note in it that it was interrupted.

    Does nothing while a writer holds the run, or where this process may not write.
    """
    try:
        lock = holder.hold(path.with_suffix(fileformat.LOCK_SUFFIX))
    except OSError:  # a read-only folder: readers still see the run, in two files
        return
    if lock is None:
        return
    try:
        with fileformat.reading(path):
            pass  # refuses what is no run of ours before anything is written to it
        database = fileformat.connect_writer(path)
        try:
            _note_interruption(database, path)
            _become_one_file(database)
        finally:
            database.close()
    except (sqlite3.Error, OSError):  # damaged: reading it says how
        return
    finally:
        lock.release()


def _note_interruption(database: sqlite3.Connection, path: Path) -> None:
    if database.execute("SELECT count(*) FROM ending").fetchone()[0]:
        return
    run = Run(path)
    last = database.execute("SELECT max(time_ns) FROM chunks").fetchone()[0] or 0
    chunks, rows = database.execute(
        "SELECT count(*), coalesce(sum(rows), 0) FROM chunks"
    ).fetchone()
    ended_at = datetime.fromisoformat(run.started_at) + timedelta(microseconds=last / 1000)
    end = ("interrupted", run.interruption, fileformat.iso(ended_at), last, chunks, rows)
    _put_ending(database, end, _counts_beside(database))


def _counts_beside(database: sqlite3.Connection) -> tuple[int, int, int]:
    if fileformat.format_of(database) == 1:
        return 0, 0, 0
    events, blocks, messages = database.execute(
        "SELECT (SELECT count(*) FROM events), count(*), coalesce(sum(messages), 0) FROM transcript"
    ).fetchone()
    return events, blocks, messages
