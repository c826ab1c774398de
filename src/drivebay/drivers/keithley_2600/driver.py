"""Keithley 2600B family: sweeps by the trigger model of a channel, in segments; two-channel curves.

Promises: both limits are set and the one that counts is read back before the output goes on; each
level is sourced once, in order, with the output held on in between; the output is off at the end.
Every statement is one that the manifest's dialect lists, so all of it can be held to limits; no
script is ever sent. From the Series 2600B Reference Manual, 2600BS-901-01 Rev. F (August 2021),
pages as 9-34. Proven on the simulator only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import (
    AskedNumbers,
    DCCurrent,
    DCVoltage,
    InstrumentError,
    IVMonitor,
    IVSweep,
    OutputCurve,
    Resistance,
    Spot,
    SteppedSource,
    Steps,
    TransferCurve,
    VISweep,
    method,
)

# Bit 6 of a reading's status: the source was at its limit ("bufferVar.statuses", 9-34).
COMPLIANCE = 1 << 6

# Longest that a level may well take beyond its delay: a conversion with two references, at 50 Hz,
# and a few range changes. Only deadlines come of it.
_CONVERSIONS, _MAINS_S, _RANGING_S = 3, 0.02, 0.1
# Readings after which the buffers start anew; they hold 60,000 with time stamps.
_BUFFERED = 50_000
# About how long a piece of a measurement runs: an abort is obeyed at once, a new order after it.
_SEGMENT_S = 0.25
_HIGHEST: Final = {"voltage_v": (40.0, 200.0), "current_a": (1.5, 3.0)}
_LOWEST: Final = {"v": 0.1, "i": 1e-7}
_OTHER: Final = {"v": "i", "i": "v"}
_UNITS: Final = {"v": "V", "i": "A"}
_FUNCTIONS: Final = {"v": "OUTPUT_DCVOLTS", "i": "OUTPUT_DCAMPS"}
# As a meter; leads that hang free drift to the voltage limit. For a resistance: a volt, a milliamp.
_METER_V, _METER_A, _OHMS_V, _OHMS_A = 20.0, 0.1, 2.0, 1e-3
_TEST_A, _NO_CURRENT_A = 1e-6, 1e-8
# A limit of the quantity that is sourced limits nothing; it is set so that none is left over.
_IDLE_LIMIT: Final = {"v": 1.0, "i": 1e-3}

Columns = tuple[NDArray[np.float64], ...]


class Source(NamedTuple):
    """What a channel sources, and how it is measured.

    Attributes:
        function: ``v`` or ``i``; the other one is what is limited.
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
        """What is limited beside what is sourced."""
        return _OTHER[self.function]

    @property
    def slowest_s(self) -> float:
        """Longest that one reading may well take, in seconds."""
        return (self.delay_s or 0.0) + _CONVERSIONS * self.nplc * _MAINS_S + _RANGING_S


class Keithley2600(SteppedSource):
    """System SourceMeters 2601B to 2636B, and the 2600A models with the same commands."""

    abort_command = "abort"
    error_query = 'print(string.format("%d,%s", errorqueue.next()))'
    output_query = (
        'print(string.format("%d", smua.source.output + (smub and smub.source.output or 0)))'
    )
    ascii_setup: ClassVar = ("format.data = format.ASCII", "format.asciiprecision = 10")
    binary_setup: ClassVar = (
        "format.data = format.REAL64",
        "format.byteorder = format.LITTLEENDIAN",
    )
    binary_dtype = "<f8"
    binary_has_length = False  # its blocks begin with #0 ("format.data")
    _slowest_step_s = 0.0

    @property
    def _channel(self) -> str:
        return "smu" + str(self.config.get("channel", "a"))

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep) -> Iterator[dict[str, Any]]:
        """Run the levels as list sweeps of about 0.25 s each."""
        source = Source(
            function="v",
            top=p.max_abs_v,
            compliance=p.compliance_a,
            range=p.source_range_v,
            sense_range=p.sense_range_a,
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        yield from self._swept(source, p.segments(at_most=100, seconds=_SEGMENT_S))

    @method("vi_sweep")
    def vi_sweep(self, p: VISweep) -> Iterator[dict[str, Any]]:
        """Run the levels as list sweeps of about 0.25 s each."""
        source = Source(
            function="i",
            top=p.max_abs_a,
            compliance=p.compliance_v,
            range=p.source_range_a,
            sense_range=p.sense_range_v,
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        yield from self._swept(source, p.segments(at_most=100, seconds=_SEGMENT_S))

    @method("spot")
    def spot(self, p: Spot) -> Iterator[dict[str, Any]]:
        """Run a list of one level."""
        yield from self._swept(_source_of(p, p.delay_s), [np.array([p.level])])

    @method("iv_monitor")
    def iv_monitor(self, p: IVMonitor) -> Iterator[dict[str, Any]]:
        """Hold the level, and read in groups of about 0.25 s at the instrument's own interval."""
        groups = p.segments(at_most=100, seconds=_SEGMENT_S)
        source = _source_of(p, 0.0)
        for points in self._held(source, p.level, groups, p.interval_s, settle_s=p.delay_s):
            yield _decoded(points)

    @method("dc_voltage")
    def dc_voltage(self, p: DCVoltage) -> Iterator[dict[str, Any]]:
        """Source 0 A, and read the voltage; the limit is 1 % above the range, or 20 V."""
        limit_v = _METER_V if p.range_v is None else 1.01 * p.range_v
        source = Source(
            function="i",
            top=0.0,
            compliance=self._at_most("voltage_v", limit_v),
            sense_range=p.range_v,
            delay_s=p.delay_s,
            nplc=p.nplc,
            auto_zero=p.auto_zero,
        )
        groups = p.segments(at_most=100, seconds=_SEGMENT_S)
        for _, volt, seconds, status in self._held(source, 0.0, groups, p.interval_s):
            overload = _limited(status) | ~np.isfinite(volt)
            yield {"voltage_v": volt, "time_s": seconds, "overload": overload}

    @method("dc_current")
    def dc_current(self, p: DCCurrent) -> Iterator[dict[str, Any]]:
        """Source 0 V, and read the current; the limit is 1 % above the range, or 100 mA."""
        limit_a = _METER_A if p.range_a is None else 1.01 * p.range_a
        source = Source(
            function="v",
            top=0.0,
            compliance=self._at_most("current_a", limit_a),
            sense_range=p.range_a,
            delay_s=p.delay_s,
            nplc=p.nplc,
            auto_zero=p.auto_zero,
        )
        groups = p.segments(at_most=100, seconds=_SEGMENT_S)
        for amp, _, seconds, status in self._held(source, 0.0, groups, p.interval_s):
            overload = _limited(status) | ~np.isfinite(amp)
            # A source counts what flows out of it, a meter what flows in.
            yield {"current_a": 0.0 - amp, "time_s": seconds, "overload": overload}

    @method("resistance")
    def resistance(self, p: Resistance) -> Iterator[dict[str, Any]]:
        """Source a current, measure it and the voltage, and divide."""
        source = Source(
            function="i",
            top=self._at_most("current_a", p.max_current_a or _OHMS_A),
            compliance=self._at_most("voltage_v", p.max_voltage_v or _OHMS_V),
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
            auto_zero=p.auto_zero,
        )
        channel = self._channel
        self._set_up(channel, source)
        buffered = _Buffered(channel)
        with self._on(channel):
            level_a = self._test_current(source, buffered, p.range_ohm)
            # The zero follows its level, so that what drifts is out of both.
            pattern = [level_a, 0.0] if p.offset_compensation else [level_a]
            groups = p.segments(at_most=1 if p.interval_s else 50, seconds=_SEGMENT_S)
            for count in self._on_time(groups, p.interval_s):
                asked = self._ask_sweep(source, buffered, np.array(pattern * count))
                amp, volt, seconds, status = buffered.points(asked)
                ohm, overload = _ohms(*(part.reshape(count, -1) for part in (volt, amp, status)))
                yield {
                    "resistance_ohm": ohm,
                    "time_s": seconds.reshape(count, -1)[:, -1],
                    "overload": overload,
                }
        self.check_errors()

    @method("transfer_curve")
    def transfer_curve(self, p: TransferCurve) -> Iterator[dict[str, Any]]:
        """Sweep the gate's channel, hold the drain's, and read both at each level."""
        yield from self._curves(p, gate_top=p.max_abs, drain_top=max(map(abs, p.drain_v)))

    @method("output_curve")
    def output_curve(self, p: OutputCurve) -> Iterator[dict[str, Any]]:
        """Sweep the drain's channel, hold the gate's, and read both at each level."""
        yield from self._curves(p, gate_top=max(map(abs, p.gate_v)), drain_top=p.max_abs)

    # -- paced from outside ----------------------------------------------------------------------

    @contextmanager
    def stepping(self, p: Steps) -> Iterator[None]:
        """Source a voltage that others step."""
        source = Source(
            function="v",
            top=p.top_v,
            compliance=p.compliance_a,
            sense_range=p.sense_range_a,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        self._slowest_step_s = source.slowest_s
        self._set_up(self._channel, source)
        with self._on(self._channel):
            yield
        self.check_errors()

    def step_to(self, level_v: float) -> None:
        """Go to a level and do not wait for it to settle."""
        self.write(f"{self._channel}.source.levelv = {level_v!r}")

    def step_read(self) -> dict[str, Any]:
        """Measure once."""
        channel = self._channel
        points = self.query_numbers(
            _print_buffer(1, 1, _columns(channel)),
            columns=4,
            rows=1,
            expected_s=self._slowest_step_s,
            after=[*_cleared(channel), _measure(channel)],
        )
        found = _decoded(tuple(points))
        return {name: column[0].item() for name, column in found.items() if name != "time_s"}

    # -- what they are made of --------------------------------------------------------------------

    @contextmanager
    def _on(self, channel: str) -> Iterator[None]:
        """The output on; without it readings are of nothing, so an interlock is heard of first."""
        with self.output(
            on=f"{channel}.source.output = 1",
            off=(f"{channel}.abort()", f"{channel}.source.output = 0"),
            query=f'print(string.format("%d", {channel}.source.output))',
        ):
            self.check_errors()
            yield

    @staticmethod
    def _is_on(answer: str) -> bool:
        try:
            return float(answer) != 0.0
        except ValueError:
            return True

    def _swept(
        self, source: Source, segments: Iterable[NDArray[np.float64]]
    ) -> Iterator[dict[str, Any]]:
        """Source the levels of each segment in a list sweep, with the output on throughout."""
        channel = self._channel
        self._set_up(channel, source)
        buffered = _Buffered(channel)
        asked: AskedNumbers | None = None
        with self._on(channel):
            for levels in segments:
                if asked is not None:
                    asked.wait()
                before, asked = asked, self._ask_sweep(source, buffered, levels)
                # While the instrument runs a segment, the one before is read and handed out.
                if before is not None:
                    yield _decoded(buffered.points(before))
            if asked is not None:
                yield _decoded(buffered.points(asked))
        self.check_errors()

    def _ask_sweep(
        self, source: Source, buffered: _Buffered, levels: NDArray[np.float64]
    ) -> AskedNumbers:
        """Have the trigger model source some levels once, and ask for what it read."""
        channel, count = buffered.channel, len(levels)
        numbers = ",".join(map(repr, levels.tolist()))
        clear, first = buffered.place(count)
        return self.ask_numbers(
            _print_buffer(first, first + count - 1, _columns(channel)),
            columns=4,
            rows=count,
            expected_s=count * source.slowest_s,
            after=[
                *clear,
                f"{channel}.trigger.source.list{source.function}({{{numbers}}})",
                f"{channel}.trigger.count = {count}",
                f"{channel}.trigger.initiate()",
                "waitcomplete()",
            ],
        )

    def _held(
        self,
        source: Source,
        level: float,
        groups: Iterable[int],
        interval_s: float,
        *,
        settle_s: float = 0.0,
    ) -> Iterator[Columns]:
        """Hold one level; current, voltage, time and status of each group of readings."""
        channel = self._channel
        self._set_up(channel, source)
        buffered = _Buffered(channel)
        # The instrument keeps intervals up to 1 s ("smuX.measure.interval").
        paced = interval_s <= 1.0
        with self._on(channel):
            if level:
                self.write(f"{channel}.source.level{source.function} = {level!r}")
            self.sleep(settle_s or (source.delay_s or 0.0))
            if paced and interval_s:
                self.write(f"{channel}.measure.interval = {interval_s!r}")
            for count in self._on_time(groups, interval_s):
                clear, first = buffered.place(count)
                asked = self.ask_numbers(
                    _print_buffer(first, first + count - 1, _columns(channel)),
                    columns=4,
                    rows=count,
                    expected_s=count * max(source.slowest_s, interval_s),
                    after=[*clear, f"{channel}.measure.count = {count}", _measure(channel)],
                )
                yield buffered.points(asked)
        self.check_errors()

    def _on_time(self, groups: Iterable[int], interval_s: float) -> Iterator[int]:
        """Each group when it is due, counted from the first one on, so that nothing drifts."""
        began_s, done = time.monotonic(), 0
        for count in groups:
            self.sleep(max(0.0, began_s + done * interval_s - time.monotonic()))
            yield count
            done += count

    def _curves(
        self, p: TransferCurve | OutputCurve, *, gate_top: float, drain_top: float
    ) -> Iterator[dict[str, Any]]:
        """Both channels on; the inner one sweeps in pieces, the outer one reads along."""
        gate = "smu" + str(self.config.get("gate_channel", "b"))
        drain = "smua" if gate == "smub" else "smub"
        outer, inner = (drain, gate) if isinstance(p, TransferCurve) else (gate, drain)
        for channel, top, limit_a, sense_a in (
            (gate, gate_top, p.gate_compliance_a, p.gate_sense_range_a),
            (drain, drain_top, p.drain_compliance_a, p.drain_sense_range_a),
        ):
            delay_s = p.delay_s if channel == inner else 0.0
            source = Source("v", top, limit_a, sense_range=sense_a, delay_s=delay_s, nplc=p.nplc)
            self._set_up(channel, source._replace(four_wire=p.four_wire))
        self.write(*_coupled(inner, outer))
        slowest_s = p.delay_s + source.slowest_s
        buffered = _Buffered(drain, also=gate)
        asked: AskedNumbers | None = None
        with self._on(gate), self._on(drain):
            for held, begins, levels in p.curves(at_most=100, seconds=_SEGMENT_S):
                if asked is not None:
                    asked.wait()
                    if begins and p.hold_s > _SEGMENT_S:
                        # Nobody waits for points through a long hold.
                        yield _curve(asked, buffered.clock)
                        asked = None
                start: list[str] = []
                if begins:
                    first = levels.tolist()[0]
                    ends = (
                        f"{outer}.source.levelv = {held!r}",
                        f"{inner}.source.levelv = {first!r}",
                    )
                    start = self._begin(*ends, p.hold_s)
                clear, place = buffered.place(len(levels))
                before, asked = (
                    asked,
                    self.ask_numbers(
                        _print_curve(place, len(levels), gate, drain),
                        columns=7,
                        rows=len(levels),
                        expected_s=p.hold_s + len(levels) * slowest_s,
                        after=[*clear, *start, *_run_both(inner, outer, levels)],
                    ),
                )
                # While the instrument runs a piece, the one before is read and handed out.
                if before is not None:
                    yield _curve(before, buffered.clock)
            if asked is not None:
                yield _curve(asked, buffered.clock)
        self.check_errors()

    def _begin(self, outer: str, inner: str, hold_s: float) -> list[str]:
        """Statements that bring both channels to the start of a curve and hold them there.

        A long hold is the program's own, so that it ends with an abort and nothing is queued.
        """
        if hold_s > _SEGMENT_S:
            self.write(outer, inner)
            self.sleep(hold_s)
            return []
        return [outer, inner, *([f"delay({float(hold_s)!r})"] if hold_s else [])]

    def _test_current(self, source: Source, buffered: _Buffered, range_ohm: float | None) -> float:
        """A current that makes about a volt, found with a small one; its range is set."""
        if range_ohm is None:
            asked = self._ask_sweep(source, buffered, np.array([min(_TEST_A, source.top)]))
            amp, volt, _, _ = buffered.points(asked)
            range_ohm = float(abs(volt[-1]) / max(abs(amp[-1]), _NO_CURRENT_A))
            if not np.isfinite(range_ohm):
                range_ohm = source.compliance / _TEST_A
        level_a = min(max(1.0 / max(range_ohm, 1e-6), _LOWEST["i"]), source.top)
        self.write(f"{buffered.channel}.source.rangei = {level_a!r}")
        return level_a

    def _at_most(self, quantity: str, wanted: float) -> float:
        """A limit, no higher than the model and the bench allow.

        Levels go to 1 % above the highest range, limits end with it ("smuX.source.limitY", 9-244).
        """
        span = (self.ranges or {}).get(quantity)
        limit = wanted if span is None else min(wanted, max(abs(span[0]), abs(span[1])))
        return next((top for top in _HIGHEST[quantity] if top < limit <= 1.01 * top), limit)

    def _set_up(self, channel: str, source: Source) -> None:
        """Set everything the measurement depends on, and see that the limit is as it was told."""
        self.write("*CLS", *self._setup_commands(channel, source))
        self.check_errors()
        answer = self.query(f"print({channel}.source.limit{source.sense})")
        found, wanted = float(answer), source.compliance
        # The answer has six digits or more ("format.asciiprecision").
        if not abs(found - wanted) <= 1e-3 * wanted:
            unit = _UNITS[source.sense]
            raise InstrumentError(
                f"{self.resource_name} has compliance {found:g} {unit} after {wanted:g} {unit}"
                " was set",
                resource=self.resource_name,
            )

    def _setup_commands(self, channel: str, source: Source) -> list[str]:
        """Nothing is taken over from before; the output comes on at 0."""
        function, sense = source.function, source.sense
        quantity = "voltage_v" if function == "v" else "current_a"
        idle_limit = self._at_most(quantity, max(source.top, _IDLE_LIMIT[function]))
        ranging = (
            f"measure.autorange{sense} = 1"
            if source.sense_range is None
            else f"measure.range{sense} = {source.sense_range!r}"
        )
        delay = (
            "source.delay = -1"
            if source.delay_s is None
            else (f"source.delay = {float(source.delay_s)!r}")
        )
        settings = [
            *("abort()", "source.output = 0", f"source.func = {channel}.{_FUNCTIONS[function]}"),
            *("source.autorangev = 1", "source.autorangei = 1"),
            *("source.levelv = 0", "source.leveli = 0"),
            f"source.limit{sense} = {float(source.compliance)!r}",
            f"source.limit{function} = {float(idle_limit)!r}",
            # A level of 0 has no range of its own: the lowest is the quietest.
            f"source.range{function} = {float(source.range or source.top or _LOWEST[function])!r}",
            *(f"sense = {1 if source.four_wire else 0}", delay, "measure.delay = 0"),
            *(
                ranging,
                f"measure.autorange{function} = 1",
                f"measure.nplc = {float(source.nplc)!r}",
            ),
            f"measure.autozero = {2 if source.auto_zero else 1}",
            *("measure.filter.enable = 0", "measure.count = 1", "measure.interval = 0"),
            *("nvbuffer1.clear()", "nvbuffer2.clear()"),
            *("nvbuffer1.appendmode = 1", "nvbuffer2.appendmode = 1"),
            *("nvbuffer1.collecttimestamps = 1", "nvbuffer2.collecttimestamps = 1"),
            *("trigger.arm.count = 1", "trigger.arm.stimulus = 0", "trigger.source.stimulus = 0"),
            *("trigger.measure.stimulus = 0", "trigger.endpulse.stimulus = 0"),
            *("trigger.source.action = 1", "trigger.measure.action = 1"),
            f"trigger.measure.iv({channel}.nvbuffer1, {channel}.nvbuffer2)",
            # The level is held between levels and between segments, not taken back to 0.
            *("trigger.endpulse.action = 1", "trigger.endsweep.action = 1"),
        ]
        return [f"{channel}.{each}" for each in settings]


class _Buffered:
    """Where the next readings of a channel will be in its buffers, and their time stamps."""

    def __init__(self, channel: str, also: str = "") -> None:
        self.channel = channel
        self.clock = _Timeline()
        self._clear = [*_cleared(channel), *(_cleared(also) if also else [])]
        self._used = 0

    def place(self, count: int) -> tuple[list[str], int]:
        """Statements to send before, and the number of the first of some readings."""
        clear: list[str] = []
        if self._used + count > _BUFFERED:
            clear, self._used = self._clear, 0
        first = self._used + 1
        self._used += count
        return clear, first

    def points(self, asked: AskedNumbers) -> Columns:
        """Current, voltage, time and status."""
        amp, volt, seconds, status = asked.numbers()
        return amp, volt, self.clock.rising(seconds), status


class _Timeline:
    """Time stamps as one line that never runs back.

    They count from the first reading of the buffer, through all segments. Where the buffers were
    cleared in between, the host's clock says where the new ones belong.
    """

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._offset_s = 0.0
        self._last_s = -1.0

    def rising(self, stamps: NDArray[np.float64]) -> NDArray[np.float64]:
        seconds: NDArray[np.float64] = stamps + self._offset_s
        if seconds[0] <= self._last_s:
            host_s = time.monotonic() - self._began_s
            shift = max(host_s - seconds[-1], self._last_s - seconds[0] + 1e-6)
            self._offset_s += shift
            seconds = seconds + shift
        self._last_s = float(seconds[-1])
        return seconds


def _source_of(p: Spot | IVMonitor, delay_s: float) -> Source:
    return Source(
        function="v" if p.sources_voltage else "i",
        top=abs(p.level),
        compliance=p.compliance,
        range=p.source_range,
        sense_range=p.sense_range,
        delay_s=delay_s,
        nplc=p.nplc,
        four_wire=p.four_wire,
    )


def _columns(channel: str) -> list[str]:
    return [
        f"{channel}.nvbuffer1.readings",
        f"{channel}.nvbuffer2.readings",
        f"{channel}.nvbuffer1.timestamps",
        f"{channel}.nvbuffer1.statuses",
    ]


def _print_buffer(first: int, last: int, columns: Iterable[str]) -> str:
    return f"printbuffer({first}, {last}, {', '.join(columns)})"


def _print_curve(first: int, count: int, gate: str, drain: str) -> str:
    """Asks for voltages of gate and drain, their currents reversed, times, and both statuses."""
    columns = [
        *(f"{gate}.nvbuffer2.readings", f"{drain}.nvbuffer2.readings"),
        *(f"{drain}.nvbuffer1.readings", f"{gate}.nvbuffer1.readings"),
        f"{drain}.nvbuffer1.timestamps",
        *(f"{drain}.nvbuffer1.statuses", f"{gate}.nvbuffer1.statuses"),
    ]
    return _print_buffer(first, first + count - 1, columns)


def _measure(channel: str) -> str:
    """One statement for current and voltage of one moment, into the two buffers."""
    return f"{channel}.measure.iv({channel}.nvbuffer1, {channel}.nvbuffer2)"


def _cleared(channel: str) -> list[str]:
    return [f"{channel}.nvbuffer1.clear()", f"{channel}.nvbuffer2.clear()"]


def _coupled(inner: str, outer: str) -> list[str]:
    """The outer channel reads when the inner one has sourced, which then waits for the reading.

    Both read at the same time, each level is read by both before the next ("Triggering", 4-1; the
    names of events as on 9-267). Setting a channel up for anything else undoes it.
    """
    return [
        f"{outer}.trigger.source.action = 0",
        f"{outer}.trigger.measure.stimulus = {inner}.trigger.SOURCE_COMPLETE_EVENT_ID",
        f"{inner}.trigger.endpulse.stimulus = {outer}.trigger.MEASURE_COMPLETE_EVENT_ID",
    ]


def _run_both(inner: str, outer: str, levels: NDArray[np.float64]) -> list[str]:
    """The inner channel goes through some levels; the outer one must be waiting before it does."""
    numbers = ",".join(map(repr, levels.tolist()))
    return [
        f"{inner}.trigger.source.listv({{{numbers}}})",
        f"{outer}.trigger.count = {len(levels)}",
        f"{inner}.trigger.count = {len(levels)}",
        f"{outer}.trigger.initiate()",
        f"{inner}.trigger.initiate()",
        "waitcomplete()",
    ]


def _limited(status: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (status.astype(np.int64) & COMPLIANCE) > 0


def _decoded(points: Columns) -> dict[str, NDArray[Any]]:
    """Readings by column; what was over its range is no number already."""
    amp, volt, seconds, status = points
    return {
        "voltage_v": volt,
        "current_a": amp,
        "time_s": seconds,
        "in_compliance": _limited(status),
    }


def _curve(asked: AskedNumbers, clock: _Timeline) -> dict[str, NDArray[Any]]:
    """What :func:`_print_curve` asked for, by column."""
    gate_v, drain_v, drain_a, gate_a, seconds, drain_status, gate_status = asked.numbers()
    return {
        "gate_voltage_v": gate_v,
        "drain_voltage_v": drain_v,
        "drain_current_a": drain_a,
        "gate_current_a": gate_a,
        "time_s": clock.rising(seconds),
        "in_compliance": _limited(drain_status) | _limited(gate_status),
    }


def _ohms(
    volt: NDArray[np.float64], amp: NDArray[np.float64], status: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Resistances, and which are none; a row of each array belongs to one.

    At the voltage limit both are measured, so their ratio still holds until no current flows.
    """
    # With a zero beside the level, what is there without a current is taken out.
    rise_v = volt[:, 0] - (volt[:, 1] if volt.shape[1] > 1 else 0.0)
    rise_a = amp[:, 0] - (amp[:, 1] if amp.shape[1] > 1 else 0.0)
    none = _limited(status[:, 0]) & (np.abs(rise_a) < _NO_CURRENT_A)
    overload = none | ~np.isfinite(rise_v) | ~np.isfinite(rise_a) | (rise_a == 0)
    ratio = rise_v / np.where(rise_a == 0, 1.0, rise_a)
    return np.where(overload, np.inf, ratio), overload
