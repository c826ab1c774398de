"""A simulated Keithley 2400: source, meter, trigger model, buffers and status together.

Promises: what it answers follows from its settings, the simulated device and the readings taken,
never from a table of canned answers; it does what the manual says while it is busy. Never energises
anything: it is a simulation.

Cited throughout: 2400 Series SourceMeter User's Manual, 2400S-900-01 Rev. K, by section. While busy
(section 11, "Remote operation", and section 16, ``*OPC``): most commands are not executed until the
instrument is idle again; ``:ABORt``, ``:SYSTem:PRESet``, ``*RST``, ``*RCL`` and ``*TRG`` are, and
so are the bus commands DCL, SDC, IFC and GET, which a raw socket does not have.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from drivebay.sim.circuit import OPEN, Port
from drivebay.sim.devices import Device, Diode
from drivebay.sim.eventlog import EventLog
from drivebay.sim.instrument import ScpiInstrument
from drivebay.sim.keithley2400.commands import FETCH, TREE
from drivebay.sim.keithley2400.functions import check_power, range_for
from drivebay.sim.keithley2400.measuring import (
    COMPLIANCE,
    OVERFLOW,
    RANGE_COMPLIANCE,
    Meter,
    Readings,
    Timing,
    timing_of,
)
from drivebay.sim.keithley2400.models import MODELS, Model
from drivebay.sim.keithley2400.settings import MAX_READINGS, DataFormat, Settings, Source, defaults
from drivebay.sim.keithley2400.trace import TraceBuffer
from drivebay.sim.parameters import indefinite_block, readings_text, singles
from drivebay.sim.syntax import ScpiError
from drivebay.sim.triggering import Clock, Run, TriggerModel

if TYPE_CHECKING:
    from drivebay.sim.registry import Options

# Measurement register bits (section 15, "Measurement event register").
READING_AVAILABLE, READING_OVERFLOW, BUFFER_AVAILABLE, BUFFER_FULL = 64, 128, 256, 512
IN_COMPLIANCE = 1 << 14
# Operation register bits (section 15, "Operation event register").
SWEEPING, WAITING_FOR_TRIGGER, WAITING_FOR_ARM, IDLE = 8, 32, 64, 1024
FIRMWARE = "C30   Mar 17 2006 09:29:29/A02  /K/J"


class Keithley2400(ScpiInstrument):
    """The simulated instrument; a server puts it on a socket.

    Attributes:
        model: what this member of the family can do.
        identity: its answer to ``*IDN?``.
        settings: what is set now.
        format: how readings are sent now.
        output_on: whether the output is on.
        interlock_closed: whether the output enable line is at its low level.
        readings: those of the latest run, what ``:FETCh?`` answers.
        trace: the trace buffer.
        readings_taken: how many since the start.
    """

    model: Model
    identity: str
    settings: Settings
    format: DataFormat
    output_on: bool
    readings: Readings
    trace: TraceBuffer
    readings_taken: int
    line_frequency_hz: float
    line_frequency_auto: bool
    beeper: bool
    clock: Clock
    time_zero_s: float
    memories: dict[int, Settings]
    meter: Meter
    trigger: TriggerModel

    def __init__(
        self,
        model: str = "2400",
        device: Device | None = None,
        *,
        time_scale: float = 1.0,
        line_frequency_hz: float = 50.0,
        seed: int = 2400,
        noise: float = 1.0,
        settling_time_s: float = 20e-6,
        lead_resistance_ohm: float = 0.0,
        serial_number: str = "1234567",
        interlock_closed: bool = True,
        obeys_only_abort_while_busy: bool = True,
        log: EventLog | None = None,
    ) -> None:
        """A 2400 that was just switched on.

        Args:
            model: "2400", "2401", "2410", "2420", "2425", "2430" (DC mode) or "2440".
            device: what is connected, a device or a port of a circuit; a diode if not given.
            time_scale: real seconds that one simulated second of a reading takes; 0 for benchmarks.
            line_frequency_hz: 50 or 60; one power line cycle is its inverse.
            seed: of the noise; the same commands then give the same readings.
            noise: a factor on the noise; 0 for none.
            settling_time_s: the time constant of device and cable.
            lead_resistance_ohm: both leads together; two-wire sensing measures it too.
            serial_number: for ``*IDN?``.
            interlock_closed: whether the output enable line is at its low level; it counts only
                after ``:OUTPut:ENABle ON`` (18-56).
            obeys_only_abort_while_busy: as the manual says; False executes whatever does not need
                to wait.
            log: where to record events; a new log if not given.

        Raises:
            ValueError: an unknown model, or a number outside its range.
        """
        if model not in MODELS:
            raise ValueError(f"no model {model!r}; models: {', '.join(MODELS)}")
        if line_frequency_hz not in {50, 60}:
            raise ValueError(f"line_frequency_hz must be 50 or 60, got {line_frequency_hz!r}")
        for name, value in (
            ("time_scale", time_scale),
            ("noise", noise),
            ("settling_time_s", settling_time_s),
        ):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and >= 0, got {value!r}")
        super().__init__(TREE, log or EventLog(), obeys_only_abort_while_busy)
        self.model = MODELS[model]
        self.identity = f"KEITHLEY INSTRUMENTS INC.,MODEL {model},{serial_number},{FIRMWARE}"
        self.line_frequency_hz = line_frequency_hz
        self.line_frequency_auto = True
        self.settings = defaults(self.model)
        self.format = DataFormat()
        self.memories: dict[int, Settings] = {}
        self.output_on = False
        self.interlock_closed = interlock_closed
        self.readings = Readings()
        self.trace = TraceBuffer()
        self.clock = Clock(time_scale)
        self.time_zero_s = 0.0
        self.beeper = True
        self.readings_taken = 0
        self.meter = Meter(
            self.model,
            Diode() if device is None else device,
            seed=seed,
            settling_time_s=settling_time_s,
            lead_ohm=lead_resistance_ohm,
            noise=noise,
        )
        self.trigger = TriggerModel(
            self.lock, self.clock, self._take, self._finished, self.flush_clients
        )
        self._levels: list[float] = [0.0]
        self._timing = Timing(0.0, 0.0)
        self.status.operation.set_condition(IDLE)

    @property
    def busy(self) -> bool:
        """True while not in the idle state of the trigger model."""
        return self.trigger.run is not None

    @property
    def source(self) -> Source:
        """The source function in use."""
        return self.settings.volt if self.settings.function == "VOLT" else self.settings.curr

    def output_levels(self) -> tuple[float, float]:
        """Voltage and current at the terminals now, by a perfect meter; zeros if off."""
        with self.lock:
            if not self.output_on:
                return 0.0, 0.0
            volts, amps, _ = self.meter.operating_point(self.settings, self.meter.settled_level)
            return volts, amps

    def present(self) -> None:
        """Shows a circuit, if it is in one, what its terminals are now."""
        port = self.meter.device
        if isinstance(port, Port):
            level = self.meter.settled_level
            port.present(self.meter.boundary(self.settings, level) if self.output_on else OPEN)

    def in_compliance(self) -> bool:
        """True if the output is on and limited."""
        if not self.output_on:
            return False
        return bool(self.meter.operating_point(self.settings, self.meter.settled_level)[2])

    def set_output(self, on: bool, reason: str = "command") -> None:
        """Switches the output; off is high impedance whatever the output-off mode.

        Raises:
            ScpiError: 802, the output enable line blocks it.
        """
        if on and not self.output_on:
            if self.settings.output_enable and not self.interlock_closed:
                raise ScpiError(802)
            self.output_on = True
            self.apply_level()
            self.log.add("output_on", function=self.settings.function, level=self.source.level)
        elif not on and self.output_on:
            self.output_on = False
            self.meter.settled_level = 0.0
            self.log.add("output_off", reason=reason)

    def open_interlock(self) -> None:
        """Somebody opens the test fixture: where the line is enabled, the output goes off."""
        with self.lock:
            self.interlock_closed = False
            if self.settings.output_enable:
                self.set_output(False, "output enable")

    def apply_level(self) -> None:
        """The fixed level goes to the terminals, if the output is on."""
        if self.output_on and self.source.mode == "FIX":
            self.meter.settled_level = self.source.level

    def set_level(self, function: str, level: float) -> None:
        """A new fixed level, logged if it reaches the terminals."""
        source = self.settings.volt if function == "VOLT" else self.settings.curr
        source.level, source.triggered_level = level, None
        if self.output_on and function == self.settings.function:
            self.apply_level()
            self.log.add("level", function=function, level=level)

    def reset(self) -> None:
        """``*RST``: idle, output off, defaults; what was pending is cancelled."""
        self.cancel_pending()
        self.abort()
        self.set_output(False, "reset")
        self.settings = defaults(self.model)
        self.format = DataFormat()

    def recall(self, place: int) -> None:
        """``*RCL``: idle, output off, the settings saved there (defaults if none were)."""
        self.abort()
        self.set_output(False, "recall")
        self.settings = copy.deepcopy(self.memories.get(place)) or defaults(self.model)

    def initiate(self, with_answer: bool = False) -> None:
        """Leaves idle.

        Raises:
            ScpiError: +803 with the output off, +830 if an answer could never come, -213 if it is
                not idle.
        """
        s = self.settings
        if self.busy:
            raise ScpiError(-213)
        if math.isinf(s.arm_count) and with_answer:
            raise ScpiError(830)
        if not self.output_on and not s.auto_clear:
            raise ScpiError(803)
        self._levels = self._planned_levels()
        if self.source.mode != "FIX":
            largest = max(map(abs, self._levels))
            limit, _ = self.meter.limit(s)
            check_power(self, s.function, range_for(self, s.function, largest), limit)
        cycle = self._timing = timing_of(s, self.line_frequency_hz)
        per_pass = s.trigger_count
        pass_s = per_pass * cycle.total_s
        if s.arm_source == "TIM":
            pass_s = max(pass_s, s.arm_timer_s)
        run = Run(per_pass, s.arm_count * per_pass, cycle.total_s, pass_s)
        waits_for = "" if s.arm_source in {"IMM", "TIM"} else "arm"
        if not waits_for and s.trigger_source != "IMM":
            waits_for = "trigger"
        self.readings = Readings()
        if s.auto_clear:
            self.set_output(True, "auto clear")
        self._announce(run, waits_for)
        self.trigger.start(run, waits_for)

    def read(self) -> None:
        """``:READ?``: leaves idle, and answers with the readings once it is idle again."""
        self.initiate(with_answer=True)
        self.query_when_idle(FETCH)

    def bus_trigger(self) -> None:
        """``*TRG``.

        Raises:
            ScpiError: -211, nothing waits for it.
        """
        if self.settings.arm_source != "BUS" or not self.trigger.bus_trigger("arm"):
            raise ScpiError(-211)
        if self.busy:
            self.status.operation.set_condition(self._running_bits())

    def abort(self) -> None:
        """``:ABORt``: to idle at once; the output stays as it is."""
        taken = self.trigger.run.done if self.trigger.run else 0
        if self.trigger.abort():
            self.log.add("abort", taken=taken)

    def fetch(self, readings: Readings | None = None) -> bytes:
        """Readings in the selected format.

        Raises:
            ScpiError: -230, there are none.
        """
        readings = self.readings if readings is None else readings
        if not len(readings):
            raise ScpiError(-230)
        return self._formatted(readings.columns(self.format.elements))

    def close(self) -> None:
        """Ends the trigger model's thread."""
        self.trigger.close()

    def _formatted(self, columns: Sequence[Sequence[float]]) -> bytes:
        flat = list(chain.from_iterable(zip(*columns, strict=True)))
        if self.format.data == "ASC":
            return readings_text(flat).encode()
        return indefinite_block(singles(flat, self.format.swapped))

    def _planned_levels(self) -> list[float]:
        source, s = self.source, self.settings
        if source.mode == "FIX":
            if source.triggered_level is not None:
                self.set_level(s.function, source.triggered_level)
            return [source.level]
        if source.mode == "LIST":
            first = min(source.list_start, len(source.points)) - 1
            return source.points[first:] + source.points[:first]
        return sweep_levels(s, source)

    def _announce(self, run: Run, waits_for: str) -> None:
        bits = {"arm": WAITING_FOR_ARM, "trigger": WAITING_FOR_TRIGGER}
        self.status.operation.set_condition(bits.get(waits_for) or self._running_bits())
        points = -1 if math.isinf(run.total) else int(run.total)
        if points != 1:
            self.log.add("sweep_begin", mode=self.source.mode, points=points, cycle_s=run.cycle_s)

    def _running_bits(self) -> int:
        return 0 if self.source.mode == "FIX" else SWEEPING

    def _take(self, run: Run, first: int, stop: int) -> None:
        """Takes the readings [first, stop) of a run; a pass starts the levels again."""
        levels, per_pass = self._levels, run.per_pass
        if len(levels) == 1:
            chosen = levels * (stop - first)
        elif first == 0 and stop == len(levels) <= per_pass:
            chosen = levels
        else:
            chosen = [levels[k % per_pass % len(levels)] for k in range(first, stop)]
        taken = self.meter.measure(self.settings, chosen, self._timing)
        zero_s = run.started_s - self.time_zero_s
        if run.per_pass == run.total:
            taken.times_s = [zero_s + (k + 1) * run.cycle_s for k in range(first, stop)]
        else:
            taken.times_s = [run.end_s(k) - self.time_zero_s for k in range(first, stop)]
        if taken.times_s[-1] >= 99999.999:
            taken.times_s = [t % 99999.999 for t in taken.times_s]
        self.readings_taken += len(taken)
        self.readings.extend(taken, len(taken))
        if len(self.readings) > MAX_READINGS:
            self.readings = self.readings.last(MAX_READINGS)
        self._note(taken)

    def _note(self, taken: Readings) -> None:
        register = self.status.measurement
        bits = READING_AVAILABLE
        if OVERFLOW in taken.ohms:
            bits |= READING_OVERFLOW
        if any(word & (COMPLIANCE | RANGE_COMPLIANCE) for word in taken.status):
            bits |= IN_COMPLIANCE
        if self.trace.take(taken):
            bits |= BUFFER_FULL
        if len(self.trace.readings) >= 2:
            bits |= BUFFER_AVAILABLE
        register.pulse(bits)
        register.condition = bits

    def _finished(self, run: Run, aborted: bool) -> None:
        self.status.operation.set_condition(IDLE)
        if run.done and self.source.mode != "FIX":
            level = self._levels[(run.done - 1) % run.per_pass % len(self._levels)]
            self.source.level = level
        if run.total != 1:
            self.log.add("sweep_end", taken=run.done, aborted=aborted)
        if self.settings.auto_clear:
            self.set_output(False, "auto clear")
        self.present()
        self.became_idle()


def sweep_levels(s: Settings, source: Source) -> list[float]:
    """The levels of a staircase sweep (section 10, "Sweep types")."""
    points, start, stop = s.sweep_points, source.start, source.stop
    if points == 1:
        return [start]
    if s.spacing == "LIN":
        step = (stop - start) / (points - 1)
        levels = [start + step * k for k in range(points)]
    else:
        if start * stop <= 0:
            raise ScpiError(-221)
        ratio = math.log(stop / start) / (points - 1)
        levels = [start * math.exp(ratio * k) for k in range(points)]
    levels[-1] = stop
    return levels[::-1] if s.direction == "DOWN" else levels


def simulated(ports: Mapping[str, Port], options: Options) -> Keithley2400:
    """A 2400 on a port of a circuit, for the registry."""
    return Keithley2400(
        options.model or "2400",
        ports["smu"],
        time_scale=options.time_scale,
        line_frequency_hz=options.line_frequency_hz,
        seed=options.seed,
        noise=options.noise,
        serial_number=options.serial_number,
        interlock_closed=options.interlock_closed,
        obeys_only_abort_while_busy=options.obeys_only_abort_while_busy,
        log=options.log,
    )
