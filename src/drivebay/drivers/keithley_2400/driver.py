"""Keithley 2400 family: sweeps that the instrument runs itself, in segments, and readings on time.

Promises: the limit of the other quantity is set and read back before the output goes on; each level
is sourced once, in order, with the output held on in between; the output is off at the end. Page
numbers are those of the 2400 Series SourceMeter User's Manual, 2400S-900-01 Rev. K. Proven on the
simulator only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import (
    AskedNumbers,
    DCCurrent,
    DCVoltage,
    InstrumentError,
    IVMonitor,
    IVSweep,
    Resistance,
    Spot,
    SteppedSource,
    Steps,
    VISweep,
    method,
)

# Bits of the status word that comes with each reading (18-50, 18-51).
OVER_RANGE, COMPLIANCE, RANGE_COMPLIANCE = 1 << 0, 1 << 3, 1 << 16

# Longest that a level may well take beyond its delay: two functions, each with two reference
# conversions for auto-zero, at 50 Hz, and a few range changes. Only deadlines come of it.
_CONVERSIONS, _MAINS_S, _RANGING_S = 6, 0.02, 0.1

# The lowest source range of any model or less, which selects the lowest (18-62).
_LOWEST: Final = {"VOLT": 0.2, "CURR": 1e-6}
_UNITS: Final = {"VOLT": "V", "CURR": "A"}

# As a meter. Leads that hang free drift to the voltage limit, so it is no higher than it must be.
_METER_V, _METER_A, _OHMS_V, _OHMS_A = 21.0, 0.105, 2.1, 1e-3
# Of the lowest range (1 uA), what is left of a current once there is no device to carry it.
_NO_CURRENT_A = 1e-8
# The arm layer's timer takes 1 ms and more (section 18, "Trigger subsystem").
_SHORTEST_TIMER_S = 1e-3
# What a level takes beside delay and integration: 1,551 a second at best at NPLC 0.01 (data sheet,
# "sweep operation reading rates"), fewer with the auto-zero that is on here. It sizes segments.
_LEVEL_S = 1e-3
# A group that is due sooner is asked for before the one before it is handed out.
_SOON_S = 0.05


class Source(NamedTuple):
    """What is sourced, and how it is measured.

    Attributes:
        function: ``VOLT`` or ``CURR``; the other one is what is limited.
        top: largest magnitude that is sourced, in volts or amperes.
        compliance: limit of the other quantity.
        range: fixed source range; None for that of ``top``.
        sense_range: fixed range of the other quantity; None lets the instrument choose.
        delay_s: source delay of every reading; None for the instrument's own.
        nplc: integration time in periods of the mains.
        four_wire: whether the voltage is sensed at the device.
        auto_zero: whether reference readings are taken with every reading.
    """

    function: str
    top: float
    compliance: float
    range: float | None = None
    sense_range: float | None = None
    delay_s: float | None = 0.0
    nplc: float = 1.0
    four_wire: bool = False
    auto_zero: bool = True

    @property
    def sense(self) -> str:
        """What is measured and limited beside what is sourced."""
        return "CURR" if self.function == "VOLT" else "VOLT"

    @property
    def slowest_s(self) -> float:
        """Longest that one reading may well take, in seconds."""
        return (self.delay_s or 0.0) + _CONVERSIONS * self.nplc * _MAINS_S + _RANGING_S


class Keithley2400(SteppedSource):
    """Source-measure units 2400, 2401, 2410, 2420, 2425, 2430 (DC), 2440."""

    output_query = ":OUTP?"
    binary_has_length = False  # its blocks begin with #0 (18-48)
    _slowest_step_s = 0.0

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep) -> Iterator[dict[str, Any]]:
        """Run the levels as list sweeps of about 0.25 s each."""
        source = Source(
            function="VOLT",
            top=p.max_abs_v,
            compliance=p.compliance_a,
            range=p.source_range_v,
            sense_range=p.sense_range_a,
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        yield from self._swept(source, p.segments(at_most=250, overhead_s=_LEVEL_S))

    @method("vi_sweep")
    def vi_sweep(self, p: VISweep) -> Iterator[dict[str, Any]]:
        """Run the levels as list sweeps of about 0.25 s each."""
        source = Source(
            function="CURR",
            top=p.max_abs_a,
            compliance=p.compliance_v,
            range=p.source_range_a,
            sense_range=p.sense_range_v,
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        yield from self._swept(source, p.segments(at_most=250, overhead_s=_LEVEL_S))

    @method("spot")
    def spot(self, p: Spot) -> Iterator[dict[str, Any]]:
        """Run a list of one level."""
        yield from self._swept(_source_of(p, p.delay_s), [np.array([p.level])])

    @method("iv_monitor")
    def iv_monitor(self, p: IVMonitor) -> Iterator[dict[str, Any]]:
        """Hold the level, and read in groups of about 0.25 s by the instrument's own timer."""
        groups = p.segments(at_most=100, seconds=0.25)
        for volt, amp, seconds, word in self._held(
            _source_of(p, 0.0), p.level, groups, p.interval_s, settle_s=p.delay_s
        ):
            yield {**_decoded(volt, amp, word), "time_s": seconds}

    @method("dc_voltage")
    def dc_voltage(self, p: DCVoltage) -> Iterator[dict[str, Any]]:
        """Source 0 A, and read the voltage; the limit is 5 % above the range, or 21 V."""
        limit_v = _METER_V if p.range_v is None else 1.05 * p.range_v
        source = Source(
            function="CURR",
            top=0.0,
            compliance=self._at_most("voltage_v", limit_v),
            sense_range=p.range_v,
            delay_s=p.delay_s,
            nplc=p.nplc,
            auto_zero=p.auto_zero,
        )
        groups = p.segments(at_most=100, seconds=0.25)
        for volt, _, seconds, word in self._held(source, 0.0, groups, p.interval_s):
            yield {"voltage_v": volt, "time_s": seconds, "overload": _limited(word, volt)}

    @method("dc_current")
    def dc_current(self, p: DCCurrent) -> Iterator[dict[str, Any]]:
        """Source 0 V, and read the current; the limit is 5 % above the range, or 105 mA."""
        limit_a = _METER_A if p.range_a is None else 1.05 * p.range_a
        source = Source(
            function="VOLT",
            top=0.0,
            compliance=self._at_most("current_a", limit_a),
            sense_range=p.range_a,
            delay_s=p.delay_s,
            nplc=p.nplc,
            auto_zero=p.auto_zero,
        )
        groups = p.segments(at_most=100, seconds=0.25)
        for _, amp, seconds, word in self._held(source, 0.0, groups, p.interval_s):
            # A source counts what flows out of it, a meter what flows in.
            yield {"current_a": 0.0 - amp, "time_s": seconds, "overload": _limited(word, amp)}

    @method("resistance")
    def resistance(self, p: Resistance) -> Iterator[dict[str, Any]]:
        """Source a current, measure it and the voltage, and divide; no auto ohms."""
        top_a = self._at_most("current_a", p.max_current_a or _OHMS_A)
        source = Source(
            function="CURR",
            top=top_a,
            compliance=self._at_most("voltage_v", p.max_voltage_v or _OHMS_V),
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
            auto_zero=p.auto_zero,
        )
        self._set_up(source, listed=True)
        clock = _Timeline()
        with self._on():
            level_a = self._test_current(source, clock, p.range_ohm)
            # The zero follows its level, so that what drifts is out of both.
            pattern = [level_a, 0.0] if p.offset_compensation else [level_a]
            for count in self._on_time(_groups(p), p.interval_s):
                points = self._listed(source, np.array(pattern * count))
                volt, amp, seconds, word = points
                seconds = clock.rising(seconds)
                ohm, overload = _ohms(*(part.reshape(count, -1) for part in (volt, amp, word)))
                yield {
                    "resistance_ohm": ohm,
                    "time_s": seconds.reshape(count, -1)[:, -1],
                    "overload": overload,
                }
        self.check_errors()

    # -- paced from outside ----------------------------------------------------------------------

    @contextmanager
    def stepping(self, p: Steps) -> Iterator[None]:
        """Source a voltage that others step."""
        source = Source(
            function="VOLT",
            top=p.top_v,
            compliance=p.compliance_a,
            sense_range=p.sense_range_a,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        self._slowest_step_s = source.slowest_s
        self._set_up(source, listed=False)
        with self._on():
            yield
        self.check_errors()

    def step_to(self, level_v: float) -> None:
        """Go to a level and do not wait for it to settle."""
        self.write(f":SOUR:VOLT {level_v!r}")

    def step_read(self) -> dict[str, Any]:
        """Measure once."""
        volt, amp, _, word = self.query_numbers(
            ":READ?", columns=4, rows=1, expected_s=self._slowest_step_s
        )
        return {name: column[0].item() for name, column in _decoded(volt, amp, word).items()}

    # -- what they are made of --------------------------------------------------------------------

    def _on(self) -> Any:
        return self.output(on=":OUTP ON", off=":OUTP OFF")

    def _swept(
        self, source: Source, segments: Iterable[NDArray[np.float64]]
    ) -> Iterator[dict[str, Any]]:
        """Source the levels of each segment in a list sweep, with the output on throughout."""
        self._set_up(source, listed=True)
        clock, count = _Timeline(), 0
        asked: AskedNumbers | None = None
        with self._on():
            for levels in segments:
                setup = self.list_commands(f":SOUR:LIST:{source.function}", levels)
                if len(levels) != count:
                    count = len(levels)
                    setup.append(f":TRIG:COUN {count}")
                expected_s = count * source.slowest_s
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

    def _held(
        self,
        source: Source,
        level: float,
        groups: Iterable[int],
        interval_s: float,
        *,
        settle_s: float = 0.0,
    ) -> Iterator[tuple[NDArray[np.float64], ...]]:
        """Hold one level; voltage, current, time and status word of each group of readings."""
        self._set_up(source, listed=False)
        clock, size, done = _Timeline(), 0, 0
        asked: AskedNumbers | None = None
        with self._on():
            if level:
                self.write(f":SOUR:{source.function} {level!r}")
            self.sleep(settle_s)
            began_s = time.monotonic()
            for count in groups:
                due_s = began_s + done * interval_s
                if asked is not None:
                    asked.wait()
                    if due_s - time.monotonic() > _SOON_S:  # nobody waits so long for a reading
                        yield _readings(asked, clock)
                        asked = None
                self.sleep(max(0.0, due_s - time.monotonic()))
                before, asked = (
                    asked,
                    self.ask_numbers(
                        ":READ?",
                        columns=4,
                        rows=count,
                        expected_s=count * max(source.slowest_s, interval_s),
                        after=[] if count == size else _paced(count, interval_s),
                    ),
                )
                size, done = count, done + count
                # While the instrument takes a group, the one before is read and handed out.
                if before is not None:
                    yield _readings(before, clock)
            if asked is not None:
                yield _readings(asked, clock)
        self.check_errors()

    def _listed(
        self, source: Source, levels: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], ...]:
        """Source some levels once: voltage, current, time and status word of each."""
        setup = self.list_commands(f":SOUR:LIST:{source.function}", levels)
        setup.append(f":TRIG:COUN {len(levels)}")
        expected_s = len(levels) * source.slowest_s
        volt, amp, seconds, word = self.query_numbers(
            ":READ?", columns=4, rows=len(levels), expected_s=expected_s, after=setup
        )
        return volt, amp, seconds, word

    def _on_time(self, groups: Iterable[int], interval_s: float) -> Iterator[int]:
        """Each group when it is due, counted from the first one on, so that nothing drifts."""
        began_s, done = time.monotonic(), 0
        for count in groups:
            self.sleep(max(0.0, began_s + done * interval_s - time.monotonic()))
            yield count
            done += count

    def _test_current(self, source: Source, clock: _Timeline, range_ohm: float | None) -> float:
        """A current that makes about a volt, found with the smallest one; its range is set."""
        if range_ohm is None:
            volt, amp, seconds, _ = self._listed(
                source, np.array([min(_LOWEST["CURR"], source.top)])
            )
            clock.rising(seconds)
            range_ohm = float(abs(volt[-1]) / max(abs(amp[-1]), _NO_CURRENT_A))
        level_a = min(max(1.0 / max(range_ohm, 1e-6), _LOWEST["CURR"]), source.top)
        self.write(f":SOUR:CURR:RANG {level_a!r}")
        return level_a

    def _at_most(self, quantity: str, wanted: float) -> float:
        """A limit, no higher than the model and the bench allow."""
        span = (self.ranges or {}).get(quantity)
        return wanted if span is None else min(wanted, max(abs(span[0]), abs(span[1])))

    def _set_up(self, source: Source, *, listed: bool) -> None:
        """Set everything the measurement depends on, and see that the limit is as it was told."""
        self.write("*CLS", *self._setup_commands(source, listed=listed))
        self.check_errors()
        self._check_compliance(source)

    def _setup_commands(self, source: Source, *, listed: bool) -> list[str]:
        """Nothing is taken over from before."""
        terminals = self.config.get("terminals")
        function, sense = source.function, source.sense
        # A level of 0 has no range of its own: the lowest is the quietest.
        source_range = source.range or source.top or _LOWEST[function]
        # A delay that is given switches the automatic one off (18-82).
        delay = "DEL:AUTO ON" if source.delay_s is None else f"DEL {source.delay_s!r}"
        return [
            *([f":ROUT:TERM {terminals}"] if terminals else []),
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

    def _check_compliance(self, source: Source) -> None:
        """Refuse to go on if the instrument limits elsewhere than it was told."""
        answer = self.query(f":SENS:{source.sense}:PROT?")
        found, wanted = float(answer), source.compliance
        # The answer has seven digits, the setting four or five (appendix A).
        if not abs(found - wanted) <= 1e-3 * wanted:
            unit = _UNITS[source.sense]
            raise InstrumentError(
                f"{self.resource_name} has compliance {found:g} {unit} after {wanted:g} {unit}"
                " was set",
                resource=self.resource_name,
            )


def _source_of(p: Spot | IVMonitor, delay_s: float) -> Source:
    return Source(
        function="VOLT" if p.sources_voltage else "CURR",
        top=abs(p.level),
        compliance=p.compliance,
        range=p.source_range,
        sense_range=p.sense_range,
        delay_s=delay_s,
        nplc=p.nplc,
        four_wire=p.four_wire,
    )


def _word(on: bool) -> str:
    return "ON" if on else "OFF"


def _paced(count: int, interval_s: float) -> list[str]:
    """Commands for some readings, one in each interval; the first comes at once (11-13)."""
    by_timer = count > 1 and interval_s >= _SHORTEST_TIMER_S
    timer = [":ARM:SOUR TIM", f":ARM:TIM {interval_s!r}"] if by_timer else [":ARM:SOUR IMM"]
    return [*timer, f":ARM:COUN {count}"]


def _groups(p: Resistance) -> Iterator[int]:
    """Readings of a resistance in one list: as many as fit, or one by one where they wait."""
    return p.segments(at_most=1 if p.interval_s else 50, seconds=0.25)


def _limited(word: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a reading of a meter is none: over range, or held by the limit."""
    bits = OVER_RANGE | COMPLIANCE | RANGE_COMPLIANCE
    return ((word.astype(np.int64) & bits) > 0) | ~np.isfinite(value)


def _ohms(
    volt: NDArray[np.float64], amp: NDArray[np.float64], word: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Resistances, and which are none; a row of each array belongs to one.

    At the voltage limit the current is what the device lets through and both are measured, so
    their ratio still holds, until there is no current to speak of.
    """
    # With a zero beside the level, what is there without a current is taken out.
    rise_v = volt[:, 0] - (volt[:, 1] if volt.shape[1] > 1 else 0.0)
    rise_a = amp[:, 0] - (amp[:, 1] if amp.shape[1] > 1 else 0.0)
    status = word.astype(np.int64)[:, 0]
    at_limit = (status & (COMPLIANCE | RANGE_COMPLIANCE)) > 0
    none = at_limit & (np.abs(rise_a) < _NO_CURRENT_A)
    overload = none | ((status & OVER_RANGE) > 0) | ~np.isfinite(rise_v) | (rise_a == 0)
    ratio = rise_v / np.where(rise_a == 0, 1.0, rise_a)
    return np.where(overload, np.inf, ratio), overload


def _readings(asked: AskedNumbers, clock: _Timeline) -> tuple[NDArray[np.float64], ...]:
    volt, amp, seconds, word = asked.numbers()
    return volt, amp, clock.rising(seconds), word


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
