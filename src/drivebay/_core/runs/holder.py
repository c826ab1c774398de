"""Who is writing a run: a lock file that dies with its process.

A run that has no end is being written when, and only when, somebody holds the lock of its
``.lock`` file. The kernel releases the lock when the process dies, however it dies, so no process
number has to be believed.

POSIX record locks and not flock(2): a forked child would inherit the flock and keep a dead writer
alive. Their price is that closing any descriptor of the file in the owning process drops the lock
and that a process never conflicts with itself, so the runs this process writes are also kept in a
set, which is asked first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

if sys.platform == "win32":  # pragma: no cover - Linux is the tested tier
    import msvcrt

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.lockf(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


_guard = threading.RLock()  # re-entrant: a collected Holder releases in whatever frame it dies
_held: set[tuple[int, str]] = set()  # (process, lock file); the process, because a fork copies us
_ending: dict[tuple[int, str], threading.Event] = {}  # those whose run has its end already


def _in_the_child() -> None:
    """A lock that another thread held at the fork would be held in the child for ever."""
    global _guard
    _guard = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)

_SETTLE_S = 3.0
"""Longest wait for a run to become one file; its writer gives up before that."""

_LOOK_S = 0.01


class Holder:
    """The right to write one run, held until :meth:`release` or the end of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._key = (os.getpid(), str(path))
        _held.add(self._key)

    def ending(self) -> None:
        """Say that the run has its end and is only being folded: :func:`settle` waits for that."""
        with _guard:
            _ending[self._key] = threading.Event()

    def release(self) -> None:
        """Give the run up and remove the lock file; a second call does nothing."""
        with _guard:
            if self._key not in _held or self._key[0] != os.getpid():
                return
            # Removed while it is still held: whoever opened it before us finds an ended run.
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            _held.discard(self._key)
            settled = _ending.pop(self._key, None)
            if settled is not None:
                settled.set()

    __del__ = release


def hold(path: Path, *, new: bool = False) -> Holder | None:
    """Take the lock file at ``path``; None when somebody (this process too) holds it.

    Args:
        path: the lock file.
        new: the file must not exist yet, as for a run about to be created.

    Raises:
        FileExistsError: ``new`` and it exists.
        OSError: it cannot be created, as in a read-only folder.
    """
    path = path.resolve()
    with _guard:
        if (os.getpid(), str(path)) in _held:
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0), 0o644)
        if not _try_lock(descriptor, shared=False):
            os.close(descriptor)
            return None
        return Holder(path, descriptor)


def hold_ended(path: Path) -> Holder | None:
    """Take the lock file of a run that has its end; waits while its writer only folds it.

    A writer in another process says the end first and makes one file of the run afterwards, as
    :func:`settle` has it for this process.

    Args:
        path: the lock file.

    Raises:
        OSError: it cannot be created, as in a read-only folder.
    """
    settle(path)
    until_s = time.monotonic() + _SETTLE_S
    while (holder := hold(path)) is None and time.monotonic() < until_s:
        time.sleep(_LOOK_S)  # a record lock tells nobody when it is given up
    return holder


def settle(path: Path | None = None) -> None:
    """Wait until a run that this process has ended is one file; at once for any other.

    Args:
        path: the lock file; None waits for all runs of this process that have ended.
    """
    process = os.getpid()
    with _guard:
        if not _ending:
            return
        wanted = None if path is None else str(path.resolve())
        waits = [
            settled
            for (pid, name), settled in _ending.items()
            if pid == process and wanted in {None, name}
        ]
    for settled in waits:
        settled.wait(_SETTLE_S)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file at ``path``."""
    path = path.resolve()
    with _guard:
        if (os.getpid(), str(path)) in _held:
            return True
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor, shared=True)
        finally:
            os.close(descriptor)
