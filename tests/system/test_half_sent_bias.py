"""A command that was sent in part: of an LCR meter, whose number is a bias.

``:LIST:BIAS:VOLT 0.0,-2.5`` cut after ``-2`` is another bias, and so is ``:BIAS:VOLT 12.5`` after
``1``. As in ``test_half_sent.py`` the cable carries the first bytes and the keeper is killed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivebay import Bay, LinkError
from drivebay.driver import open_link
from drivebay.sim import EventLog, ScpiServer
from drivebay.sim.circuit import Circuit
from drivebay.sim.circuit.component import Capacitor
from drivebay.sim.e4980a import E4980a
from drivebay.sim.registry import Options
from lab import Process, Reading, Wire

pytestmark = pytest.mark.slow

SWEEP = {"start_v": 1.25, "stop_v": 2.125, "points": 40, "delay_s": 0.00125, "aperture": "short"}
COMMANDS = (b":BIAS:VOLT 1.2", b":LIST:BIAS:VOLT 1", b":FREQ 1", b":VOLT 0", b":BIAS:STAT ON")


@pytest.fixture(scope="module")
def meter() -> Iterator[tuple[E4980a, EventLog, int]]:
    log = EventLog(traffic=True)
    made = E4980a("E4980A", Circuit.around(Capacitor(1e-9)), options=Options(log=log))
    with ScpiServer(made) as server:
        yield made, log, server.port


@pytest.mark.parametrize("command", COMMANDS, ids=bytes.decode)
def test_half_a_command_is_never_obeyed_and_the_bias_is_off(meter, command):
    made, log, port = meter
    with Wire(port) as wire:
        held = wire.hold("up", command, keep=len(command))
        with Bay() as bay:
            lcr = bay.open(wire.resource)
            stream = lcr.stream("cv_measurement", **SWEEP)
            with Process(lcr.keeper_pid) as keeper:
                reading = Reading(stream)
                held.wait()
                before = len(log.events)
                keeper.kill()
                keeper.wait_gone()
            held.drop()
            assert isinstance(reading.end(), LinkError)
        with open_link(wire.resource, timeout_s=5.0) as link:
            assert link.query(":BIAS:STAT?", timeout_s=5.0) == "0"

    heard = [event["text"] for event in log.events[before:] if event["event"] == "message"]
    assert not [text for text in heard if text.startswith(command.decode())]
    assert not made.bias_on


def test_control_a_half_that_is_ended_is_obeyed(meter):
    """The danger is real: the same bytes with an end are a command with another number."""
    made, _, port = meter
    with open_link(f"TCPIP::127.0.0.1::{port}::SOCKET") as link:
        link.write(":BIAS:VOLT 12.5"[: len(":BIAS:VOLT 1")])

        assert float(link.query(":BIAS:VOLT?")) == 1.0
    assert not made.bias_on
