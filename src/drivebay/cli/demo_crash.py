"""``drivebay demo --crash``: the driver's process is killed in the middle of a sweep.

The kill is the real one (SIGKILL from outside, which no code can catch), and when the output went
off is read from the simulator's own log. Nothing here makes the instrument safe or starts the next
driver: that is what the platform does by itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.demo import DIODE, SWEEP, Story, introduce, look, told_load
from drivebay.cli.demo_bench import SimulatedBench, SimulatorError, simulated_2400
from drivebay.cli.failures import ABORTED
from drivebay.cli.measure import Aborted, record, tell_abort
from drivebay.cli.output import emit

if TYPE_CHECKING:
    from drivebay import DriverCrashedError, Instrument

KILL_AFTER: Final = 0.4
"""The part of the sweep that is measured when the driver is killed."""


def demo_crash(as_json: bool) -> int | None:
    """Sweep, kill the driver on the way, show what became of everything, sweep again."""
    story = Story(as_json)
    try:
        with simulated_2400([*DIODE.options(), "--serial-number=SIM2400"]) as bench:
            introduce(story, bench, "a diode")
            result = _survive(story, bench)
    except Aborted as exc:
        tell_abort(exc, as_json)
        return ABORTED
    if as_json:
        emit(result)
    return None


class _Killer:
    """Kills the driver once enough points have come."""

    def __init__(self, story: Story, smu: Instrument, after: int) -> None:
        self._story, self._smu, self._after = story, smu, after
        self.victim = smu.host_pid or 0
        self.points = 0
        self.killed_s: float | None = None

    def __call__(self, chunk: Mapping[str, Any]) -> None:
        self.points += len(next(iter(chunk.values())))
        if self.killed_s is None and self.points >= self._after:
            self._story.step(
                "kill", f"SIGKILL to process {self.victim}, the driver, with the output on"
            )
            self.killed_s = time.monotonic()
            os.kill(self.victim, signal.SIGKILL)


def _survive(story: Story, bench: SimulatedBench) -> dict[str, Any]:
    from drivebay import Bay

    with Bay() as bay:
        found = look(story, bay, bench.resource)
        with bay.open(found.resource) as smu:
            told_load(story, smu)
            connections = len(bench.events("connection_opened"))
            story.step("sweep", f"iv_sweep, {SWEEP['points']} points")
            killer = _Killer(story, smu, int(KILL_AFTER * SWEEP["points"]))
            error = _sweep_until_killed(smu, killer)
            off_s = _off_after(bench, killer.killed_s or 0.0)
            story.step(
                "off",
                f"output off {off_s * 1000:.1f} ms after the kill, by the simulator's own log",
            )
            lost = bay.runs.open(error.run_id or "")
            story.step("error", f"{type(error).__name__}: {error}")
            story.step("kept", f"{len(lost)} points are on disk: {lost.id}, {lost.state}")

            again, _ = record(smu, "iv_sweep", SWEEP, on_stderr=False)
            opened = len(bench.events("connection_opened")) - connections
            story.step(
                "sweep",
                f"{len(again)} points, {again.state}, on the same open instrument: {again.id}",
            )
            story.line(
                f"              driver's process {killer.victim} -> {smu.host_pid}, keeper"
                f" {smu.keeper_pid} as before, {_connections(smu.reconnects)}"
            )
            story.line()
            story.line(
                "The keeper holds the link and knows the safe state as data: it needs no driver"
            )
            story.line("to switch off. Software promises no more than that; interlocks do.")
            return {
                "simulated": True,
                "killed_pid": killer.victim,
                "host_pid": smu.host_pid,
                "keeper_pid": smu.keeper_pid,
                "output_off_after_s": off_s,
                "error": {"type": type(error).__name__, "signal": error.signal},
                "lost": {"run": lost.id, "state": lost.state, "rows": len(lost)},
                "again": {"run": again.id, "state": again.state, "rows": len(again)},
                "new_connections": opened,
                "reconnects": smu.reconnects,
            }


def _connections(reconnects: int) -> str:
    if not reconnects:
        return "no reconnect"
    # An instrument that is stopped need not answer what it was asked before; only a new
    # connection then tells its next answer from that one.
    return f"reconnected {reconnects}x, because an answer that was owed never came"


def _sweep_until_killed(smu: Instrument, killer: _Killer) -> DriverCrashedError:
    """Measure until the driver is dead; the error its user gets."""
    from drivebay import DriverCrashedError

    try:
        record(smu, "iv_sweep", SWEEP, on_stderr=False, on_chunk=killer)
    except DriverCrashedError as exc:
        return exc
    raise click.ClickException("the sweep ended before its driver was killed")


def _off_after(bench: SimulatedBench, killed_s: float) -> float:
    """Seconds from the kill until the simulator saw its output go off."""
    times = [each["t"] for each in bench.events("output_off") if each["t"] >= killed_s]
    if not times:
        raise SimulatorError("THE OUTPUT DID NOT GO OFF after the driver was killed")
    return float(times[0]) - killed_s
