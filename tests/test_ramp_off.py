"""``policy: ramp_off`` of a bench: the level goes to zero before the output goes off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivebay import Bay
from drivebay.sim import Keithley2400Server, Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2600 import Keithley2600
from drivebay.sim.server import ScpiServer

SCPI = {
    "up": [":SOUR:FUNC VOLT", ":SENS:CURR:PROT 0.01", ":SOUR:CURR 0", ":SENS:VOLT:PROT 10"],
    "level": ":SOUR:VOLT 8",
    "on": ":OUTP ON",
    "steps": r":SOURce:VOLTage (\S+)",
}
TSP = {
    "up": ["smub.source.limiti = 0.01", "smub.source.limitv = 10", "smub.source.leveli = 0"],
    "level": "smub.source.levelv = 8",
    "on": "smub.source.output = 1",
    "steps": r"smub\.source\.levelv = (\S+)",
}


@pytest.fixture(params=["2400", "2602B"])
def instrument(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    if request.param == "2400":
        with Keithley2400Server(device=Resistor(1e3), time_scale=0.0, log_traffic=True) as server:
            yield server.resource, server.log, SCPI
        return
    smu = Keithley2600("2602B", {"b": Resistor(1e3)}, time_scale=0.0, log=EventLog(traffic=True))
    with ScpiServer(smu) as server:
        yield server.resource, smu.log, TSP


@pytest.fixture
def opened(tmp_path: Path, instrument: tuple[str, Any, Any]) -> Callable[..., Bay]:
    def bay(policy: str) -> Bay:
        path = tmp_path / "bench.yaml"
        path.write_text(
            f"instruments:\n  smu:\n    resource: {instrument[0]}\n"
            f"    limits: {{voltage_v: 10, current_a: 0.1}}\n    {policy}\n"
        )
        return Bay(home=tmp_path, bench=path)

    return bay


RAMP = "policy: ramp_off\n    ramp: {rate_v_per_s: 60, max_s: 10}"


def steps(log: Any, words: dict[str, Any], since: str) -> list[float]:
    sent = [event["text"] for event in log.named("message")]
    after = sent[sent.index(since) + 1 :] if since in sent else []
    found = [re.fullmatch(words["steps"], text) for text in after]
    return [float(match[1]) for match in found if match]


def switch_on(bay: Bay, words: dict[str, Any]) -> None:
    smu = bay.open("smu")
    smu.write(*words["up"], words["level"], words["on"])


def test_the_level_goes_to_zero_before_the_output_goes_off(opened, instrument):
    _, log, words = instrument
    with opened(RAMP) as bay:
        switch_on(bay, words)

    log.wait_for("output_off")
    assert steps(log, words, words["on"]) == [5.0, 2.0, 0.0]


def test_control_without_a_ramp_it_goes_off_at_once(opened, instrument):
    _, log, words = instrument
    with opened("policy: 'off'") as bay:
        switch_on(bay, words)

    log.wait_for("output_off")
    assert steps(log, words, words["on"]) == []


def test_an_output_that_is_off_already_is_not_ramped(opened, instrument):
    _, log, words = instrument
    with opened(RAMP) as bay:
        smu = bay.open("smu")
        run = smu.measure("spot", level_v=1.0, compliance_a=0.01)
        smu.write(words["level"])

    assert run.state == "done"
    assert steps(log, words, words["level"]) == []
