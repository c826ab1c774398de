"""The simulated 2600B: its language, its errors, its sweeps, what it obeys while busy."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from drivebay.sim import Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2600 import Keithley2600
from drivebay.sim.keithley2600.interpreter import Interpreter
from drivebay.sim.keithley2600.syntax import LuaSyntaxError, parse
from drivebay.sim.server import ScpiServer

SWEEP = [
    "smua.source.output = 1",
    "smua.trigger.source.listv({0, 1, 2})",
    "smua.trigger.source.action = smua.ENABLE",
    "smua.trigger.measure.iv(smua.nvbuffer1, smua.nvbuffer2)",
    "smua.trigger.measure.action = smua.ENABLE",
    "smua.trigger.count = 3",
]


class Line:
    """A client of the simulator."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._file = self._socket.makefile("rwb")

    def write(self, *lines: str) -> None:
        self._file.write("".join(f"{each}\n" for each in lines).encode())
        self._file.flush()

    def ask(self, *lines: str) -> str:
        self.write(*lines)
        return self._file.readline().decode().rstrip("\n")

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def served(**options: float) -> Iterator[tuple[Line, Keithley2600]]:
    devices = {"a": Resistor(1000.0), "b": Resistor(1e5)}
    instrument = Keithley2600("2636B", devices, noise=0.0, log=EventLog(), **options)
    with ScpiServer(instrument) as server:
        line = Line(server.port)
        yield line, instrument
        line.close()


@pytest.fixture
def smu() -> Iterator[tuple[Line, Keithley2600]]:
    yield from served(time_scale=0.0)


@pytest.fixture
def timed() -> Iterator[tuple[Line, Keithley2600]]:
    yield from served(time_scale=1.0)


# -- the language ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("say(1 + 2 * 3 ^ 2)", [19.0]),
        ("say(-2 ^ 2)", [-4.0]),
        ("x, y = 1, 2 x, y = y, x say(x, y)", [2.0, 1.0]),
        ("local s = 0 for k = 1, 10 do if k == 4 then break end s = s + k end say(s)", [6.0]),
        ("for k = 3, 1, -1 do say(k) end", [3.0, 2.0, 1.0]),
        ("local k = 0 while k < 3 do k = k + 1 end say(k)", [3.0]),
        ("local k = 0 repeat k = k + 1 until k >= 5 say(k)", [5.0]),
        ("function f(a) if a > 1 then return a * f(a - 1) end return 1 end say(f(5))", [120.0]),
        ("t = {4, 5, n = 6} t[3] = 7 say(#t, t.n, t[2], t.nothing)", [3.0, 6.0, 5.0, None]),
        ("say('a' .. 1 .. \"b\", not nil, 1 and 2, nil or 3)", ["a1b", True, 2.0, 3.0]),
        ("say(1 == 1, 1 ~= 1, 'a' < 'b') -- and a remark", [True, False, True]),
        ("local x = 1 do local x = 2 end say(x)", [1.0]),
    ],
)
def test_programs_do_what_lua_does(program, said):
    heard: list[object] = []
    Interpreter({"say": lambda *values: heard.extend(values)}, lambda: None).run(program)

    assert heard == said


@pytest.mark.parametrize(
    "program", ["x =", "for k = 1 do end", "1 = x", "x = 20abort", "if x", "?"]
)
def test_what_is_no_program_is_refused(program):
    with pytest.raises(LuaSyntaxError):
        parse(program)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("smua.source.levelv = 500", 1101),
        ("smua.source.levelv = -500", 1102),
        ("smua.source.limiti = 0", 1102),
        ("smua.source.limiti = 1.51", 1101),
        ("smua.source.limitv = 0.01", 1102),
        ("smua.source.limiti = 1 smua.source.levelv = 150", 5007),
        ("smua.source.rangev = 2 smua.source.levelv = 3", 5005),
        ("smua.source.outputenableaction = 0", -224),
        ("smua.trigger.source.action = 1 smua.trigger.initiate()", 5059),
        ("smua.measure.v(smua.nvbuffer1) smua.nvbuffer1.appendmode = 1", 5032),
        ("smua.measure.nplc = 1e-4", 1102),
        ("smua.measure.nplc = 26", 1101),
        ("smua.source.func = 7", -224),
        ("smua.source.levelq = 1", -286),
        ("smuz.source.levelv = 1", -286),
        ("nonsense(", -285),
        ("*XYZ", -113),
    ],
)
def test_what_is_refused_is_in_the_error_queue_with_its_number(smu, statement, number):
    line, _ = smu

    line.write(statement)

    told = line.ask('print(string.format("%d,%s", errorqueue.next()))')
    assert int(told.partition(",")[0]) == number
    assert line.ask("print(errorqueue.count)") == "0.00000e+00"


def test_control_an_empty_queue_says_so(smu):
    assert smu[0].ask("print(errorqueue.next())").split("\t")[:2] == [
        "0.00000e+00",
        "Queue Is Empty",
    ]


@pytest.fixture
def unlocked() -> Iterator[tuple[Line, Keithley2600]]:
    instrument = Keithley2600("2612B", time_scale=0.0, interlock_closed=False)
    with ScpiServer(instrument) as server:
        line = Line(server.port)
        yield line, instrument
        line.close()


def next_error(line: Line, *statements: str) -> int:
    line.write("errorqueue.clear()", *statements)
    return int(float(line.ask("print(errorqueue.next())").split("\t")[0]))


@pytest.mark.parametrize(
    "statements",
    [
        ["smua.source.levelv = 100"],
        ["smua.source.rangev = 200", "smua.source.levelv = 1"],
        ["smua.source.func = 0", "smua.source.limitv = 100"],
    ],
)
def test_an_open_interlock_blocks_the_high_range(unlocked, statements):
    line, instrument = unlocked

    assert next_error(line, *statements, "smua.source.output = 1") == 802
    assert not instrument.output_on


def test_an_open_interlock_blocks_what_would_need_the_high_range_while_on(unlocked):
    line, instrument = unlocked
    assert next_error(line, "smua.source.levelv = 10", "smua.source.output = 1") == 0

    assert next_error(line, "smua.source.levelv = 100") == 802
    assert next_error(line, "smua.trigger.source.listv({1, 100})", *SWEEP[2:],
                      "smua.trigger.initiate()") == 802  # fmt: skip
    assert instrument.channels["a"].source.level_v == 10.0


def test_control_a_closed_interlock_allows_it_and_opening_switches_off(unlocked):
    line, instrument = unlocked
    instrument.set_interlock(closed=True)
    line.write("smua.source.limiti = 1e-3", "smua.source.levelv = 100", "smua.source.output = 1")
    assert line.ask("print(smua.source.output)") == "1.00000e+00"
    assert line.ask("print(status.measurement.condition)") == "1.02400e+04"  # and a limit
    assert line.ask("print(status.questionable.condition)") == "0.00000e+00"

    instrument.set_interlock(closed=False)

    assert line.ask("print(smua.source.output)") == "0.00000e+00"
    assert line.ask("print(status.questionable.condition)") == "1.02400e+03"


def test_a_40_volt_model_has_no_interlock_and_lets_its_output_enable_be_chosen():
    instrument = Keithley2600("2601B", time_scale=0.0, interlock_closed=False)
    with ScpiServer(instrument) as server:
        line = Line(server.port)
        assert next_error(line, "smua.source.levelv = 40", "smua.source.output = 1") == 0
        assert next_error(line, "smua.source.outputenableaction = 1") == 0
        line.close()


# (model, level of voltage, limit of current) at the edges of the operating areas, section 5.
AREAS = [
    ("2601B", "levelv = 6.06", "limiti = 3", 0),
    ("2602B", "levelv = 6.1", "limiti = 3", 5007),
    ("2604B", "levelv = 40.4", "limiti = 1", 0),
    ("2601A", "levelv = 40.4", "limiti = 1.01", 5007),
    ("2602A", "leveli = 1.01", "limitv = 40", 0),
    ("2601B", "leveli = 1.1", "limitv = 40", 5007),
    ("2601B", "leveli = 3.03", "limitv = 6", 0),
    ("2611B", "levelv = 20.2", "limiti = 1.5", 0),
    ("2612B", "levelv = 21", "limiti = 1.5", 5007),
    ("2614B", "levelv = 202", "limiti = 0.1", 0),
    ("2634B", "levelv = 202", "limiti = 0.11", 5007),
    ("2635B", "leveli = 0.101", "limitv = 200", 0),
    ("2636B", "leveli = 0.11", "limitv = 200", 5007),
]


@pytest.mark.parametrize(("model", "level", "limit", "number"), AREAS)
def test_a_level_and_its_limit_stay_within_the_operating_area(model, level, limit, number):
    function = 1 if level.startswith("levelv") else 0
    with ScpiServer(Keithley2600(model, time_scale=0.0)) as server:
        line = Line(server.port)
        statements = [f"func = {function}", limit, level]
        assert next_error(line, *(f"smua.source.{each}" for each in statements)) == number
        line.close()


@pytest.mark.parametrize(
    ("model", "sourced", "measured", "limits", "delay"),
    [
        ("2602B", 1e-7, 1e-7, (40, 1), 0),
        ("2611B", 1e-7, 1e-7, (20, 0.1), 0),
        ("2634B", 1e-9, 1e-9, (20, 0.1), -1),
        ("2636B", 1e-9, 1e-10, (20, 0.1), -1),
    ],
)
def test_after_a_reset_it_has_the_values_of_its_model(model, sourced, measured, limits, delay):
    with ScpiServer(Keithley2600(model, time_scale=0.0)) as server:
        line = Line(server.port)
        line.write("reset()", "smua.measure.rangei = 0")
        assert float(line.ask("print(smua.source.rangei)")) == sourced
        assert float(line.ask("print(smua.measure.rangei)")) == measured
        assert float(line.ask("print(smua.source.limitv)")) == limits[0]
        assert float(line.ask("print(smua.source.limiti)")) == limits[1]
        assert float(line.ask("print(smua.measure.delay)")) == delay
        assert float(line.ask("print(smua.trigger.endpulse.action)")) == 1
        assert float(line.ask("print(smua.trigger.endsweep.action)")) == 0
        line.close()


# -- measuring -------------------------------------------------------------------------------------


def test_a_list_sweep_fills_the_buffers_and_holds_its_last_level(smu):
    line, instrument = smu

    rows = line.ask(
        *SWEEP,
        "smua.trigger.endsweep.action = smua.SOURCE_HOLD",
        "smua.trigger.initiate()",
        "waitcomplete()",
        "printbuffer(1, 3, smua.nvbuffer1.readings, smua.nvbuffer2)",
    )

    found = [float(each) for each in rows.split(",")]
    assert found == pytest.approx([0, 0, 1e-3, 1, 2e-3, 2], abs=1e-5)
    assert instrument.channels["a"].source.level_v == 2.0


def test_without_hold_it_goes_back_to_its_level(smu):
    line, instrument = smu

    line.ask(*SWEEP, "smua.trigger.initiate()", "waitcomplete()", "print(1)")

    assert instrument.channels["a"].source.level_v == 0.0


def test_numbers_come_in_double_precision_too(smu):
    line, _ = smu
    line.write("format.data = format.REAL64", "printnumber(1.5, -2)")

    assert line.read(19) == b"#0" + struct.pack("<2d", 1.5, -2.0) + b"\n"


def test_the_line_frequency_may_be_set_and_is_then_detected_no_more(smu):
    line, instrument = smu
    assert line.ask("print(localnode.linefreq, localnode.autolinefreq)") == "5.00000e+01\ttrue"

    line.write("localnode.linefreq = 60")

    assert line.ask("print(localnode.linefreq, localnode.autolinefreq)") == "6.00000e+01\tfalse"
    assert instrument.line_frequency_hz == 60
    assert next_error(line, "localnode.linefreq = 55") == -224


def test_a_limited_source_says_so(smu):
    line, _ = smu
    line.write("smua.source.limiti = 1e-3", "smua.source.levelv = 5", "smua.source.output = 1")

    assert line.ask("print(smua.source.compliance)") == "true"
    assert float(line.ask("print(smua.measure.v())")) == pytest.approx(1.0, rel=1e-4)
    line.write("smua.measure.i(smua.nvbuffer1)")
    assert float(line.ask("print(smua.nvbuffer1.statuses[1])")) == 64 + 8 + 4
    assert line.ask("print(status.measurement.instrument.smua.condition)") == "2.58000e+02"


def test_a_reading_on_fixed_ranges_says_nothing_of_automatic_ones(smu):
    line, _ = smu
    line.write("smua.source.rangev = 2", "smua.measure.rangei = 1e-2", "smua.source.levelv = 1")
    line.write("smua.sense = 1", "smua.source.output = 1", "smua.measure.i(smua.nvbuffer1)")

    assert float(line.ask("print(smua.nvbuffer1.statuses[1])")) == 16


def test_a_fixed_range_measures_2_percent_beyond_it(smu):
    line, _ = smu
    line.write("smua.measure.rangei = 1e-3", "smua.source.levelv = 1.019", "smua.source.output = 1")
    assert float(line.ask("print(smua.measure.i())")) == pytest.approx(1.019e-3)

    line.write("smua.source.levelv = 1.021")
    assert float(line.ask("print(smua.measure.i())")) > 1e37


# -- two channels in step --------------------------------------------------------------------------

COUPLED = [
    "smua.source.output = 1", "smub.source.output = 1", "smub.source.levelv = 5",
    "smua.trigger.source.listv({1, 2, 3})", "smua.trigger.source.action = 1",
    "smua.trigger.measure.action = 1", "smua.trigger.measure.iv(smua.nvbuffer1, smua.nvbuffer2)",
    "smub.trigger.measure.action = 1", "smub.trigger.measure.iv(smub.nvbuffer1, smub.nvbuffer2)",
    "smua.trigger.count = 3", "smub.trigger.count = 3",
    "smub.trigger.measure.stimulus = smua.trigger.SOURCE_COMPLETE_EVENT_ID",
    "smua.trigger.endpulse.stimulus = smub.trigger.MEASURE_COMPLETE_EVENT_ID",
]  # fmt: skip
BOTH = "printbuffer(1, 3, smua.nvbuffer2, smub.nvbuffer2, smub.nvbuffer1)"


def test_one_channel_reads_whenever_the_other_has_sourced(smu):
    line, instrument = smu

    rows = line.ask(*COUPLED, "smub.trigger.initiate()", "smua.trigger.initiate()",
                    "waitcomplete()", BOTH)  # fmt: skip

    found = [float(each) for each in rows.split(",")]
    assert found == pytest.approx([1, 5, 5e-5, 2, 5, 5e-5, 3, 5, 5e-5], abs=1e-6)
    assert [each["taken"] for each in instrument.log.named("sweep_end")] == [3, 3]
    assert line.ask("print(errorqueue.count)") == "0.00000e+00"


@pytest.mark.parametrize("started", ["smua", "smub"])
def test_a_channel_that_waits_for_the_other_waits_until_an_abort(smu, started):
    line, instrument = smu
    line.write(*COUPLED, f"{started}.trigger.initiate()", "waitcomplete()", "print('over')")
    instrument.log.wait_for("sweep_begin")

    line.write("abort")

    assert line.ask("print('after')") == "over"
    assert instrument.log.named("sweep_end")[0]["aborted"]


def test_a_channel_that_leads_waits_for_as_many_readings_as_it_has_levels(smu):
    line, instrument = smu
    line.write(*COUPLED, "smub.trigger.count = 2", "smub.trigger.initiate()")
    line.write("smua.trigger.initiate()", "waitcomplete()", "print('over')")
    instrument.log.wait_for("sweep_end")

    line.write("abort")

    assert line.ask() == "over"
    ends = {each["channel"]: each["taken"] for each in instrument.log.named("sweep_end")}
    assert ends == {"a": 2, "b": 2}


def test_a_model_with_one_channel_hears_of_no_other():
    with ScpiServer(Keithley2600("2601B", time_scale=0.0)) as server:
        line = Line(server.port)
        own = "smua.trigger.measure.stimulus = smua.trigger.SOURCE_COMPLETE_EVENT_ID"
        assert next_error(line, own) == -224
        line.close()


# -- while busy ------------------------------------------------------------------------------------


def test_abort_ends_what_is_executed_and_the_next_line_runs(timed):
    line, instrument = timed
    line.write(*SWEEP, "smua.measure.nplc = 25", "smua.trigger.count = 1000")
    line.write("smua.trigger.initiate()", "waitcomplete()")
    instrument.log.wait_for("sweep_begin")

    line.write("abort", "smua.source.output = 0")

    assert line.ask("print(smua.source.output)") == "0.00000e+00"
    assert instrument.log.named("sweep_end")[0]["aborted"]


def test_an_endless_program_ends_at_an_abort(timed):
    line, _ = timed
    line.write("print('on') while true do delay(0.01) end")
    line.write("abort")
    assert line.ask("print('after')") in {"on", "after"}


def test_a_script_runs_when_it_has_ended(smu):
    line, _ = smu

    said = line.ask(
        "loadandrunscript", "for k = 1, 2 do", "x = k * 10", "end", "print(x)", "endscript"
    )

    assert float(said) == 20.0
