"""A simulated Keysight B2900: one channel or two, one trigger system, answers in text and binary.

Promises: what it answers follows from its settings, the circuit and the readings taken. Never
energises anything: it is a simulation.

From the *Agilent B2900 Series SCPI Command Reference*, B2910-90030 Edition 2. While a run is under
way it goes on reading commands; what is asked for the readings (``:FETCh``, ``:READ``), ``*OPC?``,
``*WAI`` and ``:IDLE?`` waits for its end, and so does what comes behind that, but for ``:ABORt``,
``:OUTPut`` and ``*RST``: how the real one treats those behind a waiting question is not written.
Simplified: both channels of a run are triggered together, by the slower; a run begins when no
other is under way, or -213.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from drivebay.sim.b2900.channel import ELEMENTS, Channel
from drivebay.sim.b2900.commands import tree
from drivebay.sim.b2900.models import MODELS, Model
from drivebay.sim.circuit import Port
from drivebay.sim.measuring import MeasuringInstrument
from drivebay.sim.parameters import definite_block, doubles, readings_text, singles
from drivebay.sim.source import Interlock
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.registry import Options

FIRMWARE = "3.4.1921.4030"
# Operation register (4-117): transient and acquire idle of each channel.
IDLE_BITS = {1: (1 << 1) | (1 << 4), 2: (1 << 7) | (1 << 10)}
# Questionable register (4-116): the interlock circuit is open.
INTERLOCK_OPEN = 1 << 10
# Measurement register (table 4-5): reading available, of channel 1 and 2.
READING_AVAILABLE = {1: 1 << 1, 2: 1 << 7}


class B2900(MeasuringInstrument):
    """The simulated instrument; a server puts it on a socket.

    Attributes:
        model: what this member of the series can do.
        channels: one or two.
        elements: of each reading that is answered.
        data_format: ``ASC``, ``REAL,32`` or ``REAL,64``.
        swapped: whether binary begins with the least significant byte.
        stamp_resets: whether the time stamp begins again with each run.
        frequency_hz: of the mains.
        beeper: whether it beeps.
    """

    # Chapter 5: the numbers are those of SCPI, two texts are its own.
    error_texts = MappingProxyType({-222: "Data out of range", -350: "Error queue overflow"})

    def __init__(self, model: Model, ports: Sequence[Port], options: Options) -> None:
        """An instrument that was just switched on."""
        super().__init__(
            tree(model.channels),
            options.log,
            time_scale=options.time_scale,
            obeys_only_abort_while_busy=False,
        )
        self.model = model
        self.identity = f"Keysight Technologies,{model.name},{options.serial_number},{FIRMWARE}"
        self.frequency_hz = options.line_frequency_hz
        self.elements: tuple[str, ...] = ELEMENTS
        self.data_format = "ASC"
        self.swapped = False
        self.stamp_resets = True
        self.beeper = True
        self.interlock = Interlock(options.interlock_closed)
        self.channels = [
            Channel(number, model, ports[number - 1], options.log, options.seed, options.noise)
            for number in range(1, model.channels + 1)
        ]
        for channel in self.channels:
            channel.source.interlock = self.interlock
        if len(self.channels) == 2:
            self.channels[0].other, self.channels[1].other = reversed(self.channels)
        self._running: list[Channel] = []
        self._zero_s = 0.0
        self._window_s = 0.0
        self._set_conditions()

    @property
    def sweep_mode(self) -> str:
        """The mode of the first channel that runs."""
        return self._running[0].own.mode if self._running else "FIX"

    @property
    def output_on(self) -> bool:
        """Whether any output is on."""
        return any(channel.source.output_on for channel in self.channels)

    def present(self) -> None:
        """Shows the circuit what the terminals are now."""
        for channel in self.channels:
            channel.source.apply()

    def error_entry(self, number: int) -> str:
        """An entry of the error queue: its number always has a sign (5-2)."""
        entry = super().error_entry(number)
        return entry if number < 0 else f"+{entry}"

    def reset(self) -> None:
        """``*RST``: idle, outputs off, defaults."""
        super().reset()
        for channel in self.channels:
            channel.reset()
        self.elements, self.data_format, self.swapped = ELEMENTS, "ASC", False
        self.stamp_resets = True

    def stamp_s(self) -> float:
        """The time stamp now."""
        return self.clock.now_s() - self._zero_s

    def reset_stamp(self) -> None:
        """The time stamp begins again."""
        self._zero_s = self.clock.now_s()

    def initiate(self, channels: list[Channel], *, source_moves: bool, once: bool = False) -> None:
        """Leaves idle with these channels.

        Args:
            channels: which.
            source_moves: whether the source sweeps, or only the meter acts.
            once: one reading, whatever the counts are.

        Raises:
            ScpiError: -213 it is not idle; -221 or -222 a level is not allowed.
        """
        if self.busy:
            raise ScpiError(-213)
        counts = []
        for channel in channels:
            if channel.settings.auto_on:
                channel.set_output(True, "automatic")
            try:
                counts.append(channel.prepare(source_moves=source_moves))
            except ScpiError:
                channel.running = False
                raise
        self._running = channels
        if self.stamp_resets:
            self.reset_stamp()
        waits = "trigger" if any(each.settings.acquire.source == "BUS" for each in channels) else ""
        cycle_s = max(each.cycle_s(self.frequency_hz) for each in channels)
        self._set_conditions()
        self.begin(1 if once else max(counts), cycle_s, waits_for=waits)

    def take(self, first: int, times_s: list[float]) -> None:
        """Takes the readings that are due, of all channels that run."""
        stamps = [each - self._zero_s for each in times_s]
        if len(self._running) == 1:
            channel = self._running[0]
            levels = [channel.level_at(first + k) for k in range(len(stamps))]
            points = channel.source.read(levels, *self._times(channel))
            channel.record(points, stamps, levels)
            return
        for k, stamp_s in enumerate(stamps):
            for channel in self._running:
                if channel.source.output_on:
                    channel.go_to(channel.level_at(first + k))
            before_s, window_s = self._times(self._running[0])
            for place, channel in enumerate(self._running):
                # They integrate at the same time, which passes once.
                times = (before_s, window_s) if place == 0 else (0.0, 0.0)
                point = channel.source.port.read(*times)
                channel.record([point], [stamp_s], [channel.level_at(first + k)])

    def finished(self, aborted: bool) -> None:
        """The sources settle; what was waited for may go on."""
        for channel in self._running:
            self.status.measurement.pulse(READING_AVAILABLE[channel.number])
            channel.settle()
            if channel.settings.auto_off:
                channel.set_output(False, "automatic")
        self._running = []
        self._set_conditions()

    def answer(
        self, channels: list[Channel], elements: Sequence[str], *, latest: bool
    ) -> str | bytes:
        """Readings in the selected format, channel by channel within each trigger.

        Raises:
            ScpiError: -230, there are none.
        """
        places = [ELEMENTS.index(each) for each in elements]
        tables = [channel.rows[-1:] if latest else channel.rows for channel in channels]
        count = max(map(len, tables))
        if not count:
            raise ScpiError(-230)
        absent = (9.91e37,) * len(ELEMENTS)
        flat = [
            (table[k] if k < len(table) else absent)[place]
            for k in range(count)
            for table in tables
            for place in places
        ]
        if self.data_format == "ASC":
            return readings_text(flat)
        pack = singles if self.data_format == "REAL,32" else doubles
        return definite_block(pack([_in_binary(each) for each in flat], self.swapped))

    def _times(self, channel: Channel) -> tuple[float, float]:
        """From a level to its integration, and how long that takes, in simulated seconds."""
        window_s = channel.settings.nplc / self.frequency_hz
        return max(channel.cycle_s(self.frequency_hz) - window_s, 0.0), window_s

    def _set_conditions(self) -> None:
        idle = sum(IDLE_BITS[each.number] for each in self.channels if each not in self._running)
        self.status.operation.set_condition(idle)
        self.status.questionable.set_condition(0 if self.interlock.closed else INTERLOCK_OPEN)


def _in_binary(value: float) -> float:
    """What is no number has numbers of its own in text, not in binary (1-12)."""
    if abs(value) < 9e37:
        return value
    if value == 9.91e37:
        return float("nan")
    return float("inf") if value > 0 else float("-inf")


def simulated(ports: Mapping[str, Port], options: Options) -> B2900:
    """A B2900 on the ports of a circuit, for the registry."""
    model = MODELS[options.model or "B2901A"]
    return B2900(model, [ports["ch1"], ports["ch2"]], options)
