"""Keithley 2400 family: sweeps that the instrument runs itself, in segments, and readings on time.

Promises: what :class:`SourceMeter` promises, by the commands of these instruments. Page numbers are
those of the 2400 Series SourceMeter User's Manual, 2400S-900-01 Rev. K. Proven on the simulator
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import InstrumentError, Readings, Source, SourceMeter

# Bits of the status word that comes with each reading (18-50, 18-51).
OVER_RANGE, COMPLIANCE, RANGE_COMPLIANCE = 1 << 0, 1 << 3, 1 << 16

# The lowest source range of any model or less, which selects the lowest (18-62).
_LOWEST: Final = {"VOLT": 0.2, "CURR": 1e-6}
# The arm layer's timer takes 1 ms and more (section 18, "Trigger subsystem").
_SHORTEST_TIMER_S = 1e-3


class Keithley2400(SourceMeter):
    """Source-measure units 2400, 2401, 2410, 2420, 2425, 2430 (DC), 2440."""

    output_query = ":OUTP?"
    binary_has_length = False  # its blocks begin with #0 (18-48)
    most_levels = 250
    # What a level takes beside delay and integration: 1,551 a second at best at NPLC 0.01 (data
    # sheet, "sweep operation reading rates"), fewer with the auto-zero that is on here.
    level_overhead_s = 1e-3
    _count = 0  # readings of a run, as last sent; 0 after a set-up

    def setup_commands(self, source: Source, *, listed: bool) -> list[str]:
        """Nothing is taken over from before."""
        self._count = 0
        terminals, off_mode = self.config.get("terminals"), self.config.get("output_off")
        function, sense = source.function, source.sense
        # A level of 0 has no range of its own: the lowest is the quietest.
        source_range = source.range or source.top or _LOWEST[function]
        # A delay that is given switches the automatic one off (18-82).
        delay = "DEL:AUTO ON" if source.delay_s is None else f"DEL {source.delay_s!r}"
        return [
            *([f":ROUT:TERM {terminals}"] if terminals else []),
            *([f":OUTP:SMOD {off_mode}"] if off_mode else []),
            # One pass through the trigger model a :READ?, output held on in between (11-10 to
            # 11-13).
            *(":SOUR:CLE:AUTO OFF", ":ARM:COUN 1", ":ARM:SOUR IMM", ":TRIG:SOUR IMM"),
            *(":TRIG:COUN 1", ":TRIG:DEL 0", ":SENS:AVER OFF"),
            # The output comes on at 0: a level left from before must not reach the device. The
            # lowest range takes any compliance; source range and compliance exclude each other
            # (18-62).
            *(f":SOUR:FUNC {function}", f":SOUR:{function}:MODE FIX", f":SOUR:{function} 0"),
            f":SOUR:{function}:RANG {_LOWEST[function]!r}",
            # Voltage and current from one trigger (section 18, "SENSe1 subsystem"): in compliance
            # the voltage is not the level.
            *(":SENS:FUNC:CONC ON", ':SENS:FUNC:OFF "RES"', ':SENS:FUNC "VOLT","CURR"'),
            *(f":SENS:{sense}:RANG:AUTO ON", f":SENS:{sense}:PROT {source.compliance!r}"),
            *([] if source.sense_range is None else [f":SENS:{sense}:RANG {source.sense_range!r}"]),
            *(f":SENS:{sense}:NPLC {source.nplc!r}", f":SYST:AZER {_word(source.auto_zero)}"),
            f":SYST:RSEN {_word(source.four_wire)}",
            # FIX: the range must not change from segment to segment, as BEST would (10-21).
            *(f":SOUR:{function}:RANG {source_range!r}", ":SOUR:SWE:RANG FIX"),
            *([f":SOUR:{function}:MODE LIST"] if listed else []),
            *(f":SOUR:{delay}", ":FORM:ELEM VOLT,CURR,TIME,STAT", ":SYST:TIME:RES"),
        ]

    def set_up(self, source: Source, *, listed: bool) -> Sequence[str]:
        """Also refuse to wait for readings that an open test fixture keeps from coming (18-56)."""
        enabled, closed = answers = super().set_up(source, listed=listed)
        if enabled.strip() == "1" and closed.strip() == "0":
            raise InstrumentError(
                f"{self.resource_name} has its output blocked by its output enable line: close the"
                " test fixture, or see to pin 8 of its digital I/O connector",
                resource=self.resource_name,
            )
        return answers

    def limit_query(self, source: Source) -> str:
        """The answer has seven digits, the setting four or five (appendix A)."""
        return f":SENS:{source.sense}:PROT?;:OUTP:ENAB?;:OUTP:ENAB:TRIP?"

    def level_command(self, source: Source, level: float) -> str:
        """The level of :SOUR MODE FIX."""
        return f":SOUR:{source.function} {level!r}"

    def list_run(self, source: Source, levels: NDArray[np.float64]) -> Sequence[str]:
        """A list sweep; the trigger count is that of its levels."""
        count = [] if self._counted(len(levels)) else [f":TRIG:COUN {len(levels)}"]
        return [*self.list_commands(f":SOUR:LIST:{source.function}", levels), *count, ":READ?"]

    def timed_run(self, source: Source, rows: int, interval_s: float) -> Sequence[str]:
        """Readings by the arm layer's timer; the first comes at once (11-13)."""
        if self._counted(rows):
            return [":READ?"]
        by_timer = rows > 1 and interval_s >= _SHORTEST_TIMER_S
        timer = [":ARM:SOUR TIM", f":ARM:TIM {interval_s!r}"] if by_timer else [":ARM:SOUR IMM"]
        return [*timer, f":ARM:COUN {rows}", ":READ?"]

    def single_reading(self, source: Source) -> NDArray[np.float64]:
        """One pass through the trigger model, as it was set up; asked and answered at once."""
        return self.query_numbers(":READ?", columns=4, rows=1, expected_s=self.slowest_s(source))

    def decoded(self, source: Source, numbers: NDArray[np.float64]) -> Readings:
        """Voltage, current, time and status word of each reading."""
        volt, amp, seconds, word = numbers
        status = word.astype(np.int64)
        limited = (status & (COMPLIANCE | RANGE_COMPLIANCE)) > 0
        return Readings(volt, amp, seconds, limited, (status & OVER_RANGE) > 0)

    def _counted(self, count: int) -> bool:
        """Whether so many readings were the last to be set; they are, after this."""
        last, self._count = self._count, count
        return count == last


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
