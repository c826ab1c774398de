"""The simulated 2450: what it answers, in which form, and what it changes by itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from drivebay.sim.devices import Resistor
from drivebay.sim.keithley2450 import MODELS, Keithley2450


class Peer:
    """A client without a socket."""

    name = "peer"

    def __init__(self, instrument: Keithley2450) -> None:
        self.instrument = instrument
        self.answers: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.answers.append(data)

    def flush(self) -> None:
        pass

    def say(self, *messages: str) -> None:
        for message in messages:
            self.instrument.receive(self, message)

    def ask(self, message: str) -> str:
        self.say(message)
        return self.answers.pop().decode("latin-1").strip()

    def number(self, message: str) -> float:
        return float(self.ask(message))

    def error(self) -> int:
        return int(self.ask(":SYST:ERR?").partition(",")[0])

    def warnings(self) -> int:
        return len(self.instrument.log.named("warning"))


def made(model: str = "2450", **options: Any) -> Peer:
    return Peer(Keithley2450(model, Resistor(1e3), **{"time_scale": 0.0, "noise": 0.0} | options))


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = made()
    yield peer
    peer.instrument.close()


@pytest.fixture(params=MODELS)
def each(request: pytest.FixtureRequest) -> Iterator[Peer]:
    peer = made(request.param)
    yield peer
    peer.instrument.close()


# -- answers ---------------------------------------------------------------------------------------


def test_an_error_has_a_text_a_type_and_a_time_and_is_told_once(peer):
    peer.say(":SOUR:VOLT")

    assert peer.ask(":SYST:ERR:COUN?") == "1"
    assert peer.ask(":SYST:ERR?").startswith('-109,"Missing parameter;1;20')
    assert peer.ask(":SYST:ERR?") == '0,"No error;0;0 0"'
    peer.say(":FOO")
    assert peer.ask(":SYST:ERR:CODE?") == "-113"


def test_its_line_of_identity_names_the_model(each):
    parts = each.ask("*IDN?").split(",")

    assert parts[0] == "KEITHLEY INSTRUMENTS"
    assert parts[1] == f"MODEL {each.instrument.model.name}"
    assert each.ask("*LANG?") == "SCPI"


@pytest.mark.parametrize(
    ("model", "least_v", "least_a", "default_v"),
    [
        ("2450", 0.02, 1e-9, 21.0),
        ("2460", 0.2, 1e-6, 7.35),
        ("2461", 0.2, 1e-6, 7.35),
        ("2470", 0.02, 1e-9, 21.0),
    ],
)
def test_the_limits_of_a_model_and_what_it_begins_with(model, least_v, least_a, default_v):
    peer = made(model)

    assert peer.number(":SOUR:CURR:VLIM?") == default_v
    assert peer.number(":SOUR:VOLT:ILIM?") == pytest.approx(1.05e-4)
    assert peer.number(":SOUR:CURR:VLIM? MIN") == least_v
    assert peer.number(":SOUR:VOLT:ILIM? MIN") == least_a
    peer.say(f":SOUR:VOLT:ILIM {least_a / 2}")
    assert peer.error() == -222
    assert peer.number(":SOUR:VOLT:RANG?") == peer.instrument.model.voltage_ranges_v[0]


def test_limits_are_absolute_values(peer):
    peer.say(":SOUR:VOLT:ILIM -0.01")

    assert peer.number(":SOUR:VOLT:ILIM?") == 0.01


def test_numbers_are_written_with_as_many_digits_as_asked_for(peer):
    peer.say(":SOUR:VOLT 1", ":SOUR:VOLT:ILIM 0.1", ":OUTP ON")

    assert peer.ask(":READ?") == "1.000000E-03"
    peer.say(":FORM:ASC:PREC 3")
    assert peer.ask(":READ?") == "1.00E-03"


# -- buffers ---------------------------------------------------------------------------------------


def read(peer: Peer, count: int = 3) -> None:
    peer.say(":SOUR:VOLT 1", ":SOUR:VOLT:ILIM 0.1", ":OUTP ON", f":COUN {count}")


def test_a_buffer_of_ones_own_is_made_filled_and_deleted(peer):
    read(peer)
    peer.say(':TRAC:MAKE "mine", 100', ':TRAC:TRIG "mine"')

    assert peer.ask(':TRAC:ACT? "mine"') == "3"
    assert peer.ask(":TRAC:ACT?") == "0"
    assert peer.ask(":TRAC:POIN? 'mine'") == "100"
    peer.say(':TRAC:MAKE "mine", 100')
    assert peer.error() == 1115
    peer.say(':TRAC:DEL "mine"', ':TRAC:ACT? "mine"')
    assert peer.error() == -224
    peer.say(':TRAC:DEL "defbuffer1"')
    assert peer.error() == -221


def test_the_newest_readings_push_the_oldest_out(peer):
    read(peer, 15)
    peer.say(":TRAC:POIN 10", ":TRAC:TRIG")

    assert peer.ask(":TRAC:ACT?") == "10"
    times = [float(t) for t in peer.ask(':TRAC:DATA? 1,10,"defbuffer1",REL').split(",")]
    assert times == sorted(times)
    assert times[0] > 0


def test_every_element_of_a_reading_can_be_asked_for(peer):
    read(peer, 1)
    elements = "READ,SOUR,REL,SOURSTAT,STAT,FRAC,SEC,UNIT,SOURUNIT,FORM,SOURFORM,DATE,TIME,TST"

    answer = peer.ask(f':READ? "defbuffer1",{elements}').split(",")

    assert len(answer) == 14
    assert [float(each) for each in answer[:5]] == [1e-3, 1.0, 0.0, 136, 8]
    assert answer[7:11] == ["Amp DC", "Volt DC", "+001.0000 mA", "+001.0000 V"]
    peer.say(f':READ? "defbuffer1",{elements},READ')
    assert peer.error() == -223


def test_binary_has_readings_sources_and_times_and_nothing_else(peer):
    read(peer, 1)
    peer.say(":FORM REAL", ":TRAC:TRIG", ':TRAC:DATA? 1,1,"defbuffer1",READ,SOUR')
    block = peer.answers.pop()

    assert block[:4] == b"#216"
    assert struct.unpack("<2d", block[4:20]) == (1e-3, 1.0)
    peer.say(':TRAC:DATA? 1,1,"defbuffer1",SOURSTAT')
    assert peer.error() == 1133


def test_the_statistics_are_those_of_the_buffer(peer):
    read(peer, 1)
    peer.say(":TRAC:TRIG", ":SOUR:VOLT 3", ":TRAC:TRIG")

    found = [peer.number(f":TRAC:STAT:{name}?") for name in ("AVER", "MAX", "MIN", "STDD")]

    assert found == pytest.approx([2e-3, 3e-3, 1e-3, 1.414214e-3])


# -- sweeps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "levels"),
    [
        (":SOUR:SWE:VOLT:LIN 0,2,3", [0, 1, 2]),
        (":SOUR:SWE:VOLT:LIN 0,2,3,0,1,AUTO,ON,ON", [0, 1, 2, 1, 0]),
        (":SOUR:SWE:VOLT:LIN 0,2,3,1e-3,2", [0, 1, 2, 0, 1, 2]),
        (":SOUR:SWE:VOLT:LIN:STEP 0,2,0.5", [0, 0.5, 1, 1.5, 2]),
        (":SOUR:SWE:VOLT:LOG 0.01,1,3", [0.01, 0.1, 1]),
        (":SOUR:LIST:VOLT 1,5;:SOUR:LIST:VOLT:APP 2;:SOUR:SWE:VOLT:LIST 1,0.2", [1, 5, 2]),
        (":SOUR:LIST:VOLT 1,5,2;:SOUR:SWE:VOLT:LIST 2", [5, 2]),
    ],
)
def test_a_sweep_sources_its_levels_and_leaves_the_output_off(peer, command, levels):
    peer.say(":SOUR:VOLT:ILIM 0.1", command, ":INIT")

    assert peer.error() == 0
    asked = f':TRAC:DATA? 1,{len(levels)},"defbuffer1",SOUR'
    assert [float(each) for each in peer.ask(asked).split(",")] == pytest.approx(levels)
    assert peer.ask(":OUTP?") == "0"
    assert peer.ask(":TRIG:STAT?") == "IDLE;IDLE;6"
    assert peer.instrument.log.named("output_on")


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (":SOUR:SWE:VOLT:LIN 0,2", -109),
        (":SOUR:SWE:VOLT:LIN 0,2,3,1e-5", -222),
        (":SOUR:SWE:VOLT:LOG 0,1,3", -222),
        (":SOUR:SWE:CURR:LIN 0,1e-3,3", -221),
        (":SOUR:SWE:VOLT:LIST 1", -221),
        (":SOUR:LIST:VOLT 0,211", -222),
        (":INIT", -221),
    ],
)
def test_what_cannot_be_swept_is_refused(peer, command, number):
    peer.say(command)

    assert peer.error() == number
    assert not peer.instrument.log.named("output_on")


@pytest.mark.parametrize(("fail", "points"), [("ON", 2), ("OFF", 4)])
def test_a_sweep_ends_at_the_limit_if_it_is_told_to(peer, fail, points):
    peer.say(":SOUR:VOLT:ILIM 1.5e-3", ":SOUR:LIST:VOLT 1,2,3,1")
    peer.say(f":SOUR:SWE:VOLT:LIST 1,0,1,{fail}", ":INIT")

    assert peer.ask(":TRAC:ACT?") == str(points)
    assert peer.ask(":OUTP?") == "0"


def test_other_commands_are_obeyed_while_it_sweeps_and_an_abort_leaves_the_output_on():
    peer = made(time_scale=1.0)
    peer.say(":SOUR:VOLT:ILIM 0.1", ":SOUR:SWE:VOLT:LIN 0,1,1000", ":INIT")

    assert peer.ask(":TRIG:STAT?;:OUTP?") == "RUNNING;RUNNING;4;1"
    peer.say(":SOUR:VOLT 1", ":INIT")
    assert [peer.error(), peer.error()] == [-221, -213]
    peer.say(":ABOR")
    assert peer.ask(":TRIG:STAT?;:OUTP?") == "ABORTED;ABORTED;6;1"
    peer.instrument.close()


# -- what it changes by itself, and what it does not put out --------------------------------------


def test_a_source_range_lowers_a_limit_and_only_warns(peer):
    peer.say(":SOUR:VOLT:ILIM 0.5", ":SOUR:VOLT:RANG 200")

    assert peer.number(":SOUR:VOLT:ILIM?") == 0.105
    assert (peer.error(), peer.warnings()) == (0, 1)


def test_a_limit_that_does_not_go_with_the_source_range_is_not_taken(peer):
    peer.say(":SOUR:VOLT:RANG 200", ":SOUR:VOLT:ILIM 0.5")

    assert peer.number(":SOUR:VOLT:ILIM?") == pytest.approx(1.05e-4)
    assert (peer.error(), peer.warnings()) == (0, 1)


@pytest.mark.parametrize(("model", "limit_a"), [("2450", 1e-3), ("2470", 0.106)])
def test_a_fixed_measure_range_raises_a_limit_and_only_warns(model, limit_a):
    peer = made(model)
    peer.say(":SOUR:VOLT:ILIM 1e-6", ":SENS:CURR:RANG 1")

    assert peer.number(":SOUR:VOLT:ILIM?") == pytest.approx(limit_a)
    assert (peer.error(), peer.warnings()) == (0, 1)


@pytest.mark.parametrize(
    ("mode", "kind"), [("NORM", "volt"), ("ZERO", "volt"), ("HIMP", "open"), ("GUAR", "open")]
)
def test_off_is_zero_volts_or_nothing_as_the_off_state_says(peer, mode, kind):
    peer.say(f":OUTP:VOLT:SMOD {mode}", ":SOUR:VOLT 5", ":OUTP ON", ":OUTP OFF")

    boundary = peer.instrument.channel.port.boundary

    assert boundary.kind == kind
    assert boundary.level == 0.0


def test_overvoltage_protection_holds_the_source_and_the_status_says_so(peer):
    peer.say(":SOUR:VOLT:PROT PROT5", ":SOUR:VOLT:ILIM 0.1", ":SOUR:VOLT 8", ":OUTP ON")

    volt, word = peer.ask(':READ? "defbuffer1",SOUR,SOURSTAT').split(",")
    assert float(volt) == pytest.approx(5.0)
    assert int(float(word)) & 4
    assert peer.ask(":SOUR:VOLT:PROT:TRIP?") == "1"


def test_with_an_open_interlock_nothing_above_21_volts_is_switched_on():
    peer = made(interlock_closed=False)
    peer.say(":SOUR:VOLT:ILIM 0.01", ":SOUR:VOLT 22", ":OUTP ON")

    assert (peer.error(), peer.ask(":OUTP?"), peer.ask(":OUTP:INT:TRIP?")) == (-221, "0", "0")
    peer.say(":SOUR:VOLT 21", ":OUTP ON")
    assert (peer.error(), peer.ask(":OUTP?")) == (0, "1")


def test_a_reset_puts_back_what_it_began_with(peer):
    peer.say(':TRAC:MAKE "mine", 10', ":SOUR:VOLT 1", ":SENS:CURR:REL:STAT ON", ":OUTP ON", "*RST")

    assert peer.ask(":OUTP?;:SENS:CURR:REL:STAT?") == "0;0"
    assert peer.number(":SOUR:VOLT?") == 0.0
    assert list(peer.instrument.buffers) == ["defbuffer1", "defbuffer2"]


@pytest.mark.parametrize(
    ("commands", "reading"),
    [
        (":SENS:CURR:REL 1e-3;REL:STAT ON", 1e-3),
        (":SENS:CURR:UNIT OHM", 1000.0),
        (":SENS:CURR:UNIT WATT", 4e-3),
        (":CALC:CURR:MATH:FORM MXB;MMF 2;MBF 1;STAT ON", 1.004),
        (":CALC:CURR:MATH:FORM REC;STAT ON", 500.0),
        (":CALC:CURR:MATH:PERC 1e-3;STAT ON", 100.0),
    ],
)
def test_units_offsets_and_math_are_in_the_reading(peer, commands, reading):
    peer.say(":SOUR:VOLT:ILIM 0.1", ":SOUR:VOLT 2", commands, ":OUTP ON")

    assert peer.number(":READ?") == pytest.approx(reading)
