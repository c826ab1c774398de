"""The laboratory can fail: the same oracle, with one guard replaced by a faulty one.

A test of safety that cannot fail proves nothing. Here the safe state is wrong, the record of what
is armed is gone, the instrument is not told to stop, or there is no platform at all; and the oracle
of the other tests says so each time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drivebay import AbortedError, Bay, DriverCrashedError
from lab import Owner, Process, Reading, environment, off_after, watchman_of
from phases import SHORT, SWEEP
from plugins import SAFE_STATE, write_driver

pytestmark = pytest.mark.slow

LONG = SWEEP | {"points": 1000}
# Everything is as it should be, but what is sent switches nothing off.
HARMLESS: dict[str, Any] = {"writes": ["*CLS"], "verify": {"query": "*STB?", "equals": "0"}}


def killed_in_a_sweep(folder: Path, simulator: Any) -> float | None:
    """Seconds until the output was off after the driver was killed, by the oracle."""
    log = simulator.log
    with Bay(plugin_dirs=[folder]) as bay:
        smu = bay.open(simulator.resource)
        mark = len(log)
        reading = Reading(smu.stream("iv_sweep", **LONG))
        reading.wait_chunks(2)
        with Process(smu.host_pid) as host:
            at = host.kill()
        assert isinstance(reading.end(), DriverCrashedError)
        # Its answer comes after everything that was sent before it.
        smu.query("*OPC?")
        log.wait(lambda event: event.get("text") == "*OPC?", since=mark)
        return off_after(log.since(mark), at)


def test_a_safe_state_that_is_right_switches_off(tmp_path, simulator):
    write_driver(tmp_path)

    assert killed_in_a_sweep(tmp_path, simulator) is not None


def test_control_a_safe_state_that_is_wrong_leaves_the_output_on(tmp_path, simulator):
    write_driver(tmp_path, safe_state=HARMLESS)

    assert killed_in_a_sweep(tmp_path, simulator) is None


def test_control_a_safe_state_that_says_so_is_found_out(tmp_path, simulator):
    """Wrong writes with the right question: it is on, and everybody is told that it is."""
    write_driver(tmp_path, safe_state=SAFE_STATE | {"writes": ["*CLS"]})
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(simulator.resource)
        reading = Reading(smu.stream("iv_sweep", **LONG))
        reading.wait_chunks(2)
        with Process(smu.host_pid) as host:
            host.kill()
        reading.end()

        assert smu.status()["safety"] == "unsafe"
        report = smu.make_safe()
        assert report.verified is False
        assert ":OUTP?" in report.problems[0]
    assert simulator.output_on


def test_control_without_the_record_of_what_is_armed_nobody_knows(
    simulator, log, one_folder_of_leases
):
    """All dead that would switch off, and the record lost: the next start has nothing to do."""
    owner, another = Owner(), Owner()
    try:
        owner.tell(resource=simulator.resource)
        ids = owner.hear()
        with (
            Process(ids["keeper"]) as keeper,
            Process(watchman_of(ids["keeper"])) as watchman,
            Process(ids["host"]) as host,
        ):
            owner.tell(sweep=LONG)
            assert owner.hear()["points"] > 0
            watchman.kill()
            keeper.kill()
            owner.kill()
            host.wait_gone()
            keeper.wait_gone()
        (record,) = one_folder_of_leases.glob(f"*{simulator.port}*.armed")
        record.unlink()

        another.tell(resource=simulator.resource)
        assert another.hear()["keeper"]

        assert simulator.output_on
    finally:
        for each in (owner, another):
            each.close()


def test_control_a_driver_that_nobody_can_stop_is_not_told_anything(tmp_path, simulator, log):
    """No safe state, an ``abort`` that does nothing: the oracle of the aborts sees no command."""
    write_driver(
        tmp_path,
        safe_state=None,
        extra='abort_command = ""\n',
    )
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(simulator.resource)
        mark = len(log)
        stream = smu.stream("iv_sweep", **LONG)
        reading = Reading(stream)
        reading.wait_chunks(2)

        stream.abort()

        assert isinstance(reading.end(), AbortedError)
        assert not [e for e in log.named("message", since=mark) if e["text"] == ":ABOR"]


def test_control_a_script_of_the_usual_kind_loses_its_points_and_stays_on(
    tmp_path, simulator, log, figures
):
    target = tmp_path / "points.json"
    script = Path(__file__).with_name("stock_program.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(simulator.port), str(target)],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if json.loads(line)["points"] == 50:
                break
        program.kill()

    log.wait("connection_closed")
    assert simulator.output_on
    assert not target.exists()
    figures["a stock script killed: output"] = "on for ever"
    figures["a stock script killed: points lost"] = "50 of 50"


def test_control_the_next_measurement_would_notice_a_link_that_was_made_new(bay, simulator):
    """The count of reconnects counts: the cable is pulled, and one more is in the log."""
    smu = bay.open(simulator.resource)
    assert smu.measure("iv_sweep", **SHORT).state == "done"
    smu.close()
    again = bay.open(simulator.resource)
    assert again.measure("iv_sweep", **SHORT).state == "done"

    assert simulator.connections == 2
