"""What a measurement leaves in its run beside the points, over real sockets and processes."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivebay import AbortedError, Bay, DriverCrashedError, LimitError, PluginError
from drivebay._core.errors import LinkLostError
from drivebay._core.runs import Recorder, Run, RunStore, Voice
from drivebay._core.runs import recorder as recording
from drivebay.sim import Keithley2400Server, Resistor

SWEEP: dict[str, Any] = {
    "start_v": 0, "stop_v": 0.7, "points": 201, "compliance_a": 0.01, "nplc": 0.01,
}  # fmt: skip

MANIFEST = Path(__file__).parents[2] / "src/drivebay/drivers/keithley_2400/plugin.yaml"
POINTWISE = """
import logging, sys
from drivebay.driver import IVSweep, ScpiDriver, method

class Driver(ScpiDriver):
    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep):
        self.write(":FORM:ELEM VOLT,CURR,TIME,STAT", ":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX",
                   ":SOUR:VOLT 0", ":SENS:CURR:PROT 0.01", ":TRIG:COUN 1")
        with self.output(on=":OUTP ON", off=":OUTP OFF"):
            for number, level in enumerate(p.levels):
                BODY
                self.write(f":SOUR:VOLT {level:.7g}")
                v, i, t, status = self.query_numbers(":READ?", columns=4, rows=1)
                yield {"voltage_v": v, "current_a": i, "time_s": t + number,
                       "in_compliance": status < 0}
"""


@pytest.fixture
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(device=Resistor(1000.0), time_scale=0.0, log_traffic=True) as server:
        yield server


@pytest.fixture
def make_bay(write_plugin: Any, tmp_path: Path) -> Any:
    def make(body: str, schema: Any = None, **options: Any) -> Bay:
        write_plugin(
            tmp_path / "plugins",
            "pointwise",
            driver_source=POINTWISE.replace("BODY", body),
            supported_methods=["iv_sweep"],
            supported_models=["2400"],
            safe_state={"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "0"}},
            config_schema=schema,
            dialect=yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["dialect"],
        )
        return Bay(plugin_dirs=[tmp_path / "plugins"], **options)

    return make


def kinds(run: Run) -> list[str]:
    return [kind for _, kind, _ in run.events]


def event(run: Run, wanted: str) -> Any:
    return next(data for _, kind, data in run.events if kind == wanted)


def aborted_when(stream: Any, enough: Callable[[Run], bool], by: str = "user") -> Run:
    """Measure until the run, as another would read it now, holds enough; return it ended."""
    with contextlib.suppress(AbortedError):
        for _ in stream:
            if enough(stream.run):
                stream.abort(by=by)
    run: Run = stream.run
    assert run.state == "aborted"
    return run


# -- the transcript --------------------------------------------------------------------------------


def test_the_whole_conversation_of_a_measurement_is_in_its_run(server: Keithley2400Server):
    with Bay() as bay, bay.open(server.resource) as smu:
        before = len(server.log.named("message"))
        run = smu.measure("iv_sweep", **SWEEP)
        sent = [each["text"] for each in server.log.named("message")[before:]]

    talk = [message for message in run.transcript if message.phase == "measure"]
    assert [m.data.decode().strip() for m in talk if m.direction == "w"] == sent
    assert max(len(m.data) for m in talk if m.direction == "r") > 4096  # nothing is cut
    assert [m.time_ns for m in talk] == sorted(m.time_ns for m in talk)
    assert talk[0].time_ns >= 0
    assert run.verify() == ()


def test_what_the_driver_said_when_it_connected_begins_every_transcript(
    server: Keithley2400Server,
):
    with Bay() as bay, bay.open(server.resource) as smu:
        runs = [smu.measure("iv_sweep", **SWEEP) for _ in range(2)]

    for run in runs:
        first, second = run.transcript[:2]
        assert (first.phase, first.direction, first.data) == ("connect", "w", b"*IDN?\n")
        assert b"MODEL 2400" in second.data
        assert second.time_ns < 0


def test_what_was_said_by_hand_between_two_measurements_is_in_neither(server: Keithley2400Server):
    with Bay() as bay, bay.open(server.resource) as smu:
        first = smu.measure("iv_sweep", **SWEEP)
        smu.write(":SOUR:VOLT 0.125")
        second = smu.measure("iv_sweep", **SWEEP)

    said = [[m.data for m in run.transcript] for run in (first, second)]
    assert not any(b":SOUR:VOLT 0.125\n" in each for each in said)
    assert b":READ?\n" in said[0]  # the control
    assert b":READ?\n" in said[1]


@pytest.mark.slow
def test_a_measurement_that_talks_more_than_the_keeper_holds_loses_nothing(
    make_bay: Any, server: Keithley2400Server
):
    body = "[self.query('*STB?') for _ in range(12_000)] if number == 0 else None"
    with make_bay(body) as bay, bay.open(server.resource) as smu:
        run = smu.measure("iv_sweep", **(SWEEP | {"points": 2}))

    assert sum(m.data == b"*STB?\n" for m in run.messages()) == 12_000
    assert "incomplete" not in kinds(run)


@pytest.fixture
def recorder(tmp_path: Path) -> Any:
    made = []

    def make(traffic: Any = None) -> Recorder:
        draft = RunStore(tmp_path / "runs").draft(method="m", columns=[("x", "V", "float")])
        voices = {} if traffic is None else {"": Voice(traffic)}
        one = Recorder(draft, kept=lambda _: None, failed=lambda _: None, voices=voices)
        made.append((one, draft.shape.started_ns))
        return one

    make.made = made  # type: ignore[attr-defined]
    return make


def test_traffic_is_stored_while_nothing_is_measured(recorder: Any):
    said = iter([[(1 << 61, "w", b"X\n")]])
    one = recorder(traffic=lambda: (next(said, []), 0))
    while not one.run.transcript:
        pass  # the recorder looks by itself; a hang here is the failure

    assert one.finish("done", None, {}).transcript[0].data == b"X\n"


def test_messages_that_were_missed_are_counted_and_said(recorder: Any):
    said = iter([([(1 << 61, "w", b"X\n")], 7)])
    one = recorder(traffic=lambda: next(said, ([], 0)))
    run = one.finish("done", None, {})

    assert event(run, "incomplete") == {"messages_left_out": 7}
    assert len(run.transcript) == 1


def test_a_keeper_that_is_gone_ends_the_transcript_and_not_the_run(recorder: Any):
    def gone() -> Any:
        raise LinkLostError("its keeper is gone", resource="x")

    one = recorder(traffic=gone)
    one.put({"x": [1.0]})
    run = one.finish("done", None, {})

    assert (len(run), run.state) == (1, "done")
    assert "its keeper is gone" in event(run, "incomplete")["transcript"]


# -- code and bench --------------------------------------------------------------------------------


def test_the_code_that_measured_is_in_the_run_whatever_becomes_of_its_folder(
    make_bay: Any, server: Keithley2400Server, tmp_path: Path
):
    folder = tmp_path / "plugins" / "pointwise"
    with make_bay("pass") as bay, bay.open(server.resource) as smu:
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        (folder / "driver.py").write_text("raise SystemExit")
        run = smu.measure("iv_sweep", **(SWEEP | {"points": 2}))

    assert run.sources == files
    assert run.plugin["name"] == "pointwise"


BENCH = """
instruments:
  smu1:
    resource: "{resource}"
    limits: {{voltage_v: [-0.5, 0.5]}}
    policy: "off"
"""


@pytest.fixture
def bench(server: Keithley2400Server, tmp_path: Path) -> Path:
    path = tmp_path / "bench.yaml"
    path.write_text(BENCH.format(resource=server.resource))
    return path


def test_a_run_says_which_limits_and_policy_were_in_force_on_which_bench(bench: Path):
    with Bay(bench=bench) as bay, bay.open("smu1") as smu:
        keeper = smu.keeper_pid
        run = smu.measure("iv_sweep", **(SWEEP | {"stop_v": 0.4}))

    assert (run.bench["alias"], run.bench["policy"]) == ("smu1", "off")
    assert run.bench["keeper_pid"] == keeper
    assert run.limits is not None
    assert run.limits["voltage_v"] == [-0.5, 0.5]
    assert str(bench) in run.bench["source"]


def test_a_run_says_on_which_machine_it_was_taken(server: Keithley2400Server):
    with Bay() as bay, bay.open(server.resource) as smu:
        run = smu.measure("iv_sweep", **SWEEP)

    machine = run.provenance["machine"]
    assert {"host", "kernel", "python", "drivebay", "versions"} <= set(machine)
    assert "numpy" in machine["versions"]
    assert {"wall", "monotonic_ns", "offset_ns", "zone"} <= set(run.provenance["clock"])


# -- secrets ---------------------------------------------------------------------------------------

SECRETS = {"login": "open sesame", "api_token": "t0k3n-17", "nested": {"password": 271828}, "n": 5}
LOGGING_IN = """
                if not number:
                    self.write("*ESE 0", f":DISP:TEXT '{self.config['login']}'",
                               f":DISP:TEXT '{self.config['nested']['password']}'")
                    print("logged in with", self.config["api_token"], "once")
"""


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_secret_option_is_nowhere_in_a_run_which_is_replayed_all_the_same(
    make_bay: Any, server: Keithley2400Server, isolation: str
):
    schema = {"properties": {"login": {"type": "string", "writeOnly": True}}}
    with (
        make_bay(LOGGING_IN.strip(), schema=schema) as bay,
        bay.open(server.resource, config=dict(SECRETS), isolation=isolation) as smu,
    ):
        run = smu.measure("iv_sweep", **(SWEEP | {"points": 3}))

    heard = " ".join(each["text"] for each in server.log.named("message")).encode()
    kept = b"".join(m.data for m in run.transcript) + repr((run.to_dict(), run.events)).encode()
    for secret in (b"open sesame", b"t0k3n-17", b"271828"):
        assert secret not in kept
        assert secret not in run.path.read_bytes()
    assert b"open sesame" in heard  # the control: the instrument got it
    hidden = "********"
    assert run.provenance["config"]["nested"] == {"password": hidden}
    assert run.provenance["config"]["n"] == 5
    assert sorted(run.provenance["config_withheld"]) == ["/api_token", "/login", "/nested/password"]
    assert f":DISP:TEXT '{hidden}'\n".encode() in [m.data for m in run.transcript]
    if isolation == "process":
        assert "logged in with ******** once" in [
            line for _, kind, line in run.events if kind == "printed"
        ]
    replayed = run.replay(trust=True)
    assert replayed.identical, (replayed.traffic, replayed.error)


def test_options_that_are_no_secret_are_kept_as_they_are(make_bay: Any, server: Any):
    options = {"timeout_s": 3.0, "keyboard": "locked", "door": "1", "empty_password": ""}
    with make_bay("pass") as bay, bay.open(server.resource, config=options) as smu:
        run = smu.measure("iv_sweep", **(SWEEP | {"points": 2}))

    assert run.provenance["config"] == options
    assert run.provenance["config_withheld"] == []


# -- events ----------------------------------------------------------------------------------------


def test_an_abort_says_by_whom_and_the_safe_state_what_became_of_it(
    make_bay: Any, server: Keithley2400Server
):
    with make_bay("self.sleep(0.01)") as bay, bay.open(server.resource) as smu:
        stream = smu.stream("iv_sweep", **SWEEP)
        run = aborted_when(stream, lambda _: True, by="ada")

    found = kinds(run)
    assert found[0] == "begin"
    assert found[-1] == "end"
    assert found.index("abort") < found.index("safe_state")
    assert event(run, "abort") == {"by": "ada"}
    assert event(run, "safe_state") == {"sent": [":OUTP OFF"], "verified": True, "problems": []}
    assert event(run, "end")["state"] == "aborted"


def test_what_a_driver_prints_and_logs_is_in_its_run(make_bay: Any, server: Keithley2400Server):
    body = (
        "logging.getLogger('acme').warning('warm %d', number); print('point', number, flush=True);"
        " self.sleep(0.01)"
    )
    with make_bay(body) as bay, bay.open(server.resource) as smu:
        stream = smu.stream("iv_sweep", **SWEEP)
        run = aborted_when(stream, lambda run: {"printed", "logged"} <= set(kinds(run)))

    assert event(run, "printed") == "point 0"
    assert event(run, "logged") == {"logger": "acme", "level": logging.WARNING, "text": "warm 0"}


def test_a_refused_command_is_in_the_run_though_its_driver_says_nothing(make_bay: Any, bench: Path):
    body = "exec('try: self.write(\":SOUR:VOLT 5\")\\nexcept Exception: pass'); self.sleep(0.01)"
    with make_bay(body, bench=bench) as bay, bay.open("smu1") as smu:
        stream = smu.stream("iv_sweep", **(SWEEP | {"stop_v": 0.4}))
        run = aborted_when(stream, lambda run: "refused" in kinds(run))

    assert "5" in event(run, "refused")["text"]


def test_newer_code_that_waits_for_the_end_is_in_the_run(
    make_bay: Any, server: Keithley2400Server, tmp_path: Path
):
    with make_bay("self.sleep(0.01)") as bay, bay.open(server.resource) as smu:
        stream = smu.stream("iv_sweep", **SWEEP)
        chunks = iter(stream)
        next(chunks)
        driver = tmp_path / "plugins" / "pointwise" / "driver.py"
        driver.write_text(driver.read_text().replace("sleep(0.01)", "sleep(0.02)"))
        bay.plugins.reload_plugin("pointwise")
        stream.abort()
        with pytest.raises(AbortedError):
            list(chunks)
        run = stream.run

    assert event(run, "reload")["waits_for_end"] is True
    assert event(run, "reload")["sha256"] != run.plugin["sha256"]


def test_newer_code_that_is_of_no_use_is_in_the_run_and_the_older_goes_on(
    make_bay: Any, server: Keithley2400Server, tmp_path: Path
):
    with make_bay("self.sleep(0.01)") as bay, bay.open(server.resource) as smu:
        stream = smu.stream("iv_sweep", **(SWEEP | {"points": 20}))
        chunks = iter(stream)
        next(chunks)
        (tmp_path / "plugins" / "pointwise" / "driver.py").write_text("raise ValueError('no')")
        with contextlib.suppress(PluginError):
            bay.plugins.reload_plugin("pointwise")
        list(chunks)
        run = stream.run

    assert (run.state, len(run)) == ("done", 20)
    assert "no" in event(run, "degraded")


LIVE = """
import sys
from drivebay import Bay
with Bay(home=sys.argv[1]) as bay:
    run = bay.runs.open("last")
    print(run.state, flush=True)
    looks = 0
    while run.state == "running":
        rows, said = len(run["current_a"]), sum(m.data == b":READ?\\n" for m in run.messages())
        assert said >= rows, (said, rows)
        looks += 1
    print(run.state, len(run), looks, flush=True)
"""


@pytest.mark.slow
def test_another_process_follows_a_measurement_and_never_sees_a_point_without_its_question(
    make_bay: Any, server: Keithley2400Server, tmp_path: Path
):
    home = tmp_path / "home"
    with make_bay("self.sleep(0.002)", home=home) as bay, bay.open(server.resource) as smu:
        stream = smu.stream("iv_sweep", **(SWEEP | {"points": 400}))
        chunks = iter(stream)
        next(chunks)
        with subprocess.Popen(
            [sys.executable, "-c", LIVE, str(home)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            stdout=subprocess.PIPE,
            text=True,
        ) as reader:
            assert reader.stdout is not None
            began = reader.stdout.readline().strip()
            list(chunks)
            state, rows, looks = reader.stdout.readline().split()

    assert began in {"running", "done"}
    assert (state, int(rows)) == ("done", 400)
    assert int(looks) >= (began == "running")
    assert stream.run.is_one_file or stream.run.verify() == ()


def test_events_without_end_are_bounded_and_counted(recorder: Any, monkeypatch: Any):
    monkeypatch.setattr(recording, "_MOST_EVENTS", 10)
    one = recorder()
    for number in range(25):
        one.note("printed", number)
    run = one.finish("done", None, {})

    assert kinds(run) == ["begin", *["printed"] * 10, "incomplete", "end"]
    assert event(run, "incomplete") == {"events_left_out": 15}


def test_a_long_line_is_cut_and_what_is_no_data_is_no_accident(recorder: Any):
    one = recorder()
    one.note("printed", "x" * 100_000)
    one.note("odd", threading.Lock())
    run = one.finish("done", None, {})

    assert len(event(run, "printed")) < 5_000
    assert "characters" in event(run, "printed")
    assert "which a run cannot keep" in event(run, "odd")


def test_a_limit_that_ends_a_measurement_is_its_reason(make_bay: Any, bench: Path):
    with make_bay("self.write(':SOUR:VOLT 5')", bench=bench) as bay, bay.open("smu1") as smu:
        with pytest.raises(LimitError) as caught:
            smu.measure("iv_sweep", **(SWEEP | {"stop_v": 0.4}))
        run = bay.runs.open(caught.value.run_id)

    assert run.state == "failed"
    assert "LimitError" in (run.reason or "")


SINGLE_FILE = POINTWISE.replace(
    "import logging", "from drivebay import driver_plugin\nimport logging"
)
CLAIM = (
    "@driver_plugin(name='single', version='1.0', author='Lab', description='d',\n"
    "               supported_methods=['iv_sweep'], supported_models=['2400'])\n"
)


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_plugin_of_a_single_file_is_kept_like_any_other(
    server: Keithley2400Server, tmp_path: Path, isolation: Any
):
    source = SINGLE_FILE.replace("BODY", "pass").replace("class Driver", f"{CLAIM}class Driver")
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "single.py").write_text(source)
    with (
        Bay(plugin_dirs=[folder]) as bay,
        bay.open(server.resource, isolation=isolation) as smu,
    ):
        run = smu.measure("iv_sweep", **(SWEEP | {"points": 2}))

    assert run.sources == {"single.py": source.encode()}
    assert run.transcript[0].phase == "connect"
    assert run.provenance["isolation"] == isolation


def test_a_driver_that_dies_leaves_the_conversation_and_what_made_it_safe(
    make_bay: Any, server: Keithley2400Server
):
    body = "__import__('os').kill(__import__('os').getpid(), 9) if number == 3 else None"
    with make_bay(body) as bay, bay.open(server.resource) as smu:
        with pytest.raises(DriverCrashedError) as caught:
            smu.measure("iv_sweep", **SWEEP)
        run = bay.runs.open(caught.value.run_id)

    talk = [message.data for message in run.transcript]
    assert run.state == "failed"
    assert talk.count(b":READ?\n") == 3
    assert b":OUTP OFF\n" in talk[talk.index(b":OUTP ON\n") :]
    assert event(run, "safe_state")["problems"] == []
    assert run.verify() == ()


PROGRAM = """
import sys
from pathlib import Path
from drivebay import Bay
with Bay(plugin_dirs=[Path(sys.argv[2])], home=sys.argv[3]) as bay, bay.open(sys.argv[1]) as smu:
    for chunk in smu.stream("iv_sweep", start_v=0, stop_v=0.7, points=900, compliance_a=0.01):
        print(len(chunk["current_a"]), flush=True)
"""


@pytest.mark.slow
def test_after_kill_9_each_point_that_was_shown_has_the_conversation_that_gave_it(
    make_bay: Any, server: Keithley2400Server, tmp_path: Path
):
    make_bay("self.sleep(0.005)").close()  # writes the plugin
    home = tmp_path / "home"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.resource, str(tmp_path / "plugins"), str(home)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        shown = sum(int(program.stdout.readline()) for _ in range(40))
        program.kill()
    run = RunStore(home / "runs").open("last")

    talk = run.transcript
    answered = [after for asked, after in pairwise(talk) if asked.data == b":READ?\n"]
    assert run.state == "interrupted"
    assert len(run) >= shown
    assert [after.direction for after in answered][: len(run)] == ["r"] * len(run)
    assert run.verify() == ()
