"""One channel of a simulated 2600B: its source, its meter, its buffers and its trigger model.

Promises: readings follow from the settings and from what is connected; a sweep takes its readings
when they are due. Never waits by itself: the instrument lends it ``wait_until``.

From the Series 2600B Reference Manual, 2600BS-901-01 Rev. F, section 9: the limit is of what is not
sourced (9-244); bits 2, 3, 4 and 6 of a reading's status are automatic ranges of meter and source,
four-wire sensing and compliance (``bufferVar.statuses``, 9-34); ``endpulse.action`` and
``endsweep.action`` say whether the level is held or goes back to ``levelv``/``leveli``; ``abort()``
leaves the output as it is. That a reading over its fixed range is 9.91e37 stands in none of the
pages that were seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from drivebay.sim.circuit import Point, Port
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2600.interpreter import Table
from drivebay.sim.keithley2600.models import MEASURE_FULL, SOURCE_FULL, Model
from drivebay.sim.keithley2600.tables import (
    BLOCKED_BY_INTERLOCK,
    OVERLAPPED,
    PARAMETER_INVALID,
    TOO_BIG_FOR_RANGE,
    UNCONFIGURED_SOURCE,
    UNSAFE_AREA,
    Attributes,
    Buffer,
    TspError,
    number,
    one_of,
)
from drivebay.sim.readout import Converter
from drivebay.sim.source import CURR, VOLT, SourceChannel

OVER = 9.91e37
AUTO_MEASURE, AUTO_SOURCE, FOUR_WIRE, IN_COMPLIANCE = 1 << 2, 1 << 3, 1 << 4, 1 << 6
# Time of a reading beside its integration, and conversions of one with automatic zero: rough.
_OVERHEAD_S, _AUTO_ZERO = 2e-4, 3
_DC_VOLTS, _DC_AMPS = 1, 0
# What a channel tells others of its sweep ("Trigger event IDs", 9-267); programs use the names, the
# numbers are this simulator's own.
_EVENTS = ("SWEEPING", "ARMED", "SOURCE_COMPLETE", "MEASURE_COMPLETE", "PULSE_COMPLETE",
           "SWEEP_COMPLETE", "IDLE")  # fmt: skip


def event_id(channel: str, event: str) -> float:
    """Number of an event of ``a`` or ``b``."""
    return float("ab".index(channel) * 8 + _EVENTS.index(event) + 1)


class Host(Protocol):
    """What a channel needs of its instrument."""

    model: Model
    log: EventLog
    line_frequency_hz: float
    channels: dict[str, Channel]

    def refuse(self, number: int) -> None:
        """Queues an error."""

    def now_s(self) -> float:
        """The instrument's time, in simulated seconds."""

    def wait_until(self, due_s: float) -> None:
        """Lets that time pass, and what becomes due in it."""


@dataclass
class Sweep:
    """A run of the trigger model.

    Attributes:
        levels: what is sourced, again from the first one on if ``count`` is more.
        count: how many readings it takes.
        started_s: when it began.
        cycle_s: from one reading to the next.
        led: whether each reading waits for the other channel's source.
        leads: whether each level waits for the other channel's reading.
        done: readings taken.
    """

    levels: list[float]
    count: int
    started_s: float
    cycle_s: float
    led: bool = False
    leads: bool = False
    done: int = 0

    @property
    def over(self) -> bool:
        """Whether all readings are taken."""
        return self.done >= self.count


@dataclass
class Plan:
    """What the trigger model was told."""

    function: str = "v"
    levels: list[float] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)


class Channel:
    """``smua`` or ``smub``.

    Attributes:
        table: what programs see.
        source: output, level and compliance on the port.
        sweep: the run of the trigger model, if there is one.
    """

    def __init__(self, name: str, host: Host, port: Port, *, seed: int, noise: float) -> None:
        self.name = name
        self.host = host
        self.model = host.model
        self.source = SourceChannel(port, host.log, name)
        self.table = Attributes(f"smu{name}", host.refuse)
        self.sweep: Sweep | None = None
        self.plan = Plan()
        self.buffers = [Buffer(f"smu{name}.nvbuffer{k}", host.refuse) for k in (1, 2)]
        self._converter = Converter(seed, noise)
        self._src = Attributes(f"smu{name}.source", host.refuse)
        self._meas = Attributes(f"smu{name}.measure", host.refuse)
        self._trig = Attributes(f"smu{name}.trigger", host.refuse)
        self._trig_source = Attributes(f"smu{name}.trigger.source", host.refuse)
        self._trig_measure = Attributes(f"smu{name}.trigger.measure", host.refuse)
        self._arm = Attributes(f"smu{name}.trigger.arm", host.refuse)
        self._end_pulse = Attributes(f"smu{name}.trigger.endpulse", host.refuse)
        self._end_sweep = Attributes(f"smu{name}.trigger.endsweep", host.refuse)
        self._build()
        self.reset()

    # -- the tables -------------------------------------------------------------------------------

    def _build(self) -> None:
        constants = {
            "OUTPUT_DCVOLTS": 1.0, "OUTPUT_DCAMPS": 0.0, "OUTPUT_OFF": 0.0, "OUTPUT_ON": 1.0,
            "OUTPUT_HIGH_Z": 2.0, "OUTPUT_NORMAL": 0.0, "OUTPUT_ZERO": 1.0,
            "SENSE_LOCAL": 0.0, "SENSE_REMOTE": 1.0, "AUTORANGE_OFF": 0.0, "AUTORANGE_ON": 1.0,
            "AUTOZERO_OFF": 0.0, "AUTOZERO_ONCE": 1.0, "AUTOZERO_AUTO": 2.0, "DISABLE": 0.0,
            "ENABLE": 1.0, "SOURCE_IDLE": 0.0, "SOURCE_HOLD": 1.0, "DELAY_OFF": 0.0,
            "DELAY_AUTO": -1.0, "LIMIT_AUTO": -1.0, "FILTER_OFF": 0.0, "FILTER_ON": 1.0,
        }  # fmt: skip
        self.table.fixed(
            **constants,
            nvbuffer1=self.buffers[0],
            nvbuffer2=self.buffers[1],
            source=self._src,
            measure=self._meas,
            trigger=self._trig,
            reset=self.reset,
            abort=self.abort,
            makebuffer=lambda size: Buffer("buffer", self.host.refuse, int(size)),
        )
        self._src.computed("compliance", self._in_compliance)
        self._meas.fixed(
            v=lambda *buffers: self._measured("v", buffers),
            i=lambda *buffers: self._measured("i", buffers),
            iv=lambda *buffers: self._measured("iv", buffers),
            r=lambda *buffers: self._measured("r", buffers),
            p=lambda *buffers: self._measured("p", buffers),
        )
        self._trig.fixed(
            arm=self._arm,
            source=self._trig_source,
            measure=self._trig_measure,
            endpulse=self._end_pulse,
            endsweep=self._end_sweep,
            initiate=self.initiate,
            **{f"{event}_EVENT_ID": event_id(self.name, event) for event in _EVENTS},
        )
        self._trig_source.fixed(
            **{f"list{q}": lambda values, q=q: self._list(q, values) for q in "vi"},
            **{f"linear{q}": lambda *args, q=q: self._linear(q, *args) for q in "vi"},
        )
        self._trig_measure.fixed(
            v=lambda buffer: self._into(v=buffer),
            i=lambda buffer: self._into(i=buffer),
            iv=lambda current, voltage: self._into(i=current, v=voltage),
        )

    def reset(self) -> None:
        """``smuX.reset()``: everything as after switching on, output off."""
        self.abort()
        self.source.set_output(False, "reset")
        self.plan = Plan()
        for buffer in self.buffers:
            buffer.reset()
        self._reset_source()
        self._reset_measure()
        self.table.settable("sense", 0.0, self._set_sense)
        self._trig.settable("count", 1.0, number(0, 1e7))
        self._arm.settable("count", 1.0, one_of(1))
        self._arm.settable("stimulus", 0.0, one_of(0))
        for table in (self._trig_source, self._trig_measure):
            table.settable("action", 0.0, one_of(0, 1, 2))
        self._trig_source.settable("stimulus", 0.0, one_of(0))
        self._trig_measure.settable("stimulus", 0.0, self._heard("SOURCE_COMPLETE"))
        for table in (self._end_pulse, self._end_sweep):
            table.settable("action", 0.0, one_of(0, 1))
        self._end_pulse.put("action", 1.0)
        self._end_pulse.settable("stimulus", 0.0, self._heard("MEASURE_COMPLETE"))
        self._apply()

    def _heard(self, event: str) -> Callable[[Any], float]:
        """A check for nothing, or an event of the other channel."""
        others = "ab"[: self.model.channels].replace(self.name, "")
        return one_of(0, *(event_id(each, event) for each in others))

    def _reset_source(self) -> None:
        s = self._src
        s.settable("func", float(_DC_VOLTS), self._set_function)
        s.settable("output", 0.0, self._set_output)
        for q, limit in zip("vi", self.model.default_limits, strict=True):
            lowest = self.model.ranges(q, source=True)[0]
            s.settable(f"level{q}", 0.0, self._level_check(q))
            s.settable(f"limit{q}", limit, self._limit_check(q))
            s.settable(f"range{q}", lowest, self._range_check(q, s))
            s.computed(f"range{q}", partial(self._source_range, q))
            s.settable(f"autorange{q}", 1.0, one_of(0, 1))
            s.settable(f"lowrange{q}", lowest, number(0))
        s.settable("delay", 0.0, self._delay)
        s.settable("offmode", 0.0, one_of(0, 1, 2))
        s.settable("offlimiti", 1e-3, number(0))
        s.settable("offlimitv", 40.0, number(0))
        s.settable("offfunc", 1.0, one_of(0, 1))
        s.settable("highc", 0.0, one_of(0, 1))
        s.settable("sink", 0.0, one_of(0, 1))
        s.settable("settling", 0.0, number(0))
        # With an interlock it always switches the output off, and cannot be changed.
        fixed = 1.0 if self.model.interlocked_v else 0.0
        s.settable("outputenableaction", fixed, one_of(1) if fixed else one_of(0, 1))

    def _reset_measure(self) -> None:
        m = self._meas
        for q in "vi":
            m.settable(f"range{q}", self.model.ranges(q)[-1], self._range_check(q, m))
            m.settable(f"autorange{q}", 1.0, one_of(0, 1, 2))
            m.settable(f"lowrange{q}", self.model.ranges(q)[0], number(0))
        m.settable("nplc", 1.0, number(0.001, 25))
        m.settable("autozero", 2.0, one_of(0, 1, 2))
        m.settable("count", 1.0, number(1, 6e4))
        m.settable("interval", 0.0, number(0, 1))
        m.settable("delay", -1.0 if self.model.settles else 0.0, self._delay)
        m.settable("delayfactor", 1.0, number(0))
        filtering = Attributes(f"smu{self.name}.measure.filter", self.host.refuse)
        filtering.settable("enable", 0.0, one_of(0))
        filtering.settable("count", 1.0, number(1, 100))
        filtering.settable("type", 1.0, one_of(0, 1, 2))
        m.fixed(filter=filtering)

    # -- settings ---------------------------------------------------------------------------------

    @staticmethod
    def _delay(value: Any) -> float:
        return -1.0 if value == -1 else number(0, 1e5)(value)

    def _set_function(self, value: Any) -> float:
        checked = one_of(_DC_AMPS, _DC_VOLTS)(value)
        self.source.function = VOLT if checked == _DC_VOLTS else CURR
        self.source.apply()
        return checked

    def _set_output(self, value: Any) -> float:
        checked = one_of(0, 1, 2)(value)
        if checked == 1:
            self._check_interlock()
        self.source.set_output(checked == 1)
        if checked != 1:
            self.abort()
        return checked

    def set_interlock(self, *, closed: bool) -> None:
        """The fixture's lid opens or closes; an output goes off when it opens."""
        self.source.interlock.closed = closed
        if self.model.interlocked_v and not closed and self.source.output_on:
            self.abort()
            self._src.put("output", 0.0)
            self.source.set_output(False, "interlock")

    def _check_interlock(self, **changed: float) -> None:
        """Refuses the 200 V range without the interlock; of a voltage limit its own range counts.

        Args:
            **changed: ``levelv`` or ``limitv`` as it is going to be.
        """
        if not self.model.interlocked_v or self.source.interlock.closed:
            return
        if self.source.function == CURR:
            volt = changed.get("limitv", self._src.get("limitv"))
        elif self._src.get("autorangev"):
            volt = changed.get("levelv", self._src.get("levelv"))
        else:
            volt = self._src.get("rangev")
        if self.model.range_of("v", volt, source=True) > self.model.interlocked_v:
            raise TspError(BLOCKED_BY_INTERLOCK)

    def _set_sense(self, value: Any) -> float:
        checked = one_of(0, 1, 3)(value)
        self.source.remote_sense = checked == 1
        self.source.apply()
        return checked

    def _level_check(self, quantity: str) -> Callable[[Any], float]:
        def check(value: Any) -> float:
            checked = self._level(quantity, value)
            if self.source.output_on:
                self._check_interlock(**{f"level{quantity}": checked})
            if quantity == "v":
                self.source.level_v = checked
            else:
                self.source.level_a = checked
            self.source.apply()
            return checked

        return check

    def _level(self, quantity: str, value: Any) -> float:
        """A level that the model, the operating area and a fixed range allow."""
        top = self.model.top(quantity)
        checked = number(-top, top)(value)
        other = "i" if quantity == "v" else "v"
        if self.source.function == (VOLT if quantity == "v" else CURR):
            self._check_area(quantity, abs(checked), self._src.get(f"limit{other}"))
        fixed = not self._src.get(f"autorange{quantity}")
        if fixed and abs(checked) > self._src.get(f"range{quantity}") * SOURCE_FULL * 1.000001:
            raise TspError(TOO_BIG_FOR_RANGE)
        return checked

    def _limit_check(self, quantity: str) -> Callable[[Any], float]:
        def check(value: Any) -> float:
            model = self.model
            checked = number(model.lowest_limit(quantity), model.nominal(quantity))(value)
            if self.source.output_on:
                self._check_interlock(**{f"limit{quantity}": checked})
            other = "i" if quantity == "v" else "v"
            if self.source.function == (VOLT if other == "v" else CURR):
                self._check_area(other, abs(self._src.get(f"level{other}")), checked)
            if quantity == "v":
                self.source.limit_v = checked
            else:
                self.source.limit_a = checked
            self.source.apply()
            return checked

        return check

    def _check_area(self, quantity: str, level: float, limit: float) -> None:
        if not self.model.allows(quantity, level, limit):
            raise TspError(UNSAFE_AREA)

    def _range_check(self, quantity: str, table: Attributes) -> Callable[[Any], float]:
        def check(value: Any) -> float:
            top = self.model.top(quantity)
            checked = abs(number(-top, top)(value))
            table.put(f"autorange{quantity}", 0.0)
            return self.model.range_of(quantity, checked, source=table is self._src)

        return check

    def _source_range(self, quantity: str) -> float:
        """With automatic ranges that of the level (9-245)."""
        if self._src.get(f"autorange{quantity}"):
            return self.model.range_of(quantity, self._src.get(f"level{quantity}"), source=True)
        return float(self._src.kept(f"range{quantity}"))

    def _apply(self) -> None:
        self.source.function = VOLT
        self.source.level_v = self.source.level_a = 0.0
        self.source.limit_v, self.source.limit_a = self._src.get("limitv"), self._src.get("limiti")
        self.source.remote_sense = False
        self.source.apply()

    def _in_compliance(self) -> bool:
        return self.source.output_on and self.source.now().limited

    # -- readings ---------------------------------------------------------------------------------

    @property
    def _window_s(self) -> float:
        return float(self._meas.get("nplc")) / self.host.line_frequency_hz

    @property
    def _cycle_s(self) -> float:
        conversions = _AUTO_ZERO if self._meas.get("autozero") == 2 else 1
        return self._window_s * conversions + _OVERHEAD_S + self._measure_delay_s

    @property
    def _measure_delay_s(self) -> float:
        return max(0.0, float(self._meas.get("delay")))

    def _measured(self, what: str, buffers: tuple[Any, ...]) -> list[float]:
        """``smuX.measure.X``: ``count`` readings, ``interval`` apart; the last is the answer."""
        names = ("i", "v") if what == "iv" else (what,)
        stores = {
            name: each
            for name, each in zip(names, buffers, strict=False)
            if isinstance(each, Buffer)
        }
        for each in stores.values():
            each.begin()
        cycle_s = max(self._cycle_s, float(self._meas.get("interval")))
        start_s = self.host.now_s()
        row: dict[str, float] = {}
        for k in range(int(self._meas.get("count"))):
            self.host.wait_until(start_s + k * cycle_s + self._cycle_s)
            point = self.source.read([self.source.level], self._measure_delay_s, self._window_s)[0]
            row = self._stored(point, stores, start_s + k * cycle_s)
        return [row[name] for name in names]

    def _stored(self, point: Point, stores: dict[str, Buffer], time_s: float) -> dict[str, float]:
        volt, amp = self._digitised("v", point.volt_v), self._digitised("i", point.amp_a)
        row = {"v": volt, "i": amp, "r": volt / amp if amp else OVER, "p": volt * amp}
        for name, buffer in stores.items():
            status = self._status(name, point)
            buffer.put_reading(row[name], time_s, status, self.source.level)
        return row

    def _status(self, name: str, point: Point) -> int:
        sourced = "v" if self.source.function == VOLT else "i"
        ranged = name in "vi" and name != sourced and self._meas.get(f"autorange{name}")
        return (
            (IN_COMPLIANCE if point.limited else 0)
            | (FOUR_WIRE if self.source.remote_sense else 0)
            | (AUTO_MEASURE if ranged else 0)
            | (AUTO_SOURCE if self._src.get(f"autorange{sourced}") else 0)
        )

    def _digitised(self, quantity: str, value: float) -> float:
        if self.source.function == (VOLT if quantity == "v" else CURR):
            fixed = not self._src.get(f"autorange{quantity}")
            full = float(self._src.get(f"range{quantity}"))
        else:
            fixed = not self._meas.get(f"autorange{quantity}")
            full = float(self._meas.get(f"range{quantity}"))
        if not fixed:
            full = self.model.range_of(quantity, value)
        elif abs(value) > full * MEASURE_FULL * 1.000001:
            return math.copysign(OVER, value)
        return self._converter.reading(value, full, float(self._meas.get("nplc")))

    # -- the trigger model ------------------------------------------------------------------------

    def _list(self, quantity: str, values: Any) -> None:
        levels = values.values() if isinstance(values, Table) else []
        if not levels:
            return self.host.refuse(PARAMETER_INVALID)
        try:
            self.plan.levels = [self._level(quantity, each) for each in levels]
        except TspError as error:
            return self.host.refuse(error.number)
        self.plan.function = quantity
        return None

    def _linear(self, quantity: str, start: float, stop: float, points: float) -> None:
        steps = max(int(points) - 1, 1)
        span = [start + (stop - start) * k / steps for k in range(int(points))]
        self._list(quantity, Table(span))

    def _into(self, **buffers: Any) -> None:
        self.plan.buffers = {k: v for k, v in buffers.items() if isinstance(v, Buffer)}

    def initiate(self) -> None:
        """``smuX.trigger.initiate()``: the sweep runs while other statements are executed."""
        if self.sweep is not None:
            return self.host.refuse(OVERLAPPED)
        sources = bool(self._trig_source.get("action"))
        if sources and not self.plan.levels:
            return self.host.refuse(UNCONFIGURED_SOURCE)
        levels = self.plan.levels if sources else [self.source.level]
        if self.source.output_on:
            try:
                self._check_interlock(levelv=max(map(abs, levels)))
            except TspError as error:
                return self.host.refuse(error.number)
        count = int(self._trig.get("count")) or len(levels)
        for buffer in self.plan.buffers.values():
            buffer.begin()
        self.sweep = Sweep(
            levels,
            count,
            self.host.now_s(),
            self._slowest_cycle_s(),
            led=bool(self._trig_measure.get("stimulus")),
            leads=bool(self._end_pulse.get("stimulus")),
        )
        mode = "LIST" if sources else "FIX"
        self.host.log.add(
            "sweep_begin", channel=self.name, mode=mode, points=count, cycle_s=self.sweep.cycle_s
        )
        return None

    def advance(self, now_s: float) -> None:
        """Take the readings that are due."""
        sweep = self.sweep
        if sweep is None or sweep.led:
            return
        ended = int((now_s - sweep.started_s) / sweep.cycle_s * (1 + 1e-9))
        stop = min(sweep.count, max(ended, sweep.done))
        follower = self._follower()
        if sweep.leads:
            # It waits behind its next level for a reading that nobody takes.
            stop = min(stop, sweep.done + (follower.left if follower else 0))
        if stop > sweep.done:
            self._take(sweep, stop, follower)
        if sweep.over:
            self._finish(aborted=False)

    def due_s(self) -> float:
        """When the sweep goes no further; infinite without one, or while it waits for another's."""
        sweep = self.sweep
        if sweep is None or sweep.led:
            return math.inf
        count = sweep.count
        if sweep.leads:
            follower = self._follower()
            if follower is None:
                return math.inf
            count = min(count, sweep.done + follower.left)
        return sweep.started_s + count * sweep.cycle_s

    @property
    def left(self) -> int:
        """Readings that are still to be taken."""
        return self.sweep.count - self.sweep.done if self.sweep else 0

    def _follower(self) -> Channel | None:
        """The channel that reads whenever this one has sourced a level."""
        found = (each for each in self.host.channels.values() if each is not self)
        return next((each for each in found if each.sweep is not None and each.sweep.led), None)

    def _slowest_cycle_s(self) -> float:
        follower = self._follower()
        reads_s = max(self._cycle_s, follower._cycle_s if follower else 0.0)  # noqa: SLF001
        return max(0.0, float(self._src.get("delay"))) + reads_s

    def abort(self) -> None:
        """``smuX.abort()``: the sweep ends at once; the output stays as it is."""
        if self.sweep is not None:
            self.host.log.add("abort", channel=self.name, taken=self.sweep.done)
            self._finish(aborted=True)

    def _take(self, sweep: Sweep, stop: int, follower: Channel | None) -> None:
        count = len(sweep.levels)
        levels = [sweep.levels[k % count] for k in range(sweep.done, stop)]
        before_s = max(0.0, float(self._src.get("delay"))) + self._measure_delay_s
        if follower is None:
            self._keep(sweep, self.source.read(levels, before_s, self._window_s), sweep)
            return
        for level in levels:
            self._keep(sweep, self.source.read([level], before_s, self._window_s), sweep)
            follower.follow(sweep)

    def follow(self, leading: Sweep) -> None:
        """Take one reading, since the other channel has sourced a level."""
        sweep = self.sweep
        if sweep is not None:
            level = sweep.levels[sweep.done % len(sweep.levels)]
            self._keep(sweep, self.source.read([level], 0.0, self._window_s), leading)
            if sweep.over:
                self._finish(aborted=False)

    def _keep(self, sweep: Sweep, points: list[Point], clock: Sweep) -> None:
        """Store readings, at the times of the sweep that sets the pace."""
        stores = self.plan.buffers if self._trig_measure.get("action") else {}
        for k, point in enumerate(points, sweep.done):
            self._stored(point, stores, clock.started_s + k * clock.cycle_s)
        sweep.done += len(points)

    def _finish(self, *, aborted: bool) -> None:
        sweep, self.sweep = self.sweep, None
        if sweep is None:
            return
        self.host.log.add("sweep_end", channel=self.name, taken=sweep.done, aborted=aborted)
        if aborted or not self._end_sweep.get("action"):
            self.source.level_v = self._src.get("levelv")
            self.source.level_a = self._src.get("leveli")
        self.source.apply()
