"""The 2450 driver on its simulator: what it sends first, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay import Bay
from drivebay.driver import InstrumentError
from drivebay.sim.circuit import Mosfet
from drivebay.sim.circuitfile import parse_circuit
from drivebay.sim.devices import Resistor
from drivebay.sim.keithley2450 import Keithley2450Server
from drivebay.sim.virtualbench import VirtualBench
from drivebay.testing import check_driver
from guarded import Nobody, load_driver

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2450"
SWEEP: dict[str, Any] = {"start_v": -1, "stop_v": 1, "points": 21, "compliance_a": 0.1}


Keithley2450 = load_driver("keithley_2450", "Keithley2450")


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


@pytest.mark.parametrize("model", ["2450", "2460", "2461", "2470"])
def test_it_is_gold_on_the_simulator(model):
    with simulated(model=model, noise=1.0) as server:
        report = check_driver("keithley_2450", server.resource)

        assert report.level == "gold", str(report)
        assert not server.instrument.output_on


# -- what the instrument changes by itself ---------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "more", "found"),
    [
        # A fixed measure range raises a limit below 0.1 % of it, on the 2470 below 10.6 %.
        ("2450", {"compliance_a": 5e-4, "sense_range_a": 1.0}, "0.001 A"),
        ("2470", {"compliance_a": 5e-3, "sense_range_a": 0.1}, "0.0106 A"),
        # A source range lowers one that would leave the operating boundaries.
        ("2450", {"compliance_a": 0.5, "source_range_v": 200}, "0.105 A"),
    ],
)
def test_a_limit_that_the_instrument_changed_is_found_before_the_output_goes_on(model, more, found):
    with simulated(model=model) as server, Keithley2450(server.resource) as smu:
        with pytest.raises(InstrumentError, match=f"compliance {found}"):
            smu.measure("iv_sweep", SWEEP | more)

        assert server.log.named("warning")
        assert not server.log.named("output_on", "error")


def test_control_a_limit_that_goes_with_its_ranges_stays_as_it_was_set():
    more = {"compliance_a": 5e-3, "sense_range_a": 0.1, "source_range_v": 20}
    with simulated() as server, Keithley2450(server.resource) as smu:
        smu.measure("iv_sweep", SWEEP | more)

        assert not server.log.named("warning")


def test_a_measure_range_left_behind_does_not_raise_the_limit():
    with simulated() as server, Keithley2450(server.resource) as smu:
        smu.write(":SENS:CURR:RANG 1")
        data = smu.measure("iv_sweep", SWEEP | {"compliance_a": 5e-4})

    assert data["in_compliance"].any()
    assert np.abs(data["current_a"]).max() == pytest.approx(5e-4, rel=1e-3)


@pytest.mark.parametrize(
    "left",
    [
        (":SENS:CURR:REL 1", ":SENS:CURR:REL:STAT ON"),
        (":SENS:CURR:UNIT OHM",),
        (":CALC:CURR:MATH:FORM REC", ":CALC:CURR:MATH:STAT ON"),
        (":SENS:CURR:AVER:COUN 5", ":SENS:CURR:AVER ON"),
        (":FORM REAL", ":FORM:BORD NORM"),
        (":SENS:COUN 7",),
        (":SOUR:FUNC CURR", ":SOUR:CURR 1e-3", ':SENS:FUNC "RES"'),
    ],
)
def test_what_somebody_left_behind_changes_no_reading(left):
    with simulated() as server, Keithley2450(server.resource) as smu:
        smu.write(*left)
        data = smu.measure("iv_sweep", SWEEP)

    assert data["current_a"] == pytest.approx(np.linspace(-1e-3, 1e-3, 21), abs=1e-8)


def test_control_an_offset_that_is_left_on_is_in_every_reading():
    with simulated() as server, Keithley2450(server.resource) as smu:
        smu.write(":SENS:CURR:REL 1", ":SENS:CURR:REL:STAT ON", ":OUTP ON")

        assert float(smu.query(":READ?")) == pytest.approx(-1.0, abs=1e-6)


def test_a_sweep_that_is_still_called_idle_is_waited_for():
    # The instrument looks at its trigger model every 100 ms.
    with simulated(late_states=3, time_scale=1.0) as server, Keithley2450(server.resource) as smu:
        data = smu.measure("iv_sweep", SWEEP | {"nplc": 0.5})

    assert len(data["voltage_v"]) == 21


def test_a_sweep_that_stops_short_is_told_and_the_output_is_off():
    # Somebody at the front panel stops it; here, a second program.
    with simulated(time_scale=1.0) as server, Keithley2450(server.resource) as smu:
        stream = smu.stream("iv_sweep", SWEEP | {"points": 2000, "nplc": 0.1})
        next(stream)
        server.instrument.receive(Nobody(), ":ABOR")
        with pytest.raises(InstrumentError, match=r"readings and is ABORTED"):
            list(stream)

        assert not server.instrument.output_on


# -- one of two instruments ------------------------------------------------------------------------


def pair(gate: str, drain: str) -> dict[str, Any]:
    """Two source-meters on one transistor."""
    return {
        "circuit": "a transistor between two source-meters",
        "instruments": {
            "gate": {"kind": gate, "serial_number": "1", "ports": {"smu": ["g", "gnd"]}},
            "drain": {"kind": drain, "serial_number": "2", "ports": {"smu": ["d", "gnd"]}},
        },
        "devices": {
            "transistor": {
                "kind": "mosfet",
                "nodes": {"drain": "d", "gate": "g", "source": "gnd"},
                "threshold_v": 1.5,
            }
        },
    }


PAIRS = [
    ("keithley2450", "keithley2400"),
    ("keithley2400", "keithley2450"),
    ("keithley2450", "keithley2450"),
]


@pytest.mark.parametrize(("gate", "drain"), PAIRS)
def test_a_2450_is_the_stepped_or_the_swept_of_two_instruments(gate, drain):
    law = Mosfet(threshold_v=1.5)
    common = {"drain_compliance_a": 0.1, "gate_compliance_a": 1e-5, "nplc": 0.01}
    parsed = parse_circuit(pair(gate, drain))
    with VirtualBench(parsed, free_ports=True, time_scale=0.0) as bench, Bay() as bay:
        where = {name: bench.resource(name) for name in ("gate", "drain")}
        transfer = bay.transfer_curve(
            **where, **common, gate_start_v=0, gate_stop_v=3, points=7, drain_v=[0.1, 2]
        )
        output = bay.output_curve(
            **where, **common, drain_start_v=0, drain_stop_v=3, points=7, gate_v=[2, 3]
        )
        off = [not server.instrument.output_on for server in bench.servers.values()]

    assert len(off) == 2
    assert all(off)
    for run in (transfer, output):
        pairs = zip(run["drain_voltage_v"], run["gate_voltage_v"], strict=True)
        wanted = [law.flow([drain_v, gate_v, 0.0])[0][0] for drain_v, gate_v in pairs]
        assert run["drain_current_a"] == pytest.approx(wanted, rel=3e-2, abs=5e-6)
        assert not run["in_compliance"].any()
