"""The program of a zygote, and the first steps of a host; runs in processes of their own only.

Promises: the zygote has one thread when it forks, or says so and forks nothing; a host holds no
descriptor but its own; every host ends with the zygote, and the zygote with its owner, whether the
owner closed it, crashed or was killed. A host's whole process group ends with it. Reads no plugin.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, Final, NoReturn

import msgspec

from drivebay._core.host.nursery import PACKET

_PR_SET_PDEATHSIG: Final = 1
_MOST_FDS: Final = 8
_PRELOADED: Final = (
    "numpy",
    "numpy.random",
    "numpy.typing",
    "drivebay.driver",
    "drivebay._core.host.serve",
    "drivebay._core.links.tcp",
)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, Any]).decode


def main(arguments: list[str]) -> NoReturn:
    """Run as ``zygote SOCKET OWNER`` or as ``fresh FD FD FD FD FD``."""
    mode, *numbers = arguments
    if mode == "zygote":
        fds = _zygote(*map(int, numbers))
    else:
        fds = [int(number) for number in numbers]
        os.close(fds.pop(3))  # stdout and stderr are it already
        for fd in fds:
            os.set_inheritable(fd, False)
    _be_host(fds)


def _preload() -> None:
    """Import what every host needs, once for all of them."""
    for name in _PRELOADED:
        importlib.import_module(name)


def _threads() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))


def _zygote(fd: int, owner: int) -> list[int]:
    """Fork hosts until the owner is gone; in each host, return its descriptors."""
    sock = socket.socket(fileno=fd)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _preload()
    count = _threads()
    if count != 1:
        text = f"it has {count} threads after its imports, and a fork would copy only one of them"
        sock.send(_pack({"problem": text}))
        os._exit(1)
    # What is here now stays for good: the collector need not touch, and so copy, its pages.
    gc.collect()
    gc.freeze()
    return _Parent(sock, owner).run()


class _Parent:
    """The zygote's loop."""

    def __init__(self, sock: socket.socket, owner: int) -> None:
        self.sock = sock
        self.pid = os.getpid()
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.pids: dict[int, int] = {}
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        # The owner's end of the socket may have been inherited by some other child of it.
        self.owner = os.pidfd_open(owner)

    def run(self) -> list[int]:
        """Serve; returns in each host, with its descriptors, and never in the zygote."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        for fd in (self.sock.fileno(), self.wake_read, self.owner):
            poll.register(fd, select.POLLIN)
        self.sock.send(_pack({"ready": True}))
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.wake_read in ready:
                self._reap()
            if self.owner in ready:
                self._end()
            if self.sock.fileno() in ready:
                own = self._serve()
                if own:
                    return own

    def _end(self) -> NoReturn:
        for pid in self.pids.values():
            _signal_group(pid, signal.SIGKILL)
        os._exit(0)

    def _serve(self) -> list[int]:
        """Do what the owner asks; returns a host's descriptors in that host, else none."""
        data, fds, _, _ = socket.recv_fds(self.sock, PACKET, _MOST_FDS)
        if not data:
            self._end()
        request = _unpack(data)
        if "spawn" in request:
            return self._spawn(request["spawn"], fds)
        pid = self.pids.get(request["to"])
        if pid is not None:
            _signal_group(pid, request["signal"])
        return []

    def _spawn(self, number: int, fds: list[int]) -> list[int]:
        try:
            pid = os.fork()
        except OSError as exc:
            self._tell({"child": number, "status": 255, "problem": str(exc)})
            pid = -1
        if pid == 0:
            return self._become_host(fds)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            self.pids[number] = pid
            self._tell({"child": number, "pid": pid})
        return []

    def _become_host(self, fds: list[int]) -> list[int]:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        self.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:  # it died before it could be asked to take us along
            os._exit(255)
        output = fds.pop(3)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, standard in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(fd, standard)
        self.sock.detach()
        _close_all_but({0, 1, 2, *fds})
        return fds

    def _tell(self, fact: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.sock.send(_pack(fact))

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, 4096)
        for number, pid in list(self.pids.items()):
            # Seen before it is taken away: until then its number names this group and no other.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _signal_group(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            del self.pids[number]
            self._tell({"child": number, "status": os.waitstatus_to_exitcode(status)})


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _signal_group(pid: int, number: int) -> None:
    """Signal a child that has not been waited for, and its group once it has one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            os.kill(pid, number)


def _be_host(fds: list[int]) -> NoReturn:
    """Serve on (calls in, answers out, control, crash file), then end without looking back."""
    from drivebay._core.host.serve import serve

    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _open_streams()
        serve(*fds)
        status = 0
    except BaseException:  # noqa: BLE001 - border: what ends a host is told by its output
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        # Exit handlers are those of the zygote; threads a driver left would be waited for.
        os._exit(status)


def _open_streams() -> None:
    """Make the standard streams anew: those of the zygote were made for other files."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        # Line by line as for a person, and never an error for what cannot be spelt.
        raw = io.BufferedWriter(io.FileIO(fd, "w", closefd=False))
        stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BytesIO(), "utf-8")  # type: ignore[misc]
