"""The raw TCP link: SCPI over a plain socket, without VISA.

Promises: Nagle's algorithm is off from the first byte (with it on, set-then-query costs 40 ms a
point); a refused port fails at open; a peer that closes is seen at once. Never imports pyvisa.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import threading
import time
from typing import Any

from drivebay._core.errors import LinkOpenError
from drivebay._core.links.direct import MAX_TIMEOUT_S, Clock, DirectLink
from drivebay._core.links.resource import Resource

_CHUNK = 65_536
_SLACK_S = 0.005  # so much late a read may end: one timeout then serves many like it
_RETRY_FIRST_S = 0.01
_RETRY_MOST_S = 0.25
_LEAVE_S = 0.25
_HANG_UP = (
    getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)
)

_Address = tuple[int, tuple[Any, ...]]


class TcpLink(DirectLink):
    """One TCP connection to an instrument's SCPI port (often 5025).

    Reading and writing use two socket objects on one connection, because a socket object has one
    timeout and the two directions have their own deadlines.
    """

    def __init__(
        self, resource: Resource, *, timeout_s: float = 5.0, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(resource.text, "socket", timeout_s=timeout_s, clock=clock)
        self.host = resource.host
        self.port = resource.port
        self._sockets = threading.Lock()  # short: swapping the pair only
        # Held around each system call, so that a socket is never closed under one: the number of
        # its descriptor could be another connection's by the time the call looks at it.
        self._in_recv = threading.Lock()
        self._in_send = threading.Lock()
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        deadline = self._deadline(None)
        self._addresses = _resolve(resource, deadline - self._clock())
        self._connect(deadline)

    # -- opening and closing ----------------------------------------------------------------------

    def _connect(self, deadline: float) -> None:
        problem: OSError | None = None
        for family, address in self._addresses:
            remaining = deadline - self._clock()
            if remaining <= 0:
                break
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(remaining)
                connection.connect(address)
                self._adopt(connection)
            except OSError as exc:
                connection.close()
                problem = exc
            else:
                return
        raise self._no_connection(problem) from problem

    def _adopt(self, connection: socket.socket) -> None:
        # One for each direction: a poll object refuses to be used by two threads at a time.
        poll, hang_up = select.poll(), select.poll()
        poll.register(connection, select.POLLIN | _HANG_UP)
        hang_up.register(connection, _HANG_UP)
        with self._sockets:
            self._reader = connection
            self._writer = connection.dup()
            self._writer.settimeout(0)  # a send tries at once; only one that cannot is waited for
            self._poll = poll  # under the question lock
            self._hang_up = hang_up  # under the write lock
            self._reader_s = 0.0
        if self._gone:  # close() came while we were connecting
            self._shut()

    def _no_connection(self, problem: OSError | None) -> LinkOpenError:
        where = f"{self.host} port {self.port}"
        if isinstance(problem, ConnectionRefusedError):
            why = f"V003 nothing listens at {where}, or it serves somebody else"
        elif problem is None or isinstance(problem, TimeoutError):
            why = f"{where} did not accept a connection in time"
        else:
            why = f"{where} cannot be reached: {problem.strerror or type(problem).__name__}"
        return LinkOpenError(f"{self.resource}: {why}", resource=self.resource)

    def _reconnect(self, deadline: float) -> None:
        """Close, then connect again: an instrument may serve one connection only.

        It may take a while to notice the close: it is given time to close its own side, and a
        refusal is tried again until the deadline.
        """
        if not self._ledger.torn:
            self._take_leave(deadline)
        self._shut(reset=self._ledger.torn)
        pause = _RETRY_FIRST_S
        while True:
            try:
                self._connect(deadline)
            except LinkOpenError:
                left = deadline - self._clock()
                if self._gone or left <= pause:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, _RETRY_MOST_S)
            else:
                return

    def _take_leave(self, deadline: float) -> None:
        """Say that nothing more comes, and wait a little for the instrument to say the same.

        One that serves a single connection would take the new one and reset it at once while it
        still has the old one. The write lock is held.
        """
        writer = self._writer
        if writer is None:
            return
        wait_s = min(_LEAVE_S, (deadline - self._clock()) / 2)
        try:
            with self._in_send:
                writer.shutdown(socket.SHUT_WR)
            if wait_s > 0:
                self._hang_up.poll(1000 * wait_s)
        except OSError:
            return  # it has gone already

    def _shut(self, *, reset: bool = False) -> None:
        with self._sockets:
            reader, writer = self._reader, self._writer
            self._reader = self._writer = None
        if reader is None or writer is None:
            return
        if reset:
            # What is left of a torn command in our send buffer must not follow the close.
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            _wake(reader)
        with self._in_recv:
            reader.close()
        with self._in_send:
            writer.close()

    # -- the ordinary query -----------------------------------------------------------------------

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        """Ask one question; see :meth:`Link.query`.

        The ordinary case runs here in one piece, because the layers of the general one cost as
        much as the socket does. Whatever is out of the ordinary goes the general way: found out
        before a byte is sent, or, once it is sent, in reading the answer.
        """
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        if (
            not 0 < wait_s <= MAX_TIMEOUT_S
            or "\n" in command
            or "\r" in command
            or (self.identity is None and "IDN" in command.upper())
            or not self._questions.acquire(False)
        ):
            return super().query(command, timeout_s=timeout_s)
        try:
            raw = self._quick(command, wait_s)
        finally:
            self._questions.release()
        if raw is None:
            return super().query(command, timeout_s=timeout_s)
        if raw.isascii() and (text := raw[:-1].decode()).isprintable():
            return text
        return self._text(raw, command)

    def _quick(self, command: str, wait_s: float) -> bytes | None:
        """The answer, or None if nothing was sent; the question lock is held."""
        ledger = self._ledger
        writer = self._writer
        if (
            writer is None
            or ledger.owed
            or ledger.doubt
            or self._buffer
            or self._skip_end
            or self._poll.poll(0)
            or not self._writes.acquire(False)
        ):
            return None
        self._heeded = self._give_ups
        try:
            message = command.encode() + b"\n"
            deadline = self._clock() + wait_s
            self._asking = command
            self._midway = False
            self._heeded = self._give_ups  # before it is sent: a stop may come as soon as it is
            sent = self._send_now(writer, message, deadline)
            if sent < len(message):
                self._unsent(message, sent)
            ledger.owed = 1
            self._record("w", message)
        finally:
            self._writes.release()
        raw = self._await(deadline)
        if raw.find(b"\n") == len(raw) - 1 and raw:  # as nearly always
            self._record("r", raw)
        else:
            self._add(raw)
            raw = self._take_line(deadline)
        ledger.answered()
        return raw

    # -- bytes ------------------------------------------------------------------------------------

    def _send(self, message: bytes, deadline: float) -> int:
        writer = self._writer
        if writer is None:
            self._lose("is closed")
        if self._hang_up.poll(0):
            self._lose("was closed by the instrument")
        return self._send_now(writer, message, deadline)

    def _send_now(self, writer: socket.socket, message: bytes, deadline: float) -> int:
        try:
            with self._in_send:
                sent = writer.send(message)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._lose(f"broke while sending ({exc.strerror or type(exc).__name__})", exc)
        return sent if sent == len(message) else self._send_rest(writer, message, sent, deadline)

    def _send_rest(self, writer: socket.socket, message: bytes, sent: int, deadline: float) -> int:
        """Send what did not fit into the send buffer at once, as it empties."""
        rest = memoryview(message)[sent:]
        try:
            while rest and (remaining := deadline - self._clock()) > 0:
                with self._in_send:
                    writer.settimeout(remaining)
                    try:
                        rest = rest[writer.send(rest) :]
                    finally:
                        writer.settimeout(0)
        except TimeoutError:
            pass
        except OSError as exc:
            self._lose(f"broke while sending ({exc.strerror or type(exc).__name__})", exc)
        return len(message) - len(rest)

    def _receive(self, deadline: float) -> bytes:
        remaining = deadline - self._clock()
        reader = self._reader
        if reader is None:
            self._lose("is closed")
        if remaining <= 0:
            return b""
        try:
            with self._in_recv:
                if not remaining <= self._reader_s <= remaining + _SLACK_S:
                    self._reader_s = remaining + _SLACK_S
                    reader.settimeout(self._reader_s)
                chunk = reader.recv(_CHUNK)
        except TimeoutError:
            return b""
        except OSError as exc:
            self._lose(f"broke while reading ({exc.strerror or type(exc).__name__})", exc)
        if not chunk:
            self._lose("was closed by the instrument")
        return chunk

    def _waiting(self) -> bool:
        return bool(self._poll.poll(0))


def _wake(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # not connected any more: nobody waits on it


def _resolve(resource: Resource, seconds: float) -> list[_Address]:
    """Addresses of the host. A name is looked up in a thread, as the resolver has no deadline."""
    host, port = resource.host, resource.port
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return _look_up(resource, seconds)
    if version == 6:
        return [(socket.AF_INET6, (host, port, 0, 0))]
    return [(socket.AF_INET, (host, port))]


def _look_up(resource: Resource, seconds: float) -> list[_Address]:
    found: list[_Address] = []
    problem: list[OSError] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(resource.host, resource.port, type=socket.SOCK_STREAM)
        except OSError as exc:
            problem.append(exc)
        else:
            found.extend((int(row[0]), row[4]) for row in rows)

    thread = threading.Thread(target=ask, name=f"resolve {resource.host}", daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found
    reason = (problem[0].strerror or "no such name") if problem else "no answer in time"
    raise LinkOpenError(
        f"{resource.text}: host name {resource.host!r} cannot be resolved: {reason}",
        resource=resource.text,
    )
