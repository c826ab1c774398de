"""Keysight B2901A, B2911A and their B versions: sweeps that the instrument runs itself.

Promises: what :class:`SourceMeter` promises, by the commands of these instruments. Page numbers are
those of the B2900 SCPI Command Reference, B2910-90030 Edition 2. Proven on the simulator only.
``keysight_b2902`` does the same with either of two channels, and with both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import Asked, AskedNumbers, InstrumentError, Readings, Run, Source, SourceMeter

# Bits of the status word that comes with each reading (table 1-2, 1-14).
COMPLIANCE, OVER_RANGE = 0b110, 1 << 13
# Bits of the operation register: the meter of a channel is idle (table 4-6, 4-117).
_IDLE: Final = {"1": 1 << 4, "2": 1 << 10}

# The lowest source range of any model or less, which selects the lowest (2-24).
_LOWEST: Final = {"VOLT": 0.2, "CURR": 1e-8}
# Slower readings are not waited for with a question: an abort before the first one of a run might
# leave it without an answer.
_QUICK_S = 1e-3
_POLL_S = 0.05
# Quicker readings than this are not kept by the timer, but as quick as it goes.
_SHORTEST_TIMER_S = 1e-3


class KeysightB2901(SourceMeter):
    """Source/measure units B2901 and B2911, and one channel of those with two."""

    output_query = ":OUTP1?"
    list_line_limit = 250
    binary_setup = (":FORM REAL,64", ":FORM:BORD SWAP")
    binary_dtype = "<f8"
    most_levels = 250
    most_readings = 250
    most_resistances = 100
    conversions = 1
    no_current_a = 1e-9

    @property
    def channel(self) -> str:
        """The channel that measures."""
        return str(self.config.get("channel", 1))

    def setup_commands(self, source: Source, *, listed: bool) -> list[str]:
        """Nothing is taken over from before."""
        c, function, sense = source.channel, source.function, source.sense
        # A level of 0 has no range of its own: the lowest is the quietest.
        source_range = source.range or source.top or _LOWEST[function]
        fixed = source.sense_range
        return [
            # Remote sensing and the source function are set with the output off. It is switched on
            # by :OUTPut alone, not by :INITiate, and not off in compliance.
            *(f":ABOR (@{c})", f":OUTP{c} OFF"),
            *(f":OUTP{c}:ON:AUTO OFF", f":OUTP{c}:OFF:AUTO OFF", f":OUTP{c}:PROT OFF"),
            # The output comes on at 0: a level left from before must not reach the device.
            *(f":SOUR{c}:FUNC:MODE {function}", f":SOUR{c}:FUNC:SHAP DC"),
            *(f":SOUR{c}:{function}:MODE FIX", f":SOUR{c}:{function} 0"),
            # At the end of a run the source stays at its last level until the next one begins.
            f":SOUR{c}:FUNC:TRIG:CONT ON",
            *(f':SENS{c}:FUNC:OFF "RES"', f':SENS{c}:FUNC "VOLT","CURR"'),
            *(
                f":SENS{c}:{sense}:PROT {source.compliance!r}",
                f":SENS{c}:REM {_word(source.four_wire)}",
            ),
            # A range is effective while automatic ranging is off (4-95).
            f":SENS{c}:{sense}:RANG:AUTO {_word(fixed is None)}",
            *([] if fixed is None else [f":SENS{c}:{sense}:RANG {fixed!r}"]),
            *(
                f":SENS{c}:{sense}:NPLC {source.nplc!r}",
                f":SENS{c}:{function}:NPLC {source.nplc!r}",
            ),
            f":SOUR{c}:{function}:RANG:AUTO OFF",
            f":SOUR{c}:{function}:RANG {source_range!r}",
            *([f":SOUR{c}:{function}:MODE LIST"] if listed else []),
            *(f":ARM{c}:ALL:SOUR AINT", f":ARM{c}:ALL:COUN 1"),
            *(f":TRIG{c}:ALL:SOUR AINT", f":TRIG{c}:ALL:COUN 1"),
            # The delay is between the source's trigger and the meter's.
            *(f":TRIG{c}:TRAN:DEL 0", f":TRIG{c}:ACQ:DEL {source.delay_s or 0.0!r}"),
            ":FORM:ELEM:SENS VOLT,CURR,TIME,STAT",
            *(":SYST:TIME:TIM:COUN:RES:AUTO OFF", ":SYST:TIME:TIM:COUN:RES"),
        ]

    def limit_query(self, source: Source) -> str:
        """The limit of the channel's other quantity."""
        return f":SENS{source.channel}:{source.sense}:PROT?"

    def level_command(self, source: Source, level: float) -> str:
        """The level of a fixed source."""
        return f":SOUR{source.channel}:{source.function} {level!r}"

    def range_command(self, source: Source, top: float) -> str:
        """A range is effective while automatic ranging is off, as it was set up."""
        return f":SOUR{source.channel}:{source.function}:RANG {top!r}"

    def switched_on(self, source: Source) -> AbstractContextManager[None]:
        """Have the output of a channel on, and off afterwards, whatever happened."""
        c = source.channel
        return self.output(on=f":OUTP{c} ON", off=f":OUTP{c} OFF", query=f":OUTP{c}?")

    def list_run(self, source: Source, levels: NDArray[np.float64]) -> Sequence[str]:
        """A list sweep of one channel."""
        c = source.channel
        return [*self.list_setup(source, levels), f":INIT (@{c})", f":FETC:ARR? (@{c})"]

    def list_setup(self, source: Source, levels: NDArray[np.float64]) -> list[str]:
        """The levels that a channel goes through, one a trigger."""
        c = source.channel
        listed = self.list_commands(f":SOUR{c}:LIST:{source.function}", levels)
        return [*listed, f":TRIG{c}:ALL:COUN {len(levels)}"]

    def timed_run(self, source: Source, rows: int, interval_s: float) -> Sequence[str]:
        """Readings by the trigger's timer."""
        c = source.channel
        timer = [f":TRIG{c}:ACQ:SOUR AINT"]
        if rows > 1 and interval_s >= _SHORTEST_TIMER_S:
            timer = [f":TRIG{c}:ACQ:SOUR TIM", f":TRIG{c}:ACQ:TIM {interval_s!r}"]
        count = f":TRIG{c}:ACQ:COUN {rows}"
        return [*timer, count, f":INIT:ACQ (@{c})", f":FETC:ARR? (@{c})"]

    def single_reading(self, source: Source) -> NDArray[np.float64]:
        """One reading, asked and answered at once."""
        c, slowest_s = source.channel, self.slowest_s(source)
        begin = [f":INIT:ACQ (@{c})"]
        return self.query_numbers(f":FETC:ARR? (@{c})", 4, 1, expected_s=slowest_s, after=begin)

    def decoded(self, source: Source, numbers: NDArray[np.float64]) -> Readings:
        """Voltage, current, time and status word of each reading."""
        volt, amp, seconds, word = numbers
        status = word.astype(np.int64)
        return Readings(volt, amp, seconds, (status & COMPLIANCE) > 0, (status & OVER_RANGE) > 0)

    def begin(self, source: Source, run: Run, *others: Source) -> Asked:
        """Begin a run, of other channels as well, and ask for the readings of the first.

        A question is answered at the end of the run. Whether an abort is heard behind one that
        waits is not written, and after it there may be no answer, so the end of a run is found by
        its status, unless the readings are so quick that they are there at once.
        """
        if run.step_s <= _QUICK_S:
            return super().begin(source, run)
        *setup, question = run.messages
        self.write(*setup)
        bits = sum(_IDLE[each.channel] for each in (source, *others))
        slowest_s = run.rows * max(self.slowest_s(source), run.step_s)
        ready = partial(self._wait_until_idle, bits, run.rows * run.step_s, slowest_s)
        ask = partial(self.ask_numbers, question, self.columns, run.rows, expected_s=slowest_s)
        return _AskedWhenReady(ready, ask)

    def _wait_until_idle(self, bits: int, run_s: float, slowest_s: float) -> None:
        """Ask for the status of every meter that runs, ten times a run, until all are idle."""
        deadline = time.monotonic() + 2 * slowest_s + self.link.timeout_s
        while int(float(self.query(":STAT:OPER:COND?"))) & bits != bits:
            if time.monotonic() >= deadline:
                raise InstrumentError(
                    f"{self.resource_name} still measures after {2 * slowest_s:g} s",
                    resource=self.resource_name,
                )
            self.sleep(min(run_s / 10, _POLL_S))


class _AskedWhenReady:
    """Readings that are asked for once they are there."""

    def __init__(self, ready: Callable[[], None], ask: Callable[[], AskedNumbers]) -> None:
        self._ready, self._ask = ready, ask
        self._asked: AskedNumbers | None = None

    def wait(self) -> None:
        self._answered()

    def numbers(self) -> NDArray[np.float64]:
        return self._answered().numbers()

    def _answered(self) -> AskedNumbers:
        if self._asked is None:
            self._ready()
            self._asked = self._ask()
            self._asked.wait()
        return self._asked


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
