"""Keysight B2902A, B2912A and their B versions: either channel alone, or both at one transistor.

Promises: what ``keysight_b2901`` promises, on the channel that ``config`` names; both channels of a
curve are triggered together, and the drain goes off before the gate. Page numbers are those of the
B2900 SCPI Command Reference, B2910-90030 Edition 2. Proven on the simulator only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from drivebay.driver import (
    Diagnostic,
    OutputCurve,
    ParameterError,
    Run,
    Source,
    Timeline,
    TransferCurve,
    method,
)

if TYPE_CHECKING:
    from drivebay.drivers.keysight_b2901.driver import KeysightB2901
else:
    from keysight_b2901.driver import KeysightB2901


# Within these voltages the channels share what they have.
_NARROW_V, _WIDE_V, _TOGETHER_A = 6.0, 21.0, 4.0


class KeysightB2902(KeysightB2901):
    """Source/measure units B2902 and B2912."""

    abort_command = ":ABOR (@1,2)"

    @property
    def gate_channel(self) -> int:
        """The channel at the gate; the other one is at the drain."""
        return int(self.config.get("gate_channel", 1))

    @method("transfer_curve")
    def transfer_curve(self, p: TransferCurve) -> Iterator[dict[str, Any]]:
        """Sweep the gate at each drain voltage."""
        yield from self._curves(p, sweeps_gate=True)

    @method("output_curve")
    def output_curve(self, p: OutputCurve) -> Iterator[dict[str, Any]]:
        """Sweep the drain at each gate voltage."""
        yield from self._curves(p, sweeps_gate=False)

    def _curves(
        self, p: TransferCurve | OutputCurve, *, sweeps_gate: bool
    ) -> Iterator[dict[str, Any]]:
        _check_together(p, "transfer_curve" if sweeps_gate else "output_curve")
        gate = _source(p, "gate", sweeps_gate, self.gate_channel)
        drain = _source(p, "drain", not sweeps_gate, 3 - self.gate_channel)
        swept, held = (gate, drain) if sweeps_gate else (drain, gate)
        for source in (gate, drain):
            self.set_up(source, listed=source is swept)
        clock = Timeline()
        # The gate first and off last: what it holds back must not flow without it.
        with self.switched_on(gate), self.switched_on(drain):
            for outer, begins, levels in p.curves(at_most=250, seconds=0.25):
                if begins:
                    first = {swept.channel: float(levels[0]), held.channel: float(outer)}
                    self.write(*(self.level_command(c, first[c.channel]) for c in (gate, drain)))
                    self.sleep(p.hold_s)
                messages = [
                    *self.list_setup(swept, levels),
                    f":TRIG{held.channel}:ALL:COUN {len(levels)}",
                    ":INIT (@1,2)",
                    f":FETC:ARR? (@{gate.channel})",
                ]
                run = Run(messages, len(levels), gate.step_s)
                at_gate = self.decoded(gate, self.begin(gate, run, drain).numbers())
                found = self.query_numbers(f":FETC:ARR? (@{drain.channel})", 4, len(levels))
                at_drain = self.decoded(drain, found)
                gate_points, drain_points = at_gate.points(), at_drain.points()
                yield {
                    "gate_voltage_v": gate_points["voltage_v"],
                    "drain_voltage_v": drain_points["voltage_v"],
                    "drain_current_a": drain_points["current_a"],
                    "gate_current_a": gate_points["current_a"],
                    "time_s": clock.rising(at_gate.time_s),
                    "in_compliance": at_gate.limited | at_drain.limited,
                }
        self.check_errors()


def _check_together(p: TransferCurve | OutputCurve, name: str) -> None:
    """Refuse what both channels cannot give at once (User's Guide, Edition 5, table 2-4, 2-14)."""
    inner, outer = p.max_abs, max(abs(level) for level in p.outer_levels)
    gate_v, drain_v = (inner, outer) if isinstance(p, TransferCurve) else (outer, inner)
    if max(gate_v, drain_v) > _WIDE_V:
        return
    # What a channel draws above 6 V counts 1.6 times.
    gate_a, drain_a = p.gate_compliance_a, p.drain_compliance_a
    total_a = gate_a * _weight(gate_v) + drain_a * _weight(drain_v)
    if total_a > _TOGETHER_A * 1.000001:
        text = (
            f"{drain_a:g} A at {drain_v:g} V with {gate_a:g} A at {gate_v:g} V at the gate is more"
            " than both channels give together"
        )
        problem = Diagnostic("P004", text, path="/drain_compliance_a")
        raise ParameterError([problem], method=name)


def _weight(volt: float) -> float:
    return 1.6 if volt > _NARROW_V else 1.0


def _source(p: TransferCurve | OutputCurve, name: str, is_swept: bool, channel: int) -> Source:
    """What the channel at the gate or at the drain does."""
    levels = p.levels if is_swept else p.outer_levels
    return Source(
        function="VOLT",
        top=float(max(abs(level) for level in levels)),
        compliance=getattr(p, f"{name}_compliance_a"),
        sense_range=getattr(p, f"{name}_sense_range_a"),
        delay_s=p.delay_s,
        nplc=p.nplc,
        four_wire=p.four_wire,
        channel=str(channel),
    )
