"""What lies among the runs and is worth nothing: runs without a point, left-overs of crashes.

Promises: nothing is deleted, only moved into the folder ``trash``, from where it can be moved back.
A run with a point, a value, a tag or a note is litter only when it is asked for by name; one that
is being written or cannot be read never is. What a running program may just be making is left
alone: it holds the lock, and what has no lock must be an hour old.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import facts, fileformat, holder, shelf

_UNMADE: Final = ("failed", "aborted", "interrupted")  # a run that is done meant to be empty
_BUILDING: Final = ".building"
_COMPANIONS: Final = tuple(f"{fileformat.SUFFIX}{end}" for end in ("-wal", "-shm", "-journal"))
_LEAST_AGE_NS: Final = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Litter:
    """One file that can go.

    Attributes:
        path: where it lies.
        kind: ``run``, ``half-made run``, ``lock`` or ``log``.
        reason: why it can go.
        size: its bytes.
        moved_to: where it lies now; None when nothing was moved.
    """

    path: Path
    kind: str
    reason: str
    size: int
    moved_to: Path | None = None


def of_runs(folder: Path, found: list[facts.Facts], before: datetime) -> Iterator[Litter]:
    """Those of the runs given that began before a moment and hold nothing.

    Args:
        folder: the store's.
        found: what the catalogue knows of runs.
        before: latest start.
    """
    for each in found:
        if each.state not in _UNMADE or each.rows or each.tags:
            continue
        path = folder.joinpath(each.folder, each.name)
        try:
            run = facts.open_tidied(path, shelf.is_unfinished(path))
            kept = bool(len(run) or run.values or run.marks)
            state, began = run.state, datetime.fromisoformat(run.started_at)
        except (StoreError, ValueError):  # it cannot be read: not for us to judge
            continue
        if state in _UNMADE and not kept and began < before:
            yield Litter(path, "run", f"{state} without a point", path.stat().st_size)


def of_crashes(folder: Path) -> Iterator[Litter]:
    """Files beside no run: what a program that was killed has left.

    Raises:
        OSError: the folder cannot be listed.
    """
    if not folder.is_dir():
        return
    for place in ("", *sorted(shelf.look(folder).folders)):
        with os.scandir(folder / place) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            if litter := _left_over(folder / place / name):
                yield litter


def asked_for(path: Path) -> Litter:
    """A run that somebody wants out of the way, whatever it holds.

    Raises:
        RunError: it is being written.
    """
    run = facts.look(path, shelf.is_unfinished(path))
    if run.state == "running":
        raise RunError(f"run {run.id} is being written; end it before it is moved away")
    return Litter(path, "run", f"asked for; {run.state}, {len(run)} rows", path.stat().st_size)


def throw_away(folder: Path, litter: Litter) -> Litter:
    """Move it into the trash.

    Raises:
        RunError: it is a run that has begun to be written.
        OSError: it cannot be moved.
    """
    trash = folder / shelf.TRASH
    trash.mkdir(exist_ok=True)
    if litter.kind != "run":
        return replace(litter, moved_to=_move(litter.path, trash))
    lock_path = litter.path.with_suffix(fileformat.LOCK_SUFFIX)
    # It may have ended just now, here or in another process.
    lock = holder.hold_ended(lock_path) if _has_ended(litter.path) else holder.hold(lock_path)
    if lock is None:
        raise RunError(f"run {litter.path.stem} is being written; end it before it is moved away")
    try:
        moved = _move(litter.path, trash)
        for end in _COMPANIONS:  # of a run that could not be made one file
            companion = litter.path.with_suffix(end)
            if companion.exists():
                companion.rename(moved.with_suffix(end))
    finally:
        lock.release()
    return replace(litter, moved_to=moved)


def _has_ended(path: Path) -> bool:
    """Whether a run says how it ended; one that cannot be read is not waited for."""
    return facts.look(path, shelf.is_unfinished(path)).state in {"done", "failed", "aborted"}


def _left_over(path: Path) -> Litter | None:
    kind = _kind(path.name)
    if kind is None:
        return None
    stem = path.name.removesuffix(_BUILDING) if kind == "half-made run" else shelf.stem(path.name)
    stem = stem.removesuffix(f"{fileformat.SUFFIX}-shm")
    lock = path.with_name(f"{stem}{fileformat.LOCK_SUFFIX}")
    with contextlib.suppress(FileNotFoundError):  # its program has just got on
        status = path.stat()
        if shelf.now_ns() - status.st_mtime_ns < _LEAST_AGE_NS or holder.is_held(lock):
            return None
        if kind != "half-made run" and path.with_name(f"{stem}{fileformat.SUFFIX}").exists():
            return None
        written = datetime.fromtimestamp(status.st_mtime, UTC)
        reason = f"no program holds it, last written {written:%Y-%m-%d %H:%M} (UTC)"
        return Litter(path, kind, reason, status.st_size)
    return None


def _kind(name: str) -> str | None:
    if name.startswith(f"{shelf.stem(shelf.CATALOGUE)}."):
        return None
    if name.endswith(_BUILDING):
        return "half-made run"
    if name.endswith(fileformat.LOCK_SUFFIX):
        return "lock"
    return "log" if name.endswith(_COMPANIONS) else None


def _move(path: Path, trash: Path) -> Path:
    target, number = trash / path.name, 1
    while target.exists():
        number += 1
        target = trash / f"{path.stem}-{number}{path.suffix}"
    path.rename(target)
    return target
