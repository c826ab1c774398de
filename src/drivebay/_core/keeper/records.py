"""What outlives a keeper: who holds an instrument, what may be energised, what was not made safe.

Rules:
- The folder is one for the whole machine, so that two users exclude each other. It lies on a disk,
  not in memory: what was armed must be known after a power cut.
- The right to an instrument is an OS lock on its file. The lock ends with the process that holds
  it, however that ends; the text in the file is only for people.
- A record of what is armed is on disk (fsync of file and folder) before :func:`write_record`
  returns, and is removed only when somebody confirmed that the output is off.
- Anybody of the machine can write here, so what is read is data that may be forged: it is checked,
  a process is ended only if the system itself says that it holds the lease, and no library is
  loaded because a record names it.

Opens no instrument.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import getpass
import hashlib
import ipaddress
import json
import os
import platform
import re
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from drivebay._core.errors import DrivebayError, LeaseError
from drivebay._core.links import parse_resource

FOLDER_VARIABLE: Final = "DRIVEBAY_LEASES"
"""Environment variable that names another folder, for tests and for machines with a layout."""

DEFAULT_FOLDER: Final = Path("/var/tmp/drivebay")

WATCHMAN: Final = "watchman"
"""Key of a holder that has the lease only for as long as it switches off for dead ones."""

_LONGEST_FOLDER: Final = 70  # of the 107 bytes that the name of a Unix socket may have
_MOST_RECORD_BYTES: Final = 1 << 20
_TAIL_BYTES: Final = 1 << 16

Kind = Literal["armed", "unsafe"]


def lease_folder() -> Path:
    """Return the machine-wide folder, made if need be, writable for every user.

    Raises:
        LeaseError: it cannot be used.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise LeaseError(f"{folder} is no folder, so instruments cannot be reserved in it")
        if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) != 0o1777:
            folder.chmod(0o1777)  # sticky, as /tmp: everybody adds, nobody removes another's
    except OSError as exc:
        raise LeaseError(f"{folder}: {exc.strerror}; instruments cannot be reserved") from exc
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        raise LeaseError(
            f"{folder} has {len(os.fsencode(folder))} bytes in its name, at most"
            f" {_LONGEST_FOLDER} leave room for the name of a socket in it"
        )
    return folder


def key_of(resource: str) -> str:
    """Return the name of an instrument's files: readable, unique, without odd characters.

    >>> key_of("TCPIP::127.0.0.1::5025::SOCKET")[:30]
    'TCPIP--127.0.0.1--5025--SOCKET'
    """
    readable = re.sub(r"[^A-Za-z0-9.]", "-", resource)[:60]
    return f"{readable}.{hashlib.sha256(resource.encode()).hexdigest()[:12]}"


def facts_of_this_process() -> dict[str, Any]:
    """Return who we are, as others will read it: user, host, pid, program, since."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    return {
        "user": user,
        "host": platform.node(),
        "pid": os.getpid(),
        "program": program,
        "since": now,
    }


def numeric_names(resource: str) -> list[str]:
    """Return the addresses a network address stands for, when it names its host.

    ``localhost`` and ``127.0.0.1`` are one instrument, and so are two names of one host. Asks the
    system's resolver, as opening the link does right after; empty when that knows nothing.

    >>> numeric_names("TCPIP::127.0.0.1::5025::SOCKET")
    []
    """
    host = parse_resource(resource).host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return []
    if not host:
        return []
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        return []
    names = []
    for address in sorted(found):
        numeric = f"[{address}]" if ":" in address else address
        with contextlib.suppress(DrivebayError):  # an IPv6 address with a scope has no such text
            names.append(parse_resource(resource.replace(f"::{host}::", f"::{numeric}::")).text)
    return names


class Lease:
    """The right to one instrument, held by this process from :meth:`take` to :meth:`release`."""

    def __init__(self, resource: str, descriptors: list[int]) -> None:
        self.resource = resource
        self._descriptors = descriptors

    @classmethod
    def take(
        cls, folder: Path, resource: str, holder: Mapping[str, Any], *, also: Sequence[str] = ()
    ) -> Lease:
        """Take it, or say who has it.

        Args:
            folder: as :func:`lease_folder` gives it.
            resource: canonical address.
            holder: what others are told of us.
            also: other names of the same instrument, which are taken with it.

        Raises:
            LeaseError: somebody else holds it (``holder`` says who), or the file cannot be written.
        """
        lease = cls(resource, [])
        try:
            lease._lock(folder, resource, {"resource": resource, **holder})
            for name in also:
                lease._lock(folder, name, {"resource": name, **holder, "for": resource})
        except BaseException:
            lease.release()
            raise
        return lease

    def _lock(self, folder: Path, name: str, facts: Mapping[str, Any]) -> None:
        path = folder / f"{key_of(name)}.lease"
        try:
            descriptor = _open_shared(path)
        except OSError as exc:
            raise LeaseError(f"{path}: {exc.strerror}", resource=name) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            found = read_holder(folder, name)
            raise LeaseError(
                _held(self.resource, name, found), resource=name, holder=found
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(facts).encode(), 0)
        except OSError as exc:
            os.close(descriptor)
            raise LeaseError(f"{path}: {exc.strerror}", resource=name) from exc
        self._descriptors.append(descriptor)

    def release(self) -> None:
        """Give it back; callable twice."""
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in reversed(descriptors):
            # The file stays: removing it would let two processes lock two files of one name.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _open_shared(path: Path) -> int:
    """Open a file every user may lock. O_CREAT alone fails on another's file in a sticky folder."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        os.fchmod(descriptor, 0o666)  # past the umask
        return descriptor
    return os.open(path, flags)


def _held(resource: str, name: str, holder: Mapping[str, Any]) -> str:
    other = str(holder.get("for") or name)
    if other != resource:
        resource = f"{resource}, which is the instrument of {other},"
    if not holder:
        return f"{resource} is held by another process, which has not said who it is"
    return f"{resource} is held by {who(holder)} since {holder.get('since')}"


def read_holder(folder: Path, resource: str) -> dict[str, Any]:
    """Return what the holder of an instrument said of itself; empty when nobody did."""
    return _read(folder / f"{key_of(resource)}.lease")


def lock_owner(folder: Path, resource: str) -> int:
    """Return the process that holds a lease as the system knows it, 0 when none is known.

    The text in the file may say anything: every user can write to it.
    """
    try:
        found = (folder / f"{key_of(resource)}.lease").stat()
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return 0
    where = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == where:
            return int(fields[4])
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_RECORD_BYTES) or b"{}")
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# -- what is armed, what is not safe ---------------------------------------------------------------


def write_record(folder: Path, kind: Kind, resource: str, facts: Mapping[str, Any]) -> None:
    """Put a record on disk; it is there, power cut or not, when this returns.

    Args:
        folder: as :func:`lease_folder` gives it.
        kind: ``armed``: its output may be on; ``unsafe``: it could not be made safe.
        resource: canonical address.
        facts: all that is needed to make it safe, or why that failed.

    Raises:
        OSError: it could not be written; then nothing may be energised.
    """
    path = folder / f"{key_of(resource)}.{kind}"
    data = json.dumps({"resource": resource, **facts}).encode()
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(fresh, flags, 0o666)
        try:
            os.fchmod(descriptor, 0o666)  # whoever makes it safe later may be another user
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
        try:
            os.replace(fresh, path)
        except PermissionError:  # another user's, emptied or not: in a sticky folder it stays his
            _overwrite(path, data)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    _sync_folder(folder)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _overwrite(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(descriptor, 0)
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_record(folder: Path, kind: Kind, resource: str) -> bool:
    """Remove a record; whether there was one. Another user's is emptied, which says the same.

    Raises:
        OSError: it can be neither removed nor emptied.
    """
    path = folder / f"{key_of(resource)}.{kind}"
    try:
        was = path.stat().st_size > 0
        try:
            path.unlink()
        except PermissionError:
            _overwrite(path, b"")
    except FileNotFoundError:
        return False
    return was


def read_record(folder: Path, kind: Kind, resource: str) -> dict[str, Any] | None:
    """Return the record of one instrument, None when there is none.

    One that cannot be read is an empty dictionary: something was written there.
    """
    path = folder / f"{key_of(resource)}.{kind}"
    try:
        if not path.stat().st_size:
            return None
    except OSError:
        return None
    return _read(path)


def records(folder: Path, kind: Kind) -> Iterator[dict[str, Any]]:
    """Yield every record of a kind that can be read, in order of file name."""
    yield from _named(folder, f"*.{kind}")


def holders(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what every holder of a lease says of itself, once for each instrument."""
    yield from (each for each in _named(folder, "*.lease") if "for" not in each)


def _named(folder: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """Yield what files say of their own instrument; one that names another is nobody's word."""
    for path in sorted(folder.glob(pattern)):
        found = _read(path)
        resource = found.get("resource")
        if isinstance(resource, str) and path.stem == key_of(resource):
            yield found


# -- take-overs ------------------------------------------------------------------------------------


def note_takeover(folder: Path, facts: Mapping[str, Any]) -> None:
    """Add a line to the record of take-overs, ``takeovers.jsonl``."""
    line = json.dumps(dict(facts)).encode() + b"\n"
    path = folder / "takeovers.jsonl"
    os.close(_open_shared(path))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(descriptor, line)  # one write, so that two take-overs are two lines
    finally:
        os.close(descriptor)


def taken_by(folder: Path, resource: str, keeper: int) -> dict[str, Any]:
    """Return who took an instrument over from a keeper, empty when nobody did."""
    try:
        with (folder / "takeovers.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        with contextlib.suppress(ValueError, AttributeError, KeyError, TypeError):
            facts = json.loads(line)
            if facts["resource"] == resource and facts["from"].get("keeper") == keeper:
                return dict(facts["by"])
    return {}


def who(facts: Mapping[str, Any]) -> str:
    """Say in a few words who somebody is.

    >>> who({"user": "ada", "program": "sweep.py", "pid": 7, "host": "bench3"})
    'ada (sweep.py, process 7) on bench3'
    """
    about = f"{facts.get('program')}, process {facts.get('pid')}"
    return f"{facts.get('user')} ({about}) on {facts.get('host')}"


RUNTIME_PREFIX: Final = "drivebay-keeper-"
"""Begins the name of a keeper's own folder, its process number follows."""

_LEAVING: Final = re.compile(r"(?:drivebay-)?keeper-(\d+)-[\w.]+")


def remove_leavings(temporary: Path, folder: Path) -> None:
    """Remove the folders and sockets of keepers that were killed; what cannot be removed stays.

    Args:
        temporary: where keepers have their own folders.
        folder: the lease folder, where their public sockets are.
    """
    for path in (*temporary.glob(f"{RUNTIME_PREFIX}*"), *folder.glob("keeper-*.socket")):
        named = _LEAVING.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if named is None or _is_alive(int(named[1])) or path.lstat().st_uid != os.getuid():
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_alive(pid: int) -> bool:
    """Whether there is such a process; another one of that number counts as well."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
