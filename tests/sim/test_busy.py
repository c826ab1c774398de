"""What a sweep takes, what is obeyed meanwhile and how it ends, by the simulator's own log."""

import itertools
import socket
import threading
import time

import pytest

from drivebay.sim import Keithley2400Server, Resistor


def prepare(wire, points, nplc=1.0):
    wire.write(
        ":SENS:CURR:PROT 0.1", f":SENS:CURR:NPLC {nplc}", ":SOUR:DEL 0", ":SOUR:VOLT:MODE SWE"
    )
    wire.write(":SOUR:VOLT:STAR 0", ":SOUR:VOLT:STOP 1", f":SOUR:SWE:POIN {points}")
    wire.write(f":TRIG:COUN {points}", ":FORM:ELEM VOLT,TIME", ":OUTP ON")


def until(condition, timeout_s=20.0):
    """Polls what has no event of its own."""
    never = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        never.wait(0.001)


def took_s(log):
    (begin,), (end,) = log.named("sweep_begin"), log.named("sweep_end")
    return end["t"] - begin["t"]


def test_a_reading_is_never_there_before_its_integration_has_ended(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 20, nplc=0.5)

    rows = wire.rows(":READ?", 2)

    # 20 readings of 0.5 / 50 Hz, each behind 100 us of trigger latency
    assert took_s(server.log) >= 20 * (0.01 + 100e-6)
    steps = [b[1] - a[1] for a, b in itertools.pairwise(rows)]
    assert steps == [pytest.approx(0.0101, abs=2e-5)] * 19


@pytest.mark.parametrize(
    ("command", "extra_s"),
    [
        (":SOUR:DEL 0.02", 0.02),
        (":TRIG:DEL 0.02", 0.02),
        (":SOUR:DEL:AUTO ON", 0.001),
        (":SENS:AVER:COUN 5;STAT ON", 0.02 * 4),
        (":SYST:LFR 60", 1 / 60 - 0.02),
    ],
)
def test_delays_filters_and_line_frequency_lengthen_every_reading(bench, command, extra_s):
    _, wire = bench(Resistor(1000.0))
    prepare(wire, 5)
    wire.write(command)

    times = [row[1] for row in wire.rows(":READ?", 2)]

    steps = [b - a for a, b in itertools.pairwise(times)]
    assert steps == [pytest.approx(0.0201 + extra_s, abs=1e-5)] * 4


def test_scaled_time_is_real_time_scaled_and_the_times_are_unscaled(bench):
    server, wire = bench(Resistor(1000.0), time_scale=0.1)
    prepare(wire, 50)

    times = [row[1] for row in wire.rows(":READ?", 2)]

    assert took_s(server.log) >= 50 * 0.0201 * 0.1
    assert times[-1] - times[0] == pytest.approx(49 * 0.0201, rel=1e-3)


def test_an_arm_timer_spaces_the_passes(bench):
    _, wire = bench(Resistor(1000.0))
    prepare(wire, 2)
    wire.write(":ARM:COUN 3", ":ARM:SOUR TIM", ":ARM:TIM 0.5")

    times = [row[1] for row in wire.rows(":READ?", 2)]

    assert [times[k] - times[0] for k in (2, 4)] == [
        pytest.approx(0.5, abs=1e-4),
        pytest.approx(1.0, abs=1e-4),
    ]


def test_an_abort_on_the_same_connection_ends_a_20_s_sweep_at_once(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0, single_connection=True, log_traffic=True)
    prepare(wire, 1000)
    wire.write(":INIT")
    server.log.wait_for("sweep_begin")

    wire.write(":ABOR", ":OUTP OFF")

    off = server.log.wait_for("output_off")
    (sent,) = [e for e in server.log.named("message") if e["text"] == ":ABOR"]
    assert off["t"] - sent["t"] < 0.5
    assert server.log.named("abort")[0]["taken"] < 1000
    assert wire.query(":STAT:OPER:COND?") == "1024"


def test_while_busy_other_commands_wait_and_then_run_in_order(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0, log_traffic=True)
    prepare(wire, 10)

    wire.write(":READ?", ":OUTP OFF", ":SOUR:VOLT?", "*IDN?")

    assert len(wire.read().split(",")) == 20
    assert wire.read() == "1.000000E+00"
    assert wire.read().startswith("KEITHLEY")
    end, off = server.log.named("sweep_end")[0], server.log.named("output_off")[0]
    assert off["t"] >= end["t"]
    assert not end["aborted"]
    assert wire.errors() == []


def test_an_abort_overtakes_what_waits_even_in_the_same_message(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 1000)
    wire.write(":INIT", ":SOUR:VOLT:MODE FIX;:OUTP OFF;:ABOR")

    server.log.wait_for("output_off")

    assert [e["event"] for e in server.log.named("abort", "sweep_end", "output_off")] == [
        "sweep_end",
        "abort",
        "output_off",
    ]
    assert wire.query("*OPC?") == "1"


def test_an_aborted_read_answers_with_the_readings_it_has(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 1000)
    wire.write(":READ?")
    server.log.wait_for("sweep_begin")
    until(lambda: server.instrument.readings_taken >= 3)

    wire.write(":ABOR")

    taken = server.log.wait_for("abort")["taken"]
    assert len(wire.read().split(",")) == 2 * taken
    assert 3 <= taken < 1000
    assert wire.errors() == []


def test_reset_is_obeyed_while_busy_and_cancels_what_waited(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 1000)
    wire.write(":READ?", ":SYST:ERR?", "*OPC?")
    server.log.wait_for("sweep_begin")

    wire.write("*RST")

    server.log.wait_for("output_off")
    assert wire.query("*IDN?").startswith("KEITHLEY")  # the answers that were cancelled never come
    assert wire.query(":TRIG:COUN?") == "1"


def test_a_reset_cancels_what_came_before_it_and_nothing_after_it(bench):
    _, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 1000)
    wire.write(":READ?;*OPC?;*RST;*IDN?", "*RST;:SOUR:FUNC?;*OPC?")

    assert wire.read().startswith("KEITHLEY")
    assert wire.read() == "VOLT;1"


@pytest.mark.parametrize("message", [":SYST:PRES", "*RCL 0", ":ABOR", "*RST"])
def test_the_manuals_exceptions_are_obeyed_at_once(bench, message):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 1000)
    wire.write(":INIT", message)

    assert server.log.wait_for("sweep_end")["aborted"]


def test_a_message_in_between_does_not_disturb_the_sweep(bench, connect):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 10)
    wire.write(":READ?")
    server.log.wait_for("sweep_begin")
    other = connect(server)

    identity = other.query("*IDN?")

    assert identity.startswith("KEITHLEY")
    assert len(wire.read().split(",")) == 20
    assert server.log.named("sweep_end")[0]["taken"] == 10


def test_an_instrument_that_obeys_more_can_be_watched_while_it_sweeps(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0, obeys_only_abort_while_busy=False)
    prepare(wire, 1000)
    wire.write("*CLS", ":INIT", "*OPC")

    assert wire.query(":STAT:OPER:COND?") == "8"
    assert wire.query("*ESR?") == "0"
    wire.write(":INIT")
    assert wire.errors() == [-213]
    wire.write(":ABOR")
    assert wire.query("*ESR?") == "17"  # complete, and the execution error of the second :INIT
    assert server.instrument.output_on


def test_operation_complete_waits_for_the_sweep(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 5)
    wire.write("*CLS", ":INIT", "*OPC", "*WAI")

    assert wire.query("*OPC?") == "1"
    assert server.log.named("sweep_end")[0]["taken"] == 5
    assert wire.query("*ESR?") == "1"


def test_status_is_visible_from_outside_while_busy(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 1000)
    wire.write(":STAT:OPER:ENAB 8", ":INIT", ":SOUR:VOLT 0")
    server.log.wait_for("sweep_begin")

    with server.instrument.lock:  # the message that started it has been carried out
        assert server.instrument.busy
        assert server.instrument.status_byte & 128  # sweeping, as a serial poll would tell

    wire.write(":ABOR")
    assert wire.query("*OPC?") == "1"
    assert not server.instrument.busy


def test_a_bus_trigger_starts_what_waits_for_it(bench):
    server, wire = bench(Resistor(1000.0))
    prepare(wire, 4)
    wire.write(":ARM:SOUR BUS", ":READ?")
    server.log.wait_for("sweep_begin")
    with server.instrument.lock:
        assert server.instrument.status.operation.condition == 64

    wire.write("*TRG")

    assert len(wire.read().split(",")) == 8
    assert wire.errors() == []


@pytest.mark.parametrize(("command", "bit"), [(":TRIG:SOUR TLIN", 32), (":ARM:SOUR MAN", 64)])
def test_a_trigger_that_never_comes_is_waited_for_until_an_abort(bench, command, bit):
    server, wire = bench(Resistor(1000.0))
    prepare(wire, 4)
    wire.write(command, ":INIT")
    server.log.wait_for("sweep_begin")

    assert server.instrument.status.operation.condition == bit
    wire.write(":ABOR")
    assert server.log.wait_for("abort")["taken"] == 0


@pytest.mark.parametrize("time_scale", [0.0, 1.0])
def test_an_endless_run_keeps_the_last_2500_readings_until_it_is_aborted(bench, time_scale):
    server, wire = bench(Resistor(1000.0), time_scale=time_scale)
    wire.write(":SENS:CURR:PROT 0.1", ":SENS:CURR:NPLC 0.01", ":OUTP ON", ":ARM:COUN INF", ":INIT")
    server.log.wait_for("sweep_begin")
    until(lambda: server.instrument.readings_taken >= 5)

    wire.write(":ABOR")

    assert server.log.wait_for("abort")["taken"] >= 5
    assert len(wire.numbers(":FETC?")) >= 25


def test_a_device_clear_stops_everything_and_keeps_the_settings(bench):
    server, wire = bench(Resistor(1000.0), time_scale=1.0)
    prepare(wire, 1000)
    wire.write(":READ?", ":SOUR:VOLT 5")
    server.log.wait_for("sweep_begin")

    server.instrument.device_clear()

    assert not server.instrument.busy
    assert server.instrument.waiting_units == 0
    assert wire.query(":TRIG:COUN?") == "1000"
    assert server.instrument.output_on  # only the output command or a reset switches it off


def test_a_stop_in_the_middle_of_a_sweep_leaves_no_thread_behind():
    with (
        Keithley2400Server(Resistor(1000.0)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as peer,
    ):
        peer.sendall(b":OUTP ON\n:TRIG:COUN 2500\n:READ?\n")
        server.log.wait_for("sweep_begin")

    assert [t.name for t in threading.enumerate() if t.name.startswith("sim-")] == []
