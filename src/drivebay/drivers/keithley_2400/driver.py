"""Keithley 2400 family: I-V sweeps that the instrument runs itself, in segments.

Promises: compliance is set and read back before the output goes on; each level is sourced once, in
order, with the output held on in between; the output is off at the end. Page numbers are those of
the 2400 Series SourceMeter User's Manual, 2400S-900-01 Rev. K. Proven on the simulator only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import AskedNumbers, InstrumentError, IVSweep, ScpiDriver, method

# Bits of the status word that comes with each reading (18-50, 18-51).
OVER_RANGE, COMPLIANCE, RANGE_COMPLIANCE = 1 << 0, 1 << 3, 1 << 16

# Longest that a level may well take beyond its delay: two functions, each with two reference
# conversions for auto-zero, at 50 Hz, and a few range changes. Only deadlines come of it.
_CONVERSIONS, _MAINS_S, _RANGING_S = 6, 0.02, 0.1


class Keithley2400(ScpiDriver):
    """Source-measure units 2400, 2401, 2410, 2420, 2425, 2430 (DC), 2440."""

    output_query = ":OUTP?"
    binary_has_length = False  # its blocks begin with #0 (18-48)

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep) -> Iterator[dict[str, Any]]:
        """Run the levels as list sweeps of about 0.25 s each."""
        self._prepare(p)
        self.check_errors()
        self._check_compliance(p.compliance_a)
        clock, count = _Timeline(), 0
        asked: AskedNumbers | None = None
        with self.output(on=":OUTP ON", off=":OUTP OFF"):
            for levels in p.segments(at_most=100, seconds=0.25):
                setup = self.list_commands(":SOUR:LIST:VOLT", levels)
                if len(levels) != count:
                    count = len(levels)
                    setup.append(f":TRIG:COUN {count}")
                expected_s = count * _slowest_level_s(p)
                if asked is not None:
                    asked.wait()
                before, asked = (
                    asked,
                    self.ask_numbers(
                        ":READ?", columns=4, rows=count, expected_s=expected_s, after=setup
                    ),
                )
                # While the instrument runs a segment, the one before is read and handed out.
                if before is not None:
                    yield _points(before, clock)
            if asked is not None:
                yield _points(asked, clock)
        self.check_errors()

    def _prepare(self, p: IVSweep) -> None:
        """Set everything the sweep depends on; nothing is taken over from before."""
        terminals = self.config.get("terminals")
        sense_range_a = p.sense_range_a
        source_range_v = p.max_abs_v if p.source_range_v is None else p.source_range_v
        self.write(
            "*CLS",
            *([f":ROUT:TERM {terminals}"] if terminals else []),
            # One pass through the trigger model a :READ?, output held on in between (11-10 to
            # 11-13).
            *(":SOUR:CLE:AUTO OFF", ":ARM:COUN 1", ":ARM:SOUR IMM", ":TRIG:SOUR IMM"),
            *(":TRIG:DEL 0", ":SENS:AVER OFF"),
            # The output comes on at 0 V: a level left from before must not reach the device. The
            # lowest range takes any compliance; source range and compliance exclude each other
            # (18-62).
            *(":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX", ":SOUR:VOLT 0", ":SOUR:VOLT:RANG 0.2"),
            # Voltage and current from one trigger (section 18, "SENSe1 subsystem"): in compliance
            # the voltage is not the level.
            *(":SENS:FUNC:CONC ON", ':SENS:FUNC:OFF "RES"', ':SENS:FUNC "VOLT","CURR"'),
            *(":SENS:CURR:RANG:AUTO ON", f":SENS:CURR:PROT {p.compliance_a!r}"),
            *([] if sense_range_a is None else [f":SENS:CURR:RANG {sense_range_a!r}"]),
            *(f":SENS:CURR:NPLC {p.nplc!r}", f":SYST:RSEN {'ON' if p.four_wire else 'OFF'}"),
            # FIX: the range must not change from segment to segment, as BEST would (10-21).
            *(f":SOUR:VOLT:RANG {source_range_v!r}", ":SOUR:SWE:RANG FIX"),
            *(":SOUR:VOLT:MODE LIST", f":SOUR:DEL {p.delay_s!r}"),
            *(":FORM:ELEM VOLT,CURR,TIME,STAT", ":SYST:TIME:RES"),
        )

    def _check_compliance(self, wanted_a: float) -> None:
        """Refuse to go on if the instrument limits elsewhere than it was told."""
        answer = self.query(":SENS:CURR:PROT?")
        found_a = float(answer)
        # The answer has seven digits, the setting four or five (appendix A).
        if not abs(found_a - wanted_a) <= 1e-3 * wanted_a:
            raise InstrumentError(
                f"{self.resource_name} has compliance {found_a:g} A after {wanted_a:g} A was set",
                resource=self.resource_name,
            )


def _slowest_level_s(p: IVSweep) -> float:
    return p.delay_s + _CONVERSIONS * p.nplc * _MAINS_S + _RANGING_S


def _points(asked: AskedNumbers, clock: _Timeline) -> dict[str, Any]:
    volt, amp, seconds, word = asked.numbers()
    return {**_decoded(volt, amp, word), "time_s": clock.rising(seconds)}


def _decoded(
    volt: NDArray[np.float64], amp: NDArray[np.float64], word: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Readings with what the status word says of them: no number where there was none."""
    status = word.astype(np.int64)
    over = (status & OVER_RANGE) > 0
    return {
        "voltage_v": np.where(np.isfinite(volt), volt, np.nan),
        "current_a": np.where(np.isfinite(amp) & ~over, amp, np.nan),
        "in_compliance": (status & (COMPLIANCE | RANGE_COMPLIANCE)) > 0,
    }


class _Timeline:
    """The instrument's time stamps as one line that never runs back.

    The stamp counts from ``:SYST:TIME:RES`` through all segments, so it is used as it is. It starts
    again at 0 after 99,999.999 s (18-50), and at each segment where somebody has switched on
    ``:SYST:TIME:RES:AUTO`` (18-113); then the host's clock says where the segment belongs.
    """

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._offset_s = 0.0
        self._last_s = -1.0

    def rising(self, stamps: NDArray[np.float64]) -> NDArray[np.float64]:
        host_s = time.monotonic() - self._began_s
        # Inside a segment: one step back is the counter starting again.
        restart = np.flatnonzero(np.diff(stamps) < 0)
        if restart.size:
            stamps = stamps.copy()
            stamps[restart[0] + 1 :] += stamps[restart[0]]
        seconds = stamps + self._offset_s
        if seconds[0] <= self._last_s:
            shift = max(host_s - seconds[-1], self._last_s - seconds[0] + stamps[0])
            self._offset_s += shift
            seconds = seconds + shift
        self._last_s = float(seconds[-1])
        return seconds
