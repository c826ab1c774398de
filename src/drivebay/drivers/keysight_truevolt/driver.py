"""Keysight Truevolt multimeters 34460A, 34461A, 34465A and 34470A.

Promises: readings follow each other by the meter's own trigger, none is taken twice or lost without
an error, and neither test current nor shunt is left on the device. Never waits for an answer that
the meter has not got yet: it asks how many readings there are, so that an abort is obeyed at once.

Facts: *Truevolt Series DMM Operating and Service Guide*, 34460-90901, "SCPI Programming Reference"
(named by subsystem), and the data sheet 5991-1983EN. See README.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from drivebay.driver import (
    Column,
    DCCurrent,
    DCVoltage,
    Diagnostic,
    InstrumentError,
    LinkTimeoutError,
    ParameterError,
    Resistance,
    ScpiDriver,
    method,
    quantity,
)

_MAINS_S = 1 / 50
_PLAIN_NPLC = (0.02, 0.2, 1.0, 10.0, 100.0)
_QUICK_NPLC = (0.001, 0.002, 0.006, 0.02, 0.06, 0.2, 1.0, 10.0, 100.0)
_DIGITIZERS = ("34465A", "34470A")
# Readings the memory holds ("Memory and reading storage"); read out long before it is full.
_MEMORY = {"34460A": 1_000, "34461A": 10_000, "34465A": 50_000, "34470A": 50_000}
_MOST_SAMPLES = 1_000_000
_LONGEST_TIMER_S = 3600.0
_SHORTEST_TIMER_S = 20e-6
# Test current by range (data sheet, "Resistance"); ranges above use the last.
_TEST_CURRENT_A = ((1e3, 1e-3), (1e4, 1e-4), (1e5, 1e-5), (1e6, 5e-6), (1e9, 5e-7))
# Open leads: the data sheet gives no voltage; a full range of the highest test needs 6 V, so more
# than this is not expected. Assumed.
_OPEN_LEADS_V = 12.0
# Questionable data register: readings were overwritten before they were read; a sample took longer
# than the sample timer, so that its time is not sure (386).
_LOST, _MISTIMED = 16384, 4
_LONGEST_PAUSE_S = 0.1


@dataclass(frozen=True)
class Meter:
    """One measurement as the meter is told to make it.

    Attributes:
        name: what ``CONFigure`` calls the function.
        head: what its settings begin with.
        readings: how many.
        step_s: least time from one to the next.
        interval_s: time from one to the next by a timer; 0 is as quick as it goes.
        nplc: integration time in periods of the mains.
        delay_s: trigger delay; None for the meter's own.
        auto_zero: whether a zero belongs to each reading; None where it always does.
        range: fixed range; None for automatic.
        more: further settings.
    """

    name: str
    head: str
    readings: int
    step_s: float
    interval_s: float = 0.0
    nplc: float = 1.0
    delay_s: float | None = None
    auto_zero: bool | None = True
    range: float | None = None
    more: tuple[str, ...] = field(default=())


class VoltageBurst(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``voltage_burst``."""

    readings: Annotated[int, quantity("", "How many readings", ge=1, le=50_000)] = 1_000
    range_v: Annotated[float, quantity("V", "Fixed range", gt=0, le=1000)] = 10.0
    interval_s: Annotated[
        float,
        quantity("s", "From the start of one to the next, by the meter's timer", ge=20e-6, le=3600),
    ] = 1e-3
    nplc: Annotated[
        float, quantity("", "Integration time in periods of the mains", ge=0.001, le=100)
    ] = 0.001
    delay_s: Annotated[
        float, quantity("s", "From the trigger to the first reading", ge=0, le=3600)
    ] = 0.0


class KeysightTruevolt(ScpiDriver):
    """Multimeters 34460A, 34461A, 34465A, 34470A."""

    # What a meter does to the device: its test current, or its shunt across it. A voltmeter is off.
    output_query = ":FUNC?"
    binary_setup = (":FORM REAL,64", ":FORM:BORD SWAP")
    binary_dtype = "<f8"
    _model = ""

    @method("dc_voltage")
    def dc_voltage(self, p: DCVoltage) -> Iterator[dict[str, Any]]:
        """Read a DC voltage by the meter's own trigger, without a gap."""
        meter = _meter_of(p, "VOLT:DC", "VOLT", p.range_v)
        high = f":VOLT:IMP:AUTO {_word(p.high_impedance)}"
        meter = self._set_up(meter, high)
        for values, seconds in self._read(meter, p.segments(self._piece(), 0.25)):
            yield {
                "voltage_v": _finite(values),
                "time_s": seconds,
                "overload": ~np.isfinite(values),
            }
        self._finish()

    @method("dc_current")
    def dc_current(self, p: DCCurrent) -> Iterator[dict[str, Any]]:
        """Read a DC current; above 3 A through the 10 A terminal."""
        meter = _meter_of(p, "CURR:DC", "CURR", p.range_a)
        terminals = (
            () if self._identified() == "34460A" else (f":CURR:TERM {_terminal(p.range_a)}",)
        )
        # A shunt that is left connected is a short circuit across the next device.
        with self.output(on=":CONF:CURR:DC", off=":CONF:VOLT:DC"):
            meter = self._set_up(meter, *terminals)
            for values, seconds in self._read(meter, p.segments(self._piece(), 0.25)):
                yield {
                    "current_a": _finite(values),
                    "time_s": seconds,
                    "overload": ~np.isfinite(values),
                }
        self._finish()

    @method("resistance")
    def resistance(self, p: Resistance) -> Iterator[dict[str, Any]]:
        """Read a resistance with two or four leads; afterwards no test current flows."""
        self._check_resistance(p)
        name = "FRES" if p.four_wire else "RES"
        meter = _meter_of(p, name, name, p.range_ohm, always_zero=p.four_wire)
        more = [f":{name}:OCOM {_word(p.offset_compensation)}"]
        if self._identified() not in _DIGITIZERS:
            more = []
        with self.output(on=f":CONF:{name}", off=":CONF:VOLT:DC"):
            meter = self._set_up(meter, *more)
            for values, seconds in self._read(meter, p.segments(self._piece(), 0.25)):
                yield {
                    "resistance_ohm": values,
                    "time_s": seconds,
                    "overload": ~np.isfinite(values),
                }
        self._finish()

    @method(
        "voltage_burst",
        VoltageBurst,
        columns=(
            Column("voltage_v", "V", help="measured voltage"),
            Column("time_s", "s", help="start of the reading by the meter's own timer"),
            Column("overload", "", "bool", help="whether it was beyond the range"),
        ),
        title="Voltage burst",
    )
    def voltage_burst(self, p: VoltageBurst) -> Iterator[dict[str, Any]]:
        """Digitize a voltage into the meter's memory, then read the memory out."""
        if self._identified() not in _DIGITIZERS:
            raise _refused("voltage_burst", "interval_s", f"{self._model} has no sample timer")
        meter = Meter(
            "VOLT:DC",
            "VOLT",
            p.readings,
            p.interval_s,
            interval_s=p.interval_s,
            nplc=p.nplc,
            delay_s=p.delay_s,
            auto_zero=False,
            range=p.range_v,
        )
        self._set_up(meter)
        self._check_timer(p.interval_s)
        self.write(f":SAMP:COUN {p.readings}", ":INIT")
        self._wait_for(p.readings, p.interval_s)
        done = 0
        while done < p.readings:
            count = min(5_000, p.readings - done)
            (values,) = self.query_numbers(f":DATA:REM? {count}", columns=1, rows=count)
            yield {
                "voltage_v": _finite(values),
                "time_s": p.interval_s * np.arange(done, done + count),
                "overload": ~np.isfinite(values),
            }
            done += count
        self._finish()

    # -- what they are made of --------------------------------------------------------------------

    def _set_up(self, meter: Meter, *more: str) -> Meter:
        """Set everything the readings depend on; nothing is taken over from before.

        Returns:
            The measurement as it will be: as quick as it goes where no reading fits its interval.
        """
        steps = _QUICK_NPLC if self._identified() in _DIGITIZERS else _PLAIN_NPLC
        nplc = next((each for each in steps if meter.nplc <= each * 1.000001), steps[-1])
        head = f":{meter.head}"
        ranged = "RANG:AUTO ON" if meter.range is None else f"RANG {meter.range!r}"
        delay = "DEL:AUTO ON" if meter.delay_s is None else f"DEL {meter.delay_s!r}"
        commands = [
            # CONFigure is idle, one immediate trigger, one sample, and defaults of the function.
            *(":ABOR", "*CLS", f":CONF:{meter.name}", *more),
            *(f"{head}:NPLC {nplc!r}", f":TRIG:{delay}"),
        ]
        # The terminals for 10 A have one range, which this command does not know.
        if meter.name != "CURR:DC" or _terminal(meter.range) == 3:
            commands.append(f"{head}:{ranged}")
        if meter.auto_zero is not None:
            commands.append(f"{head}:ZERO:AUTO {_word(meter.auto_zero)}")
        self.write(*commands)
        if self._by_timer(meter):
            if meter.interval_s >= self._least_interval_s() * 0.999999:
                self.write(":SAMP:SOUR TIM", f":SAMP:TIM {meter.interval_s!r}")
            else:
                meter = replace(meter, interval_s=0.0)
        # The register tells of lost readings later: what it latched before is not of this run.
        self.query(":STAT:QUES?")
        self.check_errors()
        return meter

    def _by_timer(self, meter: Meter) -> bool:
        """Whether the meter's sample timer keeps the interval."""
        has_timer = self._identified() in _DIGITIZERS
        return has_timer and _SHORTEST_TIMER_S <= meter.interval_s <= _LONGEST_TIMER_S

    def _least_interval_s(self) -> float:
        """The shortest that the sample timer keeps with what is set now."""
        return float(self.query(":SAMP:TIM? MIN"))

    def _check_timer(self, interval_s: float) -> None:
        """Refuse an interval that the integration does not fit into."""
        least_s = self._least_interval_s()
        if interval_s < least_s * 0.999999:
            text = f"{interval_s:g} s is below {least_s:g} s, the least with this integration time"
            raise _refused("voltage_burst", "interval_s", text)

    def _read(
        self, meter: Meter, pieces: Iterable[int]
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Readings and their times, piece after piece."""
        if meter.interval_s and not self._by_timer(meter):
            yield from self._paced(meter)
            return
        began_s, last_s = time.monotonic(), 0.0
        done, started = 0, 0
        for piece in pieces:
            left = piece
            while left:
                if done == started:
                    # Without a timer nothing ties the runs together, and none outgrows the memory.
                    most = _MOST_SAMPLES if self._by_timer(meter) else self._memory()
                    size = min(meter.readings - done, most)
                    started += size
                    self.write(f":SAMP:COUN {size}", ":INIT")
                count = min(left, started - done)
                self._wait_for(count, meter.step_s)
                now_s = time.monotonic() - began_s
                (values,) = self.query_numbers(f":DATA:REM? {count}", columns=1, rows=count)
                if self._by_timer(meter):
                    seconds = np.asarray(meter.interval_s * np.arange(done, done + count))
                else:
                    # The meter stamps no reading: they came evenly since the last look.
                    since_s = now_s - last_s
                    seconds = np.array([last_s + since_s * k / count for k in range(1, count + 1)])
                last_s, done, left = now_s, done + count, left - count
                yield values, seconds

    def _paced(self, meter: Meter) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """One reading at a time, each when it is due by the host's clock, so nothing drifts."""
        self.write(":SAMP:COUN 1")
        began_s = time.monotonic()
        for index in range(meter.readings):
            self.sleep(max(0.0, began_s + index * meter.interval_s - time.monotonic()))
            at_s = time.monotonic() - began_s
            self.write(":INIT")
            self._wait_for(1, (meter.delay_s or 0.0) + 2 * meter.nplc * _MAINS_S)
            (values,) = self.query_numbers(":DATA:REM? 1", columns=1, rows=1)
            yield values, np.array([at_s])

    def _wait_for(self, count: int, step_s: float) -> None:
        """Ask how many readings there are until there are enough.

        Raises:
            LinkTimeoutError: they did not come in thrice their time and the link's deadline.
        """
        deadline_s = time.monotonic() + 3 * count * step_s + self.link.timeout_s
        while (missing := count - int(float(self.query(":DATA:POIN?")))) > 0:
            if time.monotonic() > deadline_s:
                self._check_memory()
                raise LinkTimeoutError(
                    f"{self.resource_name} has {count - missing} of {count} readings",
                    resource=self.resource_name,
                    command=":DATA:POIN?",
                )
            self.sleep(min(max(0.5 * missing * step_s, 1e-3), _LONGEST_PAUSE_S))

    def _finish(self) -> None:
        """See that no reading was lost and no command refused."""
        self._check_memory()
        self.check_errors()

    def _check_memory(self) -> None:
        """See that no reading was lost, and none at another time than it is said to be of."""
        bits = int(float(self.query(":STAT:QUES?")))
        if bits & _MISTIMED:
            raise InstrumentError(
                f"{self.resource_name} took longer for a reading than the interval; use a longer"
                " interval, a shorter integration time or a fixed range",
                resource=self.resource_name,
            )
        if bits & _LOST:
            raise InstrumentError(
                f"{self.resource_name} overwrote readings before they were read out; use a longer"
                " integration time or interval",
                resource=self.resource_name,
            )

    def _memory(self) -> int:
        return _MEMORY.get(self._identified(), 1_000)

    def _piece(self) -> int:
        """Most readings that are read out at once: half of what the memory holds."""
        return min(self._memory() // 2, 5_000)

    def _identified(self) -> str:
        if not self._model:
            self._model = self.get_identity()["model"]
        return self._model

    def _check_resistance(self, p: Resistance) -> None:
        """Refuse what this meter cannot keep."""
        if p.offset_compensation and self._identified() not in _DIGITIZERS:
            text = f"{self._model} has no offset compensation"
            raise _refused("resistance", "offset_compensation", text)
        # An automatic range may come to rest on the lowest, which drives most.
        range_ohm = p.range_ohm or 0.0
        current_a = next((amp for top, amp in _TEST_CURRENT_A if range_ohm <= top * 1.000001), 5e-7)
        if p.max_current_a is not None and current_a > p.max_current_a * 1.000001:
            which = "an automatic range" if p.range_ohm is None else f"{p.range_ohm:g} ohm"
            text = f"{which} drives {current_a:g} A; a higher fixed range_ohm drives less"
            raise _refused("resistance", "max_current_a", text)
        if p.max_voltage_v is not None and p.max_voltage_v < _OPEN_LEADS_V:
            text = f"open leads may show {_OPEN_LEADS_V:g} V, which no setting lowers"
            raise _refused("resistance", "max_voltage_v", text)

    @staticmethod
    def _is_on(answer: str) -> bool:
        """Whether it is anything but a voltmeter."""
        return answer.strip().strip('"') not in {"VOLT", "VOLT:DC"}


def _meter_of(
    p: DCVoltage | DCCurrent | Resistance,
    name: str,
    head: str,
    full: float | None,
    *,
    always_zero: bool = False,
) -> Meter:
    return Meter(
        name,
        head,
        p.readings,
        p.step_s,
        interval_s=p.interval_s,
        nplc=p.nplc,
        delay_s=p.delay_s,
        auto_zero=None if always_zero else p.auto_zero,
        range=full,
    )


def _refused(method_name: str, parameter: str, text: str) -> ParameterError:
    return ParameterError([Diagnostic("P004", text, path=f"/{parameter}")], method=method_name)


def _terminal(range_a: float | None) -> int:
    return 10 if range_a is not None and range_a > 3.0 * 1.000001 else 3


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
