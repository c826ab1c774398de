"""Links over PyVISA: serial on a pty, VXI-11 and raw sockets on loopback, and pyvisa-sim."""

from __future__ import annotations

import gc
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from drivebay._core.errors import (
    AnswerError,
    LinkLostError,
    LinkOpenError,
    LinkTimeoutError,
)
from drivebay._core.links import Link, list_resources, open_direct
from drivebay._core.links import direct as link_module
from drivebay._core.links import visa as visa_module

SHORT_S = 0.1
LONG_S = 20.0

Answer = Callable[[bytes], bytes]


def echo(line: bytes) -> bytes:
    return b"A " + line + b"\n" if b"?" in line else b""


# -- serial lines ---------------------------------------------------------------------------------


class SerialInstrument:
    """The far end of a pty. ``answer`` gives what to say to a line; it may hold some back."""

    def __init__(self, answer: Answer, end: bytes = b"\n") -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(self.slave)
        self.resource = f"ASRL{os.ttyname(self.slave)}::INSTR"
        self.answer = answer
        self.end = end
        self.asked: list[bytes] = []
        self.got = threading.Condition()
        self.stop, self.stopped = os.pipe()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        rest = b""
        while True:
            ready, _, _ = select.select([self.master, self.stop], [], [])
            if self.stop in ready:
                return
            *lines, rest = (rest + os.read(self.master, 4096)).split(self.end)
            for line in lines:
                with self.got:
                    self.asked.append(line)
                    self.got.notify_all()
                os.write(self.master, self.answer(line))

    def wait_asked(self, line: bytes) -> None:
        with self.got:
            assert self.got.wait_for(lambda: line in self.asked, LONG_S)

    def close(self) -> None:
        os.write(self.stopped, b"x")
        self.thread.join(LONG_S)
        for one in (self.master, self.slave, self.stop, self.stopped):
            with suppress(OSError):
                os.close(one)


@contextmanager
def serial_line(
    answer: Answer, terminator: str = "\n", timeout_s: float = LONG_S
) -> Iterator[tuple[Link, SerialInstrument]]:
    instrument = SerialInstrument(answer, terminator.encode())
    try:
        with open_direct(
            instrument.resource, timeout_s=timeout_s, terminator=terminator, baud_rate=115200
        ) as link:
            yield link, instrument
    finally:
        instrument.close()


@pytest.mark.slow
def test_a_serial_line_is_asked_through_pyvisa():
    with serial_line(echo) as (link, _):
        assert link.query("*IDN?") == "A *IDN?"
        link.write("VOLT?")
        assert link.read() == "A VOLT?"
        assert (link.interface, link.supports_binary) == ("serial", False)
        assert link.interrupt() is False


def test_a_serial_line_may_end_its_lines_with_a_carriage_return():
    with serial_line(lambda line: b"A " + line + b"\r", terminator="\r") as (link, instrument):
        assert link.query("X?") == "A X?"
        assert link.query("Y?") == "A Y?"
        assert instrument.asked == [b"X?", b"Y?"]


def test_a_silent_serial_instrument_meets_the_deadline():
    with serial_line(lambda _: b"") as (link, _), pytest.raises(LinkTimeoutError, match="'X\\?'"):
        link.query("X?", timeout_s=SHORT_S)


def test_a_serial_line_that_takes_no_more_meets_the_deadline_and_is_not_continued():
    def stop_reading(_line: bytes) -> bytes:
        over.wait(LONG_S)
        return b""

    over = threading.Event()
    with serial_line(stop_reading) as (link, instrument):
        link.write("STOP")
        instrument.wait_asked(b"STOP")
        with pytest.raises(LinkTimeoutError, match="of 1000006 bytes"):
            link.write("VOLT " + "2" * 1_000_000, timeout_s=SHORT_S)
        with pytest.raises(LinkLostError, match="could not be reopened"):
            link.write(":OUTP ON", timeout_s=SHORT_S)
        over.set()
    assert b":OUTP ON" not in b"".join(instrument.asked)


def test_an_abort_goes_out_on_a_serial_line_while_a_query_waits():
    with serial_line(lambda line: b"aborted\n" if line == b":ABOR" else b"") as (link, instrument):
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(link.query(":READ?")))
        thread.start()
        instrument.wait_asked(b":READ?")
        link.write(":ABOR")
        thread.join(LONG_S)
        assert answers == ["aborted"]


def test_a_late_answer_on_a_serial_line_is_drained():
    late: list[bytes] = []

    def answer(line: bytes) -> bytes:
        if line == b"SLOW?":
            late.append(b"LATE\n")
            return b""
        return b"A " + line + b"\n"

    with serial_line(answer) as (link, instrument):
        with pytest.raises(LinkTimeoutError):
            link.query("SLOW?", timeout_s=SHORT_S)
        os.write(instrument.master, late[0])
        assert link.query("FAST?") == "A FAST?"
        assert link.reopened == 0


def test_a_serial_answer_that_never_came_needs_a_known_identity(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link_module, "DRAIN_S", 0.02)

    def answer(line: bytes) -> bytes:
        return b"" if line == b"LOST?" else b"A " + line + b"\n"

    for asked_before in (False, True):
        with serial_line(answer) as (link, _):
            if asked_before:
                link.query("*IDN?")
            with pytest.raises(LinkTimeoutError):
                link.query("LOST?", timeout_s=SHORT_S)
            if asked_before:
                assert link.query("FAST?") == "A FAST?"
                assert link.reopened == 0  # the known answer tells where the stream stands
            else:
                with pytest.raises(LinkLostError, match="told from others only if"):
                    link.query("FAST?")


def test_an_unplugged_serial_line_is_a_lost_link():
    with serial_line(echo) as (link, instrument):
        link.query("X?")
        os.write(instrument.stopped, b"x")
        instrument.thread.join(LONG_S)
        os.close(instrument.master)
        with pytest.raises(LinkLostError):
            link.query("Y?", timeout_s=LONG_S)


@pytest.mark.parametrize("device", ["/dev/ttyNOSUCH", "/dev/pts/99999"])
def test_a_serial_port_that_is_not_there_fails_at_open(device: str):
    with pytest.raises(LinkOpenError, match="No such file"):
        open_direct(f"ASRL{device}::INSTR", timeout_s=LONG_S)


def test_what_is_not_a_character_device_is_never_opened_as_a_serial_port(tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(LinkOpenError, match="not a serial port"):
        visa_module._check_serial("ASRL1::INSTR", str(fifo))


# -- VXI-11, as far as a link needs it ------------------------------------------------------------

CREATE_LINK, WRITE, READ, CLEAR, DESTROY_LINK = 10, 11, 12, 15, 23
IO_TIMEOUT, END = 15, 4


class Vxi11Instrument:
    """A VXI-11 core channel (TCP, one record a call), written from the VXI-11 specification."""

    def __init__(self, answer: Answer) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        self.resource = f"TCPIP0::127.0.0.1,{port}::inst0::INSTR"
        self.answer = answer
        self.output = b""
        self.calls: list[tuple[int, bytes]] = []
        self.got = threading.Condition()
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                with connection, suppress(OSError, EOFError):
                    while True:
                        self.call(connection, self.record(connection))

    def record(self, connection: socket.socket) -> bytes:
        head = self.exactly(connection, 4)
        return self.exactly(connection, struct.unpack(">I", head)[0] & 0x7FFFFFFF)

    def exactly(self, connection: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = connection.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def call(self, connection: socket.socket, record: bytes) -> None:
        xid, _, _, _, _, procedure = struct.unpack(">6I", record[:24])
        arguments = record[40:]  # after two empty credentials
        result = self.run_procedure(procedure, arguments)
        reply = struct.pack(">6I", xid, 1, 0, 0, 0, 0) + result
        connection.sendall(struct.pack(">I", 0x80000000 | len(reply)) + reply)
        with self.got:
            self.calls.append((procedure, arguments))
            self.got.notify_all()

    def run_procedure(self, procedure: int, arguments: bytes) -> bytes:
        if procedure == CREATE_LINK:
            return struct.pack(">iiII", 0, 1, 0, 65536)
        if procedure == WRITE:
            length = struct.unpack(">I", arguments[16:20])[0]
            for line in arguments[20 : 20 + length].splitlines():
                self.output += self.answer(line)
            return struct.pack(">iI", 0, length)
        if procedure == READ:
            if not self.output:
                return struct.pack(">iiI", IO_TIMEOUT, 0, 0)
            size = struct.unpack(">I", arguments[4:8])[0]
            data, self.output = self.output[:size], self.output[size:]
            padding = b"\0" * (-len(data) % 4)
            reason = 0 if self.output else END
            return struct.pack(">iiI", 0, reason, len(data)) + data + padding
        if procedure == CLEAR:
            self.output = b""
        return struct.pack(">i", 0)

    def wait_call(self, procedure: int) -> None:
        with self.got:
            assert self.got.wait_for(lambda: procedure in [c for c, _ in self.calls], LONG_S)

    def count(self, procedure: int) -> int:
        return sum(made == procedure for made, _ in self.calls)

    def close(self) -> None:
        for one in [self.listener, *self.connections]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(LONG_S)


@contextmanager
def vxi11(answer: Answer) -> Iterator[tuple[Link, Vxi11Instrument]]:
    instrument = Vxi11Instrument(answer)
    try:
        with open_direct(instrument.resource, timeout_s=LONG_S, visa_library="@py") as link:
            yield link, instrument
    finally:
        instrument.close()


def test_vxi11_answers_and_blocks_come_whole():
    payload = bytes(range(256)) * 1000

    def answer(line: bytes) -> bytes:
        return b"#6256000" + payload + b"\n" if line == b"CURV?" else echo(line)

    with vxi11(answer) as (link, _):
        assert link.query("*IDN?") == "A *IDN?"
        assert link.query_block("CURV?") == payload
        assert link.query("NEXT?") == "A NEXT?"
        assert (link.interface, link.supports_binary) == ("tcpip", True)


def test_end_closes_an_answer_and_a_block_that_have_no_newline():
    def answer(line: bytes) -> bytes:
        return {b"CURV?": b"#0one\ntwo", b"X?": b"bare"}[line]

    with vxi11(answer) as (link, _):
        assert link.query_block("CURV?") == b"one\ntwo"
        assert link.query("X?") == "bare"


def test_end_inside_a_block_is_an_answer_error_and_the_link_goes_on():
    with vxi11(lambda line: b"#15abc" if line == b"CURV?" else echo(line)) as (link, _):
        with pytest.raises(AnswerError, match="cut short"):
            link.query_block("CURV?")
        assert link.query("NEXT?") == "A NEXT?"


def test_device_clear_interrupts_a_query_and_nothing_stale_is_read_after_it():
    with vxi11(lambda line: b"" if line == b"SLOW?" else echo(line)) as (link, instrument):
        failures: list[Exception] = []

        def ask() -> None:
            try:
                link.query("SLOW?")
            except LinkTimeoutError as exc:
                failures.append(exc)

        thread = threading.Thread(target=ask)
        thread.start()
        instrument.wait_call(READ)
        assert link.interrupt() is True
        thread.join(LONG_S)
        assert "interrupted" in str(failures[0])
        assert instrument.count(CLEAR) == 1
        instrument.output = b"STALE\n"  # it finishes the old work after the clear
        assert link.query("FAST?") == "A FAST?"


def test_a_command_gets_its_turn_while_a_vxi11_query_waits():
    state: list[bytes] = []

    def answer(line: bytes) -> bytes:
        state.append(line)
        return b"aborted\n" if line == b":ABOR" else b""

    with vxi11(answer) as (link, instrument):
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(link.query(":READ?")))
        thread.start()
        instrument.wait_call(READ)
        link.write(":ABOR")
        thread.join(LONG_S)
        assert answers == ["aborted"]


def test_an_answer_that_never_came_is_settled_by_a_device_clear(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link_module, "DRAIN_S", 0.02)
    with vxi11(lambda line: b"" if line == b"LOST?" else echo(line)) as (link, instrument):
        with pytest.raises(LinkTimeoutError):
            link.query("LOST?", timeout_s=SHORT_S)
        assert link.query("FAST?") == "A FAST?"
        assert instrument.count(CLEAR) == 1
        assert instrument.count(CREATE_LINK) == 1


def test_a_vxi11_instrument_that_hangs_up_is_a_lost_link():
    with vxi11(echo) as (link, instrument):
        link.query("X?")
        for connection in instrument.connections:
            connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(LinkLostError, match="open it again"):
            link.query("Y?")
        with pytest.raises(LinkLostError):
            link.interrupt()


def test_a_closed_vxi11_port_fails_at_open():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LinkOpenError, match="@py could not open it"):
        open_direct(f"TCPIP::127.0.0.1,{port}::inst0::INSTR", timeout_s=1.0)


def test_opening_what_accepts_and_says_nothing_meets_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(LinkOpenError, match="not open within"):
            open_direct(f"TCPIP::127.0.0.1,{port}::inst0::INSTR", timeout_s=SHORT_S)
        listener.accept()[0].close()
    for thread in threading.enumerate():
        if thread.name == "visa":
            thread.join(LONG_S)
    gc.collect()  # a socket left open would be a ResourceWarning, and those are errors here


def test_gpib_without_a_library_says_so():
    with pytest.raises(LinkOpenError, match="V010 GPIB library missing"):
        open_direct("GPIB0::24::INSTR", timeout_s=LONG_S, visa_library="@py")


# -- raw sockets through PyVISA, on request -------------------------------------------------------


class SocketInstrument:
    def __init__(self, answer: Answer) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::{self.listener.getsockname()[1]}::SOCKET"
        self.answer = answer
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                with connection, connection.makefile("rb") as lines, suppress(OSError):
                    for line in lines:
                        connection.sendall(self.answer(line.rstrip(b"\n")))

    def close(self) -> None:
        for one in [self.listener, *self.connections]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(LONG_S)


@contextmanager
def pyvisa_socket(answer: Answer) -> Iterator[tuple[Link, SocketInstrument]]:
    instrument = SocketInstrument(answer)
    try:
        with open_direct(instrument.resource, timeout_s=LONG_S, visa_library="@py") as link:
            yield link, instrument
    finally:
        instrument.close()


def test_a_raw_socket_goes_through_pyvisa_when_a_library_is_named():
    with pyvisa_socket(echo) as (link, _):
        assert link.query("X?") == "A X?"
        assert type(link).__name__ == "VisaLink"
        assert link._port._reader.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert link.interrupt() is False


@pytest.mark.slow
def test_through_pyvisa_a_late_answer_reaches_no_other_question(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link_module, "DRAIN_S", 0.02)
    with pyvisa_socket(lambda line: b"" if line == b"SLOW?" else echo(line)) as (link, instrument):
        for round_number in range(3):
            with pytest.raises(LinkTimeoutError):
                link.query("SLOW?", timeout_s=SHORT_S)
            instrument.connections[-1].sendall(b"LATE\n" * (round_number % 2))
            assert link.query("FAST?") == "A FAST?"


def test_through_pyvisa_a_closed_peer_is_lost_and_not_a_timeout():
    with pyvisa_socket(echo) as (link, instrument):
        link.query("X?")
        instrument.connections[-1].shutdown(socket.SHUT_RDWR)
        with pytest.raises(LinkLostError):
            link.query("Y?")


# -- another VISA library -------------------------------------------------------------------------

SIM = """\
spec: "1.1"
devices:
  smu:
    eom:
      GPIB INSTR: {q: "\\n", r: "\\n"}
      ASRL INSTR: {q: "\\n", r: "\\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "ACME,MODEL 1,42,1.0"}
      - {q: "CURR?", r: "1.5E-3"}
resources:
  GPIB0::9::INSTR: {device: smu}
  ASRL1::INSTR: {device: smu}
"""


@pytest.fixture
def sim_library(tmp_path: Path) -> str:
    pytest.importorskip("pyvisa_sim")
    path = tmp_path / "bench.yaml"
    path.write_text(SIM)
    return f"{path}@sim"


def test_any_visa_library_is_used_by_its_name(sim_library: str):
    with open_direct("gpib::9", timeout_s=LONG_S, visa_library=sim_library) as link:
        assert link.query("*IDN?") == "ACME,MODEL 1,42,1.0"
        assert link.query("CURR?") == "1.5E-3"
        assert link.interface == "gpib"


def test_the_library_may_come_from_the_environment(
    sim_library: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYVISA_LIBRARY", sim_library)
    with open_direct("GPIB0::9::INSTR", timeout_s=LONG_S) as link:
        assert link.query("CURR?") == "1.5E-3"


def test_a_timeout_of_another_library_is_ours(sim_library: str):
    with (
        open_direct("GPIB0::9::INSTR", timeout_s=LONG_S, visa_library=sim_library) as link,
        pytest.raises(LinkTimeoutError),
    ):
        link.read(timeout_s=SHORT_S)


def test_a_library_without_device_clear_is_an_interrupt_that_did_not_happen(sim_library: str):
    with open_direct("GPIB0::9::INSTR", timeout_s=LONG_S, visa_library=sim_library) as link:
        assert link.interrupt() is False


def test_what_a_library_finds_comes_in_canonical_spelling(sim_library: str):
    assert list_resources(visa_library=sim_library) == ["ASRL1::INSTR", "GPIB0::9::INSTR"]


def test_a_library_that_is_not_there_says_so():
    with pytest.raises(LinkOpenError, match="nosuch"):
        list_resources(visa_library="@nosuch")
    with pytest.raises(LinkOpenError, match="nosuch"):
        open_direct("GPIB0::9::INSTR", timeout_s=LONG_S, visa_library="@nosuch")


def test_a_search_that_does_not_end_meets_its_deadline(monkeypatch: pytest.MonkeyPatch):
    over = threading.Event()

    def search(_name: str, _network: bool) -> list[str]:
        over.wait(LONG_S)
        return []

    monkeypatch.setattr(visa_module, "_search", search)
    with pytest.raises(LinkTimeoutError, match="did not end its search"):
        list_resources(timeout_s=SHORT_S)
    over.set()


@pytest.mark.slow
def test_asking_only_the_machine_itself_sends_nothing_to_the_network():
    # A fresh process in which every way out is a failure; nothing is patched in this one.
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('network used')\n"
        "socket.socket.sendto = socket.socket.connect = refuse\n"
        "from drivebay._core.links import list_resources\n"
        "assert isinstance(list_resources(network=False, visa_library='@py'), list)\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
