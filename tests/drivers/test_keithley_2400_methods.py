"""The 2400 as a current source, a monitor and a meter, on the simulator: what is right of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay.driver import ParameterError, ScpiDriver
from drivebay.sim import Diode, Keithley2400Server, OpenCircuit, Resistor
from guarded import load_driver

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2400"


Keithley2400 = load_driver("keithley_2400", "Keithley2400")


def simulated(device: Any = None, **more: Any) -> Keithley2400Server:
    settings = {"time_scale": 0.0, "log_traffic": True, "noise": 0.0, "settling_time_s": 0.0}
    return Keithley2400Server(device=device or Resistor(1000.0), **(settings | more))


def messages(server: Keithley2400Server) -> list[str]:
    return [event["text"] for event in server.log.named("message")]


@pytest.fixture
def bench() -> Iterator[tuple[Keithley2400Server, ScpiDriver]]:
    with simulated() as server, Keithley2400(server.resource) as smu:
        yield server, smu


# -- a current source -----------------------------------------------------------------------------


def test_a_current_is_stepped_and_the_voltage_is_what_the_device_makes_of_it(bench):
    server, smu = bench

    data = smu.measure("vi_sweep", {"start_a": 0, "stop_a": 1e-3, "points": 11, "compliance_v": 5})

    assert data["current_a"] == pytest.approx(np.linspace(0, 1e-3, 11), abs=1e-8)
    assert data["voltage_v"] == pytest.approx(np.linspace(0, 1, 11), abs=1e-4)
    assert not data["in_compliance"].any()
    sent = messages(server)
    assert sent.index(":SENS:VOLT:PROT 5.0") < sent.index(
        ":SENS:VOLT:PROT?;:OUTP:ENAB?;:OUTP:ENAB:TRIP?"
    )
    assert sent.index(":SENS:VOLT:PROT?;:OUTP:ENAB?;:OUTP:ENAB:TRIP?") < sent.index(":OUTP ON")


def test_open_leads_stand_at_the_voltage_limit_and_that_is_told():
    with simulated(OpenCircuit()) as server, Keithley2400(server.resource) as smu:
        data = smu.measure("spot", {"level_a": 1e-3, "compliance_v": 2})

    assert data["in_compliance"].tolist() == [True]
    assert data["voltage_v"] == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("level_v", [0.0, 0.5, -3.0])
def test_a_spot_is_one_reading_at_the_level(bench, level_v):
    _, smu = bench

    data = smu.measure("spot", {"level_v": level_v, "compliance_a": 0.01})

    assert data["voltage_v"] == pytest.approx([level_v], abs=1e-4)
    assert data["current_a"] == pytest.approx([level_v / 1000], abs=1e-7)


# -- over time ------------------------------------------------------------------------------------


def test_a_monitor_reads_at_its_intervals_by_the_clock_of_the_instrument():
    with simulated(time_scale=1.0) as server, Keithley2400(server.resource) as smu:
        data = smu.measure(
            "iv_monitor",
            {
                "level_v": 1,
                "compliance_a": 0.01,
                "duration_s": 0.5,
                "interval_s": 0.05,
                "nplc": 0.1,
            },
        )
        outputs = [event["event"] for event in server.log.named("output_on", "output_off")]

    assert len(data["time_s"]) == 11
    within = np.diff(data["time_s"])[:4]  # the first group, which the instrument times itself
    assert within == pytest.approx(0.05, rel=1e-3)
    assert data["current_a"] == pytest.approx(1e-3, rel=1e-3)
    assert outputs == ["output_on", "output_off"]


def test_the_output_comes_on_at_zero_and_then_goes_to_the_level(bench):
    server, smu = bench

    smu.measure(
        "iv_monitor", {"level_v": 5, "compliance_a": 0.1, "duration_s": 1e-3, "interval_s": 1e-3}
    )

    assert server.log.named("output_on")[0]["level"] == 0
    sent = messages(server)
    assert sent.index(":OUTP ON") < sent.index(":SOUR:VOLT 5.0") < sent.index(":READ?")


# -- a meter --------------------------------------------------------------------------------------


def test_as_a_voltmeter_it_sources_no_current_and_limits_the_voltage_low(bench):
    server, smu = bench

    data = smu.measure("dc_voltage", {"readings": 5})

    assert data["voltage_v"] == pytest.approx(0, abs=1e-5)
    assert not data["overload"].any()
    sent = messages(server)
    assert ":SOUR:CURR 0" in sent
    assert ":SENS:VOLT:PROT 21.0" in sent
    assert {event["level"] for event in server.log.named("output_on")} == {0}


def test_a_meter_keeps_within_what_its_bench_allows(bench):
    server, smu = bench
    smu.ranges = {"voltage_v": [-5, 5], "current_a": [-0.01, 0.01]}

    smu.measure("dc_voltage", {})
    smu.measure("dc_current", {})

    assert ":SENS:VOLT:PROT 5" in messages(server)
    assert ":SENS:CURR:PROT 0.01" in messages(server)
    with pytest.raises(ParameterError, match="P004"):
        smu.measure("dc_voltage", {"range_v": 20})


def test_reference_readings_can_be_left_out_and_come_back_with_the_next_measurement(bench):
    server, smu = bench

    smu.measure("dc_current", {"auto_zero": False, "nplc": 0.1, "range_a": 1e-3})
    assert ":SYST:AZER OFF" in messages(server)
    smu.measure("spot", {"level_v": 1, "compliance_a": 0.01})

    assert messages(server).count(":SYST:AZER ON") == 1


@pytest.mark.parametrize("ohm", [0.1, 1.0, 47.0, 1e3, 1e5, 1e6, 2e7])
def test_a_resistance_is_found_over_eight_decades_without_being_told_its_range(ohm):
    with simulated(Resistor(ohm)) as server, Keithley2400(server.resource) as smu:
        data = smu.measure("resistance", {"readings": 2})

    assert data["resistance_ohm"] == pytest.approx(ohm, rel=2e-2 if ohm < 1 else 2e-3)
    assert not data["overload"].any()


def test_no_more_current_flows_and_no_more_voltage_stands_than_was_allowed():
    with simulated(Resistor(10.0)) as server, Keithley2400(server.resource) as smu:
        data = smu.measure("resistance", {"max_current_a": 1e-5, "max_voltage_v": 0.5})
        sent = messages(server)

    assert data["resistance_ohm"] == pytest.approx(10, rel=0.2)
    assert ":SENS:VOLT:PROT 0.5" in sent
    lists = [text.split(" ")[1] for text in sent if text.startswith(":SOUR:LIST:CURR ")]
    assert max(abs(float(level)) for words in lists for level in words.split(",")) <= 1e-5


def test_four_leads_leave_the_leads_out_and_two_do_not():
    leads = simulated(Resistor(10.0), lead_resistance_ohm=5.0)
    with leads as server, Keithley2400(server.resource) as smu:
        two = smu.measure("resistance", {})
        four = smu.measure("resistance", {"four_wire": True})

    assert four["resistance_ohm"] == pytest.approx(10, rel=1e-2)
    assert two["resistance_ohm"] > 11


def test_offset_compensation_takes_a_reading_without_current_beside_each(bench):
    server, smu = bench

    data = smu.measure("resistance", {"readings": 3, "offset_compensation": True})

    assert data["resistance_ohm"] == pytest.approx(1000, rel=1e-3)
    assert len(data["time_s"]) == 3
    last = [text for text in messages(server) if text.startswith(":SOUR:LIST:CURR ")][-1]
    assert last.split(" ")[1].split(",")[1::2] == ["0.0", "0.0", "0.0"]


def test_nothing_between_the_leads_is_an_overload_and_infinite():
    with simulated(OpenCircuit()) as server, Keithley2400(server.resource) as smu:
        data = smu.measure("resistance", {})

    assert data["overload"].tolist() == [True]
    assert np.isinf(data["resistance_ohm"]).all()


def test_a_diode_is_seen_from_both_sides(bench):
    with simulated(Diode()) as server, Keithley2400(server.resource) as smu:
        forward = smu.measure("spot", {"level_a": 1e-3, "compliance_v": 5})
        backward = smu.measure("spot", {"level_a": -1e-3, "compliance_v": 5})

    assert forward["voltage_v"][0] < 1
    assert not forward["in_compliance"][0]
    assert backward["in_compliance"][0]
