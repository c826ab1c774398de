"""A folder of run files: a new one is made here, an old one is found here.

Rules: the files are the truth, and the catalogue only says which to open; their names carry the
order; a damaged file is listed with its reason and never hides another.
"""

from __future__ import annotations

import builtins
import os
import platform
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from drivebay import _version
from drivebay._core.errors import RunNotFoundError
from drivebay._core.runs import export, facts, fileformat, holder, litter, mounts, plain, shelf
from drivebay._core.runs.catalogue import Catalogue, Rebuilt
from drivebay._core.runs.litter import Litter
from drivebay._core.runs.query import Query, moment, query
from drivebay._core.runs.run import Run
from drivebay._core.runs.sources import Sources
from drivebay._core.runs.writer import RunDraft, RunWriter

if TYPE_CHECKING:
    from drivebay._core.replay import Replay

_DIGITS = shelf.DIGITS
_TICKS = len(_DIGITS) ** 2  # of a second: about a millisecond each
_SOME = 5  # ids named in an error message
_MANY = 100  # runs of one name that are counted
_LAST = re.compile(r"last(?:-(\d+))?")

_clock_guard = threading.Lock()
_last_tick = 0


def _in_the_child() -> None:
    """A lock that another thread held at the fork would be held in the child for ever."""
    global _clock_guard
    _clock_guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)


class RunStore:
    """The runs in one folder; the folder is made with the first of them."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._catalogue = Catalogue(self.folder)
        self._months: set[str] = set()  # folders that are known to be on the disk
        self._device: int | None = None  # of the folder, once it was found fit for writing

    def create(
        self,
        *,
        method: str,
        plugin: object = None,
        identity: object = None,
        resource: str = "",
        parameters: object = None,
        columns: Sequence[Any] = (),
        provenance: object = None,
        bench: object = None,
        sources: Sources | None = None,
    ) -> RunWriter:
        """Begin a run and return its writer; the run is on the disk then.

        Args:
            method: the measurement's name.
            plugin: ``{"name": ..., "version": ..., "sha256": ...}``.
            identity: what the instrument said it is.
            resource: the instrument's address.
            parameters: the validated parameters, a mapping or a msgspec struct.
            columns: ``(name, unit, kind)`` each, or the method's ``Column`` objects; none means
                that the first chunk shows them.
            provenance: what else should be known in ten years.
            bench: what the bench says of the instrument: ``alias``, ``limits``, ``policy``...
            sources: files of the code that measures, by plugin and path, its own plugin first.

        Raises:
            RunError: something of it is no data, or the columns are not well formed.
            StoreError: the folder cannot be written, or is on a network file system.
        """
        return self.draft(
            method=method,
            plugin=plugin,
            identity=identity,
            resource=resource,
            parameters=parameters,
            columns=columns,
            provenance=provenance,
            bench=bench,
            sources=sources,
        ).open()

    def draft(
        self,
        *,
        method: str,
        plugin: object = None,
        identity: object = None,
        resource: str = "",
        parameters: object = None,
        columns: Sequence[Any] = (),
        provenance: object = None,
        bench: object = None,
        sources: Sources | None = None,
    ) -> RunDraft:
        """Begin a run as :meth:`create` does, but leave the syncs to :meth:`RunDraft.open`.

        Args and Raises: as :meth:`create`.
        """
        stored = fileformat.columns_of(columns)
        texts = {
            "plugin": plain.to_text(plugin or {}, "plugin"),
            "identity": plain.to_text({} if identity is None else identity, "identity"),
            "parameters": plain.to_text(parameters or {}, "parameters"),
            "provenance": plain.to_text(provenance or {}, "provenance"),
            "bench": plain.to_text(bench or {}, "bench"),
        }
        if stored:
            texts["columns"] = fileformat.columns_text(stored)
        with fileformat.store_errors(self.folder, "create a run in"):
            self._require_fit_folder()
            path, started_at, lock = self._reserve()
        started_ns = time.monotonic_ns()
        about = {
            "id": path.stem,
            "method": method,
            "resource": resource,
            "started_at": fileformat.iso(started_at),
            "started_monotonic_ns": started_ns,
            "writer": _writer(),
        }
        texts["run"] = plain.to_text(about, "run")
        return RunDraft(path, lock, stored, started_ns, texts, sources)

    def settle(self) -> None:
        """Wait, seconds at most, until every run that this process has ended is one file."""
        holder.settle()

    def ids(self) -> builtins.list[str]:
        """Ids of all runs, newest first; empty when there is no folder yet.

        Raises:
            StoreError: the folder cannot be read.
        """
        with fileformat.store_errors(self.folder, "list"):
            return self._catalogue.ids()

    def list(self, limit: int | None = None) -> builtins.list[Run]:
        """Return the newest runs, newest first, damaged ones too (state ``damaged``).

        Only the heads of those returned are read. A run whose writer died is made one file here.

        Args:
            limit: at most so many; None for all.

        Raises:
            StoreError: the folder itself cannot be read.
        """
        return self._find(Query(), limit)

    def search(
        self,
        *,
        method: str | None = None,
        alias: str | None = None,
        resource: str | None = None,
        model: str | None = None,
        serial: str | None = None,
        plugin: str | None = None,
        user: str | None = None,
        state: str | None = None,
        tag: str | Iterable[str] = (),
        since: str | datetime | timedelta | None = None,
        until: str | datetime | timedelta | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> builtins.list[Run]:
        """Return the runs that meet every criterion given, newest first.

        Letters may be large or small. Without a criterion it is :meth:`list`.

        Args:
            method: the measurement's name.
            alias: the instrument's name in the bench file.
            resource: the instrument's address.
            model: what the instrument said its model is; ``2400`` is ``MODEL 2400`` too.
            serial: its serial number likewise.
            plugin: name of the driver plugin.
            user: who measured.
            state: one of ``running, done, aborted, failed, interrupted, damaged``.
            tag: one tag, or several that the run must all have.
            since: runs that began then or later: a datetime, a timedelta ago, or a text such as
                ``"2 days"``, ``"today"``, ``"2026-11-22 14:30"``. Without a time zone it is in
                this machine's.
            until: runs that began before that.
            text: words that must all occur in the run's id, file name, method, instrument, plugin,
                user, parameters (``points=101``), tags, reason, or the first 200 characters of a
                note.
            limit: at most so many; None for all.

        Raises:
            RunError: there is no such state, or a time cannot be read.
            StoreError: the folder itself cannot be read.
        """
        wanted = query(
            method=method,
            alias=alias,
            resource=resource,
            model=model,
            serial=serial,
            plugin=plugin,
            user=user,
            state=state,
            tag=tag,
            since=since,
            until=until,
            text=text,
        )
        return self._find(wanted, limit)

    def open(self, name: str | Path = "last") -> Run:
        """Return one run.

        Args:
            name: an id, a beginning of one that only one run has, its four last characters,
                ``last``, ``last-1`` (the one before) and so on, or the path of a run file.

        Raises:
            RunNotFoundError: no run, or more than one, answers to it; the message lists some.
            StoreError: the file is damaged or from a newer version.
        """
        path = self._path_of(name)
        return facts.open_tidied(path, shelf.is_unfinished(path))

    def resolve(self, name: str) -> str:
        """Return the id that ``name`` (see :meth:`open`) stands for.

        Raises:
            RunNotFoundError: no run, or more than one, answers to it.
            StoreError: the folder cannot be read.
        """
        return shelf.stem(self._locate(name).name)

    def rebuild(self) -> Rebuilt:
        """Make the catalogue anew from all files; nothing but time is lost without it.

        Raises:
            StoreError: the folder cannot be read.
        """
        with fileformat.store_errors(self.folder, "list"):
            return self._catalogue.rebuild()

    def gc(
        self,
        runs: Iterable[str | Path] = (),
        *,
        older_than: str | datetime | timedelta = timedelta(days=30),
        remove: bool = False,
    ) -> builtins.list[Litter]:
        """Find what can go, and with ``remove`` move it into the folder ``trash``.

        Without names: runs that failed, were aborted or interrupted before their first point and
        that bear no value, tag or note, and what killed programs have left beside no run.

        Args:
            runs: names, as :meth:`open` takes them, of runs to throw away instead, whatever they
                hold.
            older_than: age, or moment of the start, before which a run without points can go.
            remove: move it; otherwise nothing is touched.

        Returns:
            Each file, with the reason, and where it lies now.

        Raises:
            RunNotFoundError: a name no run answers to.
            RunError: a run asked for is being written, or the age cannot be read.
            StoreError: the folder cannot be read, or a file cannot be moved.
        """
        found = [litter.asked_for(self._path_of(name)) for name in runs]
        if not found:
            before = moment(older_than, "older_than")
            unmade = query(until=before)
            with fileformat.store_errors(self.folder, "list"):
                known = self._catalogue.find(unmade)
                found = [*litter.of_runs(self.folder, known, before)]
                found += litter.of_crashes(self.folder)
        if not remove:
            return found
        with fileformat.store_errors(self.folder / shelf.TRASH, "move files to"):
            return [litter.throw_away(self.folder, each) for each in found]

    def replay(
        self, name: str | Path | Run, code: Path | str | None = None, **options: Any
    ) -> Replay:
        """Replay a run; see ``replay_run``. Raises: as it and :meth:`open`."""
        return (name if isinstance(name, Run) else self.open(name)).replay(code, **options)

    def export(
        self,
        name: str | Path | Run,
        target: Path | str | TextIO,
        kind: str | None = None,
        *,
        overwrite: bool = False,
    ) -> tuple[Path, ...]:
        """Write a run as CSV, JSON, Parquet, HDF5 or NetCDF, by the ending or as ``kind`` says.

        See :func:`drivebay._core.runs.export.export_run`.

        Raises:
            RunNotFoundError: no run answers to ``name``.
            RunError: there is no such ``kind`` (or ending), the library for it is missing, or
                ``target`` exists and ``overwrite`` is not set.
            StoreError: the run is damaged, or ``target`` cannot be written.
        """
        run = name if isinstance(name, Run) else self.open(name)
        return export.export_run(run, target, kind, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"RunStore({str(self.folder)!r})"

    def _find(self, wanted: Query, limit: int | None) -> builtins.list[Run]:
        with fileformat.store_errors(self.folder, "list"):
            found = self._catalogue.find(wanted, limit)
            runs, agreed = self._opened(found)
            if not agreed:  # a damage that SQLite cannot see
                self._catalogue.rebuild()
                runs, _ = self._opened(self._catalogue.find(wanted, limit))
        return runs

    def _opened(self, found: Sequence[facts.Facts]) -> tuple[builtins.list[Run], bool]:
        """Open what the catalogue named, and say whether it is so of every unchanged file."""
        runs, agreed = [], True
        for each in found:
            path = self.folder.joinpath(each.folder, each.name)
            run = facts.look(path, shelf.is_unfinished(path))
            if path.exists():  # or it was removed meanwhile
                runs.append(run)
                agreed = agreed and (not each.settled or facts.agree(each, run))
        return runs, agreed

    def _path_of(self, name: str | Path) -> Path:
        path = Path(name)
        if path.suffix != fileformat.SUFFIX:
            return self._locate(str(name))
        if not path.is_file():
            raise RunNotFoundError(f"no run file {str(path)!r}")
        return path

    def _locate(self, name: str) -> Path:
        """Return the file that a name stands for."""
        if shelf.ID.fullmatch(name):
            for path in shelf.places_of(self.folder, name):
                if path.is_file():
                    return path
        with fileformat.store_errors(self.folder, "list"):
            if last := _LAST.fullmatch(name):
                back = int(last[1] or 0)
                found = self._catalogue.find(Query(), back + 1)[back:]
            else:
                found = self._catalogue.named(name, _MANY)
        ids = list(dict.fromkeys(each.id for each in found))
        if not ids:
            raise RunNotFoundError(f"no run {name!r}: {self._what_exists()}")
        if len(ids) > 1:
            many = f"{_MANY} runs or more" if len(found) == _MANY else f"{len(ids)} runs"
            raise RunNotFoundError(f"{name!r} could be any of {many}: {', '.join(ids[:_SOME])}")
        # Of a run and copies of it, the one that lies where it was made.
        best = next((each for each in found if each.name == f"{each.id}.sqlite"), found[0])
        return self.folder.joinpath(best.folder, best.name)

    def _require_fit_folder(self) -> None:
        """Make the folder; look at its file system, again only when another is mounted there."""
        parents = shelf.parents_of_new(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        device = self.folder.stat().st_dev
        if device != self._device:
            mounts.refuse_network(self.folder)
            parents.add(self.folder.parent)  # another process may have made it a moment ago
            self._device = device
        for parent in parents:
            shelf.sync_folder(parent)

    def _reserve(self) -> tuple[Path, datetime, holder.Holder]:
        """Return a new run's file, its time and its lock; two processes never get the same."""
        while True:
            name, started_at = _new_id()
            path, *others = shelf.places_of(self.folder, name)
            self._require_month(path.parent)
            try:
                lock = holder.hold(path.with_suffix(fileformat.LOCK_SUFFIX), new=True)
            except FileExistsError:
                continue
            if lock is not None and not any(each.exists() for each in (path, *others)):
                return path, started_at, lock
            if lock is not None:
                lock.release()

    def _require_month(self, folder: Path) -> None:
        """Make the month's folder, and be sure that it outlives a power cut before a run in it.

        Another process may have made it a moment ago, so this one syncs too, once.
        """
        if folder.name in self._months and folder.is_dir():
            return
        folder.mkdir(exist_ok=True)
        shelf.sync_folder(self.folder)
        self._months.add(folder.name)

    def _what_exists(self) -> str:
        ids = self._catalogue.ids()
        if not ids:
            return f"{self.folder} holds no runs yet; `drivebay demo` makes one"
        more = f" and {len(ids) - _SOME} more" if len(ids) > _SOME else ""
        return f"{self.folder} holds {', '.join(ids[:_SOME])}{more}"


def _new_id() -> tuple[str, datetime]:
    """Return an id and its UTC time; within a process each is greater than the one before."""
    global _last_tick
    with _clock_guard:
        _last_tick = max(time.time_ns() * _TICKS // 1_000_000_000, _last_tick + 1)
        seconds, tick = divmod(_last_tick, _TICKS)
        now = datetime.now(UTC)
    order = _DIGITS[tick // len(_DIGITS)] + _DIGITS[tick % len(_DIGITS)]
    chance = secrets.choice(_DIGITS) + secrets.choice(_DIGITS)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(seconds))
    return f"{stamp}-{order}{chance}", now


def _writer() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "drivebay": _version.__version__,
    }
