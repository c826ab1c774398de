"""A 2450 runs a whole list by itself: who dies meanwhile must not leave it running.

A 2400 that loses its program waits with its last level; a 2450 goes on through up to 2,500 levels.
The keeper's ``:ABOR`` and ``:OUTP OFF`` end that within a second, whoever was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from drivebay import Bay, DriverCrashedError, LinkError
from lab import SOAK, Process, Reading, Simulator, milliseconds, off_after

pytestmark = pytest.mark.slow

OFF_S = 2.0
# One list of 2,000 levels: 20 s if nobody stops it.
SWEEP: dict[str, Any] = {
    "start_v": 0,
    "stop_v": 1,
    "points": 2000,
    "compliance_a": 0.01,
    "nplc": 0.01,
    "delay_s": 0.0095,
}
SHORT = SWEEP | {"points": 5}


@pytest.fixture
def k2450() -> Iterator[Simulator]:
    with Simulator(kind="keithley2450") as simulator:
        yield simulator


def sweeping(smu: Any, simulator: Simulator, mark: int) -> Reading:
    """A sweep that has given readings and goes on."""
    reading = Reading(smu.stream("iv_sweep", **SWEEP))
    simulator.log.wait("sweep_begin", since=mark)
    reading.wait_chunks(1)
    return reading


def test_a_killed_driver_does_not_leave_a_2450_sweeping(bay, k2450, figures):
    smu, off_s = bay.open(k2450.resource), []
    for _ in range(3 * SOAK):
        mark = len(k2450.log)
        with Process(smu.host_pid) as host:
            reading = sweeping(smu, k2450, mark)
            at = host.kill()
            host.wait_gone()
        error = reading.end()

        assert isinstance(error, DriverCrashedError)
        run = bay.runs.open(error.run_id or "")
        given = np.concatenate([chunk["voltage_v"] for chunk in reading.chunks])
        np.testing.assert_array_equal(run["voltage_v"], given)
        k2450.log.wait("output_off", since=mark)
        waited = off_after(k2450.log.since(mark), at)
        assert waited is not None
        assert waited <= OFF_S
        (ended,) = k2450.log.named("sweep_end", since=mark)
        assert ended["aborted"]
        assert ended["taken"] < SWEEP["points"]
        off_s.append(waited)
        assert smu.measure("iv_sweep", **SHORT).state == "done"
    figures["a 2450's driver killed: output off"] = milliseconds(off_s)


def test_a_killed_keeper_of_a_2450_is_replaced_by_one_that_stops_it(k2450, figures):
    with Bay() as bay:
        smu = bay.open(k2450.resource)
        mark = len(k2450.log)
        with Process(smu.keeper_pid) as keeper:
            reading = sweeping(smu, k2450, mark)
            at = keeper.kill()
        assert isinstance(reading.end(), LinkError)
        smu.close()
        k2450.log.wait("output_off", since=mark)
        waited = off_after(k2450.log.since(mark), at)

        assert waited is not None
        assert waited <= OFF_S
        assert k2450.log.named("sweep_end", since=mark)[0]["aborted"]
        assert bay.open(k2450.resource).measure("iv_sweep", **SHORT).state == "done"
    figures["a 2450's keeper killed: output off"] = milliseconds([waited])
