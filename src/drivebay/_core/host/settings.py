"""What a host is told before it runs anything: its limits, and the surroundings of its owner.

Pure data, the same in both processes. Applying it is the host's own first act; nothing here looks
at a driver.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from typing import Final

import msgspec

from drivebay._core import wire

GRACE_S: Final = 2.0
"""How long a process that was told to end has before it is ended."""

DUMP_SIGNAL: Final = signal.SIGRTMIN + 5 if sys.platform == "linux" else signal.SIGUSR2
"""Makes a host write where each of its threads is; a driver will hardly use it for its own."""


class Limits(msgspec.Struct, frozen=True):
    """What a driver's process may use, and how long it may be silent.

    Attributes:
        memory_bytes: private memory; past it the process is ended. Twice this is the most it may
            reserve, past which Python raises MemoryError.
        open_files: descriptors it may hold.
        hang_s: silence after which it is taken to hang: no link operation, chunk, ``self.sleep`` or
            ``self.checkpoint``, and no other wait that said how long it would take.
        load_s: how long its code may take to import.
        stop_s: how long a measurement may go on after ``abort``, its clean-up included.
    """

    memory_bytes: int = 2 << 30
    open_files: int = 1024
    hang_s: float = 5.0
    load_s: float = 20.0
    stop_s: float = 8.0

    @property
    def beat_s(self) -> float:
        """Pause between two looks at a driver that works."""
        return min(0.25, self.hang_s / 4)

    @property
    def idle_beat_s(self) -> float:
        """Pause between two looks at a driver that waits for work."""
        return min(1.0, self.hang_s / 2)


class Settings(msgspec.Struct, frozen=True):
    """The first message to a host."""

    plugin: str
    version: str
    limits: Limits
    path: list[str]
    folder: str
    environment: dict[str, str]
    log_level: int
    drivebay: int = wire.PROTOCOL


ENVIRONMENT: Final = {
    # One driver needs one thread; OpenBLAS would start one for each core in every host.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # A driver that opens PyVISA itself talks through the keeper all the same.
    "PYVISA_LIBRARY": "@drivebay",
}


def settings_of_owner(plugin: str, version: str, limits: Limits) -> Settings:
    """Return what a host must know to see the world as this process sees it now."""
    try:
        folder = os.getcwd()
    except OSError:  # somebody removed it
        folder = "/"
    folder = folder if _is_text(folder) else "/"
    return Settings(
        plugin,
        version,
        limits,
        search_path(),
        folder,
        {k: v for k, v in {**os.environ, **ENVIRONMENT}.items() if _is_text(k + v)},
        logging.getLogger().getEffectiveLevel(),
    )


def search_path() -> list[str]:
    """Return where this process finds modules, in a form that holds in another one."""
    return [path for entry in sys.path if _is_text(path := os.path.abspath(entry))]


def _is_text(value: str) -> bool:
    """Whether it can be sent: not if it holds bytes that are no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def apply(settings: Settings) -> None:
    """Make this process, a host, as its settings say."""
    os.environ.clear()
    os.environ.update(settings.environment)
    sys.path[:] = settings.path
    with contextlib.suppress(OSError):
        os.chdir(settings.folder)
    _apply_limits(settings.limits)


def _apply_limits(limits: Limits) -> None:
    try:
        import resource
    except ImportError:  # not on this system: only the watch over its memory is left
        return
    wanted = [
        (resource.RLIMIT_NOFILE, limits.open_files),
        # A core file of a driver fills the disk its runs are written to.
        (resource.RLIMIT_CORE, 0),
    ]
    if sys.platform == "linux":
        # Linux counts private writable memory here (RLIMIT_AS would count libraries as well), so
        # that what grows while no thread of Python runs is stopped too.
        wanted.append((resource.RLIMIT_DATA, 2 * limits.memory_bytes))
    for which, soft in wanted:
        _, hard = resource.getrlimit(which)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (soft if hard < 0 else min(soft, hard), hard))
