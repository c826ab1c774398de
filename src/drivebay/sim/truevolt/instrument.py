"""A simulated Truevolt multimeter: terminals, converter, reading memory and trigger.

Promises: a reading is what the circuit does to the meter's own input: its 10 Mohm, its shunt, its
test current; the memory forgets its oldest reading when it is full and says so. Never energises
more than its test current.

From the *Truevolt Series DMM Operating and Service Guide*, 34460-90901, "SCPI Programming
Reference", by subsystem. ``INITiate`` is overlapped, so commands are taken while it measures;
``READ?`` and ``FETCh?`` answer when it has finished, and until then all that follows waits in the
input buffer, ``ABORt`` too: that is the least patient reading of the guide, which promises no
more. Simplified: the automatic trigger delay is none, one bus trigger starts all trigger counts,
and a changed setting holds from the next reading on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivebay.sim.circuit import OPEN, Boundary, Port, amps, load
from drivebay.sim.devices import Device, OpenCircuit
from drivebay.sim.measuring import MeasuringInstrument
from drivebay.sim.parameters import definite_block, doubles, singles
from drivebay.sim.readout import Converter
from drivebay.sim.source import port_of
from drivebay.sim.status import ErrorQueue
from drivebay.sim.syntax import ScpiError
from drivebay.sim.truevolt.commands import FETCH, tree_of
from drivebay.sim.truevolt.models import (
    MODELS,
    OPEN_LEADS_V,
    PARALLEL_OHM,
    SHUNT_OHM,
    TEST_CURRENT_A,
    Model,
)

if TYPE_CHECKING:
    from drivebay.sim.registry import Options

FUNCTIONS = ("VOLT", "CURR", "RES", "FRES")
OVERLOAD = 9.9e37
# Operation register: measuring, waiting for a trigger, memory threshold reached.
MEASURING, WAITING, THRESHOLD = 16, 32, 512
# Questionable register: overloads by function, and readings lost.
OVERLOADED = {"VOLT": 1, "CURR": 2, "RES": 512, "FRES": 512}
MEMORY_OVERFLOW = 16384
# Questionable register: the sample timer was shorter than a sample ("STATus subsystem").
TIMING_VIOLATION = 4
# Between two conversions the meter thinks: the quickest model takes 50,000 readings a second.
_OVERHEAD_S = 10e-6
_FIRMWARE = "A.03.03-02.40-03.03-00.52-04-01"


@dataclass(slots=True)
class Sensing:
    """Settings of one function; those after ``*RST``."""

    range: float
    auto_range: bool = True
    nplc: float = 10.0
    auto_zero: bool = True
    offset_compensation: bool = False
    aperture_s: float = 0.2
    by_aperture: bool = False


@dataclass(slots=True)
class Settings:
    """What can be set; ``CONFigure`` and ``*RST`` make a new one."""

    sensing: dict[str, Sensing]
    function: str = "VOLT"
    terminals: str = "3"
    high_impedance: bool = False
    trigger_source: str = "IMM"
    trigger_count: float = 1.0
    trigger_delay_s: float = 0.0
    auto_delay: bool = True
    trigger_slope: str = "NEG"
    trigger_level: float = 0.0
    samples: int = 1
    pretrigger: int = 0
    sample_source: str = "IMM"
    sample_timer_s: float = 1.0
    threshold: int = 0


@dataclass(slots=True)
class DataFormat:
    """How readings are sent; 0 bits is text."""

    bits: int = 0
    swapped: bool = False


@dataclass(slots=True)
class Front:
    """The display, which no measurement depends on."""

    on: bool = True
    text: str = ""
    beeper: bool = True


def defaults() -> Settings:
    """The settings after ``*RST``."""
    ranges = {"VOLT": 10.0, "CURR": 1.0, "RES": 1e3, "FRES": 1e3}
    return Settings({name: Sensing(full) for name, full in ranges.items()})


@dataclass(slots=True)
class _Moment:
    """What one reading needs to know."""

    sensing: Sensing
    nplc: float
    window_s: float
    resolution: float = field(default=1e-6)


class Truevolt(MeasuringInstrument):
    """The simulated meter.

    Attributes:
        model: what this one can do.
        settings: what is set.
        format: how readings are sent.
        front: its display.
        memory: the readings, oldest first.
        voltage_port: its HI and LO terminals (and the sense pair).
        current_port: its current terminal and LO.
    """

    error_texts: Mapping[int, str] = {
        -213: "INIT ignored",
        -214: "Trigger deadlock",
        -230: "Data stale",
    }

    def __init__(
        self,
        model: str = "34465A",
        device: Device | None = None,
        current: Device | None = None,
        *,
        options: Options,
    ) -> None:
        """A meter that was just switched on.

        Args:
            model: "34460A", "34461A", "34465A" or "34470A".
            device: what is at HI and LO, a device or a port; nothing if not given.
            current: what is at the current terminals.
            options: what every simulated instrument can be told.

        Raises:
            ValueError: an unknown model.
        """
        if model not in MODELS:
            raise ValueError(f"no model {model!r}; models: {', '.join(MODELS)}")
        self.model: Model = MODELS[model]
        super().__init__(
            tree_of(self.model),
            options.log,
            time_scale=options.time_scale,
            obeys_only_abort_while_busy=False,
        )
        self.status.errors = ErrorQueue(20)
        self.identity = f"Keysight Technologies,{model},MY{options.serial_number},{_FIRMWARE}"
        self.line_frequency_hz = options.line_frequency_hz
        self.voltage_port: Port = port_of(device, OpenCircuit())
        self.current_port: Port = port_of(current, OpenCircuit())
        self.settings = defaults()
        self.format = DataFormat()
        self.front = Front()
        self.memory: deque[float] = deque(maxlen=self.model.memory)
        self.converter = Converter(options.seed, options.noise)
        self._test_current_on = True
        self.present()

    @property
    def sensing(self) -> Sensing:
        """The settings of the function in use."""
        return self.settings.sensing[self.settings.function]

    @property
    def ranges(self) -> tuple[float, ...]:
        """Ranges of the function in use, with the terminals in use."""
        ranges = self.model.ranges(self.settings.function)
        if self.settings.function != "CURR" or ranges[-1] < 10.0:
            return ranges
        return ranges[-1:] if self.settings.terminals == "10" else ranges[:-1]

    @property
    def test_current_a(self) -> float:
        """What it drives through the device now; 0 unless it measures resistance."""
        if self.settings.function not in {"RES", "FRES"}:
            return 0.0
        return TEST_CURRENT_A[self.sensing.range]

    def present(self) -> None:
        """Its input resistance, its shunt or its test current."""
        function, full = self.settings.function, self.sensing.range
        if function == "CURR":
            self.voltage_port.present(OPEN)
            self.current_port.present(load(SHUNT_OHM[full]))
            return
        self.current_port.present(OPEN)
        if function == "VOLT":
            # "VOLT:IMP:AUTO": above 10 Gohm on the three lowest ranges, else 10 Mohm.
            high = self.settings.high_impedance and full <= 10.0
            self.voltage_port.present(load(1e10 if high else 1e7))
        else:
            self.voltage_port.present(self._test_source(remote=function == "FRES"))

    def _test_source(self, *, remote: bool) -> Boundary:
        """The current source; on the highest ranges with 10 Mohm in parallel (data sheet)."""
        current_a = self.test_current_a if self._test_current_on else 0.0
        if self.sensing.range >= 1e8:
            return Boundary("volt", current_a * PARALLEL_OHM, math.inf, PARALLEL_OHM, remote)
        return amps(current_a, OPEN_LEADS_V, remote=remote)

    def error_entry(self, number: int) -> str:
        """An entry of the queue; no error is ``+0``."""
        entry = super().error_entry(number)
        return f"+{entry}" if number >= 0 else entry

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.settings = defaults()
        self.format = DataFormat()
        self.memory.clear()

    def configure(self, function: str) -> None:
        """``CONFigure``: idle, and the function's defaults with one immediate trigger."""
        self.abort()
        sensing = self.settings.sensing
        sensing[function] = defaults().sensing[function]
        self.settings = Settings(sensing, function, self.settings.terminals)

    @property
    def cycle_s(self) -> float:
        """From one reading to the next."""
        s, moment = self.settings, self._moment()
        # The zero is a second conversion of the same length, and so is the voltage without current.
        conversions = 2.0 if self.sensing.auto_zero or s.function == "FRES" else 1.0
        conversions *= 2.0 if self.sensing.offset_compensation else 1.0
        least_s = conversions * moment.window_s + _OVERHEAD_S
        if s.sample_source == "TIM":
            return max(s.sample_timer_s, least_s)
        # Without the timer the delay is inserted before each sample ("SAMPle:SOURce").
        return least_s + (0.0 if s.auto_delay else s.trigger_delay_s)

    def _moment(self) -> _Moment:
        sensing = self.sensing
        if sensing.by_aperture:
            nplc = sensing.aperture_s * self.line_frequency_hz
            return _Moment(sensing, nplc, sensing.aperture_s)
        share = self.model.nplc[sensing.nplc]
        return _Moment(sensing, sensing.nplc, sensing.nplc / self.line_frequency_hz, share)

    @property
    def sweep_mode(self) -> str:
        """What a run is called in the log."""
        return self.settings.function

    def initiate(self, *, answers: bool = False) -> None:
        """``INITiate``: memory empty, readings as they become due.

        Raises:
            ScpiError: -213, it measures; -214, the answer would wait for a trigger that would wait
                for the answer.
        """
        s = self.settings
        if self.busy:
            raise ScpiError(-213)
        if answers and s.trigger_source == "BUS":
            raise ScpiError(-214)
        self.memory.clear()
        total = s.samples * s.trigger_count
        waits_for = "" if s.trigger_source == "IMM" else "trigger"
        if s.sample_source == "TIM" and total > 1 and self.cycle_s > s.sample_timer_s * 1.000001:
            self.status.questionable.pulse(TIMING_VIOLATION)
        self.status.operation.set_condition(WAITING if waits_for else MEASURING)
        self.begin(total, self.cycle_s, waits_for=waits_for, per_pass=s.samples)

    def read(self) -> None:
        """``READ?``: initiates, and answers when it has finished."""
        self.initiate(answers=True)
        self.query_when_idle(FETCH)

    def bus_trigger(self) -> None:
        """``*TRG``.

        Raises:
            ScpiError: -211, nothing waits for it.
        """
        if self.settings.trigger_source != "BUS" or not self.trigger.bus_trigger("trigger"):
            raise ScpiError(-211)
        if self.busy:
            self.status.operation.set_condition(MEASURING)

    def take(self, first: int, times_s: list[float]) -> None:
        """Converts what is at the terminals, once for each time."""
        moment = self._moment()
        for _ in times_s:
            if len(self.memory) == self.model.memory:
                self.status.questionable.pulse(MEMORY_OVERFLOW)
            self.memory.append(self._reading(moment))
        if 0 < self.settings.threshold <= len(self.memory):
            self.status.operation.pulse(THRESHOLD)

    def finished(self, aborted: bool) -> None:
        """It is idle."""
        self.status.operation.set_condition(0)

    def remove(self, count: int) -> list[float]:
        """Takes the oldest readings out of the memory."""
        return [self.memory.popleft() for _ in range(count)]

    def formatted(self, values: Sequence[float]) -> bytes:
        """Readings as ``FORMat`` says."""
        if not self.format.bits:
            return (("%+.8E," * len(values))[:-1] % tuple(values)).encode()
        pack = doubles if self.format.bits == 64 else singles
        return definite_block(pack(values, self.format.swapped))

    def _reading(self, moment: _Moment) -> float:
        sensing, ranges = moment.sensing, self.ranges
        rose = False
        while True:
            value, limited = self._at_terminals(moment.window_s)
            full = sensing.range
            # 20 % beyond its name, but for 1000 V ("Specifications").
            over = limited or abs(value) > full * (1.0 if full == 1000.0 else 1.2) * 1.000001
            place = ranges.index(full)
            if sensing.auto_range and over and place + 1 < len(ranges):
                rose = True
                self._change_range(ranges[place + 1])
            elif sensing.auto_range and not rose and place and abs(value) < 0.1 * full:
                self._change_range(ranges[place - 1])
            else:
                break
        if over:
            self.status.questionable.pulse(OVERLOADED[self.settings.function])
            return math.copysign(OVERLOAD, value)
        return self.converter.reading(
            value, full, moment.nplc, steps=1.0 / moment.resolution, noise_of_range=1e-7
        )

    def _change_range(self, full: float) -> None:
        self.sensing.range = full
        self.present()

    def _at_terminals(self, window_s: float) -> tuple[float, bool]:
        """What the function measures, exactly; and whether the test current was not reached."""
        function = self.settings.function
        if function == "CURR":
            return -self.current_port.read(window_s=window_s).amp_a, False
        point = self.voltage_port.read(window_s=window_s)
        if function == "VOLT":
            return point.volt_v, False
        volt, amp = point.volt_v, point.amp_a
        if self.sensing.offset_compensation and not point.limited:
            self._test_current_on = False
            self.present()
            zero = self.voltage_port.read(window_s=window_s)
            volt, amp = volt - zero.volt_v, amp - zero.amp_a
            self._test_current_on = True
            self.present()
        if abs(amp) < 1e-12:
            return math.inf, True
        return volt / amp, point.limited


def simulated(ports: Mapping[str, Port], options: Options) -> Truevolt:
    """What the registry calls."""
    model = options.model or "34465A"
    return Truevolt(model, ports["input"], ports["current"], options=options)
