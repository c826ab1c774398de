"""The 2600B driver: what it measures, what it refuses, and that limits cannot be passed in TSP."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay import (
    AbortedError,
    Bay,
    Instrument,
    InstrumentError,
    LimitError,
    MethodError,
    PluginMetadata,
)
from drivebay._core.limits import Guard
from drivebay.sim import Resistor
from drivebay.sim.circuitfile import read_circuit
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2600 import Keithley2600
from drivebay.sim.server import ScpiServer
from drivebay.sim.virtualbench import VirtualBench
from drivebay.testing import check_driver

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2600"
MANIFEST = PluginMetadata.from_yaml(FOLDER / "plugin.yaml")
SWEEP = {"start_v": -1.0, "stop_v": 1.0, "points": 251, "compliance_a": 0.01, "nplc": 0.01}
QCODES = Path(sys.prefix).parent / ".venv-bench" / "bin" / "python"
TRANSISTOR = """
circuit: transistor
instruments:
  smu:
    kind: keithley2600
    model: "2636B"
    tcp_port: 20001
    ports: {smua: [drain, gnd], smub: [gate, gnd]}
devices:
  transistor:
    kind: mosfet
    nodes: {drain: drain, gate: gate, source: gnd}
    threshold_v: 1.5
    gain_a_per_v2: 2.0e-3
"""


@pytest.fixture
def instrument() -> Keithley2600:
    devices = {"a": Resistor(1000.0), "b": Resistor(1e5)}
    return Keithley2600("2602B", devices, time_scale=0.0, noise=0.0, log=EventLog(traffic=True))


@pytest.fixture
def resource(instrument: Keithley2600) -> Iterator[str]:
    with ScpiServer(instrument) as server:
        yield server.resource


@pytest.fixture
def bay(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bay]:
    monkeypatch.setenv("DRIVEBAY_HOME", str(tmp_path))
    monkeypatch.setenv("DRIVEBAY_LEASES", str(tmp_path_factory.mktemp("leases")))
    with Bay(home=tmp_path) as found:
        yield found


def test_a_sweep_of_several_segments_is_ohms_law_in_order(resource, bay, instrument):
    smu = bay.open(resource, isolation="inline")

    run = smu.measure("iv_sweep", **SWEEP)

    assert smu.plugin.metadata.name == "keithley_2600"
    np.testing.assert_allclose(run["voltage_v"], np.linspace(-1, 1, 251), atol=1e-5)
    np.testing.assert_allclose(run["current_a"], run["voltage_v"] / 1000, atol=1e-7)
    assert np.all(np.diff(run["time_s"]) > 0)
    assert len(instrument.log.named("output_on")) == 1


def test_the_level_is_held_from_segment_to_segment(resource, bay, instrument):
    bay.open(resource, isolation="inline").measure("iv_sweep", **SWEEP | {"start_v": 0.5})

    between = instrument.log.named("level")
    assert all(event["level"] >= 0.5 for event in between[:-1])


def test_compliance_is_told_with_each_point(resource, bay):
    smu = bay.open(resource, isolation="inline")

    run = smu.measure("iv_sweep", **SWEEP | {"compliance_a": 5e-4})

    assert run["in_compliance"].tolist() == (np.abs(np.linspace(-1, 1, 251)) > 0.5).tolist()


def test_channel_b_is_measured_if_the_options_say_so(resource, bay):
    smu = bay.open(resource, isolation="inline", config={"channel": "b"})

    run = smu.measure("spot", level_v=1.0, compliance_a=1e-3)

    assert run["current_a"][0] == pytest.approx(1e-5, rel=1e-3)


def test_a_model_with_one_channel_has_no_curves_and_never_switches_on(bay):
    single = Keithley2600("2601B", time_scale=0.0)
    with ScpiServer(single) as server:
        with (
            bay.open(server.resource, isolation="inline") as smu,
            pytest.raises(MethodError, match="output_curve"),
        ):
            smu.measure(
                "output_curve", drain_start_v=0, drain_stop_v=1, points=3, gate_v=[1],
                drain_compliance_a=0.1, gate_compliance_a=0.1,
            )  # fmt: skip
        assert single.log.named("output_on") == []


def test_two_models_with_one_channel_measure_a_curve_together(bay):
    at_gate = Keithley2600("2601B", {"a": Resistor(1e6)}, time_scale=0.0, serial_number="1")
    at_drain = Keithley2600("2611B", {"a": Resistor(1e3)}, time_scale=0.0, serial_number="2")
    with ScpiServer(at_gate) as gate, ScpiServer(at_drain) as drain:
        run = bay.transfer_curve(
            gate=gate.resource, drain=drain.resource, gate_start_v=0, gate_stop_v=1, points=3,
            drain_v=2.0, drain_compliance_a=0.1, gate_compliance_a=1e-3,
        )  # fmt: skip

        assert run["drain_current_a"] == pytest.approx([2e-3] * 3, rel=1e-3)
        assert not at_gate.output_on
        assert not at_drain.output_on


def test_a_transfer_curve_of_a_simulated_mosfet_has_its_threshold(bay, tmp_path):
    path = tmp_path / "circuit.yaml"
    path.write_text(TRANSISTOR)
    with (
        VirtualBench(read_circuit(path), free_ports=True, time_scale=0.0) as bench,
        bay.open(bench.resource("smu"), isolation="inline") as smu,
    ):
        run = smu.measure(
            "transfer_curve", gate_start_v=0, gate_stop_v=4, points=81, drain_v=[5.0],
            drain_compliance_a=0.05, gate_compliance_a=1e-3,
        )  # fmt: skip

    gate, drain = run["gate_voltage_v"], run["drain_current_a"]
    assert np.all(np.abs(drain[gate < 1.0]) < 1e-4)
    slope = np.polyfit(gate[gate > 2.5], np.sqrt(drain[gate > 2.5]), 1)
    assert -slope[1] / slope[0] == pytest.approx(1.5, abs=0.1)


CURVES = {
    "gate_start_v": 0, "gate_stop_v": 4, "points": 101, "drain_v": [1.0, 2.0, 5.0], "nplc": 0.01,
    "drain_compliance_a": 0.01, "gate_compliance_a": 1e-3,
}  # fmt: skip


def readouts(instrument: Keithley2600) -> list[str]:
    messages = [event["text"] for event in instrument.log.named("message")]
    return [text for text in messages if text.startswith("printbuffer")]


def test_a_curve_takes_one_round_trip_a_piece_and_each_level_once(resource, bay, instrument):
    run = bay.open(resource, isolation="inline").measure("transfer_curve", **CURVES)

    pieces = readouts(instrument)
    # Pieces of 100 levels, at most: two for each of three curves.
    assert len(pieces) == 6
    assert pieces[0].startswith("printbuffer(1, 100,")
    gate = np.tile(np.linspace(0, 4, 101), 3)
    np.testing.assert_allclose(run["gate_voltage_v"], gate, atol=1e-5)
    np.testing.assert_allclose(run["drain_voltage_v"], np.repeat([1, 2, 5], 101), atol=1e-5)
    np.testing.assert_allclose(run["drain_current_a"], run["drain_voltage_v"] / 1e3, atol=1e-7)
    assert np.all(np.diff(run["time_s"]) > 0)
    levels = [e["level"] for e in instrument.log.named("level") if e["channel"] == "a"]
    assert levels == [1.0, 2.0, 5.0]
    sweeps = [(e["channel"], e["points"]) for e in instrument.log.named("sweep_begin")]
    assert sweeps == [("a", 100), ("b", 100), ("a", 1), ("b", 1)] * 3
    assert not any(event["aborted"] for event in instrument.log.named("sweep_end"))


def test_the_next_piece_of_a_curve_runs_while_the_one_before_is_handed_out(
    resource, bay, instrument
):
    smu = bay.open(resource, isolation="inline")
    stream = smu.stream("transfer_curve", **CURVES)

    asked = [len(readouts(instrument)) for _ in stream]

    assert len(asked) == 6
    assert all(sent >= min(handed_out + 2, 6) for handed_out, sent in enumerate(asked))


def test_a_curve_is_held_at_its_start_before_it_is_read(resource, bay, instrument):
    bay.open(resource, isolation="inline").measure("transfer_curve", **CURVES | {"hold_s": 0.1})

    messages = [event["text"] for event in instrument.log.named("message")]
    assert messages.count("delay(0.1)") == 3
    begins = messages.index("delay(0.1)")
    assert messages[begins - 2 : begins] == ["smua.source.levelv = 1.0", "smub.source.levelv = 0.0"]


def test_a_long_hold_is_the_programs_own_and_ends_with_an_abort(resource, bay, instrument):
    smu = bay.open(resource, isolation="inline")
    stream = smu.stream("transfer_curve", **CURVES | {"hold_s": 600.0})

    def stop() -> None:
        instrument.log.wait_for("level")
        stream.abort("a test")

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(AbortedError):
        list(stream)
    thread.join()

    assert readouts(instrument) == []
    assert not instrument.output_on


def test_an_abort_ends_a_curve_within_its_piece(bay):
    devices = {"a": Resistor(1000.0), "b": Resistor(1e5)}
    real = Keithley2600("2602B", devices, log=EventLog(traffic=True))
    with ScpiServer(real) as server, bay.open(server.resource, isolation="inline") as smu:
        stream = smu.stream(
            "output_curve", drain_start_v=0, drain_stop_v=1, points=20_000, gate_v=[1.0],
            drain_compliance_a=0.1, gate_compliance_a=0.1,
        )  # fmt: skip
        sent: list[int] = []

        def stopped_at_once() -> None:
            for _ in stream:
                sent.append(len(readouts(real)))
                stream.abort("a test")

        with pytest.raises(AbortedError):
            stopped_at_once()

        assert not real.output_on
        assert len(readouts(real)) <= sent[0] + 1


@pytest.mark.parametrize("closed", [False, True])
def test_an_open_interlock_ends_a_measurement_before_it_begins(bay, closed):
    high = Keithley2600(
        "2612B", {"a": Resistor(1e6)}, time_scale=0.0, noise=0.0, interlock_closed=closed
    )
    sweep = SWEEP | {"stop_v": 100.0, "compliance_a": 1e-3}
    with ScpiServer(high) as server, bay.open(server.resource, isolation="inline") as smu:
        if closed:
            assert smu.measure("iv_sweep", **sweep)["voltage_v"][-1] == pytest.approx(100.0)
        else:
            with pytest.raises(InstrumentError, match="Interlock"):
                smu.measure("iv_sweep", **sweep)
            assert high.log.named("sweep_begin") == []
            assert high.log.named("output_on") == []


def test_a_meter_on_the_highest_range_has_a_limit_that_the_instrument_takes(resource, bay):
    run = bay.open(resource, isolation="inline").measure("dc_voltage", range_v=40, readings=1)

    assert abs(run["voltage_v"][0]) < 1.0


def test_it_is_gold_on_the_simulator(resource):
    report = check_driver("keithley_2600", resource)

    assert report.level == "gold", str(report)


@pytest.mark.parametrize("model", ["2601B", "2636B"])
def test_other_members_of_the_family_are_gold_too(model):
    devices = {"a": Resistor(1000.0), "b": Resistor(1e5)}
    with ScpiServer(Keithley2600(model, devices, time_scale=0.0)) as server:
        report = check_driver("keithley_2600", server.resource)

    assert report.level == "gold", str(report)


# -- limits ----------------------------------------------------------------------------------------


def guard(**limits: tuple[float, float]) -> Guard:
    allowed = limits or {"voltage_v": (-5.0, 5.0), "current_a": (-0.1, 0.1)}
    dialect = MANIFEST.dialect
    return Guard(dialect, allowed, strict=True, subject="smu", source="bench.yaml")


def verdict(judge: Guard, statement: str) -> str:
    try:
        judge.committed(judge.check(statement.encode()))
    except LimitError as refused:
        return refused.code
    return ""


@pytest.mark.parametrize(
    "statement",
    [
        "smua.source.levelv = 2e2",
        "smua.source.levelv=200",
        "  smua . source . levelv   =   2E+2 ",
        "smub.source.levelv = -6",
        "smua.source.limiti = 0.2",
        "smub.source.limitv = 20",
        "smua.trigger.source.listv({0, 1, 200})",
        "smua.trigger.source.listv({ -6 , 1 })",
        "smua.source.leveli = 1",
    ],
)
def test_a_value_beyond_its_limit_is_refused_in_every_spelling(statement):
    assert verdict(guard(), statement) == "L001"


@pytest.mark.parametrize(
    "statement",
    [
        'smua["source"]["levelv"] = 1',
        "smua['source'].levelv = 1",
        "local s = smua.source",
        "s = smua.source",
        "s.levelv = 200",
        "smua.source.levelv = 1 smua.source.levelv = 200",
        "smua.source.levelv = 1; smua.source.levelv = 200",
        "smua.source.levelv = 0x10",
        "smua.source.levelv = +1",
        "smua.source.levelv = 1 .5",
        "smua.source.levelv = 1e2e2",
        "smua.source.levelv = 2 * 100",
        "smua.source.levelv = -- 1",
        "smua.source.output = 0\nsmua.source.levelv = 200",
        "smua.source.levelv, smua.source.leveli = 1, 1",
        "for v = 0, 200 do smua.source.levelv = v end",
        "smua.trigger.source.linearv(0, 200, 11)",
        "smua.trigger.source.listv(levels)",
        "loadandrunscript",
        "smua.measure.nplc = smua.source.levelv",
        "dofile('x')",
        "smua.source.output = 1 + 0",
        "delay(1) smua.source.levelv = 200",
        "*RCL 1",
    ],
)
def test_what_cannot_be_followed_is_refused(statement):
    assert verdict(guard(), statement) == "L007"


PROTECTED = [
    "smua.source.levelv = 0",
    "smua.source.leveli = 0",
    "smua.source.limiti = 0.01",
    "smua.source.limitv = 5",
]


@pytest.mark.parametrize("left_out", PROTECTED)
def test_nothing_goes_on_before_level_and_limit_are_set(left_out):
    judge = guard()
    for statement in PROTECTED:
        if statement != left_out:
            assert verdict(judge, statement) == ""

    assert verdict(judge, "smua.source.output = 1") == "L004"


def test_control_with_all_of_them_it_goes_on_and_a_reset_forgets_them():
    judge = guard()

    assert [verdict(judge, each) for each in PROTECTED] == [""] * 4
    assert verdict(judge, "smub.source.output = 1") == "L004"
    assert verdict(judge, "smua.source.output = 1") == ""
    assert judge.energised_channels == {"1"}
    assert verdict(judge, "smua.reset()") == ""
    assert not judge.energised
    assert verdict(judge, "smua.source.output = 1") == "L004"


def limited(bay_home: Path, resource: str) -> Bay:
    path = bay_home / "bench.yaml"
    path.write_text(
        f"instruments:\n  smu:\n    resource: {resource}\n"
        "    limits: {voltage_v: 10, current_a: 5}\n"
    )
    return Bay(home=bay_home, bench=path)


def test_on_a_limited_bench_a_measurement_is_asked_nothing_more(
    tmp_path, resource, bay, instrument
):
    def answers(smu: Instrument, method: str, params: dict[str, Any]) -> int:
        before = len(instrument.log.named("answer"))
        assert smu.measure(method, **params).state == "done"
        return len(instrument.log.named("answer")) - before

    cases = [("iv_sweep", SWEEP), ("transfer_curve", CURVES)]
    with bay.open(resource, isolation="inline") as smu:
        free = [answers(smu, *case) for case in cases]
    with limited(tmp_path, resource) as bench, bench.open("smu", isolation="inline") as smu:
        held = [answers(smu, *case) for case in cases]

    assert held == free


def test_an_output_stays_off_where_the_instrument_did_not_take_its_limit(
    tmp_path, resource, instrument
):
    with limited(tmp_path, resource) as bench, bench.open("smu", isolation="inline") as smu:
        smu.write("smua.source.limiti = 0.01", "smua.source.levelv = 0", "smua.source.leveli = 0")
        # Too small for the instrument, which keeps its 40 V: more than the bench allows.
        smu.write("smua.source.limitv = 0.001")
        with pytest.raises(LimitError, match="was not taken"):
            smu.write("smua.source.output = 1")

        smu.write("smua.source.limitv = 5", "smua.source.output = 1")
        assert smu.query("print(smua.source.output)") == "1.00000e+00"
    assert [event["text"] for event in instrument.log.named("message")].count(
        "smua.source.output = 1"
    ) == 1


# -- programs of others ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:It is not known:FutureWarning")
def test_pymeasures_driver_measures_on_the_simulator(resource, instrument):
    keithley = pytest.importorskip("pymeasure.instruments.keithley")
    smu = keithley.Keithley2600(resource, visa_library="@py", read_termination="\n")
    smu.ChA.apply_voltage(voltage_range=2, compliance_current=0.01)
    smu.ChA.source_voltage = 0.5
    smu.ChA.source_output = "ON"

    assert smu.ChA.current == pytest.approx(5e-4, rel=1e-3)
    assert smu.ChA.voltage == pytest.approx(0.5, rel=1e-3)
    assert smu.ChA.source_output == "ON"
    smu.ChA.source_output = "OFF"
    assert smu.next_error[0] == 0
    smu.adapter.close()
    assert not instrument.output_on


_QCODES = """
import sys
from qcodes.instrument_drivers.Keithley import Keithley2602B
from qcodes.dataset import LinSweep
smu = Keithley2602B("smu", sys.argv[1], visalib="@py")
smu.smua.reset()
smu.smua.mode("voltage")
smu.smua.limiti(0.01)
smu.smua.volt(0.5)
smu.smua.output(True)
print(smu.smua.curr(), smu.smua.volt())
smu.smua.setup_fastsweep(LinSweep(smu.smua.volt, 0, 1, 11), mode="IV")
print(*smu.smua.fastsweep())
smu.smua.output(False)
smu.close()
"""


def test_qcodess_driver_and_its_lua_sweep_run_on_the_simulator(resource, instrument):
    if not QCODES.exists() or shutil.which(str(QCODES)) is None:
        pytest.skip("QCoDeS is not installed beside the benchmarks")
    done = subprocess.run(
        [str(QCODES), "-c", _QCODES, resource], capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr[-2000:]
    spot, sweep = done.stdout.strip().splitlines()[-2:]
    assert float(spot.split()[0]) == pytest.approx(5e-4, rel=1e-3)
    np.testing.assert_allclose([*map(float, sweep.split())], np.linspace(0, 1e-3, 11), atol=1e-8)
    assert instrument.log.named("error", "internal_error") == []
    assert not instrument.output_on
