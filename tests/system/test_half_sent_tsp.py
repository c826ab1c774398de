"""A statement that was sent in part is never executed as a shorter one, whoever died meanwhile.

``smua.source.levelv = 200e-3`` cut after ``200`` is 200 V, and a list of levels cut in its middle
is none. The cable carries the first bytes of a statement of a sweep of the 2600B; then its keeper
is killed, and the rest never comes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drivebay import Bay
from drivebay._core.links import open_direct
from drivebay.driver import open_link
from lab import SOAK, LineWire, Process, Simulator, Wire
from test_half_sent import SWEEP, cut

pytestmark = pytest.mark.slow

CUT = (
    b"smua.source.rangev = 0.8",
    b"smua.source.limiti = 0",
    b"smua.measure.nplc = 0",
    b"smua.source.delay = 0",
    b"smua.trigger.source.listv({0",
    b"smua.trigger.count = 2",
    b"smua.source.output = 1",
)
ON = 'print(string.format("%d", smua.source.output + (smub and smub.source.output or 0)))'


@pytest.fixture
def tsp() -> Iterator[Simulator]:
    with Simulator(kind="keithley2600") as simulator:
        yield simulator


def whole_messages(simulator: Simulator) -> set[str]:
    with Bay() as bay:
        smu = bay.open(simulator.resource)
        assert smu.measure("iv_sweep", **SWEEP).state == "done"
        smu.make_safe()
    simulator.log.wait("connection_closed")
    return {event["text"] for event in simulator.log.named("message")}


def output_after_all(resource: str) -> str:
    with open_link(resource, timeout_s=5.0) as link:
        # Lua 5.0 takes `x = 20print(y)` for two statements, and `x = 20abort` for none.
        link.write("abort")
        return link.query(ON)


@pytest.mark.parametrize("cable", [Wire, LineWire], ids=["a socket", "a line with a memory"])
def test_half_a_statement_is_never_obeyed(cable: Callable[[int], Any], tsp, figures):
    whole = whole_messages(tsp) | {ON}
    chance = random.Random(7)
    log, cuts = tsp.log, 0
    for command in CUT * SOAK:
        text = next(t.encode() for t in whole if t.encode().startswith(command))
        begin = text.index(b"{") if b"{" in text else text.index(b"=") + 1
        mark = len(log)
        with cable(tsp.port) as wire:
            cut(wire, command, chance.randrange(begin + 1, len(text)))
            assert output_after_all(wire.resource) == "0"
        cuts += 1
        heard = [event["text"] for event in log.named("message", since=mark)]
        strange = [each for each in heard if each not in whole]
        refused = [event["number"] for event in log.named("error", since=mark)]
        # Where the line remembers, the half and what came next are one statement, which is none.
        assert all(each.endswith("abort") for each in strange), strange
        # Of `attribute = abort` it knows no `abort`: an illegal value.
        assert len(refused) == len(strange)
        assert set(refused) <= {-285, -224}
        assert len(strange) == (1 if cable is LineWire else 0), strange
    figures[f"half a statement: keithley_2600, {cable.__name__}"] = f"0 of {cuts} obeyed"


def test_control_a_half_that_is_ended_is_obeyed(tsp):
    with open_direct(tsp.resource) as link:
        link.write("smua.source.levelv = 20e-1"[: len("smua.source.levelv = 20")])

        assert float(link.query("print(smua.source.levelv)")) == 20.0


def test_a_killed_keeper_leaves_the_outputs_off(tsp):
    """One kill of the crash laboratory, in the middle of a long sweep."""
    with Bay() as bay:
        smu = bay.open(tsp.resource)
        stream = iter(smu.stream("iv_sweep", **SWEEP | {"points": 2000, "nplc": 1.0}))
        next(stream)
        with Process(smu.keeper_pid) as keeper:
            keeper.kill()
            keeper.wait_gone()
        tsp.log.wait("output_off")
        assert not tsp.output_on
