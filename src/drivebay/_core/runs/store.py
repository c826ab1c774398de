"""A folder of run files: a new one is made here, an old one is found here.

Rules: the files are the truth, their names carry the order; a damaged file is listed with its
reason and never hides another.
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
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from drivebay import _version
from drivebay._core.errors import RunNotFoundError, StoreError
from drivebay._core.runs import export, fileformat, holder, mounts, plain
from drivebay._core.runs.run import Run
from drivebay._core.runs.writer import RunDraft, RunWriter, tidy

# Without 0, 1, i, l and o, which people confuse; in ASCII order, so that ids sort as times do.
_DIGITS = "23456789abcdefghjkmnpqrstuvwxyz"
_TICKS = len(_DIGITS) ** 2  # of a second: about a millisecond each
_ID = re.compile(rf"\d{{8}}-\d{{6}}-[{_DIGITS}]{{4}}")
_SOME = 5  # ids named in an error message
_LEFT_OVERS = (fileformat.LOCK_SUFFIX, f"{fileformat.SUFFIX}-wal")
_LAST = re.compile(r"last(?:-(\d+))?")

_clock_guard = threading.Lock()
_last_tick = 0


class RunStore:
    """The runs in one folder; the folder is made with the first of them."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
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
        }
        if stored:
            texts["columns"] = fileformat.columns_text(stored)
        with fileformat.store_errors(self.folder, "create a run in"):
            self._require_fit_folder()
            name, started_at, lock = self._reserve()
        started_ns = time.monotonic_ns()
        about = {
            "id": name,
            "method": method,
            "resource": resource,
            "started_at": fileformat.iso(started_at),
            "started_monotonic_ns": started_ns,
            "writer": _writer(),
        }
        texts["run"] = plain.to_text(about, "run")
        return RunDraft(self._path(name), lock, stored, started_ns, texts)

    def ids(self) -> builtins.list[str]:
        """Ids of all runs, newest first; empty when there is no folder yet.

        Raises:
            StoreError: the folder cannot be read.
        """
        return self._scan()[0]

    def list(self, limit: int | None = None) -> builtins.list[Run]:
        """Return the newest runs, newest first, damaged ones too (state ``damaged``).

        Only the heads of those returned are read. A run whose writer died is made one file here.

        Args:
            limit: at most so many; None for all.

        Raises:
            StoreError: the folder itself cannot be read.
        """
        ids, unfinished = self._scan()
        return [self._look(name, unfinished) for name in ids[:limit]]

    def open(self, name: str | Path = "last") -> Run:
        """Return one run.

        Args:
            name: an id, a beginning of one that only one run has, its four last characters,
                ``last``, ``last-1`` (the one before) and so on, or the path of a run file.

        Raises:
            RunNotFoundError: no run, or more than one, answers to it; the message lists some.
            StoreError: the file is damaged or from a newer version.
        """
        path = Path(name)
        if path.suffix != fileformat.SUFFIX:
            path = self._path(self.resolve(str(name)))
        elif not path.is_file():
            raise RunNotFoundError(f"no run file {str(path)!r}")
        return _open_tidied(path, path.with_suffix(fileformat.LOCK_SUFFIX).exists())

    def resolve(self, name: str) -> str:
        """Return the id that ``name`` (see :meth:`open`) stands for.

        Raises:
            RunNotFoundError: no run, or more than one, answers to it.
        """
        ids = self.ids()
        if last := _LAST.fullmatch(name):
            back = int(last[1] or 0)
            if back < len(ids):
                return ids[back]
            raise RunNotFoundError(f"no run {name!r}: {self._what_exists(ids)}")
        if name in ids:
            return name
        found = [i for i in ids if name and (i.startswith(name) or i.endswith(f"-{name}"))]
        if len(found) == 1:
            return found[0]
        if found:
            some = ", ".join(found[:_SOME])
            raise RunNotFoundError(f"{name!r} could be any of {len(found)} runs: {some}")
        raise RunNotFoundError(f"no run {name!r}: {self._what_exists(ids)}")

    def export(
        self, name: str | Path | Run, target: Path | str | TextIO, kind: str | None = None
    ) -> tuple[Path, ...]:
        """Write a run as CSV or JSON; see :func:`drivebay._core.runs.export.export_run`.

        Raises:
            RunNotFoundError: no run answers to ``name``.
            RunError: ``kind`` (or the ending of ``target``) is neither csv nor json.
            StoreError: the run is damaged, or ``target`` cannot be written.
        """
        return export.export_run(name if isinstance(name, Run) else self.open(name), target, kind)

    def __repr__(self) -> str:
        return f"RunStore({str(self.folder)!r})"

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{fileformat.SUFFIX}"

    def _scan(self) -> tuple[builtins.list[str], set[str]]:
        """Ids, newest first, and those of them that have a lock or a log beside their file."""
        ids, unfinished = [], set()
        with fileformat.store_errors(self.folder, "list"):
            try:
                entries = os.listdir(self.folder)
            except FileNotFoundError:
                return [], set()
        for entry in entries:
            name, _, ending = entry.partition(".")
            if not _ID.fullmatch(name):
                continue
            if f".{ending}" == fileformat.SUFFIX:
                ids.append(name)
            elif f".{ending}" in _LEFT_OVERS:
                unfinished.add(name)
        return sorted(ids, reverse=True), unfinished

    def _look(self, name: str, unfinished: set[str]) -> Run:
        path = self._path(name)
        try:
            run = _open_tidied(path, name in unfinished)
            len(run)  # reads its end too, so that nothing a listing shows can raise later
        except StoreError as exc:
            return Run(path, damage=str(exc))
        return run

    def _require_fit_folder(self) -> None:
        """Make the folder; look at its file system, again only when another is mounted there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        device = self.folder.stat().st_dev
        if device != self._device:
            mounts.refuse_network(self.folder)
            self._device = device

    def _reserve(self) -> tuple[str, datetime, holder.Holder]:
        """Return a new id, its time and its lock; two processes never get the same."""
        while True:
            name, started_at = _new_id()
            try:
                lock = holder.hold(self.folder / f"{name}{fileformat.LOCK_SUFFIX}", new=True)
            except FileExistsError:
                continue
            if lock is not None and not self._path(name).exists():
                return name, started_at, lock
            if lock is not None:
                lock.release()

    def _what_exists(self, ids: Sequence[str]) -> str:
        if not ids:
            return f"{self.folder} holds no runs yet"
        more = f" and {len(ids) - _SOME} more" if len(ids) > _SOME else ""
        return f"{self.folder} holds {', '.join(ids[:_SOME])}{more}"


def _open_tidied(path: Path, unfinished: bool) -> Run:
    """Open a run; first make one file of it if its writer (or the last reader) left it in more."""
    if unfinished:
        tidy(path)
    run = Run(path)
    if run.is_one_file:
        return run
    tidy(path)
    return Run(path)


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
