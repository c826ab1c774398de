"""The whole bench over sockets: several instruments on one device."""

import math
import socket

import pytest
import yaml

from drivebay.sim.circuit import Capacitor, Circuit, SeriesRC
from drivebay.sim.circuitfile import PACKAGED, parse_circuit, read_circuit
from drivebay.sim.virtualbench import VirtualBench


@pytest.fixture
def lab():
    with VirtualBench(free_ports=True, time_scale=0.0) as bench:
        yield bench


def test_two_smus_on_one_mosfet_give_its_transfer_curve(lab, connect):
    gate, drain = connect(lab.servers["gate"]), connect(lab.servers["drain"])
    mosfet = lab.circuit.parts["transistor"].component
    gate.write(":SOUR:FUNC VOLT", ":SENS:CURR:PROT 1e-3", ":SOUR:VOLT 0", ":OUTP ON")
    drain.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 5", ":FORM:ELEM CURR", ":OUTP ON")

    for gate_v in (0.0, 1.0, 1.4, 1.6, 2.0, 3.0, 5.0):
        gate.query(f":SOUR:VOLT {gate_v};*OPC?")
        (measured_a,) = drain.numbers(":READ?")
        expected_a = mosfet.flow([5.0, gate_v, 0.0])[0][0]
        assert measured_a == pytest.approx(expected_a, rel=1e-3, abs=1e-9)


def test_the_drains_compliance_lets_the_drain_voltage_fall(lab, connect):
    gate, drain = connect(lab.servers["gate"]), connect(lab.servers["drain"])
    gate.query(":SENS:CURR:PROT 1e-3;:SOUR:VOLT 4;:OUTP ON;*OPC?")
    drain.write(":SENS:FUNC:CONC ON", ":SENS:FUNC 'VOLT','CURR'", ":SENS:CURR:PROT 1e-3")
    drain.write(":SOUR:VOLT 5", ":OUTP ON", ":FORM:ELEM VOLT,CURR,STAT")

    volt, amp, status = drain.numbers(":READ?")

    assert amp == pytest.approx(1e-3, rel=1e-3)
    assert volt < 1.0
    assert int(status) & 8


def test_an_output_that_is_switched_off_leaves_the_others_alone(lab, connect):
    gate, drain = connect(lab.servers["gate"]), connect(lab.servers["drain"])
    gate.query(":SENS:CURR:PROT 1e-3;:SOUR:VOLT 4;:OUTP ON;*OPC?")
    drain.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 5", ":OUTP ON", ":FORM:ELEM CURR")
    (on_a,) = drain.numbers(":READ?")

    gate.query(":OUTP OFF;*OPC?")

    (off_a,) = drain.numbers(":READ?")
    assert on_a > 1e-3
    assert abs(off_a) < 1e-9


def test_a_solar_cell_delivers_power_to_the_smu_on_it(lab, connect):
    cell = connect(lab.servers["cell"])
    cell.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 0.4", ":OUTP ON", ":FORM:ELEM CURR")

    (amp,) = cell.numbers(":READ?")

    assert -0.036 < amp < -0.030
    assert lab.circuit.powers_w()["solar_cell"] == pytest.approx(0.4 * amp, rel=1e-3)


@pytest.mark.parametrize("delay_s", [5e-4, 1e-3, 3e-3])
def test_what_settles_is_read_after_the_source_delay(bench, delay_s):
    _, wire = bench(Circuit.around(SeriesRC(1e4, 1e-7)), noise=0.0)
    wire.write(":SENS:CURR:PROT 1e-3", ":SENS:CURR:NPLC 0.01", ":FORM:ELEM CURR")
    wire.write(f":SOUR:DEL {delay_s}", ":SOUR:VOLT:MODE LIST", ":SOUR:LIST:VOLT 1", ":OUTP ON")

    (amp,) = wire.numbers(":READ?")

    # 100 us of trigger latency, the delay, then the mean over 200 us: all of it in taus of 1 ms.
    begun, window = (1e-4 + delay_s) / 1e-3, 0.2
    expected_a = 1e-4 * math.exp(-begun) * -math.expm1(-window) / window
    assert amp == pytest.approx(expected_a, rel=5e-3)


def test_a_forced_current_gives_the_capacitance_by_the_ramp_it_makes(bench):
    _, wire = bench(Circuit.around(Capacitor(1e-9)), noise=0.0)
    wire.write(":SOUR:FUNC CURR", ":SENS:FUNC 'VOLT'", ":SENS:VOLT:PROT 10", ":SOUR:CURR:RANG 1e-6")
    wire.write(":SENS:VOLT:NPLC 0.1", ":SENS:VOLT:RANG 10", ":SOUR:CURR 1e-8", ":TRIG:COUN 20")
    wire.write(":FORM:ELEM VOLT,TIME", ":OUTP ON")

    rows = wire.rows(":READ?", 2)

    (first_v, first_s), (last_v, last_s) = rows[0], rows[-1]
    assert 1e-8 * (last_s - first_s) / (last_v - first_v) == pytest.approx(1e-9, rel=5e-3)


def test_the_same_seed_gives_the_same_curve():
    with VirtualBench(free_ports=True, time_scale=0.0) as one:
        first = _noisy(one)
    with VirtualBench(free_ports=True, time_scale=0.0) as two:
        second = _noisy(two)

    assert first == second
    assert len(set(first)) > 1


def _noisy(bench):
    with socket.create_connection(("127.0.0.1", bench.servers["cell"].port), 10) as peer:
        peer.sendall(b":SENS:CURR:PROT 0.1;:OUTP ON;:FORM:ELEM CURR;:TRIG:COUN 20;:READ?\n")
        with peer.makefile("rb") as stream:
            return stream.readline().split(b",")


def test_the_bench_file_names_every_instrument_and_what_is_on_it(lab):
    said = yaml.safe_load(lab.bench_file())

    assert list(said["instruments"]) == [entry.name for entry in read_circuit(PACKAGED).instruments]
    assert said["instruments"]["gate"]["resource"] == lab.resource("gate")
    assert "transistor" in lab.bench_file()


def test_a_port_that_is_taken_starts_nothing(lab):
    taken = lab.servers["gate"].port
    crowded = yaml.safe_load(PACKAGED.read_text(encoding="utf-8"))
    crowded["instruments"] = {
        name: {**entry, "tcp_port": 0 if name != "drain" else taken}
        for name, entry in crowded["instruments"].items()
    }
    bench = VirtualBench(parse_circuit(crowded), time_scale=0.0)

    with pytest.raises(OSError, match=f"drain: port {taken}"):
        bench.start()
    assert all(server.log.named("stopped") for server in bench.servers.values())
