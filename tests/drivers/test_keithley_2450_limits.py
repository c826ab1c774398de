"""The 2450's dialect under a limited guard: its driver gets through, and nothing else gets beyond.

The last tests hold the guard against the simulator's own parser: whatever random message the guard
lets pass, the simulated instrument ends up within the limits, also where it changes a limit by
itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivebay
from drivebay import PluginMetadata
from drivebay._core.limits import Guard
from drivebay.sim.devices import Resistor
from drivebay.sim.keithley2450 import Keithley2450, Keithley2450Server
from drivebay.sim.keithley2450.commands import TREE
from drivebay.sim.syntax import Framer
from guarded import Nobody, code_of, commands_of, load_driver, send, spelled

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2450"
MANIFEST = PluginMetadata.from_yaml(FOLDER / "plugin.yaml")
SAFE_STATE = MANIFEST.safe_state or {}
LIMITS = {"voltage_v": (-10.0, 10.0), "current_a": (-0.1, 0.1)}
SWEEP: dict[str, Any] = {"start_v": -1, "stop_v": 1, "points": 120, "compliance_a": 0.01}
READY = (":SOUR:FUNC VOLT", ":SOUR:VOLT 0", ":SOUR:VOLT:ILIM 0.01", ":SOUR:LIST:VOLT 1,2")


Driver = load_driver("keithley_2450", "Keithley2450")


def guard(*, strict: bool = True) -> Guard:
    return Guard(MANIFEST.dialect, LIMITS, strict=strict, subject="smu1", source="bench.yaml")


METHODS: list[tuple[str, dict[str, Any]]] = [
    ("iv_sweep", SWEEP),
    ("iv_sweep", SWEEP | {"sense_range_a": 0.01, "source_range_v": 2, "delay_s": 1e-3}),
    ("vi_sweep", {"start_a": 0, "stop_a": 1e-3, "points": 5, "compliance_v": 5}),
    ("spot", {"level_v": 1, "compliance_a": 0.01}),
    ("iv_monitor", {"level_v": 1, "compliance_a": 0.01, "duration_s": 0.02, "interval_s": 0.01}),
    ("dc_voltage", {"readings": 2, "range_v": 2}),
    ("dc_current", {"readings": 2, "range_a": 0.01}),
    ("resistance", {"readings": 2, "offset_compensation": True}),
]


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_every_command_of_every_method_passes_a_limited_guard(method, params):
    settings_ = {"terminals": "FRONT", "output_off": "NORM"}
    with Keithley2450Server(Resistor(1e3), time_scale=0.0, log_traffic=True) as server:
        with Driver(server.resource, settings_) as smu:
            smu.measure(method, params)
            smu.abort()
            smu.get_status()
        sent = [event["text"] for event in server.log.named("message")]

    judge = guard()
    was_on = []
    for message in sent:
        send(judge, message)
        was_on.append(judge.energised)
    assert any(was_on)
    assert not judge.energised


def test_control_a_sweep_beyond_the_limit_is_refused_before_the_output_goes_on():
    with Keithley2450Server(Resistor(1e3), time_scale=0.0, log_traffic=True) as server:
        with Driver(server.resource) as smu:
            smu.measure("iv_sweep", SWEEP | {"compliance_a": 0.2, "stop_v": 10.5})
        sent = [event["text"] for event in server.log.named("message")]

    judge = guard()
    codes = {}
    for message in sent:
        if code := code_of(judge, message):
            codes[message.split(" ")[0]] = code
        else:
            send(judge, message)
    assert codes[":SOUR:VOLT:ILIM"] == "L001"
    assert codes[":OUTP"] == "L004"
    assert codes[":SOUR:LIST:VOLT:APP"] == "L001"
    assert codes[":INIT"] == "L004"
    assert not judge.energised


def test_the_safe_state_passes_from_any_state():
    for command in (*SAFE_STATE["interrupt"], *SAFE_STATE["writes"], SAFE_STATE["verify"]["query"]):
        assert code_of(guard(), f"\n{command}") == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (":SOUR:VOLT 11", "L001"),
        (":SOURCE1:VOLTAGE:LEVEL:IMMEDIATE:AMPLITUDE 0.011kV", "L001"),
        (":SOUR:VOLT:LEV -1.1e1", "L001"),
        (":SOUR:LIST:VOLT 1,2,11", "L001"),
        (":SOUR:LIST:VOLT:APP 11", "L001"),
        (":SOUR:CURR 0.2", "L001"),
        (":SOUR:CURR:LEV 200MA", "L001"),
        (":SOUR:LIST:CURR 0,0.2", "L001"),
        (":SOUR:VOLT:ILIM 0.2", "L001"),
        (":SOUR:VOLT:ILIM -0.2", "L001"),
        (":SOUR:VOLT:ILIM:LEV MAX", "L002"),
        (":SOUR:CURR:VLIM 50", "L001"),
        (":SENS:CURR:RANG 1", "L001"),
        (":CURR:DC:RANG:UPP 1", "L001"),
        (":SENS:VOLT:RANG 200", "L001"),
        (":SOUR:SWE:VOLT:LIN 0,5,11", "L005"),
        (":SOUR:SWE:VOLT:LIN:STEP 0,5,1", "L005"),
        (":SOUR:SWE:CURR:LOG 1e-6,1e-3,10", "L005"),
        (':SOUR:SWE:VOLT:LIST 1,0,1,OFF,"defbuffer1","theirs"', "L003"),
        (':SOUR:CONF:LIST:REC "theirs"', "L005"),
        (":SOUR:PULS:VOLT 5", "L005"),
        (':TRIG:LOAD "SimpleLoop",5', "L005"),
        (":TRIG:BLOC:SOUR:STAT 1,ON", "L005"),
        (':SENS:FUNC "RES"', "L003"),
        (":SENS:RES:RANG 20", "L005"),
        (":MEAS:RES?", "L005"),
        (":MEAS?", "L005"),
        ("*RCL 1", "L005"),
        ("*LANG TSP", "L003"),
        (":OUTP ON", "L004"),
        (":INIT", "L004"),
    ],
)
def test_what_leads_beyond_the_limits_is_refused_in_every_spelling(command, code):
    assert code_of(guard(), command) == code


def test_control_what_is_within_the_limits_passes_and_then_the_output_goes_on():
    judge = guard()
    send(judge, *READY, ":SENS:CURR:RANG 0.1", ':SOUR:SWE:VOLT:LIST 1,0,1,OFF,"defbuffer1"')
    send(judge, ':SENS:FUNC "CURR"', ":INIT")

    assert judge.energised


@pytest.mark.parametrize("left_out", READY[1:])
def test_nothing_goes_on_before_level_limit_and_list_are_set(left_out):
    judge = guard()
    send(judge, *(command for command in READY if command != left_out))

    assert code_of(judge, ":INIT") == "L004"


# What the simulated 2450 knows and a limited one is not sent, and why.
REFUSED = {
    ":SOURce[1]:SWEep:CURRent:LINear": "L005",
    ":SOURce[1]:SWEep:CURRent:LINear:STEP": "L005",
    ":SOURce[1]:SWEep:CURRent:LOG": "L005",
    ":SOURce[1]:SWEep:VOLTage:LINear": "L005",
    ":SOURce[1]:SWEep:VOLTage:LINear:STEP": "L005",
    ":SOURce[1]:SWEep:VOLTage:LOG": "L005",
    "[:SENSe[1]]:FUNCtion[:ON]": "L003",
}


def test_each_command_that_the_2450_has_is_limited_harmless_or_refused_for_a_reason():
    judge = guard()
    send(judge, *READY)
    special = {":OUTPut[1][:STATe]": "OFF", ":SOURce[1]:FUNCtion[:MODE]": "VOLT"}
    refused = {}
    for pattern in commands_of(TREE):
        code = code_of(judge, f"{spelled(pattern)} {special.get(pattern, '0')}")
        if code and "RESistance" not in pattern:
            refused[pattern] = code

    assert refused == REFUSED


# -- against the simulator's parser ---------------------------------------------------------------


HEADS = st.sampled_from(
    [
        ":SOUR:VOLT", "SOUR:VOLT:LEV", ":source:voltage:level:immediate:amplitude", "VOLT", "LEV",
        ":SOUR:CURR", ":SOUR1:VOLT", ":SOUR2:VOLT", ":SOUR:VOLT:ILIM", "ILIM", "ILIM:LEV", "VLIM",
        ":SOUR:CURR:VLIM", ":SOUR:LIST:VOLT", "APP", ":SOUR:LIST:VOLT:APP", ":SOUR:LIST:CURR",
        ":SOUR:VOLT:RANG", "RANG", ":SOUR:CURR:RANG", ":SENS:CURR:RANG", ":CURR:RANG",
        ":SENS:VOLT:RANG", "CURR:RANG:AUTO", ":SOUR:FUNC", ":SENS:FUNC", "*RST", ":OUTP",
        "OUTP:STAT", ":SOUR:VOLT:DEL", "*CLS", ":SOUR:SWE:VOLT:LIST", ":SOUR:SWE:VOLT:LIN", ":INIT",
        ":SOUR:VOLT:PROT", ":ABOR", ":FOO:BAR", "::SOUR:VOLT",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            "200", "2E2", "0.2kV", "9", "-9", "-200", "1", "0.05", "0.5", "10.1", "#HC8", "200V",
            "1,200", "1,2,3", "2e2;", "MAX", "MIN", "DEF", "ON", "OFF", "VOLT", "CURR", '"RES"',
            '"CURR"', "1,0,1,OFF", "0,150,5", "PROT20", "NONE", "'", '"', "#15", "(@1)", "200 MV",
            '"a;:SOUR:VOLT 200"', "1 2", "",
        ]
    ),
    st.floats(-250, 250).map(repr),
    st.floats(-1.1, 1.1).map("{:.3e}".format),
)  # fmt: skip
GLUE = st.sampled_from([";", ";:", "; ", ";;", " ;", "\t;", ";*OPC;", "\n", ","])


@st.composite
def message(draw: st.DrawFn) -> str:
    text = ""
    for _ in range(draw(st.integers(1, 4))):
        unit = f"{draw(HEADS)} {draw(VALUES)}"
        text += (draw(GLUE) if text else "") + unit
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(list(":; \t,#'\"()e-+.0129\x00\n"))) + text[at:]
    return text


def worst(instrument: Keithley2450) -> tuple[float, float]:
    """The largest voltage and current that any level of the instrument could source."""
    found = []
    for key in ("VOLT", "CURR"):
        side, sweep = instrument.side(key), instrument.settings.sweep
        swept = sweep if key == instrument.settings.function else []
        found.append(max(map(abs, [side.level, *side.points, *swept])))
    return found[0], found[1]


@settings(max_examples=max(200, settings().max_examples))
@given(st.lists(message(), min_size=1, max_size=8))
def test_no_message_that_passes_takes_a_limited_instrument_beyond_its_limits(texts):
    instrument = Keithley2450("2450", Resistor(1e3), time_scale=0.0)
    judge, framer = guard(), Framer()
    try:
        for text in texts:
            if code_of(judge, text):
                continue
            send(judge, text)
            for framed in framer.feed(text.encode("latin-1") + b"\n"):
                instrument.receive(Nobody(), framed)
            volts, amps = worst(instrument)
            assert volts <= 10.0, (text, volts)
            assert amps <= 0.1, (text, amps)
        s = instrument.settings
        if instrument.output_on and not len(instrument.status.errors):
            held = s.CURR.limit <= 0.1 if s.function == "VOLT" else s.VOLT.limit <= 10
            assert held
    finally:
        instrument.close()


def test_control_the_simulator_takes_such_messages_where_no_guard_stands():
    instrument = Keithley2450("2450", Resistor(1e3), time_scale=0.0)
    try:
        instrument.receive(Nobody(), ":SOUR:VOLT 0.2kV;:SOUR:VOLT:ILIM 1e-6;:SENS:CURR:RANG 1")

        assert worst(instrument)[0] == 200.0
        assert instrument.settings.CURR.limit == pytest.approx(1e-3)
    finally:
        instrument.close()
