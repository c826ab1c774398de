"""The drivers of PyMeasure and QCoDeS as clients of the simulated meters: what others believe.

A command that their drivers send and ours do not is one more that the simulators must know. QCoDeS
is not among this project's tools: it is used from ``.venv-bench``, where the benchmarks have it, or
from the Python that ``DRIVEBAY_PEERS_PYTHON`` names, and left out where there is none.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivebay.sim import EventLog, Resistor, ScpiServer
from drivebay.sim.circuit import Circuit
from drivebay.sim.circuit.component import Capacitor
from drivebay.sim.e4980a import E4980a
from drivebay.sim.registry import Options
from drivebay.sim.truevolt import Truevolt

pytestmark = pytest.mark.slow

PEERS_PYTHON = Path(
    os.environ.get("DRIVEBAY_PEERS_PYTHON")
    or Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"
)
QCODES_MULTIMETER = """
import json, sys
from qcodes.instrument_drivers.Keysight import Keysight34465A
meter = Keysight34465A("meter", sys.argv[1], visalib="@py", silent=True)
meter.sense_function("DC Voltage")
meter.range(10.0)
meter.NPLC(1)
meter.sample.count(5)
values = [float(value) for value in meter.read()]
meter.display.text("hello")
meter.display.clear()
meter.timetrace_npts(4)
meter.timetrace_dt(0.1)
print(json.dumps({
    "values": values, "nplc": meter.NPLC(), "range": meter.range(), "autozero": meter.autozero(),
    "timetrace": len(meter.timetrace()), "error": meter.error()[0],
}))
"""
QCODES_LCR = """
import json, sys
from qcodes.instrument_drivers.Keysight import KeysightE4980A, KeysightE4980AMeasurements
meter = KeysightE4980A("meter", sys.argv[1], visalib="@py")
meter.frequency(1e5)
meter.voltage_level(0.1)
meter.measurement_function(KeysightE4980AMeasurements.CPG)
farad, siemens = meter.measurement.get()
ohm, reactance = meter.measure_impedance.get()
meter.dc_bias_voltage_level(1.0)
meter.dc_bias_enabled(True)
biased = meter.dc_bias_enabled()
meter.dc_bias_enabled(False)
print("\\n" + json.dumps({
    "farad": farad, "reactance": reactance, "biased": biased, "range": float(meter.range()),
    "open": meter.correction.open_state(), "error": meter.system_errors(),
}))
"""


@contextmanager
def serving(made: Any) -> Iterator[str]:
    with ScpiServer(made) as server:
        yield server.resource
    assert not made.log.named("error", "internal_error")


def lcr() -> E4980a:
    options = Options(log=EventLog(traffic=True), noise=0.0)
    return E4980a("E4980A", Circuit.around(Capacitor(1e-9)), options=options)


def by_qcodes(program: str, resource: str, home: Path) -> dict[str, Any]:
    """What a program says, run by the Python that has QCoDeS."""
    if not PEERS_PYTHON.exists():
        pytest.skip(f"QCoDeS is used from {PEERS_PYTHON.parent.parent.name}, which is not there")
    done = subprocess.run(
        [PEERS_PYTHON, "-c", program, resource],
        capture_output=True,
        text=True,
        timeout=120,
        env={"HOME": str(home), "PATH": os.environ.get("PATH", "")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def test_the_lcr_meter_serves_the_driver_of_pymeasure():
    agilent = pytest.importorskip("pymeasure.instruments.agilent")
    adapters = pytest.importorskip("pymeasure.adapters")
    with serving(lcr()) as resource:
        ends = {"read_termination": "\n", "write_termination": "\n"}
        with pytest.warns(FutureWarning, match="SCPI"):
            meter = agilent.AgilentE4980(adapters.VISAAdapter(resource, visa_library="@py", **ends))
        meter.mode = "CPG"
        meter.frequency = 1e5
        meter.ac_voltage = 0.1
        meter.aperture("SHORT", 2)
        farad, _ = meter.impedance
        farads, _, hertz = meter.freq_sweep([1e3, 1e4, 1e5], return_freq=True)
        told = meter.mode, meter.frequency, meter.ac_voltage, meter.aperture()
        meter.adapter.close()

    assert told == ("CPG", 1e5, 0.1, ("SHOR", 2))
    assert farad == pytest.approx(1e-9, rel=1e-4)
    assert farads == pytest.approx([1e-9] * 3, rel=1e-4)
    assert hertz == [1e3, 1e4, 1e5]


def test_the_lcr_meter_serves_the_driver_of_qcodes(tmp_path):
    with serving(lcr()) as resource:
        said = by_qcodes(QCODES_LCR, resource, tmp_path)

    assert said["farad"] == pytest.approx(1e-9, rel=1e-4)
    assert said["reactance"] == pytest.approx(-1591.5, rel=1e-3)
    assert said["biased"] is True
    assert said["open"] is False
    assert said["error"].lstrip("+").startswith("0,")


def test_the_multimeter_serves_the_driver_of_qcodes(tmp_path):
    options = Options(log=EventLog(traffic=True), noise=0.0)
    with serving(Truevolt("34465A", Resistor(1000.0), options=options)) as resource:
        said = by_qcodes(QCODES_MULTIMETER, resource, tmp_path)

    assert said["values"] == [0.0] * 5
    assert (said["nplc"], said["range"], said["autozero"]) == (1.0, 10.0, "ON")
    assert said["timetrace"] == 4
    assert said["error"] == 0
