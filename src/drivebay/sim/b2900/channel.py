"""One channel: its settings after ``*RST``, its source on a port, its meter and its readings.

Promises: the levels of a sweep, and readings with the noise and the steps of their ranges; an
output changes by ``set_output`` only. Never knows a command.

From the *Agilent B2900 Series SCPI Command Reference*, B2910-90030 Edition 2: reset settings from
chapter 2, the status word from table 1-2 (1-14).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivebay.sim.b2900.models import Model, allowed, allowed_together, full_scale, readable
from drivebay.sim.circuit import Point, Port
from drivebay.sim.eventlog import EventLog
from drivebay.sim.readout import Converter
from drivebay.sim.source import Interlock, SourceChannel
from drivebay.sim.syntax import ScpiError

# Status word of a reading (1-14): what is sourced, compliance, measurement range overflow.
SOURCES_CURRENT, COMPLIANCE, OVERFLOW = 1, 2, 1 << 13
NOT_A_NUMBER, INFINITY = 9.91e37, 9.9e37
# What a trigger takes beside its delay and its integration; assumed.
TRIGGER_S = 50e-6
ELEMENTS = ("VOLT", "CURR", "RES", "TIME", "STAT", "SOUR")
KEYS = ("VOLT", "CURR")


@dataclass(slots=True)
class Source:
    """Settings of one source function."""

    range: float
    mode: str = "FIX"
    level: float = 0.0
    auto_range: bool = True
    start: float = 0.0
    stop: float = 0.0
    points: list[float] = field(default_factory=lambda: [0.0])


@dataclass(slots=True)
class Sense:
    """Settings of one measure function."""

    range: float
    limit: float
    auto_range: bool = True


@dataclass(slots=True)
class Action:
    """The arm and trigger layers of an action: of the source (transient) or the meter (acquire)."""

    count: int = 1
    arm_count: int = 1
    delay_s: float = 0.0
    source: str = "AINT"
    arm_source: str = "AINT"
    timer_s: float = 1e-5


@dataclass
class Settings:
    """Everything of a channel that ``*RST`` resets."""

    source: dict[str, Source]
    sense: dict[str, Sense]
    transient: Action = field(default_factory=Action)
    acquire: Action = field(default_factory=Action)
    function: str = "VOLT"
    shape: str = "DC"
    holds_last: bool = False
    spacing: str = "LIN"
    direction: str = "UP"
    sweep_points: int = 1
    stair: str = "SING"
    nplc: float = 1.0
    four_wire: bool = False
    source_wait: bool = True
    source_wait_auto: bool = True
    sense_wait: bool = True
    sense_wait_auto: bool = True
    auto_on: bool = True
    auto_off: bool = False
    protection: bool = False
    off_mode: str = "NORM"
    low_terminal: str = "GRO"
    functions: list[str] = field(default_factory=lambda: ["VOLT", "CURR"])


class Channel:
    """A source/measure channel.

    Attributes:
        number: 1 or 2.
        settings: what is set now.
        source: what is at its terminals.
        running: whether it is in a run.
        other: the channel it shares the instrument's power with, if there is one.
        rows: readings since it was last initiated: elements in the order of ``ELEMENTS``.
    """

    def __init__(
        self, number: int, model: Model, port: Port, log: EventLog, seed: int, noise: float
    ) -> None:
        """A channel that was just switched on."""
        self.number = number
        self.model = model
        self.source = SourceChannel(port, log, name=f"ch{number}")
        self.source.interlock = Interlock()
        self.rows: list[tuple[float, ...]] = []
        self.converter = Converter(seed + number, noise)
        self.settings = self._defaults()
        self.levels: list[float] = []
        self.running = False
        self.other: Channel | None = None
        self.apply()

    @property
    def own(self) -> Source:
        """Settings of the function it sources."""
        return self.settings.source[self.settings.function]

    @property
    def limited(self) -> str:
        """The quantity that it limits."""
        return "CURR" if self.settings.function == "VOLT" else "VOLT"

    def reset(self) -> None:
        """``*RST``."""
        self.set_output(False, "reset")
        self.settings = self._defaults()
        self.apply()

    def set_output(self, on: bool, reason: str = "command") -> None:
        """Switches the output.

        Raises:
            ScpiError: -221, the interlock is open and the level or the limit is beyond 42 V.
        """
        if on:
            self.check(self.own.level)
            self.apply()
        self.source.set_output(on, reason)

    def apply(self) -> None:
        """The settings, and the level of the function, to the source."""
        s, source = self.settings, self.source
        source.function = s.function
        source.limit_a, source.limit_v = s.sense["CURR"].limit, s.sense["VOLT"].limit
        if not self.running:
            source.level_v, source.level_a = s.source["VOLT"].level, s.source["CURR"].level
        source.remote_sense = s.four_wire
        source.off_is_zero_volts = s.off_mode != "HIZ"
        source.off_limit_a = 100e-6

    def check(self, level: float) -> None:
        """Whether a level and the limit of the other quantity are allowed together.

        Raises:
            ScpiError: -221 they are not, or not beside what the other channel may draw, or the
                interlock does not allow them; -222 the level is
                beyond its fixed range.
        """
        s = self.settings
        limit = s.sense[self.limited].limit
        volt, amp = (level, limit) if s.function == "VOLT" else (limit, level)
        if not allowed(volt, amp) or not self.source.interlock.allows(volt):
            raise ScpiError(-221)
        other = self.other if self.other is not None and self.other.source.output_on else None
        if other is not None and not allowed_together((volt, amp), other.demand):
            raise ScpiError(-221)
        if not self.own.auto_range and abs(level) > full_scale(self.own.range) * 1.000001:
            raise ScpiError(-222)

    @property
    def demand(self) -> tuple[float, float]:
        """Voltage and current it may come to: its level, or those of its run, and its limit."""
        s = self.settings
        level = max((self.own.level, *(self.levels if self.running else ())), key=abs)
        limit = s.sense[self.limited].limit
        return (level, limit) if s.function == "VOLT" else (limit, level)

    def prepare(self, *, source_moves: bool) -> int:
        """Plans the levels of a run and forgets the readings before; how many it takes.

        Raises:
            ScpiError: -221 or -222, a level is not allowed.
        """
        s = self.settings
        self.levels = self._planned() if source_moves else [self.source.level]
        self.check(max(self.levels, key=abs))
        self.rows = []
        self.running = True
        return s.acquire.count * s.acquire.arm_count

    def cycle_s(self, frequency_hz: float) -> float:
        """Simulated seconds from one trigger to the next."""
        s = self.settings
        busy_s = TRIGGER_S + max(s.transient.delay_s, s.acquire.delay_s + s.nplc / frequency_hz)
        timers = [each.timer_s for each in (s.transient, s.acquire) if each.source == "TIM"]
        return max(busy_s, *timers) if timers else busy_s

    def level_at(self, index: int) -> float:
        """The level of a trigger; a list begins again at its end."""
        return self.levels[index % len(self.levels)]

    def go_to(self, level: float) -> None:
        """The source goes to a level of the sweep."""
        if self.settings.function == "VOLT":
            self.source.level_v = level
        else:
            self.source.level_a = level
        self.source.port.present(self.source.boundary())

    def record(
        self, points: Sequence[Point], times_s: Sequence[float], levels: Sequence[float]
    ) -> None:
        """Readings of what was there."""
        for point, time_s, level in zip(points, times_s, levels, strict=True):
            self.rows.append(self._row(point, time_s, level))

    def settle(self) -> None:
        """After a run the source holds its last level, or goes back to its fixed one."""
        s = self.settings
        self.running = False
        if s.holds_last and self.source.output_on and self.rows and len(self.levels) > 0:
            self.own.level = self.source.level
        self.apply()

    def _row(self, point: Point, time_s: float, level: float) -> tuple[float, ...]:
        status = SOURCES_CURRENT if self.settings.function == "CURR" else 0
        status |= COMPLIANCE if point.limited and self.source.output_on else 0
        volt, over_v = self._reading("VOLT", point.volt_v)
        amp, over_a = self._reading("CURR", point.amp_a)
        status |= OVERFLOW if over_v or over_a else 0
        ohm = volt / amp if amp and not (over_v or over_a) else NOT_A_NUMBER
        return volt, amp, ohm, time_s, float(status), level

    def _reading(self, key: str, value: float) -> tuple[float, bool]:
        s, model = self.settings, self.model
        if key not in s.functions:
            return NOT_A_NUMBER, False
        if key == s.function:
            nominal = model.range_for(key, value) if self.own.auto_range else self.own.range
        elif s.sense[key].auto_range:
            nominal = model.range_for(key, value)
        else:
            # None above the one that covers the limit is used (User's Guide, Edition 2, 6-4).
            nominal = min(s.sense[key].range, model.range_for(key, s.sense[key].limit))
            if abs(value) > readable(nominal):
                return math.copysign(INFINITY, value), True
        return self.converter.reading(value, nominal, s.nplc), False

    def _planned(self) -> list[float]:
        source, s = self.own, self.settings
        if source.mode == "LIST":
            return list(source.points)
        if source.mode == "FIX":
            return [source.level]
        count, start, stop = s.sweep_points, source.start, source.stop
        if count == 1:
            levels = [start]
        elif s.spacing == "LIN":
            levels = [start + (stop - start) / (count - 1) * k for k in range(count)]
        elif start * stop <= 0:
            raise ScpiError(-221)
        else:
            levels = [start * (stop / start) ** (k / (count - 1)) for k in range(count)]
        levels = levels[::-1] if s.direction == "DOWN" else levels
        return levels + levels[::-1] if s.stair == "DOUB" else levels

    def _defaults(self) -> Settings:
        return Settings(
            source={"VOLT": Source(2.0), "CURR": Source(self.model.range_for("CURR", 1e-4))},
            sense={"VOLT": Sense(2.0, 2.0), "CURR": Sense(1e-4, 1e-4)},
        )
