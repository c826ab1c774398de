"""Stopping a measurement from outside: output off, points kept, exit code 4."""

from __future__ import annotations

import json
import os
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
