"""TCP: an instrument behind a raw socket, as a LAN adapter or a LAN instrument shows it.

Promises: loopback and an ephemeral port by default, TCP_NODELAY, one reader a connection that keeps
reading while the instrument is busy, a stop that ends every thread it started. Never understands a
message: the instrument does. A raw socket has no device clear.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from types import TracebackType
from typing import Self

from drivebay.sim.eventlog import EventLog
from drivebay.sim.instrument import ScpiInstrument

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """One client of the server."""

    def __init__(self, peer: socket.socket, name: str) -> None:
        self.name = name
        self.peer = peer
        self._outbox: deque[bytes] = deque()
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        """Takes an answer for the next ``flush``."""
        self._outbox.append(data)

    def flush(self) -> None:
        """Sends what is there, in order; answers to a client that left are dropped."""
        with self._sending:
            while self._outbox:
                data = self._outbox.popleft()
                with contextlib.suppress(OSError):
                    self.peer.sendall(data)

    def close(self) -> None:
        """Ends the connection, also under a reader that waits on it."""
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_RDWR)
        self.peer.close()


class ScpiServer:
    """Serves one instrument on TCP; a context manager.

    Attributes:
        instrument: what is served.
        log: its event log.
        port: the port it listens on, once started.
    """

    def __init__(
        self,
        instrument: ScpiInstrument,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        single_connection: bool = False,
    ) -> None:
        """Prepares a server; ``start`` opens the port.

        Args:
            instrument: what to serve.
            host: the address to listen on; loopback unless told otherwise.
            port: the port; 0 takes a free one.
            single_connection: refuse a second connection while there is one, as many LAN adapters
                do.
        """
        self.instrument = instrument
        self.host = host
        self.port = port
        self.single_connection = single_connection
        self._connections: dict[Connection, threading.Thread] = {}
        self._readers: list[threading.Thread] = []
        self._guard = threading.Lock()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    @property
    def log(self) -> EventLog:
        """The event log of the instrument."""
        return self.instrument.log

    @property
    def resource(self) -> str:
        """The VISA address of the server."""
        return f"TCPIP::{self.host}::{self.port}::SOCKET"

    def start(self) -> Self:
        """Opens the port and serves from threads of its own.

        Raises:
            OSError: the port cannot be had.
        """
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="sim-accept", daemon=True)
        self.log.add("listening", port=self.port)
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Closes the port and every connection, ends the instrument, and waits for all threads."""
        if self._listener is not None:
            # shutdown() wakes the accept(); close() alone does not on Linux.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        if self._acceptor is not None:
            self._acceptor.join()
            self._acceptor = None
        self.drop_connections()
        for reader in self._readers:
            reader.join()
        self.instrument.close()
        self.log.add("stopped")
        self.log.close()

    def drop_connections(self) -> None:
        """Cuts every connection, as a pulled cable would, and waits for their readers."""
        with self._guard:
            open_now = list(self._connections.items())
        for connection, _ in open_now:
            connection.close()
        for _, thread in open_now:
            thread.join()

    def __enter__(self) -> Self:
        """Starts the server."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops the server."""
        self.stop()

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None:
            try:
                peer, address = listener.accept()
            except OSError:
                return
            name = f"{address[0]}:{address[1]}"
            with self._guard:
                refused = self.single_connection and bool(self._connections)
                if not refused:
                    self._welcome(peer, name)
            if refused:
                self.log.add("connection_refused", client=name)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                peer.close()

    def _welcome(self, peer: socket.socket, name: str) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(peer, name)
        target, arguments = self._serve, (connection,)
        thread = threading.Thread(target=target, args=arguments, name=f"sim-{name}", daemon=True)
        self._connections[connection] = thread
        self._readers = [reader for reader in self._readers if reader.is_alive()] + [thread]
        self.log.add("connection_opened", client=name)
        thread.start()

    def _serve(self, connection: Connection) -> None:
        framer = self.instrument.framer()
        overruns = 0
        while data := _received(connection.peer):
            for message in framer.feed(data):
                self.instrument.receive(connection, message)
            if framer.overruns > overruns:
                overruns = framer.overruns
                with self.instrument.lock:
                    self.instrument.overrun()
        with self._guard:
            self._connections.pop(connection, None)
        self.log.add("connection_closed", client=connection.name)
        connection.close()


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536)
    except OSError:
        return b""
