"""Fixtures of the tests of the core: small drivers, managers, owners of keepers, instruments."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from drivebay import PluginManager
from drivebay._core.keeper import end_keeper
from drivebay._core.manager import PluginEvent
from drivebay.sim import Keithley2400Server, Resistor


class Heard:
    """The events of a manager, and a way to wait for what they lead to."""

    def __init__(self, manager: PluginManager) -> None:
        self.events: list[PluginEvent] = []
        self._news = threading.Condition()
        manager.subscribe(self._take)

    def _take(self, event: PluginEvent) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def kinds(self, plugin: str = "acme") -> list[str]:
        return [event.kind for event in self.events if event.plugin == plugin]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after every event."""
        with self._news:
            assert self._news.wait_for(condition, timeout=60), self.events[-5:]


@pytest.fixture
def heard() -> type[Heard]:
    return Heard


@pytest.fixture
def measured() -> Callable[..., object]:
    """What a new driver of a plugin measures."""

    def answer(manager: PluginManager, name: str = "acme") -> object:
        return manager.get_driver(name, "SIM::1").measure("answer", {})["answer"]

    return answer


# -- keepers ---------------------------------------------------------------------------------------

PATIENCE_S = 30.0
"""Never waited for; only there so that a hang ends."""

SAFE = {
    "interrupt": [":ABOR"],
    "writes": [":OUTP OFF"],
    "verify": {"query": ":OUTP?", "equals": "0"},
    "deadline_s": 1.0,
}

TALKER = """\
import ast, json, sys

names = {}
for line in sys.stdin:
    code, value = ast.parse(json.loads(line)), None
    last = code.body.pop() if isinstance(code.body[-1], ast.Expr) else None
    try:
        exec(compile(code, "told", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "told", "eval"), names)
        text = json.dumps({"value": value}, default=repr)
    except BaseException as exc:
        text = json.dumps({"error": type(exc).__name__, "text": str(exc)})
    print(text, flush=True)
"""


class Died(Exception):
    """The process a test talks to is gone."""


class Talker:
    """A process that does what a test says, one line of Python after the other."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TALKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.pid = self.process.pid
        self._rest = b""

    def begin(self, code: str) -> None:
        """Say what to do, and wait for nothing."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(code).encode() + b"\n")
        self.process.stdin.flush()

    def heard(self) -> Any:
        """What became of the oldest thing it was told; its error as a RuntimeError."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while b"\n" not in self._rest:
            ready, _, _ = select.select([fd], [], [], PATIENCE_S)
            assert ready, "it does not answer"
            chunk = os.read(fd, 65536)
            if not chunk:
                raise Died
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        found = json.loads(line)
        if "error" in found:
            raise RuntimeError(f"{found['error']}: {found['text']}")
        return found["value"]

    def do(self, *codes: str) -> Any:
        """Have something done; the value of the last."""
        value = None
        for code in codes:
            self.begin(code)
            value = self.heard()
        return value

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """Let it end as a program does that has nothing left to do."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


class Owner(Talker):
    """A program of its own that opens instruments; ``session`` and ``link`` are of the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.do(
            "from drivebay._core.keeper import open_session, open_link, running_keeper",
            "from drivebay._core.links import KeptLink",
            "import os, signal, threading, time",
            "heard = []; news = threading.Condition()",
            "def hear(event):\n with news: heard.append(event); news.notify_all()",
            "def wait_event(kind):\n"
            " find = lambda: [e for e in heard if e['event'] == kind]\n"
            f" with news: assert news.wait_for(find, {PATIENCE_S}), heard\n"
            " return find()[0]",
        )

    def open(
        self,
        resource: str,
        *,
        safe_state: dict[str, Any] | None = SAFE,
        setup: dict[str, Any] | None = None,
        **options: Any,
    ) -> int:
        """Open an instrument and say how it is made safe; the pid of the keeper."""
        self.do(f"session = open_session({resource!r}, {{'timeout_s': 20.0}}, **{options!r})")
        self.do("session.listener = hear")
        if safe_state is not None:
            self.do(f"session.configure(**{ {'safe_state': safe_state, **(setup or {})}!r})")
        self.do("link = session.link()")
        return int(self.do("session.keeper.pid"))


@pytest.fixture
def owner(leases: Path) -> Iterator[Callable[[], Owner]]:
    """Start programs that own instruments; their keepers are gone when the test is over."""
    started: list[Owner] = []

    def start() -> Owner:
        started.append(Owner())
        return started[-1]

    yield start
    for one in started:
        one.close()
    for path in leases.glob("keeper-*.socket"):
        wait_gone(int(path.name.split("-")[1]))


@pytest.fixture
def program() -> Iterator[Callable[[], Talker]]:
    """Start processes that do what they are told."""
    started: list[Talker] = []

    def start() -> Talker:
        started.append(Talker())
        return started[-1]

    yield start
    for one in started:
        one.close()


def wait_gone(pid: int) -> None:
    """Wait for the end of a process, however it ends."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], PATIENCE_S)[0], f"process {pid} does not end"
    finally:
        os.close(pidfd)


@pytest.fixture
def gone() -> Callable[[int], None]:
    return wait_gone


@pytest.fixture
def safe_state() -> dict[str, Any]:
    """The safe state of the simulated instrument."""
    return dict(SAFE)


@pytest.fixture
def leases(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder of this test's own in which instruments are reserved, and keepers of its own."""
    folder = tmp_path_factory.mktemp("leases")
    monkeypatch.setenv("DRIVEBAY_LEASES", str(folder))
    yield folder
    end_keeper()


@pytest.fixture
def smu() -> Iterator[Callable[..., Keithley2400Server]]:
    """Start simulated instruments; a reading with ``:SOUR:DEL 100`` lasts longer than any test."""
    servers: list[Keithley2400Server] = []

    def start(**options: Any) -> Keithley2400Server:
        options.setdefault("log_traffic", True)
        server = Keithley2400Server(Resistor(1000.0), **options).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


class LineInstrument:
    """A peer on loopback that answers lines with what a function of the test says.

    Attributes:
        lines: what came, in order.
        answer: given a line, the answer, or None for none.
        concurrent: questions are answered in threads of their own, as an instrument that reads
            while it measures.
    """

    def __init__(self, answer: Callable[[str], str | None], *, concurrent: bool = False) -> None:
        self.answer = answer
        self.concurrent = concurrent
        self.lines: list[str] = []
        self.connections = 0
        self.news = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::{self.listener.getsockname()[1]}::SOCKET"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self._open.append(peer)
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        rest = b""
        with suppress(OSError), peer:
            while chunk := peer.recv(65536):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    with self.news:
                        self.lines.append(line.decode())
                        self.news.notify_all()
                    if self.concurrent and b"?" in line:
                        threading.Thread(target=self._say, args=(peer, line.decode())).start()
                    else:
                        self._say(peer, line.decode())

    def _say(self, peer: socket.socket, line: str) -> None:
        answer = self.answer(line)
        if answer is not None:
            with suppress(OSError):
                peer.sendall(answer.encode() + b"\n")

    def wait_line(self, text: str, count: int = 1) -> None:
        with self.news:
            assert self.news.wait_for(lambda: self.lines.count(text) >= count, PATIENCE_S)

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self._open:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line_instrument() -> Iterator[Callable[..., LineInstrument]]:
    made: list[LineInstrument] = []

    def start(answer: Callable[[str], str | None], **options: Any) -> LineInstrument:
        made.append(LineInstrument(answer, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()
