"""What this machine says of its instruments and of the processes drivers need: facts for a person.

Promises: reads files and starts processes of ours; takes no lease, opens no instrument, changes no
record. Whether a lease is held is told by the system's table of locks and not by trying to take it,
because a try could make somebody else's fail.
"""

from __future__ import annotations

import os
import pwd
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from drivebay._core.host import Host, zygote
from drivebay._core.keeper import running_keeper
from drivebay._core.keeper.records import holders, key_of, lease_folder, records

_LOCKS: Final = Path("/proc/locks")


@dataclass(frozen=True)
class InstrumentRecord:
    """What is on record of one instrument on this machine.

    Attributes:
        resource: canonical address.
        holder: who has it now, as plain data: ``user``, ``host``, ``pid``, ``program``, ``since``;
            empty when nobody does.
        armed: its output may be on.
        unsafe: why it could not be made safe; empty when it is not latched.
        left_by: who left it on or unsafe, when that is not who has it now.
    """

    resource: str
    holder: Mapping[str, Any] = field(default_factory=dict)
    armed: bool = False
    unsafe: tuple[str, ...] = ()
    left_by: Mapping[str, Any] = field(default_factory=dict)


def instrument_records() -> list[InstrumentRecord]:
    """Return every instrument that somebody has, that may be on, or that is not safe.

    Raises:
        LeaseError: the folder for leases cannot be used.
    """
    folder = lease_folder()
    locked = _locked_files()
    held = {
        str(said["resource"]): said
        for said in holders(folder)
        if _is_held(folder / f"{key_of(str(said['resource']))}.lease", said, locked)
    }
    armed = {str(each["resource"]): each for each in records(folder, "armed")}
    unsafe = {str(each["resource"]): each for each in records(folder, "unsafe")}
    found = []
    for resource in sorted({*held, *armed, *unsafe}):
        trace = unsafe.get(resource) or armed.get(resource) or {}
        problems = unsafe.get(resource, {}).get("problems") or ()
        if resource in unsafe and not problems:
            problems = ("not said why",)
        found.append(
            InstrumentRecord(
                resource,
                {
                    key: held.get(resource, {})[key]
                    for key in _SAID
                    if key in held.get(resource, {})
                },
                resource in armed,
                tuple(map(str, problems)),
                dict(trace.get("holder") or {}) if resource not in held else {},
            )
        )
    return found


_SAID: Final = ("user", "host", "pid", "program", "since")


def _locked_files() -> set[int] | None:
    """Inodes somebody holds a lock on; None where the system does not tell."""
    try:
        lines = _LOCKS.read_text("ascii").splitlines()
    except OSError:
        return None
    # "1: FLOCK  ADVISORY  WRITE 1707 fe:00:2166003 0 EOF"; one with an arrow only waits.
    words = [line.split() for line in lines if "->" not in line]
    return {int(each[5].rpartition(":")[2]) for each in words if len(each) > 5}


def _is_held(path: Path, said: Mapping[str, Any], locked: set[int] | None) -> bool:
    if locked is not None:
        try:
            return path.stat().st_ino in locked
        except OSError:
            return False
    try:
        os.kill(int(said.get("keeper") or 0), 0)
    except PermissionError:
        return True  # it runs, and is another user's
    except (OSError, ValueError, OverflowError):
        return False
    return True


def lease_folder_facts() -> dict[str, Any]:
    """Return path, owner and mode of the folder for leases, after writing into it.

    Raises:
        LeaseError: it cannot be used.
        OSError: nothing can be written into it.
    """
    folder = lease_folder()
    with tempfile.TemporaryFile(dir=folder):
        pass
    found = folder.stat()
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    return {"path": str(folder), "owner": owner, "shared": bool(found.st_mode & 0o002)}


def keeper_facts() -> dict[str, Any]:
    """Start this process's keeper if it has none; return its ``pid`` and how long that took.

    Raises:
        LinkLostError: it could not be started.
        LeaseError: the folder for leases cannot be used.
    """
    began_s = time.monotonic()
    keeper = running_keeper()
    keeper.call("status")
    return {"pid": keeper.pid, "seconds": time.monotonic() - began_s}


def host_facts() -> dict[str, Any]:
    """Start a process as drivers get one, end it, and return what was seen.

    Returns:
        ``pid`` of the process that forks drivers and its number of ``threads``, how long it took to
        start (``seconds``), and ``host_seconds`` for one driver's process.

    Raises:
        DrivebayError: no driver can have a process of its own here.
    """
    began_s = time.monotonic()
    parent = zygote()
    ready_s = time.monotonic()
    host = Host.start("doctor")
    started_s = time.monotonic()
    host.close()
    status = Path(f"/proc/{parent.pid}/status").read_text("ascii", "replace")
    threads = next(line.split()[1] for line in status.splitlines() if line.startswith("Threads:"))
    return {
        "pid": parent.pid,
        "threads": int(threads),
        "seconds": ready_s - began_s,
        "host_seconds": started_s - ready_s,
    }
