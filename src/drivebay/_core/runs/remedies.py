"""What a person can do about a disk that refuses.

Promises: the advice follows from the code of the error and the room on the disk, never from words.
Never promises that it helps: where the code says nothing, neither does this.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path
from typing import Final

MAKE_ROOM: Final = "make room on that disk and measure again; what was stored before is kept"
CHOOSE_FOLDER: Final = (
    "choose a folder that may be written to (runs: DRIVEBAY_HOME or Bay(home=...)), or allow it"
)
SAVE_DATA: Final = (
    "the disk or the connection to it fails: copy what is there to another one, and look into the"
    " system's log"
)

_OF_ERRNO: Final = {
    errno.ENOSPC: MAKE_ROOM,
    errno.EDQUOT: MAKE_ROOM,
    errno.EFBIG: MAKE_ROOM,
    errno.EROFS: CHOOSE_FOLDER,
    errno.EACCES: CHOOSE_FOLDER,
    errno.EPERM: CHOOSE_FOLDER,
    errno.EIO: SAVE_DATA,
}
_OF_SQLITE: Final = {
    sqlite3.SQLITE_FULL: MAKE_ROOM,
    sqlite3.SQLITE_READONLY: CHOOSE_FOLDER,
    sqlite3.SQLITE_PERM: CHOOSE_FOLDER,
    sqlite3.SQLITE_IOERR: SAVE_DATA,
}


_HARDLY_ANY_BYTES: Final = 1_000_000
"""SQLite calls it an I/O error where there is no room for the index of its log."""


def with_remedy(error: BaseException, path: Path) -> str:
    """Return what an error says, and what can be done about it if that is known.

    Args:
        error: from the system or from SQLite.
        path: what was read or written.

    >>> with_remedy(OSError(28, "No space left on device"), Path("run"))[:40]
    '[Errno 28] No space left on device; make'
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        remedy = _OF_ERRNO.get(getattr(error, "errno", None) or 0)
    else:
        remedy = _OF_SQLITE.get(code & 0xFF)  # the rest of a code says where
    if remedy == SAVE_DATA and _is_full(path.parent):
        remedy = MAKE_ROOM
    return f"{error}; {remedy}" if remedy else str(error)


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _HARDLY_ANY_BYTES
    except OSError:
        return False
