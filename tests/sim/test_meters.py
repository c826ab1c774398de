"""The simulated multimeter and LCR meter: what they answer, refuse, and do while they measure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from drivebay.sim import EventLog, Resistor
from drivebay.sim.circuit import Circuit
from drivebay.sim.circuit.component import Capacitor
from drivebay.sim.e4980a import E4980a
from drivebay.sim.registry import Options
from drivebay.sim.truevolt import Truevolt


class Talk:
    """A client without a socket."""

    name = "test"

    def __init__(self, instrument: Any) -> None:
        self.instrument = instrument
        self.heard: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.heard.append(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def __call__(self, message: str) -> str:
        """What it answered by the time the message was taken; empty for nothing."""
        self.heard.clear()
        self.instrument.receive(self, message)
        return b"".join(self.heard).decode("latin-1").strip()


def multimeter(model: str = "34465A", *, time_scale: float = 0.0) -> Talk:
    options = Options(time_scale=time_scale, noise=0.0, log=EventLog())
    return Talk(Truevolt(model, Resistor(1000.0), Resistor(1000.0), options=options))


def lcr(model: str = "E4980A", *, time_scale: float = 0.0) -> Talk:
    options = Options(time_scale=time_scale, noise=0.0, log=EventLog())
    return Talk(E4980a(model, Circuit.around(Capacitor(1e-9)), options=options))


class SlowlySolved(E4980a):
    """The meter at a circuit that takes a solver 10 ms a reading, longer than a reading takes."""

    def __init__(self, options: Options) -> None:
        self.third = threading.Event()
        super().__init__("E4980A", Circuit.around(Capacitor(1e-9)), options=options)

    def _reading(self, frequency_hz: float) -> tuple[float, float, int]:
        threading.Event().wait(0.01)
        if len(self.rows) == 2:
            self.third.set()
        return super()._reading(frequency_hz)


SLOW_POINTS = 150
SLOW_LIST = (
    "*RST;:TRIG:SOUR BUS;:APER SHOR;:DISP:PAGE LIST;:FREQ 1E5;"
    f":LIST:FREQ {','.join(['1E5'] * SLOW_POINTS)};:TRIG"
)


@contextmanager
def slowly_solved(time_scale: float) -> Iterator[SlowlySolved]:
    meter = SlowlySolved(Options(time_scale=time_scale, noise=0.0, log=EventLog()))
    yield meter
    meter.close()


# -- the multimeter -------------------------------------------------------------------------------


def test_a_read_starts_anew_and_a_fetch_repeats():
    talk = multimeter()

    assert talk("CONF:RES;:SAMP:COUN 2;:READ?") == "+1.00000000E+03,+1.00000000E+03"
    assert talk("FETC?") == talk("FETC?") == "+1.00000000E+03,+1.00000000E+03"


def test_a_removed_reading_is_gone():
    talk = multimeter()
    talk("CONF:RES;:SAMP:COUN 3;:INIT")

    assert talk("DATA:REM? 1") == "+1.00000000E+03"
    assert talk("DATA:POIN?") == "+2"
    assert talk("R?") == "#231+1.00000000E+03,+1.00000000E+03"
    assert talk("R?") == "#10"
    assert (talk("DATA:REM? 1"), talk("SYST:ERR?")[:4]) == ("", "-222")


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("FETC?", -230),
        ("*TRG", -211),
        ("TRIG:SOUR BUS;:READ?", -214),
        ("VOLT:RANG 1001", -222),
        ("FUNC 'POWER'", -224),
        ("VOLT:NPLC 0.0001", -222),
        ("FORM REAL,48", -224),
        ("NONSENSE", -113),
    ],
)
def test_what_it_refuses_is_in_its_queue_and_changes_nothing(message, number):
    talk = multimeter()
    before = talk("CONF?")

    assert talk(message) == ""
    assert talk("SYST:ERR?").startswith(f"{number},")
    assert talk("SYST:ERR?") == '+0,"No error"'
    assert talk("CONF?") == before


def test_only_the_digitizing_models_have_a_sample_timer():
    assert multimeter("34470A")("SAMP:TIM 0.01;:SYST:ERR?") == '+0,"No error"'
    assert multimeter("34461A")("SAMP:TIM 0.01;:SYST:ERR?").startswith("-113")


def test_commands_are_taken_while_it_measures_and_an_abort_ends_it():
    talk = multimeter(time_scale=1.0)
    try:
        talk("CONF:VOLT:DC;:VOLT:NPLC 100;:SAMP:COUN 100;:INIT")

        assert talk("STAT:OPER:COND?") == "16"
        assert talk("DATA:POIN?") == "+0"
        assert (talk("INIT"), talk("SYST:ERR?")[:4]) == ("", "-213")
        talk("ABOR")
        assert talk("STAT:OPER:COND?") == "0"
    finally:
        talk.instrument.close()


def test_behind_a_question_that_waits_everything_waits():
    talk = multimeter(time_scale=1.0)
    try:
        assert talk("CONF:VOLT:DC;:VOLT:NPLC 100;:SAMP:COUN 100;:READ?") == ""
        assert talk("ABOR;:*IDN?") == ""
        assert talk.instrument.busy
    finally:
        talk.instrument.close()


def test_a_full_memory_forgets_the_oldest_and_says_so():
    talk = multimeter("34460A")
    talk("CONF:VOLT:DC;:SAMP:COUN 1001;:INIT")

    assert talk("DATA:POIN?") == "+1000"
    assert int(talk("STAT:QUES?")) & 16384


def test_a_trigger_from_the_bus_is_waited_for():
    talk = multimeter()
    talk("CONF:RES;:TRIG:SOUR BUS;:INIT")

    assert (talk("STAT:OPER:COND?"), talk("DATA:POIN?")) == ("32", "+0")
    talk("*TRG")
    assert talk("DATA:POIN?") == "+1"


# -- the LCR meter --------------------------------------------------------------------------------


def test_a_trigger_that_answers_and_one_that_does_not():
    talk = lcr()
    talk("TRIG:SOUR BUS;:FUNC:IMP CPG")

    assert talk("TRIG") == ""
    assert talk("FETC?").startswith("+1.00000E-09,")
    assert talk("*TRG").startswith("+1.00000E-09,")


def test_before_the_first_reading_there_is_none_and_it_says_so():
    talk = lcr()
    talk("TRIG:SOUR BUS")

    assert talk("FETC?") == "+9.90000E+37,+9.90000E+37,-1"


def test_a_list_is_swept_on_its_page_only():
    talk = lcr()
    talk("TRIG:SOUR BUS;:LIST:FREQ 1e3,1e4,1e5;:TRIG")
    assert len(talk("FETC?").split(",")) == 3

    talk("DISP:PAGE LIST;:TRIG")
    assert len(talk("FETC?").split(",")) == 12


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("E4980A", "BIAS:VOLT 40.1"),
        ("E4980A", "FREQ 2.1e6"),
        ("E4980A-standard", "BIAS:VOLT 1"),
        ("E4980A-standard", "VOLT 2.1"),
        ("E4980AL-032", "FREQ 3.1e5"),
        ("E4980AL-032", "LIST:FREQ 1e3,1e6"),
    ],
)
def test_what_a_model_does_not_have_is_refused(model, message):
    talk = lcr(model)

    talk(message)

    assert talk("SYST:ERR?").startswith("-222,")
    assert talk("BIAS:VOLT?;:FREQ?;:VOLT?") == "+0.00000E+00;+1.00000E+03;+1.00000E+00"


def test_a_list_of_more_points_than_it_holds_is_refused():
    talk = lcr()
    talk("LIST:FREQ " + ",".join(["1000"] * 202))

    assert talk("SYST:ERR?").startswith("-223,")


def test_a_list_sweep_can_be_aborted_while_it_runs():
    talk = lcr(time_scale=1.0)
    try:
        talk("TRIG:SOUR BUS;:DISP:PAGE LIST;:LIST:FREQ 1e3,1e4;:TRIG:DEL 100;:TRIG")

        assert talk("STAT:OPER:COND?") == "24"
        talk("ABOR")
        assert talk("STAT:OPER:COND?") == "0"
    finally:
        talk.instrument.close()


def test_a_reset_switches_the_bias_off_and_keeps_the_corrections():
    talk = lcr()
    talk("CORR:OPEN:STAT ON;:BIAS:VOLT 2;:BIAS:STAT ON")
    assert talk.instrument.bias_on

    talk("*RST")

    assert talk("BIAS:STAT?;:BIAS:VOLT?;:CORR:OPEN:STAT?") == "0;+0.00000E+00;1"


def test_the_range_of_ten_amperes_is_chosen_by_its_terminals_or_by_configure_only():
    talk = multimeter()

    talk("CURR:RANG 10")
    assert talk("SYST:ERR?").startswith("-222")
    for chosen in ("CONF:CURR:DC 10", "CONF:CURR:DC;:CURR:TERM 10"):
        talk(chosen)
        assert (talk("CURR:TERM?"), talk("SYST:ERR?")) == ("10", '+0,"No error"')
    talk("CONF:CURR:DC 1")
    assert talk("CURR:TERM?") == "3"


def test_a_sample_that_outlasts_the_sample_timer_is_a_timing_violation():
    talk = multimeter()
    talk("CONF:VOLT:DC 10;:VOLT:NPLC 1;:SAMP:SOUR TIM;COUN 3;TIM 0.001;:INIT")
    assert int(talk("STAT:QUES?")) & 4

    talk("SAMP:TIM 0.1;:INIT")
    assert not int(talk("STAT:QUES?")) & 4


@pytest.mark.parametrize("time_scale", [0.0, 1.0])
def test_an_abort_is_obeyed_while_a_slow_circuit_is_still_worked_out(time_scale):
    with slowly_solved(time_scale) as meter:
        sweep = threading.Thread(target=Talk(meter), args=(SLOW_LIST,))
        sweep.start()
        assert meter.third.wait(20)

        Talk(meter)(":ABOR")

        assert not meter.busy
        (end,) = meter.log.named("sweep_end")
        sweep.join()
    assert end["aborted"]
    assert 2 < end["taken"] < SLOW_POINTS


@pytest.mark.parametrize("time_scale", [0.0, 1.0])
def test_control_a_slow_circuit_that_nobody_aborts_is_worked_out_to_the_end(time_scale):
    with slowly_solved(time_scale) as meter:
        Talk(meter)(SLOW_LIST)
        end = meter.log.wait_for("sweep_end")

    assert not end["aborted"]
    assert (end["taken"], len(meter.rows)) == (SLOW_POINTS, SLOW_POINTS)
