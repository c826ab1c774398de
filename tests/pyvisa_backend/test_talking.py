"""What a PyVISA program writes reaches the instrument, and what it reads is the answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import pyvisa
from pyvisa.constants import BufferOperation, InterfaceType, StatusCode

IDN = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,"
SHORT_MS = 50


class Peer:
    """An instrument on loopback that says, for each line, what ``answer`` gives."""

    def __init__(self, answer: Callable[[bytes], bytes], end: bytes = b"\n") -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::{self.listener.getsockname()[1]}::SOCKET"
        self.answer = answer
        self.end = end
        self.lines: list[bytes] = []
        self.connection: socket.socket | None = None
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                self.connection, _ = self.listener.accept()
            except OSError:
                return
            rest = b""
            with self.connection as connection:
                while data := received(connection):
                    *lines, rest = (rest + data).split(self.end)
                    for line in lines:
                        self.lines.append(line)
                        connection.sendall(self.answer(line))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if self.connection is not None:
            self.connection.close()


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


@contextmanager
def peer(answer: Callable[[bytes], bytes], end: bytes = b"\n") -> Iterator[Peer]:
    instrument = Peer(answer, end)
    try:
        yield instrument
    finally:
        instrument.close()


def echo(line: bytes) -> bytes:
    return b"A " + line + b"\n" if b"?" in line else b""


# -- commands and answers -------------------------------------------------------------------------


def test_a_question_is_answered(smu):
    assert smu.query("*IDN?").startswith(IDN)
    smu.write(":SOUR:VOLT 1.5")
    smu.write(":SOUR:VOLT?")
    assert float(smu.read()) == 1.5


def test_numbers_are_read_as_ascii(smu):
    smu.write(":FORM:ELEM VOLT,CURR;:SENS:CURR:PROT 0.1;:SOUR:VOLT 2;:OUTP ON")

    assert smu.query_ascii_values(":READ?") == [2.0, 0.002]


def test_without_terminations_pyvisa_s_own_hold(opened, server):
    smu = opened(server.resource, read_termination=None, write_termination="\r\n")

    assert smu.query("*IDN?").startswith(IDN)
    assert smu.query("*IDN?").endswith("\n")


def test_a_line_end_is_sent_as_it_was_written(opened):
    with peer(lambda line: b"A" + line + b"\r\n" if b"?" in line else b"") as instrument:
        device = opened(instrument.resource, read_termination="\r\n", write_termination="\r\n")

        assert device.query("X?") == "AX?\r"
        assert instrument.lines == [b"X?\r"]


def test_a_line_may_end_with_a_carriage_return(opened):
    with peer(lambda line: b"A " + line + b"\r", end=b"\r") as instrument:
        device = opened(instrument.resource, read_termination="\r", write_termination="\r")

        assert [device.query("X"), device.query("Y")] == ["A X", "A Y"]


def test_a_command_without_a_line_end_waits_for_one(smu, messages):
    smu.write_raw(b":SOUR:VOLT 20")
    smu.write_raw(b"E-3\n")

    assert float(smu.query(":SOUR:VOLT?")) == 0.02
    assert messages()[0] == ":SOUR:VOLT 20E-3"


def test_lines_of_one_write_are_commands_of_their_own(smu, messages):
    smu.write_raw(b":SOUR:VOLT 1\n:SENS:CURR:PROT 0.01\r\n:SOUR:VOLT?\n")

    assert float(smu.read()) == 1.0
    assert messages() == [":SOUR:VOLT 1", ":SENS:CURR:PROT 0.01", ":SOUR:VOLT?"]


def test_line_ends_in_a_block_are_data(opened):
    with peer(echo, end=b"|\n") as instrument:
        device = opened(instrument.resource, write_termination="|\n")
        device.write_binary_values(":DATA ", [10, 13, 10], datatype="B")
        device.query("X?|")

    assert instrument.lines[0] == b":DATA #13\n\r\n"


def test_an_answer_is_read_in_pieces(smu):
    smu.write("*IDN?")
    pieces = [smu.read_bytes(8), smu.read_bytes(12)]

    assert b"".join(pieces) == b"KEITHLEY INSTRUMENTS"
    assert smu.last_status == StatusCode.success_max_count_read
    assert smu.read().startswith(" INC.,MODEL 2400")


def test_what_is_left_of_an_answer_is_not_read_for_the_next_one(smu):
    smu.write("*IDN?")
    smu.read_bytes(8)

    assert smu.query(":OUTP?") == "0"


def test_an_answer_without_an_end_is_read_by_its_length(opened):
    with peer(lambda _: b"\x06") as instrument:
        device = opened(instrument.resource)
        device.write("GO")

        assert device.read_bytes(1) == b"\x06"


def test_a_long_answer_comes_whole(opened):
    with peer(lambda _: b"x" * 100_000 + b"\n") as instrument:
        assert opened(instrument.resource).query("CURV?") == "x" * 100_000


def test_a_termination_character_ends_a_read_and_the_status_says_so(opened):
    with peer(lambda _: b"1;2\n") as instrument:
        device = opened(instrument.resource, read_termination=";")
        assert device.query("X?") == "1"
        assert device.last_status == StatusCode.success_termination_character_read
        device.read_termination = "\n"
        assert device.read() == "2"


# -- binary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("read_termination", ["\n", None])
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_a_block_of_readings_is_read_as_binary(opened, server, read_termination, chunk_size):
    smu = opened(server.resource, read_termination=read_termination)
    smu.write(":FORM:ELEM VOLT,CURR;:FORM:DATA REAL,32;:SENS:CURR:PROT 0.1;:SOUR:VOLT 2.5;:OUTP ON")
    smu.write(":TRIG:COUN 20")

    values = smu.query_binary_values(
        ":READ?", is_big_endian=True, data_points=40, chunk_size=chunk_size
    )

    assert values == pytest.approx([2.5, 0.0025] * 20)
    assert float(smu.query(":SOUR:VOLT?")) == 2.5


@pytest.mark.parametrize("tail", [b"\n", b""], ids=["with a line end", "without"])
def test_a_block_of_known_length_is_read_whatever_its_bytes_are(opened, tail):
    data = bytes(range(256)) * 200

    with peer(lambda _: b"#551200" + data + tail) as instrument:
        device = opened(instrument.resource, read_termination=None)
        values = device.query_binary_values("CURV?", datatype="B", expect_termination=bool(tail))
        again = device.query_binary_values("CURV?", datatype="B", expect_termination=bool(tail))

    assert bytes(values) == bytes(again) == data


# -- deadlines ------------------------------------------------------------------------------------


def test_a_read_that_met_its_deadline_may_be_repeated(opened):
    go = threading.Event()

    def late(line: bytes) -> bytes:
        go.wait()
        return echo(line)

    with peer(late) as instrument:
        device = opened(instrument.resource, timeout=SHORT_MS)
        device.write("X?")
        with pytest.raises(pyvisa.VisaIOError) as failed:
            device.read()
        assert failed.value.error_code == StatusCode.error_timeout
        assert device.last_status == StatusCode.error_timeout
        assert "did not answer 'X?'" in failed.value.__notes__[0]
        go.set()
        device.timeout = 20_000

        assert device.read() == "A X?"


def test_a_late_answer_is_not_that_of_the_next_question(opened):
    go = threading.Event()

    def late(line: bytes) -> bytes:
        if line == b"SLOW?":
            go.wait()
        return echo(line)

    with peer(late) as instrument:
        device = opened(instrument.resource, timeout=SHORT_MS)
        with pytest.raises(pyvisa.VisaIOError):
            device.query("SLOW?")
        go.set()
        device.timeout = 20_000

        assert device.query("FAST?") == "A FAST?"


@pytest.mark.parametrize("timeout", [2500, None, 1])
def test_a_timeout_is_what_it_was_set_to(smu, timeout):
    smu.timeout = timeout

    assert smu.timeout == (float("inf") if timeout is None else timeout)


# -- clear, flush, trigger ------------------------------------------------------------------------


@pytest.mark.parametrize("forget", ["clear", "flush"])
def test_what_was_asked_before_is_forgotten(opened, forget):
    with peer(echo) as instrument:
        device = opened(instrument.resource)
        device.write("OLD?")
        device.write_raw(b"HALF")
        if forget == "clear":
            device.clear()
        else:
            device.flush(BufferOperation.discard_read_buffer | BufferOperation.discard_write_buffer)

        assert device.query("NEW?") == "A NEW?"
        assert instrument.lines == [b"OLD?", b"NEW?"]


def test_control_without_forgetting_answers_come_in_order(opened):
    with peer(echo) as instrument:
        device = opened(instrument.resource)
        device.write("OLD?")

        assert device.query("NEW?") == "A OLD?"
        assert device.read() == "A NEW?"


def test_a_trigger_is_the_common_command(smu, messages):
    smu.assert_trigger()
    smu.query("*IDN?")

    assert messages()[0] == "*TRG"


# -- opening and closing --------------------------------------------------------------------------


def test_an_instrument_can_be_opened_again_after_it_was_closed(opened, server):
    first = opened(server.resource)
    first.write(":SOUR:VOLT 3")
    first.close()

    assert float(opened(server.resource).query(":SOUR:VOLT?")) == 3.0


def test_a_cell_that_is_run_again_shares_the_channel_of_the_first(opened, server):
    first, second = opened(server.resource), opened(server.resource)

    assert first.query(":OUTP?") == second.query(":OUTP?") == "0"
    first.close()
    assert second.query("*IDN?").startswith(IDN)
    assert len(server.log.named("connection_opened")) == 1


def test_a_resource_manager_closes_what_it_opened(server):
    manager = pyvisa.ResourceManager("@drivebay")
    device = manager.open_resource(server.resource)
    manager.close()

    with pytest.raises(pyvisa.InvalidSession):
        device.query("*IDN?")
    server.log.wait_for("connection_closed")


def test_a_raw_socket_is_a_socket_resource(smu, server):
    assert type(smu).__name__ == "TCPIPSocket"
    assert smu.interface_type is InterfaceType.tcpip
    assert smu.resource_class == "SOCKET"
    assert smu.resource_name == f"TCPIP0::127.0.0.1::{server.port}::SOCKET"
    assert smu.resource_manufacturer_name == "Drivebay"
