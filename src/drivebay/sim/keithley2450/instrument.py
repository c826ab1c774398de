"""A simulated Keithley 2450: source, meter, sweeps by the trigger model, a reading buffer.

Promises: what it answers follows from its settings, the circuit and the readings taken; a sweep
runs in the background and other commands are obeyed meanwhile. Never energises anything.

From the 2450 Interactive SourceMeter Reference Manual, 2450-901-01 Rev. B: section 6 (commands),
section 3, "Sweep operation" and "Running the trigger model" ("Other commands can be executed while
the trigger model is running if they do not conflict"), source status bits 8-29. A sweep switches
the output on itself (example, 6-78: no ``:OUTP ON``) and off at its end; :ABORt leaves it as it is.
Assumed where the manual is silent: a reading with the output off is refused with -221. Simplified:
sources are exact, auto-zero and ranging take no time, no pulses, no digitizer, no user buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from drivebay.sim.circuit import Port
from drivebay.sim.devices import Device, Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2450.commands import LAST_READING, TREE
from drivebay.sim.keithley2450.models import MODELS, Model
from drivebay.sim.keithley2450.settings import MAX_READINGS, Side, defaults
from drivebay.sim.measuring import MeasuringInstrument
from drivebay.sim.readout import Converter
from drivebay.sim.server import ScpiServer
from drivebay.sim.source import Interlock, SourceChannel, port_of
from drivebay.sim.status import MESSAGES
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.registry import Options

# Source status bits (8-29; 4 and 8 from the 2461's manual, 8-31).
READ_BACK, LIMITED, FOUR_WIRE, OUTPUT_ON = 8, 32, 64, 128
REAR_IS_0 = 8  # measure status, 8-33
OVERFLOW = 9.9e37
TRIGGER_LATENCY_S = 100e-6
AUTO_DELAY_S = 1e-3
FIRMWARE = "1.6.4c"
COLUMNS = ("READ", "SOUR", "REL", "SOURSTAT", "STAT")


class Keithley2450(MeasuringInstrument):
    """The simulated instrument; a server puts it on a socket.

    Attributes:
        model: what it can do.
        language: the answer to ``*LANG?``.
        settings: what is set now.
        channel: its source.
        rows: the reading buffer, as rows of ``COLUMNS``.
    """

    model: Model
    language: str
    channel: SourceChannel
    rows: list[tuple[float, ...]]

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
            log: where to record events.

        Raises:
            ValueError: an unknown model.
        """
        if model not in MODELS:
            raise ValueError(f"no model {model!r}; models: {', '.join(MODELS)}")
        super().__init__(
            TREE, log or EventLog(), time_scale=time_scale, obeys_only_abort_while_busy=False
        )
        self.model = MODELS[model]
        self.identity = f"KEITHLEY INSTRUMENTS,MODEL {model},{serial_number},{FIRMWARE}"
        self.language = language
        self.line_frequency_hz = line_frequency_hz
        self.settings = defaults()
        interlock = Interlock(interlock_closed)
        port = port_of(device, Resistor(1000.0))
        self.channel = SourceChannel(port, self.log, interlock=interlock)
        self.rows = []
        self.read_elements: list[str] = []
        self._first_s: float | None = None
        self._converter = Converter(seed, noise)
        self._levels: list[float] | None = None
        self.points_size = MAX_READINGS
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
        """Number, text, type and time; the form is not checked against the manual."""
        if number == 0:
            return '0,"No error;0;0 0"'
        text = MESSAGES.get(number, "Device-specific error")
        return f'{number:d},"{text};1;2026/01/01 00:00:00.000"'

    def present(self) -> None:
        """The terminals are what the settings say."""
        s, channel = self.settings, self.channel
        channel.function = s.function
        channel.limit_a, channel.limit_v = s.CURR.limit, s.VOLT.limit
        channel.remote_sense = bool(getattr(s, f"{s.sense_function.lower()}_four_wire"))
        off_mode = getattr(s, f"{s.function.lower()}_off_mode")
        channel.off_is_zero_volts = off_mode == "ZERO"
        if not self.busy:
            channel.level_v, channel.level_a = s.VOLT.level, s.CURR.level
        channel.apply()

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.channel.set_output(False, "reset")
        self.settings = defaults()
        self.clear()

    def clear(self) -> None:
        """Empties the buffer."""
        self.rows, self._first_s = [], None

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
        self.clear()
        self.set_output(True, "sweep")
        self._levels = levels
        self.begin(len(levels), self.cycle_s() + self.settings.sweep_delay_s)

    def measure_now(self, count: int) -> None:
        """Readings at the present level; the answer comes when they are taken.

        Raises:
            ScpiError: -213 while a sweep runs, -221 with the output off.
        """
        if not self.output_on:
            raise ScpiError(-221)
        self._levels = None
        self.begin(count, self.cycle_s())

    def read(self) -> None:
        """``:READ?``: measures ``:SENSe:COUNt`` times, and answers with the last."""
        self.measure_now(self.settings.count)
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
        """Takes what is due, into the buffer."""
        level = self.side(self.settings.function).level
        levels = self._levels[first : first + len(times_s)] if self._levels else None
        before_s, window_s = self.timing()
        points = self.channel.read(levels or [level] * len(times_s), before_s, window_s)
        for point, time_s in zip(points, times_s, strict=True):
            if self._first_s is None:
                self._first_s = time_s
            self.rows.append(self._row(*point, time_s - self._first_s))
        del self.rows[: max(0, len(self.rows) - self.points_size)]

    def finished(self, aborted: bool) -> None:
        """A sweep that ran to its end switches the output off."""
        if self._levels is not None and not aborted:
            self.channel.set_output(False, "end of sweep")
        self._levels = None

    def _row(self, volt: float, amp: float, limited: bool, time_s: float) -> tuple[float, ...]:
        s = self.settings
        seen = {"VOLT": volt, "CURR": amp}
        nplc = getattr(s, f"{s.sense_function.lower()}_nplc")
        back = getattr(s, f"{s.function.lower()}_read_back")
        source = self._read(s.function, seen[s.function], nplc) if back else self.channel.level
        if s.sense_function == "RES":
            reading = volt / amp if amp else OVERFLOW
        else:
            reading = self._read(s.sense_function, seen[s.sense_function], nplc)
        word = (READ_BACK if back else 0) | (LIMITED if limited else 0) | OUTPUT_ON
        word |= FOUR_WIRE if self.channel.remote_sense else 0
        return reading, source, time_s, word, 0 if s.rear_terminals else REAR_IS_0

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
