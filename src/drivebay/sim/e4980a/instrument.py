"""A simulated E4980A: bias and signal at the terminals, admittance, list sweep, trigger.

Promises: a reading is the admittance of the circuit at the bias it has then. Never energises a DC
bias that is not switched on, and never more than it may: 100 mA.

From the *Keysight E4980A/E4980AL Precision LCR Meter User's Guide*, E4980-90230, "SCPI Command
Reference", and the data sheet 5989-4435EN (measurement times, levels, options). Commands are taken
while it measures; ``FETCh?`` and ``*TRG`` answer when it has finished, and until then what follows
waits. Simplified: one time for all points of a list, the mean of theirs; corrections are switches
that are remembered; the comparator, limit bands and the data buffer do not exist.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from drivebay.sim.circuit import Port, volts
from drivebay.sim.devices import Device, OpenCircuit
from drivebay.sim.e4980a.commands import FETCH, TREE
from drivebay.sim.measuring import MeasuringInstrument
from drivebay.sim.parameters import definite_block, doubles
from drivebay.sim.readout import Converter
from drivebay.sim.source import port_of
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.registry import Options

NO_NUMBER = 9.9e37
# Status of a reading: nothing measured yet, good, overload (User's Guide, 261).
NO_DATA, GOOD, OVERLOAD = -1, 0, 1
# Operation register: a list sweep runs, a measurement runs (table 8-2, 270).
SWEEPING, MEASURING = 8, 16
SOURCE_OHM = 100.0
BIAS_LIMIT_A = 0.1
# Seconds of one reading by frequency (data sheet, "Measurement time", DC bias off).
_TIMES_S = {
    "SHOR": ((20, 0.33), (100, 0.1), (1e3, 0.02), (1e4, 0.0077), (1e5, 0.0057), (2e6, 0.0056)),
    "MED": ((20, 0.38), (100, 0.18), (1e3, 0.11), (1e4, 0.092), (1e5, 0.089), (2e6, 0.088)),
    "LONG": ((20, 0.48), (100, 0.3), (1e3, 0.24), (1e4, 0.23), (1e5, 0.22), (2e6, 0.22)),
}
_QUIET = {"SHOR": 0.25, "MED": 4.0, "LONG": 10.0}
_LARGEST_S = 10.0


@dataclass(frozen=True, slots=True)
class Model:
    """One model with its options.

    Attributes:
        name: in ``*IDN?``.
        options: answer to ``*OPT?``.
        top_hz: highest frequency.
        wide_bias: whether it has the power and DC bias enhancement (option 001).
    """

    name: str
    options: str
    top_hz: float
    wide_bias: bool

    @property
    def top_level_v(self) -> float:
        """Largest signal, root mean square."""
        return 20.0 if self.wide_bias else 2.0


MODELS = {
    "E4980A": Model("E4980A", "001", 2e6, wide_bias=True),
    "E4980A-standard": Model("E4980A", "", 2e6, wide_bias=False),
    "E4980AL-032": Model("E4980AL", "032", 3e5, wide_bias=False),
    "E4980AL-052": Model("E4980AL", "052", 5e5, wide_bias=False),
    "E4980AL-102": Model("E4980AL", "102", 1e6, wide_bias=False),
}


@dataclass(slots=True)
class Settings:
    """What can be set, after ``*RST``."""

    frequency_hz: float = 1000.0
    level_v: float = 1.0
    function: str = "CPD"
    aperture: str = "MED"
    averages: int = 1
    bias_v: float = 0.0
    bias_range_auto: bool = True
    auto_range: bool = True
    range_ohm: float = 100.0
    level_control: bool = False
    trigger_source: str = "INT"
    trigger_delay_s: float = 0.0
    step_delay_s: float = 0.0
    continuous: bool = True
    page: str = "MEAS"
    list_mode: str = "SEQ"
    list_hz: list[float] = field(default_factory=list)
    list_bias_v: list[float] = field(default_factory=list)
    list_level_v: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Kept:
    """What a reset leaves: corrections; and how readings are sent."""

    open_on: bool = False
    short_on: bool = False
    load_on: bool = False
    cable_m: int = 0
    binary: bool = False
    swapped: bool = False


class E4980a(MeasuringInstrument):
    """The simulated meter.

    Attributes:
        model: what it can do.
        settings: what is set.
        kept: corrections and format.
        bias_on: whether the DC bias is on.
        rows: readings of the latest trigger: two values and the status.
        port: its terminals.
    """

    error_texts: Mapping[int, str] = {-213: "Init ignored"}

    def __init__(self, model: str, device: Device | None, *, options: Options) -> None:
        """A meter that was just switched on.

        Args:
            model: a name of ``MODELS``.
            device: a device or a port; nothing if not given.
            options: what every simulated instrument can be told.

        Raises:
            ValueError: an unknown model.
        """
        if model not in MODELS:
            raise ValueError(f"no model {model!r}; models: {', '.join(MODELS)}")
        self.model = MODELS[model]
        super().__init__(
            TREE, options.log, time_scale=options.time_scale, obeys_only_abort_while_busy=False
        )
        name, serial = self.model.name, options.serial_number
        self.identity = f"Keysight Technologies,{name},MY{serial},A.06.15"
        self.port: Port = port_of(device, OpenCircuit())
        self.settings = Settings()
        self.kept = Kept()
        self.bias_on = False
        self.rows: list[tuple[float, float, int]] = []
        self.converter = Converter(options.seed, options.noise)
        self._armed = True
        self._points: list[tuple[float, float]] = []
        self.present()

    def present(self) -> None:
        """The bias behind the source resistance; 0 V if it is off."""
        bias_v = self.settings.bias_v if self.bias_on else 0.0
        self.port.present(volts(bias_v, BIAS_LIMIT_A, ohm=SOURCE_OHM))

    def set_bias(self, on: bool, reason: str = "command") -> None:
        """Switches the DC bias."""
        if on == self.bias_on:
            return
        self.bias_on = on
        if on:
            self.log.add("output_on", function="VOLT", level=self.settings.bias_v)
        else:
            self.log.add("output_off", reason=reason)

    def check_bias(self, bias_v: float) -> float:
        """The level, if it has it.

        Raises:
            ScpiError: -222, it has not: 0, 1.5 and 2 V, with option 001 -40 to 40 V.
        """
        if self.model.wide_bias:
            fits = abs(bias_v) <= 40.0
        else:
            fits = any(math.isclose(bias_v, each, abs_tol=1e-9) for each in (0.0, 1.5, 2.0))
        if not fits:
            raise ScpiError(-222)
        return bias_v

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.set_bias(False, "reset")
        self.settings = Settings()
        self.rows = []
        self._armed = True

    def reading_s(self, frequency_hz: float) -> float:
        """How long one reading takes."""
        table = _TIMES_S[self.settings.aperture]
        place = math.log(frequency_hz)
        for (low, slow), (high, quick) in pairwise(table):
            if frequency_hz <= high * 1.000001:
                share = (place - math.log(low)) / (math.log(high) - math.log(low))
                return self.settings.averages * math.exp(
                    math.log(slow) + share * (math.log(quick) - math.log(slow))
                )
        return self.settings.averages * table[-1][1]

    def points(self) -> list[tuple[float, float]]:
        """Frequency and bias of each reading of a trigger."""
        s = self.settings
        count = max(len(s.list_hz), len(s.list_bias_v), len(s.list_level_v))
        if s.page != "LIST" or not count:
            return [(s.frequency_hz, s.bias_v)]
        return [
            (
                s.list_hz[k] if k < len(s.list_hz) else s.frequency_hz,
                s.list_bias_v[k] if k < len(s.list_bias_v) else s.bias_v,
            )
            for k in range(count)
        ]

    @property
    def sweep_mode(self) -> str:
        """What a run is called in the log."""
        return "LIST" if self.settings.page == "LIST" else "FIX"

    def start(self) -> None:
        """A trigger.

        Raises:
            ScpiError: -211, nothing waits for it.
        """
        if self.busy or not self._armed:
            raise ScpiError(-211)
        s = self.settings
        self._points = self.points()
        self.rows = []
        times_s = [self.reading_s(hz) for hz, _ in self._points]
        cycle_s = s.step_delay_s + math.fsum(times_s) / len(times_s)
        if len(self._points) == 1:
            cycle_s += s.trigger_delay_s
        self._armed = False
        self.log.add("trigger", points=len(self._points))
        swept = SWEEPING if s.page == "LIST" else 0
        self.status.operation.set_condition(MEASURING | swept)
        self.begin(len(self._points), cycle_s)

    def arm(self) -> None:
        """``INITiate``.

        Raises:
            ScpiError: -213, it is not idle.
        """
        if self.busy or self._armed:
            raise ScpiError(-213)
        self._armed = True

    def abort(self) -> None:
        """``ABORt``: idle; waiting for a trigger again if it is continuous."""
        super().abort()
        self._armed = self.settings.continuous

    def trigger_and_answer(self) -> None:
        """``*TRG``: the readings are the answer."""
        self.start()
        self.query_when_idle(FETCH)

    def fetch(self) -> None:
        """``FETCh?``: the latest readings; measured now if it triggers itself."""
        s = self.settings
        if s.trigger_source == "INT" and not self.busy and s.continuous:
            self._armed = True
            self.start()
        self.query_when_idle(FETCH)

    def take(self, first: int, times_s: list[float]) -> None:
        """Measures the points that are due."""
        for frequency_hz, bias_v in self._points[first : first + len(times_s)]:
            self.settings.bias_v = bias_v
            self.present()
            self.rows.append(self._reading(frequency_hz))

    def finished(self, aborted: bool) -> None:
        """It is idle, or waits for the next trigger."""
        self.status.operation.set_condition(0)
        self._armed = self.settings.continuous

    def formatted(self) -> bytes:
        """The readings as ``FORMat`` says; each of a list has its limit result behind it."""
        rows = self.rows or [(NO_NUMBER, NO_NUMBER, NO_DATA)]
        listed = self.settings.page == "LIST"
        flat: list[float] = []
        words: list[str] = []
        for one, other, status in rows:
            flat += [one, other, status, *([0] if listed else [])]
            words += [f"{one:+.5E},{other:+.5E},{status:+d}", *(["+0"] if listed else [])]
        if self.kept.binary:
            return definite_block(doubles(flat, self.kept.swapped))
        return ",".join(words).encode()

    def impedance(self) -> tuple[float, float]:
        """Resistance and reactance of the latest reading."""
        return self._latest_z.real, self._latest_z.imag

    _latest_z: complex = complex(NO_NUMBER, NO_NUMBER)

    def _reading(self, frequency_hz: float) -> tuple[float, float, int]:
        window_s = self.reading_s(frequency_hz)
        limited = self.port.read().limited
        siemens = self.port.admittance_s(frequency_hz, window_s)
        size = abs(siemens)
        if limited or size > _LARGEST_S:
            return NO_NUMBER, NO_NUMBER, OVERLOAD
        full = max(size, 1e-9)
        quiet = _QUIET[self.settings.aperture] * self.settings.averages
        noisy = complex(
            *(
                self.converter.reading(part, full, quiet, steps=1e7, noise_of_range=2e-5)
                for part in (siemens.real, siemens.imag)
            )
        )
        self._latest_z = 1.0 / noisy if noisy else complex(NO_NUMBER, 0.0)
        one, other = _PAIRS[self.settings.function](noisy, 2.0 * math.pi * frequency_hz)
        return one, other, GOOD


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.copysign(NO_NUMBER, above or 1.0)


def _series(siemens: complex) -> complex:
    return 1.0 / siemens if siemens else complex(NO_NUMBER, 0.0)


def _polar(value: complex, scale: float) -> tuple[float, float]:
    return abs(value), cmath.phase(value) * scale


_DEGREES = 180.0 / math.pi
# Primary and secondary of each function from the admittance and the angular frequency.
_PAIRS: dict[str, Callable[[complex, float], tuple[float, float]]] = {
    "CPD": lambda y, w: (y.imag / w, _ratio(y.real, y.imag)),
    "CPQ": lambda y, w: (y.imag / w, _ratio(y.imag, y.real)),
    "CPG": lambda y, w: (y.imag / w, y.real),
    "CPRP": lambda y, w: (y.imag / w, _ratio(1.0, y.real)),
    "CSD": lambda y, w: (-_ratio(1.0, w * _series(y).imag), _ratio(y.real, y.imag)),
    "CSQ": lambda y, w: (-_ratio(1.0, w * _series(y).imag), _ratio(y.imag, y.real)),
    "CSRS": lambda y, w: (-_ratio(1.0, w * _series(y).imag), _series(y).real),
    "LPQ": lambda y, w: (-_ratio(1.0, w * y.imag), _ratio(-y.imag, y.real)),
    "LPD": lambda y, w: (-_ratio(1.0, w * y.imag), _ratio(y.real, -y.imag)),
    "LPG": lambda y, w: (-_ratio(1.0, w * y.imag), y.real),
    "LPRP": lambda y, w: (-_ratio(1.0, w * y.imag), _ratio(1.0, y.real)),
    "LSD": lambda y, w: (_series(y).imag / w, _ratio(_series(y).real, _series(y).imag)),
    "LSQ": lambda y, w: (_series(y).imag / w, _ratio(_series(y).imag, _series(y).real)),
    "LSRS": lambda y, w: (_series(y).imag / w, _series(y).real),
    "RX": lambda y, w: (_series(y).real, _series(y).imag),
    "ZTD": lambda y, w: _polar(_series(y), _DEGREES),
    "ZTR": lambda y, w: _polar(_series(y), 1.0),
    "GB": lambda y, w: (y.real, y.imag),
    "YTD": lambda y, w: _polar(y, _DEGREES),
    "YTR": lambda y, w: _polar(y, 1.0),
}


def simulated(ports: Mapping[str, Port], options: Options) -> E4980a:
    """What the registry calls."""
    return E4980a(options.model or "E4980A", ports["lcr"], options=options)
