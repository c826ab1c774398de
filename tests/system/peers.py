"""Instruments that misbehave at the network: one answers late, one takes commands in part."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable


class LatePeer:
    """Answers ``Q<n>?`` with ``A<n>``, some of them only when it is told that it is late.

    Args:
        share: how many of the answers are late.
        seed: of which.

    Attributes:
        late: numbers of the questions whose answer was kept back.
        connections: how many were opened.
    """

    IDENTITY = "ACME,LATE PEER,1,1.0"

    def __init__(self, share: float, seed: int) -> None:
        self.late: list[str] = []
        self.connections = 0
        self._chance = random.Random(seed)
        self._share = share
        self._kept_back: list[tuple[socket.socket, bytes]] = []
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.resource = f"TCPIP::127.0.0.1::{self.port}::SOCKET"
        threading.Thread(target=self._accept, daemon=True).start()

    def now(self) -> None:
        """It is late: send what was kept back."""
        with self._guard:
            kept_back, self._kept_back = self._kept_back, []
        for peer, answer in kept_back:
            with contextlib.suppress(OSError):
                peer.sendall(answer)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            for line in peer.makefile("r", encoding="ascii"):
                self._answer(peer, line.strip())

    def _answer(self, peer: socket.socket, question: str) -> None:
        if question == "*IDN?":
            peer.sendall(f"{self.IDENTITY}\n".encode())
            return
        answer = f"A{question[1:-1]}\n".encode()
        if self._chance.random() < self._share:
            with self._guard:
                self.late.append(question)
                self._kept_back.append((peer, answer))
        else:
            peer.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> LatePeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StockReader:
    """A socket, a timeout and no memory: how an instrument is talked to in most scripts."""

    def __init__(self, port: int, timeout_s: float) -> None:
        self._peer = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._lines = b""

    def query(self, question: str) -> str:
        self._peer.sendall(f"{question}\n".encode())
        while b"\n" not in self._lines:
            self._lines += self._peer.recv(4096)
        line, _, self._lines = self._lines.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self._peer.close()


def ask_all(
    ask: Callable[[str], str], peer: LatePeer, count: int, timed_out: type[Exception]
) -> tuple[int, int, list[tuple[str, str]]]:
    """Ask ``count`` questions; how many were answered, how many were not in time, and the wrong.

    What was late comes after the asker has given up on it, so at the worst possible moment.
    """
    answered = missed = 0
    wrong: list[tuple[str, str]] = []
    for number in range(count):
        try:
            answer = ask(f"Q{number}?")
        except timed_out:
            missed += 1
            peer.now()
            continue
        answered += 1
        if answer != f"A{number}":
            wrong.append((f"Q{number}?", answer))
    return answered, missed, wrong
