"""The timing of the 2400: what a source-delay-measure cycle takes, and its status bits.

Never waits: the trigger model of ``drivebay.sim.triggering`` does.

From the 2400 Series User's Manual, section 11, "Remote operation" (trigger model, counters, delays)
and section 6, "Source-delay-measure cycle" (trigger latency, auto delay). Simplified: a reading
integrates once for all measured functions, and autozero costs no time.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivebay.sim.keithley2400.settings import Settings

TRIGGER_LATENCY_S = 100e-6
AUTO_DELAY_S = 1e-3
SWEEPING, WAITING_FOR_TRIGGER, WAITING_FOR_ARM, IDLE = 8, 32, 64, 1024


@dataclass(slots=True)
class Cycle:
    """The timing of one source-delay-measure cycle, in seconds."""

    before_s: float
    integration_s: float

    @property
    def total_s(self) -> float:
        """From one trigger to the end of its reading."""
        return self.before_s + self.integration_s


def cycle_of(s: Settings, line_frequency_hz: float) -> Cycle:
    """What a cycle takes: latency, trigger delay, source delay, integration."""
    delay_s = AUTO_DELAY_S if s.source_delay_auto else s.source_delay_s
    repeats = s.average_count if s.average and s.average_control == "REP" else 1
    before_s = TRIGGER_LATENCY_S + s.trigger_delay_s + delay_s
    return Cycle(before_s, repeats * s.nplc / line_frequency_hz)
