"""The B2900 drivers on the simulated B2900: sweeps, two channels, limits, programs of others."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay import (
    Bay,
    DriverCrashedError,
    InstrumentError,
    LimitError,
    ParameterError,
    PluginMetadata,
)
from drivebay._core.limits import Guard
from drivebay.driver import open_link
from drivebay.sim.b2900 import B2900
from drivebay.sim.circuitfile import parse_circuit
from drivebay.sim.devices import Device, OpenCircuit, Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.registry import KINDS, Options
from drivebay.sim.server import ScpiServer
from drivebay.sim.source import port_of
from drivebay.sim.virtualbench import VirtualBench
from drivebay.testing import check_driver

DRIVERS = Path(drivebay.__file__).parent / "drivers"
LIMITS = {"voltage_v": (-10.0, 10.0), "current_a": (-0.1, 0.1)}
QCODES = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"
SWEEP: dict[str, Any] = {
    "start_v": -1.0,
    "stop_v": 1.0,
    "points": 601,
    "compliance_a": 0.01,
    "nplc": 0.01,
}


@contextmanager
def served(model: str, device: Device, **options: Any) -> Iterator[ScpiServer]:
    """A simulated B2900 with a device on its first channel."""
    said = Options(model=model, log=EventLog(None, True), **{"time_scale": 0.0, **options})
    with ScpiServer(KINDS["b2900"].make({"ch1": port_of(None, device)}, said)) as server:
        yield server


def sent(server: ScpiServer) -> list[str]:
    return [event["text"] for event in server.log.named("message")]


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


@pytest.mark.parametrize(
    ("model", "plugin"),
    [("B2901A", "keysight_b2901"), ("B2911B", "keysight_b2901"), ("B2902B", "keysight_b2902")],
)
def test_the_driver_is_gold_on_the_simulator(model: str, plugin: str) -> None:
    with served(model, Resistor(1e3)) as server:
        report = check_driver(plugin, server.resource)

        assert report.level == "gold", str(report)
        assert not server.instrument.output_on  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "plugin"), [("B2911A", "keysight_b2901"), ("B2912A", "keysight_b2902")]
)
def test_the_model_finds_its_driver(bay: Bay, model: str, plugin: str) -> None:
    with served(model, Resistor(1e3)) as server:
        instrument = bay.open(server.resource)

        assert instrument.code["name"] == plugin
        assert instrument.identity["model"] == model


def test_a_sweep_runs_in_segments_and_is_ohms_law(bay: Bay) -> None:
    with served("B2901A", Resistor(1e3)) as server:
        run = bay.open(server.resource).iv_sweep(**SWEEP)

        assert len(run) == 601
        assert np.allclose(run["current_a"], run["voltage_v"] / 1e3, atol=2e-6)
        assert np.allclose(run["voltage_v"], np.linspace(-1, 1, 601), atol=3e-4)
        begun = [event["points"] for event in server.log.named("sweep_begin")]
        assert sum(begun) == 601
        assert len(begun) >= 3
        # One output_on: it stays on from the first segment to the last.
        assert len(server.log.named("output_on")) == 1


def test_readings_come_in_binary_of_double_precision(bay: Bay) -> None:
    with served("B2901A", Resistor(1e3)) as server:
        bay.open(server.resource).iv_sweep(**SWEEP)

        assert ":FORM REAL,64" in sent(server)


def test_the_limit_clamps_and_the_points_say_so(bay: Bay) -> None:
    with served("B2901A", Resistor(100.0)) as server:
        run = bay.open(server.resource).iv_sweep(start_v=0, stop_v=2, points=21, compliance_a=0.01)

    assert list(run["in_compliance"]) == [level > 1.0 + 1e-9 for level in np.linspace(0, 2, 21)]
    assert run["current_a"].max() == pytest.approx(0.01, rel=1e-3)


def test_the_source_holds_its_last_level_between_segments(bay: Bay) -> None:
    with served("B2901A", Resistor(1e3)) as server:
        bay.open(server.resource).iv_sweep(**{**SWEEP, "start_v": 1.0, "stop_v": 2.0})

        assert len(server.log.named("sweep_end")) >= 3
        # Its fixed level is 0; a jump to it would be in the log.
        assert server.log.named("level") == []


def test_a_range_below_the_current_gives_no_number(bay: Bay) -> None:
    with served("B2901A", Resistor(1e3)) as server:
        run = bay.open(server.resource).iv_sweep(
            start_v=0, stop_v=1, points=11, compliance_a=0.01, sense_range_a=1e-4
        )

    assert np.isfinite(run["current_a"][0])
    assert np.isnan(run["current_a"][-1])


def test_open_leads_have_no_resistance(bay: Bay) -> None:
    with served("B2901A", OpenCircuit()) as server:
        run = bay.open(server.resource).measure("resistance")

    assert list(run["overload"]) == [True]
    assert np.isinf(run["resistance_ohm"][0])


@pytest.mark.parametrize("ohm", [10.0, 1e3, 1e6])
def test_a_resistance_is_found(bay: Bay, ohm: float) -> None:
    with served("B2911A", Resistor(ohm)) as server:
        run = bay.open(server.resource).measure("resistance", readings=5, offset_compensation=True)

    assert run["resistance_ohm"] == pytest.approx([ohm] * 5, rel=2e-3)


def test_an_open_interlock_keeps_a_high_voltage_off(bay: Bay) -> None:
    with served("B2901A", Resistor(1e6), interlock_closed=False) as server:
        instrument = bay.open(server.resource)

        with pytest.raises(drivebay.DrivebayError):
            instrument.spot(level_v=100.0, compliance_a=1e-3)

        assert not server.instrument.output_on  # type: ignore[attr-defined]
        assert len(instrument.spot(level_v=40.0, compliance_a=1e-3)) == 1


# -- two channels ----------------------------------------------------------------------------------

TRANSISTOR = {
    "circuit": "a transistor between two channels",
    "instruments": {
        "smu": {
            "kind": "b2900",
            "model": "B2902A",
            "ports": {"ch1": ["g", "gnd"], "ch2": ["d", "gnd"]},
        }
    },
    "devices": {
        "transistor": {
            "kind": "mosfet",
            "nodes": {"drain": "d", "gate": "g", "source": "gnd"},
            "threshold_v": 1.5,
            "gain_a_per_v2": 2.0e-3,
        }
    },
}
CURVE: dict[str, Any] = {
    "gate_start_v": 0.0,
    "gate_stop_v": 4.0,
    "points": 41,
    "drain_v": [0.1, 1.0],
    "drain_compliance_a": 0.05,
    "gate_compliance_a": 1e-3,
}


@pytest.fixture
def transistor() -> Iterator[ScpiServer]:
    said = parse_circuit(TRANSISTOR)
    with VirtualBench(said, free_ports=True, time_scale=0.0, log_traffic=True) as bench:
        yield bench.servers["smu"]


def test_a_transfer_curve_of_one_instrument_is_that_of_the_transistor(
    bay: Bay, transistor: ScpiServer
) -> None:
    run = bay.open(transistor.resource).transfer_curve(**CURVE)

    drain_a = run["drain_current_a"].reshape(2, 41)
    assert np.allclose(run["gate_voltage_v"].reshape(2, 41)[0], np.linspace(0, 4, 41), atol=1e-3)
    assert np.allclose(run["drain_voltage_v"].reshape(2, 41)[1], 1.0, atol=1e-3)
    assert np.abs(drain_a[:, 0]).max() < 1e-6
    assert drain_a[1, -1] > 5 * drain_a[0, -1] > 1e-4
    assert np.all(np.diff(run["time_s"]) > 0)


def test_an_output_curve_saturates(bay: Bay, transistor: ScpiServer) -> None:
    run = bay.open(transistor.resource).output_curve(
        drain_start_v=0,
        drain_stop_v=4,
        points=21,
        gate_v=[1.0, 2.5],
        drain_compliance_a=0.05,
        gate_compliance_a=1e-3,
    )

    drain_a = run["drain_current_a"].reshape(2, 21)
    assert np.abs(drain_a[0]).max() < 1e-4
    assert drain_a[1, -1] / drain_a[1, 10] < 1.3


@pytest.mark.parametrize(
    ("drain_v", "drain_a", "gate_a", "fits"),
    [(6.0, 3.0, 1.0, True), (6.0, 3.0, 1.1, False), (7.0, 1.5, 1.6, True), (7.0, 1.5, 1.7, False)],
)
def test_curves_beyond_what_both_channels_give_together_are_refused(
    bay: Bay, transistor: ScpiServer, drain_v: float, drain_a: float, gate_a: float, fits: bool
) -> None:
    instrument = bay.open(transistor.resource)
    params = {"drain_v": drain_v, "drain_compliance_a": drain_a, "gate_compliance_a": gate_a}

    if fits:
        assert instrument.transfer_curve(**CURVE | params | {"points": 2}).state == "done"
    else:
        with pytest.raises(ParameterError, match="both channels give together"):
            instrument.transfer_curve(**CURVE | params)
        assert not transistor.log.named("output_on")


def test_the_gate_is_on_before_the_drain_and_off_after_it(bay: Bay, transistor: ScpiServer) -> None:
    bay.open(transistor.resource).transfer_curve(**CURVE)

    events = transistor.log.named("output_on", "output_off")
    assert [(event["event"], event["channel"]) for event in events] == [
        ("output_on", "ch1"),
        ("output_on", "ch2"),
        ("output_off", "ch2"),
        ("output_off", "ch1"),
    ]


def test_the_channel_is_the_one_of_the_config(bay: Bay, transistor: ScpiServer) -> None:
    bay.open(transistor.resource, config={"channel": 2}).spot(level_v=0.5, compliance_a=0.01)

    assert {event["channel"] for event in transistor.log.named("output_on")} == {"ch2"}


def test_the_safe_state_is_of_both_channels(bay: Bay, transistor: ScpiServer) -> None:
    instrument = bay.open(transistor.resource)
    for c in (1, 2):
        instrument.write(f":OUTP{c} ON")
    assert instrument.query(":OUTP1?;:OUTP2?") == "1;1"

    report = instrument.make_safe()

    assert report.verified is True
    assert not transistor.instrument.output_on  # type: ignore[attr-defined]


def test_a_killed_driver_leaves_both_channels_off(bay: Bay) -> None:
    with VirtualBench(parse_circuit(TRANSISTOR), free_ports=True) as bench:
        server = bench.servers["smu"]
        instrument = bay.open(server.resource)
        chunks = iter(instrument.stream("transfer_curve", **{**CURVE, "points": 2000}))
        first = next(chunks)
        assert instrument.host_pid is not None

        os.kill(instrument.host_pid, signal.SIGKILL)
        with pytest.raises(DriverCrashedError):
            for _ in chunks:
                pass

        assert len(first["time_s"]) > 0
        assert not server.instrument.output_on  # type: ignore[attr-defined]
        off = {event["channel"] for event in server.log.named("output_off")}
        assert off == {"ch1", "ch2"}


@pytest.mark.parametrize(("nplc", "asked"), [(0.01, False), (1.0, True)])
def test_the_end_of_a_run_is_found_by_status_unless_it_is_quick(
    bay: Bay, nplc: float, asked: bool
) -> None:
    with served("B2901A", Resistor(1e3)) as server:
        bay.open(server.resource).spot(level_v=1.0, compliance_a=0.01, nplc=nplc)

        assert (":STAT:OPER:COND?" in sent(server)) is asked


# -- limits ----------------------------------------------------------------------------------------


def guard() -> Guard:
    manifest = PluginMetadata.from_yaml(DRIVERS / "keysight_b2902" / "plugin.yaml")
    return Guard(manifest.dialect, LIMITS, strict=True, subject="smu1", source="bench.yaml")


@pytest.mark.parametrize(
    "command",
    [
        ":SOUR1:VOLT 11",
        ":SOURCE2:VOLTAGE:LEVEL:IMMEDIATE:AMPLITUDE 0.011kV",
        ":VOLT 11",
        "VOLT2 11",
        ":SOUR2:VOLT:TRIG 11",
        ":LIST:VOLT 1,2,11",
        ":SOUR2:LIST:VOLT:APP 11",
        ":SOUR:VOLT:STAR -11",
        ":CURR 0.2",
        ":SENS2:CURR:PROT 0.2",
        ":SENS:CURR:DC:PROT:LEV:BOTH 200MA",
        ":SENS1:CURR:PROT:POS 0.2",
        ":SENS2:VOLT:PROT 50",
        ":SOUR1:VOLT:SPAN 5",
        ":OUTP2 ON",
        ":OUTP2:ON:AUTO ON",
        ":INIT (@2)",
        ":READ? (@1,2)",
        ":MEAS:CURR? (@1)",
        ":PROG:RUN",
    ],
)
def test_what_leads_beyond_the_limits_is_refused_in_every_spelling(command: str) -> None:
    with pytest.raises(LimitError):
        guard().check(command.encode())


def test_an_output_goes_on_after_the_protection_of_its_own_channel_only() -> None:
    judge = guard()
    setup = (":SOUR1:FUNC:MODE VOLT", ":SOUR1:VOLT 1", ":SENS1:CURR:PROT 0.01")
    for command in setup:
        judge.committed(judge.check(command.encode()))

    judge.check(b":OUTP1 ON")
    with pytest.raises(LimitError):
        judge.check(b":OUTP2 ON")


# -- programs that others wrote --------------------------------------------------------------------

_B2962A = """
import sys
from qcodes.instrument_drivers.Keysight import KeysightB2962A
smu = KeysightB2962A("smu", sys.argv[1], visalib="@py")
ch = smu.ch1
ch.source_mode("voltage"); ch.current_limit(0.01); ch.source_voltage(0.5); ch.enable(True)
print(ch.voltage(), ch.current(), ch.enable(), ch.current_limit(), ch.source_mode())
ch.enable(False); smu.ch2.enable(False)
print(smu.ask(":SYST:ERR?"))
smu.close()
"""


def test_the_driver_of_qcodes_for_the_b2962a_is_obeyed() -> None:
    """QCoDeS has none for a B2900; the B2962A speaks the same commands."""
    if not QCODES.exists():
        pytest.skip("QCoDeS is installed only for the benchmarks")
    with served("B2902A", Resistor(1e3)) as server:
        done = subprocess.run(
            [str(QCODES), "-c", _B2962A, server.resource],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        *_, values, errors = done.stdout.strip().splitlines()
        assert [float(each) for each in values.split()[:2]] == pytest.approx([0.5, 5e-4], rel=1e-3)
        assert values.split()[2:] == ["True", "0.01", "voltage"]
        assert errors == '+0,"No error"'
        assert not server.instrument.output_on  # type: ignore[attr-defined]


def test_the_error_queue_speaks_as_the_manual_says() -> None:
    with served("B2901A", Resistor(1e3)) as server, open_link(server.resource) as link:
        link.write(":OUTP2 ON")
        link.write(":SOUR:VOLT 500")

        entries = [link.query(":SYST:ERR?") for _ in range(3)]

    assert entries == ['-113,"Undefined header"', '-222,"Data out of range"', '+0,"No error"']


def test_a_refused_setup_never_switches_on(bay: Bay) -> None:
    with served("B2901A", Resistor(1e3)) as server:
        instrument = bay.open(server.resource)
        unit = server.instrument
        assert isinstance(unit, B2900)

        # 105 mA is all there is beyond 21 V: the parameters are refused before anything is sent.
        with pytest.raises((InstrumentError, drivebay.ParameterError)):
            instrument.spot(level_v=100.0, compliance_a=0.5)

        assert server.log.named("output_on") == []
