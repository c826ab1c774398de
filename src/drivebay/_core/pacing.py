"""Two sources in step: what a gate and a drain are told, in which order, and the rows of it.

Promises: a measurement and its replay go by the same order, which is here alone: the gate comes on
before the drain, each step waits for both, the swept channel goes to its level, the delay passes,
then both are read. Knows no session, no host and no command; it calls what it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from drivebay._core.methods import OutputCurve, TransferCurve

Call = Callable[..., Any]
"""Calls a method of a driver by its name, ``call("step_to", 0.5)``."""

Curves = TransferCurve | OutputCurve


@dataclass(frozen=True)
class Pace:
    """The time two sources are led by.

    Attributes:
        wait: lets seconds pass; raises where the measurement is to end.
        look: raises where the measurement is to end.
        now_s: the clock of the rows.
    """

    wait: Callable[[float], None]
    look: Callable[[], None] = lambda: None
    now_s: Callable[[], float] = time.monotonic


def paced(p: Curves, gate: Call, drain: Call, pace: Pace) -> Generator[dict[str, Any]]:
    """Lead two sources through curves; yields the rows of a quarter of a second at a time.

    Args:
        p: the curves; of a transfer curve the gate is swept, of an output curve the drain.
        gate: calls the driver at the gate.
        drain: calls the driver at the drain.
        pace: the time.
    """
    swept, held = (gate, drain) if isinstance(p, TransferCurve) else (drain, gate)
    # The gate first: what it holds back must not flow before it does.
    gate("begin_steps", steps_of(p, "gate"))
    drain("begin_steps", steps_of(p, "drain"))
    began_s = pace.now_s()
    for outer, begins, levels in p.curves(at_most=25, seconds=0.25):
        if begins:
            swept("step_to", float(levels[0]))
            held("step_to", float(outer))
            pace.wait(p.hold_s)
        rows = []
        for level in levels:
            swept("step_to", float(level))
            pace.wait(p.delay_s)
            at_gate, at_drain = gate("step_read"), drain("step_read")
            pace.look()
            rows.append((at_gate, at_drain, pace.now_s() - began_s))
        yield _chunk(rows)
    drain("end_steps")
    gate("end_steps")


def levels_of(p: Curves, channel: str) -> tuple[tuple[float, ...], str]:
    """What a channel is set to, and the parameter that says so."""
    if p.OUTER.startswith(channel):
        return p.outer_levels, p.OUTER
    return tuple(float(level) for level in p.levels), p.AXIS.stop


def steps_of(p: Curves, channel: str) -> dict[str, Any]:
    """How the source of a channel is set up, as ``SteppedSource.begin_steps`` takes it."""
    levels, _ = levels_of(p, channel)
    return {
        "top_v": max(abs(level) for level in levels),
        "compliance_a": getattr(p, f"{channel}_compliance_a"),
        "nplc": p.nplc,
        "sense_range_a": getattr(p, f"{channel}_sense_range_a"),
        "four_wire": p.four_wire,
    }


def _chunk(rows: list[tuple[dict[str, Any], dict[str, Any], float]]) -> dict[str, Any]:
    import numpy as np

    gates, drains, _ = zip(*rows, strict=True)

    def column(readings: tuple[dict[str, Any], ...], name: str) -> Any:
        return np.array([each[name] for each in readings], dtype=np.float64)

    limited = [gate["in_compliance"] or drain["in_compliance"] for gate, drain, _ in rows]
    return {
        "gate_voltage_v": column(gates, "voltage_v"),
        "drain_voltage_v": column(drains, "voltage_v"),
        "drain_current_a": column(drains, "current_a"),
        "gate_current_a": column(gates, "current_a"),
        "time_s": np.array([seconds for _, _, seconds in rows], dtype=np.float64),
        "in_compliance": np.array(limited, dtype=bool),
    }
