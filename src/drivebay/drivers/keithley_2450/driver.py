"""Keithley 2450 family, SCPI command set: sweeps the instrument runs itself, read while they run.

Promises: the limit is set, and read back after all else, before the output goes on; each level is
sourced once, in order; the output is off at the end. Never talks to an instrument left in another
command set. Pages are those of the 2450 Reference Manual, 2450-901-01 Rev. B, unless another manual
is named. Proven on the simulator only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import (
    InstrumentError,
    Link,
    Readings,
    Source,
    SourceMeter,
    Timeline,
)

LIMITED = 32  # source status (8-29): the source was held by the limit
_MEASURED_IN: Final = {"VOLT": "VOLT", "CURR": "AMP"}
_LIMITS: Final = {"VOLT": ":SOUR:VOLT:ILIM", "CURR": ":SOUR:CURR:VLIM"}
_ELEMENTS = '"defbuffer1",SOUR,READ,REL,SOURSTAT'
_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.25
# The instrument looks at the state of its trigger model every 100 ms (6-166): what it says may be
# that old, and a sweep that has just begun may still be called idle.
_STATE_IS_LATE_S = 0.3
# With an open interlock an output beyond this is not switched on (2461-901-01, 6-49).
_WITHOUT_INTERLOCK_V = 21.0

Chunk = dict[str, Any]


class Keithley2450(SourceMeter):
    """Source-measure units 2450, 2460, 2461 (DC) and 2470 with the SCPI command set."""

    output_query = ":OUTP?"
    ascii_setup = (":FORM ASC", ":FORM:ASC:PREC 8")
    most_levels = 2500  # of one list (6-79)
    list_s = inf  # it is read while it runs
    most_resistances = 20
    least_a = 1e-7
    limit_remark = (
        ": it changes a limit that does not go with the source range, or is below 0.1 %"
        " (2470: 10.6 %) of a fixed measure range"
    )

    def _reads_binary(self, link: Link) -> bool:
        """Never: a binary answer holds no source status (":TRACe:DATA?", Details)."""
        return False

    # -- what they are made of --------------------------------------------------------------------

    def swept(self, source: Source, segments: Iterable[NDArray[np.float64]]) -> Iterator[Chunk]:
        """Run the levels, and hand out what is in the buffer while the instrument goes on."""
        clock = Timeline()
        with self.sourcing(source, listed=True):
            for levels in segments:
                self.write(*self.list_run(source, levels))
                for numbers in self._running(source, len(levels)):
                    found = self.decoded(source, numbers)
                    yield found._replace(time_s=clock.rising(found.time_s)).points()

    def _running(self, source: Source, total: int) -> Iterator[NDArray[np.float64]]:
        """Readings of a running sweep, as they come; its state says when none will."""
        done, pause_s, quiet_s = 0, _PAUSE_S, 0.0
        while done < total:
            state, _, count = self.query(":TRIG:STAT?;:TRAC:ACT?").rpartition(";")
            ready = int(float(count))
            if ready > done:
                asked = f":TRAC:DATA? {done + 1},{ready},{_ELEMENTS}"
                yield self.query_numbers(asked, columns=4, rows=ready - done)
                done, pause_s, quiet_s = ready, _PAUSE_S, 0.0
                continue
            running = state.upper().startswith(("RUNNING", "WAITING", "BUILDING"))
            slow_s = 2 * self.slowest_s(source) + self._timeout_s
            patience_s = slow_s if running else _STATE_IS_LATE_S
            if quiet_s > patience_s:
                self.check_errors()
                raise InstrumentError(
                    f"{self.resource_name} gave {done} of {total} readings and is {state}",
                    resource=self.resource_name,
                )
            self.sleep(pause_s)
            quiet_s += pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def held(
        self,
        source: Source,
        level: float,
        groups: Iterable[int],
        interval_s: float,
        *,
        settle_s: float = 0.0,
        as_chunk: Callable[[Readings], Chunk] = Readings.points,
    ) -> Iterator[Chunk]:
        """Hold a level; each reading is asked for when it is due."""
        with self.holding(source, level, settle_s):
            yield from self._one_by_one(source, [None], groups, interval_s, as_chunk)

    def repeated(
        self,
        source: Source,
        pattern: Sequence[float],
        groups: Iterable[int],
        interval_s: float,
        *,
        as_chunk: Callable[[Readings], Chunk] = Readings.points,
    ) -> Iterator[Chunk]:
        """Go to each level, and read there."""
        return self._one_by_one(source, pattern, groups, interval_s, as_chunk)

    def _one_by_one(
        self,
        source: Source,
        pattern: Sequence[float | None],
        groups: Iterable[int],
        interval_s: float,
        as_chunk: Callable[[Readings], Chunk],
    ) -> Iterator[Chunk]:
        """Read at each level of a pattern, again and again; None is the level that is held."""
        began_s, done = time.monotonic(), 0
        at: float | None = None
        for count in groups:
            numbers = []
            for _ in range(count):
                self._until(began_s + done * interval_s)
                for level in pattern:
                    if level is not None and level != at:
                        self.write(self.level_command(source, level))
                        at = level
                    numbers.append(self.single_reading(source))
                done += 1
            yield as_chunk(self.decoded(source, np.hstack(numbers)))

    def _until(self, due_s: float) -> None:
        """Wait until a reading is due by the host's clock, so that nothing drifts."""
        left_s = due_s - time.monotonic()
        if left_s > 0:
            self.sleep(left_s)

    def set_up(self, source: Source, *, listed: bool) -> Sequence[str]:
        """Set all it depends on; see that language, interlock and limit are as they must be.

        The limit last of all: a range that does not go with it makes the instrument change it, with
        a warning that is in no error queue (6-71, 2-100).
        """
        language = self.query("*LANG?").strip()
        if language.upper() != "SCPI":
            raise InstrumentError(
                f"{self.resource_name} is in command set {language}, not SCPI: send *LANG SCPI and"
                " switch it off and on, or choose it under Menu > System > Settings",
                resource=self.resource_name,
            )
        volts = source.top if source.function == "VOLT" else source.compliance
        high = volts > _WITHOUT_INTERLOCK_V
        if high and self.query(":OUTP:INT:TRIP?").strip() == "0":
            raise InstrumentError(
                f"{self.resource_name} has its interlock open, and {volts:g} V are above the"
                f" {_WITHOUT_INTERLOCK_V:g} V it then allows: close the interlock, or ask for less",
                resource=self.resource_name,
            )
        return super().set_up(source, listed=listed)

    def setup_commands(self, source: Source, *, listed: bool) -> list[str]:
        """Nothing is taken over from before; the output comes on at 0."""
        function, sense = source.function, source.sense
        terminals = self.config.get("terminals")
        off_mode = self.config.get("output_off")
        fixed = source.range or source.top
        delay = "DEL:AUTO ON" if source.delay_s is None else f"DEL {source.delay_s!r}"
        return [
            *([f":ROUT:TERM {terminals}"] if terminals else []),
            *([f":OUTP:{function}:SMOD {off_mode}"] if off_mode else []),
            *(":ABOR", ":OUTP OFF", f":SOUR:FUNC {function}", f':SENS:FUNC "{sense}"'),
            *(f":SOUR:{function}:RANG:AUTO ON", f":SOUR:{function} 0"),
            # Before the limit: a fixed measure range of before would raise it.
            f":SENS:{sense}:RANG:AUTO ON",
            f"{_LIMITS[function]} {source.compliance!r}",
            # One range for a whole sweep: it must not change within.
            *([f":SOUR:{function}:RANG {fixed!r}"] if fixed else []),
            *([] if source.sense_range is None else [f":SENS:{sense}:RANG {source.sense_range!r}"]),
            *(f":SENS:{sense}:NPLC {source.nplc!r}", f":SENS:{sense}:AVER OFF"),
            *(f":SENS:{sense}:REL:STAT OFF", f":SENS:{sense}:UNIT {_MEASURED_IN[sense]}"),
            *(f":CALC:{sense}:MATH:STAT OFF", f":SENS:{sense}:AZER {_word(source.auto_zero)}"),
            f":SENS:{sense}:RSEN {_word(source.four_wire)}",
            # Readback: the source value of a point is measured with it, not what was asked for.
            *(f":SOUR:{function}:READ:BACK ON", f":SOUR:{function}:{delay}"),
            *(":SENS:COUN 1", ':TRAC:CLE "defbuffer1"'),
        ]

    def range_command(self, source: Source, top: float) -> str:
        """None: the range is that of the largest current, as it was set up."""
        return ""

    def limit_query(self, source: Source) -> str:
        """Current and voltage limits have names of their own."""
        return f"{_LIMITS[source.function]}?"

    def level_command(self, source: Source, level: float) -> str:
        """A level, with the output on or off."""
        return f":SOUR:{source.function} {level!r}"

    def list_run(self, source: Source, levels: NDArray[np.float64]) -> Sequence[str]:
        """A list sweep; nothing asks for its readings, which are in the buffer as they come."""
        lists = self.list_commands(f":SOUR:LIST:{source.function}", levels)
        # Fail abort off: a level at the limit is a point like others.
        setup = f":SOUR:SWE:{source.function}:LIST 1,0,1,OFF"
        return [*lists, setup, ':TRAC:CLE "defbuffer1"', ":INIT"]

    def timed_run(self, source: Source, rows: int, interval_s: float) -> Sequence[str]:
        """One reading, whatever the interval: they are paced one by one."""
        return [f":READ? {_ELEMENTS}"]

    def decoded(self, source: Source, numbers: NDArray[np.float64]) -> Readings:
        """Source value as it was read back, reading, time and source status."""
        sourced, read, seconds, word = numbers
        volt, amp = (sourced, read) if source.function == "VOLT" else (read, sourced)
        limited = (word.astype(np.int64) & LIMITED) > 0
        return Readings(volt, amp, seconds, limited, over_range=np.zeros_like(limited))


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
