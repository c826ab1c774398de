"""What a simulated 2400 reads: values, compliance, ranges, formats, sweeps, buffers."""

import itertools
import math
import statistics
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivebay.sim import Diode, Keithley2400, OpenCircuit, Resistor, ShortCircuit

NAN = 9.91e37
COMPLIANCE, RANGE_COMPLIANCE = 8, 1 << 16


def test_a_resistor_obeys_ohms_law(bench):
    _, wire = bench(Resistor(1000.0), noise=0.0)
    wire.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 5", ":OUTP ON", ":FORM:ELEM VOLT,CURR")

    assert wire.numbers(":READ?") == [5.0, pytest.approx(5e-3, rel=1e-5)]


def test_a_diode_reads_its_own_law(bench):
    device = Diode(saturation_current_a=1e-10, ideality=1.8, series_resistance_ohm=5.0)
    _, wire = bench(device, noise=0.0)
    wire.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 0.7", ":OUTP ON", ":FORM:ELEM CURR")

    assert wire.numbers(":READ?") == [pytest.approx(device.current_a(0.7), rel=1e-4)]


def test_nothing_connected_draws_nothing_and_takes_a_current_source_to_its_limit(bench):
    _, wire = bench(OpenCircuit(), noise=0.0)
    wire.write(":SENS:FUNC 'VOLT','CURR'", ":OUTP ON", ":SOUR:VOLT 10", ":FORM:ELEM VOLT,CURR,STAT")
    assert wire.numbers(":READ?")[:2] == [10.0, 0.0]

    wire.write(":SOUR:FUNC CURR", ":SENS:VOLT:PROT 5", ":SOUR:CURR 1UA", ":OUTP ON")
    volts, amps, status = wire.numbers(":READ?")
    assert (volts, amps) == (pytest.approx(5.0), pytest.approx(0.0, abs=1e-9))
    assert int(status) & COMPLIANCE


@pytest.mark.parametrize("sign", [1, -1])
def test_current_compliance_clamps_the_current_and_lets_the_voltage_sag(bench, sign):
    _, wire = bench(Resistor(100.0), noise=0.0)
    wire.write(":SENS:FUNC 'VOLT','CURR'", ":SENS:CURR:PROT 1E-3", f":SOUR:VOLT {sign * 10}")
    wire.write(":OUTP ON", ":FORM:ELEM VOLT,CURR,STAT")

    volts, amps, status = wire.numbers(":READ?")

    assert amps == pytest.approx(sign * 1e-3, rel=1e-5)
    assert volts == pytest.approx(sign * 0.1, rel=1e-3)
    assert int(status) & COMPLIANCE
    assert not int(status) & RANGE_COMPLIANCE
    assert wire.query(":SENS:CURR:PROT:TRIP?") == "1"


def test_voltage_compliance_clamps_a_current_source(bench):
    _, wire = bench(Resistor(10_000.0), noise=0.0)
    wire.write(
        ":SOUR:FUNC CURR", ":SENS:FUNC 'VOLT','CURR'", ":SENS:VOLT:PROT 2", ":SOUR:CURR 1E-3"
    )
    wire.write(":OUTP ON", ":FORM:ELEM VOLT,CURR,STAT")

    volts, amps, status = wire.numbers(":READ?")

    assert volts == pytest.approx(2.0, rel=1e-4)
    assert amps == pytest.approx(2e-4, rel=1e-2)
    assert int(status) & COMPLIANCE
    assert wire.query(":SENS:VOLT:PROT:TRIP?;:SENS:CURR:PROT:TRIP?") == "1;0"


def test_within_compliance_nothing_is_flagged(bench):
    _, wire = bench(Resistor(100.0))
    wire.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 1", ":OUTP ON", ":FORM:ELEM STAT")

    assert int(wire.numbers(":READ?")[0]) & (COMPLIANCE | RANGE_COMPLIANCE) == 0
    assert wire.query(":SENS:CURR:PROT:TRIP?") == "0"


def test_a_fixed_measure_range_below_the_limit_is_range_compliance(bench):
    _, wire = bench(Resistor(100.0), noise=0.0)
    wire.write(":SENS:CURR:PROT 0.1", ":SENS:CURR:RANG 1E-3", ":SOUR:VOLT 10", ":OUTP ON")
    wire.write(":FORM:ELEM CURR,STAT")

    amps, status = wire.numbers(":READ?")

    assert amps == pytest.approx(1.05e-3, rel=1e-4)
    assert int(status) & RANGE_COMPLIANCE


@given(
    device=st.one_of(
        st.builds(Resistor, st.floats(0.0, 1e9)),
        st.builds(Diode, st.floats(1e-15, 1e-6), st.floats(1.0, 3.0), st.floats(0.0, 1e4)),
        st.just(OpenCircuit()),
        st.just(ShortCircuit()),
    ),
    level_v=st.floats(-20.0, 20.0),
    limit_a=st.floats(1e-7, 1.0),
)
def test_the_output_never_exceeds_its_limit_or_its_level_whatever_is_connected(
    device, level_v, limit_a
):
    smu = Keithley2400(device=device)
    smu.settings.sense_curr.limit = limit_a

    volts, amps, flag = smu.meter.operating_point(smu.settings, level_v)

    assert abs(amps) <= limit_a
    assert abs(volts) <= abs(level_v) * (1 + 1e-6) + 1e-9
    assert bool(flag) == (abs(device.current_a(level_v)) > limit_a)


def test_four_wire_sensing_leaves_the_leads_out(bench):
    _, wire = bench(Resistor(10.0), lead_resistance_ohm=1.0, noise=0.0)
    wire.write(
        ":SOUR:FUNC CURR", ":SENS:FUNC 'VOLT'", ":SOUR:CURR 0.1", ":OUTP ON", ":FORM:ELEM VOLT,STAT"
    )
    two_wire, status = wire.numbers(":READ?")
    assert (two_wire, int(status) & (1 << 22)) == (pytest.approx(1.1), 0)

    wire.write(":SYST:RSEN ON")
    four_wire, status = wire.numbers(":READ?")
    assert (four_wire, int(status) & (1 << 22)) == (pytest.approx(1.0), 1 << 22)


def test_noise_falls_with_the_root_of_the_integration_time():
    def spread(nplc):
        smu = Keithley2400(device=Resistor(1e6), time_scale=0.0, seed=7)
        smu.settings.nplc = nplc
        smu.settings.sense_curr.auto_range = False
        smu.settings.sense_curr.range = 1.05e-3
        smu.settings.functions = ["CURR"]
        from drivebay.sim.keithley2400.measuring import Timing

        return statistics.stdev(
            smu.meter.measure(smu.settings, [1.0] * 2000, Timing(1.0, 1.0)).amps
        )

    assert spread(0.01) == pytest.approx(2e-6 * 1e-3 * 10, rel=0.1)
    assert spread(0.01) / spread(0.0625) == pytest.approx(2.5, rel=0.2)


def test_the_same_seed_gives_the_same_readings_and_another_gives_others(bench):
    def readings(seed):
        _, wire = bench(Resistor(1e5), seed=seed)
        wire.write(":SOUR:VOLT 1", ":OUTP ON", ":TRIG:COUN 20", ":FORM:ELEM CURR")
        return wire.numbers(":READ?")

    assert readings(1) == readings(1)
    assert readings(1) != readings(2)


def test_readings_have_the_resolution_of_their_range(bench):
    _, wire = bench(Resistor(1e6), noise=30.0)
    wire.write(":SOUR:VOLT 5", ":OUTP ON", ":TRIG:COUN 50", ":FORM:ELEM CURR")

    for amps in wire.numbers(":READ?"):
        steps = amps / 1e-10  # the 10 uA range resolves 100 pA
        assert steps == pytest.approx(round(steps), abs=1e-3)


def test_a_reading_too_soon_after_a_step_has_not_settled(bench):
    _, wire = bench(Resistor(1000.0), settling_time_s=0.01, noise=0.0)
    wire.write(
        ":SENS:CURR:PROT 0.1;NPLC 0.01",
        ":SOUR:DEL 0",
        ":OUTP ON",
        ":SOUR:VOLT 0",
        ":FORM:ELEM CURR",
    )
    wire.write(":SOUR:VOLT:MODE LIST", ":SOUR:LIST:VOLT 1,1", ":TRIG:COUN 2")
    early, later = wire.numbers(":READ?")
    # 100 us latency, then the mean over 200 us, against a time constant of 10 ms
    assert early == pytest.approx(
        1e-3 * (1 - math.exp(-0.01) * 50 * (1 - math.exp(-0.02))), rel=1e-3
    )
    assert early < later < 1e-3

    wire.write(":SOUR:DEL 0.5", ":SOUR:LIST:VOLT 0,1")
    assert wire.numbers(":READ?")[1] == pytest.approx(1e-3, rel=1e-5)


def test_what_is_neither_sourced_nor_measured_is_not_available(bench):
    _, wire = bench(Resistor(1000.0))
    wire.write(
        ":SENS:CURR:PROT 0.1",
        ":SENS:FUNC:OFF 'CURR'",
        ":SENS:FUNC 'VOLT'",
        ":SOUR:VOLT 1",
        ":OUTP ON",
    )

    volts, amps, ohms, _, _ = wire.numbers(":READ?")

    assert volts == pytest.approx(1.0, abs=1e-3)
    assert (amps, ohms) == (NAN, NAN)


def test_elements_come_in_the_instruments_order_whatever_order_was_asked(bench):
    _, wire = bench(Resistor(1000.0), noise=0.0)
    wire.write(":SOUR:VOLT 0.05", ":OUTP ON", ":FORM:ELEM STAT,CURR,VOLT")

    volts, amps, status = wire.numbers(":READ?")

    assert (volts, amps) == (0.05, pytest.approx(5e-5))
    assert int(status) == 4 + 4096 + 16384  # front terminals, measures I, sources V
    assert wire.query(":FORM:ELEM?") == "VOLT,CURR,STAT"


def test_manual_ohms_is_voltage_over_current(bench):
    _, wire = bench(Resistor(4700.0), noise=0.0)
    wire.write(
        ":SENS:FUNC:ALL", ":SENS:RES:MODE MAN", ":SENS:CURR:PROT 0.01", ":SOUR:VOLT 2", ":OUTP ON"
    )
    wire.write(":FORM:ELEM RES")

    assert wire.numbers(":READ?") == [pytest.approx(4700.0, rel=1e-4)]


def test_auto_ohms_measures_a_resistor_and_overflows_on_an_open_circuit(bench):
    _, wire = bench(Resistor(4700.0), noise=0.0)
    wire.write(":FORM:ELEM RES")
    assert wire.numbers(":MEAS:RES?") == [pytest.approx(4700.0, rel=1e-4)]

    _, wire = bench(OpenCircuit())
    wire.write(":FORM:ELEM RES,STAT")
    ohms, status = wire.numbers(":MEAS:RES?")
    assert ohms == pytest.approx(9.9e37)
    assert int(status) & 1


def test_measuring_at_once_switches_the_output_on_and_takes_one_reading(bench):
    server, wire = bench(Resistor(1000.0), noise=0.0)
    wire.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 2", ":TRIG:COUN 50", ":FORM:ELEM CURR")

    assert wire.numbers(":MEAS:CURR?") == [pytest.approx(2e-3)]
    assert wire.query(":OUTP?") == "1"
    assert server.instrument.settings.trigger_count == 1


def test_binary_readings_are_the_ascii_ones_behind_an_indefinite_block_header(bench):
    _, wire = bench(Resistor(1000.0), noise=0.0)
    wire.write(":SENS:CURR:PROT 0.1", ":OUTP ON", ":SOUR:VOLT:MODE LIST", ":SOUR:LIST:VOLT 1,2,3")
    wire.write(":TRIG:COUN 3", ":FORM:ELEM VOLT,CURR")
    text = wire.numbers(":READ?")

    for border, order in (("NORM", ">"), ("SWAP", "<")):
        wire.write(":FORM:DATA REAL,32", f":FORM:BORD {border}", ":FETC?")
        data = wire.read_bytes(2 + 6 * 4 + 1)  # section 18: bytes = 2 + readings x 4 + 1
        assert data[:2] == b"#0"
        assert data[-1:] == b"\n"
        assert list(struct.unpack(f"{order}6f", data[2:-1])) == pytest.approx(text, rel=1e-6)
        assert wire.query(":FORM:DATA?;BORD?") == f"REAL,32;{border}"
        wire.write(":FORM:DATA ASC")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(levels=st.lists(st.floats(-20, 20).map(lambda v: round(v, 6)), min_size=1, max_size=330))
def test_a_list_sweep_sources_each_level_once_in_order(bench_of_its_own, levels):
    wire = bench_of_its_own
    texts = [f"{level:.6g}" for level in levels]
    wire.write(":SOUR:LIST:VOLT " + ",".join(texts[:100]))
    for k in range(100, len(texts), 100):
        wire.write(":SOUR:LIST:VOLT:APP " + ",".join(texts[k : k + 100]))
    wire.write(f":TRIG:COUN {len(levels)}")

    rows = wire.rows(":READ?", 3)

    assert int(wire.query(":SOUR:LIST:VOLT:POIN?")) == len(levels)
    assert [row[0] for row in rows] == [pytest.approx(float(text), rel=1e-6) for text in texts]
    assert [row[1] for row in rows] == [
        pytest.approx(float(text) / 1000, rel=2e-3, abs=2e-8) for text in texts
    ]
    times = [row[2] for row in rows]
    assert all(b > a for a, b in itertools.pairwise(times))


@pytest.fixture(scope="module")
def bench_of_its_own():
    from contextlib import ExitStack

    from drivebay.sim import Keithley2400Server

    with ExitStack() as stack:
        server = stack.enter_context(
            Keithley2400Server(Resistor(1000.0), time_scale=0.0, noise=0.0)
        )
        import socket

        peer = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = _Line(peer)
        stack.callback(wire.stream.close)
        wire.write(
            ":SENS:CURR:PROT 0.1", ":OUTP ON", ":SOUR:VOLT:MODE LIST", ":FORM:ELEM VOLT,CURR,TIME"
        )
        wire.write(":SYST:TIME:RES")
        yield wire


class _Line:
    def __init__(self, peer):
        self.peer, self.stream = peer, peer.makefile("rb")

    def write(self, *messages):
        self.peer.sendall(b"".join(m.encode() + b"\n" for m in messages))

    def query(self, message):
        self.write(message)
        return self.stream.readline().decode().strip()

    def rows(self, message, columns):
        self.write(":SYST:TIME:RES")
        flat = [float(text) for text in self.query(message).split(",")]
        return [tuple(flat[k : k + columns]) for k in range(0, len(flat), columns)]


def test_a_list_line_takes_a_hundred_values_and_a_list_2500(bench):
    _, wire = bench()
    line = ",".join(["0.1"] * 100)
    wire.write(":SOUR:LIST:VOLT " + line + ",0.1")
    assert wire.errors() == [-223]

    wire.write(":SOUR:LIST:VOLT " + line)
    for _ in range(24):
        wire.write(":SOUR:LIST:VOLT:APP " + line)
    assert wire.query(":SOUR:LIST:VOLT:POIN?") == "2500"
    assert wire.errors() == []
    wire.write(":SOUR:LIST:VOLT:APP 0.1")
    assert wire.errors() == [-223]
    assert wire.query(":SOUR:LIST:VOLT:POIN?") == "2500"


def test_the_counts_of_both_layers_multiply_to_2500_at_most(bench):
    _, wire = bench()
    wire.write(":ARM:COUN 2", ":TRIG:COUN 1250")
    assert wire.errors() == []
    wire.write(":TRIG:COUN 1251")
    assert wire.errors() == [-222]
    wire.write(":ARM:COUN INF", ":TRIG:COUN 2500", ":OUTP ON", ":READ?")
    assert wire.errors() == [830]


def test_a_2500_point_sweep_fills_and_returns_the_whole_buffer(bench):
    _, wire = bench(Resistor(1000.0))
    wire.write(
        ":SENS:CURR:PROT 0.1", ":OUTP ON", ":SOUR:SWE:POIN 2500", ":SOUR:VOLT:STAR -1;STOP 1"
    )
    wire.write(":SOUR:VOLT:MODE SWE", ":TRIG:COUN 2500", ":FORM:ELEM VOLT")

    levels = wire.numbers(":READ?")

    assert len(levels) == 2500
    assert (levels[0], levels[-1]) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("set_up", "expected"),
    [
        (":SOUR:VOLT:STAR 0;STOP 1;:SOUR:SWE:POIN 5", [0, 0.25, 0.5, 0.75, 1]),
        (":SOUR:VOLT:STAR 0;STOP 1;STEP 0.5;:TRIG:COUN 3", [0, 0.5, 1]),
        (":SOUR:VOLT:CENT 1;SPAN 2;:SOUR:SWE:POIN 3;:TRIG:COUN 3", [0, 1, 2]),
        (":SOUR:VOLT:STAR 0.01;STOP 1;:SOUR:SWE:POIN 3;SPAC LOG;:TRIG:COUN 3", [0.01, 0.1, 1]),
        (":SOUR:VOLT:STAR 0;STOP 1;:SOUR:SWE:POIN 3;DIR DOWN;:TRIG:COUN 3", [1, 0.5, 0]),
    ],
)
def test_staircase_sweeps_have_the_levels_the_manual_gives_them(bench, set_up, expected):
    _, wire = bench(Resistor(1000.0))
    wire.write(":SENS:CURR:PROT 0.1", ":OUTP ON", ":TRIG:COUN 5", ":FORM:ELEM VOLT", set_up)
    wire.write(":SOUR:VOLT:MODE SWE")

    assert wire.numbers(":READ?") == [pytest.approx(level) for level in expected]


def test_a_sweep_beyond_the_operating_boundaries_does_not_start(bench):
    server, wire = bench(Resistor(1e6))
    wire.write(":SENS:CURR:PROT 0.5", ":SOUR:VOLT:MODE LIST", ":SOUR:LIST:VOLT 1,100", ":OUTP ON")
    wire.write(":TRIG:COUN 2", ":READ?")

    assert wire.errors() == [826]
    assert server.instrument.readings_taken == 0
    wire.write(":SENS:CURR:PROT 0.1")
    assert len(wire.numbers(":READ?")) == 10


def test_arm_counts_repeat_the_sweep(bench):
    _, wire = bench(Resistor(1000.0))
    wire.write(":SENS:CURR:PROT 0.1", ":OUTP ON", ":SOUR:LIST:VOLT 1,2", ":SOUR:VOLT:MODE LIST")
    wire.write(":TRIG:COUN 2", ":ARM:COUN 3", ":FORM:ELEM VOLT")

    assert wire.numbers(":READ?") == [1, 2, 1, 2, 1, 2]


def test_the_trace_buffer_fills_once_and_says_so(bench):
    _, wire = bench(Resistor(1000.0), noise=0.0)
    wire.write(":TRAC:CLE", ":TRAC:POIN 5", ":TRAC:FEED SENS", ":TRAC:FEED:CONT NEXT")
    wire.write(
        ":SENS:CURR:PROT 0.1", ":SOUR:VOLT 1", ":OUTP ON", ":TRIG:COUN 3", ":FORM:ELEM VOLT,TIME"
    )
    wire.write(":INIT")
    assert wire.query(":TRAC:POIN:ACT?;:TRAC:FEED:CONT?") == "3;NEXT"
    wire.write(":TRAC:POIN 6")
    assert wire.errors() == [800]

    wire.write("*CLS", ":INIT")

    assert wire.query(":TRAC:FEED:CONT?") == "NEV"
    assert int(wire.query(":STAT:MEAS?")) & 512
    rows = wire.rows(":TRAC:DATA?", 2)
    assert len(rows) == 5
    assert rows[0][1] == 0.0  # absolute times are since the first reading
    assert wire.numbers(":CALC3:FORM MEAN;DATA?")[0] == 1.0
    assert wire.query(":DATA:POIN?") == "5"  # TRACe and DATA are one subsystem


def test_without_auto_clear_the_output_stays_on_and_with_it_does_not(bench):
    _, wire = bench(Resistor(1000.0))
    wire.write(":OUTP ON")
    wire.query(":READ?")
    assert wire.query(":OUTP?") == "1"

    wire.write(":OUTP OFF", ":SOUR:CLE:AUTO ON")
    wire.query(":READ?")
    assert wire.query(":OUTP?") == "0"
    assert wire.errors() == []


def test_an_output_that_is_off_drives_nothing(bench):
    server, wire = bench(Resistor(1000.0))
    wire.write(":SENS:CURR:PROT 0.1", ":SOUR:VOLT 5", ":OUTP ON")
    assert wire.query("*OPC?") == "1"
    assert server.instrument.output_levels() == (5.0, pytest.approx(5e-3))

    wire.write(":OUTP OFF")

    assert wire.query("*OPC?") == "1"
    assert server.instrument.output_levels() == (0.0, 0.0)


def test_changing_the_source_function_switches_the_output_off(bench):
    _, wire = bench()
    wire.write(":OUTP ON", ":SOUR:FUNC CURR")

    assert wire.query(":OUTP?;:SOUR:FUNC?") == "0;CURR"


@pytest.mark.parametrize(
    ("model", "volt", "amp", "blocked"),
    [
        ("2400", 210, 1.05, ":SENS:CURR:PROT 0.2;:SOUR:VOLT:RANG 200"),
        ("2401", 21, 1.05, ":SOUR:VOLT 22"),
        ("2410", 1100, 1.05, ":SENS:CURR:PROT 0.1;:SOUR:VOLT 1000"),
        ("2420", 63, 3.15, ":SENS:CURR:PROT 2;:SOUR:VOLT 60"),
        ("2425", 105, 3.15, ":SENS:CURR:PROT 2;:SOUR:VOLT 100"),
        ("2430", 105, 3.15, ":SENS:CURR:PROT 2;:SOUR:VOLT 100"),
        ("2440", 42, 5.25, ":SENS:CURR:PROT 2;:SOUR:VOLT 40"),
    ],
)
def test_each_model_has_its_own_limits(bench, model, volt, amp, blocked):
    _, wire = bench(model=model)
    assert float(wire.query(":SOUR:VOLT:RANG? MAX")) == volt
    assert float(wire.query(":SOUR:CURR:RANG? MAX")) == amp
    wire.write(f":SOUR:VOLT {volt}", ":SOUR:VOLT 0", f":SOUR:CURR {amp}", f":SENS:CURR:PROT {amp}")
    assert wire.errors() == []

    wire.write("*RST", blocked)

    assert wire.errors()[-1] in {826, -222}


def test_ranges_are_the_lowest_that_hold_the_level_and_answer_their_full_scale(bench):
    _, wire = bench()
    for level, full_scale in ((3, 21), (21, 21), (21.5, 210), (0.2, 0.21), (0.22, 2.1)):
        wire.write(f":SOUR:VOLT:RANG {level}")
        assert float(wire.query(":SOUR:VOLT:RANG?")) == pytest.approx(full_scale)
    wire.write(":SOUR:VOLT:RANG MIN", ":SOUR:VOLT 1")
    assert wire.errors() == [-222]  # a fixed range holds no more
    wire.write(":SOUR:VOLT:RANG:AUTO ON", ":SOUR:VOLT 1")
    assert wire.errors() == []
    assert float(wire.query(":SOUR:VOLT:RANG?")) == pytest.approx(2.1)
