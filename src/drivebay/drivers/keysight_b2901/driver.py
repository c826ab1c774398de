"""Keysight B2901A, B2911A and their B versions: sweeps that the instrument runs itself.

Promises: the limit of the other quantity is set and read back before the output goes on; each level
is sourced once, in order, with the output held on in between; the output is off at the end. Page
numbers are those of the B2900 SCPI Command Reference, B2910-90030 Edition 2. Proven on the
simulator only. ``keysight_b2902`` does the same with either of two channels, and with both.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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

Readings = tuple[NDArray[np.float64], ...]

# Bits of the status word that comes with each reading (table 1-2, 1-14).
COMPLIANCE, OVER_RANGE = 0b110, 1 << 13
# Bits of the operation register: the meter of a channel is idle (table 4-6, 4-117).
_IDLE: Final = {1: 1 << 4, 2: 1 << 10}

_UNITS: Final = {"VOLT": "V", "CURR": "A"}
# The lowest source range of any model or less, which selects the lowest (2-24).
_LOWEST: Final = {"VOLT": 0.2, "CURR": 1e-8}
# Longest that a level may well take beyond its delay; only deadlines come of it.
_MAINS_S, _RANGING_S = 0.02, 0.1
# Slower readings are not waited for with a question: an abort before the first one of a run might
# leave it without an answer.
_QUICK_S = 1e-3
_POLL_S = 0.05
# A group of readings that begins so soon need not be waited for before the last one is given out.
_SOON_S = 0.05
# Quicker readings than this are not kept by the timer, but as quick as it goes.
_SHORTEST_TIMER_S = 1e-3

# As a meter. Leads that hang free drift to the voltage limit, so it is no higher than it must be.
_METER_V, _METER_A, _OHMS_V, _OHMS_A, _FIRST_A = 21.0, 0.105, 2.1, 1e-3, 1e-6
# What is left of a current once there is no device to carry it.
_NO_CURRENT_A = 1e-9


class Source(NamedTuple):
    """What a channel sources, and how it measures.

    Attributes:
        function: ``VOLT`` or ``CURR``; the other one is what is limited.
        top: largest magnitude that is sourced, in volts or amperes.
        compliance: limit of the other quantity.
        range: fixed source range; None for that of ``top``.
        sense_range: fixed range of the other quantity; None lets the instrument choose.
        delay_s: from each level to its measurement.
        nplc: integration time in periods of the mains.
        four_wire: whether the voltage is sensed at the device.
    """

    function: str
    top: float
    compliance: float
    range: float | None = None
    sense_range: float | None = None
    delay_s: float = 0.0
    nplc: float = 1.0
    four_wire: bool = False

    @property
    def sense(self) -> str:
        """What is measured and limited beside what is sourced."""
        return "CURR" if self.function == "VOLT" else "VOLT"

    @property
    def step_s(self) -> float:
        """Least that one reading takes, in seconds."""
        return self.delay_s + self.nplc * _MAINS_S

    @property
    def slowest_s(self) -> float:
        """Longest that one reading may well take, in seconds."""
        return self.step_s + _RANGING_S


class KeysightB2901(SteppedSource):
    """Source/measure units B2901 and B2911, and one channel of those with two."""

    output_query = ":OUTP1?"
    list_line_limit = 250
    binary_setup = (":FORM REAL,64", ":FORM:BORD SWAP")
    binary_dtype = "<f8"
    _paced: Source | None = None

    @property
    def channel(self) -> int:
        """The channel that measures."""
        return int(self.config.get("channel", 1))

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
        yield from self._swept(source, p.segments(at_most=250, seconds=0.25))

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
        yield from self._swept(source, p.segments(at_most=250, seconds=0.25))

    @method("spot")
    def spot(self, p: Spot) -> Iterator[dict[str, Any]]:
        """Run a list of one level."""
        yield from self._swept(_source_of(p, p.delay_s), [np.array([p.level])])

    @method("iv_monitor")
    def iv_monitor(self, p: IVMonitor) -> Iterator[dict[str, Any]]:
        """Hold the level, and read in groups of about 0.25 s by the instrument's own timer."""
        groups = p.segments(at_most=250, seconds=0.25)
        source = _source_of(p, 0.0)
        for volt, amp, seconds, word in self._held(
            source, p.level, groups, p.interval_s, settle_s=p.delay_s
        ):
            yield {**decoded(volt, amp, word), "time_s": seconds}

    @method("dc_voltage")
    def dc_voltage(self, p: DCVoltage) -> Iterator[dict[str, Any]]:
        """Source 0 A, and read the voltage; the limit is 5 % above the range, or 21 V."""
        limit_v = _METER_V if p.range_v is None else 1.05 * p.range_v
        source = Source(
            function="CURR",
            top=0.0,
            compliance=self._at_most("voltage_v", limit_v),
            sense_range=p.range_v,
            delay_s=p.delay_s or 0.0,
            nplc=p.nplc,
        )
        groups = p.segments(at_most=250, seconds=0.25)
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
            delay_s=p.delay_s or 0.0,
            nplc=p.nplc,
        )
        groups = p.segments(at_most=250, seconds=0.25)
        for _, amp, seconds, word in self._held(source, 0.0, groups, p.interval_s):
            # A source counts what flows out of it, a meter what flows in.
            yield {"current_a": 0.0 - amp, "time_s": seconds, "overload": _limited(word, amp)}

    @method("resistance")
    def resistance(self, p: Resistance) -> Iterator[dict[str, Any]]:
        """Source a current, measure it and the voltage, and divide; no automatic ohms."""
        source = Source(
            function="CURR",
            top=self._at_most("current_a", p.max_current_a or _OHMS_A),
            compliance=self._at_most("voltage_v", p.max_voltage_v or _OHMS_V),
            delay_s=p.delay_s or 0.0,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        self._set_up(self.channel, source, listed=True)
        clock = Timeline()
        with self.switched_on(self.channel):
            level_a = self._test_current(source, clock, p.range_ohm)
            # The zero follows its level, so that what drifts is out of both.
            pattern = [level_a, 0.0] if p.offset_compensation else [level_a]
            groups = p.segments(at_most=1 if p.interval_s else 100, seconds=0.25)
            for count in self._on_time(groups, p.interval_s):
                volt, amp, seconds, word = self._listed(source, np.array(pattern * count))
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
        self._paced = Source(
            function="VOLT",
            top=p.top_v,
            compliance=p.compliance_a,
            sense_range=p.sense_range_a,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        self._set_up(self.channel, self._paced, listed=False)
        with self.switched_on(self.channel):
            yield
        self.check_errors()

    def step_to(self, level_v: float) -> None:
        """Go to a level and do not wait for it to settle."""
        self.write(f":SOUR{self.channel}:VOLT {level_v!r}")

    def step_read(self) -> dict[str, Any]:
        """Measure once."""
        c = self.channel
        slowest_s = self._paced.slowest_s if self._paced else 0.0
        volt, amp, _, word = self.query_numbers(
            f":FETC:ARR? (@{c})",
            columns=4,
            rows=1,
            expected_s=slowest_s,
            after=[f":INIT:ACQ (@{c})"],
        )
        return {name: column[0].item() for name, column in decoded(volt, amp, word).items()}

    # -- what they are made of --------------------------------------------------------------------

    def switched_on(self, c: int) -> AbstractContextManager[None]:
        """Have the output of a channel on, and off afterwards, whatever happened."""
        return self.output(on=f":OUTP{c} ON", off=f":OUTP{c} OFF", query=f":OUTP{c}?")

    def asked(
        self, channels: Sequence[int], first: str, count: int, source: Source, step_s: float
    ) -> AskedNumbers:
        """Begin a run, and ask the first of its channels for the readings.

        A question is answered at the end of the run. Whether an abort is heard behind one that
        waits is not written, and after it there may be no answer, so the end of a run is found by
        its status, unless the readings are so quick that they are there at once.

        Args:
            channels: those that run, the first one is asked.
            first: commands right before, and what initiates.
            count: readings there must be.
            source: what they are of.
            step_s: least from one reading to the next.
        """
        question = f":FETC:ARR? (@{channels[0]})"
        setup, expected_s = first.split("\n"), count * max(source.slowest_s, step_s)
        if step_s > _QUICK_S:
            self.write(*setup)
            bits = sum(_IDLE[c] for c in channels)
            self._wait_until_idle(bits, count * step_s, expected_s)
            setup = []
        return self.ask_numbers(question, columns=4, rows=count, expected_s=expected_s, after=setup)

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

    def _swept(
        self, source: Source, segments: Iterable[NDArray[np.float64]]
    ) -> Iterator[dict[str, Any]]:
        """Source the levels of each segment in a list sweep, with the output on throughout."""
        c = self.channel
        self._set_up(c, source, listed=True)
        clock = Timeline()
        asked: AskedNumbers | None = None
        with self.switched_on(c):
            for levels in segments:
                setup = self._list_setup(c, source.function, levels)
                if asked is not None:
                    asked.wait()
                    if source.step_s > _QUICK_S:  # nobody waits for these until the next are there
                        yield _points(asked, clock)
                        asked = None
                before = asked
                asked = self.asked(
                    (c,), "\n".join([*setup, f":INIT (@{c})"]), len(levels), source, source.step_s
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
    ) -> Iterator[Readings]:
        """Hold one level; voltage, current, time and status word of each group of readings."""
        c = self.channel
        self._set_up(c, source, listed=False)
        clock, done = Timeline(), 0
        asked: AskedNumbers | None = None
        with self.switched_on(c):
            if level:
                self.write(f":SOUR{c}:{source.function} {level!r}")
            self.sleep(settle_s)
            began_s = time.monotonic()
            for count in groups:
                due_s = began_s + done * interval_s
                if asked is not None:
                    asked.wait()
                    slow = max(source.step_s, interval_s) > _QUICK_S
                    if slow or due_s - time.monotonic() > _SOON_S:
                        yield _readings(asked, clock)
                        asked = None
                self.sleep(max(0.0, due_s - time.monotonic()))
                before, done = asked, done + count
                first = "\n".join([*_timed(c, count, interval_s), f":INIT:ACQ (@{c})"])
                asked = self.asked((c,), first, count, source, max(source.step_s, interval_s))
                if before is not None:
                    yield _readings(before, clock)
            if asked is not None:
                yield _readings(asked, clock)
        self.check_errors()

    def _list_setup(self, c: int, function: str, levels: NDArray[np.float64]) -> list[str]:
        listed = self.list_commands(f":SOUR{c}:LIST:{function}", levels)
        return [*listed, f":TRIG{c}:ALL:COUN {len(levels)}"]

    def _listed(self, source: Source, levels: NDArray[np.float64]) -> Readings:
        """Source some levels once: voltage, current, time and status word of each."""
        c = self.channel
        first = [*self._list_setup(c, source.function, levels), f":INIT (@{c})"]
        asked = self.asked((c,), "\n".join(first), len(levels), source, source.step_s)
        volt, amp, seconds, word = asked.numbers()
        return volt, amp, seconds, word

    def _on_time(self, groups: Iterable[int], interval_s: float) -> Iterator[int]:
        """Each group when it is due, counted from the first one on, so that nothing drifts."""
        began_s, done = time.monotonic(), 0
        for count in groups:
            self.sleep(max(0.0, began_s + done * interval_s - time.monotonic()))
            yield count
            done += count

    def _test_current(self, source: Source, clock: Timeline, range_ohm: float | None) -> float:
        """A current that makes about a volt, found with a small one; its range is set."""
        if range_ohm is None:
            volt, amp, seconds, _ = self._listed(source, np.array([min(_FIRST_A, source.top)]))
            clock.rising(seconds)
            range_ohm = float(abs(volt[-1]) / max(abs(amp[-1]), _NO_CURRENT_A))
            if not np.isfinite(range_ohm):
                range_ohm = 1.0 / _FIRST_A
        level_a = min(max(1.0 / max(range_ohm, 1e-6), _FIRST_A), source.top)
        self.write(f":SOUR{self.channel}:CURR:RANG {level_a!r}")
        return level_a

    def _at_most(self, quantity: str, wanted: float) -> float:
        """A limit, no higher than the model and the bench allow."""
        span = (self.ranges or {}).get(quantity)
        return wanted if span is None else min(wanted, max(abs(span[0]), abs(span[1])))

    def _set_up(self, c: int, source: Source, *, listed: bool) -> None:
        """Set everything the measurement depends on, and see that the limit is as it was told."""
        self.write("*CLS", *_setup_commands(c, source, listed=listed))
        self.check_errors()
        self._check_compliance(c, source)

    def _check_compliance(self, c: int, source: Source) -> None:
        """Refuse to go on if the instrument limits elsewhere than it was told."""
        answer = self.query(f":SENS{c}:{source.sense}:PROT?")
        found, wanted = float(answer), source.compliance
        if not abs(found - wanted) <= 1e-3 * wanted:
            unit = _UNITS[source.sense]
            raise InstrumentError(
                f"{self.resource_name} has compliance {found:g} {unit} after {wanted:g} {unit}"
                " was set",
                resource=self.resource_name,
            )


def _setup_commands(c: int, source: Source, *, listed: bool) -> list[str]:
    """Nothing is taken over from before."""
    function, sense = source.function, source.sense
    # A level of 0 has no range of its own: the lowest is the quietest.
    source_range = source.range or source.top or _LOWEST[function]
    fixed = source.sense_range
    return [
        # Remote sensing and the source function are set with the output off. It is switched on by
        # :OUTPut alone, not by :INITiate, and not off in compliance.
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
        *(f":SENS{c}:{sense}:NPLC {source.nplc!r}", f":SENS{c}:{function}:NPLC {source.nplc!r}"),
        f":SOUR{c}:{function}:RANG:AUTO OFF",
        f":SOUR{c}:{function}:RANG {source_range!r}",
        *([f":SOUR{c}:{function}:MODE LIST"] if listed else []),
        *(f":ARM{c}:ALL:SOUR AINT", f":ARM{c}:ALL:COUN 1"),
        *(f":TRIG{c}:ALL:SOUR AINT", f":TRIG{c}:ALL:COUN 1"),
        # The delay is between the source's trigger and the meter's.
        *(f":TRIG{c}:TRAN:DEL 0", f":TRIG{c}:ACQ:DEL {source.delay_s!r}"),
        ":FORM:ELEM:SENS VOLT,CURR,TIME,STAT",
        *(":SYST:TIME:TIM:COUN:RES:AUTO OFF", ":SYST:TIME:TIM:COUN:RES"),
    ]


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


def _timed(c: int, count: int, interval_s: float) -> list[str]:
    """Commands for some readings, one in each interval."""
    by_timer = count > 1 and interval_s >= _SHORTEST_TIMER_S
    timer = [f":TRIG{c}:ACQ:SOUR AINT"]
    if by_timer:
        timer = [f":TRIG{c}:ACQ:SOUR TIM", f":TRIG{c}:ACQ:TIM {interval_s!r}"]
    return [*timer, f":TRIG{c}:ACQ:COUN {count}"]


def _word(on: bool) -> str:
    return "ON" if on else "OFF"


def _limited(word: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a reading of a meter is none: over range, or held by the limit."""
    return ((word.astype(np.int64) & (OVER_RANGE | COMPLIANCE)) > 0) | ~np.isfinite(value)


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
    none = ((status & COMPLIANCE) > 0) & (np.abs(rise_a) < _NO_CURRENT_A)
    overload = none | ((status & OVER_RANGE) > 0) | ~np.isfinite(rise_v) | (rise_a == 0)
    ratio = rise_v / np.where(rise_a == 0, 1.0, rise_a)
    return np.where(overload, np.inf, ratio), overload


def _readings(asked: AskedNumbers, clock: Timeline) -> Readings:
    volt, amp, seconds, word = asked.numbers()
    return volt, amp, clock.rising(seconds), word


def _points(asked: AskedNumbers, clock: Timeline) -> dict[str, Any]:
    volt, amp, seconds, word = asked.numbers()
    return {**decoded(volt, amp, word), "time_s": clock.rising(seconds)}


def decoded(
    volt: NDArray[np.float64], amp: NDArray[np.float64], word: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Readings with what the status word says of them: no number where there was none."""
    return {
        "voltage_v": np.where(np.isfinite(volt), volt, np.nan),
        "current_a": np.where(np.isfinite(amp), amp, np.nan),
        "in_compliance": (word.astype(np.int64) & COMPLIANCE) > 0,
    }


class Timeline:
    """The instrument's time stamps as one line that never runs back.

    The stamp counts from its reset through all segments. Where somebody has switched its automatic
    reset on again, the host's clock says where the segment belongs.
    """

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._offset_s = 0.0
        self._last_s = -1.0

    def rising(self, stamps: NDArray[np.float64]) -> NDArray[np.float64]:
        """The stamps of the next segment."""
        host_s = time.monotonic() - self._began_s
        seconds = stamps + self._offset_s
        if seconds[0] <= self._last_s:
            shift = max(host_s - seconds[-1], self._last_s - seconds[0] + stamps[0])
            self._offset_s += shift
            seconds = seconds + shift
        self._last_s = float(seconds[-1])
        return seconds
