"""The simulated B2900: what it answers, in which form, and what it obeys meanwhile."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from drivebay.sim.b2900 import B2900
from drivebay.sim.devices import Resistor
from drivebay.sim.registry import KINDS, Options
from drivebay.sim.source import port_of


class Peer:
    """A client without a socket."""

    name = "peer"

    def __init__(self, instrument: B2900) -> None:
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

    def numbers(self, message: str) -> list[float]:
        return [float(each) for each in self.ask(message).split(",")]


def made(model: str = "B2902A", **options: Any) -> Peer:
    ports = {name: port_of(None, Resistor(1e3)) for name in ("ch1", "ch2")}
    said = Options(model=model, **{"time_scale": 0.0, "noise": 0.0, **options})
    instrument = KINDS["b2900"].make(ports, said)
    assert isinstance(instrument, B2900)
    return Peer(instrument)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = made()
    yield peer
    peer.instrument.close()


def swept(peer: Peer) -> None:
    peer.say(":SOUR1:VOLT:MODE LIST", ":SOUR1:LIST:VOLT 0,0.5", ":SOUR1:LIST:VOLT:APP 1")
    peer.say(":SENS1:CURR:PROT 0.01", ":TRIG1:ALL:COUN 3", ":SOUR2:VOLT 0.1", ":TRIG2:ALL:COUN 3")
    peer.say(":SENS2:CURR:PROT 0.01", ":INIT (@1,2)")


def test_readings_of_two_channels_come_trigger_by_trigger(peer):
    swept(peer)

    assert peer.numbers(":FETC:ARR:VOLT? (@1,2)") == pytest.approx([0, 0.1, 0.5, 0.1, 1, 0.1])
    assert peer.numbers(":FETC:CURR? (@1)") == pytest.approx([1e-3])


def test_elements_have_an_order_of_their_own(peer):
    swept(peer)
    peer.say(":FORM:ELEM:SENS STAT,CURR,VOLT")

    assert peer.ask(":FORM:ELEM:SENS?") == "VOLT,CURR,STAT"
    assert peer.numbers(":FETC? (@1)") == pytest.approx([1, 1e-3, 0])


@pytest.mark.parametrize(("order", "code"), [("NORM", ">2d"), ("SWAP", "<2d")])
def test_binary_says_how_long_it_is(peer, order, code):
    swept(peer)
    peer.say(":FORM REAL,64", f":FORM:BORD {order}", ":FORM:ELEM:SENS VOLT,CURR")

    peer.say(":FETC? (@1)")

    answer = peer.answers.pop()
    assert answer[:4] == b"#216"
    assert struct.unpack(code, answer[4:-1]) == pytest.approx((1.0, 1e-3))


def test_initiating_switches_on_unless_it_is_told_not_to(peer):
    peer.say(":OUTP1:ON:AUTO OFF", ":INIT (@1)", ":INIT (@2)")

    assert peer.ask(":OUTP1?;:OUTP2?") == "0;1"


@pytest.mark.parametrize(("holds", "level"), [("ON", 1.0), ("OFF", 0.0)])
def test_after_a_run_it_holds_its_last_level_or_goes_back(peer, holds, level):
    peer.say(f":SOUR1:FUNC:TRIG:CONT {holds}")

    swept(peer)

    assert peer.instrument.channels[0].source.level_v == level


def test_compliance_is_in_the_status_word(peer):
    peer.say(":SENS1:CURR:PROT 1e-4", ":SOUR1:VOLT 1", ":OUTP1 ON", ":INIT (@1)")

    assert peer.numbers(":FETC:STAT? (@1)") == [2]
    assert peer.numbers(":FETC:CURR? (@1)") == pytest.approx([1e-4])
    assert peer.ask(":SENS1:CURR:PROT:TRIP?") == "1"


def test_what_asks_for_readings_waits_and_an_abort_does_not():
    peer = made(time_scale=1.0)
    peer.say(":TRIG1:ACQ:DEL 1000", ":INIT (@1)")
    assert int(peer.ask(":STAT:OPER:COND?")) & (1 << 4) == 0

    peer.say(":FETC:ARR? (@1)")
    assert peer.answers == []
    peer.say(":ABOR;:OUTP1 OFF")

    assert peer.ask(":STAT:OPER:COND?") == str((1 << 1) | (1 << 4) | (1 << 7) | (1 << 10))
    assert peer.ask(":OUTP1?") == "0"
    # There was no reading to answer with.
    assert peer.ask(":SYST:ERR?").startswith("-230")
    peer.instrument.close()


def test_a_run_under_way_is_not_begun_again():
    peer = made(time_scale=1.0)
    peer.say(":TRIG1:ACQ:DEL 1000", ":INIT (@1)", ":INIT (@2)")

    assert peer.ask(":SYST:ERR?").startswith("-213")
    peer.instrument.close()


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (":SOUR1:VOLT 211", -222),
        (":SOUR1:LIST:VOLT " + ",".join(["0"] * 2501), -223),
        (":SOUR:FUNC:SHAP PULS", -224),
        (":INIT (@3)", -224),
        (":TRAC:DATA?", -113),
        (":SENS1:CURR:PROT 1;:SOUR1:VOLT 100", -221),
        (":FETC? (@1)", -230),
    ],
)
def test_what_it_cannot_do_is_refused_with_its_number(peer, message, number):
    peer.say(message)

    assert peer.ask(":SYST:ERR?").startswith(f"{number},")


def test_a_model_with_one_channel_has_no_second():
    peer = made("B2911A")
    peer.say(":OUTP2 ON")

    assert peer.ask(":SYST:ERR?").startswith("-113,")
    assert peer.ask("*IDN?").startswith("Keysight Technologies,B2911A,")


def test_an_open_interlock_is_told_and_holds_high_voltages_back():
    peer = made(interlock_closed=False)
    peer.say(":SOUR1:VOLT:RANG 200", ":SOUR1:VOLT 43")

    assert peer.ask(":SYST:ERR?").startswith("-221,")
    assert int(peer.ask(":STAT:QUES:COND?")) == 1024
    peer.say(":SOUR1:VOLT 41")
    assert peer.ask(":SYST:ERR?") == '+0,"No error"'


def test_a_reset_switches_both_off(peer):
    peer.say(":OUTP1 ON;:OUTP2 ON;*RST")

    assert peer.ask(":OUTP1?;:OUTP2?") == "0;0"


def test_noise_falls_with_the_integration_time():
    spread = {}
    for nplc in ("0.01", "10"):
        peer = made(noise=1.0)
        peer.say(f":SENS1:CURR:NPLC {nplc}", ":TRIG1:ALL:COUN 200", ":INIT (@1)")
        values = peer.numbers(":FETC:ARR:VOLT? (@1)")
        spread[nplc] = max(values) - min(values)

    assert spread["0.01"] > 10 * spread["10"]


@pytest.mark.parametrize(("volt", "readable"), [(1.055, True), (1.065, False)])
def test_a_measurement_range_goes_6_percent_beyond_its_name(peer, volt, readable):
    peer.say(":SENS:CURR:PROT 0.01", ":SENS:CURR:RANG:AUTO OFF", ":SENS:CURR:RANG 1E-3")
    peer.say(f":VOLT {volt}", ":OUTP ON", ":FORM:ELEM:SENS CURR,STAT")

    (amp, status) = peer.numbers(":MEAS?")

    assert (amp < 9e37) is readable
    assert bool(int(status) & (1 << 13)) is not readable


def test_two_channels_share_their_current_within_21_volts(peer):
    for c in (1, 2):
        peer.say(f":SENS{c}:CURR:PROT 2.5", f":SOUR{c}:VOLT 6")
    peer.say(":OUTP1 ON", ":OUTP2 ON")
    assert peer.ask(":SYST:ERR?").startswith("-221")
    assert peer.ask(":OUTP2?") == "0"

    peer.say(":SENS2:CURR:PROT 1.5", ":OUTP2 ON")
    assert (peer.ask(":SYST:ERR?"), peer.ask(":OUTP2?")) == ('+0,"No error"', "1")

    peer.say(":SOUR2:VOLT 7")  # above 6 V the same current counts 1.6 times
    assert peer.ask(":SYST:ERR?").startswith("-221")
