"""What lies under a VISA link: one port per way of moving bytes, each without losing any.

PyVISA's own calls drop what they had read when a timeout comes, and pyvisa-py's serial and socket
sessions read a byte at a time or spin on a closed peer. So with pyvisa-py the ports below use the
python objects of its sessions (the pyserial port, the socket, the session's own ``read``), as
read in pyvisa-py 0.8.1; any other library is used through PyVISA's calls.

Rules: waits at most the seconds it is given; a deadline is an empty answer, never an error; what a
library raises is let through, the link makes its errors of it.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Any, Protocol

_CHUNK = 65_536
_SERIAL_CHUNK = 64
_HANG_UP = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere a closed peer is a timeout


class Port(Protocol):
    """Moves bytes for one open VISA resource.

    Attributes:
        duplex: sending and receiving may overlap; if not, the link lets them take turns.
        clears: the interface has a device clear.
        exact: ``send`` knows how much went out; if not, a timeout may have sent some.
        slice_s: longest time to wait in one ``receive`` without losing anything by it.
    """

    duplex: bool
    clears: bool
    exact: bool
    slice_s: float

    def send(self, data: memoryview, seconds: float) -> int:
        """Send some of it; how many bytes went out, 0 at the deadline."""

    def receive(self, seconds: float) -> tuple[bytes, bool]:
        """Some bytes, and whether END came with the last; ``(b"", False)`` at the deadline."""

    def waiting(self) -> bool:
        """Whether bytes have come that nobody read; False where the interface cannot tell."""

    def clear(self, seconds: float) -> bool:
        """Send a device clear; False where the library knows none."""

    def close(self) -> None:
        """Close it."""


class SerialPort:
    """A serial line of pyvisa-py, by its pyserial object. It has no END and no device clear."""

    duplex = True
    clears = False
    exact = True
    slice_s = 0.2

    def __init__(self, visa: Any, session: Any) -> None:
        self._visa = visa
        self._serial = session.interface
        self._serial.reset_input_buffer()

    def send(self, data: memoryview, seconds: float) -> int:
        """Past pyserial, which does not say how much it wrote before a timeout."""
        if os.name == "nt":
            self._serial.write_timeout = seconds
            return int(self._serial.write(bytes(data[:_SERIAL_CHUNK])))
        _, ready, _ = select.select([], [self._serial], [], seconds)
        if not ready:
            return 0
        try:
            return os.write(self._serial.fileno(), data)
        except BlockingIOError:
            return 0

    def receive(self, seconds: float) -> tuple[bytes, bool]:
        self._serial.timeout = seconds
        first = self._serial.read(1)
        more = self._serial.in_waiting if first else 0
        return bytes(first + self._serial.read(more)) if more else bytes(first), False

    def waiting(self) -> bool:
        return bool(self._serial.in_waiting)

    def clear(self, seconds: float) -> bool:
        return False

    def close(self) -> None:
        self._visa.close()


class SocketPort:
    """A raw socket of pyvisa-py, by its python socket, with Nagle's algorithm off."""

    duplex = True
    clears = False
    exact = True
    slice_s = 0.2

    def __init__(self, visa: Any, session: Any) -> None:
        self._visa = visa
        self._reader: socket.socket = session.interface
        self._reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writer: socket.socket = self._reader.dup()

    def send(self, data: memoryview, seconds: float) -> int:
        self._writer.settimeout(seconds)
        try:
            return self._writer.send(data)
        except TimeoutError:
            return 0

    def receive(self, seconds: float) -> tuple[bytes, bool]:
        self._reader.settimeout(seconds)
        try:
            chunk = self._reader.recv(_CHUNK)
        except TimeoutError:
            return b"", False
        if not chunk:
            raise ConnectionResetError("the instrument closed the connection")
        return chunk, False

    def waiting(self) -> bool:
        return bool(select.select([self._reader], [], [], 0)[0])

    def clear(self, seconds: float) -> bool:
        return False

    def close(self) -> None:
        self._writer.close()
        self._visa.close()


class PyMessagePort:
    """VXI-11, HiSLIP, USB or GPIB of pyvisa-py, by its session's own read.

    That read hands out what had come when a timeout strikes; PyVISA's drops it.
    VXI-11 and HiSLIP are waited for in slices, so that a write or a device clear gets its turn
    while an answer is awaited. USB and GPIB are read in one go: an interrupted transfer of theirs
    cannot be taken up again, so a write has to wait for the end of the read.
    """

    duplex = False
    clears = True
    exact = False

    def __init__(self, visa: Any, session: Any) -> None:
        self._visa = visa
        self._session = session
        self._wait_on = getattr(session.interface, "_sync", None)  # HiSLIP's channel for answers
        self._peer = self._wait_on or getattr(session.interface, "sock", None)  # VXI-11's only one
        self.slice_s = 0.05 if self._peer is not None else 86_400.0

    def _hung_up(self) -> bool:
        """Whether the peer closed; pyvisa-py would wait for its answer until the timeout."""
        if self._peer is None or _HANG_UP == 0:
            return False
        poll = select.poll()
        poll.register(self._peer, _HANG_UP)
        return bool(poll.poll(0))

    def _check_peer(self) -> None:
        if self._hung_up():
            raise ConnectionResetError("the instrument closed the connection")

    def send(self, data: memoryview, seconds: float) -> int:
        self._check_peer()
        self._visa.timeout = max(1, seconds * 1000)
        sent, status = self._session.write(bytes(data))
        if status < 0 and not _is_timeout(status):
            raise OSError(f"write ended with {status.name}")
        return int(sent)

    def receive(self, seconds: float) -> tuple[bytes, bool]:
        self._check_peer()
        if self._wait_on is not None:
            # A timeout inside HiSLIP's read would lose the part of a header it had read.
            if not select.select([self._wait_on], [], [], seconds)[0]:
                return b"", False
            seconds = max(seconds, 1.0)
        self._visa.timeout = max(1, seconds * 1000)
        data, status = self._session.read(_CHUNK)
        if status < 0 and not _is_timeout(status):
            raise OSError(f"read ended with {status.name}")
        return bytes(data), status >= 0 and status.name != "success_max_count_read"

    def waiting(self) -> bool:
        return False

    def clear(self, seconds: float) -> bool:
        self._check_peer()
        self._visa.timeout = max(1, seconds * 1000)
        self._visa.clear()
        return True

    def close(self) -> None:
        if self._peer is not None and self._hung_up():
            self._peer.close()  # else its good-bye waits for an answer
        self._visa.close()


class LibraryPort:
    """Any interface of another VISA library (NI, Keysight, pyvisa-sim), through PyVISA's calls.

    Reading is one call with the whole time that is left. Whether sending may overlap with it is the
    library's business; those in C allow it.
    """

    duplex = True
    exact = False
    slice_s = 86_400.0

    def __init__(self, visa: Any, *, clears: bool) -> None:
        self._visa = visa
        self.clears = clears

    def send(self, data: memoryview, seconds: float) -> int:
        self._visa.timeout = max(1, seconds * 1000)
        try:
            return int(self._visa.visalib.write(self._visa.session, bytes(data))[0])
        except Exception as exc:
            if _timed_out(exc):
                return 0
            raise

    def receive(self, seconds: float) -> tuple[bytes, bool]:
        self._visa.timeout = max(1, seconds * 1000)
        try:
            data, status = self._visa.visalib.read(self._visa.session, _CHUNK)
        except Exception as exc:
            if _timed_out(exc):
                return b"", False
            raise
        return bytes(data), status.name != "success_max_count_read"

    def waiting(self) -> bool:
        return False

    def clear(self, seconds: float) -> bool:
        self._visa.timeout = max(1, seconds * 1000)
        try:
            self._visa.clear()
        except Exception as exc:
            if _unsupported(exc):
                return False
            raise
        return True

    def close(self) -> None:
        self._visa.close()


def make_port(visa: Any, interface: str) -> Port:
    """The port that fits an open PyVISA resource."""
    sessions = getattr(visa.visalib, "sessions", None)
    session = sessions.get(visa.session) if isinstance(sessions, dict) else None
    if session is None or not type(session).__module__.startswith("pyvisa_py"):
        return LibraryPort(visa, clears=interface in {"tcpip", "usb", "gpib"})
    if interface == "serial":
        return SerialPort(visa, session)
    if interface == "socket":
        return SocketPort(visa, session)
    return PyMessagePort(visa, session)


def _is_timeout(status: Any) -> bool:
    return bool(status.name == "error_timeout")


def _timed_out(error: Exception) -> bool:
    from pyvisa.constants import StatusCode

    return getattr(error, "error_code", None) == StatusCode.error_timeout


def _unsupported(error: Exception) -> bool:
    from pyvisa.constants import StatusCode

    return isinstance(error, NotImplementedError) or getattr(error, "error_code", None) in {
        StatusCode.error_nonsupported_operation,
        StatusCode.error_nonimplemented_operation,
    }
