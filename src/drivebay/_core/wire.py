"""Messages between the processes of one owner: frames of msgpack over pipes or a Unix socket.

Rules:
- A frame is two lengths (body, tail), the body as msgpack, and a tail of raw bytes: arrays travel
  as they lie in memory, never as lists of numbers. Nothing is ever unpickled; a peer is not trusted
  to tell the truth, so a frame past the limit or one that is no msgpack ends the channel.
- Descriptors are non-blocking and every wait has a deadline: a peer that stopped reading or
  writing costs its time-out, never a thread.
- The first frame each way is a greeting with the protocol's number; another number is an error that
  names both.
- An error crosses as its class's name, its text, its plain attributes and its notes, and only
  classes of ``errors`` and a few built-in ones come back to life.

Knows no instrument and no driver, and starts no process.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from drivebay._core import errors
from drivebay._core.errors import Diagnostic, DrivebayError, ProtocolError

PROTOCOL: Final = 1
"""Number of this protocol; raised whenever the meaning of a message changes."""

MAX_BODY: Final = 64 << 20
MAX_TAIL: Final = 256 << 20
GREETING_S: Final = 20.0

_HEAD: Final = struct.Struct("<II")
_READ: Final = 8192  # a small frame at once; of a large one little is copied twice
_PIPE_BYTES: Final = 1 << 20
_GATHERED: Final = 1 << 15
"""Tails up to this go out in one system call with their head. A longer one is written on its own:
behind a head every page of it is copied in two pieces, which costs four times as much (measured on
Linux 6.18: 369 us instead of 94 us for 1 MiB)."""

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Raw bytes of a tail; a memoryview must be of bytes (``cast("B")``)."""

_NO_TAIL: Final = memoryview(b"")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Channel:
    """Frames over two descriptors, which may be one socket; owns and closes them.

    One thread receives at a time; any number send, each frame whole.

    Args:
        read_fd: where frames come from.
        write_fd: where frames go to.
        peer: who is at the other end, for messages.
        room: makes the writable buffers that long tails are read into.
        patient: every receive waits for ever, so none needs to ask first whether it must wait.
    """

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        *,
        peer: str = "peer",
        room: Callable[[int], Any] = bytearray,
        patient: bool = False,
    ) -> None:
        self.peer = peer
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._buffer = bytearray()
        # A frame whose tail has come in part: whoever receives next goes on with it.
        self._partial: tuple[bytes, memoryview, int] | None = None
        self._room = room
        self._patient = patient
        self._sending = threading.Lock()
        self._closed = False
        os.set_blocking(read_fd, patient)
        os.set_blocking(write_fd, False)
        self._readable = select.poll()
        self._readable.register(read_fd, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(write_fd, select.POLLOUT)

    @classmethod
    def of_socket(cls, sock: socket.socket, *, peer: str = "peer") -> Channel:
        """Take over a connected socket."""
        fd = sock.detach()
        return cls(fd, fd, peer=peer)

    def fileno(self) -> int:
        """The descriptor that becomes readable when a frame comes."""
        return self._read_fd

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def send(
        self, message: Any, tail: Sequence[Buffer] = (), *, timeout_s: float | None = 30.0
    ) -> None:
        """Send one frame.

        Args:
            message: plain data, as msgpack knows it.
            tail: buffers sent behind it as they are.
            timeout_s: deadline for the peer to take it; None waits for ever.

        Raises:
            BrokenPipeError: the peer is gone, or the channel is closed.
            TimeoutError: the peer does not read; the channel is of no more use.
            ProtocolError: the message is longer than the limit.
        """
        self.send_body(_encode(message), tail, timeout_s=timeout_s)

    def send_body(
        self, body: bytes, tail: Sequence[Buffer] = (), *, timeout_s: float | None = 30.0
    ) -> None:
        """Send one frame whose body is msgpack already. Raises: as :meth:`send`."""
        length = sum(map(len, tail)) if tail else 0
        if len(body) > MAX_BODY or length > MAX_TAIL:
            raise ProtocolError(
                f"a message of {len(body) + length:,} bytes to {self.peer}, limit {MAX_BODY:,} and"
                f" {MAX_TAIL:,} of raw data"
            )
        data = _HEAD.pack(len(body), length) + body
        with self._sending:
            if self._closed or self._write_fd < 0:
                raise BrokenPipeError(f"the channel to {self.peer} is closed")
            # As nearly always: it fits into the pipe at once.
            try:
                if 0 < length <= _GATHERED:
                    sent = os.writev(self._write_fd, [data, *tail])
                else:
                    sent = os.write(self._write_fd, data)
            except BlockingIOError:
                sent = 0
            if sent < len(data) + length:
                deadline = None if timeout_s is None else time.monotonic() + timeout_s
                self._send_rest([data, *tail], sent, deadline)

    def _send_rest(self, parts: Sequence[Buffer], sent: int, deadline: float | None) -> None:
        for part in parts:
            rest = memoryview(part).cast("B")[sent:]
            sent = max(0, sent - len(part))
            while rest:
                try:
                    rest = rest[os.write(self._write_fd, rest) :]
                except BlockingIOError:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError(f"{self.peer} does not read its messages") from None
                    self._writable.poll(None if left is None else left * 1000)

    def receive(self, timeout_s: float | None = None) -> Any:
        """Return the next message; :meth:`receive_whole` gives its tail as well.

        Raises: as :meth:`receive_whole`.
        """
        return self.receive_whole(timeout_s)[0]

    def receive_whole(self, timeout_s: float | None = None) -> tuple[Any, memoryview]:
        """Return the next message and its tail (writable, the caller's own).

        Args:
            timeout_s: deadline for the whole frame; None waits for ever.

        Raises:
            EOFError: the peer is gone, or the channel was closed.
            TimeoutError: nothing came in time; a part of a frame is kept for the next call.
            ProtocolError: what came is no frame of ours.
        """
        body, tail = self.receive_body(timeout_s)
        try:
            return _decode(body), tail
        except (msgspec.DecodeError, RecursionError) as exc:
            raise ProtocolError(f"{self.peer} sent what is no message: {exc}") from exc

    def receive_body(self, timeout_s: float | None = None) -> tuple[bytes, memoryview]:
        """Return the next frame with its body still msgpack. Raises: as :meth:`receive_whole`."""
        if self._partial is not None:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            return self._rest_of_tail(*self._partial, deadline)
        buffer = self._buffer
        if not buffer:
            body = self._at_once(timeout_s)
            if body is not None:
                return body, _NO_TAIL
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while len(buffer) < _HEAD.size:
            self._fill(deadline)
        body_length, tail_length = _HEAD.unpack_from(buffer)
        if body_length > MAX_BODY or tail_length > MAX_TAIL:
            raise ProtocolError(f"{self.peer} announced a message of {body_length:,} bytes")
        start, stop = _HEAD.size, _HEAD.size + body_length
        while len(buffer) < stop:
            self._fill(deadline)
        body = bytes(memoryview(buffer)[start:stop])
        if not tail_length:
            del buffer[:stop]
            return body, _NO_TAIL
        tail = memoryview(self._room(tail_length))
        here = buffer[stop : stop + tail_length]
        tail[: len(here)] = here
        del buffer[: stop + len(here)]
        return self._rest_of_tail(body, tail, len(here), deadline)

    def _at_once(self, timeout_s: float | None) -> bytes | None:
        """As nearly always: one read brings one whole frame without a tail; else it is kept."""
        chunk = self._read(timeout_s)
        if len(chunk) >= _HEAD.size:
            body_length, tail_length = _HEAD.unpack_from(chunk)
            if not tail_length and len(chunk) == _HEAD.size + body_length:
                return chunk[_HEAD.size :]
        self._buffer += chunk
        return None

    def _fill(self, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._buffer += self._read(left)

    def _read(self, timeout_s: float | None) -> bytes:
        """Wait for bytes and return them; empty when there were none after all."""
        if not self._patient:
            self._wait(timeout_s)
        try:
            chunk = os.read(self._read_fd, _READ)
        except BlockingIOError:
            return b""
        except OSError as exc:
            raise EOFError(f"{self.peer} is gone ({exc.strerror})") from exc
        if not chunk:
            raise EOFError(f"{self.peer} is gone")
        return chunk

    def _wait(self, timeout_s: float | None) -> None:
        if self._closed:
            raise EOFError(f"the channel to {self.peer} is closed")
        if not self._readable.poll(None if timeout_s is None else timeout_s * 1000):
            raise TimeoutError(f"{self.peer} did not answer in time")

    def _rest_of_tail(
        self, body: bytes, tail: memoryview, done: int, deadline: float | None
    ) -> tuple[bytes, memoryview]:
        """Read the raw bytes straight to where they stay; what came is kept if it ends early."""
        try:
            while done < len(tail):
                try:
                    count = os.readv(self._read_fd, [tail[done:]])
                except BlockingIOError:
                    self._wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
                    continue
                except OSError as exc:
                    raise EOFError(f"{self.peer} is gone ({exc.strerror})") from exc
                if not count:
                    raise EOFError(f"{self.peer} is gone in the middle of a message")
                done += count
        finally:
            self._partial = (body, tail, done) if done < len(tail) else None
        return body, tail

    def close_sending(self) -> None:
        """Send nothing any more: the peer, once it has read what was sent, sees the end."""
        with self._sending:
            if self._closed or self._write_fd == self._read_fd:
                return
            fd, self._write_fd = self._write_fd, -1
            if fd >= 0:
                os.close(fd)

    def close(self) -> None:
        """Close both descriptors; call it from the receiving thread, or when none receives."""
        with self._sending:
            if self._closed:
                return
            self._closed = True
            for fd in {self._read_fd, self._write_fd} - {-1}:
                with contextlib.suppress(OSError):
                    os.close(fd)


def pipe_pair() -> tuple[tuple[int, int], tuple[int, int]]:
    """Two pipes, as ``(our read, our write), (their read, their write)``, none inheritable."""
    theirs_read, ours_write = os.pipe()
    ours_read, theirs_write = os.pipe()
    for fd in (ours_write, theirs_write):
        widen(fd)
    return (ours_read, ours_write), (theirs_read, theirs_write)


def widen(fd: int) -> None:
    """Let a pipe hold 1 MiB, so that an array crosses in a few system calls; only Linux can."""
    try:
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return  # the pipe stays as narrow as the system makes it: slower, nothing else


def greet(channel: Channel, **facts: Any) -> dict[str, Any]:
    """Exchange greetings; the peer's.

    Args:
        channel: a new channel.
        **facts: what the peer should know of us, such as ``role`` and ``token``.

    Raises:
        ProtocolError: the peer speaks another protocol.
        EOFError: it hung up.
        TimeoutError: it said nothing within 20 s.
    """
    channel.send({"drivebay": PROTOCOL, **facts}, timeout_s=GREETING_S)
    return expect_greeting(channel)


def expect_greeting(channel: Channel, timeout_s: float = GREETING_S) -> dict[str, Any]:
    """Wait for the peer's greeting. Raises: as :func:`greet`."""
    answer = channel.receive(timeout_s)
    theirs = answer.get("drivebay") if isinstance(answer, dict) else None
    if theirs != PROTOCOL:
        raise ProtocolError(
            f"{channel.peer} speaks protocol {theirs!r}, this is {PROTOCOL};"
            " every process must run the same version of Drivebay"
        )
    return dict(answer)


# -- errors ----------------------------------------------------------------------------------------

_BUILT_IN: Final = {
    kind.__name__: kind
    for kind in (ValueError, TypeError, RuntimeError, LookupError, OSError, MemoryError)
}


def pack_error(exc: BaseException) -> dict[str, Any]:
    """Return an error as plain data.

    Args:
        exc: one of ours goes with all its plain attributes; of any other, class and text go.
    """
    notes = [str(note) for note in getattr(exc, "__notes__", ())]
    if not isinstance(exc, DrivebayError):
        known = next((k.__name__ for k in type(exc).__mro__ if k.__name__ in _BUILT_IN), "")
        return {"type": known or "RuntimeError", "text": str(exc), "notes": notes}
    facts = {
        name: packed
        for name, value in vars(exc).items()
        if not name.startswith("_") and ((packed := _plain(value)) is not None or value is None)
    }
    return {"type": type(exc).__name__, "text": str(exc), "facts": facts, "notes": notes}


def unpack_error(data: Any) -> Exception:
    """Return the error that was packed, as if it had been raised here."""
    if not isinstance(data, dict):
        return ProtocolError(f"an error that is no error was sent: {data!r:.80}")
    name, text = str(data.get("type")), str(data.get("text"))
    kind = getattr(errors, name, None)
    error: Exception
    if isinstance(kind, type) and issubclass(kind, DrivebayError):
        error = kind.__new__(kind, text)
        error.args = (text,)
        facts = data.get("facts")
        for key, value in facts.items() if isinstance(facts, dict) else ():
            setattr(error, str(key), _revived(value))
    else:
        error = _BUILT_IN.get(name, RuntimeError)(text)
    for note in data.get("notes") or ():
        error.add_note(str(note))
    return error


def _plain(value: Any) -> Any:
    """Plain data for msgpack, None for what is none."""
    if isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Diagnostic):
        return {"diagnostic": msgspec.to_builtins(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {"mapping": {str(key): _plain(item) for key, item in value.items()}}
    return None


def _revived(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_revived(item) for item in value)
    if isinstance(value, dict) and "diagnostic" in value:
        return Diagnostic(**value["diagnostic"])
    if isinstance(value, dict) and "mapping" in value:
        return {key: _revived(item) for key, item in value["mapping"].items()}
    return value
