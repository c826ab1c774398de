"""The client of a link that the keeper holds: the same promises, the channel in another process.

Every operation is one message to the keeper and one answer, over a Unix socket. Threads use a
socket each, so that a command or an interrupt never waits for a question under way: the keeper's
own link decides who may go when. Holds no channel to an instrument.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from drivebay._core.errors import DrivebayError, LinkLostError
from drivebay._core.links.direct import MAX_TIMEOUT_S
from drivebay._core.links.interface import Link
from drivebay._core.links.pulse import PULSE
from drivebay._core.wire import Channel, greet, unpack_error

_SLACK_S: Final = 10.0
"""How much longer than an operation's own deadline the keeper is waited for."""

QUICK_S: Final = 5.0
"""Deadline of what needs no instrument."""


class KeeperPort:
    """Calls to a keeper, from any thread; each caller that waits has a socket of its own.

    Args:
        path: the keeper's Unix socket.
        token: what was granted.
        role: ``host`` or ``owner``; a host's death makes its instrument safe.
        subject: what is held there, for messages.
    """

    def __init__(self, path: str, token: str, *, role: str, subject: str = "the keeper") -> None:
        self.path = path
        self.token = token
        self.role = role
        self.subject = subject
        self.gone = ""
        """Why no call gets through any more; empty while they do."""
        self._lock = threading.Lock()
        self._free: list[Channel] = []
        self._busy: set[Channel] = set()
        self._pid = os.getpid()

    def call(self, operation: str, *arguments: Any, timeout_s: float = QUICK_S) -> Any:
        """Ask the keeper for an operation and return its answer.

        Raises:
            LinkLostError: the keeper is gone or does not answer, or this port is closed.
            ProtocolError: the message is too long.
            DrivebayError: what the operation raised.
        """
        channel = self._take()
        PULSE.excuse(timeout_s)
        try:
            channel.send((operation, *arguments))
            error, result = channel.receive(timeout_s + _SLACK_S)
        except BaseException as exc:
            # An answer that comes later must not be taken for another question's.
            self._done(channel, broken=True)
            if isinstance(exc, (EOFError, OSError)):
                self._lose(exc)
            raise
        PULSE.tick()
        self._done(channel)
        if error is not None:
            raise unpack_error(error)
        return result

    def _take(self) -> Channel:
        if self._pid != os.getpid():
            self._after_fork()
        with self._lock:
            if self.gone:
                raise self._lost()
            if self._free:
                channel = self._free.pop()
                self._busy.add(channel)
                return channel
        channel = self._connect()
        with self._lock:
            self._busy.add(channel)
        if self.gone:  # closed meanwhile
            self._done(channel, broken=True)
            raise self._lost()
        return channel

    def _done(self, channel: Channel, *, broken: bool = False) -> None:
        with self._lock:
            self._busy.discard(channel)
            if broken or self.gone:
                channel.close()
            else:
                self._free.append(channel)

    def _after_fork(self) -> None:
        """The sockets belong to the process that forked us; here they are only let go."""
        theirs, self._free, self._busy = [*self._free, *self._busy], [], set()
        self._pid, self._lock = os.getpid(), threading.Lock()
        for channel in theirs:
            channel.close()

    def _connect(self) -> Channel:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(QUICK_S)
            sock.connect(self.path)
        except OSError as exc:
            sock.close()
            self._lose(exc)
        channel = Channel.of_socket(sock, peer="the keeper")
        try:
            greet(channel, role=self.role, token=self.token)
            error, _ = channel.receive(QUICK_S)
        except (EOFError, OSError) as exc:
            channel.close()
            self._lose(exc)
        except BaseException:
            channel.close()
            raise
        if error is not None:
            channel.close()
            raise unpack_error(error)
        return channel

    def _lose(self, cause: BaseException) -> NoReturn:
        slow = isinstance(cause, TimeoutError)
        why = "its keeper does not answer" if slow else "its keeper is gone"
        self.gone = self.gone or f"cannot be reached: {why}"
        raise self._lost() from cause

    def _lost(self) -> LinkLostError:
        return LinkLostError(
            f"{self.subject} {self.gone}; open it again", resource=self.subject, command=""
        )

    def close(self) -> None:
        """Close every socket; calls under way end with LinkLostError."""
        self.gone = self.gone or "is closed"
        with self._lock:
            while self._free:
                self._free.pop().close()
            for channel in self._busy:  # each is closed by the thread that waits on it
                sock = socket.socket(fileno=os.dup(channel.fileno()))
                with sock, contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


class KeptLink(Link):
    """A link whose channel the keeper holds.

    Args:
        path: the keeper's Unix socket.
        token: the grant.
        role: as :class:`KeeperPort` takes it.

    Raises:
        LeaseError: the grant was revoked.
        LinkOpenError: the instrument does not answer any more.
        LinkLostError: the keeper is gone.
    """

    def __init__(self, path: str, token: str, *, role: str = "host") -> None:
        self._port = KeeperPort(path, token, role=role, subject="the instrument")
        self._lost = False
        facts = self._call("info")
        self.resource = self._port.subject = str(facts["resource"])
        self.interface = str(facts["interface"])
        self.supports_binary = bool(facts["supports_binary"])
        self.timeout_s = float(facts["timeout_s"])
        self.identity = facts["identity"]

    def _call(self, operation: str, *arguments: Any, timeout_s: float = QUICK_S) -> Any:
        try:
            return self._port.call(operation, *arguments, timeout_s=timeout_s)
        except LinkLostError:
            # A channel that could only not be reopened in time is tried again by the next call.
            self._lost = self._is_lost()
            raise

    def _is_lost(self) -> bool:
        try:
            return bool(self._port.call("info")["closed"])
        except DrivebayError:
            return True

    def _seconds(self, timeout_s: float | None) -> float:
        seconds = self.timeout_s if timeout_s is None else timeout_s
        if not 0 < seconds <= MAX_TIMEOUT_S:
            raise ValueError(f"timeout_s {seconds!r} is not within 0 to {MAX_TIMEOUT_S:g} seconds")
        return seconds

    @property
    def closed(self) -> bool:
        return self._lost or bool(self._port.gone)

    @property
    def transcript(self) -> list[tuple[int, str, bytes]]:
        return self.messages()

    def messages(self, since: int = 0) -> list[tuple[int, str, bytes]]:
        """The messages from number ``since`` on, as far as the keeper still has them."""
        found: list[tuple[int, str, bytes]] = []
        while True:
            first, entries = self._call("transcript", since)
            found += [tuple(entry) for entry in entries]
            if not entries:
                return found
            since = first + len(entries)

    def traffic(self, since: int) -> tuple[list[tuple[int, str, bytes]], int, int]:
        """Whole messages from number ``since`` on, for who records them.

        Returns:
            Monotonic nanoseconds, ``w`` or ``r`` and bytes of each; how many the keeper no longer
            had; and the number of the next message to come.
        """
        found: list[tuple[int, str, bytes]] = []
        lost = 0
        while True:
            first, entries, end = self._call("traffic", since)
            lost += max(first - since, 0)
            found += [tuple(entry) for entry in entries]
            since = first + len(entries)
            if since >= end:
                return found, lost, since

    @property
    def reopened(self) -> int:
        return int(self._call("info")["reopened"])

    def write(
        self, command: str | bytes, *, timeout_s: float | None = None, end: bytes | None = None
    ) -> None:
        seconds = self._seconds(timeout_s)
        self._call("write", command, seconds, end, timeout_s=seconds)

    def write_each(self, commands: Sequence[str], *, timeout_s: float | None = None) -> None:
        seconds = self._seconds(timeout_s)
        self._call("write_each", list(commands), seconds, timeout_s=seconds * len(commands))

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        seconds = self._seconds(timeout_s)
        answer: str = self._call("query", command, seconds, timeout_s=seconds)
        if self.identity is None and "*IDN?" in command.upper() and ";" not in command:
            self.identity = answer
        return answer

    def try_ask(self, command: str, *, wait_s: float, after: Sequence[str] = ()) -> str | None:
        seconds = self._seconds(wait_s)
        timeout_s = self.timeout_s * (1 + len(after)) + seconds
        answer: str | None = self._call(
            "try_ask", command, seconds, list(after), timeout_s=timeout_s
        )
        return answer

    def query_block(self, command: str, *, timeout_s: float | None = None) -> bytes:
        seconds = self._seconds(timeout_s)
        data: bytes = self._call("query_block", command, seconds, timeout_s=seconds)
        return data

    def read(self, *, timeout_s: float | None = None) -> str:
        seconds = self._seconds(timeout_s)
        answer: str = self._call("read", seconds, timeout_s=seconds)
        return answer

    def read_block(self, *, timeout_s: float | None = None) -> bytes:
        seconds = self._seconds(timeout_s)
        data: bytes = self._call("read_block", seconds, timeout_s=seconds)
        return data

    def read_raw(
        self, *, at_most: int = 16 << 20, stop: bytes | None = None, timeout_s: float | None = None
    ) -> tuple[bytes, bool]:
        seconds = self._seconds(timeout_s)
        data, ended = self._call("read_raw", seconds, at_most, stop, timeout_s=seconds)
        return data, ended

    def interrupt(self) -> bool:
        return bool(self._call("interrupt"))

    def give_up(self) -> None:
        self._call("give_up")

    def close(self) -> None:
        self._port.close()
