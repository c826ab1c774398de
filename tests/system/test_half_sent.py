"""A command that was sent in part is never executed as a shorter one, whoever died meanwhile.

``:SOUR:VOLT 200E-3`` cut after ``200`` is 200 V. The cable carries the first bytes of a command of
each built-in driver's sweep; then its keeper is killed, and the rest never comes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import drivebay
from drivebay import Bay, LinkError, LinkTimeoutError
from drivebay._core.links import open_direct
from drivebay.driver import open_link
from lab import SOAK, LineWire, Process, Reading, Simulator, Wire
from phases import SHORT

pytestmark = pytest.mark.slow

BUILT_IN = Path(drivebay.__file__).parent / "drivers"

B2900 = (
    b":SOUR1:VOLT:RANG 0.8",
    b":SENS1:CURR:PROT 0",
    b":SENS1:CURR:NPLC 0",
    b":TRIG1:ACQ:DEL 0",
    b":SOUR1:LIST:VOLT 0",
    b":TRIG1:ALL:COUN 2",
    b":OUTP1 ON",
)
# The commands with a number, and that which switches on: for each driver with a simulator.
NUMBERED: dict[str, tuple[bytes, ...]] = {
    "keithley_2400": (
        b":SOUR:VOLT:RANG 0.8",
        b":SENS:CURR:PROT 0",
        b":SENS:CURR:NPLC 0",
        b":SOUR:DEL 0",
        b":SOUR:LIST:VOLT 0",
        b":TRIG:COUN 2",
        b":OUTP ON",
    ),
    "keithley_2450": (
        b":SOUR:VOLT:RANG 0.8",
        b":SOUR:VOLT:ILIM 0",
        b":SENS:CURR:NPLC 0",
        b":SOUR:VOLT:DEL 0",
        b":SOUR:LIST:VOLT 0",
        b":OUTP ON",
    ),
    "keysight_b2901": B2900,
    "keysight_b2902": B2900,
}
# What simulates them, where it is not a 2400.
SIMULATED: dict[str, tuple[str, ...]] = {
    "keithley_2450": ("keithley2450",),
    "keysight_b2901": ("b2900",),
    "keysight_b2902": ("b2900", "--model", "B2902A"),
}
# Cut in test_half_sent_bias.py, with a sweep of its own, and in test_half_sent_tsp.py.
ELSEWHERE = {"keysight_e4980a", "keithley_2600"}
# Nothing that they send of their own has a number that would set a level.
WITHOUT_LEVELS = {"keysight_truevolt", "scpi"}
# Cut after its header, so that what has passed could be obeyed.
SWEEP = SHORT | {"stop_v": 0.875, "delay_s": 0.00125, "points": 25}


def test_every_built_in_driver_is_here():
    shipped = {path.parent.name for path in BUILT_IN.glob("*/plugin.yaml")}

    assert shipped - WITHOUT_LEVELS - ELSEWHERE == NUMBERED.keys()


def whole_messages(simulator: Simulator) -> set[str]:
    """Everything that a sweep and its opening really send, from a run on a whole cable."""
    with Bay() as bay:
        smu = bay.open(simulator.resource)
        assert smu.measure("iv_sweep", **SWEEP).state == "done"
        smu.make_safe()
    simulator.log.wait("connection_closed")
    return {event["text"] for event in simulator.log.named("message")}


def cut(wire: Wire, command: bytes, keep: int) -> None:
    """Measure, and kill the keeper when the first bytes of a command have passed."""
    held = wire.hold("up", command, keep=keep)
    with Bay() as bay:
        smu = bay.open(wire.resource)
        stream = smu.stream("iv_sweep", **SWEEP)
        with Process(smu.keeper_pid) as keeper:
            reading = Reading(stream)
            held.wait()
            keeper.kill()
            keeper.wait_gone()
        held.drop()
        assert isinstance(reading.end(), LinkError)


def output_after_all(resource: str) -> str:
    """What the instrument says once whoever had to has made it safe."""
    with open_link(resource, timeout_s=0.5) as link:
        try:
            return link.query(":OUTP?")
        except LinkTimeoutError:  # it was taken for the rest of the half, and refused with it
            return link.query(":OUTP?", timeout_s=5.0)


@pytest.mark.parametrize("driver", NUMBERED)
@pytest.mark.parametrize("cable", [Wire, LineWire], ids=["a socket", "a line with a memory"])
def test_half_a_command_is_never_obeyed(driver, cable: Callable[[int], Any], figures):
    kind, *options = SIMULATED.get(driver, ("keithley2400",))
    with Simulator(*options, kind=kind) as simulator:
        cut_each(driver, cable, simulator, figures)


def cut_each(
    driver: str, cable: Callable[[int], Any], simulator: Simulator, figures: dict[str, str]
) -> None:
    whole = whole_messages(simulator) | {":OUTP?"}
    chance = random.Random(7)
    log, cuts = simulator.log, 0
    for command in NUMBERED[driver] * SOAK:
        text = next(t.encode() for t in whole if t.encode().startswith(command))
        mark = len(log)
        with cable(simulator.port) as wire:
            cut(wire, command, chance.randrange(text.index(b" ") + 2, len(text)))
            assert output_after_all(wire.resource) == "0"
        cuts += 1
        heard = [event["text"] for event in log.named("message", since=mark)]
        strange = [text for text in heard if text not in whole]
        # Where the line remembers, the half and what came next are one command, which is refused.
        refused = [event["number"] for event in log.named("error", since=mark)]
        assert all(text.endswith((":ABOR", ":ABOR (@1,2)", ":OUTP?")) for text in strange), strange
        assert len([number for number in refused if number != -230]) == len(strange)
        assert len(strange) == (1 if cable is LineWire else 0), strange
    figures[f"half a command: {driver}, {cable.__name__}"] = f"0 of {cuts} obeyed"


def test_control_a_half_that_is_ended_is_obeyed(simulator):
    """The danger is real: the same bytes with an end are a command with another number."""
    with open_direct(simulator.resource) as link:
        link.write(":SOUR:VOLT:RANG 200")
        link.write(":SOUR:VOLT 200E-3"[: len(":SOUR:VOLT 200")])

        assert float(link.query(":SOUR:VOLT?")) == 200.0
