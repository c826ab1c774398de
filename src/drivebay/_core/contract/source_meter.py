"""``SourceMeter``: what all source-measure units do alike; a driver says what its own is told.

Promises: everything is set before the output goes on, the limit of the other quantity is read back,
and the output comes on at 0 and is off at the end; each level is sourced once, in order, with the
output held on in between; while the instrument runs a piece, the one before is handed out. Knows no
command of any instrument: those are what the hooks of a driver give.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from math import isfinite
from typing import Any, ClassVar

from drivebay._core.contract.declared import method
from drivebay._core.contract.readout import FloatArray
from drivebay._core.contract.sourcing import Asked, Chunk, Readings, Run, Source, Timeline
from drivebay._core.contract.stepping import SteppedSource, Steps
from drivebay._core.errors import InstrumentError, PluginStateError
from drivebay._core.links.passing import PASSING
from drivebay._core.methods import (
    DCCurrent,
    DCVoltage,
    IVMonitor,
    IVSweep,
    Resistance,
    Spot,
    VISweep,
)
from drivebay._core.methods.levels import SLOW_MAINS_HZ

_PIECE_S = 0.25
_RANGING_S = 0.1  # a few changes of range
# A piece that is due sooner is asked for before the one before it is handed out.
_SOON_S = 0.05
# The setting has fewer digits than the answer, never fewer than these.
_LIMIT_DIGITS = 1e-3
_TEST_V = 1.0
_LEAST_OHM = 1e-6


class SourceMeter(SteppedSource):
    """A source-measure unit: seven standard methods and stepping from six hooks.

    The hooks send nothing, they say what is to be sent: :meth:`setup_commands`,
    :meth:`limit_query`, :meth:`level_command`, :meth:`list_run`, :meth:`timed_run` and
    :meth:`decoded`. Whatever an instrument does in another way is overridden, from one command
    (:meth:`switched_on`, :meth:`range_command`, :meth:`set_up`, :meth:`single_reading`,
    :meth:`begin`) over a whole pattern (:meth:`swept`, :meth:`held`, :meth:`repeated`) to a method;
    what it cannot do is named in ``leaves_out``.

    Attributes:
        columns: numbers that come with one reading.
        most_levels: levels of one list.
        list_s: about how long a list may run; endless where an instrument is read meanwhile.
        level_overhead_s: what a level takes beside delay and integration; it sizes lists.
        most_readings: readings of one group on time.
        most_resistances: resistances of one list; with ``offset_compensation`` each is two levels.
        conversions: integrations that one reading may need, reference readings included; only
            deadlines come of it.
        meter_v: as a voltmeter without a range, its limit. Leads that hang free drift to it.
        meter_a: the same for a current.
        headroom: as a meter with a range, the limit in terms of that range.
        ohms_v: voltage limit of a resistance that names none.
        ohms_a: largest current of a resistance that names none.
        probe_a: the current that finds out what current a resistance takes.
        least_a: least current for a resistance.
        no_current_a: what is left of a current once there is no device to carry it.
        limit_remark: why the instrument may have another limit than it was told; ends the error.
    """

    columns: ClassVar[int] = 4
    most_levels: ClassVar[int] = 100
    list_s: ClassVar[float] = _PIECE_S
    level_overhead_s: ClassVar[float] = 0.0
    most_readings: ClassVar[int] = 100
    most_resistances: ClassVar[int] = 50
    conversions: ClassVar[int] = 6
    meter_v: ClassVar[float] = 21.0
    meter_a: ClassVar[float] = 0.105
    headroom: ClassVar[float] = 1.05
    ohms_v: ClassVar[float] = 2.1
    ohms_a: ClassVar[float] = 1e-3
    probe_a: ClassVar[float] = 1e-6
    least_a: ClassVar[float] = 1e-6
    no_current_a: ClassVar[float] = 1e-8
    limit_remark: ClassVar[str] = ""
    _stepped: Source | None = None

    @property
    def channel(self) -> str:
        """Which output the methods use, as the driver names it; empty where there is one."""
        return ""

    # -- what is the instrument's own ------------------------------------------------------------

    @abstractmethod
    def setup_commands(self, source: Source, *, listed: bool) -> Sequence[str]:
        """Everything the readings depend on, so that nothing is taken over from before.

        The output must come on at 0, with the limit set.

        Args:
            source: what is sourced and how it is measured.
            listed: whether lists of levels will be run, or one level held.
        """

    @abstractmethod
    def limit_query(self, source: Source) -> str:
        """Asks for the limit of what is not sourced.

        What else is to be known before the output goes on can be asked in the same message, after
        it: :meth:`set_up` returns the answers.
        """

    @abstractmethod
    def level_command(self, source: Source, level: float) -> str:
        """Goes to a level at once."""

    @abstractmethod
    def list_run(self, source: Source, levels: FloatArray) -> Sequence[str]:
        """Sources some levels, one reading at each; the last message asks for them.

        Called for each piece in order, and a piece ahead: while the one before still runs.
        """

    @abstractmethod
    def timed_run(self, source: Source, rows: int, interval_s: float) -> Sequence[str]:
        """Takes readings at the level that is held, at intervals; the last message asks for them.

        Called for each group in order, a group ahead. An interval that the instrument cannot keep
        is a matter of its own; each group is begun when it is due.
        """

    @abstractmethod
    def decoded(self, source: Source, numbers: FloatArray) -> Readings:
        """What the numbers of an answer mean; a row of them is one column of readings."""

    def switched_on(self, source: Source) -> AbstractContextManager[None]:
        """The output on, and off afterwards, whatever happened."""
        return self.output(on=":OUTP ON", off=":OUTP OFF")

    def range_command(self, source: Source, top: float) -> str:
        """Sets the source range for levels up to ``top``, the output on; empty to leave it."""
        return f":SOUR:{source.function}:RANG {top!r}"

    def set_up(self, source: Source, *, listed: bool) -> Sequence[str]:
        """Set everything the measurement depends on, and see that the limit is as it was told.

        Returns:
            What :meth:`limit_query` asked beside the limit.

        Raises:
            InstrumentError: a command was refused, or the instrument limits elsewhere.
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed.
        """
        self.write("*CLS", *self.setup_commands(source, listed=listed))
        self.check_errors()
        limit, *others = self.query(self.limit_query(source)).split(";")
        found, wanted = float(limit), source.compliance
        if not abs(found - wanted) <= _LIMIT_DIGITS * wanted:
            unit = "A" if source.function == "VOLT" else "V"
            raise InstrumentError(
                f"{self.resource_name} has compliance {found:g} {unit} after {wanted:g} {unit}"
                f" was set{self.limit_remark}",
                resource=self.resource_name,
            )
        return others

    def begin(self, source: Source, run: Run) -> Asked:
        """Begin a run and ask for its readings.

        What is asked is waited for before the next run is begun, and handed out after that.
        """
        *after, question = run.messages
        expected_s = run.rows * max(self.slowest_s(source), run.step_s)
        return self.ask_numbers(
            question, self.columns, run.rows, expected_s=expected_s, after=after
        )

    def single_reading(self, source: Source) -> FloatArray:
        """The numbers of one reading at the level that is held, in one exchange."""
        *after, question = self.timed_run(source, 1, 0.0)
        expected_s = self.slowest_s(source)
        return self.query_numbers(question, self.columns, 1, expected_s=expected_s, after=after)

    def slowest_s(self, source: Source) -> float:
        """Longest that one reading may well take, in seconds."""
        conversions_s = self.conversions * source.nplc / SLOW_MAINS_HZ
        return (source.delay_s or 0.0) + conversions_s + _RANGING_S

    # -- the standard methods --------------------------------------------------------------------

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep) -> Iterator[Chunk]:
        """Run the levels as lists of about 0.25 s each."""
        source = self._source(p, "VOLT", p.max_abs_v, p.compliance_a)
        source = source._replace(range=p.source_range_v, sense_range=p.sense_range_a)
        yield from self._sweep(source, p)

    @method("vi_sweep")
    def vi_sweep(self, p: VISweep) -> Iterator[Chunk]:
        """Run the levels as lists of about 0.25 s each."""
        source = self._source(p, "CURR", p.max_abs_a, p.compliance_v)
        source = source._replace(range=p.source_range_a, sense_range=p.sense_range_v)
        yield from self._sweep(source, p)

    @method("spot")
    def spot(self, p: Spot) -> Iterator[Chunk]:
        """Run a list of one level."""
        import numpy as np

        yield from self.swept(self._biased(p), [np.array([p.level])])

    @method("iv_monitor")
    def iv_monitor(self, p: IVMonitor) -> Iterator[Chunk]:
        """Hold the level, and read in groups of about 0.25 s."""
        source = self._biased(p)._replace(delay_s=0.0)
        groups = p.segments(at_most=self.most_readings, seconds=_PIECE_S)
        yield from self.held(source, p.level, groups, p.interval_s, settle_s=p.delay_s)

    @method("dc_voltage")
    def dc_voltage(self, p: DCVoltage) -> Iterator[Chunk]:
        """Source 0 A, and read the voltage; the limit is a little above the range."""
        limit_v = self.meter_v if p.range_v is None else self.headroom * p.range_v
        source = self._source(p, "CURR", 0.0, self.at_most("voltage_v", limit_v))
        yield from self._metered(source._replace(sense_range=p.range_v), p, Readings.volts)

    @method("dc_current")
    def dc_current(self, p: DCCurrent) -> Iterator[Chunk]:
        """Source 0 V, and read the current; the limit is a little above the range."""
        limit_a = self.meter_a if p.range_a is None else self.headroom * p.range_a
        source = self._source(p, "VOLT", 0.0, self.at_most("current_a", limit_a))
        yield from self._metered(source._replace(sense_range=p.range_a), p, Readings.amps)

    @method("resistance")
    def resistance(self, p: Resistance) -> Iterator[Chunk]:
        """Source a current, measure it and the voltage, and divide; no auto ohms."""
        top_a = self.at_most("current_a", p.max_current_a or self.ohms_a)
        limit_v = self.at_most("voltage_v", p.max_voltage_v or self.ohms_v)
        source = self._source(p, "CURR", top_a, limit_v)
        at_most = 1 if p.interval_s else self.most_resistances
        with self.sourcing(source, listed=True):
            level_a = self._test_current(source, p.range_ohm)
            # The zero follows its level, so that what drifts is out of both.
            pattern = [level_a, 0.0] if p.offset_compensation else [level_a]
            groups = p.segments(at_most, _PIECE_S)
            ohms = partial(Readings.ohms, rows=len(pattern), no_current_a=self.no_current_a)
            yield from self.repeated(source, pattern, groups, p.interval_s, as_chunk=ohms)

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
            channel=self.channel,
        )
        with self.sourcing(source, listed=False):
            self._stepped = source
            try:
                yield
            finally:
                self._stepped = None

    def step_to(self, level_v: float) -> None:
        """Go to a level and do not wait for it to settle."""
        self.write(self.level_command(self._is_stepped(), level_v))

    def step_read(self) -> dict[str, Any]:
        """Measure once."""
        source = self._is_stepped()
        found = self.decoded(source, self.single_reading(source)).points()
        return {name: column[0].item() for name, column in found.items() if name != "time_s"}

    def _is_stepped(self) -> Source:
        if self._stepped is None:
            name = type(self).__name__
            raise PluginStateError(f"{name} is not being stepped", plugin=name, status="active")
        return self._stepped

    # -- what they are made of -------------------------------------------------------------------

    @contextmanager
    def sourcing(self, source: Source, *, listed: bool) -> Iterator[None]:
        """Set up, and have the output on; the error queue is read before and afterwards.

        Raises: as :meth:`set_up`, and as :meth:`ScpiDriver.output`.
        """
        self.set_up(source, listed=listed)
        with self.switched_on(source):
            yield
        self.check_errors()

    @contextmanager
    def holding(self, source: Source, level: float, settle_s: float) -> Iterator[None]:
        """Set up, have the output on at one level, and let it settle. Raises: as :meth:`sourcing`.

        Args:
            source: what is sourced and how it is measured.
            level: the level, in volts or amperes; at 0 the output is already.
            settle_s: from the level to the first reading.
        """
        with self.sourcing(source, listed=False):
            if level:
                self.write(self.level_command(source, level))
            self.sleep(settle_s)
            yield

    def swept(self, source: Source, segments: Iterable[FloatArray]) -> Iterator[Chunk]:
        """Source the levels of each segment in a list, with the output on throughout."""
        runs = (self._listed(source, levels) for levels in segments)
        with self.sourcing(source, listed=True):
            yield from self.handed_out(source, runs)

    def held(
        self,
        source: Source,
        level: float,
        groups: Iterable[int],
        interval_s: float,
        *,
        settle_s: float = 0.0,
        as_chunk: Callable[[Readings], Chunk] = Readings.points,
    ) -> Iterator[Chunk]:
        """Hold one level, and take groups of readings at intervals.

        Args:
            source: what is sourced and how it is measured.
            level: the level, in volts or amperes.
            groups: how many readings the instrument takes by itself, piece after piece.
            interval_s: from the start of one reading to the start of the next.
            settle_s: from the level to the first reading.
            as_chunk: which columns are made of the readings.
        """
        runs = (self._timed(source, rows, interval_s) for rows in groups)
        with self.holding(source, level, settle_s):
            yield from self.handed_out(source, runs, interval_s, as_chunk)

    def repeated(
        self,
        source: Source,
        pattern: Sequence[float],
        groups: Iterable[int],
        interval_s: float,
        *,
        as_chunk: Callable[[Readings], Chunk] = Readings.points,
    ) -> Iterator[Chunk]:
        """Go through a few levels again and again, with the output on.

        Args:
            source: what is sourced and how it is measured.
            pattern: the levels, one reading at each.
            groups: how many times the instrument does that by itself, piece after piece.
            interval_s: from the start of one pattern to the start of the next.
            as_chunk: which columns are made of the readings.
        """
        import numpy as np

        pieces = (np.array([*pattern] * times) for times in groups)
        runs = (self._listed(source, levels) for levels in pieces)
        return self.handed_out(source, runs, interval_s / len(pattern), as_chunk)

    def handed_out(
        self,
        source: Source,
        runs: Iterable[Run],
        interval_s: float = 0.0,
        as_chunk: Callable[[Readings], Chunk] = Readings.points,
    ) -> Iterator[Chunk]:
        """Have runs done one after the other; while one is done, the one before is handed out.

        Each begins when it is due, counted from the first one on, so that nothing drifts.

        Args:
            source: what is sourced and how it is measured.
            runs: what to do, in order.
            interval_s: from one reading to the next; 0 for as quick as it goes.
            as_chunk: which columns are made of the readings.
        """
        clock, done = Timeline(), 0
        began_s = PASSING.monotonic()
        asked: Asked | None = None
        for run in runs:
            due_s = began_s + done * interval_s
            if asked is not None:
                asked.wait()
                if due_s - PASSING.monotonic() > _SOON_S:  # nobody waits so long for a reading
                    yield as_chunk(self._readings(source, asked, clock))
                    asked = None
            if interval_s:
                self.sleep(max(0.0, due_s - PASSING.monotonic()))
            before, asked = asked, self.begin(source, run)
            done += run.rows
            if before is not None:
                yield as_chunk(self._readings(source, before, clock))
        if asked is not None:
            yield as_chunk(self._readings(source, asked, clock))

    def at_most(self, quantity: str, wanted: float) -> float:
        """A limit, no higher than the model and the bench allow.

        Args:
            quantity: key of the ranges, such as ``voltage_v``.
            wanted: the limit without them.
        """
        span = (self.ranges or {}).get(quantity)
        return wanted if span is None else min(wanted, max(abs(span[0]), abs(span[1])))

    # -- inside ----------------------------------------------------------------------------------

    def _source(self, p: Any, function: str, top: float, compliance: float) -> Source:
        return Source(
            function=function,
            top=top,
            compliance=compliance,
            delay_s=p.delay_s,
            nplc=p.nplc,
            four_wire=getattr(p, "four_wire", False),
            auto_zero=getattr(p, "auto_zero", True),
            channel=self.channel,
        )

    def _biased(self, p: Spot | IVMonitor) -> Source:
        function = "VOLT" if p.sources_voltage else "CURR"
        source = self._source(p, function, abs(p.level), p.compliance)
        return source._replace(range=p.source_range, sense_range=p.sense_range)

    def _sweep(self, source: Source, p: IVSweep | VISweep) -> Iterator[Chunk]:
        segments = p.segments(self.most_levels, self.list_s, overhead_s=self.level_overhead_s)
        return self.swept(source, segments)

    def _metered(
        self,
        source: Source,
        p: DCVoltage | DCCurrent,
        as_chunk: Callable[[Readings], Chunk],
    ) -> Iterator[Chunk]:
        groups = p.segments(self.most_readings, _PIECE_S)
        return self.held(source, 0.0, groups, p.interval_s, as_chunk=as_chunk)

    def _listed(self, source: Source, levels: FloatArray) -> Run:
        return Run(self.list_run(source, levels), len(levels), source.step_s)

    def _timed(self, source: Source, rows: int, interval_s: float) -> Run:
        # A reading alone is not waited for longer because the next one is far.
        step_s = max(source.step_s, interval_s if rows > 1 else 0.0)
        return Run(self.timed_run(source, rows, interval_s), rows, step_s)

    def _readings(self, source: Source, asked: Asked, clock: Timeline) -> Readings:
        found = self.decoded(source, asked.numbers())
        return found._replace(time_s=clock.rising(found.time_s))

    def _test_current(self, source: Source, range_ohm: float | None) -> float:
        """A current that makes about a volt, found with a small one; its range is set."""
        if range_ohm is None:
            (found,) = self.repeated(source, [min(self.probe_a, source.top)], [1], 0.0)
            volt, amp = abs(found["voltage_v"].item()), abs(found["current_a"].item())
            range_ohm = volt / max(amp, self.no_current_a)
            if not isfinite(range_ohm):
                range_ohm = _TEST_V / self.probe_a
        level_a = min(max(_TEST_V / max(range_ohm, _LEAST_OHM), self.least_a), source.top)
        command = self.range_command(source, level_a)
        if command:
            self.write(command)
        return level_a
