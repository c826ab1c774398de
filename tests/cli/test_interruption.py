"""Stopping a measurement from outside: output off, points kept, exit code 4."""

from __future__ import annotations

import json
import os
import select
import signal

import pytest

from drivebay import Bay
from drivebay.cli import failures
from drivebay.sim import Diode, Keithley2400Server

LONG = ["--start-v", "0", "--stop-v", "0.6", "--points", "5000", "--compliance-a", "10mA"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_measurement_with_the_output_off_and_the_points_kept(start, number):
    with Keithley2400Server(device=Diode(), log_traffic=True) as server:
        running = start("measure", "iv_sweep", "--on", server.resource, *LONG, "--json")
        server.log.wait_for("sweep_begin", count=3, timeout_s=60)  # the first is on disk by now
        running.send_signal(number)
        out, err = running.communicate(timeout=60)

        assert server.instrument.output_on is False

    error = json.loads(out)["error"]
    assert running.returncode == failures.ABORTED
    assert error["type"] == "AbortedError"
    assert "confirms that it is in its safe state" in err
    assert error["run"] in err
    assert "Traceback" not in err
    with Bay() as bay:
        run = bay.runs.open(error["run"])
        assert run.state == "aborted"
        assert run.reason == ("keyboard" if number == signal.SIGINT else number.name)
        assert 0 < len(run) < 5000


@pytest.mark.slow
def test_ctrl_c_during_the_demo_stops_it_and_leaves_no_process(start):
    running = start("demo")
    pid = 0
    for line in running.stdout:
        if " bench " in line:
            pid = int(line.rpartition("process ")[2])
        if " sweep " in line:
            break
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)

    assert running.returncode == failures.ABORTED, out + err
    assert "Traceback" not in err
    assert "aborted" in err
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_two_quick_signals_still_end_the_run_in_order(start):
    with Keithley2400Server(device=Diode()) as server:
        running = start("measure", "iv_sweep", "--on", server.resource, *LONG, "--json")
        server.log.wait_for("sweep_begin", count=3, timeout_s=60)
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        out, _ = running.communicate(timeout=60)

    with Bay() as bay:
        assert bay.runs.open(json.loads(out)["error"]["run"]).state == "aborted"


DEAF = """\
import os
import threading

from drivebay.driver import ScpiDriver, method


class Driver(ScpiDriver):
    @method("hang")
    def hang(self, params):
        yield {"pid": [os.getpid()]}
        with self.output(on=":OUTP ON", off=":OUTP OFF"):
            self.link.write(":SOUR:VOLT 0.1")  # past everything that would tell it of an abort
            with open(params["ready"], "w") as told:
                told.write("x")
            threading.Event().wait(120)
"""
SAFE = {"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "0"}}


@pytest.mark.slow
@pytest.mark.parametrize("safe_state", [SAFE, None], ids=["safe state", "none declared"])
def test_a_driver_that_does_not_listen_is_left_behind_at_the_second_ctrl_c(
    start, user_plugins, write_plugin, tmp_path, safe_state
):
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    told = os.open(ready, os.O_RDONLY | os.O_NONBLOCK)
    keys = {"supported_methods": ["hang"], "safe_state": safe_state}
    write_plugin(user_plugins, "deaf", driver_source=DEAF, **keys)
    with Keithley2400Server(device=Diode(), time_scale=0) as server:
        words = ["--on", server.resource, "--plugin", "deaf", "--set", f"ready={ready}", "--json"]
        running = start("measure", "hang", *words)
        assert select.select([told], [], [], 60.0)[0], "the driver did not come to its wait"
        os.close(told)
        running.send_signal(signal.SIGINT)
        server.log.wait_for("output_off", timeout_s=60)  # at once, whatever the driver does
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)

    error = json.loads(out)["error"]
    assert running.returncode == failures.ABORTED
    assert "the driver did not stop" in error["message"]
    assert "Traceback" not in err
    with Bay() as bay:
        run = bay.runs.open(error["run"])
        assert run.state == "interrupted"
        assert len(run) == 1
    ended(int(run["pid"][0]))  # its driver's process does not outlive the command


@pytest.mark.slow
def test_an_inline_measurement_is_aborted_with_its_json_on_standard_output(start):
    with Keithley2400Server(device=Diode()) as server:
        words = ["--on", server.resource, *LONG, "--inline", "--json"]
        running = start("measure", "iv_sweep", *words)
        server.log.wait_for("sweep_begin", count=2, timeout_s=60)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)

        assert server.instrument.output_on is False

    assert running.returncode == failures.ABORTED
    assert json.loads(out)["error"]["type"] == "AbortedError"


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_the_output_to_the_keeper(start):
    with Keithley2400Server(device=Diode(), log_traffic=True) as server:
        running = start("measure", "iv_sweep", "--on", server.resource, *LONG)
        server.log.wait_for("sweep_begin", count=2, timeout_s=60)
        running.kill()

        server.log.wait_for("output_off", timeout_s=60)

    assert server.instrument.output_on is False


def ended(pid):
    """Wait for the end of a process that is nobody's child here."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30.0)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)
