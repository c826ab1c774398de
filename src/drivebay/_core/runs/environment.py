"""What this machine and its clocks are, for a record that is read years later.

Promises: reads files and asks the kernel; touches no network, starts no process, and never fails: a
fact that cannot be had is left out.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from drivebay import _version
from drivebay._core.runs.plain import Plain

_DISTRIBUTIONS: Final = ("numpy", "msgspec", "pyvisa", "pyvisa-py", "pyserial", "pyusb")
"""Those whose version decides what is measured or kept; a plugin's own are added."""

_TIMEX_BYTES: Final = 512  # struct timex has 208 on 64-bit Linux
_TIMEX: Final = struct.Struct("@I4xllllil")  # modes, offset, freq, max, est, status, constant
_UNSYNCHRONISED: Final = 0x0040  # STA_UNSYNC, adjtimex(2)
_NANO: Final = 0x2000  # STA_NANO: the offset is in nanoseconds, not microseconds


@functools.lru_cache(maxsize=64)
def machine(distributions: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Return facts of the machine and of the Python that runs here, asked once.

    Args:
        distributions: names of further distributions whose versions matter.
    """
    versions = {name: _version_of(name) for name in (*_DISTRIBUTIONS, *distributions)}
    known = {name: version for name, version in versions.items() if version}
    return Plain({**_machine(), "versions": known})


@functools.cache
def _machine() -> dict[str, Any]:
    system = platform.uname()
    found: dict[str, Any] = {
        "host": system.node,
        "os": _os_name() or system.system,
        "kernel": f"{system.system} {system.release}",
        "architecture": system.machine,
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "sqlite": sqlite3.sqlite_version,
        "drivebay": _version.__version__,
        "locale": os.environ.get("LC_ALL") or os.environ.get("LANG") or "",
    }
    return {name: value for name, value in found.items() if value}


def _os_name() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return ""


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@functools.cache
def _version_of(name: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError, OSError):
        return importlib.metadata.version(name)
    return ""


def clocks() -> dict[str, Any]:
    """Return what the clocks say now.

    ``wall`` is UTC, ``monotonic_ns`` the clock that every time in a run counts on, ``offset_ns``
    the first less the second: where it changed within a run, the wall clock was set. ``ntp`` is
    the kernel's own opinion of how well the wall clock is kept.
    """
    before = time.monotonic_ns()
    wall_ns = time.time_ns()
    after = time.monotonic_ns()
    local = time.localtime(wall_ns // 1_000_000_000)
    return {
        "wall": datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat(timespec="microseconds"),
        "monotonic_ns": (before + after) // 2,
        "offset_ns": wall_ns - (before + after) // 2,
        "zone": local.tm_zone,
        "utc_offset_s": local.tm_gmtoff,
        "ntp": _ntp(),
    }


def _ntp() -> dict[str, Any]:
    """What the kernel says of its clock; empty where it cannot be asked."""
    ask = _adjtimex()
    buffer = bytearray(_TIMEX_BYTES)  # modes 0: only asks
    if ask is None or ask(buffer) < 0:
        return {}
    _, offset, _, most, estimated, status, _ = _TIMEX.unpack_from(buffer)
    return {
        "synchronised": not status & _UNSYNCHRONISED,
        "offset_us": offset / 1000 if status & _NANO else offset,
        "max_error_us": most,
        "estimated_error_us": estimated,
    }


@functools.cache
def _adjtimex() -> Callable[[bytearray], int] | None:
    """The system's call that tells of its clock, None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        call = ctypes.CDLL(None).adjtimex
    except (ImportError, OSError, AttributeError):
        return None
    room = ctypes.c_char * _TIMEX_BYTES
    return lambda buffer: int(call(room.from_buffer(buffer)))
