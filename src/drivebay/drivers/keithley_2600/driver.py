"""Keithley 2600B family: sweeps by the trigger model of a channel, in segments; two-channel curves.

Promises: what :class:`SourceMeter` promises; both limits are set before the output goes on.
Every statement is one that the manifest's dialect lists, so all of it can be held to limits; no
script is ever sent. From the Series 2600B Reference Manual, 2600BS-901-01 Rev. F (August 2021),
pages as 9-34. Proven on the simulator only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import (
    AskedNumbers,
    OutputCurve,
    Readings,
    Source,
    SourceMeter,
    Timeline,
    TransferCurve,
    method,
)

# Bit 6 of a reading's status: the source was at its limit ("bufferVar.statuses", 9-34).
COMPLIANCE = 1 << 6

# Readings after which the buffers start anew; they hold 60,000 with time stamps.
_BUFFERED = 50_000
# About how long a piece of a measurement runs: an abort is obeyed at once, a new order after it.
_SEGMENT_S = 0.25
_HIGHEST: Final = {"voltage_v": (40.0, 200.0), "current_a": (1.5, 3.0)}
_LETTERS: Final = {"VOLT": "v", "CURR": "i"}
_LOWEST: Final = {"v": 0.1, "i": 1e-7}
_FUNCTIONS: Final = {"v": "OUTPUT_DCVOLTS", "i": "OUTPUT_DCAMPS"}
# A limit of the quantity that is sourced limits nothing; it is set so that none is left over.
_IDLE_LIMIT: Final = {"v": 1.0, "i": 1e-3}


class Keithley2600(SourceMeter):
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
    conversions = 3  # a conversion with two references
    meter_v, meter_a, headroom = 20.0, 0.1, 1.01
    ohms_v, least_a = 2.0, 1e-7
    _used = 0  # readings in the buffers; none after a set-up
    _interval_s = 0.0  # between readings, as last sent

    @property
    def channel(self) -> str:
        """The channel that measures."""
        return "smu" + str(self.config.get("channel", "a"))

    @method("transfer_curve")
    def transfer_curve(self, p: TransferCurve) -> Iterator[dict[str, Any]]:
        """Sweep the gate's channel, hold the drain's, and read both at each level."""
        yield from self._curves(p, gate_top=p.max_abs, drain_top=max(map(abs, p.drain_v)))

    @method("output_curve")
    def output_curve(self, p: OutputCurve) -> Iterator[dict[str, Any]]:
        """Sweep the drain's channel, hold the gate's, and read both at each level."""
        yield from self._curves(p, gate_top=max(map(abs, p.gate_v)), drain_top=p.max_abs)

    # -- what they are made of --------------------------------------------------------------------

    @contextmanager
    def switched_on(self, source: Source) -> Iterator[None]:
        """The output on; without it readings are of nothing, so an interlock is heard of first."""
        channel = source.channel
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

    def held(
        self,
        source: Source,
        level: float,
        groups: Iterable[int],
        interval_s: float,
        *,
        settle_s: float = 0.0,
        as_chunk: Callable[[Readings], dict[str, Any]] = Readings.points,
    ) -> Iterator[dict[str, Any]]:
        """The source's own delay comes once: a level that is held is not set again."""
        settle_s = settle_s or source.delay_s or 0.0
        return super().held(source, level, groups, interval_s, settle_s=settle_s, as_chunk=as_chunk)

    def limit_query(self, source: Source) -> str:
        """The answer has six digits or more ("format.asciiprecision")."""
        return f"print({source.channel}.source.limit{_LETTERS[source.sense]})"

    def level_command(self, source: Source, level: float) -> str:
        """The level of the function that is sourced."""
        return f"{source.channel}.source.level{_LETTERS[source.function]} = {level!r}"

    def range_command(self, source: Source, top: float) -> str:
        """The range of the function that is sourced."""
        return f"{source.channel}.source.range{_LETTERS[source.function]} = {top!r}"

    def list_run(self, source: Source, levels: NDArray[np.float64]) -> Sequence[str]:
        """Have the trigger model source some levels once, and ask for what it read."""
        channel, count = source.channel, len(levels)
        numbers = ",".join(map(repr, levels.tolist()))
        clear, first = self._place(count, channel)
        return [
            *clear,
            f"{channel}.trigger.source.list{_LETTERS[source.function]}({{{numbers}}})",
            f"{channel}.trigger.count = {count}",
            f"{channel}.trigger.initiate()",
            "waitcomplete()",
            _print_buffer(first, count, _columns(channel)),
        ]

    def timed_run(self, source: Source, rows: int, interval_s: float) -> Sequence[str]:
        """Readings at the instrument's own interval, up to 1 s ("smuX.measure.interval")."""
        channel = source.channel
        clear, first = self._place(rows, channel)
        pace = []
        if interval_s != self._interval_s and interval_s <= 1.0:
            pace, self._interval_s = [f"{channel}.measure.interval = {interval_s!r}"], interval_s
        count = f"{channel}.measure.count = {rows}"
        question = _print_buffer(first, rows, _columns(channel))
        return [*pace, *clear, count, _measure(channel), question]

    def single_reading(self, source: Source) -> NDArray[np.float64]:
        """One reading alone in the buffers."""
        channel, slowest_s = source.channel, self.slowest_s(source)
        after = [*_cleared(channel), _measure(channel)]
        question = _print_buffer(1, 1, _columns(channel))
        return self.query_numbers(question, 4, 1, expected_s=slowest_s, after=after)

    def decoded(self, source: Source, numbers: NDArray[np.float64]) -> Readings:
        """Current, voltage, time and status; what was over its range is no number already."""
        amp, volt, seconds, status = numbers
        limited = _limited(status)
        return Readings(volt, amp, seconds, limited, over_range=np.zeros_like(limited))

    def _place(self, count: int, *channels: str) -> tuple[list[str], int]:
        """Statements to send before, and the number in the buffers of the first reading."""
        clear: list[str] = []
        if self._used + count > _BUFFERED:
            clear = [each for channel in channels for each in _cleared(channel)]
            self._used = 0
        first = self._used + 1
        self._used += count
        return clear, first

    def _curves(
        self, p: TransferCurve | OutputCurve, *, gate_top: float, drain_top: float
    ) -> Iterator[dict[str, Any]]:
        """Both channels on; the inner one sweeps in pieces, the outer one reads along."""
        gate = "smu" + str(self.config.get("gate_channel", "b"))
        drain = "smua" if gate == "smub" else "smub"
        outer, inner = (drain, gate) if isinstance(p, TransferCurve) else (gate, drain)

        def source(channel: str, top_v: float, limit_a: float, sense_a: float | None) -> Source:
            return Source(
                function="VOLT",
                top=top_v,
                compliance=limit_a,
                sense_range=sense_a,
                delay_s=p.delay_s if channel == inner else 0.0,
                nplc=p.nplc,
                four_wire=p.four_wire,
                channel=channel,
            )

        at_gate = source(gate, gate_top, p.gate_compliance_a, p.gate_sense_range_a)
        at_drain = source(drain, drain_top, p.drain_compliance_a, p.drain_sense_range_a)
        self.set_up(at_gate, listed=True)
        self.set_up(at_drain, listed=True)
        self.write(*_coupled(inner, outer))
        slowest_s = p.delay_s + self.slowest_s(at_drain)
        clock = Timeline()
        asked: AskedNumbers | None = None
        with self.switched_on(at_gate), self.switched_on(at_drain):
            for held, begins, levels in p.curves(at_most=100, seconds=_SEGMENT_S):
                if asked is not None:
                    asked.wait()
                    if begins and p.hold_s > _SEGMENT_S:
                        # Nobody waits for points through a long hold.
                        yield _curve(asked, clock)
                        asked = None
                start: list[str] = []
                if begins:
                    first = levels.tolist()[0]
                    ends = (
                        f"{outer}.source.levelv = {held!r}",
                        f"{inner}.source.levelv = {first!r}",
                    )
                    start = self._begin(*ends, p.hold_s)
                clear, place = self._place(len(levels), drain, gate)
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
                    yield _curve(before, clock)
            if asked is not None:
                yield _curve(asked, clock)
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

    def at_most(self, quantity: str, wanted: float) -> float:
        """A limit, no higher than the model and the bench allow.

        Levels go to 1 % above the highest range, limits end with it ("smuX.source.limitY", 9-244).
        """
        limit = super().at_most(quantity, wanted)
        return next((top for top in _HIGHEST[quantity] if top < limit <= 1.01 * top), limit)

    def setup_commands(self, source: Source, *, listed: bool) -> list[str]:
        """Nothing is taken over from before; the output comes on at 0."""
        self._used, self._interval_s = 0, 0.0
        channel = source.channel
        function, sense = _LETTERS[source.function], _LETTERS[source.sense]
        quantity = "voltage_v" if function == "v" else "current_a"
        idle_limit = self.at_most(quantity, max(source.top, _IDLE_LIMIT[function]))
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


def _columns(channel: str) -> list[str]:
    return [
        f"{channel}.nvbuffer1.readings",
        f"{channel}.nvbuffer2.readings",
        f"{channel}.nvbuffer1.timestamps",
        f"{channel}.nvbuffer1.statuses",
    ]


def _print_buffer(first: int, count: int, columns: Iterable[str]) -> str:
    return f"printbuffer({first}, {first + count - 1}, {', '.join(columns)})"


def _print_curve(first: int, count: int, gate: str, drain: str) -> str:
    """Asks for voltages of gate and drain, their currents reversed, times, and both statuses."""
    columns = [
        *(f"{gate}.nvbuffer2.readings", f"{drain}.nvbuffer2.readings"),
        *(f"{drain}.nvbuffer1.readings", f"{gate}.nvbuffer1.readings"),
        f"{drain}.nvbuffer1.timestamps",
        *(f"{drain}.nvbuffer1.statuses", f"{gate}.nvbuffer1.statuses"),
    ]
    return _print_buffer(first, count, columns)


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


def _curve(asked: AskedNumbers, clock: Timeline) -> dict[str, NDArray[Any]]:
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
