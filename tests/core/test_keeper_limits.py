"""An instrument in the keeper under limits: what is refused never reaches the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import drivebay
from drivebay import LimitError, LinkTimeoutError, PluginMetadata
from drivebay._core.keeper.held import Held
from drivebay._core.keeper.records import Lease
from drivebay._core.keeper.setup import Setup
from drivebay._core.limits import Guard
from drivebay.sim import Keithley2400Server, Resistor

MANIFEST = PluginMetadata.from_yaml(
    Path(drivebay.__file__).parent / "drivers/keithley_2400/plugin.yaml"
)
READY = (":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX", ":SENS:CURR:PROT 0.01", ":SOUR:VOLT 1")


@pytest.fixture
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(device=Resistor(1e3), time_scale=0.0, log_traffic=True) as server:
        yield server


@pytest.fixture
def held(server, tmp_path) -> Iterator[Held]:
    """A simulated 2400 as the keeper holds it, limited to 10 V and 0.1 A."""
    lease = Lease.take(tmp_path, server.resource, {})
    instrument = Held(server.resource, {}, lease, tmp_path, {}, lambda event: None)
    guard = Guard(
        MANIFEST.dialect,
        {"voltage_v": (-10, 10), "current_a": (-0.1, 0.1)},
        strict=True,
        subject="smu1",
        source="bench.yaml",
    )
    instrument.setup = Setup(
        safe_state=MANIFEST.safe_state or {}, guard=guard, knows_energising=True
    )
    yield instrument
    instrument.make_safe(forced=True)
    instrument.park()
    lease.release()


def received(server: Keithley2400Server) -> list[str]:
    return [event["text"] for event in server.log.events if event["event"] == "message"]


def test_what_is_set_in_order_reaches_the_instrument_and_the_output_goes_on(held, server):
    held.write_each(READY)
    held.write(":OUTP ON")

    assert held.query(":OUTP?") == "1"
    assert held.state == "energised"
    assert received(server)[:4] == list(READY)


@pytest.mark.parametrize(
    "command", [":SOUR:VOLT 200", "*CLS;:sour:volt 0.2kV", "*RCL 1", ":OUTP ON"]
)
def test_what_is_refused_never_reaches_the_wire(held, server, command):
    with pytest.raises(LimitError):
        held.write(command)

    held.query("*IDN?")
    assert received(server) == ["*IDN?"]
    assert not held.armed


def test_a_reset_makes_the_output_wait_for_its_protection_again(held):
    held.write_each(READY)
    held.write("*RST")

    with pytest.raises(LimitError, match="before"):
        held.write(":OUTP ON")


def test_a_reset_whose_answer_never_came_counts(held):
    held.write_each(READY)
    with pytest.raises(LinkTimeoutError):
        held.query("*RST;:SENS:CURR:NPLC? WHAT", timeout_s=0.05)

    with pytest.raises(LimitError, match="before"):
        held.write(":OUTP ON")


def test_on_a_new_channel_protections_are_set_again(held):
    held.write_each(READY)
    held.park()
    held.query("*IDN?")

    with pytest.raises(LimitError, match="before"):
        held.write(":OUTP ON")

    held.write_each(READY)
    held.write(":OUTP ON")


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (b":SOUR:VOLT 2", b"00\n"),
        (b":SOUR:VOLT 2", b""),
        (b":SOUR:VOLT 1", b";:OUTP ON\n"),
        (b"*CLS", b"\n:OUTP ON\n"),
        (b"*CLS", b";"),
    ],
)
def test_what_is_sent_after_a_command_is_no_way_past_the_limits(held, server, command, end):
    held.write_each(READY)

    with pytest.raises(ValueError, match="ends no command"):
        held.write(command, end=end)

    held.query("*IDN?")
    assert received(server) == [*READY, "*IDN?"]
    assert not held.armed


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_control_a_command_may_bring_its_own_line_end(held, server, end):
    held.write(b":SOUR:VOLT 2", end=end)

    assert held.query(":SOUR:VOLT?") == "2.000000E+00"
