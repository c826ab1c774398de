"""The socket, the process and the clients people really use."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import pyvisa

from drivebay.sim import Diode, Keithley2400Server, OpenCircuit, Resistor, ShortCircuit, main
from drivebay.sim.circuitfile import DEVICE_KINDS
from drivebay.sim.commandline import device_of, parser, server_of


def test_the_resource_is_a_raw_socket_on_loopback():
    with Keithley2400Server(Resistor(1.0)) as server:
        assert server.resource == f"TCPIP::127.0.0.1::{server.port}::SOCKET"
        assert server.port > 0


def test_pyvisa_py_sets_and_measures(bench):
    server, _ = bench(Resistor(1000.0), noise=0.0)
    manager = pyvisa.ResourceManager("@py")
    visa = manager.open_resource(
        server.resource, read_termination="\n", write_termination="\n", timeout=20000
    )
    try:
        assert visa.query("*IDN?").startswith("KEITHLEY INSTRUMENTS INC.,MODEL 2400")
        visa.write(":SENS:CURR:PROT 0.1;:SOUR:VOLT 2;:OUTP ON;:FORM:ELEM VOLT,CURR")
        assert visa.query_ascii_values(":READ?") == [2.0, pytest.approx(2e-3)]
        visa.write(":SOUR:VOLT:MODE LIST;:SOUR:LIST:VOLT 1,2,3;:TRIG:COUN 3;:FORM:DATA REAL,32")
        read = visa.query_binary_values(":READ?", datatype="f", is_big_endian=True, data_points=6)
        assert read == [
            1.0,
            pytest.approx(1e-3),
            2.0,
            pytest.approx(2e-3),
            3.0,
            pytest.approx(3e-3),
        ]
    finally:
        visa.close()
        manager.close()


def test_a_single_connection_server_turns_the_second_away_until_the_first_leaves(bench):
    server, first = bench(single_connection=True)
    with (
        pytest.raises(ConnectionResetError),  # at once, or when it reads
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as second,
    ):
        second.recv(1)
    server.log.wait_for("connection_refused")
    assert first.query("*OPC?") == "1"

    first.close()
    server.log.wait_for("connection_closed")

    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as third:
        third.sendall(b"*OPC?\n")
        assert third.recv(10) == b"1\n"


def test_other_servers_take_several_connections_to_one_instrument(bench, connect):
    server, first = bench()
    second = connect(server)
    first.write(":SOUR:VOLT 3")
    assert first.query("*OPC?") == "1"

    assert float(second.query(":SOUR:VOLT?")) == 3.0


def test_messages_in_pieces_and_in_heaps_are_the_same_messages(bench):
    _, wire = bench()
    for byte in b":SOUR:VOLT 4\r\n":
        wire.socket.sendall(bytes([byte]))
    wire.socket.sendall(b":SOUR:VOLT?\n*OPC?\n:SOUR:FUNC?\n")

    assert [wire.read() for _ in range(3)] == ["4.000000E+00", "1", "VOLT"]


def test_a_client_that_leaves_with_an_answer_due_harms_nobody(bench, connect):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    wire.write(":OUTP ON", ":TRIG:COUN 5", ":READ?")
    server.log.wait_for("sweep_begin")
    wire.close()
    server.log.wait_for("sweep_end")

    assert connect(server).query(":OUTP?") == "1"  # nobody told it to switch off


def test_a_cut_cable_is_logged_and_a_new_connection_finds_the_same_instrument(bench, connect):
    server, wire = bench()
    wire.write(":SOUR:VOLT 2")
    assert wire.query("*OPC?") == "1"

    server.drop_connections()

    assert len(server.log.named("connection_closed")) == 1
    assert wire.read() == ""
    assert float(connect(server).query(":SOUR:VOLT?")) == 2.0


def test_an_endless_message_is_an_input_buffer_overrun(bench):
    _, wire = bench()
    wire.socket.sendall(b"x" * (3 << 19))
    wire.write("", "*CLS")
    wire.query("*OPC?")
    wire.socket.sendall(b"y" * (3 << 19))
    wire.write("")

    assert -363 in wire.errors()


def test_the_log_has_every_event_with_a_rising_time_and_traffic_if_asked(tmp_path):
    path = tmp_path / "events.jsonl"
    with Keithley2400Server(
        Resistor(1000.0), time_scale=0.0, log_file=path, log_traffic=True
    ) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as peer:
            peer.sendall(b":OUTP ON;:SOUR:VOLT 1;:TRIG:COUN 2;:OUTP OFF;*OPC?\n")
            assert peer.recv(10) == b"1\n"
        server.log.wait_for("connection_closed")

    events = [json.loads(line) for line in path.read_text().splitlines()]
    names = [event["event"] for event in events]
    assert names == [
        "listening",
        "connection_opened",
        "message",
        "output_on",
        "level",
        "output_off",
        "answer",
        "connection_closed",
        "stopped",
    ]
    assert [event["t"] for event in events] == sorted(event["t"] for event in events)
    assert events[4]["level"] == 1.0


def test_a_wait_for_what_never_happens_ends():
    with Keithley2400Server() as server, pytest.raises(TimeoutError, match="sweep_end"):
        server.log.wait_for("sweep_end", timeout_s=0.01)


def test_an_impossible_instrument_is_refused():
    with pytest.raises(ValueError, match="no model '2450'"):
        Keithley2400Server(model="2450")
    with pytest.raises(ValueError, match="line_frequency_hz"):
        Keithley2400Server(line_frequency_hz=55)
    with pytest.raises(ValueError, match="time_scale"):
        Keithley2400Server(time_scale=-1.0)


def test_the_command_line_builds_what_it_says():
    words = "keithley2400 --model 2410 --device diode --saturation-current-a 1e-9 --ideality 2 "
    words += "--series-resistance-ohm 3 --temperature-k 77 --shunt-resistance-ohm 1e8 "
    words += (
        "--single-connection --line-frequency-hz 60 --time-scale 0.5 --seed 3 --obeys-while-busy"
    )
    options = parser().parse_args(words.split())

    server = server_of(options)

    assert server.instrument.meter.device == Diode(1e-9, 2.0, 3.0, 77.0, 1e8)
    assert server.instrument.model.name == "2410"
    assert server.single_connection
    assert server.instrument.line_frequency_hz == 60
    assert server.instrument.clock.scale == 0.5
    assert not server.instrument.obeys_only_abort_while_busy


@pytest.mark.parametrize(
    ("words", "device"),
    [
        ("--device resistor --ohm 47", Resistor(47.0)),
        ("--device open", OpenCircuit()),
        ("--device short", ShortCircuit()),
    ],
)
def test_the_command_line_connects_any_device(words, device):
    assert device_of(parser().parse_args(["keithley2400", *words.split()])) == device


@pytest.mark.parametrize("name", ["zener", "solar_cell", "varactor", "mos_capacitor", "rc"])
def test_the_command_line_connects_what_a_circuit_file_can_name(name):
    port = device_of(parser().parse_args(["keithley2400", "--device", name]))

    (part,) = port.circuit.parts.values()
    assert type(part.component) is DEVICE_KINDS[name]


def test_the_command_line_says_what_is_wrong(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["keithley2400", "--device", "resistor", "--ohm", "-1"])

    assert caught.value.code == 2
    assert "ohm must be" in capsys.readouterr().err


@pytest.fixture
def process():
    started = []

    def start(*words):
        child = subprocess.Popen(
            [sys.executable, "-m", "drivebay.sim", "keithley2400", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGINT"])
def test_a_process_says_where_it_listens_and_stops_when_told(process, how):
    child = process("--device", "resistor", "--time-scale", "0")
    ready = json.loads(child.stdout.readline())
    assert ready == {
        "resource": f"TCPIP::127.0.0.1::{ready['port']}::SOCKET",
        "port": ready["port"],
    }
    with socket.create_connection(("127.0.0.1", ready["port"]), timeout=20) as peer:
        peer.sendall(b"*OPC?\n")
        assert peer.recv(10) == b"1\n"

    if how == "end of input":
        child.stdin.close()
    else:
        child.send_signal(getattr(signal, how))

    assert child.wait(20) == 0
    assert child.stdout.read() == ""
