"""Edits of plugin files, as they happen.

Promises: every change to a watched folder leads to a call that names the folder, within about a
millisecond on Linux; when the kernel's queue overflows the call says that anything may have
changed. Never waits for edits to settle (a half-written file fails to load and the old code stays),
never reads the files, never runs plugin code.

Linux: inotify, spoken directly, because watchfiles polls its queue every 50 ms and drops the
overflow event. How soon an edit is live is in docs/reference/performance.md. Elsewhere: watchfiles.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple, Protocol

RELEVANT_SUFFIXES: Final = (".py", ".yaml", ".yml")

OnChange = Callable[[Collection[str], bool], None]
"""Called with the paths that changed (a folder when its entries did), and whether any may have."""


class Covered(NamedTuple):
    """What became of a set of folders to watch."""

    added: bool
    """Some are watched from now on that were not; what happened in them before went unnoticed."""
    failed: list[str]
    """Folders that exist and that the system refuses to watch."""


class FolderWatch(Protocol):
    """Watches a set of folders, each by itself (not what lies below it)."""

    def start(self) -> None:
        """Begin to call back, from a thread of its own."""

    def cover(self, folders: Iterable[str]) -> Covered:
        """Watch exactly these folders from now on."""

    def stop(self, *, wait: bool = True) -> None:
        """End the calls; returns when none is running any more, unless it is not to wait."""


def folder_watch(on_change: OnChange) -> FolderWatch:
    """Return the best watch this system has."""
    if sys.platform == "linux":
        return InotifyWatch(on_change)
    return WatchfilesWatch(on_change)


_IN_CLOSE_WRITE: Final = 0x08
_IN_MOVED_FROM: Final = 0x40
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_IN_DELETE_SELF: Final = 0x400
_IN_MOVE_SELF: Final = 0x800
_IN_Q_OVERFLOW: Final = 0x4000
_IN_IGNORED: Final = 0x8000
_IN_ISDIR: Final = 0x40000000
_MASK: Final = (
    _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_DELETE_SELF
    | _IN_MOVE_SELF
)  # fmt: skip
_EVENT: Final = struct.Struct("iIII")


class InotifyWatch:
    """Linux inotify (man 7 inotify) through libc."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify: {os.strerror(number)}")
        self._wake_read, self._wake_write = os.pipe()
        self._lock = threading.Lock()
        self._stopped = False
        # One watch can have two names, when a folder is also reached through a link.
        self._folders: dict[int, set[str]] = {}
        self._numbers: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="drivebay-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cover(self, folders: Iterable[str]) -> Covered:
        wanted = set(folders)
        added, failed = False, []
        with self._lock:
            if self._stopped:
                return Covered(False, [])
            for folder in set(self._numbers) - wanted:
                number = self._numbers.pop(folder)
                names = self._folders.get(number, set())
                names.discard(folder)
                if not names:
                    self._libc.inotify_rm_watch(self._handle, number)
            for folder in sorted(wanted - set(self._numbers)):
                number = self._libc.inotify_add_watch(self._handle, os.fsencode(folder), _MASK)
                if number >= 0:
                    self._numbers[folder] = number
                    self._folders.setdefault(number, set()).add(folder)
                    added = True
                elif ctypes.get_errno() != errno.ENOENT:
                    failed.append(folder)
        return Covered(added, failed)

    def stop(self, *, wait: bool = True) -> None:
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            os.write(self._wake_write, b"x")
        if not self._thread.is_alive():
            self._close()
        elif wait and self._thread is not threading.current_thread():
            self._thread.join()

    def _close(self) -> None:
        with self._lock:
            self._numbers.clear()
            self._folders.clear()
            for handle in (self._handle, self._wake_read, self._wake_write):
                os.close(handle)

    def _run(self) -> None:
        # The thread closes what it waits on: a number closed under it could be somebody else's.
        try:
            self._serve()
        finally:
            self._close()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not any(fd == self._wake_read for fd, _ in poll.poll()):
            changed, overflow = self._take()
            if changed or overflow:
                self._on_change(changed, overflow)

    def _take(self) -> tuple[set[str], bool]:
        """Read all queued events."""
        changed: set[str] = set()
        overflow = False
        while True:
            try:
                data = os.read(self._handle, 1 << 16)
            except BlockingIOError:
                return changed, overflow
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                overflow = overflow or bool(mask & _IN_Q_OVERFLOW)
                self._note(number, mask, os.fsdecode(name), changed)

    def _note(self, number: int, mask: int, name: str, changed: set[str]) -> None:
        gone = mask & (_IN_IGNORED | _IN_DELETE_SELF | _IN_MOVE_SELF)
        with self._lock:
            folders = self._folders.get(number, set()).copy()
            if gone:
                # A folder that moved away is watched no longer, or the one that takes its place
                # would not be.
                for folder in self._folders.pop(number, ()):
                    if self._numbers.get(folder) == number:
                        del self._numbers[folder]
                if not mask & _IN_IGNORED:
                    self._libc.inotify_rm_watch(self._handle, number)
        for folder in folders:
            path = os.path.join(folder, name)
            if gone or mask & _IN_ISDIR:
                changed.add(folder)
            elif name.endswith(RELEVANT_SUFFIXES) and not (mask & _IN_CREATE and _is_new(path)):
                changed.add(path)


def _is_new(path: str) -> bool:
    """Tell a file that is about to be written, and closed, from one that was linked into place.

    The count of links would not do: a save may link a file and drop its other name at once.
    """
    try:
        entry = os.lstat(path)
    except OSError:
        return True
    return stat.S_ISREG(entry.st_mode) and entry.st_size == 0


class WatchfilesWatch:
    """The watchfiles package, for systems without inotify."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._folders: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._again = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drivebay-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cover(self, folders: Iterable[str]) -> Covered:
        there = frozenset(folder for folder in folders if os.path.isdir(folder))
        if there != self._folders:
            self._folders = there
            self._again.set()
        # The next round begins with a call that says that anything may have changed.
        return Covered(False, [])

    def stop(self, *, wait: bool = True) -> None:
        self._stop.set()
        self._again.set()
        if wait and self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._again.clear()
            folders = self._folders
            if not folders:
                self._again.wait()
                continue
            try:
                self._follow(folders)
            except FileNotFoundError:
                # One of them was deleted before it could be watched; go on with the others.
                self._folders = frozenset(folder for folder in folders if os.path.isdir(folder))

    def _follow(self, folders: Iterable[str]) -> None:
        """Report changes until the set of folders is another one, or the watch ends."""
        from watchfiles import watch

        changes = watch(
            *folders,
            recursive=False,
            debounce=20,
            step=5,
            rust_timeout=100,
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
        )
        # Between two watches an edit could slip by. The first news, if only that nothing happened
        # for a while, comes from a watch that is in place: now look at everything once.
        anything = True
        for batch in changes:
            changed = {_news(path) for _, path in batch} - {""}
            if changed or anything:
                self._on_change(changed, anything)
            anything = False
            if self._again.is_set():
                return


def _news(path: str) -> str:
    if path.endswith(RELEVANT_SUFFIXES):
        return path
    return "" if os.path.isfile(path) else os.path.dirname(path)
