"""A stored run, read from its file: what was measured, with what, and how it ended.

Rules: never writes but the tags and notes it is asked to; the file is open only while something is
read; numpy is imported when the first array is asked for.
"""

from __future__ import annotations

import importlib
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivebay._core.errors import StoreError, nearest
from drivebay._core.runs import extract, fileformat, frames, holder, notebook, plain, verify
from drivebay._core.runs import marks as marking
from drivebay._core.runs import sources as code
from drivebay._core.runs import transcript as traffic
from drivebay._core.runs.export.schema import export_schema
from drivebay._core.runs.growing import GrowingColumns
from drivebay._core.runs.marks import Note
from drivebay._core.runs.transcript import Message

if TYPE_CHECKING:
    import numpy as np

    from drivebay._core.replay import Replay

    Array = np.ndarray[Any, np.dtype[Any]]

_BYTES_A_LOOK = 1 << 20  # opening the file for each chunk would cost more than reading it
_CHUNK_FIELDS = "number, first_row, rows, time_ns, crc32, data"


class Run:
    """What one measurement left behind.

    ``run["current_a"]`` is a column as a numpy array, ``len(run)`` the number of rows; iterating
    gives the column names. A run that is still being written grows each time it is asked.

    Attributes:
        id: the run's name in its store, ``20261122-231502-k3f9``: UTC time, then two digits that
            keep runs of one second in order and two by chance.
        path: its file.
        method: the measurement's name, such as ``iv_sweep``.
        resource: address of the instrument.
        plugin: ``name``, ``version`` and ``sha256`` of the driver plugin.
        identity: what the instrument said it is.
        parameters: the validated parameters.
        provenance: whatever else was recorded about how the data came to be.
        bench: what the bench said of the instrument: ``alias``, ``limits``, ``policy`` and such.
        started_at: UTC, ISO 8601, microseconds: ``2026-11-22T23:15:02.123456+00:00``.
        writer: process, machine and versions that wrote it.
        is_one_file: when it was opened it had no log beside it, so that it could be copied.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        damage: str | None = None,
        head: Mapping[str, str] | None = None,
    ) -> None:
        """Open a run file.

        Args:
            path: the file.
            damage: only stand for a run that cannot be opened, for this reason.
            head: the texts of its header, from the writer who has just stored them.

        Raises:
            StoreError: it is no run, its head is damaged, or it is from a newer version.
        """
        self._file = Path(path)
        self.id = self._file.stem
        self.method: str = ""
        self.resource: str = ""
        self.started_at: str = ""
        self.plugin: dict[str, Any] = {}
        self.identity: Any = {}
        self.parameters: dict[str, Any] = {}
        self.provenance: dict[str, Any] = {}
        self.bench: dict[str, Any] = {}
        self.writer: dict[str, Any] = {}
        self.is_one_file = False
        self._columns: tuple[fileformat.StoredColumn, ...] = ()
        self._state = "" if damage is None else "damaged"
        self._reason = damage
        self._end: tuple[str, int, int, int] | None = None  # ended_at, time_ns, chunks, rows
        self._counts: dict[str, int] = {}  # what else the record of the end counts
        self._count_unknown: StoreError | None = None  # why it cannot be read
        self._growing: GrowingColumns | None = None  # what was read of its columns
        self._next_chunk = 0
        if head is not None:
            self._take_head(head)
        elif damage is None:
            self._read_head()

    @property
    def path(self) -> Path:
        """Its file, one that can be copied: waits for a writer of this process to fold it."""
        holder.settle(self._file.with_suffix(fileformat.LOCK_SUFFIX))
        return self._file

    # -- what happened -----------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``running``, ``done``, ``aborted``, ``failed``, ``interrupted`` or ``damaged``.

        ``interrupted``: its writer died, or the file was copied while it was being written.
        ``damaged``: the file cannot be opened; :attr:`reason` says why.
        """
        self._refresh()
        return self._state

    @property
    def reason(self) -> str | None:
        """Why the run is not ``done``; None when it is, or while it is running."""
        self._refresh()
        return self._reason

    @property
    def interruption(self) -> str:
        """What is said of this run if its writer is gone."""
        who = f"process {self.writer.get('pid')} on {self.writer.get('host')}"
        return f"{who} stopped writing without an end"

    @property
    def ended_at(self) -> str | None:
        """When it ended, as :attr:`started_at` says it; None while it is running."""
        self._refresh()
        return self._end[0] if self._end else None

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the end, or to the last chunk of a run without an end."""
        self._refresh()
        if self._end:
            return self._end[1] / 1e9
        with self._reading() as database:
            (last,) = database.execute("SELECT max(time_ns) FROM chunks").fetchone()
        return (last or 0) / 1e9

    @property
    def values(self) -> dict[str, Any]:
        """Results that are no columns.

        Raises:
            StoreError: one of them is damaged.
        """
        with self._reading() as database:
            texts = fileformat.read_texts(database, self._file, "results", "name")
        return {name: plain.from_text(text) for name, text in texts.items()}

    @property
    def events(self) -> list[tuple[float, str, Any]]:
        """What happened during the run: seconds since its start, kind, data.

        Raises:
            StoreError: one of them is damaged.
        """
        self._learn_counts()
        found: list[tuple[float, str, Any]] = []
        query = "SELECT number, time_ns, kind, data, crc32 FROM events ORDER BY number"
        with self._reading() as database:
            form = fileformat.format_of(database)
            for number, time_ns, kind, data, crc in database.execute(query):
                if fileformat.event_crc32(form, number, time_ns, kind, data) != crc:
                    raise StoreError(f"{self._file}: event {number} is damaged")
                if form > 1 and number != len(found):
                    raise StoreError(f"{self._file}: event {len(found)} is missing")
                found.append((time_ns / 1e9, kind, plain.from_text(data)))
        if self._count_unknown is None or not found or found[-1][1] != "end":
            self._require_count("events", len(found))
        return found

    @property
    def limits(self) -> dict[str, Any] | None:
        """Limits that were in force, ``{quantity: [low, high]}``; None where there were none."""
        return self.bench.get("limits") or None

    # -- what was said to the instrument, and by which code ------------------------------------

    @property
    def transcript(self) -> list[Message]:
        """Everything that went to and from the instrument, in order.

        What its driver said when it connected comes first, in phase ``connect``. Of a run with
        several instruments each message says whose it is. Empty for a run of format 1. Of a long
        run take :meth:`messages`.

        Raises:
            StoreError: a block of it is damaged; :meth:`salvage_transcript` reads the others.
        """
        return list(self.messages())

    def messages(self) -> Iterator[Message]:
        """Give the messages of :attr:`transcript`, reading a block at a time. Raises: as it."""
        several = self.instruments
        return traffic.in_time(self._messages(), tuple(several)) if several else self._messages()

    @property
    def instruments(self) -> dict[str, dict[str, Any]]:
        """The instruments of a run with several, by name: identity, resource, plugin, bench.

        Empty for a run with one, of which all that is in the run itself.
        """
        told = self.provenance.get("instruments")
        if not isinstance(told, Mapping):  # or somebody else wrote the file
            return {}
        return {name: dict(each) for name, each in told.items() if isinstance(each, Mapping)}

    def _messages(self) -> Iterator[Message]:
        self._learn_counts()
        blocks = 0
        while True:
            block, after = self._block(blocks)
            if isinstance(block, str):
                raise StoreError(f"{self._file}: {block}")
            if after is None:
                break
            if after != blocks + 1:
                raise StoreError(f"{self._file}: transcript block {blocks} is missing")
            blocks = after
            yield from block
        self._require_count("blocks", blocks)

    def salvage_transcript(self) -> tuple[list[Message], tuple[str, ...]]:
        """Return the messages of every block that is whole, and what is wrong with the others."""
        self._learn_counts()
        found: list[Message] = []
        problems = []
        number: int | None = 0
        while number is not None:
            block, number = self._block(number)
            if isinstance(block, str):
                problems.append(block)
            else:
                found += block
        return found, tuple(problems)

    def _block(self, number: int) -> tuple[list[Message] | str, int | None]:
        """The first block from ``number`` on, or what is wrong with it; and where the next is."""
        with self._reading() as database:
            if fileformat.format_of(database) == 1:
                return [], None
            query = f"{traffic.SELECT} WHERE number >= ? ORDER BY number LIMIT 1"
            try:
                fields = database.execute(query, (number,)).fetchone()
            except sqlite3.DatabaseError as exc:
                more = number + 1 if number + 1 < self._counts.get("blocks", 0) else None
                return f"transcript block {number} cannot be read: {exc}", more
        if fields is None:
            return [], None
        try:
            return traffic.read_block(fields), fields[0] + 1
        except ValueError as exc:
            return f"transcript block {fields[0]} is damaged: {exc}", fields[0] + 1

    @property
    def sources(self) -> dict[str, bytes]:
        """The files of the plugin that measured, by relative path; empty for a run of format 1.

        Raises:
            StoreError: one of them is damaged.
        """
        return self.all_sources.get(str(self.plugin.get("name")), {})

    @property
    def all_sources(self) -> dict[str, dict[str, bytes]]:
        """The files of :attr:`sources` and of every plugin that it imports, by plugin.

        Raises:
            StoreError: one of them is damaged.
        """
        with self._reading() as database:
            if fileformat.format_of(database) == 1:
                return {}
            return code.read(database, self._file)

    # -- what people say of it ------------------------------------------------------------------

    @property
    def marks(self) -> list[marking.Mark]:
        """The history of tags and notes, oldest first, removals too.

        Raises:
            StoreError: a row of it is damaged.
        """
        with self._reading() as database:
            return marking.read(database, self._file)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags it has now. Raises: as :attr:`marks`."""
        return marking.tags_of(self.marks)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was noted about it: ``at``, ``by``, ``text``. Raises: as :attr:`marks`."""
        return marking.notes_of(self.marks)

    def tag(self, *names: str) -> None:
        """Give it tags, during the run or any time later.

        Args:
            *names: short printable words; those it has already stay as they are.

        Raises:
            RunError: one is no such word.
            StoreError: the file is damaged or cannot be written.
        """
        self._mark([("tag", marking.checked_tag(name)) for name in names])

    def untag(self, *names: str) -> None:
        """Take tags away; that it had them stays in :attr:`marks`. Raises: as :meth:`tag`."""
        self._mark([("untag", marking.checked_tag(name)) for name in names])

    def note(self, text: str, by: str | None = None) -> None:
        """Note something about it, during the run or any time later.

        Args:
            text: what; markdown if you like.
            by: who says so, by default the user of this process.

        Raises:
            RunError: the text is empty or longer than 100,000 characters.
            StoreError: the file is damaged or cannot be written.
        """
        self._mark([("note", marking.checked_note(text))], by)

    def _mark(self, given: list[tuple[marking.Kind, str]], by: str | None = None) -> None:
        if self._state == "damaged":
            raise StoreError(self._reason or f"{self._file} is damaged")
        if given:
            marking.add(self._file, given, by)

    def verify(self) -> tuple[str, ...]:
        """Return every problem of the file, none when it is whole: rows, counts, SQLite's own.

        Raises:
            StoreError: SQLite cannot even open it.
        """
        if self._state == "damaged":
            return (self._reason or f"{self._file} is damaged",)
        return verify.problems_of(self._file)

    # -- the data ----------------------------------------------------------------------------

    @property
    def units(self) -> dict[str, str]:
        """Unit of each column, empty where it has none."""
        return {column.name: column.unit for column in self._known_columns()}

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each column: ``float``, ``int`` or ``bool``."""
        return {column.name: column.kind for column in self._known_columns()}

    @property
    def columns(self) -> dict[str, Array]:
        """All columns, in the order in which the method declares them.

        Raises:
            StoreError: a chunk is damaged; the message names it. :meth:`salvage` reads the rest.
        """
        self._read_chunks()
        return self._growing.arrays() if self._growing else {}

    def chunks(self, first: int = 0) -> Iterator[dict[str, Array]]:
        """Give the chunks as they are stored, one after the other: a run of any length fits.

        Args:
            first: number of the chunk to begin with.

        Raises:
            StoreError: a chunk is damaged or missing; those before it have been given.
        """
        self._refresh()
        number, first_row = first, 0
        while batch := self._some_chunks(number):
            for row in batch:
                if number == first > 0:
                    first_row = row[1]
                self._expect(row, number, first_row)
                yield self._decode(row)
                number, first_row = number + 1, first_row + row[2]
        if number > first or not first:
            self._require_rows(first_row)

    def __getitem__(self, name: str) -> Array:
        """Return one column, read-only.

        Raises:
            KeyError: there is none of that name; the message lists those there are.
            StoreError: a chunk is damaged.
        """
        columns = self.columns
        if name not in columns:
            names = ", ".join(columns) or "none"
            raise KeyError(
                f"run {self.id} has no column {name!r}{nearest(name, columns)} ({names})"
            )
        return columns[name]

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self._known_columns())

    def __iter__(self) -> Iterator[str]:
        return iter(column.name for column in self._known_columns())

    def __len__(self) -> int:
        if self._state == "damaged":
            return 0
        self._refresh()
        if self._end:
            return self._end[3]
        query = "SELECT first_row + rows FROM chunks ORDER BY number DESC LIMIT 1"
        with self._reading() as database:
            row = database.execute(query).fetchone()
        return int(row[0]) if row else 0

    def __bool__(self) -> bool:
        return True  # a run without rows is still a run

    def salvage(self) -> tuple[dict[str, Array], tuple[str, ...]]:
        """Return the columns of every chunk whose checksum is right, and what is wrong with others.

        Raises:
            StoreError: SQLite itself cannot read the file.
        """
        import numpy as np

        good: list[dict[str, Array]] = []
        problems = []
        with self._reading() as database:
            self._columns = self._stored_columns(database)
            numbers = self._chunk_numbers(database)
            for number in numbers:
                try:
                    good.append(self._chunk(database, number))
                except StoreError as exc:
                    problems.append(str(exc))
            if self._end and len(numbers) != self._end[2]:
                problems.append(f"{self._file}: {len(numbers)} chunks of {self._end[2]} are left")
        columns = {
            column.name: np.concatenate(
                [np.empty(0, fileformat.dtype(column))] + [part[column.name] for part in good]
            )
            for column in self._columns
        }
        return columns, tuple(problems)

    def _chunk_numbers(self, database: sqlite3.Connection) -> list[int]:
        """The numbers of the chunks, also of those beyond a place that SQLite cannot read."""
        found: list[int] = []
        try:
            found.extend(row[0] for row in database.execute("SELECT number FROM chunks"))
            if len(set(found)) < len(found):  # a page of the index stands in another's place
                found = sorted(set(found))
        except sqlite3.DatabaseError:
            if not self._end:
                raise
            return list(range(self._end[2]))
        return found

    # -- to other forms ----------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the run as the command line's JSON object: strict JSON.

        None stands for what is not a number; ``not_finite_columns`` says of each column how many
        are ``nan`` and which rows are ``inf`` or ``-inf``, ``not_finite`` where else there are any.
        """
        values, columns = self.values, self.columns
        rows = {name: extract.not_finite_rows(array) for name, array in columns.items()}
        return {
            **self.to_summary(),
            "values": plain.strict(values),
            "not_finite": plain.not_finite({"parameters": self.parameters, "values": values}),
            "null_in_columns": extract.NULL_IN_COLUMNS,
            "columns": {name: plain.strict(a.tolist()) for name, a in columns.items()},
            "not_finite_columns": {name: found for name, found in rows.items() if found},
        }

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """The JSON Schema (2020-12) of a run exported as JSON; fresh plain data."""
        return export_schema()

    def to_summary(self) -> dict[str, Any]:
        """Return everything of :meth:`to_dict` but the data."""
        return {
            "run": self.id,
            "state": self.state,
            "reason": self.reason,
            "method": self.method,
            "resource": self.resource,
            "started_at": self.started_at,
            "duration_s": None if self._state == "damaged" else self.duration_s,
            "rows": len(self),
            "plugin": plain.strict(self.plugin),
            "identity": plain.strict(self.identity),
            "parameters": plain.strict(self.parameters),
            "provenance": plain.strict(self.provenance),
            "units": {} if self._state == "damaged" else self.units,
        }

    def to_pandas(self) -> Any:
        """Return the columns as a pandas DataFrame; units and parameters are in its ``attrs``.

        Raises:
            RunError: pandas is not installed.
        """
        return frames.to_pandas(self)

    def to_xarray(self) -> Any:
        """Return the run as an xarray Dataset; :func:`drivebay._core.runs.frames.to_xarray`.

        Raises:
            RunError: xarray is not installed.
        """
        return frames.to_xarray(self)

    def replay(self, code: Path | str | None = None, **options: Any) -> Replay:
        """Run its driver code, or other code, against its transcript; see ``replay_run``."""
        # By name, as below: a replay needs what lies above runs.
        found: Replay = importlib.import_module("drivebay").replay_run(self, code, **options)
        return found

    def plot(self, path: Path | str | None = None, **options: Any) -> Any:
        """Draw the run; see :func:`drivebay.plotting.plot_run`.

        Args:
            path: where to save it, PNG or SVG by its ending; None only returns the figure.
            **options: passed on.

        Returns:
            The matplotlib figure, which a notebook shows.
        """
        # By name and at the last moment: plotting is a front door above the core, and matplotlib
        # must cost nothing to those who never draw.
        return importlib.import_module("drivebay.plotting").plot_run(self, path=path, **options)

    def __repr__(self) -> str:
        try:
            return f"<Run {self.id} {self.method or '?'} {self.state}, {len(self)} rows>"
        except StoreError as exc:
            return f"<Run {self.id} {self.method or '?'} damaged: {exc}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: a small picture, the conditions, the first and last rows."""
        return notebook.html_of(self)

    # -- reading the file --------------------------------------------------------------------

    def _reading(self) -> Any:
        if self._state == "damaged":
            raise StoreError(self._reason or f"{self._file} is damaged")
        return fileformat.reading(self._file)

    def _read_head(self) -> None:
        with self._reading() as database:
            self.is_one_file = fileformat.is_one_file(database)
            texts = fileformat.read_texts(database, self._file, "header", "key")
        self._take_head(texts)

    def _take_head(self, texts: Mapping[str, str]) -> None:
        missing = {"run", "plugin", "identity", "parameters", "provenance"} - set(texts)
        if missing:
            raise StoreError(
                f"{self._file} is damaged: its header lacks {', '.join(sorted(missing))}"
            )
        head = {key: plain.from_text(text) for key, text in texts.items()}
        about = head["run"]
        self.id, self.method, self.resource = about["id"], about["method"], about["resource"]
        self.started_at, self.writer = about["started_at"], about["writer"]
        self.plugin, self.identity = head["plugin"], head["identity"]
        self.parameters, self.provenance = head["parameters"], head["provenance"]
        self.bench = head.get("bench") or {}
        self._columns = fileformat.columns_of(head.get("columns", ()))

    def _refresh(self) -> None:
        """Ask the file whether the run has ended, unless that is known."""
        if self._end or self._state == "damaged":
            return
        if self._read_ending():
            return
        lock = self._file.with_suffix(fileformat.LOCK_SUFFIX)
        if holder.is_held(lock):
            self._state = "running"
        # The end is stored before the lock is given up: look again before calling it interrupted.
        elif not self._read_ending():
            self._state = "interrupted"
            self._reason = self.interruption

    def _read_ending(self) -> bool:
        with self._reading() as database:
            fields = fileformat.END_FIELDS[fileformat.format_of(database)]
            row = database.execute(f"SELECT {fields}, crc32 FROM ending").fetchone()
        if row is None:
            return False
        if fileformat.text_crc32(*row[:-1]) != row[-1]:
            raise StoreError(f"{self._file}: the record of its end is damaged")
        self._state, self._reason = row[0], row[1]
        self._end = (row[2], row[3], row[4], row[5])
        self._counts = dict(zip(fields.split(", ")[6:], row[6:-1], strict=True))
        return True

    def _learn_counts(self) -> None:
        """Read the record of the end, before what it counts: a run may end meanwhile."""
        self._count_unknown = None
        try:
            self._refresh()
        except StoreError as exc:  # the rest is still to be looked at
            self._count_unknown = exc

    def _require_count(self, what: str, found: int) -> None:
        """Raise StoreError unless that is all there was, by the record of the end if it ended."""
        if self._count_unknown is not None:
            text = f"{self._file}: whether {found} {what} are all of them is not known"
            raise StoreError(f"{text}: {self._count_unknown}") from self._count_unknown
        count = self._counts.get(what, found)
        if found != count:
            raise StoreError(f"{self._file} is damaged: {found} {what} are left of {count}")

    def _known_columns(self) -> tuple[fileformat.StoredColumn, ...]:
        if not self._columns:  # a run may learn its columns from its first chunk
            with self._reading() as database:
                self._columns = self._stored_columns(database)
        return self._columns

    def _stored_columns(self, database: sqlite3.Connection) -> tuple[fileformat.StoredColumn, ...]:
        texts = fileformat.read_texts(database, self._file, "header", "key")
        return fileformat.columns_of(plain.from_text(texts.get("columns", "[]")))

    def _read_chunks(self) -> None:
        """Read the chunks that have come since the last look."""
        self._refresh()
        with self._reading() as database:
            self._columns = self._columns or self._stored_columns(database)
            if self._growing is None and self._columns:
                self._growing = GrowingColumns(self._columns, self._end[3] if self._end else 0)
            query = f"SELECT {_CHUNK_FIELDS} FROM chunks WHERE number >= ? ORDER BY number"
            try:
                for row in database.execute(query, (self._next_chunk,)):
                    self._take_chunk(row)
            except sqlite3.Error as exc:
                doing = f"cannot read chunk {self._next_chunk} of {self._file}"
                raise StoreError(f"{doing}: {exc}") from exc
        self._require_rows(self._growing.rows if self._growing else 0)

    def _require_rows(self, found: int) -> None:
        if self._end and found != self._end[3]:
            raise StoreError(f"{self._file} is damaged: {found} rows are left of {self._end[3]}")

    def _take_chunk(self, row: Any) -> None:
        """Check the next chunk and add it to what was read."""
        if self._growing is None:
            raise StoreError(f"{self._file} is damaged: it has chunks, but no columns")
        self._expect(row, self._next_chunk, self._growing.rows)
        self._check_chunk(row)
        self._growing.take(row[2], row[5])
        self._next_chunk += 1

    def _some_chunks(self, number: int) -> list[Any]:
        """Return stored chunks from that one on; the file is not open between two looks."""
        found, size = [], 0
        with self._reading() as database:
            self._columns = self._columns or self._stored_columns(database)
            query = f"SELECT {_CHUNK_FIELDS} FROM chunks WHERE number >= ? ORDER BY number"
            for row in database.execute(query, (number,)):
                found.append(row)
                size += len(row[-1]) if isinstance(row[-1], bytes) else 0  # or it is damaged
                if size >= _BYTES_A_LOOK:
                    break
        return found

    def _expect(self, row: Any, number: int, first_row: int) -> None:
        if row[:2] != (number, first_row):
            raise StoreError(
                f"{self._file}: expected chunk {number} at row {first_row},"
                f" found chunk {row[0]} at row {row[1]}"
            )

    def _chunk(self, database: sqlite3.Connection, number: int) -> dict[str, Array]:
        query = f"SELECT {_CHUNK_FIELDS} FROM chunks WHERE number = ?"
        with fileformat.store_errors(self._file, f"read chunk {number} of"):
            row = database.execute(query, (number,)).fetchone()
        if row is None:
            raise StoreError(f"{self._file}: chunk {number} is missing")
        return self._decode(row)

    def _decode(self, row: Any) -> dict[str, Array]:
        self._check_chunk(row)
        return fileformat.decode(self._columns, row[2], row[5])

    def _check_chunk(self, row: Any) -> None:
        number, first, rows, time_ns, crc, data = row
        try:
            right = fileformat.chunk_crc32(number, first, rows, time_ns, data) == crc
        except (TypeError, struct.error):  # a field that is not even of its type
            right = False
        if not right or len(data) != rows * fileformat.row_bytes(self._columns):
            raise StoreError(
                f"{self._file}: chunk {number} is damaged: its checksum does not match"
            )
