"""However a measurement ends, its run says so once, says why, and has its points."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay import Bay
from drivebay._core.faults import TOO_MANY, WITHIN_S, Faults
from drivebay._core.host import Exit, Limits
from lab import Process, Reading
from phases import SWEEP
from plugins import NAME, write_driver

pytestmark = pytest.mark.slow

LONG = SWEEP | {"points": 1000}


Acts = list[Callable[..., object]]
Arrange = Callable[[Path, Acts], None]


def by_the_driver(third_point: str) -> Arrange:
    """The driver does it itself, before its third point."""

    def arrange(folder: Path, acts: Acts) -> None:
        write_driver(folder, third_point=third_point)

    return arrange


def acting(act: Callable[..., object]) -> Arrange:
    """Somebody does something once points have been stored."""

    def arrange(folder: Path, acts: Acts) -> None:
        write_driver(folder)
        acts.append(act)

    return arrange


def kill_keeper(smu: Any, **_: Any) -> None:
    with Process(smu.keeper_pid) as keeper:
        keeper.kill()


def kill_driver(smu: Any, **_: Any) -> None:
    with Process(smu.host_pid) as host:
        host.kill()


# How it ends: what leads to it, the state, and a word of the reason.
ENDS: dict[str, tuple[Arrange, str, str]] = {
    "the driver raises": (by_the_driver("raise ValueError('third')"), "failed", "third"),
    "the driver says sys.exit": (by_the_driver("sys.exit(4)"), "failed", "sys.exit(4)"),
    "the driver's process exits": (by_the_driver("os._exit(5)"), "failed", "status 5"),
    "the driver crashes": (by_the_driver("ctypes.string_at(0)"), "failed", "SIGSEGV"),
    "the driver takes all memory": (
        by_the_driver("x = []\nwhile True: x.append(bytearray(1 << 20))"),
        "failed",
        "",  # MemoryError or the end of the process, whichever limit is met first
    ),
    "the driver hangs": (by_the_driver("time.sleep(3600)"), "failed", "no sign of life"),
    "the driver is killed": (acting(kill_driver), "failed", "SIGKILL"),
    "the keeper is killed": (acting(kill_keeper), "failed", "keeper"),
    "the instrument is gone": (
        acting(lambda simulator, **_: os.kill(simulator.process.pid, signal.SIGKILL)),
        "failed",
        "",
    ),
    "the user aborts": (acting(lambda stream, **_: stream.abort()), "aborted", "user"),
    "the session is closed": (
        acting(lambda smu, **_: smu.close()),
        "aborted",
        "the session was closed",
    ),
    "the bay is closed": (acting(lambda bay, **_: bay.close()), "aborted", "closed"),
}


@pytest.mark.parametrize("kind", ENDS)
def test_a_run_ends_once_with_a_reason_and_all_its_points(kind, tmp_path, simulator):
    arrange, state, word = ENDS[kind]
    acts: Acts = []
    arrange(tmp_path, acts)
    limits = Limits(hang_s=0.5, memory_bytes=300 << 20)
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(simulator.resource, limits=limits)
        stream = smu.stream("iv_sweep", **LONG)

        reading = Reading(stream)
        for act in acts:
            reading.wait_chunks(3)
            act(bay=bay, smu=smu, stream=stream, simulator=simulator)
        reading.end()

        run = bay.runs.open(stream.run.id)
        assert run.state == state
        assert word in (run.reason or "")
        assert run.reason
        taken = np.concatenate([chunk["voltage_v"] for chunk in reading.chunks])
        np.testing.assert_array_equal(run["voltage_v"], taken)
        assert len(taken) >= 2
        with sqlite3.connect(run.path) as database:
            assert database.execute("SELECT count(*) FROM ending").fetchone() == (1,)
        database.close()
    if kind != "the instrument is gone":
        simulator.log.wait("output_off")
        assert not simulator.output_on


# -- too many crashes ------------------------------------------------------------------------------


def crash(bay: Bay, smu: Any) -> None:
    reading = Reading(smu.stream("iv_sweep", **SWEEP | {"points": 5}))
    assert "SIGSEGV" in str(reading.end())


def crashing(tmp_path: Any) -> Any:
    """A driver that crashes while a file is there."""
    flag = tmp_path / "crash"
    write_driver(
        tmp_path / "p", third_point=f"os.path.exists({str(flag)!r}) and ctypes.string_at(0)"
    )
    flag.touch()
    return flag


def counted(caplog: pytest.LogCaptureFixture) -> int:
    return sum("its process was ended by" in record.message for record in caplog.records)


def test_code_that_crashes_three_times_is_disabled_and_says_why(tmp_path, simulator):
    crashing(tmp_path)
    with Bay(plugin_dirs=[tmp_path / "p"]) as bay:
        events = []
        smu = bay.open(simulator.resource)
        disabled = wait_for_event(bay, "disabled", events)
        for _ in range(TOO_MANY):
            assert bay.plugins.plugins[NAME].status.value != "disabled"
            crash(bay, smu)
        disabled()

        info = bay.plugins.plugins[NAME]
        assert info.status.value == "disabled"
        assert "crashed 3 times within 5 minutes" in (info.reason or "")
        assert simulator.resource in (info.reason or "")
        with pytest.raises(Exception, match="disabled"):
            bay.open(simulator.resource)
    assert not simulator.output_on


def wait_for_event(bay: Bay, kind: str, events: list[Any]) -> Callable[[], None]:
    came = threading.Event()

    def hear(event: Any) -> None:
        events.append(event)
        if event.kind == kind:
            came.set()

    bay.plugins.subscribe(hear)

    def wait() -> None:
        assert came.wait(20), events

    return wait


def test_a_run_that_ends_well_makes_earlier_crashes_forgotten(tmp_path, simulator, caplog):
    caplog.set_level(logging.ERROR, "drivebay.bay")
    flag = crashing(tmp_path)
    with Bay(plugin_dirs=[tmp_path / "p"]) as bay:
        smu = bay.open(simulator.resource)
        for _ in range(2):
            for _ in range(TOO_MANY - 1):
                crash(bay, smu)
            flag.unlink()
            assert smu.measure("iv_sweep", **SWEEP | {"points": 5}).state == "done"
            flag.touch()

        assert counted(caplog) == 2 * (TOO_MANY - 1)
        assert bay.plugins.plugins[NAME].status.value == "active"


def test_being_killed_from_outside_is_no_fault(tmp_path, simulator):
    write_driver(tmp_path)
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(simulator.resource)
        for _ in range(TOO_MANY + 2):
            reading = Reading(smu.stream("iv_sweep", **LONG))
            reading.wait_chunks(1)
            kill_driver(smu)
            assert "SIGKILL" in str(reading.end())

        assert bay.plugins.plugins[NAME].status.value == "active"


def test_crashes_further_apart_than_five_minutes_are_not_too_many():
    now = [0.0]
    faults = Faults(clock=lambda: now[0])
    segv = Exit(signal="SIGSEGV")
    for _ in range(10):
        assert not faults.count("code", "here", segv)
        now[0] += WITHIN_S / 2 + 1

    now[0] += WITHIN_S
    assert [faults.count("code", "here", segv) for _ in range(3)] == [False, False, True]
    assert not faults.count("other code", "here", segv)
