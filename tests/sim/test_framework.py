"""What a simulator is built from: source channel, buffers, readings, standard commands."""

import math
import statistics
from typing import ClassVar

import pytest

from drivebay.sim import Diode, EventLog, OpenCircuit, Resistor, ScpiServer
from drivebay.sim.buffers import ReadingBuffer
from drivebay.sim.circuit import OPEN, Circuit, amps, volts
from drivebay.sim.declaring import action, choose, number, toggle
from drivebay.sim.measuring import MeasuringInstrument
from drivebay.sim.parameters import doubles
from drivebay.sim.readout import Converter, range_for
from drivebay.sim.registry import KINDS, Options, kind_named
from drivebay.sim.source import Interlock, SourceChannel, port_of
from drivebay.sim.standard import common, error_queue, status_registers
from drivebay.sim.syntax import Command, CommandTree, ScpiError


@pytest.fixture
def channel():
    return SourceChannel(port_of(None, Resistor(100.0)), EventLog(), "a", limit_a=0.1, limit_v=20.0)


def test_an_output_that_is_off_presents_nothing(channel):
    channel.level_v = 5.0

    channel.apply()

    assert channel.port.boundary is OPEN
    assert channel.log.events == []


def test_an_output_that_goes_on_presents_level_and_limit_and_is_logged(channel):
    channel.level_v = 5.0

    channel.set_output(True)

    assert channel.port.boundary == volts(5.0, 0.1)
    assert channel.now().amp_a == pytest.approx(0.05)
    (event,) = channel.log.events
    assert (event["event"], event["level"], event["channel"]) == ("output_on", 5.0, "a")


def test_a_new_level_reaches_the_terminals_when_it_is_applied(channel):
    channel.set_output(True)

    channel.function, channel.level_a = "CURR", 0.01
    channel.apply()
    channel.apply()

    assert channel.port.boundary == amps(0.01, 20.0)
    assert [each["event"] for each in channel.log.events] == ["output_on", "level"]


def test_readings_at_levels_leave_the_last_one(channel):
    channel.set_output(True)

    points = channel.read([1.0, 2.0, 50.0])

    assert [point.amp_a for point in points] == pytest.approx([0.01, 0.02, 0.1])
    assert [point.limited for point in points] == [False, False, True]
    assert channel.level == 50.0
    assert channel.port.boundary == volts(50.0, 0.1)


def test_an_output_may_be_off_at_zero_volts(channel):
    channel.off_is_zero_volts = True
    channel.set_output(True)

    channel.set_output(False, "reset")

    assert channel.port.boundary == volts(0.0, 1e-3)
    assert channel.log.events[-1]["reason"] == "reset"


def test_readings_with_the_output_off_source_nothing(channel):
    channel.read([10.0, 10.0])

    assert channel.port.boundary is OPEN


def test_an_open_interlock_allows_what_is_safe():
    interlock = Interlock(closed=False)

    assert interlock.allows(-42.0)
    assert not interlock.allows(42.1)
    assert Interlock().allows(1000.0)


def test_a_port_of_a_circuit_is_taken_as_it_is():
    port = Circuit.around(Diode())

    assert port_of(port, Resistor(1.0)) is port


def test_a_full_buffer_stops_and_says_so_once():
    buffer = ReadingBuffer(("volt", "amp"), 2)

    told = [buffer.put({"volt": k, "amp": -k}) for k in range(4)]

    assert told == [False, True, False, False]
    assert buffer.rows() == [(0, 0), (1, -1)]


def test_a_ring_forgets_the_oldest():
    buffer = ReadingBuffer(("volt",), 2, ring=True)

    for k in range(5):
        buffer.put({"volt": k})

    assert buffer.column("volt") == [3, 4]


def test_rows_of_a_buffer_are_counted_from_one():
    buffer = ReadingBuffer(("volt", "amp"), 10)
    for k in range(5):
        buffer.put({"volt": k, "amp": 10 * k})

    assert buffer.rows(2, 3, ["amp", "volt"]) == [(10, 1), (20, 2)]
    for first, last in ((0, 2), (3, 9), (4, 2)):
        with pytest.raises(IndexError):
            buffer.rows(first, last)
    with pytest.raises(KeyError, match="no column 'ohm'"):
        buffer.rows(1, 2, ["ohm"])


def test_a_buffer_has_the_statistics_of_its_columns():
    buffer = ReadingBuffer(("volt",), 10)
    values = [1.0, 2.0, 4.0]
    for value in values:
        buffer.put({"volt": value})

    found = buffer.statistics("volt")

    assert found["mean"] == pytest.approx(statistics.fmean(values))
    assert found["sdev"] == pytest.approx(statistics.stdev(values))
    assert (found["min"], found["max"]) == (1.0, 4.0)
    buffer.resize(5)
    with pytest.raises(IndexError):
        buffer.statistics("volt")
    with pytest.raises(ValueError, match="columns and places"):
        ReadingBuffer((), 5)


def test_noise_falls_with_the_root_of_the_integration_time_and_repeats_with_the_seed():
    def readings(nplc, seed=1):
        converter = Converter(seed)
        return [converter.reading(1.0, 10.0, nplc, steps=1e9) for _ in range(2000)]

    quick, slow = readings(0.01), readings(1.0)

    assert statistics.stdev(slow) == pytest.approx(2e-6 * 10.0, rel=0.1)
    assert statistics.stdev(quick) / statistics.stdev(slow) == pytest.approx(10.0, rel=0.01)
    assert readings(1.0) == slow != readings(1.0, seed=2)


def test_a_reading_has_the_steps_of_its_range():
    exact = Converter(1, noise=0.0)

    assert exact.reading(0.12345678, 1.0, 1.0, steps=1e3) == pytest.approx(0.123)
    with pytest.raises(ValueError, match="noise"):
        Converter(1, noise=math.nan)


def test_the_lowest_range_that_holds_a_value_is_taken():
    ranges = (0.1, 1.0, 10.0)

    assert [range_for(value, ranges) for value in (0.0, 0.105, 0.106, -9.0, 99.0)] == [
        0.1,
        0.1,
        1.0,
        10.0,
        10.0,
    ]


def test_doubles_have_the_byte_order_asked_for():
    assert doubles([1.0], little_endian=False) == b"\x3f\xf0" + bytes(6)
    assert doubles([1.0], little_endian=True) == bytes(6) + b"\xf0\x3f"


class Counter(MeasuringInstrument):
    """Counts; a reading takes a quarter of a simulated second."""

    identity = "TEST,COUNTER,1,0"
    error_texts: ClassVar = {-213: "Not now"}

    def __init__(self, **options):
        super().__init__(TREE, EventLog(), **options)
        self.settings = type("Settings", (), {"gain": 1.0, "quiet": False, "shape": "SIN"})()
        self.taken = []
        self.ends = []
        self.presented = 0

    def take(self, first, times_s):
        self.taken += [first + k for k in range(len(times_s))]

    def finished(self, aborted):
        self.ends.append(aborted)

    def present(self):
        self.presented += 1


def last(inst, arguments):
    if not inst.taken:
        raise ScpiError(-230)
    return str(inst.taken[-1])


TREE = CommandTree(
    (
        *common(),
        *error_queue("1994.0"),
        *status_registers(measurement=True),
        number(":GAIN", "gain", 0.1, 10.0, 1.0),
        toggle(":QUIet[:STATe]", "quiet"),
        choose(":SHAPe", "shape", "SINusoid", "SQUare"),
        action(":INITiate[:IMMediate]", lambda inst: inst.begin(4, 0.25)),
        action(":INITiate:CONTinuous", lambda inst: inst.begin(math.inf, 0.25)),
        action(":INITiate:BUS", lambda inst: inst.begin(2, 0.25, waits_for="bus")),
        Command(
            ("*TRG",), write=lambda inst, arguments: inst.trigger.bus_trigger("bus"), urgent=True
        ),
        Command((":ABORt",), write=lambda inst, arguments: inst.abort(), urgent=True),
        Command((":FETCh",), query=last, when_idle=True),
    )
)


@pytest.fixture
def counter(connect):
    servers = []

    def started(**options):
        options.setdefault("time_scale", 0.0)
        server = ScpiServer(Counter(**options)).start()
        servers.append(server)
        return server.instrument, connect(server)

    yield started
    for server in servers:
        server.stop()


def test_a_simulator_has_the_commands_every_instrument_has(counter):
    _, wire = counter()

    assert wire.query("*IDN?;*OPC?;*TST?;:SYST:VERS?") == "TEST,COUNTER,1,0;1;0;1994.0"
    assert wire.query("*ESE 36;*ESE?;*SRE 255;*SRE?") == "36;191"
    assert wire.query(":STAT:OPER:ENAB 16;ENAB?;:STAT:PRES;:STAT:OPER:ENAB?") == "16;0"
    assert wire.query(":STAT:QUES:COND?;:STAT:MEAS:EVEN?") == "0;0"
    assert wire.query("*CLS;*ESR?") == "0"
    assert wire.query("*STB?") == "0"


def test_settings_are_a_line_each(counter):
    _, wire = counter()

    wire.write(":GAIN 2.5", ":QUI ON", ":SHAP SQUARE")

    assert wire.query(":GAIN?;:GAIN? MAX;:QUI?;:SHAPE?") == "2.500000E+00;1.000000E+01;1;SQU"


def test_an_error_has_the_text_of_the_instruments_manual(counter):
    _, wire = counter(time_scale=1000.0)

    wire.write(":INIT:CONT")
    wire.write(":NONSENSE;:FETC?")
    wire.write(":ABOR")

    assert wire.query(":SYST:ERR:COUN?") == "2"
    assert wire.query(":SYST:ERR?") == '-113,"Undefined header"'
    assert wire.query(":SYST:ERR:ALL?;:SYST:ERR?") == '-230,"Data corrupt or stale";0,"No error"'
    assert Counter().error_entry(-213) == '-213,"Not now"'


def test_readings_are_taken_and_the_answer_waits_for_them(counter):
    instrument, wire = counter()

    assert wire.query(":INIT;:FETC?") == "3"
    assert instrument.taken == [0, 1, 2, 3]
    assert instrument.ends == [False]
    assert instrument.readings_taken == 4


def test_while_busy_only_an_abort_is_obeyed(counter):
    instrument, wire = counter(time_scale=1000.0)

    wire.write(":INIT", ":GAIN 5", ":ABOR")

    assert wire.query("*OPC?;:GAIN?") == "1;5.000000E+00"
    assert instrument.ends == [True]
    assert instrument.log.wait_for("abort")["taken"] == 0


def test_an_instrument_that_goes_on_reading_obeys_and_only_waits_where_it_must(counter):
    _, wire = counter(time_scale=1000.0, obeys_only_abort_while_busy=False)

    wire.write(":INIT")

    assert wire.query(":GAIN 5;:GAIN?") == "5.000000E+00"
    wire.write(":INIT", ":FETC?")
    wire.write(":ABOR")
    assert wire.query(":SYST:ERR?") == '-213,"Not now"'


def test_a_bus_trigger_starts_what_waits_for_it(counter):
    instrument, wire = counter()

    wire.write(":INIT:BUS")
    wire.write("*TRG")

    assert wire.query(":FETC?") == "1"
    assert instrument.ends == [False]


def test_the_terminals_are_presented_after_every_command(counter):
    instrument, wire = counter()
    before = instrument.presented

    wire.query(":GAIN 1;:GAIN 2;*OPC?")

    assert instrument.presented >= before + 3


def test_a_reset_ends_what_runs(counter):
    instrument, wire = counter(time_scale=1000.0)

    wire.write(":INIT:CONT", ":GAIN 7", "*RST")

    assert wire.query("*OPC?;:GAIN?") == "1;1.000000E+00"
    assert not instrument.busy


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_can_be_made_as_each_of_its_models(kind):
    for model in kind.models:
        instrument = kind.make({}, Options(model=model, time_scale=0.0))
        try:
            assert model.partition("-")[0] in instrument.identity  # behind it: its options
        finally:
            instrument.close()


def test_what_no_kind_has_is_refused():
    kind = kind_named("keithley2400")

    with pytest.raises(ValueError, match="no simulator 'abacus'"):
        kind_named("abacus")
    with pytest.raises(ValueError, match="no model '9999'"):
        kind.make({}, Options(model="9999"))
    with pytest.raises(ValueError, match="no port 'x'"):
        kind.make({"x": Circuit.around(OpenCircuit())}, Options())
