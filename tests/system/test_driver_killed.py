"""A driver's process that is killed costs nothing but the run it was in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from drivebay import DriverCrashedError
from lab import SOAK, Process, Reading, milliseconds, off_after
from phases import PHASES, SHORT, SWEEP, Moment, moments, phase_in

OFF_S = 1.0
pytestmark = pytest.mark.slow


def stored(run: Any) -> np.ndarray[Any, Any]:
    return np.asarray(run["voltage_v"])


def handed_out(reading: Reading) -> np.ndarray[Any, Any]:
    return np.concatenate([[], *(chunk["voltage_v"] for chunk in reading.chunks)])


def kill_at(moment: Moment, smu: Any, wire: Any, log: Any) -> tuple[float, Reading]:
    """Measure, kill the driver's process at the moment, and wait for the end."""
    stream = smu.stream("iv_sweep", **SWEEP)
    begun: list[Reading] = []
    with Process(smu.host_pid) as host:
        go_on = moment.await_it(wire, log, lambda: begun.append(Reading(stream)))
        at = host.kill()
        go_on()
        host.wait_gone()
    begun[0].end()
    return at, begun[0]


def test_a_killed_driver_loses_no_point_and_its_output_is_off_within_a_second(
    bay, wire, simulator, log, figures
):
    count = 40 * SOAK
    smu = bay.open(wire.resource)
    off_s, phases, after_chunk, points = [], [], 0, 0
    for moment in moments(count, seed=40):
        mark = len(log)

        at, reading = kill_at(moment, smu, wire, log)

        error = reading.error
        assert isinstance(error, DriverCrashedError), (moment, error)
        assert (error.plugin, error.signal) == ("keithley_2400", "SIGKILL")
        run = bay.runs.open(error.run_id or "")
        assert run.state == "failed"
        assert "SIGKILL" in (run.reason or "")
        # What was handed out is stored, all of it, and nothing else.
        np.testing.assert_array_equal(stored(run), handed_out(reading))
        after_chunk += len(reading.chunks) > 0
        points += len(run)

        assert smu.measure("iv_sweep", **SHORT).state == "done", moment
        assert smu.reconnects == 0, moment
        # Everything the killed run did comes before the first command of the next one.
        log.wait("output_off", since=mark)
        events = log.since(mark)
        until = max(n for n, e in enumerate(events) if e.get("text") == "*CLS")
        waited = off_after(events[:until], at)
        assert waited is not None, moment
        assert waited <= OFF_S, moment
        off_s.append(waited)
        phases.append(phase_in(events[:until], at))

    assert simulator.connections == 1
    assert smu.status()["armed"] is False
    assert {phase: phases.count(phase) >= 5 for phase in PHASES} == dict.fromkeys(PHASES, True)
    assert after_chunk >= 0.6 * count
    figures["driver killed: kills"] = f"{count}, {after_chunk} of them after a stored chunk"
    figures["driver killed: output off"] = milliseconds(off_s)
    figures["driver killed: points lost"] = f"0 of {points}"
    figures["driver killed: reconnects"] = str(smu.reconnects)


def test_a_driver_that_is_killed_while_it_waits_for_work_is_not_even_noticed(bay, simulator):
    smu = bay.open(simulator.resource)
    for _ in range(10 * SOAK):
        with Process(smu.host_pid) as host:
            host.kill()

            assert smu.measure("iv_sweep", **SHORT).state == "done"

    assert smu.reconnects == 0
    assert simulator.connections == 1
