"""The 2450 driver on its simulator: what it sends first, and what it refuses."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay.driver import InstrumentError, ScpiDriver
from drivebay.sim.devices import Resistor
from drivebay.sim.keithley2450 import Keithley2450Server

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2450"
SWEEP: dict[str, Any] = {"start_v": -1, "stop_v": 1, "points": 21, "compliance_a": 0.1}


def load_driver() -> type[ScpiDriver]:
    """The class as the loader would give it: from the file, without a package."""
    spec = importlib.util.spec_from_file_location("keithley_2450_driver", FOLDER / "driver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[ScpiDriver] = module.Keithley2450
    return found


Keithley2450 = load_driver()


def simulated(**more: Any) -> Keithley2450Server:
    settings = {"time_scale": 0.0, "noise": 0.0, "log_traffic": True}
    return Keithley2450Server(Resistor(1000.0), **(settings | more))


def messages(server: Keithley2450Server) -> list[str]:
    return [event["text"] for event in server.log.named("message")]


def test_a_sweep_measures_each_level_once_in_order():
    with simulated() as server, Keithley2450(server.resource) as smu:
        data = smu.measure("iv_sweep", SWEEP)

    assert data["voltage_v"] == pytest.approx(np.linspace(-1, 1, 21), abs=1e-5)
    assert data["current_a"] == pytest.approx(np.linspace(-1e-3, 1e-3, 21), abs=1e-8)
    assert not data["in_compliance"].any()


def test_the_limit_is_set_and_read_back_before_the_output_goes_on():
    with simulated() as server, Keithley2450(server.resource) as smu:
        smu.measure("iv_sweep", SWEEP)
        sent = messages(server)

    assert sent.index(":SOUR:VOLT:ILIM 0.1") < sent.index(":SOUR:VOLT:ILIM?")
    assert sent.index(":SOUR:VOLT:ILIM?") < sent.index(":OUTP ON")


def test_a_point_that_the_limit_holds_is_told_and_the_sweep_goes_on():
    with simulated() as server, Keithley2450(server.resource) as smu:
        data = smu.measure("iv_sweep", SWEEP | {"compliance_a": 5e-4})

    assert data["in_compliance"].tolist() == [True] * 5 + [False] * 11 + [True] * 5


def test_more_levels_than_a_list_takes_are_several_lists_with_rising_time():
    with simulated() as server, Keithley2450(server.resource) as smu:
        data = smu.measure("iv_sweep", SWEEP | {"points": 2600, "nplc": 0.01})

    assert len(data["time_s"]) == 2600
    assert np.all(np.diff(data["time_s"]) >= 0)


@pytest.mark.parametrize("language", ["TSP", "SCPI2400"])
def test_another_command_set_is_refused_with_what_to_do_and_nothing_is_set(language):
    with simulated(language=language) as server, Keithley2450(server.resource) as smu:
        with pytest.raises(InstrumentError, match=r"\*LANG SCPI"):
            smu.measure("iv_sweep", SWEEP)

        assert not [text for text in messages(server) if text.startswith((":OUTP ON", ":SOUR"))]


@pytest.mark.parametrize(
    ("closed", "stop_v", "refused"), [(False, 22, True), (False, 21, False), (True, 60, False)]
)
def test_above_21_volts_the_interlock_must_be_closed(closed, stop_v, refused):
    params = SWEEP | {"start_v": 0, "stop_v": stop_v}
    with simulated(interlock_closed=closed) as server, Keithley2450(server.resource) as smu:
        if refused:
            with pytest.raises(InstrumentError, match="interlock"):
                smu.measure("iv_sweep", params)
            assert not server.log.named("output_on")
        else:
            assert len(smu.measure("iv_sweep", params)["voltage_v"]) == 21
