"""Several instruments on one circuit: compliance, conservation, time, insulation."""

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivebay.sim import Diode, OpenCircuit, Resistor, ShortCircuit
from drivebay.sim.circuit import (
    OPEN,
    Capacitor,
    Circuit,
    Mosfet,
    Part,
    Plain,
    SeriesRC,
    Socket,
    SolarCell,
    Varactor,
    Zener,
    amps,
    load,
    volts,
)


def socket(name, high, low="gnd"):
    return Socket(name, high, low, high, low)


def resistor(name, a, b, ohm):
    return Part(name, Plain(Resistor(ohm)), (a, b))


def ports(circuit):
    return tuple(circuit.ports.values())


def test_a_divider_divides():
    circuit = Circuit(
        [resistor("upper", "in", "out", 3e3), resistor("lower", "out", "gnd", 1e3)],
        [socket("source", "in"), socket("meter", "out")],
    )
    source, meter = ports(circuit)

    source.present(volts(8.0, 1.0))

    assert meter.read().volt_v == pytest.approx(2.0)
    assert source.read().amp_a == pytest.approx(2e-3)


def test_a_voltmeter_loads_what_it_measures():
    circuit = Circuit(
        [resistor("upper", "in", "out", 1e6), resistor("lower", "out", "gnd", 1e6)],
        [socket("source", "in"), socket("meter", "out")],
    )
    source, meter = ports(circuit)
    source.present(volts(2.0, 1.0))

    meter.present(load(10e6))

    assert meter.read().volt_v == pytest.approx(2.0 * (10 / 11) / (1 + 10 / 11), rel=1e-6)


def test_four_wires_leave_the_leads_out():
    circuit = Circuit(
        [
            resistor("lead_high", "fh", "sh", 5.0),
            resistor("lead_low", "gnd", "sl", 5.0),
            resistor("device", "sh", "sl", 10.0),
        ],
        [Socket("smu", "fh", "gnd", "sh", "sl")],
    )
    (smu,) = ports(circuit)

    two, four = smu.sweep([volts(1.0, 1.0), volts(1.0, 1.0, remote=True)])

    assert two.amp_a == pytest.approx(0.05)
    assert (four.volt_v, four.amp_a) == pytest.approx((1.0, 0.1))


def test_a_source_at_its_limit_is_the_other_kind_of_source():
    port = Circuit.around(Resistor(100.0))

    at_level, at_limit = port.sweep([volts(1.0, 0.1), volts(20.0, 0.1)])

    assert (at_level.volt_v, at_level.amp_a, at_level.limited) == (1.0, 0.01, False)
    assert at_limit.volt_v == pytest.approx(10.0)
    assert (at_limit.amp_a, at_limit.limited) == (pytest.approx(0.1), True)


def test_of_two_opposed_sources_the_weaker_gives_way():
    circuit = Circuit(
        [resistor("wire", "a", "b", 1.0)], [socket("strong", "a"), socket("weak", "b")]
    )
    strong, weak = ports(circuit)

    strong.present(volts(5.0, 1.0))
    weak.present(volts(-5.0, 0.2))

    one, other = strong.read(), weak.read()
    assert (one.volt_v, one.limited, other.limited) == (5.0, False, True)
    assert other.amp_a == pytest.approx(-0.2)
    assert other.volt_v == pytest.approx(4.8)


def test_a_current_source_into_nothing_is_at_its_voltage_limit():
    (port,) = ports(Circuit([], [socket("smu", "a")]))

    point = port.sweep([amps(1e-3, 21.0)])[0]

    assert (point.volt_v, point.limited) == (pytest.approx(21.0), True)
    assert point.amp_a == pytest.approx(0.0, abs=1e-12)


def test_compliance_holds_in_drain_and_gate_at_once():
    circuit = Circuit(
        [
            Part("m", Mosfet(), ("d", "g", "gnd")),
            resistor("leak", "g", "gnd", 1e4),
        ],
        [socket("drain", "d"), socket("gate", "g")],
    )
    drain, gate = ports(circuit)
    gate.present(volts(10.0, 2e-4))
    drain.present(volts(10.0, 1e-5))

    at_gate, at_drain = gate.read(), drain.read()

    assert (at_gate.limited, at_drain.limited) == (True, True)
    assert at_gate.volt_v == pytest.approx(2.0)
    assert at_drain.amp_a == pytest.approx(1e-5)
    assert circuit.parts["m"].component.flow([at_drain.volt_v, 2.0, 0.0])[0][0] == pytest.approx(
        1e-5, rel=1e-6
    )


sources = st.one_of(
    st.just(OPEN),
    st.builds(volts, st.floats(-20, 20), st.floats(1e-6, 1.0)),
    st.builds(amps, st.floats(-0.1, 0.1), st.floats(0.1, 20.0)),
    st.builds(load, st.floats(1.0, 1e7)),
)


@given(first=sources, second=sources, third=sources)
def test_whatever_is_presented_power_is_conserved_and_every_limit_holds(first, second, third):
    circuit = Circuit(
        [
            Part("m", Mosfet(), ("a", "b", "gnd")),
            Part("d", Plain(Diode()), ("b", "c")),
            Part("z", Zener(), ("c", "gnd")),
            Part("s", SolarCell(), ("a", "c")),
            resistor("r", "a", "b", 1e3),
        ],
        [socket("one", "a"), socket("two", "b"), socket("three", "c")],
    )
    boundaries = dict(zip(ports(circuit), (first, second, third), strict=True))

    for port, boundary in boundaries.items():
        port.present(boundary)

    points = {port: port.read() for port in boundaries}
    given_w = [point.volt_v * point.amp_a for point in points.values()]
    taken_w = list(circuit.powers_w().values())
    scale = math.fsum(map(abs, given_w + taken_w)) + 1e-9
    assert math.fsum(given_w) == pytest.approx(math.fsum(taken_w), abs=1e-6 * scale)
    for port, boundary in boundaries.items():
        held = points[port].amp_a if boundary.kind == "volt" else points[port].volt_v
        if boundary is not OPEN:
            assert abs(held) <= boundary.limit * (1 + 1e-8)


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("one", "two")), sources, st.floats(1e-5, 1e-2)),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_happens_in_time_every_moment_has_a_solution(steps):
    circuit = Circuit(
        [
            Part("m", Mosfet(gate_source_f=1e-11, gate_drain_f=5e-12), ("a", "b", "gnd")),
            Part("v", Varactor(), ("gnd", "a")),
            Part("rc", SeriesRC(1e4, 1e-8), ("b", "gnd")),
            resistor("r", "a", "b", 1e3),
        ],
        [socket("one", "a"), socket("two", "b")],
    )

    for name, boundary, seconds in steps:
        port = circuit.ports[name]
        point = port.sweep([boundary], before_s=seconds, window_s=1e-3)[0]
        assert math.isfinite(point.volt_v + point.amp_a)
        assert abs(port.admittance_s(1e5)) < 1e3


@pytest.mark.parametrize("after_tau", [0.1, 0.5, 1.0, 2.0, 5.0])
def test_an_rc_settles_as_its_exponential(after_tau):
    port = Circuit.around(SeriesRC(1e4, 1e-7))

    amp_a = port.sweep([volts(1.0, 1.0)], before_s=after_tau * 1e-3)[0].amp_a

    assert amp_a == pytest.approx(1e-4 * math.exp(-after_tau), rel=2e-3, abs=1e-9)


def test_a_reading_is_the_mean_over_its_window():
    port = Circuit.around(SeriesRC(1e4, 1e-7))

    amp_a = port.sweep([volts(1.0, 1.0)], window_s=1e-3)[0].amp_a

    assert amp_a == pytest.approx(1e-4 * -math.expm1(-1.0), rel=2e-3)


def test_a_capacitor_charges_at_the_compliance_and_then_is_at_the_level():
    port = Circuit.around(Capacitor(1e-6))

    on_the_way, there = port.sweep([volts(1.0, 1e-3)] * 2, before_s=5e-4)
    after = port.sweep([volts(1.0, 1e-3)], before_s=1e-3)[0]

    assert on_the_way.limited
    assert on_the_way.volt_v == pytest.approx(0.5, rel=1e-3)
    assert there.volt_v == pytest.approx(1.0, rel=1e-3)
    assert not after.limited
    assert after.amp_a == pytest.approx(0.0, abs=1e-9)


def test_what_flows_into_a_capacitor_is_the_charge_it_has():
    port = Circuit.around(Capacitor(1e-6))

    charge_c = sum(
        point.amp_a * 2e-3
        for point in port.sweep([volts(0.1 * k, 1e-3) for k in range(11)], window_s=2e-3)
    )

    assert charge_c == pytest.approx(1e-6, rel=1e-6)


def test_a_capacitor_keeps_its_voltage_when_the_output_goes_off():
    port = Circuit.around(Capacitor(1e-6))
    port.sweep([volts(2.0, 1e-2)], before_s=1e-2)

    port.release()

    assert port.read(before_s=1.0).volt_v == pytest.approx(2.0, rel=1e-6)


def test_no_time_passes_without_a_reading_unless_real_time_does():
    port = Circuit.around(SeriesRC(1e4, 1e-7))
    port.present(volts(1.0, 1.0))

    first, second = port.read(), port.read()

    assert first == second
    assert first.amp_a == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize("time_scale", [1.0, 0.1])
def test_real_time_passes_in_every_part_of_the_circuit(time_scale):
    real_s = [100.0]
    circuit = Circuit(
        [
            Part("one", SeriesRC(1e4, 1e-7), ("a", "gnd")),
            Part("two", SeriesRC(1e4, 1e-7), ("b", "gnd")),
        ],
        [socket("first", "a"), socket("second", "b")],
        time_scale=time_scale,
        real_s=lambda: real_s[0],
    )
    for port in ports(circuit):
        port.present(volts(1.0, 1.0))

    real_s[0] += 2e-3 * time_scale

    for port in ports(circuit):
        assert port.read().amp_a == pytest.approx(1e-4 * math.exp(-2), rel=2e-3)


def test_a_reading_uses_its_time_from_what_has_passed_already():
    real_s = [0.0]
    circuit = Circuit(
        [Part("one", SeriesRC(1e4, 1e-7), ("a", "gnd"))],
        [socket("first", "a")],
        time_scale=1.0,
        real_s=lambda: real_s[0],
    )
    (port,) = ports(circuit)
    port.present(volts(1.0, 1.0))

    real_s[0] += 2e-3

    assert port.read(before_s=1e-3).amp_a == pytest.approx(1e-4 * math.exp(-2), rel=2e-3)


def test_a_signal_sees_a_source_at_its_level_as_a_wire_and_at_its_limit_as_a_gap():
    circuit = Circuit([resistor("r", "a", "b", 50.0)], [socket("lcr", "a"), socket("smu", "b")])
    lcr, smu = ports(circuit)
    lcr.present(volts(1.0, 1.0, ohm=100.0))

    smu.present(volts(0.0, 1.0))
    at_level_s = lcr.admittance_s(1e3)
    smu.present(volts(0.0, 1e-6))
    at_limit_s = lcr.admittance_s(1e3)

    assert at_level_s == pytest.approx(1 / 50.0, rel=1e-6)
    assert abs(at_limit_s) < 1e-12


def test_parts_that_are_not_connected_do_not_know_of_each_other():
    circuit = Circuit(
        [resistor("one", "a", "gnd", 1e3), resistor("two", "b", "gnd", 1e3)],
        [socket("first", "a"), socket("second", "b")],
    )
    first, second = ports(circuit)

    first.present(volts(10.0, 1.0))

    assert len(circuit.islands) == 2
    assert second.read().volt_v == 0.0
    assert circuit.neighbours("first") == ["one"]


def test_an_island_without_ground_floats_and_works():
    circuit = Circuit([resistor("r", "p", "n", 1e3)], [socket("smu", "p", "n")])
    (smu,) = ports(circuit)

    assert smu.sweep([volts(1.0, 1.0)])[0].amp_a == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "device", [Resistor(330.0), Diode(), Diode(series_resistance_ohm=0.0), ShortCircuit()]
)
@pytest.mark.parametrize("boundary", [volts(0.6, 1e-3), volts(-3.0, 1e-3), amps(2e-4, 2.0)])
def test_the_closed_form_of_a_lone_device_and_the_equations_agree(device, boundary):
    lone = Circuit.around(device)
    crowd = Circuit(
        [Part("device", Plain(device), ("a", "gnd"))], [socket("smu", "a"), socket("other", "a")]
    ).ports["smu"]

    one, other = lone.sweep([boundary])[0], crowd.sweep([boundary])[0]

    assert one == pytest.approx(other, rel=1e-6, abs=1e-8)


def test_a_port_is_a_device():
    circuit = Circuit(
        [resistor("r", "a", "b", 1e3), Part("d", Plain(Diode()), ("b", "gnd"))],
        [socket("smu", "a"), socket("meter", "b")],
    )
    port = circuit.ports["smu"]

    whole = Diode(series_resistance_ohm=1010.0)
    assert port.current_a(2.0) == pytest.approx(whole.current_a(2.0), rel=1e-9)
    assert port.voltage_v(1e-3) == pytest.approx(whole.voltage_v(1e-3), rel=1e-9)
    assert port.conductance_s(2.0) == pytest.approx(whole.conductance_s(2.0), rel=1e-4)
    assert Circuit.around(OpenCircuit()).voltage_v(1.0) == math.inf
    assert port.boundary is OPEN
    with pytest.raises(ValueError, match="leads"):
        port.with_leads(1.0)


def test_a_circuit_that_contradicts_itself_is_refused():
    r = resistor("r", "a", "b", 1.0)

    with pytest.raises(ValueError, match="'r' stands twice"):
        Circuit([r, r], [])
    with pytest.raises(ValueError, match="'p' stands twice"):
        Circuit([], [socket("p", "a"), socket("p", "b")])
    with pytest.raises(ValueError, match="drain, gate, source"):
        Circuit([Part("m", Mosfet(), ("a", "b"))], [])


def test_readings_from_many_threads_are_each_true():
    circuit = Circuit(
        [resistor("one", "a", "m", 1e3), resistor("two", "b", "m", 1e3)],
        [socket("first", "a"), socket("second", "b"), socket("third", "m")],
    )
    circuit.ports["third"].present(volts(0.0, 1.0))
    wrong = []

    def reads(name, sign):
        port = circuit.ports[name]
        for k in range(200):
            level = sign * (k % 10)
            point = port.sweep([volts(level, 1.0)])[0]
            if abs(point.amp_a - level / 1e3) > 1e-12:
                wrong.append(point)

    threads = [threading.Thread(target=reads, args=each) for each in (("first", 1), ("second", -1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
