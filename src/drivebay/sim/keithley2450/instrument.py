"""A simulated Keithley 2450: source, meter, sweeps by the trigger model, reading buffers.

Promises: what it answers follows from its settings, the circuit and the readings taken; a sweep
runs in the background and other commands are obeyed meanwhile. Never energises anything.

From the reference manuals 2450-901-01 Rev. B, 2461-901-01 Rev. A and 2470-901-01 Rev. A: the
commands (section 6; 12 of the 2470's), "Running the trigger model" (section 3: "Other commands can
be executed while the trigger model is running if they do not conflict"), the trigger model's states
(6-166), what is at the terminals when the output is off (2461: 6-47), the status bits (8-29, 8-33),
the form of an error (2461: 6-147). A sweep switches the output on itself (example, 6-78: no
``:OUTP ON``).

Assumed, as no manual was found to say it: a sweep switches the output off at its end and clears its
buffer at its start; ``:ABORt`` leaves the output as it is; a reading with the output off is refused
with -221, and so is what the interlock forbids. Simplified: sources are exact, auto-zero and
ranging take no time, no pulses, no digitizer, no trigger model of one's own, no configuration
lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from drivebay.sim.circuit import Port
from drivebay.sim.devices import Device, Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2450 import buffers
from drivebay.sim.keithley2450.buffers import Buffer, Reading
from drivebay.sim.keithley2450.calculations import OVERFLOW, made_of
from drivebay.sim.keithley2450.commands import LAST_READING, TREE
from drivebay.sim.keithley2450.models import MODELS, Model
from drivebay.sim.keithley2450.settings import Side, defaults
from drivebay.sim.keithley2450.sweeps import opposite
from drivebay.sim.measuring import MeasuringInstrument
from drivebay.sim.parameters import string
from drivebay.sim.readout import Converter
from drivebay.sim.server import ScpiServer
from drivebay.sim.source import Interlock, SourceChannel, port_of
from drivebay.sim.status import MESSAGES, ErrorQueue
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.registry import Options

# Source status bits (8-29; 4 and 8 from the 2470's manual, 14-32).
PROTECTED, READ_BACK, LIMITED, FOUR_WIRE, OUTPUT_ON = 4, 8, 32, 64, 128
FRONT = 8  # measure status, 8-33: "front is 1, rear is 0"
TRIGGER_LATENCY_S = 100e-6
AUTO_DELAY_S = 1e-3
# With an open interlock: what may be switched on (2461: 6-49; the 2450's Rev. B says 20 V, 6-33).
SAFE_V = 21.0
FIRMWARE = "1.6.4c"
OWN_MESSAGES = {
    1115: "Parameter error: TRACe:MAKE cannot take an existing reading buffer name",
    buffers.NOT_IN_BINARY: "Parameter 4, Syntax error, expected valid name parameters",
}


class Keithley2450(MeasuringInstrument):
    """The simulated instrument; a server puts it on a socket.

    Attributes:
        model: what it can do.
        language: the answer to ``*LANG?``.
        settings: what is set now.
        channel: its source.
        buffers: the reading buffers by name.
        asked: buffer and elements of the last ``:READ?``.
        line_frequency_hz: of the mains.
        late_states: answers to ``:TRIGger:STATe?`` after an ``:INITiate`` that are still those of
            before, as the instrument looks at the state of the trigger model every 100 ms only.
    """

    model: Model
    language: str
    channel: SourceChannel
    buffers: dict[str, Buffer]
    asked: list[str]
    late_states: int
    line_frequency_hz: float

    def __init__(
        self,
        model: str = "2450",
        device: Device | Port | None = None,
        *,
        time_scale: float = 1.0,
        line_frequency_hz: float = 50.0,
        seed: int = 2450,
        noise: float = 1.0,
        serial_number: str = "04012345",
        interlock_closed: bool = True,
        language: str = "SCPI",
        late_states: int = 0,
        log: EventLog | None = None,
    ) -> None:
        """A 2450 that was just switched on.

        Args:
            model: "2450", "2460", "2461" (DC) or "2470".
            device: what is connected; 1 kohm if not given.
            time_scale: real seconds that a simulated second of a reading takes.
            line_frequency_hz: 50 or 60.
            seed: of the noise.
            noise: a factor on it; 0 for none.
            serial_number: for ``*IDN?``.
            interlock_closed: whether the high voltage ranges are there.
            language: the command set it was left in: SCPI, TSP or SCPI2400.
            late_states: see the attribute.
            log: where to record events.

        Raises:
            ValueError: an unknown model.
        """
        if model not in MODELS:
            raise ValueError(f"no model {model!r}; models: {', '.join(MODELS)}")
        super().__init__(
            TREE, log or EventLog(), time_scale=time_scale, obeys_only_abort_while_busy=False
        )
        self.status.errors = ErrorQueue(1000)  # 6-101
        self.model = MODELS[model]
        self.identity = f"KEITHLEY INSTRUMENTS,MODEL {model},{serial_number},{FIRMWARE}"
        self.language = language
        self.line_frequency_hz = line_frequency_hz
        self.settings = defaults(self.model)
        interlock = Interlock(interlock_closed, SAFE_V)
        port = port_of(device, Resistor(1000.0))
        self.channel = SourceChannel(port, self.log, interlock=interlock)
        self.buffers = {"defbuffer1": Buffer(), "defbuffer2": Buffer()}
        self.asked = []
        self.late_states = late_states
        self._converter = Converter(seed, noise)
        self._levels: list[float] | None = None
        self._into = self.buffers["defbuffer1"]
        self._ended = "IDLE"
        self._late = 0
        self.present()

    @property
    def output_on(self) -> bool:
        """Whether the output is on."""
        return self.channel.output_on

    @property
    def sweep_mode(self) -> str:
        """What the log says of an operation."""
        return "FIX" if self._levels is None else "LIST"

    def side(self, function: str) -> Side:
        """The settings of "VOLT" or "CURR"."""
        return self.settings.VOLT if function == "VOLT" else self.settings.CURR

    def error_entry(self, number: int) -> str:
        """Number, text, type and time, as 6-147 of the 2461's manual has it.

        An empty queue is written as the instruments' own firmware does; the manual prints commas
        where that has semicolons and a space.
        """
        if number == 0:
            return '0,"No error;0;0 0"'
        text = OWN_MESSAGES.get(number) or MESSAGES.get(number, "Device-specific error")
        return f'{number:d},"{text};1;2026/01/01 00:00:00.000"'

    def warn(self, text: str, **facts: float) -> None:
        """An event of type warning: ``:SYSTem:ERRor?`` does not tell it (2461: 6-147)."""
        self.log.add("warning", text=text, **facts)

    # -- what belongs together --------------------------------------------------------------------

    def buffer_name(self, text: str) -> str:
        """The name of a buffer that there is.

        Raises:
            ScpiError: -224, there is none.
        """
        name = string(text)
        if name not in self.buffers:
            raise ScpiError(-224)
        return name

    def written(self, readings: list[Reading], elements: list[str]) -> bytes:
        """Readings in the selected format."""
        s = self.settings
        return buffers.answer(readings, elements, s.data, s.precision, s.swapped)

    def largest_limit(self, limited: str) -> float:
        """The largest limit of a quantity beside the range or the level of what is sourced."""
        side = self.side(opposite(limited))
        top = abs(side.level) if side.source_auto else side.source_range
        return self.model.largest_limit(limited, top)

    def fit_limit(self, changed: str) -> None:
        """Lowers the limit to what goes with a source range, and warns (6-71)."""
        limited = opposite(changed)
        if changed != self.settings.function:
            return
        side, largest = self.side(limited), self.largest_limit(limited)
        if side.limit > largest:
            self.warn("limit lowered: not appropriate for the source range", limit=largest)
            side.limit = largest

    def raise_limit(self, limited: str) -> None:
        """Raises the limit to what goes with a fixed measure range, and warns (2-100)."""
        side = self.side(limited)
        lowest = self.model.limit_of_range * side.sense_range
        if side.sense_auto or limited == self.settings.function or side.limit >= lowest:
            return
        side.limit = min(lowest, self.largest_limit(limited))
        self.warn("limit raised: too low for the measure range", limit=side.limit)

    def check_boundaries(self, level: float) -> None:
        """Refuses a sweep that with its limit leaves the operating boundaries.

        Raises:
            ScpiError: -221, it does.
        """
        volt, amp = level, self.settings.CURR.limit
        if self.settings.function == "CURR":
            volt, amp = self.settings.VOLT.limit, level
        if not self.model.allows(volt, amp):
            raise ScpiError(-221)

    def _protection_v(self) -> float:
        name = self.settings.protection
        return float("inf") if name == "NONE" else float(name.removeprefix("PROT"))

    def protected(self) -> bool:
        """Whether overvoltage protection holds the source."""
        beyond = abs(self.settings.VOLT.level) > self._protection_v()
        return self.output_on and self.settings.function == "VOLT" and beyond

    def present(self) -> None:
        """The terminals are what the settings say."""
        s, channel = self.settings, self.channel
        most_v = self._protection_v()
        channel.function = s.function
        channel.limit_a, channel.limit_v = s.CURR.limit, min(s.VOLT.limit, most_v)
        channel.remote_sense = bool(getattr(s, f"{s.sense_function.lower()}_four_wire"))
        off_mode = getattr(s, f"{s.function.lower()}_off_mode")
        channel.off_is_zero_volts = off_mode in ("NORM", "ZERO")
        channel.off_limit_a = 0.1 * self.model.range_of("CURR", s.CURR.limit)
        if not self.busy:
            channel.level_v = max(-most_v, min(s.VOLT.level, most_v))
            channel.level_a = s.CURR.level
        channel.apply()

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.channel.set_output(False, "reset")
        self.settings = defaults(self.model)
        self.buffers = {"defbuffer1": Buffer(), "defbuffer2": Buffer()}
        self._ended = "IDLE"

    # -- output and readings ----------------------------------------------------------------------

    def set_output(self, on: bool, reason: str = "command") -> None:
        """Switches the output.

        Raises:
            ScpiError: -221, high voltage with the interlock open.
        """
        if on and not self.channel.interlock.allows(self.highest_v()):
            raise ScpiError(-221)
        self.present()
        self.channel.set_output(on, reason)

    def highest_v(self) -> float:
        """The highest voltage that the settings allow to appear."""
        s = self.settings
        if s.function == "CURR":
            return s.VOLT.limit
        sweep = s.sweep or [0.0]
        return max(abs(s.VOLT.level), *(abs(level) for level in sweep))

    def initiate(self) -> None:
        """``:INITiate``: runs the sweep that was set up.

        Raises:
            ScpiError: -213 if one runs, -221 if none is set up.
        """
        if self.busy:
            raise ScpiError(-213)
        levels = list(self.settings.sweep)
        if not levels:
            raise ScpiError(-221)
        self._into = self.buffers[self.buffer_name(f'"{self.settings.sweep_buffer}"')]
        self._into.clear()
        self.set_output(True, "sweep")
        self._levels = levels
        self._late = self.late_states
        delay_s = self.settings.sweep_delay_s
        delay_s = AUTO_DELAY_S if delay_s is None else delay_s
        self.begin(len(levels), self.cycle_s() + delay_s)

    def trigger_state(self) -> str:
        """The answer to ``:TRIGger:STATe?``."""
        state, block = (
            ("RUNNING", 4) if self.busy and self._levels is not None else (self._ended, 6)
        )
        if self._late:
            self._late -= 1
            state = "IDLE"
        return f"{state};{state};{block}"

    def measure_now(self, count: int, buffer: str = "defbuffer1") -> None:
        """Readings at the present level; the answer comes when they are taken.

        Raises:
            ScpiError: -213 while a sweep runs, -221 with the output off.
        """
        if not self.output_on:
            raise ScpiError(-221)
        if self.busy:
            raise ScpiError(-213)
        self._levels, self._into = None, self.buffers[buffer]
        self.begin(count, self.cycle_s())

    def read(self, buffer: str) -> None:
        """``:READ?``: measures ``:SENSe:COUNt`` times, and answers with the last."""
        self.measure_now(self.settings.count, buffer)
        self.query_when_idle(LAST_READING)

    def timing(self) -> tuple[float, float]:
        """Seconds before a reading's integration, and of it."""
        s = self.settings
        source, sense = s.function.lower(), s.sense_function.lower()
        auto = getattr(s, f"{source}_delay_auto")
        delay_s = AUTO_DELAY_S if auto else getattr(s, f"{source}_delay_s")
        integration_s = getattr(s, f"{sense}_nplc") / self.line_frequency_hz
        repeats = getattr(s, f"{sense}_average_count") if getattr(s, f"{sense}_average") else 1
        functions = 2 if getattr(s, f"{source}_read_back") else 1
        return TRIGGER_LATENCY_S + delay_s, functions * repeats * integration_s

    def cycle_s(self) -> float:
        """Seconds from one reading to the next."""
        return sum(self.timing())

    def take(self, first: int, times_s: list[float]) -> None:
        """Takes what is due, into the buffer; a sweep that must not be limited ends where it is."""
        level = self.channel.level
        levels = self._levels[first : first + len(times_s)] if self._levels else None
        if levels and self.settings.function == "VOLT":
            most_v = self._protection_v()
            levels = [max(-most_v, min(each, most_v)) for each in levels]
        before_s, window_s = self.timing()
        points = self.channel.read(levels or [level] * len(times_s), before_s, window_s)
        for index, ((volt, amp, limited), time_s) in enumerate(zip(points, times_s, strict=True)):
            if self._into.first_s is None:
                self._into.first_s = time_s
            self._into.put(self._reading(volt, amp, limited, time_s))
            run = self.trigger.run
            if levels and limited and self.settings.fail_abort and run is not None:
                run.done = first + index + 1
                run.total = run.done
                return

    def finished(self, aborted: bool) -> None:
        """A sweep that ran to its end switches the output off."""
        if self._levels is not None:
            if not aborted:
                self.channel.set_output(False, "end of sweep")
            self._ended = "ABORTED" if aborted else "IDLE"
        self._levels = None

    def _reading(self, volt: float, amp: float, limited: bool, time_s: float) -> Reading:
        s = self.settings
        seen = {"VOLT": volt, "CURR": amp}
        nplc = getattr(s, f"{s.sense_function.lower()}_nplc")
        back = getattr(s, f"{s.function.lower()}_read_back")
        source = self._read(s.function, seen[s.function], nplc) if back else self.channel.level
        if s.sense_function == "RES":
            reading = volt / amp if amp else OVERFLOW
        else:
            reading = self._read(s.sense_function, seen[s.sense_function], nplc)
            reading = made_of(reading, volt, amp, self.side(s.sense_function))
        word = (READ_BACK if back else 0) | (LIMITED if limited else 0) | OUTPUT_ON
        word |= FOUR_WIRE if self.channel.remote_sense else 0
        word |= PROTECTED if self.protected() else 0
        relative_s = time_s - (self._into.first_s or 0.0)
        where = 0 if s.rear_terminals else FRONT
        return Reading(
            reading, source, relative_s, word, where, s.sense_function, s.function, time_s
        )

    def _read(self, function: str, value: float, nplc: float) -> float:
        side = self.side(function)
        sourced = function == self.settings.function
        automatic = side.source_auto if sourced else side.sense_auto
        full = self.model.range_of(function, value)
        if not automatic:
            full = side.source_range if sourced else side.sense_range
            if abs(value) > 1.06 * full:
                return OVERFLOW
        return self._converter.reading(value, full, nplc)


class Keithley2450Server(ScpiServer):
    """A simulated 2450 on a TCP port of its own; a context manager.

    Attributes:
        instrument: the simulated instrument.
    """

    instrument: Keithley2450

    def __init__(
        self,
        device: Device | Port | None = None,
        *,
        model: str = "2450",
        port: int = 0,
        log_file: str | PathLike[str] | None = None,
        log_traffic: bool = False,
        **instrument: Any,
    ) -> None:
        """Prepares it; entering the context opens the port.

        Args:
            device: what is connected.
            model: of the family.
            port: 0 takes a free one.
            log_file: also write events there.
            log_traffic: record messages and answers too.
            **instrument: further arguments of ``Keithley2450``.
        """
        log = EventLog(log_file, log_traffic)
        super().__init__(Keithley2450(model, device, log=log, **instrument), port=port)


def simulated(ports: Mapping[str, Port], options: Options) -> Keithley2450:
    """A 2450 on a port of a circuit, for the registry."""
    return Keithley2450(
        options.model or "2450",
        ports["smu"],
        time_scale=options.time_scale,
        line_frequency_hz=options.line_frequency_hz,
        seed=options.seed,
        noise=options.noise,
        serial_number=options.serial_number,
        interlock_closed=options.interlock_closed,
        log=options.log,
    )
