"""The crash laboratory: a simulated instrument whose own log says what happened, and when.

Promises: the simulator runs in a process of its own, so that nothing that is killed here takes it
along; its events carry the machine's monotonic clock, as the times of kills do, so a deadline is
the difference of two numbers of one clock and never a test's stopwatch. The moment of a kill is an
event: a message on its way to the instrument, an answer on its way back, a sweep that began.
Nothing here knows how Drivebay works; it sees bytes, events and processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import drivebay

PATIENCE_S = 20.0
"""Longest wait for something that must happen; only a broken test ever waits so long."""

SOAK = int(os.environ.get("DRIVEBAY_SOAK", "1"))
"""How many times over every count is done; ``make soak`` asks for ten."""

SOURCE = str(Path(drivebay.__file__).parents[1])

Event = dict[str, Any]


def environment() -> dict[str, str]:
    """For a process of ours: it imports the code that is tested, wherever that is installed."""
    return os.environ | {"PYTHONPATH": SOURCE}


class Log:
    """The simulator's events, as they come out of it."""

    def __init__(self, descriptor: int) -> None:
        self._events: list[Event] = []
        self._news = threading.Condition()
        self._stream = os.fdopen(descriptor, encoding="utf-8")
        threading.Thread(target=self._read, name="lab-log", daemon=True).start()

    def _read(self) -> None:
        with self._stream as stream:
            for line in stream:
                with self._news:
                    self._events.append(json.loads(line))
                    self._news.notify_all()

    def __len__(self) -> int:
        return len(self._events)

    def since(self, mark: int = 0) -> list[Event]:
        """Everything from a mark (an earlier ``len(log)``) on."""
        with self._news:
            return self._events[mark:]

    def named(self, *names: str, since: int = 0) -> list[Event]:
        return [event for event in self.since(since) if event["event"] in names]

    def wait(self, wanted: Callable[[Event], bool] | str, count: int = 1, since: int = 0) -> Event:
        """The ``count``-th event that is wanted, by name or otherwise, since a mark."""
        matches = (lambda e: e["event"] == wanted) if isinstance(wanted, str) else wanted
        found: list[Event] = []
        at = since
        with self._news:

            def come() -> bool:
                nonlocal at
                found.extend(event for event in self._events[at:] if matches(event))
                at = len(self._events)
                return len(found) >= count

            assert self._news.wait_for(come, PATIENCE_S), f"no {wanted} ({count}x)"
        return found[count - 1]


class Simulator:
    """A simulated instrument in a process of its own, a Keithley 2400 if nothing else is said."""

    def __init__(self, *options: str, kind: str = "keithley2400") -> None:
        read, write = os.pipe()
        # Its log is a pipe under a file's name: what it writes is here before it goes on.
        command = [sys.executable, "-m", "drivebay.sim", kind, "--log-traffic"]
        command += ["--device", "resistor", "--log", f"/proc/self/fd/{write}", *options]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[write],
            env=environment(),
            start_new_session=True,
        )
        os.close(write)
        self.log = Log(read)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.port = int(ready["port"])
        self.resource = str(ready["resource"])

    @property
    def connections(self) -> int:
        """How many were ever opened."""
        return len(self.log.named("connection_opened"))

    @property
    def output_on(self) -> bool:
        """What its log says last of the output."""
        switched = self.log.named("output_on", "output_off")
        return bool(switched) and switched[-1]["event"] == "output_on"

    def settle(self) -> None:
        """Return when all that was sent before has been executed and is in the log."""
        mark = len(self.log)
        with socket.create_connection(("127.0.0.1", self.port)) as line:
            line.sendall(b"*OPC?\n")
            line.recv(16)
        self.log.wait(lambda event: event.get("text") == "*OPC?", since=mark)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Held:
    """Traffic that is stopped in one direction, from a message on.

    Attributes:
        reached: set when the message has come, and everything before it has passed.
    """

    def __init__(self, matches: Callable[[bytes], bool], count: int, keep: int) -> None:
        self.matches = matches
        self.count = count
        self.keep = keep
        self.reached = threading.Event()
        self.cut = False
        self._go = threading.Event()

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_S), "the message never came"

    def release(self) -> None:
        """Let it pass, and all that came after it."""
        self._go.set()

    def drop(self) -> None:
        """Pull the cable: what was not passed on never is."""
        self.cut = True
        self._go.set()

    def stop_here(self, message: bytes) -> bool:
        """Whether this is the message; counts those before it."""
        if self.reached.is_set() or not self.matches(message):
            return False
        self.count -= 1
        return self.count == 0

    def hold(self) -> None:
        self.reached.set()
        self._go.wait(PATIENCE_S)


class Wire:
    """The cable to an instrument, on which one message can be held, whole or in part."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"
        self._held: dict[str, Held | None] = {"up": None, "down": None}
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, name="lab-wire", daemon=True).start()

    def hold(
        self, way: str, matches: Callable[[bytes], bool] | bytes, *, count: int = 1, keep: int = 0
    ) -> Held:
        """Stop the traffic ``up`` to the instrument or ``down`` from it at a message.

        Args:
            way: ``up`` or ``down``.
            matches: the message, by its beginning or otherwise.
            count: the how-manieth of these from now on.
            keep: bytes of it that still pass.
        """
        if isinstance(matches, bytes):
            start = matches
            held = Held(lambda message: message.startswith(start), count, keep)
        else:
            held = Held(matches, count, keep)
        self._held[way] = held
        return held

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs += [near, far]
            for source, target, way in ((near, far, "up"), (far, near, "down")):
                threading.Thread(
                    target=self._carry, args=(source, target, way), daemon=True
                ).start()

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                for message in data.splitlines(keepends=True):
                    if not self._pass(message, target, way):
                        break
            target.shutdown(socket.SHUT_WR)

    def _pass(self, message: bytes, target: socket.socket, way: str) -> bool:
        held = self._held[way]
        if held is not None and held.stop_here(message):
            target.sendall(message[: held.keep])
            held.hold()
            message = message[held.keep :]
            if held.cut:
                self._cut(target)
                return False
        target.sendall(message)
        return True

    def _cut(self, target: socket.socket) -> None:
        target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LineWire(Wire):
    """A cable as a serial line is: what was sent in part stays with the instrument.

    The instrument keeps its one connection, whoever comes and goes at this end.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._line = socket.create_connection(("127.0.0.1", port))
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._near: socket.socket | None = None
        threading.Thread(target=self._carry_down, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._pairs.append(near)
                self._near = near
                threading.Thread(target=self._carry_up, args=(near,), daemon=True).start()

    def _carry_up(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(1 << 16):
                for message in data.splitlines(keepends=True):
                    if not self._pass(message, self._line, "up"):
                        return

    def _carry_down(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._line.recv(1 << 16):
                if self._near is not None:
                    with contextlib.suppress(OSError):  # nobody is there to hear it
                        self._near.sendall(data)

    def _cut(self, target: socket.socket) -> None:
        """The rest never comes, and the line is as good as before."""

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()


class Reading:
    """Somebody reads a stream to its end, in a thread; every chunk he got is kept."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.chunks: list[dict[str, Any]] = []
        self.error: BaseException | None = None
        self._news = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._read, name="lab-reader", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for chunk in self.stream:
                with self._news:
                    self.chunks.append(chunk)
                    self._news.notify_all()
        except BaseException as exc:  # noqa: BLE001 - the error is what is looked at
            self.error = exc
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()

    def wait_chunks(self, count: int) -> None:
        """Wait until so many were handed out, which means that they are on disk."""
        with self._news:
            assert self._news.wait_for(
                lambda: self._over or len(self.chunks) >= count, PATIENCE_S
            ), "no chunk came"
        assert len(self.chunks) >= count, self.error

    def end(self) -> BaseException | None:
        """Wait for the end; the error it came to, if any."""
        self._thread.join(PATIENCE_S)
        assert self._over, "the stream does not end"
        return self.error


class Process:
    """A process that is watched by its descriptor, so that its number is never another's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def kill(self) -> float:
        """Kill it with SIGKILL; the moment, on the machine's monotonic clock."""
        at = time.monotonic()
        signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        return at

    def stop(self) -> None:
        """Let it do nothing any more; it can still be killed."""
        signal.pidfd_send_signal(self._descriptor, signal.SIGSTOP)

    def wait_gone(self) -> None:
        assert self.is_gone(PATIENCE_S), f"process {self.pid} is still there"

    def is_gone(self, timeout_s: float = 0.0) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout_s)[0])

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def watchman_of(keeper: int) -> int:
    """The process that a keeper leaves behind when it is killed: its only child."""
    (pid,) = Path(f"/proc/{keeper}/task/{keeper}/children").read_text("ascii").split()
    return int(pid)


class Owner:
    """A program of its own that owns the instrument; ``owner_program.py``, told what to do."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("owner_program.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """What it says next; empty when it is gone."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return dict(json.loads(line)) if line.endswith("\n") else {}

    def hear_all(self) -> Iterator[dict[str, Any]]:
        while said := self.hear():
            yield said

    def kill(self) -> float:
        at = time.monotonic()
        self._process.kill()
        return at

    def say_good_bye(self) -> None:
        """Tell it that there is nothing more to do."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def off_after(events: Sequence[Event], moment: float) -> float | None:
    """Seconds from a moment until the output was off for good; None if it is on.

    Args:
        events: of a simulator's log, from the beginning of the run on.
        moment: on the machine's monotonic clock. 0 if the output was off by then and stayed so.
    """
    switched = [event for event in events if event["event"] in {"output_on", "output_off"}]
    if switched and switched[-1]["event"] == "output_on":
        return None
    return max(0.0, switched[-1]["t"] - moment) if switched else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(values: Sequence[float]) -> str:
    """Median, 95th percentile and maximum of seconds, for a table."""
    parts = (percentile(values, 0.5), percentile(values, 0.95), max(values))
    return " / ".join(f"{1000 * part:.1f}" for part in parts)
