"""The 2400's dialect under a limited guard: its driver gets through, and nothing else gets beyond.

The last tests hold the guard against the simulator's own parser: whatever random message the guard
lets pass, the simulated instrument ends up within the limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivebay
from drivebay import PluginMetadata
from drivebay._core.limits import Guard
from drivebay.driver import ScpiDriver
from drivebay.sim import Keithley2400Server, Resistor
from drivebay.sim.keithley2400 import Keithley2400
from drivebay.sim.keithley2400.commands import TREE
from drivebay.sim.syntax import Framer
from guarded import Nobody, code_of, commands_of, load_driver, send, spelled

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2400"
MANIFEST = PluginMetadata.from_yaml(FOLDER / "plugin.yaml")
DIALECT, SAFE_STATE = MANIFEST.dialect, MANIFEST.safe_state or {}
LIMITS = {"voltage_v": (-10.0, 10.0), "current_a": (-0.1, 0.1)}
SWEEP: dict[str, Any] = {
    "start_v": -1,
    "stop_v": 1,
    "points": 21,
    "compliance_a": 0.01,
    "nplc": 0.01,
}


def guard(*, strict: bool = True) -> Guard:
    return Guard(DIALECT, LIMITS, strict=strict, subject="smu1", source="bench.yaml")


@pytest.fixture(scope="module")
def bench() -> Iterator[tuple[Keithley2400Server, type[ScpiDriver]]]:
    """A simulated 2400 that logs what it is sent, and the class of the built-in driver."""
    with Keithley2400Server(device=Resistor(1e3), time_scale=0.0, log_traffic=True) as server:
        yield server, load_driver("keithley_2400", "Keithley2400")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"spacing": "log", "start_v": 0.1, "points": 150, "four_wire": True},
        {"spacing": "list", "levels_v": [0, 5, -5, 10, -10] * 30, "sense_range_a": 0.01},
        {"up_and_down": True, "delay_s": 0.001, "source_range_v": 20},
    ],
    ids=["linear", "log", "list", "up and down"],
)
def test_every_command_of_the_drivers_sweep_passes_a_limited_guard(bench, more):
    server, driver = bench
    since = len(server.log.events)
    params = {**SWEEP, **more}
    if "levels_v" in params:
        params = {k: v for k, v in params.items() if k not in ("start_v", "stop_v", "points")}

    with driver(server.resource, {"terminals": "FRONT"}) as smu:
        smu.reset()
        smu.measure("iv_sweep", params)
        smu.abort()
        smu.get_status()
    sent = [each["text"] for each in server.log.events[since:] if each["event"] == "message"]

    judge = guard()
    was_on = []
    for message in sent:
        send(judge, message)
        was_on.append(judge.energised)
    assert any(was_on)
    assert not judge.energised


def test_what_the_driver_sends_for_binary_answers_passes_too(bench):
    _, driver = bench

    for command in (*driver.binary_setup, *driver.ascii_setup, driver.abort_command):
        assert code_of(guard(), command) == ""


def test_the_safe_state_passes_from_any_state():
    for command in (*SAFE_STATE["interrupt"], *SAFE_STATE["writes"], SAFE_STATE["verify"]["query"]):
        assert code_of(guard(), f"\n{command}") == ""


def test_control_the_drivers_sweep_beyond_the_limit_is_refused_before_the_output_goes_on(bench):
    server, driver = bench
    since = len(server.log.events)
    with driver(server.resource) as smu:
        smu.measure("iv_sweep", {**SWEEP, "compliance_a": 0.2, "stop_v": 10.5})
    sent = [each["text"] for each in server.log.events[since:] if each["event"] == "message"]

    judge = guard()
    codes = {}
    for message in sent:
        if code := code_of(judge, message):
            codes[message.split(" ")[0]] = code
        else:
            send(judge, message)

    assert codes[":SENS:CURR:PROT"] == "L001"
    assert codes[":OUTP"] == "L004"
    assert codes[":SOUR:LIST:VOLT"] == "L001"
    assert not judge.energised


# What the simulated 2400 knows and a limited one is not sent, and why.
REFUSED = {
    "*RCL": "L005",
    ":CONFigure:CURRent[:DC]": "L005",
    ":CONFigure:RESistance": "L005",
    ":CONFigure:VOLTage[:DC]": "L005",
    ":SOURce[1]:CURRent:CENTer": "L005",
    ":SOURce[1]:CURRent:SPAN": "L005",
    ":SOURce[1]:VOLTage:CENTer": "L005",
    ":SOURce[1]:VOLTage:SPAN": "L005",
    ":SYSTem:PRESet": "L005",
    "[:SENSe[1]]:FUNCtion[:ON]": "L003",
    "[:SENSe[1]]:FUNCtion[:ON]:ALL": "L003",
    "[:SENSe[1]]:RESistance:MODE": "L003",
}


def test_each_command_that_the_2400_has_is_limited_harmless_or_refused_for_a_reason():
    judge = guard()
    send(judge, ":SOUR:FUNC VOLT", ":SOUR:VOLT 0", ":SENS:CURR:PROT 0.01", ":SOUR:VOLT:MODE FIX")
    special = {
        ":OUTPut[1][:STATe]": "OFF",
        ":SOURce[1]:CLEar:AUTO": "OFF",
        ":SOURce[1]:FUNCtion[:MODE]": "VOLT",
        ":OUTPut[1]:ENABle[:STATe]": "ON",
    }
    refused = {}
    for pattern in commands_of(TREE):
        code = code_of(judge, f"{spelled(pattern)} {special.get(pattern, '0')}")
        if code:
            refused[pattern] = code

    assert refused == REFUSED


def test_the_interlock_line_is_not_switched_off_on_a_limited_instrument():
    assert code_of(guard(), ":OUTP:ENAB OFF") == "L003"
    assert code_of(guard(), ":OUTP:ENAB ON") == ""


@pytest.mark.parametrize("command", [":READ?", ":INIT", ":OUTP ON", ":SOUR:CLE:AUTO ON"])
def test_what_switches_the_output_on_needs_the_compliance_first(command):
    judge = guard()
    send(judge, ":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX", ":SOUR:VOLT 0")
    assert code_of(judge, command) == "L004"

    send(judge, ":SENS:CURR:PROT 0.01")

    assert judge.check(command.encode()).energises == {"1"}


def test_a_sweep_that_somebody_left_in_the_instrument_is_not_run():
    judge = guard()
    send(judge, ":SOUR:FUNC VOLT", ":SOUR:VOLT 0", ":SENS:CURR:PROT 0.01", ":SOUR:VOLT:MODE SWE")
    send(judge, ":OUTP ON", ":SOUR:VOLT:STAR 0")
    assert code_of(judge, ":READ?") == "L004"

    send(judge, ":SOUR:VOLT:STOP 5")

    assert code_of(judge, ":READ?") == ""


@pytest.mark.parametrize(
    "spelling", [":MEAS?", ":MEAS:VOLT?", ":measure:current:dc?", ":CONF:VOLT"]
)
def test_what_takes_a_protection_back_to_its_default_is_refused(spelling):
    judge = guard()
    send(judge, ":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX", ":SOUR:VOLT 0", ":SENS:CURR:PROT 0.01")

    assert code_of(judge, spelling) == "L005"


# -- against the simulator's parser ---------------------------------------------------------------


def worst(instrument: Keithley2400) -> tuple[float, float]:
    """The largest voltage and current that any setting of the instrument could source."""
    found = []
    for source in (instrument.settings.volt, instrument.settings.curr):
        levels = [source.level, source.triggered_level or 0.0, source.start, source.stop]
        found.append(max(map(abs, [*levels, *source.points])))
    return found[0], found[1]


HEADS = st.sampled_from(
    [
        ":SOUR:VOLT", "SOUR:VOLT:LEV", ":source:voltage:level:immediate:amplitude", "VOLT", "LEV",
        ":SOUR:CURR", ":SOUR1:VOLT", ":SOUR2:VOLT", "STAR", "STOP", ":SOUR:VOLT:STAR",
        ":SOUR:VOLT:STOP", ":SOUR:CURR:STOP", ":SOUR:LIST:VOLT", "APP", ":SOUR:LIST:VOLT:APP",
        ":SOUR:VOLT:TRIG", "TRIG", ":SOUR:VOLT:RANG", ":SOUR:FUNC", ":SOUR:VOLT:MODE", "*RST",
        ":SENS:CURR:PROT", "CURR:PROT", ":SENS:VOLT:PROT", "PROT", ":SYST:RSEN", ":DISP:TEXT",
        ":OUTP", "OUTP:STAT", ":SOUR:DEL", "*CLS", ":SOUR:CURR:RANG", ":FOO:BAR", "::SOUR:VOLT",
    ]
)  # fmt: skip
RISKY = st.sampled_from(
    [
        "*RCL 1", "*SAV 1", ":SOUR:VOLT:CENT 200", ":SOUR:VOLT:SPAN 400", "CENT 150", "SPAN 300",
        ":SYST:PRES", ":CONF:VOLT", ":SENS:FUNC:ON:ALL",
    ]
)  # fmt: skip
NUMBERS = [
    "200",
    "2E2",
    "0.2kV",
    "9",
    "-9",
    "-200",
    "1",
    "0.05",
    "0.5",
    "10.1",
    "#HC8",
    "200V",
    "1,200",
    "1,2,3",
    "2e2;",
]
WORDS = [
    "MAX",
    "MIN",
    "DEF",
    "UP",
    "ON",
    "OFF",
    "VOLT",
    "CURR",
    "LIST",
    "FIX",
    "'",
    '"',
    "#13a;b",
    "#15",
    "(@1)",
    "(",
]
VALUES = st.one_of(
    st.sampled_from([*NUMBERS, *WORDS, "200 MV", '"a;:SOUR:VOLT 200"', "1 2", ""]),
    st.floats(-250, 250).map(repr),
    st.floats(-250, 250).map("{:.3e}".format),
)
GLUE = st.sampled_from([";", ";:", "; ", ";;", " ;", "\t;", ";\t", ";*OPC;", "\n", ","])
BLANKS = st.sampled_from([" ", "\t", "  ", "", "=", "\x00", "\xa0"])


@st.composite
def message(draw: st.DrawFn, *, risky: bool) -> str:
    text = ""
    for _ in range(draw(st.integers(1, 4))):
        if risky and draw(st.integers(0, 5)) == 0:
            unit = draw(RISKY)
        else:
            blank = draw(BLANKS) if draw(st.integers(0, 4)) == 0 else " "
            unit = draw(HEADS) + blank + draw(VALUES)
        text += (draw(GLUE) if text else "") + unit
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(list(":; \t,#'\"()e-+.0129\x00\n"))) + text[at:]
    return text


def obeys(instrument: Keithley2400, texts: list[str], *, strict: bool) -> bool:
    """Let a guard judge the messages and the instrument have those that pass; whether any did."""
    judge, framer, passed = guard(strict=strict), Framer(), False
    for text in texts:
        if code_of(judge, text):
            continue
        passed = True
        send(judge, text)
        for framed in framer.feed(text.encode("latin-1") + b"\n"):
            instrument.receive(Nobody(), framed)
        volts, amps = worst(instrument)
        assert volts <= 10.0, (text, volts)
        assert amps <= 0.1, (text, amps)
    return passed


@settings(max_examples=max(200, settings().max_examples))
@given(st.lists(message(risky=True), min_size=1, max_size=8))
def test_no_message_that_passes_takes_a_limited_instrument_beyond_its_limits(texts):
    instrument = Keithley2400("2400", Resistor(1e3), time_scale=0.0)
    try:
        obeys(instrument, texts, strict=True)

        if instrument.output_on and not len(instrument.status.errors):
            s = instrument.settings
            limited = (
                s.sense_curr.limit <= 0.1 if s.function == "VOLT" else s.sense_volt.limit <= 10
            )
            assert limited
    finally:
        instrument.close()


@settings(max_examples=max(200, settings().max_examples))
@given(st.lists(message(risky=False), min_size=1, max_size=8))
def test_no_message_that_passes_sets_a_level_beyond_a_range(texts):
    instrument = Keithley2400("2400", Resistor(1e3), time_scale=0.0)
    try:
        obeys(instrument, texts, strict=False)
    finally:
        instrument.close()


def test_control_the_simulator_takes_these_messages_where_no_guard_stands():
    instrument = Keithley2400("2400", Resistor(1e3), time_scale=0.0)
    try:
        instrument.receive(Nobody(), ":SOUR:VOLT:STAR 0;STOP 0.2kV;:SOUR:VOLT 200")

        assert worst(instrument)[0] == 200.0
        assert obeys(Keithley2400("2400"), [":SOUR:VOLT 5", ":SOUR:VOLT 200"], strict=True)
    finally:
        instrument.close()
