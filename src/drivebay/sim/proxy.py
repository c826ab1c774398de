"""A TCP proxy in front of any instrument that makes the line bad: late, lost, cut, garbled answers.

Promises: what it does to which answer follows from its schedule alone, and stands in its log; with
no fault it passes every byte on, in order. Never understands a command: it counts answers.

    python -m drivebay.sim.proxy --to 127.0.0.1:5025 --late 5% --drop 1% --seed 7
    python -m drivebay.sim.proxy --to TCPIP::127.0.0.1::5025::SOCKET --script "ok*3, truncate"

>>> from drivebay.sim import Keithley2400Server
>>> with Keithley2400Server(time_scale=0.0) as smu, FaultProxy(smu.resource, "drop") as proxy:
...     proxy.resource != smu.resource
True
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Self

from drivebay.sim.eventlog import EventLog
from drivebay.sim.faults import KINDS, OK, AnswerFramer, Sizes, garbled, scripted, seeded
from drivebay.sim.serving import Stop

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
CONNECT_TIMEOUT_S = 10.0


def address_of(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or of a VISA socket address.

    Raises:
        ValueError: it is neither.

    >>> address_of("TCPIP::127.0.0.1::5025::SOCKET"), address_of("lab:5025")
    (('127.0.0.1', 5025), ('lab', 5025))
    """
    parts = text.split("::")
    if len(parts) == 4 and parts[0].upper().startswith("TCPIP") and parts[3].upper() == "SOCKET":
        host, port = parts[1], parts[2]
    else:
        host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{text!r} is no address, expected HOST:PORT or TCPIP::HOST::PORT::SOCKET")
    return host, int(port)


class FaultProxy:
    """Stands between clients and one instrument; a context manager.

    Attributes:
        log: events ``connection_opened``, ``connection_closed``, ``connection_refused``, and
            ``fault`` with ``kind`` and ``answer``, counted from 1 over all connections.
        port: where it listens, once started.
        answers: how many have come from the instrument.
    """

    def __init__(
        self,
        to: str,
        schedule: Iterable[str] | str = (),
        *,
        sizes: Sizes | None = None,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        single_connection: bool = False,
        log_file: str | PathLike[str] | None = None,
    ) -> None:
        """Prepares it; entering the context (or ``start``) opens the port.

        Args:
            to: the instrument, ``HOST:PORT`` or a VISA socket address.
            schedule: what happens to each answer: a script (``"ok*3, late"``, or its words), or
                any iterator, such as ``faults.seeded`` gives. No fault if not given.
            sizes: how bad each fault is.
            seed: which bytes are garbled, and to what.
            host: the address to listen on.
            port: the port; 0 takes a free one.
            single_connection: a second connection is closed at once while there is one.
            log_file: also write the event log there, as JSON lines.

        Raises:
            ValueError: an address or a script that is none.
        """
        self.to = address_of(to)
        self.sizes = sizes or Sizes()
        self.host = host
        self.port = port
        self.single_connection = single_connection
        self.log = EventLog(log_file)
        self.answers = 0
        self._schedule = schedule if isinstance(schedule, Iterator) else scripted(schedule)
        self._draw = random.Random(seed)
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._pairs: set[_Pair] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    @property
    def resource(self) -> str:
        """The VISA address that clients use instead of the instrument's."""
        return f"TCPIP::{self.host}::{self.port}::SOCKET"

    def start(self) -> Self:
        """Opens the port and serves from threads of its own.

        Raises:
            OSError: the port cannot be had.
        """
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        self._run(self._accept, self._listener)
        return self

    def stop(self) -> None:
        """Closes everything and waits for all threads."""
        self._ended.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._guard:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.close()
        for thread in self._threads:
            thread.join()
        self.log.close()

    def __enter__(self) -> Self:
        """Starts it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops it."""
        self.stop()

    def fault(self) -> tuple[str, int]:
        """What happens to the answer that comes now, and its number; each call is one answer."""
        with self._guard:
            self.answers += 1
            return next(self._schedule, OK), self.answers

    def garble(self, answer: bytes) -> bytes:
        """An answer with some bytes replaced."""
        with self._guard:
            return garbled(answer, self.sizes.garbage_share, self._draw)

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the end of the proxy."""
        self._ended.wait(seconds)

    def left(self, pair: _Pair) -> None:
        """A connection is over."""
        with self._guard:
            known = pair in self._pairs
            self._pairs.discard(pair)
        if known:
            self.log.add("connection_closed", client=pair.name)

    def _run(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="proxy", daemon=True)  # type: ignore[arg-type]
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, address = listener.accept()
            except OSError:
                return
            name = f"{address[0]}:{address[1]}"
            with self._guard:
                refused = self.single_connection and bool(self._pairs)
            instrument = None if refused else self._connected()
            if instrument is None:
                self.log.add("connection_refused", client=name)
                _reset(client)
                continue
            pair = _Pair(self, name, client, instrument)
            with self._guard:
                self._pairs.add(pair)
            self.log.add("connection_opened", client=name)
            self._run(pair.carry_messages)
            self._run(pair.carry_answers)

    def _connected(self) -> socket.socket | None:
        try:
            instrument = socket.create_connection(self.to, CONNECT_TIMEOUT_S)
        except OSError:
            return None
        instrument.settimeout(None)
        return instrument


class _Pair:
    """One client's connection and the one to the instrument that belongs to it."""

    def __init__(
        self, proxy: FaultProxy, name: str, client: socket.socket, instrument: socket.socket
    ) -> None:
        self.name = name
        self._proxy = proxy
        self._client = client
        self._instrument = instrument
        self._reads = threading.Lock()
        self._cut = False
        for each in (client, instrument):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Ends both connections."""
        for each in (self._client, self._instrument):
            # A shutdown would tell the client of an orderly end before the reset reaches it.
            if not (self._cut and each is self._client):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            each.close()

    def carry_messages(self) -> None:
        """From the client to the instrument, byte by byte as it comes."""
        with contextlib.suppress(OSError):
            while data := self._client.recv(65536):
                with self._reads:
                    self._instrument.sendall(data)
        self._over()

    def carry_answers(self) -> None:
        """From the instrument to the client, answer by answer, with its fault."""
        framer = AnswerFramer()
        with contextlib.suppress(OSError):
            while data := self._instrument.recv(65536):
                for answer in framer.feed(data):
                    self._pass(answer, *self._proxy.fault())
            if rest := framer.take_rest():
                self._client.sendall(rest)
        self._over()

    def _over(self) -> None:
        self.close()
        self._proxy.left(self)

    def _pass(self, answer: bytes, kind: str, number: int) -> None:
        # While it is busy no message passes, and the log says so only once that is true.
        with self._reads if kind == "busy" else contextlib.nullcontext():
            if kind != OK:
                self._proxy.log.add("fault", kind=kind, answer=number)
            if kind == "busy":
                self._proxy.pause(self._proxy.sizes.busy_s)
        if kind == "late":
            self._proxy.pause(self._proxy.sizes.late_s)
        if kind in {"truncate", "cut"}:
            self._client.sendall(answer[: len(answer.rstrip(b"\r\n")) // 2])
        if kind == "cut":
            # An OSError that ends this thread, as if the other side had done it.
            self._cut = True
            _reset(self._client)
            raise ConnectionResetError
        if kind == "drip":
            self._drip(answer)
        elif kind == "garbage":
            self._client.sendall(self._proxy.garble(answer))
        elif kind not in {"drop", "truncate"}:
            self._client.sendall(answer)

    def _drip(self, answer: bytes) -> None:
        sizes = self._proxy.sizes
        for first in range(0, len(answer), sizes.drip_bytes):
            if first:
                self._proxy.pause(sizes.drip_s)
            self._client.sendall(answer[first : first + sizes.drip_bytes])


def _reset(peer: socket.socket) -> None:
    """Closes a connection the hard way, also under a thread that reads from it."""
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        peer.shutdown(socket.SHUT_RD)
    peer.close()


def share(text: str) -> float:
    """``5%`` or ``0.05`` as a number.

    Raises:
        ValueError: it is neither, or not within 0 and 1.
    """
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"a share is 0% to 100%, got {text!r}")
    return value


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line."""
    plain = Sizes()
    top = argparse.ArgumentParser(
        prog="python -m drivebay.sim.proxy",
        description="a TCP proxy that makes the line to an instrument bad",
    )
    top.add_argument("--to", required=True, metavar="ADDRESS", help="HOST:PORT, or a VISA socket")
    top.add_argument("--host", default="127.0.0.1", help="address to listen on")
    top.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    for kind, means in KINDS.items():
        top.add_argument(f"--{kind}", type=share, default=0.0, metavar="SHARE", help=means)
    top.add_argument("--script", help="faults in order instead, such as 'ok*3, late, drop'")
    top.add_argument("--seed", type=int, default=0, help="of the random faults")
    top.add_argument("--late-s", type=float, default=plain.late_s)
    top.add_argument("--drip-bytes", type=int, default=plain.drip_bytes)
    top.add_argument("--drip-s", type=float, default=plain.drip_s)
    top.add_argument("--busy-s", type=float, default=plain.busy_s)
    top.add_argument("--garbage-share", type=share, default=plain.garbage_share)
    top.add_argument("--single-connection", action="store_true", help="refuse a second connection")
    top.add_argument("--ignore-stdin", action="store_true", help="do not stop at the end of input")
    top.add_argument("--log", metavar="FILE", help="append events to this file as JSON lines")
    return top


def proxy_of(options: argparse.Namespace) -> FaultProxy:
    """The proxy the options describe, not yet started.

    Raises:
        ValueError: an option is outside its range.
    """
    shares = {kind: getattr(options, kind) for kind in KINDS if getattr(options, kind)}
    if options.script is not None and shares:
        raise ValueError(f"--script or shares, not both; got --{', --'.join(shares)} too")
    return FaultProxy(
        options.to,
        scripted(options.script) if options.script is not None else seeded(shares, options.seed),
        sizes=Sizes(
            options.late_s,
            options.drip_bytes,
            options.drip_s,
            options.busy_s,
            options.garbage_share,
        ),
        seed=options.seed,
        host=options.host,
        port=options.port,
        single_connection=options.single_connection,
        log_file=options.log,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until told to stop; the exit code."""
    top = parser()
    options = top.parse_args(argv)
    stop = Stop()
    try:
        proxy = proxy_of(options).start()
    except (ValueError, OSError) as error:
        top.exit(2, f"{top.prog}: {error}\n")
    ready = {"resource": proxy.resource, "port": proxy.port, "to": "{}:{}".format(*proxy.to)}
    stop.serve(proxy, json.dumps(ready) + "\n", options.ignore_stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main())
