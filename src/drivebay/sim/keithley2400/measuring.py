"""One source-measure cycle after another: level, settling, compliance, range, noise, status word.

Promises: what is measured follows from the device's law and the settings alone; noise comes from a
seeded generator. Never waits: time is the trigger model's part.

From the 2400 Series User's Manual: real and range compliance (section 6, "Compliance limit"), full
scale readings (section 7, "Range and digits"), data elements and the status word (section 18,
"FORMat subsystem"), default resolution of the ranges (appendix A). Simplified, on purpose: sources
are exact (no gain or offset error, no source resolution), noise is white and Gaussian, the cable is
one time constant, a reading integrates once for all measured functions, and autozero costs no time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivebay.sim.circuit import Boundary, Port, amps, volts
from drivebay.sim.devices import Device
from drivebay.sim.keithley2400.models import Model
from drivebay.sim.keithley2400.settings import Settings
from drivebay.sim.readout import NOISE_OF_RANGE, Deviates

NOT_AVAILABLE = 9.91e37
OVERFLOW = 9.9e37

OFLO, FILTER, FRONT, COMPLIANCE, OVP = 1, 2, 4, 8, 16
AUTO_OHMS, V_MEASURE, I_MEASURE, OHM_MEASURE, V_SOURCE, I_SOURCE = (
    1024,
    2048,
    4096,
    8192,
    16384,
    32768,
)
RANGE_COMPLIANCE, OFFSET_COMPENSATED, REMOTE_SENSE = 1 << 16, 1 << 17, 1 << 22

VOLT_STEPS, AMP_STEPS = 2e5, 1e5
# Test currents of auto ohms by range (appendix A, "Resistance measurement accuracy").
OHM_RANGES = (20.0, 200.0, 2e3, 2e4, 2e5, 2e6, 2e7, 2e8)
OHM_CURRENTS_A = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-6, 1e-7)
TRIGGER_LATENCY_S = 100e-6
AUTO_DELAY_S = 1e-3


@dataclass(slots=True)
class Readings:
    """Readings as columns of equal length."""

    volts: list[float] = field(default_factory=list)
    amps: list[float] = field(default_factory=list)
    ohms: list[float] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.status)

    def extend(self, more: Readings, room: int) -> None:
        """Appends up to ``room`` readings."""
        self.volts += more.volts[:room]
        self.amps += more.amps[:room]
        self.ohms += more.ohms[:room]
        self.times_s += more.times_s[:room]
        self.status += more.status[:room]

    def last(self, count: int) -> Readings:
        """The newest ``count`` readings."""
        first = max(len(self) - count, 0)
        return Readings(
            self.volts[first:],
            self.amps[first:],
            self.ohms[first:],
            self.times_s[first:],
            self.status[first:],
        )

    def columns(self, elements: Sequence[str]) -> list[Sequence[float]]:
        """The columns of some elements, always in the order the instrument sends them."""
        by_name: dict[str, Sequence[float]] = {
            "VOLT": self.volts,
            "CURR": self.amps,
            "RES": self.ohms,
            "TIME": self.times_s,
            "STAT": self.status,
        }
        return [column for name, column in by_name.items() if name in elements]


@dataclass(frozen=True, slots=True)
class Timing:
    """One source-delay-measure cycle, in seconds."""

    before_s: float
    integration_s: float

    @property
    def total_s(self) -> float:
        """From one trigger to the end of its reading."""
        return self.before_s + self.integration_s


def timing_of(s: Settings, line_frequency_hz: float) -> Timing:
    """What a cycle takes: latency, trigger delay, source delay, integration.

    Section 11, "Remote operation" (delays), and section 6, "Source-delay-measure cycle" (trigger
    latency, auto delay).
    """
    delay_s = AUTO_DELAY_S if s.source_delay_auto else s.source_delay_s
    repeats = s.average_count if s.average and s.average_control == "REP" else 1
    before_s = TRIGGER_LATENCY_S + s.trigger_delay_s + delay_s
    return Timing(before_s, repeats * s.nplc / line_frequency_hz)


class Meter:
    """The analog part of a simulated 2400."""

    def __init__(
        self,
        model: Model,
        device: Device,
        *,
        seed: int,
        settling_time_s: float,
        lead_ohm: float,
        noise: float,
    ) -> None:
        self.model = model
        self.device = device
        self.settling_time_s = settling_time_s
        self.lead_ohm = lead_ohm
        self.noise = noise
        self._deviations = Deviates(seed).take
        ranges = (model.current_ranges_a, model.voltage_ranges_v)
        self._bounds = tuple([full * 1.055 for full in each] for each in ranges)
        self._units = tuple(
            [full / steps for full in each]
            for each, steps in zip(ranges, (AMP_STEPS, VOLT_STEPS), strict=True)
        )
        self.settled_level = 0.0

    def limit(self, s: Settings) -> tuple[float, int]:
        """The compliance in force and its status bit: real, or that of a fixed measure range."""
        sense = s.sense_curr if s.function == "VOLT" else s.sense_volt
        measured = "CURR" if s.function == "VOLT" else "VOLT"
        if measured in s.functions and not sense.auto_range and sense.range < sense.limit:
            return sense.range, RANGE_COMPLIANCE
        return sense.limit, COMPLIANCE

    def operating_point(self, s: Settings, level: float) -> tuple[float, float, int]:
        """Voltage, current and compliance bit at a level once it has settled, without noise."""
        limit, bit = self.limit(s)
        volts, amps, flags = self._solve(
            s.function == "VOLT", [level], self.connected(s), limit, bit
        )
        return volts[0], amps[0], flags[0]

    def connected(self, s: Settings) -> Device:
        """The device as the sense terminals see it: four-wire sensing leaves the leads out."""
        return (
            self.device
            if s.four_wire or not self.lead_ohm
            else self.device.with_leads(self.lead_ohm)
        )

    def measure(self, s: Settings, levels: list[float], timing: Timing) -> Readings:
        """Readings at the levels, one after another; times are left to the caller."""
        if "RES" in s.functions and s.ohm_mode == "AUTO":
            return self._measure_auto_ohms(s, len(levels))
        limit, bit = self.limit(s)
        driven = self._settle(levels, timing)
        if isinstance(self.device, Port):
            # Others may be on the same nodes, and what is connected may take its time.
            boundaries = [self.boundary(s, level) for level in driven]
            points = self.device.sweep(boundaries, timing.before_s, timing.integration_s)
            seen_v, seen_a, limited = zip(*points, strict=True)
            flags = [bit if each else 0 for each in limited]
            return self._read(s, levels, list(seen_v), list(seen_a), flags)
        there_v, there_a, flags = self._solve(
            s.function == "VOLT", driven, self.connected(s), limit, bit
        )
        return self._read(s, levels, there_v, there_a, flags)

    def boundary(self, s: Settings, level: float) -> Boundary:
        """What the terminals are to a circuit at a level."""
        source = volts if s.function == "VOLT" else amps
        return source(level, self.limit(s)[0], remote=s.four_wire)

    def _settle(self, levels: list[float], timing: Timing) -> list[float]:
        """The mean level while each cycle integrates, short of what has not settled by then."""
        tau_s, before_s, window_s = self.settling_time_s, timing.before_s, timing.integration_s
        previous, self.settled_level = self.settled_level, levels[-1]
        if tau_s <= 0 or before_s > 40 * tau_s:
            return levels
        share = tau_s / window_s if window_s > 0 else 1.0
        missing = math.exp(-before_s / tau_s) * share * -math.expm1(-1.0 / share)
        left = math.exp(-(before_s + window_s) / tau_s)
        driven = []
        for level in levels:
            step = level - previous
            driven.append(level - step * missing)
            previous = level - step * left
        self.settled_level = previous
        return driven

    @staticmethod
    def _solve(
        sources_volts: bool, levels: list[float], device: Device, limit: float, bit: int
    ) -> tuple[list[float], list[float], list[int]]:
        if sources_volts:
            free = device.currents_a(levels)
        else:
            free = [device.voltage_v(level) for level in levels]
        flags = [0] * len(levels)
        if max(free) > limit or min(free) < -limit:
            levels = list(levels)
            for k, value in enumerate(free):
                if abs(value) > limit:
                    flags[k] = bit
                    free[k] = math.copysign(limit, value)
                    levels[k] = (
                        device.voltage_v(free[k]) if sources_volts else device.current_a(free[k])
                    )
        return (levels, free, flags) if sources_volts else (free, levels, flags)

    def _read(
        self,
        s: Settings,
        levels: list[float],
        volts: list[float],
        amps: list[float],
        flags: list[int],
    ) -> Readings:
        count = len(levels)
        reads_volts, reads_amps = "VOLT" in s.functions, "CURR" in s.functions
        needs_both = "RES" in s.functions
        seen_volts = self._digitise(volts, s, True) if reads_volts or needs_both else []
        seen_amps = self._digitise(amps, s, False) if reads_amps or needs_both else []
        absent = [NOT_AVAILABLE] * count
        word = status_word(s)
        return Readings(
            volts=seen_volts if reads_volts else levels if s.function == "VOLT" else absent,
            amps=seen_amps if reads_amps else levels if s.function == "CURR" else absent,
            ohms=[v / i if i else OVERFLOW for v, i in zip(seen_volts, seen_amps, strict=True)]
            if needs_both
            else absent,
            status=[word | flag for flag in flags] if any(flags) else [word] * count,
        )

    def _digitise(self, values: list[float], s: Settings, is_volts: bool) -> list[float]:
        """Noise and resolution of the range each value is read on."""
        ranges = self.model.voltage_ranges_v if is_volts else self.model.current_ranges_a
        steps = VOLT_STEPS if is_volts else AMP_STEPS
        averaged = s.nplc * (s.average_count if s.average else 1)
        # In steps of its resolution every range has the same noise.
        noise = NOISE_OF_RANGE * self.noise * steps / math.sqrt(averaged)
        low, high = self._range_places(s, ranges, is_volts)
        units = self._units[is_volts]
        deviations = self._deviations(len(values))
        if low == high:
            unit = units[low]
            return [
                round(value / unit + noise * deviation) * unit
                for value, deviation in zip(values, deviations, strict=True)
            ]
        bounds = self._bounds[is_volts]
        return [
            round(
                value / (unit := units[bisect_left(bounds, abs(value), low, high)])
                + noise * deviation
            )
            * unit
            for value, deviation in zip(values, deviations, strict=True)
        ]

    def _range_places(
        self, s: Settings, ranges: tuple[float, ...], is_volts: bool
    ) -> tuple[int, int]:
        """First and last range a function may use: one if it is fixed or follows the source."""
        last = len(ranges) - 1

        def place(value: float) -> int:
            # The 1 kV range goes to 1,100 V, more than the 5 % above its name that others have.
            return min(bisect_left(ranges, abs(value) / 1.0501), last)

        source, sense = (s.volt, s.sense_volt) if is_volts else (s.curr, s.sense_curr)
        if (s.function == "VOLT") == is_volts:
            return (0, last) if source.auto_range else (place(source.range),) * 2
        if not sense.auto_range:
            return (place(sense.range),) * 2
        high = place(sense.limit)
        return min(place(sense.lower_limit), high), high

    def _measure_auto_ohms(self, s: Settings, count: int) -> Readings:
        device = self.connected(s)
        places = range(len(OHM_RANGES))
        if not s.ohm_auto_range:
            place = min(bisect_left(OHM_RANGES, s.ohm_range / 1.0501), len(OHM_RANGES) - 1)
            places = range(place, place + 1)
        for k in places:
            amps, full_v = OHM_CURRENTS_A[k], OHM_RANGES[k] * OHM_CURRENTS_A[k] * 1.055
            volts = device.voltage_v(amps)
            if abs(volts) <= full_v:
                break
        word = status_word(s) | AUTO_OHMS
        absent = [NOT_AVAILABLE] * count
        if abs(volts) > full_v:
            return Readings(absent, absent[:], [OVERFLOW] * count, status=[word | OFLO] * count)
        sigma, unit = (
            NOISE_OF_RANGE * self.noise * OHM_RANGES[k] / math.sqrt(s.nplc),
            OHM_RANGES[k] / VOLT_STEPS,
        )
        deviations = self._deviations(count)
        ohms = [round((volts / amps + sigma * each) / unit) * unit for each in deviations]
        seen_volts = self._digitise([volts] * count, s, True) if "VOLT" in s.functions else absent
        return Readings(seen_volts, [amps] * count, ohms, status=[word] * count)


def status_word(s: Settings) -> int:
    """The bits of the status word that do not depend on the reading."""
    return (
        (FILTER if s.average else 0)
        | (0 if s.rear_terminals else FRONT)
        | (V_MEASURE if "VOLT" in s.functions else 0)
        | (I_MEASURE if "CURR" in s.functions else 0)
        | (OHM_MEASURE if "RES" in s.functions else 0)
        | (V_SOURCE if s.function == "VOLT" else I_SOURCE)
        | (OFFSET_COMPENSATED if s.ohm_compensated else 0)
        | (REMOTE_SENSE if s.four_wire else 0)
    )
