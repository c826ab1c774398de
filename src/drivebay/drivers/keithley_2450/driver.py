"""Keithley 2450 family, SCPI command set: sweeps the instrument runs itself, read while they run.

Promises: the limit is set, and read back after all else, before the output goes on; each level is
sourced once, in order; the output is off at the end. Never talks to an instrument left in another
command set. Pages are those of the 2450 Reference Manual, 2450-901-01 Rev. B, unless another manual
is named. Proven on the simulator only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import (
    DCCurrent,
    DCVoltage,
    InstrumentError,
    IVMonitor,
    IVSweep,
    Link,
    Resistance,
    Spot,
    SteppedSource,
    Steps,
    VISweep,
    method,
)

LIMITED = 32  # source status (8-29): the source was held by the limit
_UNITS: Final = {"VOLT": "V", "CURR": "A"}
_MEASURED_IN: Final = {"VOLT": "VOLT", "CURR": "AMP"}
_LIMITS: Final = {"VOLT": ":SOUR:VOLT:ILIM", "CURR": ":SOUR:CURR:VLIM"}
_MOST_LEVELS = 2500  # of one list (6-79)
_ELEMENTS = '"defbuffer1",SOUR,READ,REL,SOURSTAT'
# As a meter: leads that hang free drift to the voltage limit, so it is no higher than it must be.
_METER_V, _METER_A, _OHMS_V, _OHMS_A = 21.0, 0.105, 2.1, 1e-3
_NO_CURRENT_A = 1e-8
_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.25
# The instrument looks at the state of its trigger model every 100 ms (6-166): what it says may be
# that old, and a sweep that has just begun may still be called idle.
_STATE_IS_LATE_S = 0.3
# With an open interlock an output beyond this is not switched on (2461-901-01, 6-49).
_WITHOUT_INTERLOCK_V = 21.0

Columns = tuple[NDArray[np.float64], ...]


class Source(NamedTuple):
    """What is sourced: ``VOLT`` or ``CURR``, in V or A, and how it is measured."""

    function: str
    top: float
    compliance: float
    range: float | None = None
    sense_range: float | None = None
    delay_s: float | None = 0.0
    nplc: float = 1.0
    four_wire: bool = False
    auto_zero: bool = True

    @property
    def sense(self) -> str:
        """What is measured, and limited, beside what is sourced."""
        return "CURR" if self.function == "VOLT" else "VOLT"

    @property
    def slowest_s(self) -> float:
        """Longest that one reading may well take: readback, auto-zero and ranging included."""
        return (self.delay_s or 0.0) + 6 * self.nplc * 0.02 + 0.1


class Keithley2450(SteppedSource):
    """Source-measure units 2450, 2460, 2461 (DC) and 2470 with the SCPI command set."""

    output_query = ":OUTP?"
    ascii_setup = (":FORM ASC", ":FORM:ASC:PREC 8")
    _stepped: Source | None = None

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep) -> Iterator[dict[str, Any]]:
        """Run the levels as list sweeps of up to 2500, and read while they run."""
        source = Source(
            function="VOLT",
            top=p.max_abs_v,
            compliance=p.compliance_a,
            range=p.source_range_v,
            sense_range=p.sense_range_a,
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        yield from self._swept(source, p.levels)

    @method("vi_sweep")
    def vi_sweep(self, p: VISweep) -> Iterator[dict[str, Any]]:
        """Run the levels as list sweeps of up to 2500, and read while they run."""
        source = Source(
            function="CURR",
            top=p.max_abs_a,
            compliance=p.compliance_v,
            range=p.source_range_a,
            sense_range=p.sense_range_v,
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        yield from self._swept(source, p.levels)

    @method("spot")
    def spot(self, p: Spot) -> Iterator[dict[str, Any]]:
        """Run a list of one level."""
        yield from self._swept(_source_of(p, p.delay_s), np.array([p.level]))

    @method("iv_monitor")
    def iv_monitor(self, p: IVMonitor) -> Iterator[dict[str, Any]]:
        """Hold the level; each reading is asked for when it is due."""
        groups = p.segments(at_most=100, seconds=0.25)
        source = _source_of(p, 0.0)
        for columns in self._held(source, p.level, groups, p.interval_s, settle_s=p.delay_s):
            yield _decoded(source, columns)

    @method("dc_voltage")
    def dc_voltage(self, p: DCVoltage) -> Iterator[dict[str, Any]]:
        """Source 0 A, and read the voltage; the limit is 5 % above the range, or 21 V."""
        limit_v = _METER_V if p.range_v is None else 1.05 * p.range_v
        source = Source(
            function="CURR",
            top=0.0,
            compliance=self._at_most("voltage_v", limit_v),
            sense_range=p.range_v,
            delay_s=p.delay_s,
            nplc=p.nplc,
            auto_zero=p.auto_zero,
        )
        for columns in self._held(source, 0.0, p.segments(at_most=100, seconds=0.25), p.interval_s):
            _, volt, seconds, word = columns
            yield {"voltage_v": volt, "time_s": seconds, "overload": _limited(word, volt)}

    @method("dc_current")
    def dc_current(self, p: DCCurrent) -> Iterator[dict[str, Any]]:
        """Source 0 V, and read the current; the limit is 5 % above the range, or 105 mA."""
        limit_a = _METER_A if p.range_a is None else 1.05 * p.range_a
        source = Source(
            function="VOLT",
            top=0.0,
            compliance=self._at_most("current_a", limit_a),
            sense_range=p.range_a,
            delay_s=p.delay_s,
            nplc=p.nplc,
            auto_zero=p.auto_zero,
        )
        for columns in self._held(source, 0.0, p.segments(at_most=100, seconds=0.25), p.interval_s):
            _, amp, seconds, word = columns
            # A source counts what flows out of it, a meter what flows in.
            yield {"current_a": 0.0 - amp, "time_s": seconds, "overload": _limited(word, amp)}

    @method("resistance")
    def resistance(self, p: Resistance) -> Iterator[dict[str, Any]]:
        """Source a current, measure it and the voltage, and divide."""
        top_a = self._at_most("current_a", p.max_current_a or _OHMS_A)
        source = Source(
            function="CURR",
            top=top_a,
            compliance=self._at_most("voltage_v", p.max_voltage_v or _OHMS_V),
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=p.four_wire,
            auto_zero=p.auto_zero,
        )
        self._set_up(source)
        with self._on():
            level_a = self._test_current(source, p.range_ohm)
            began_s, done = time.monotonic(), 0
            for count in p.segments(at_most=1 if p.interval_s else 20, seconds=0.25):
                self._until(began_s + done * p.interval_s)
                rows = [self._ohms(source, level_a, p.offset_compensation) for _ in range(count)]
                done += count
                ohm, seconds, overload = zip(*rows, strict=True)
                yield {
                    "resistance_ohm": np.array(ohm),
                    "time_s": np.array(seconds),
                    "overload": np.array(overload),
                }
        self.check_errors()

    # -- paced from outside ----------------------------------------------------------------------

    @contextmanager
    def stepping(self, p: Steps) -> Iterator[None]:
        """Source a voltage that others step."""
        source = Source(
            function="VOLT",
            top=p.top_v,
            compliance=p.compliance_a,
            sense_range=p.sense_range_a,
            nplc=p.nplc,
            four_wire=p.four_wire,
        )
        self._stepped = source
        self._set_up(source)
        with self._on():
            yield
        self.check_errors()

    def step_to(self, level_v: float) -> None:
        """Go to a level and do not wait for it to settle."""
        self.write(f":SOUR:VOLT {level_v!r}")

    def step_read(self) -> dict[str, Any]:
        """Measure once."""
        source = self._stepped or Source("VOLT", 0.0, 0.0)
        columns = tuple(self._reading(source).reshape(-1, 1))
        decoded = _decoded(source, columns)
        del decoded["time_s"]
        return {name: column[0].item() for name, column in decoded.items()}

    def _reads_binary(self, link: Link) -> bool:
        """Never: a binary answer holds no source status (":TRACe:DATA?", Details)."""
        return False

    # -- what they are made of --------------------------------------------------------------------

    def _on(self) -> Any:
        return self.output(on=":OUTP ON", off=":OUTP OFF")

    def _swept(self, source: Source, levels: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
        """Run the levels, and hand out what is in the buffer while the instrument goes on."""
        self._set_up(source)
        function, shift_s, last_s = source.function, 0.0, 0.0
        began_s = time.monotonic()
        with self._on():
            for first in range(0, len(levels), _MOST_LEVELS):
                part = levels[first : first + _MOST_LEVELS]
                if first:
                    # The buffer's clock starts again with each list: the host's says where.
                    shift_s = max(time.monotonic() - began_s, last_s)
                lists = self.list_commands(f":SOUR:LIST:{function}", part)
                # Fail abort off: a level at the limit is a point like others.
                setup = f":SOUR:SWE:{function}:LIST 1,0,1,OFF"
                self.write(*lists, setup, ':TRAC:CLE "defbuffer1"', ":INIT")
                for columns in self._running(source, len(part)):
                    chunk = _decoded(source, columns)
                    chunk["time_s"] = chunk["time_s"] + shift_s
                    last_s = float(chunk["time_s"][-1])
                    yield chunk
        self.check_errors()

    def _running(self, source: Source, total: int) -> Iterator[Columns]:
        """Readings of a running sweep, as they come; its state says when none will."""
        done, pause_s, quiet_s = 0, _PAUSE_S, 0.0
        while done < total:
            state, _, count = self.query(":TRIG:STAT?;:TRAC:ACT?").rpartition(";")
            ready = int(float(count))
            if ready > done:
                asked = f":TRAC:DATA? {done + 1},{ready},{_ELEMENTS}"
                yield tuple(self.query_numbers(asked, columns=4, rows=ready - done))
                done, pause_s, quiet_s = ready, _PAUSE_S, 0.0
                continue
            running = state.upper().startswith(("RUNNING", "WAITING", "BUILDING"))
            patience_s = 2 * source.slowest_s + self._timeout_s if running else _STATE_IS_LATE_S
            if quiet_s > patience_s:
                self.check_errors()
                raise InstrumentError(
                    f"{self.resource_name} gave {done} of {total} readings and is {state}",
                    resource=self.resource_name,
                )
            self.sleep(pause_s)
            quiet_s += pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _held(
        self,
        source: Source,
        level: float,
        groups: Iterable[int],
        interval_s: float,
        *,
        settle_s: float = 0.0,
    ) -> Iterator[Columns]:
        """Hold a level; source, reading, time and source status of each group."""
        self._set_up(source)
        with self._on():
            if level:
                self.write(f":SOUR:{source.function} {level!r}")
            self.sleep(settle_s)
            began_s, done = time.monotonic(), 0
            for count in groups:
                rows = []
                for _ in range(count):
                    self._until(began_s + done * interval_s)
                    rows.append(self._reading(source))
                    done += 1
                yield tuple(np.array(rows).T)
        self.check_errors()

    def _until(self, due_s: float) -> None:
        """Wait until a reading is due by the host's clock, so that nothing drifts."""
        left_s = due_s - time.monotonic()
        if left_s > 0:
            self.sleep(left_s)

    def _reading(self, source: Source) -> NDArray[np.float64]:
        numbers = self.query_numbers(
            f":READ? {_ELEMENTS}", columns=4, rows=1, expected_s=source.slowest_s
        )
        return numbers[:, 0]

    def _test_current(self, source: Source, range_ohm: float | None) -> float:
        """A current that makes about a volt, found with a small one."""
        if range_ohm is None:
            self.write(f":SOUR:CURR {min(1e-6, source.top)!r}")
            amp, volt, _, _ = self._reading(source)
            range_ohm = float(abs(volt) / max(abs(amp), _NO_CURRENT_A))
        level_a = min(max(1.0 / max(range_ohm, 1e-6), 1e-7), source.top)
        self.write(f":SOUR:CURR {level_a!r}")
        return level_a

    def _ohms(self, source: Source, level_a: float, offset: bool) -> tuple[float, float, bool]:
        """One resistance: both quantities are measured, so it holds at the voltage limit too."""
        amp, volt, seconds, word = self._reading(source)
        if offset:
            self.write(":SOUR:CURR 0")
            none_a, none_v, seconds, _ = self._reading(source)
            self.write(f":SOUR:CURR {level_a!r}")
            amp, volt = amp - none_a, volt - none_v
        open_ = bool(int(word) & LIMITED) and abs(amp) < _NO_CURRENT_A
        overload = open_ or not np.isfinite(volt) or not np.isfinite(amp) or amp == 0
        return (np.inf if overload else float(volt / amp)), float(seconds), overload

    def _at_most(self, quantity: str, wanted: float) -> float:
        """A limit, no higher than the model and the bench allow."""
        span = (self.ranges or {}).get(quantity)
        return wanted if span is None else min(wanted, max(abs(span[0]), abs(span[1])))

    def _set_up(self, source: Source) -> None:
        """Set all it depends on; see that language, interlock and limit are as they must be."""
        language = self.query("*LANG?").strip()
        if language.upper() != "SCPI":
            raise InstrumentError(
                f"{self.resource_name} is in command set {language}, not SCPI: send *LANG SCPI and"
                " switch it off and on, or choose it under Menu > System > Settings",
                resource=self.resource_name,
            )
        volts = source.top if source.function == "VOLT" else source.compliance
        high = volts > _WITHOUT_INTERLOCK_V
        if high and self.query(":OUTP:INT:TRIP?").strip() == "0":
            raise InstrumentError(
                f"{self.resource_name} has its interlock open, and {volts:g} V are above the"
                f" {_WITHOUT_INTERLOCK_V:g} V it then allows: close the interlock, or ask for less",
                resource=self.resource_name,
            )
        self.write("*CLS", *self._setup_commands(source))
        self.check_errors()
        # Last of all: a range that does not go with the limit makes the instrument change the
        # limit, with a warning that is in no error queue (6-71, 2-100).
        found = float(self.query(f"{_LIMITS[source.function]}?"))
        if not abs(found - source.compliance) <= 1e-3 * source.compliance:
            unit = _UNITS[source.sense]
            raise InstrumentError(
                f"{self.resource_name} has a limit of {found:g} {unit} after"
                f" {source.compliance:g} {unit} was set: it changes a limit that does not go with"
                " the source range, or is below 0.1 % (2470: 10.6 %) of a fixed measure range",
                resource=self.resource_name,
            )

    def _setup_commands(self, source: Source) -> list[str]:
        """Nothing is taken over from before; the output comes on at 0."""
        function, sense = source.function, source.sense
        terminals = self.config.get("terminals")
        off_mode = self.config.get("output_off")
        fixed = source.range or source.top
        delay = "DEL:AUTO ON" if source.delay_s is None else f"DEL {source.delay_s!r}"
        return [
            *([f":ROUT:TERM {terminals}"] if terminals else []),
            *([f":OUTP:{function}:SMOD {off_mode}"] if off_mode else []),
            *(":ABOR", ":OUTP OFF", f":SOUR:FUNC {function}", f':SENS:FUNC "{sense}"'),
            *(f":SOUR:{function}:RANG:AUTO ON", f":SOUR:{function} 0"),
            # Before the limit: a fixed measure range of before would raise it.
            f":SENS:{sense}:RANG:AUTO ON",
            f"{_LIMITS[function]} {source.compliance!r}",
            # One range for a whole sweep: it must not change within.
            *([f":SOUR:{function}:RANG {fixed!r}"] if fixed else []),
            *([] if source.sense_range is None else [f":SENS:{sense}:RANG {source.sense_range!r}"]),
            *(f":SENS:{sense}:NPLC {source.nplc!r}", f":SENS:{sense}:AVER OFF"),
            *(f":SENS:{sense}:REL:STAT OFF", f":SENS:{sense}:UNIT {_MEASURED_IN[sense]}"),
            *(f":CALC:{sense}:MATH:STAT OFF", f":SENS:{sense}:AZER {_word(source.auto_zero)}"),
            f":SENS:{sense}:RSEN {_word(source.four_wire)}",
            # Readback: the source value of a point is measured with it, not what was asked for.
            *(f":SOUR:{function}:READ:BACK ON", f":SOUR:{function}:{delay}"),
            *(":SENS:COUN 1", ':TRAC:CLE "defbuffer1"'),
        ]


def _source_of(p: Spot | IVMonitor, delay_s: float) -> Source:
    return Source(
        function="VOLT" if p.sources_voltage else "CURR",
        top=abs(p.level),
        compliance=p.compliance,
        range=p.source_range,
        sense_range=p.sense_range,
        delay_s=delay_s,
        nplc=p.nplc,
        four_wire=p.four_wire,
    )


def _word(on: bool) -> str:
    return "ON" if on else "OFF"


def _limited(word: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a reading of a meter is none: held by the limit, or out of range."""
    return ((word.astype(np.int64) & LIMITED) > 0) | ~np.isfinite(value)


def _decoded(source: Source, columns: Columns) -> dict[str, Any]:
    sourced, read, seconds, word = columns
    volt, amp = (sourced, read) if source.function == "VOLT" else (read, sourced)
    return {
        "voltage_v": np.where(np.isfinite(volt), volt, np.nan),
        "current_a": np.where(np.isfinite(amp), amp, np.nan),
        "time_s": seconds,
        "in_compliance": (word.astype(np.int64) & LIMITED) > 0,
    }
