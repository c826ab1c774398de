"""``drivebay demo``: the main job from end to end, on the simulated bench it starts itself."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from drivebay import Bay
from drivebay.cli import demo_bench as benches
from drivebay.cli import demo_reload, failures
from drivebay.cli.demo import DIODE, with_uncertainty

pytestmark = pytest.mark.slow

NEEDS_ALL = ("scipy", "matplotlib")


@pytest.fixture
def without(tmp_path, environment, monkeypatch):
    """Environment of a Python in which some modules are not installed."""

    def hide(*names: str) -> dict[str, str]:
        folder = tmp_path / "hidden"
        folder.mkdir()
        # Seen by every Python that starts with this folder on its path, before anything else.
        (folder / "sitecustomize.py").write_text(
            "import sys\n"
            "class Hiding:\n"
            "    def __init__(self, finder):\n"
            "        self.finder = finder\n"
            "    def __getattr__(self, name):\n"
            "        return getattr(self.finder, name)\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        hidden = name.split('.')[0] in {names!r}\n"
            "        return None if hidden else self.finder.find_spec(name, path, target)\n"
            "sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]\n",
            encoding="utf-8",
        )
        return environment | {"PYTHONPATH": f"{folder}:{environment['PYTHONPATH']}"}

    return hide


def test_the_demo_finds_sweeps_fits_and_keeps(process):
    for name in NEEDS_ALL:
        pytest.importorskip(name, reason="the demo's fit and plot need the extras")

    done = process("demo")

    assert done.code == failures.OK, done.err
    assert done.err == ""
    assert "simulated" in done.out
    assert "*IDN?" in done.out
    assert "keithley_2400, because it declares model '2400'" in done.out
    assert re.search(r"in a process of its own, \d+; the keeper, process \d+", done.out)
    assert "161 points" in done.out
    assert "ideality factor n" in done.out
    with Bay() as bay:
        run = bay.runs.open("last")
        assert run.state == "done"
        assert run.id in done.out
        assert len(run) == 161
        assert run.path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    # The commands to try next can be typed as they are printed.
    program = re.search(rf"^  (.+) runs show {run.id} ", done.out, re.M)[1]
    shown = subprocess.run(
        f"{program} runs show {run.id}", shell=True, capture_output=True, text=True, check=False
    )
    assert f"{run.id}  iv_sweep  done, 161 rows" in shown.stdout, shown.stderr


def test_the_fit_agrees_with_the_simulated_diode_and_the_plot_goes_where_told(process, tmp_path):
    for name in NEEDS_ALL:
        pytest.importorskip(name, reason="the demo's fit and plot need the extras")
    folder = tmp_path / "pictures of mine"

    done = process("demo", "--output", str(folder), "--json")

    (picture,) = folder.iterdir()
    fit, true = done.json["fit"], done.json["true"]
    assert done.json["plot"] == str(picture)
    assert done.json["rows"] == 161
    assert done.json["simulated"] is True
    assert true["ideality"] == DIODE.ideality
    assert fit["ideality"] == pytest.approx(DIODE.ideality, rel=0.01)
    assert fit["saturation_current_a"] == pytest.approx(DIODE.saturation_current_a, rel=0.05)
    assert fit["series_resistance_ohm"] == pytest.approx(DIODE.series_resistance_ohm, rel=0.05)
    assert fit["ideality_u"] > 0


def test_without_the_extras_the_demo_says_so_and_keeps_the_run(process, without):
    done = process("demo", env=without("scipy", "matplotlib"))

    assert done.code == failures.OK, done.err
    assert "pip install 'drivebay[analysis]'" in done.out
    assert "pip install 'drivebay[plot]'" in done.out
    with Bay() as bay:
        assert bay.runs.open("last").state == "done"


def test_the_demo_edits_its_driver_under_an_open_instrument_and_breaks_it(process, home):
    done = process("demo", "--reload", "--json")

    assert done.code == failures.OK, done.err
    before, after, broken = done.json["sweeps"]
    assert (before["generation"], after["generation"], broken["generation"]) == (1, 2, 2)
    assert before["sha256"] != after["sha256"]
    assert broken["sha256"] == after["sha256"]
    assert after["noise_a"] < before["noise_a"] / 2
    assert "SyntaxError" in done.json["reload_error"]
    assert done.json["degraded"] is True
    with Bay() as bay:
        states = [bay.runs.open(each["run"]).state for each in done.json["sweeps"]]
    assert states == ["done", "done", "done"]
    # Another driver's process, the same keeper, the same connection.
    assert done.json["reloads"] == 1
    assert len(set(done.json["host_pids"])) == 2
    assert len(set(done.json["keeper_pids"])) == 1
    assert done.json["reconnects"] == done.json["new_connections"] == 0
    assert "error" not in done.err


def test_the_demo_kills_its_driver_and_loses_nothing_that_was_measured(process, home):
    done = process("demo", "--crash", "--json")

    assert done.code == failures.OK, done.err
    told = done.json
    assert told["error"] == {"type": "DriverCrashedError", "signal": "SIGKILL"}
    assert 0 < told["output_off_after_s"] < 1
    assert told["killed_pid"] != told["host_pid"]
    assert told["again"]["state"] == "done"
    assert told["again"]["rows"] == 161
    assert told["reconnects"] == told["new_connections"] == 0
    with Bay() as bay:
        lost = bay.runs.open(told["lost"]["run"])
        assert lost.state == "failed"
        assert 0 < len(lost) == told["lost"]["rows"] < 161


def test_the_demo_with_crash_tells_each_step(process):
    done = process("demo", "--crash")

    assert done.code == failures.OK, done.err
    for word in ("load", "kill", "off", "error", "kept", "sweep"):
        assert re.search(rf"^ ?\d+  {word} ", done.out, re.M)
    assert "by the simulator's own log" in done.out
    assert process("demo", "--crash", "--reload").code == failures.USAGE


def test_the_demo_with_reload_tells_each_step(process):
    done = process("demo", "--reload")

    assert done.code == failures.OK, done.err
    for word in ("copy", "load", "edit", "reload", "break"):
        assert re.search(rf"^ ?\d+  {word} ", done.out, re.M)
    assert "goes on (degraded)" in done.out
    folder = re.search(r"into (\S*drivebay-demo-\S+)", done.out)[1]
    assert not Path(folder).exists()


def test_the_built_in_driver_still_has_the_line_the_demo_edits():
    with demo_reload._copy_of_built_in() as folder:
        text = (folder / demo_reload.PLUGIN / "driver.py").read_text("utf-8")

    assert text.count(demo_reload.BEFORE) == 1


def test_a_simulator_that_does_not_start_is_told_as_such(environment):
    with (
        pytest.raises(benches.SimulatorError, match="did not start"),
        benches.simulated_2400(["--ohm=many"]),
    ):
        pass


def test_the_simulator_ends_with_the_program_that_started_it(environment):
    program = (
        "import json, os\n"
        "from drivebay.cli.demo_bench import simulated_2400\n"
        "with simulated_2400([]) as bench:\n"
        "    print(bench.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    pid = int(done.stdout)

    # Nobody's child now: a descriptor of the process becomes readable when it ends.
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30.0)[0], "the simulator outlived its starter"
    finally:
        os.close(descriptor)


def test_an_uncertainty_decides_how_many_digits_are_shown():
    assert with_uncertainty(0.59927, 0.0005, "ohm") == "(599.27 ± 0.50) mΩ"
    assert with_uncertainty(1.75, float("nan"), "") == "1.75"
    assert with_uncertainty(5.0, 20.0, "A") == "(5 ± 20) A"
