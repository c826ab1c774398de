"""Two simulated sources at one device: in step, one run, and both off whatever fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from drivebay import (
    AbortedError,
    Bay,
    BusyError,
    DrivebayError,
    LinkError,
    LoadError,
    MethodError,
    ParameterError,
    PluginManager,
    PluginStateError,
    RunError,
)
from drivebay._core.replay.both import replay_both
from drivebay._core.replay.stored import both_recordings_of
from drivebay._core.runs.transcript import Message, in_time
from drivebay.cli import command_tree
from drivebay.driver import SteppedSource
from drivebay.plotting import ascii_plot
from drivebay.sim import Keithley2400Server, Resistor

CURVE: dict[str, Any] = {
    "gate_start_v": 0,
    "gate_stop_v": 2,
    "points": 5,
    "drain_v": [0.1, 1],
    "drain_compliance_a": 0.01,
    "gate_compliance_a": 1e-4,
    "nplc": 0.01,
}
OUTPUT: dict[str, Any] = {
    "drain_start_v": 0,
    "drain_stop_v": 1,
    "points": 3,
    "gate_v": [0, 2],
    "up_and_down": True,
    "drain_compliance_a": 0.01,
    "gate_compliance_a": 1e-4,
    "nplc": 0.01,
    "delay_s": 0.001,
}
DRIVERS = Path(__file__).parents[1] / "src/drivebay/drivers"
LONG = CURVE | {"points": 2000, "delay_s": 0.01}


def source(number: int, ohm: float, **more: Any) -> Keithley2400Server:
    settings = {"time_scale": 0.0, "log_traffic": True, "serial_number": str(number)}
    return Keithley2400Server(device=Resistor(ohm), **(settings | more))


@pytest.fixture
def gate() -> Iterator[Keithley2400Server]:
    with source(1, 1e6) as server:
        yield server


@pytest.fixture
def drain() -> Iterator[Keithley2400Server]:
    with source(2, 1000.0) as server:
        yield server


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def levels(server: Keithley2400Server) -> list[float]:
    texts = [event["text"] for event in server.log.named("message")]
    return [float(text.split(" ")[1]) for text in texts if text.startswith(":SOUR:VOLT ")][1:]


def test_a_transfer_curve_is_one_run_that_names_both_instruments(bay, gate, drain):
    run = bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)

    assert run.state == "done"
    assert run.method == "transfer_curve"
    assert len(run) == 10
    assert run["gate_voltage_v"] == pytest.approx([0, 0.5, 1, 1.5, 2] * 2, abs=2e-3)
    assert run["drain_voltage_v"] == pytest.approx([0.1] * 5 + [1.0] * 5, abs=1e-3)
    assert run["drain_current_a"] == pytest.approx(run["drain_voltage_v"] / 1000, abs=2e-6)
    assert run["gate_current_a"] == pytest.approx(run["gate_voltage_v"] / 1e6, abs=1e-8)
    assert np.all(np.diff(run["time_s"]) > 0)
    both = run.provenance["instruments"]
    assert [both[channel]["identity"]["serial"] for channel in ("gate", "drain")] == ["1", "2"]
    assert both["gate"]["resource"] == gate.resource
    assert bay.runs.open(run.id).provenance["instruments"] == both


def test_the_record_of_two_has_what_each_was_told_and_says_whose_it_is(bay, gate, drain):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        pair.gate.write(":DISP:ENAB ON")  # by hand: no part of the run
        run = pair.transfer_curve(**CURVE)

    assert run.verify() == ()
    assert set(run.instruments) == {"gate", "drain"}
    assert run.instruments["gate"]["config"] == {"timeout_s": 5.0}
    said = run.transcript
    assert [message.time_ns for message in said] == sorted(message.time_ns for message in said)
    for name, server, limit in (("gate", gate, b"0.0001"), ("drain", drain, b"0.01")):
        sent = [m.data for m in said if (m.instrument, m.direction) == (name, "w")]
        at_instrument = [f"{event['text']}\n".encode() for event in server.log.named("message")]
        assert b":SENS:CURR:PROT " + limit + b"\n" in sent
        assert sum(data == b":READ?\n" for data in sent) == len(run)
        measured = [m.data for m in said if (m.instrument, m.phase) == (name, "measure")]
        begin = at_instrument.index(next(data for data in measured))
        written = [
            m.data
            for m in said
            if (m.instrument, m.phase) == (name, "measure") and m.direction == "w"
        ]
        assert at_instrument[begin : begin + len(written)] == written
        connected = [m for m in said if (m.instrument, m.phase) == (name, "connect")]
        assert connected
        assert all(message.time_ns < 0 for message in connected)
    assert b":DISP:ENAB ON\n" not in {message.data for message in said}


def test_a_run_of_one_instrument_names_none_in_its_transcript(bay, gate):
    with bay.open(gate.resource) as smu:
        run = smu.iv_sweep(start_v=0, stop_v=1, points=3, compliance_a=0.01)

    assert run.instruments == {}
    assert {message.instrument for message in run.transcript} == {""}


def test_the_traffic_of_two_is_shown_and_exported_with_whose_it_is(
    bay, gate, drain, tmp_path, monkeypatch
):
    h5py = pytest.importorskip("h5py", reason="needs the extra [export]")
    run = bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)

    shown = (
        CliRunner().invoke(command_tree(), ["runs", "show", str(run.path), "--transcript"]).output
    )
    summary = CliRunner().invoke(command_tree(), ["runs", "show", str(run.path)]).output
    (exported,) = bay.runs.export(run, tmp_path / "run.h5")

    whose = [message.instrument for message in run.transcript]
    assert [line.split()[2] for line in shown.splitlines()] == whose
    assert re.search(r"^  gate +KEITHLEY.* 1 at ", summary, re.MULTILINE)
    assert re.search(r"^  drain +KEITHLEY.* 2 at ", summary, re.MULTILINE)
    for name in ("gate", "drain"):
        assert re.search(rf"^  limit {name} voltage_v +-210 V to 210 V$", summary, re.MULTILINE)
        assert re.search(rf"^  option {name} timeout_s +5 s$", summary, re.MULTILINE)
    with h5py.File(exported) as file:
        assert list(file["transcript/instrument"].asstr()[:]) == whose


def test_runs_of_two_are_found_and_compared_by_either_instrument(bay, gate, drain):
    with source(31, 1e6) as other:
        first = bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)
        second = bay.transfer_curve(gate=other.resource, drain=drain.resource, **CURVE)
    words = ["runs", "compare", str(first.path), str(second.path)]

    said = CliRunner().invoke(command_tree(), words).output
    found = json.loads(CliRunner().invoke(command_tree(), [*words, "--json"]).output)

    assert set(found["differences"]) == {"gate.instrument.serial", "gate.resource"}
    assert found["differences"]["gate.instrument.serial"] == ["1", "31"]
    assert "gate.instrument.serial" in said
    assert [run.id for run in bay.runs.search(text="serial=31")] == [second.id]
    assert len(bay.runs.search(text="serial=2")) == 2


@pytest.mark.parametrize("method", ["transfer_curve", "output_curve"])
def test_a_run_of_two_instruments_is_replayed_byte_for_byte(bay, gate, drain, method: str):
    curve = CURVE if method == "transfer_curve" else OUTPUT
    run = getattr(bay, method)(gate=gate.resource, drain=drain.resource, **curve)

    found = run.replay()

    assert found.verdict == "identical", (found.traffic, found.points, found.error)
    assert (found.rows, found.clock_columns) == (len(run), ["time_s"])
    assert found.plugin["name"] == "keithley_2400"
    measured = [m for m in found.replayed if m.phase == "measure"]
    assert len(measured) == sum(message.phase == "measure" for message in run.transcript)
    assert {message.instrument for message in measured} == {"gate", "drain"}


GREETING = """\
    def step_to(self, level_v):
        if level_v == 1.5:
            self.write("*ESE 1")
        super().step_to(level_v)

"""


def edited_2400(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of the driver with an edit."""
    folder = tmp_path / "edited"
    shutil.copytree(DRIVERS / "keithley_2400", folder)
    (folder / "driver.py").write_text(
        (folder / "driver.py").read_text().replace(old, new), encoding="utf-8"
    )
    return folder


def test_an_edit_is_named_with_the_instrument_it_would_have_told(bay, gate, drain, tmp_path):
    run = bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)
    folder = edited_2400(tmp_path, "    def level_command(", GREETING + "    def level_command(")

    found = run.replay(folder)

    assert found.verdict == "differs", found.error
    assert found.traffic is not None
    assert found.traffic.instrument == "gate"
    assert found.traffic.got == b"*ESE 1\n"
    assert "gate" in str(found.traffic)
    assert found.traffic.where[0].startswith("driver.py:")


def test_a_changed_byte_in_the_part_of_either_is_found(bay, gate, drain):
    run = bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)
    recording = both_recordings_of(run)
    for name, part in recording.parts.items():
        messages = list(part.messages)
        at = max(i for i, m in enumerate(messages) if m.data.startswith(b":SOUR:VOLT "))
        messages[at] = messages[at]._replace(data=b":SOUR:VOLT 9\n")
        other = replace(
            recording, parts={**recording.parts, name: replace(part, messages=messages)}
        )

        found = replay_both(other)

        assert found.traffic is not None
        assert (found.traffic.instrument, found.traffic.expected) == (name, b":SOUR:VOLT 9\n")


def test_an_aborted_run_of_two_is_replayed_up_to_its_abort(bay, gate, drain):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        stream = pair.stream("transfer_curve", **LONG)
        next(iter(stream))
        stream.abort()
        with pytest.raises(AbortedError):
            for _ in stream:
                pass
        run = stream.run

    found = run.replay()

    assert run.state == "aborted"
    assert found.same_end, found.error
    assert found.traffic is None


def test_other_code_is_for_one_of_the_two_that_measured(bay, gate, drain, tmp_path):
    run = bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)
    recording = both_recordings_of(run)
    gate_part = replace(recording.parts["gate"], plugin="another")
    other = replace(recording, parts={**recording.parts, "gate": gate_part})

    with pytest.raises(RunError, match="'scpi' is neither of the drivers that measured"):
        replay_both(other, "scpi")


@given(
    steps=st.lists(
        st.lists(st.tuples(st.sampled_from(["gate", "drain"]), st.integers(0, 5)), max_size=6),
        max_size=8,
    )
)
def test_messages_of_two_come_in_the_order_of_their_times(steps: list[list[tuple[str, int]]]):
    time_ns, blocks = 0, []
    for step in steps:
        heard = []
        for name, gap in step:
            time_ns += gap
            heard.append(Message(time_ns, "measure", "w", b"X", name))
        # As a recorder stores them: what one has said in a step, then what the other has.
        blocks += sorted(heard, key=lambda message: message.instrument)

    merged = list(in_time(blocks, ("gate", "drain")))

    assert [message.time_ns for message in merged] == sorted(m.time_ns for m in blocks)
    for name in ("gate", "drain"):
        assert [m for m in merged if m.instrument == name] == [
            m for m in blocks if m.instrument == name
        ]


def test_the_title_of_its_picture_names_both_instruments(bay, gate, drain):
    run = bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)

    assert "Transfer curve \u00b7 two Keithley 2400" in ascii_plot(run).splitlines()[0]


def test_an_output_curve_steps_the_drain_at_each_gate_voltage(bay, gate, drain):
    run = bay.output_curve(
        gate=gate.resource,
        drain=drain.resource,
        drain_start_v=0,
        drain_stop_v=1,
        points=3,
        gate_v=[0, 2],
        up_and_down=True,
        drain_compliance_a=0.01,
        gate_compliance_a=1e-4,
        nplc=0.01,
    )

    assert run["drain_voltage_v"] == pytest.approx([0, 0.5, 1, 0.5, 0] * 2, abs=1e-3)
    assert run["gate_voltage_v"] == pytest.approx([0] * 5 + [2] * 5, abs=2e-3)


def test_both_come_on_at_zero_with_their_limits_set_and_go_off_at_the_end(bay, gate, drain):
    bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)

    for server, limit in ((gate, "0.0001"), (drain, "0.01")):
        sent = [event["text"] for event in server.log.named("message")]
        assert sent.index(f":SENS:CURR:PROT {limit}") < sent.index(":OUTP ON")
        assert server.log.named("output_on")[0]["level"] == 0
        assert not server.instrument.output_on
    assert levels(gate) == [0, 0, 0.5, 1, 1.5, 2] * 2
    assert levels(drain) == [0.1, 1.0]


def test_what_either_instrument_cannot_do_is_refused_before_anything_is_sent(bay, gate, drain):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        before = len(gate.log.named("message")) + len(drain.log.named("message"))

        with pytest.raises(ParameterError) as caught:
            pair.measure("transfer_curve", **CURVE | {"gate_stop_v": 300, "drain_compliance_a": 5})

        assert len(gate.log.named("message")) + len(drain.log.named("message")) == before
    found = {(each.code, each.path) for each in caught.value.problems}
    assert found == {("P004", "/gate_stop_v"), ("P004", "/drain_compliance_a")}


def test_the_limits_of_the_bench_hold_for_each_of_them(tmp_path, gate, drain):
    bench = tmp_path / "bench.yaml"
    bench.write_text(
        "instruments:\n"
        f"  smu1: {{resource: '{gate.resource}', limits: {{voltage_v: [-1, 1]}}}}\n"
        f"  smu2: {{resource: '{drain.resource}', limits: {{voltage_v: [-5, 5]}}}}\n"
    )
    with Bay(bench=bench) as bay:
        with pytest.raises(ParameterError, match="gate_stop_v: P00"):
            bay.transfer_curve(gate="smu1", drain="smu2", **CURVE)

        run = bay.transfer_curve(gate="smu1", drain="smu2", **CURVE | {"gate_stop_v": 1})

    assert run.provenance["instruments"]["drain"]["alias"] == "smu2"


def test_an_abort_switches_both_off_and_keeps_the_points(bay, gate, drain):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        stream = pair.stream("transfer_curve", **LONG)
        chunks = iter(stream)
        next(chunks)

        stream.abort("a test")
        with pytest.raises(AbortedError):
            list(chunks)

        assert not gate.instrument.output_on
        assert not drain.instrument.output_on
        assert stream.run.state == "aborted"
        assert len(stream.run) > 0
        assert pair.transfer_curve(**CURVE).state == "done"


@pytest.mark.parametrize("victim", ["gate", "drain"])
def test_the_death_of_either_driver_makes_both_safe(bay, gate, drain, victim):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        chunks = iter(pair.stream("transfer_curve", **LONG))
        next(chunks)
        pid = getattr(pair, victim).host_pid
        assert pid is not None

        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DrivebayError, match="process"):
            list(chunks)

        assert not gate.instrument.output_on
        assert not drain.instrument.output_on


@pytest.mark.parametrize("victim", ["gate", "drain"])
def test_a_connection_that_is_cut_makes_both_safe(bay, gate, drain, victim):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        chunks = iter(pair.stream("transfer_curve", **LONG))
        next(chunks)

        {"gate": gate, "drain": drain}[victim].drop_connections()
        with pytest.raises(LinkError):
            list(chunks)

        gate.log.wait_for("output_off")
        drain.log.wait_for("output_off")


def test_the_death_of_their_owner_makes_both_safe(gate, drain, tmp_path):
    program = (
        "import sys, json\n"
        "from drivebay import Bay\n"
        "bay = Bay()\n"
        "bay.transfer_curve(gate=sys.argv[1], drain=sys.argv[2], **json.loads(sys.argv[3]))\n"
    )
    script = tmp_path / "owner.py"
    script.write_text(program)
    owner = subprocess.Popen(
        [sys.executable, str(script), gate.resource, drain.resource, json.dumps(LONG)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    )
    gate.log.wait_for("output_on")
    drain.log.wait_for("output_on")

    owner.kill()
    owner.wait()

    gate.log.wait_for("output_off")
    drain.log.wait_for("output_off")


def test_one_that_is_busy_keeps_the_other_free(bay, gate, drain):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        slow = pair.drain.stream(
            "iv_monitor", level_v=1, compliance_a=0.01, duration_s=60, interval_s=0.05
        )
        chunks = iter(slow)
        next(chunks)

        with pytest.raises(BusyError):
            pair.transfer_curve(**CURVE)

        slow.abort()
        with pytest.raises(AbortedError):
            list(chunks)
        assert pair.gate.measure("spot", level_v=1, compliance_a=1e-3).state == "done"


def test_an_instrument_that_is_open_already_stays_open(bay, gate, drain):
    opened = bay.open(gate.resource)

    with bay.pair(gate=opened, drain=drain.resource) as pair:
        second = pair.drain
        pair.transfer_curve(**CURVE)

    assert not opened.closed
    assert second.closed


def test_one_instrument_is_not_at_both_places(bay, gate):
    opened = bay.open(gate.resource)

    with pytest.raises(PluginStateError, match="gate and at the drain"):
        bay.pair(gate=opened, drain=gate.resource)


def test_only_curves_are_measured_by_two(bay, gate, drain):
    with (
        bay.pair(gate=gate.resource, drain=drain.resource) as pair,
        pytest.raises(MethodError, match="iv_sweep"),
    ):
        pair.measure("iv_sweep", start_v=0, stop_v=1, points=3, compliance_a=0.1)


def test_a_wait_ends_with_an_abort(bay, gate, drain):
    with bay.pair(gate=gate.resource, drain=drain.resource) as pair:
        stream = pair.stream("transfer_curve", **CURVE | {"hold_s": 600})

        def stop() -> None:
            drain.log.wait_for("output_on")
            stream.abort("a test")

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(AbortedError):
            list(stream)
        thread.join()

        assert not drain.instrument.output_on


def test_a_driver_that_cannot_be_paced_is_told_before_anything_is_switched_on(
    gate, drain, write_plugin, tmp_path
):
    write_plugin(
        tmp_path / "plugins",
        "own",
        driver_source=UNPACED,
        supported_methods=["iv_sweep"],
        supported_models=["2400"],
        safe_state={"writes": [":OUTP OFF"]},
    )
    with Bay(plugin_dirs=[tmp_path / "plugins"]) as bay:
        with pytest.raises(MethodError, match="cannot be paced"):
            bay.transfer_curve(gate=gate.resource, drain=drain.resource, **CURVE)

        assert not gate.log.named("output_on")


def test_a_manifest_that_promises_pairs_for_a_class_that_cannot_is_no_driver(
    write_plugin, tmp_path
):
    write_plugin(
        tmp_path,
        "own",
        driver_source=UNPACED,
        supported_methods=["iv_sweep"],
        paired_methods=["transfer_curve"],
    )
    manager = PluginManager([tmp_path])
    manager.discover_plugins()

    with pytest.raises(LoadError, match=r"cannot be paced: .*step_to.*SteppedSource"):
        manager.require("own")


def test_every_built_in_driver_says_of_pairs_what_its_class_is():
    manager = PluginManager()
    manager.discover_plugins()

    said = {name: bool(info.metadata.paired_methods) for name, info in manager.plugins.items()}
    is_so = {
        name: issubclass(manager.generation_of(name).driver_class or object, SteppedSource)
        for name in said
    }
    assert said == is_so
    assert any(said.values())


UNPACED = """
from drivebay.driver import IVSweep, ScpiDriver, method

class Driver(ScpiDriver):
    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep):
        yield {}
"""
