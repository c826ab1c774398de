"""Two source-meters on one simulated MOSFET, and source-meters as meters on what is alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay import Bay
from drivebay.sim.circuit import Mosfet
from drivebay.sim.circuitfile import parse_circuit
from drivebay.sim.virtualbench import VirtualBench

CIRCUIT: dict[str, Any] = {
    "circuit": "a transistor, a solar cell and a resistor on leads",
    "instruments": {
        "gate": {"kind": "keithley2400", "serial_number": "1", "ports": {"smu": ["g", "gnd"]}},
        "drain": {"kind": "keithley2400", "serial_number": "2", "ports": {"smu": ["d", "gnd"]}},
        "cell": {"kind": "keithley2400", "serial_number": "3", "ports": {"smu": ["pv", "gnd"]}},
        "ohms": {
            "kind": "keithley2400",
            "serial_number": "4",
            "ports": {"smu": ["force", "gnd", "sense", "gnd"]},
        },
    },
    "devices": {
        "transistor": {
            "kind": "mosfet",
            "nodes": {"drain": "d", "gate": "g", "source": "gnd"},
            "threshold_v": 1.5,
        },
        "solar_cell": {"kind": "solar_cell", "nodes": ["pv", "gnd"], "photo_a": 0.035},
        "lead": {"kind": "resistor", "nodes": ["force", "sense"], "ohm": 0.5},
        "resistor": {"kind": "resistor", "nodes": ["sense", "gnd"], "ohm": 10.0},
    },
}
CURVE: dict[str, Any] = {
    "gate_start_v": 0,
    "gate_stop_v": 3,
    "points": 31,
    "drain_v": [0.1, 2],
    "drain_compliance_a": 0.1,
    "gate_compliance_a": 1e-5,
    "nplc": 1,
}


@pytest.fixture(scope="module")
def bench() -> Iterator[VirtualBench]:
    with VirtualBench(parse_circuit(CIRCUIT), free_ports=True, time_scale=0.0) as bench:
        yield bench


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def drain_currents(gate_v: Any, drain_v: Any) -> Any:
    """What the law of the transistor says."""
    law = Mosfet(threshold_v=1.5)
    pairs = zip(drain_v, gate_v, strict=True)
    return np.array([law.flow([drain, gate, 0.0])[0][0] for drain, gate in pairs])


def test_a_transfer_curve_is_that_of_the_transistor_from_leakage_to_saturation(bay, bench):
    run = bay.transfer_curve(gate=bench.resource("gate"), drain=bench.resource("drain"), **CURVE)

    gate_v, drain_a = run["gate_voltage_v"], run["drain_current_a"]
    wanted = drain_currents(gate_v, run["drain_voltage_v"])
    assert drain_a == pytest.approx(wanted, rel=2e-2, abs=1e-10)
    assert run["gate_current_a"] == pytest.approx(0, abs=1e-9)
    low = drain_a[:31]
    assert low.max() > 1e6 * np.abs(low[:5]).max()
    # Below threshold a decade takes n Vt ln 10, about 77 mV at 300 K.
    here = (low > 1e-9) & (low < 2e-7)
    decade_v = 1 / np.polyfit(gate_v[:31][here], np.log10(low[here]), 1)[0]
    assert decade_v == pytest.approx(0.077, rel=0.1)


def test_an_output_curve_saturates(bay, bench):
    run = bay.output_curve(
        gate=bench.resource("gate"),
        drain=bench.resource("drain"),
        drain_start_v=0,
        drain_stop_v=3,
        points=16,
        gate_v=[1, 2, 3],
        drain_compliance_a=0.1,
        gate_compliance_a=1e-5,
    )

    drain_a = run["drain_current_a"]
    wanted = drain_currents(run["gate_voltage_v"], run["drain_voltage_v"])
    assert drain_a == pytest.approx(wanted, rel=1e-2, abs=1e-9)
    ends = drain_a[15::16]
    assert np.all(np.diff(ends) > 0)
    assert drain_a[-1] / drain_a[-8] < 1.05


def test_the_drain_limit_holds_while_the_gate_opens_further(bay, bench):
    run = bay.transfer_curve(
        gate=bench.resource("gate"),
        drain=bench.resource("drain"),
        **CURVE | {"drain_v": 2, "drain_compliance_a": 1e-4},
    )

    assert run["drain_current_a"].max() == pytest.approx(1e-4, rel=1e-2)
    assert run["in_compliance"][-1]
    assert not run["in_compliance"][0]
    assert run["drain_voltage_v"][-1] < 0.5


def test_it_is_measured_from_the_command_line_by_the_names_of_the_bench(bench, tmp_path):
    entries = "".join(
        f"  {name}: {{resource: '{bench.resource(name)}'}}\n" for name in ("gate", "drain")
    )
    (tmp_path / "bench.yaml").write_text(f"instruments:\n{entries}")
    words = "--gate gate --drain drain --gate-start-v 0 --gate-stop-v 3 --points 7 --drain-v 100mV"
    limits = "--drain-compliance-a 10mA --gate-compliance-a 1uA --json --bench bench.yaml"

    done = subprocess.run(
        [sys.executable, "-m", "drivebay", *f"measure transfer_curve {words} {limits}".split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["state"] == "done"
    assert run["columns"]["drain_current_a"][-1] == pytest.approx(2.9e-4, rel=0.1)


def test_a_solar_cell_shows_its_voltage_and_its_current_to_a_source_that_is_a_meter(bay, bench):
    with bay.open(bench.resource("cell")) as meter:
        open_v = meter.dc_voltage()["voltage_v"][0]
        short_a = meter.dc_current()["current_a"][0]
        curve = meter.iv_sweep(start_v=0, stop_v=open_v, points=3, compliance_a=0.1)

    assert 0.3 < open_v < 1.0
    # Positive into the meter, as a multimeter shows it; a source counts what flows out of it.
    assert short_a == pytest.approx(0.035, rel=2e-2)
    assert curve["current_a"][0] == pytest.approx(-short_a, rel=1e-3)
    assert curve["current_a"][-1] == pytest.approx(0, abs=1e-4)


def test_four_wires_measure_the_resistor_and_two_its_lead_as_well(bay, bench):
    with bay.open(bench.resource("ohms")) as meter:
        two = meter.resistance(nplc=1)["resistance_ohm"][0]
        four = meter.resistance(nplc=1, four_wire=True)["resistance_ohm"][0]

    assert four == pytest.approx(10.0, rel=2e-3)
    assert two == pytest.approx(10.5, rel=2e-3)
