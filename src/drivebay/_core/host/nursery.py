"""Where hosts come from: a process that forks them, or a new interpreter for each.

Promises: one zygote for each owner process, started when it is first needed and again when it has
died; a child of ours is signalled only while it is surely the same process; every child's end is
told exactly once, with its status. When the owner ends, however, all of them end.

A zygote is exec'd, so that it has one thread and no state of the owner's; forking from it costs
milliseconds and shares numpy and the contract's memory. Where it cannot be had (not Linux, or it
found itself with more than one thread) every host is a new interpreter: slower, nothing else.
Imports no plugin code and none of the stages.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from drivebay._core.errors import DrivebayError
from drivebay._core.host.monitor import Monitor
from drivebay._core.host.settings import ENVIRONMENT, GRACE_S, search_path

_log = logging.getLogger("drivebay.host")

READY_S: Final = 60.0
"""How long a zygote may take to import what hosts need: a cold disk, a busy machine."""

PACKET: Final = 1 << 16
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Child:
    """One host's process.

    Attributes:
        pid: its process id, 0 until it is known.
        status: its exit code, or minus the signal that ended it; None until then, and when
            nobody could tell.
        ended: set when it has ended.
    """

    def __init__(self, number: int, nursery: Nursery) -> None:
        self.number = number
        self.pid = 0
        self.status: int | None = None
        self.ended = threading.Event()
        self._nursery = nursery
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def signal(self, number: int) -> None:
        """Send a signal to it and to every process of its group; nothing if it has ended."""
        if not self.ended.is_set():
            self._nursery.signal(self, number)

    def when_ended(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once it has ended, or now."""
        with self._lock:
            if not self.ended.is_set():
                self._listeners.append(listener)
                return
        listener()

    def has_ended(self, status: int | None) -> None:
        """Take note of its end and tell the listeners; the nursery calls this."""
        with self._lock:
            if self.ended.is_set():
                return
            self.status = status
            self.ended.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()


class Nursery(Protocol):
    """Something that starts hosts."""

    monitor: Monitor

    def spawn(self, fds: Sequence[int]) -> Child:
        """Start a host on descriptors (calls in, answers out, control, output, crash file)."""

    def signal(self, child: Child, number: int) -> None:
        """Send a signal to a child's group, if it has not ended."""

    def close(self) -> None:
        """End every child; nothing can be started any more."""


class Zygote:
    """A process that forks hosts.

    Raises:
        DrivebayError: it cannot be started; the text has what it said.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._lock = threading.Lock()
        self._children: dict[int, Child] = {}
        self._count = 0
        self._closed = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as said:
            self._process = subprocess.Popen(
                _command("zygote", theirs.fileno(), os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,
            )
            theirs.close()
            self._await_ready(said)
        self._socket.setblocking(False)
        monitor.watch(self._socket.fileno(), self._hear)

    def _await_ready(self, said: Any) -> None:
        self._socket.settimeout(READY_S)
        try:
            facts = _unpack(self._socket.recv(PACKET) or b"\x80")
        except (OSError, msgspec.DecodeError) as exc:
            facts = {"problem": f"it did not start within {READY_S:g} s ({exc})"}
        if facts.get("ready"):
            return
        self._socket.close()
        self._process.kill()
        self._process.wait()
        said.seek(0)
        text = said.read(20_000).decode("utf-8", "replace").strip()
        problem = facts.get("problem") or f"it ended with status {self._process.returncode}"
        raise DrivebayError(
            f"the process that forks drivers is of no use: {problem}\n{text}".strip()
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can start hosts."""
        return not self._closed

    def spawn(self, fds: Sequence[int]) -> Child:
        """Start a host.

        Raises:
            DrivebayError: the zygote has ended.
        """
        with self._lock:
            self._count += 1
            child = Child(self._count, self)
            self._children[child.number] = child
            try:
                message = _pack({"spawn": child.number})
                socket.send_fds(self._socket, [message], list(fds))
            except OSError as exc:
                del self._children[child.number]
                raise DrivebayError(f"the process that forks drivers has ended ({exc})") from exc
        return child

    def signal(self, child: Child, number: int) -> None:
        """Have a child's group signalled; the zygote knows whether it is still the same one."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.send(_pack({"signal": number, "to": child.number}))

    def _hear(self) -> None:
        """On the monitor's thread: what the zygote says of its children."""
        try:
            data = self._socket.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        fact = _unpack(data)
        child = self._children.get(fact["child"])
        if child is None:
            return
        if "pid" in fact:
            child.pid = fact["pid"]
        else:
            del self._children[child.number]
            child.has_ended(fact["status"])

    def _end(self) -> None:
        """The zygote has ended, and its children with it."""
        with self._lock:
            self._closed = True
            self.monitor.close(self._socket.detach())
        self._process.kill()
        self._process.wait()
        while self._children:
            _, child = self._children.popitem()
            child.has_ended(None)

    def close(self) -> None:
        """End it and every host; returns when it has ended."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._process.kill()
        self._process.wait()

    def abandon(self) -> None:
        """In a forked process: this zygote is the parent's."""
        self._closed = True
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())
        self._process.returncode = 0  # not ours to wait for


class Interpreters:
    """A new interpreter for every host."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Child, subprocess.Popen[bytes]]] = {}
        self._count = 0
        self.alive = True

    def spawn(self, fds: Sequence[int]) -> Child:
        """Start a host."""
        output = fds[3]
        process = subprocess.Popen(
            _command("fresh", *fds),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(fds),
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        with self._lock:
            self._count += 1
            child = Child(self._count, self)
            child.pid = process.pid
            self._running[child.number] = child, process
        name = f"drivebay-wait-{process.pid}"
        threading.Thread(target=self._wait, args=(child, process), name=name, daemon=True).start()
        return child

    def _wait(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        with self._lock:
            self._running.pop(child.number, None)
        # What it left behind has its group, whose number is not given out while any is alive.
        _signal_group(process.pid, signal.SIGKILL)
        self.monitor.do(lambda: child.has_ended(status))

    def signal(self, child: Child, number: int) -> None:
        """Signal a child's group."""
        with self._lock:
            if child.number in self._running:
                _signal_group(child.pid, number)

    def close(self) -> None:
        """End every host; returns when all have ended."""
        with self._lock:
            self.alive = False
            running = list(self._running.values())
        for child, process in running:
            self.signal(child, signal.SIGKILL)
            process.wait()

    def abandon(self) -> None:
        """In a forked process: these hosts are the parent's."""
        self.alive = False
        for _, process in self._running.values():
            process.returncode = 0
        self._running.clear()


def _command(mode: str, *arguments: int) -> list[str]:
    if not sys.executable:
        raise DrivebayError("sys.executable is empty, so no process can be started for a driver")
    # The module search path is given before anything is imported by it.
    code = (
        "import sys, json; sys.path[:] = json.loads(sys.argv[1]);"
        " from drivebay._core.host.program import main; main(sys.argv[2:])"
    )
    words = [mode, *map(str, arguments)]
    return [sys.executable, "-c", code, json.dumps(search_path()), *words]


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


# -- one of each in a process ----------------------------------------------------------------------


class _Own:
    """What this process has; a forked one begins anew."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.monitor = Monitor()
        self.zygote: Zygote | None = None
        self.interpreters: Interpreters | None = None
        self.no_zygote = sys.platform != "linux"


_own = _Own()
_to_abandon: weakref.WeakSet[Any] = weakref.WeakSet()
"""Things with descriptors that a forked process must close: hosts add themselves."""


def abandon_in_fork(thing: Any) -> None:
    """Have ``thing.abandon()`` called in a process that is forked from this one."""
    _to_abandon.add(thing)


def zygote() -> Zygote:
    """Return this process's zygote, started or started again if need be.

    Raises:
        DrivebayError: it cannot be started.
    """
    with _own.lock:
        if _own.zygote is None or not _own.zygote.alive:
            _own.zygote = Zygote(_own.monitor)
        return _own.zygote


def interpreters() -> Interpreters:
    """Return what starts a new interpreter for every host."""
    with _own.lock:
        if _own.interpreters is None:
            _own.interpreters = Interpreters(_own.monitor)
        return _own.interpreters


def best_nursery() -> Nursery:
    """Return the best way of starting a host here."""
    if not _own.no_zygote:
        try:
            return zygote()
        except DrivebayError as exc:
            _own.no_zygote = True
            _log.warning("every driver starts an interpreter of its own: %s", exc)
    return interpreters()


def _close() -> None:
    for each in (_own.zygote, _own.interpreters):
        if each is not None:
            each.close()


def _forked() -> None:
    """In the child: nothing of the parent's is held open, or its end would not be noticed."""
    global _own
    old, _own = _own, _Own()
    for thing in list(_to_abandon):
        thing.abandon()
    _to_abandon.clear()
    for each in (old.zygote, old.interpreters, old.monitor):
        if each is not None:
            each.abandon()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
