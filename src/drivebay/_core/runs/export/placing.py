"""Files that appear whole or not at all.

Promises: what is written becomes visible under its name only when it is complete and on the disk;
a file that exists is replaced only when that was asked for; nothing is left behind by a failure.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from drivebay._core.errors import RunError

# What a file system without hard links answers (FAT, some network ones).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def placed(paths: Sequence[Path], *, overwrite: bool) -> Iterator[tuple[Path, ...]]:
    """Lend a name to write to for each path, and give the files their own names at the end.

    Raises:
        RunError: a file of that name exists and may not be replaced, or is no ordinary file.
        OSError: the folder cannot be written to.
    """
    for path in paths:
        _may_be_written(path, overwrite)
        if not path.resolve().parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no folder", str(path.parent))
    # A link stays a link: it is the file it leads to that is written.
    targets = [path.resolve() for path in paths]
    token = secrets.token_hex(6)
    building = tuple(
        target.with_name(f".drivebay-{token}-{at}.part") for at, target in enumerate(targets)
    )
    try:
        yield building
        for file in building:
            _sync(file)
        for file, target in zip(building, targets, strict=True):
            _give_name(file, target, overwrite)
    finally:
        for file in building:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _may_be_written(path: Path, overwrite: bool) -> None:
    if path.exists() and not path.is_file():
        # To rename onto /dev/null or /dev/stdout would take the device away from everybody.
        raise RunError(f"{path} is no ordinary file; give the name of a file")
    if path.exists() and not overwrite:
        raise RunError(
            f"{path} exists already; give another name, or overwrite it (overwrite=True, --force)"
        )


def _give_name(file: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        file.replace(target)
        return
    try:
        # Unlike a rename, a link never replaces a file that came to be in the meantime.
        os.link(file, target)
    except FileExistsError:
        _may_be_written(target, overwrite)
        raise
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        _may_be_written(target, overwrite)
        file.rename(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
