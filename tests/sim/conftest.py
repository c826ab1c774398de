"""A plain socket client, and simulated instruments that take no time."""

import socket

import pytest

from drivebay.sim import Keithley2400Server


class Wire:
    """One raw TCP connection, as a program without any library would use it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def write(self, *messages):
        self.socket.sendall(b"".join(message.encode("latin-1") + b"\n" for message in messages))

    def read(self):
        return self.stream.readline().rstrip(b"\n").decode("latin-1")

    def read_bytes(self, count):
        return self.stream.read(count)

    def query(self, message):
        self.write(message)
        return self.read()

    def numbers(self, message):
        return [float(text) for text in self.query(message).split(",")]

    def rows(self, message, columns):
        flat = self.numbers(message)
        return [tuple(flat[k : k + columns]) for k in range(0, len(flat), columns)]

    def errors(self):
        """All error numbers, oldest first; reading them empties the queue."""
        codes = self.query(":SYST:ERR:CODE:ALL?")
        return [int(code) for code in codes.split(",") if code != "0"]

    def close(self):
        self.stream.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


@pytest.fixture
def connect():
    """Opens connections to a server; closes them at the end."""
    wires = []

    def opened(server):
        wires.append(Wire(server.port))
        return wires[-1]

    yield opened
    for wire in wires:
        wire.close()


@pytest.fixture
def bench(connect):
    """bench(device, **options) -> (server, wire): a simulated 2400 whose readings take no time."""
    servers = []

    def started(device=None, **options):
        options.setdefault("time_scale", 0.0)
        server = Keithley2400Server(device, **options).start()
        servers.append(server)
        return server, connect(server)

    yield started
    for server in servers:
        server.stop()
