"""Two instruments at one device, measured with as if they were one: a gate and a drain.

Promises: one run holds the points, the code and the conversation of both and says of each message
whose it is; an output is on only while both are watched, and the failure of either, its driver's or
its owner's, makes both safe. Each step waits for both: the swept channel goes to its level, the
delay passes, then both are read.

Each instrument keeps its own driver, lease, limits and keeper; nothing here knows a command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, NamedTuple, cast

import msgspec

from drivebay._core.bay.instrument import Instrument
from drivebay._core.bay.stream import Stream
from drivebay._core.contract.calling import Chunk
from drivebay._core.contract.readout import check_chunk
from drivebay._core.errors import (
    Diagnostic,
    DrivebayError,
    DriverCrashedError,
    DriverError,
    MethodError,
    ParameterError,
)
from drivebay._core.keeper import SafeStateReport
from drivebay._core.manifest import secrets_of
from drivebay._core.manifest.fields import PAIRED_METHODS
from drivebay._core.measurement import Measurement
from drivebay._core.methods import STANDARD, OutputCurve, TransferCurve, validate
from drivebay._core.pacing import Pace, levels_of, paced
from drivebay._core.runs import Run, RunDraft
from drivebay._core.seat import Seat
from drivebay._core.session import Session

METHODS: Final = PAIRED_METHODS
"""What two sources can measure together."""

_LOOK_S: Final = 0.05
"""How often a wait looks whether it should end: shorter than a person notices."""


class Pair:
    """Two opened instruments, one at the gate of a device and one at its drain.

    Attributes:
        gate: the instrument at the gate.
        drain: the instrument at the drain.
    """

    def __init__(self, gate: Instrument, drain: Instrument, owned: tuple[Instrument, ...]) -> None:
        """Made by :meth:`Bay.pair`.

        Args:
            gate: at the gate.
            drain: at the drain.
            owned: those that were opened for this pair and close with it.
        """
        self.gate = gate
        self.drain = drain
        self._owned = owned

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Pair gate={self.gate!r} drain={self.drain!r}>"

    def measure(self, method: str, **params: Any) -> Run:
        """Measure, record, and return the run; see :meth:`Instrument.measure`.

        Args:
            method: ``transfer_curve`` or ``output_curve``.
            **params: its parameters in SI units.

        Raises: as :meth:`Instrument.measure`.
        """
        stream = self.stream(method, **params)
        for _ in stream:
            pass
        return stream.run

    def stream(self, method: str, **params: Any) -> Stream:
        """Measure and hand out points as they are taken; they are recorded all the same.

        Raises:
            MethodError: it is not measured by two sources, or a driver cannot be paced.
            ParameterError: every problem with the parameters, before anything is sent.
        """
        if method not in METHODS:
            raise MethodError(method, METHODS, subject="a pair of instruments")
        measurement = CurvesMeasurement(method, params, self.gate, self.drain)
        return Stream(measurement, self._draft, self._went_well)

    def transfer_curve(self, **params: Any) -> Run:
        """Sweep the gate at each of some drain voltages; see :meth:`measure`."""
        return self.measure("transfer_curve", **params)

    def output_curve(self, **params: Any) -> Run:
        """Sweep the drain at each of some gate voltages; see :meth:`measure`."""
        return self.measure("output_curve", **params)

    def abort(self, by: str = "user") -> None:
        """Stop what both are doing; their outputs go off at once."""
        _both(lambda each: each.abort(by), self.drain, self.gate)

    def make_safe(self) -> SafeStateReport:
        """Send both their safe states, now; the report is of both."""
        return _safe(lambda each: each.make_safe(), self.drain, self.gate)

    def close(self) -> None:
        """Close the instruments that were opened for this pair."""
        for each in self._owned:
            each.close()

    def _draft(self, measurement: Measurement) -> RunDraft:
        """The record of the drain's instrument, with both instruments in its provenance."""
        at_gate = _inside(self.gate).session.seat.generation
        return _inside(self.drain).draft(
            measurement, also=(at_gate,), instruments=self._instruments()
        )

    def _instruments(self) -> dict[str, Any]:
        return {
            channel: {
                "alias": each.alias,
                "resource": each.resource,
                "idn": each.idn,
                "identity": each.identity,
                "plugin": each.code,
                "bench": _inside(each).bench(),
                **_options(_inside(each).session),
            }
            for channel, each in (("gate", self.gate), ("drain", self.drain))
        }

    def _went_well(self) -> None:
        _inside(self.gate).went_well()
        _inside(self.drain).went_well()


class CurvesMeasurement(Measurement):
    """A family of curves by two sources in step, as a measurement like any other."""

    def __init__(
        self, method: str, params: Mapping[str, Any], gate: Instrument, drain: Instrument
    ) -> None:
        """Check the parameters against both instruments; nothing is sent.

        Raises:
            ParameterError: every problem with the parameters.
        """
        self._stopped = threading.Event()
        self._params: TransferCurve | OutputCurve
        self._gate, self._drain = _inside(gate).session, _inside(drain).session
        # To the rest of the stage two sessions are one, which does everything to both.
        super().__init__(cast("Session", _Sessions(self._gate, self._drain)), method, params)

    @property
    def parts(self) -> dict[str, Session]:
        """The two sessions, by the place of their instruments at the device."""
        return {"gate": self._gate, "drain": self._drain}

    def _checked(self, params: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        spec = STANDARD[self.method]
        self._require_paced()
        self._params = p = validate(spec, params)
        problems: list[Diagnostic] = []
        for channel, session in (("gate", self._gate), ("drain", self._drain)):
            problems += _channel_problems(p, channel, session.ranges)
        if problems:
            raise ParameterError(problems, method=self.method)
        return spec, cast("dict[str, Any]", msgspec.to_builtins(p))

    def _require_paced(self) -> None:
        for session in (self._gate, self._drain):
            seat = session.ready()
            try:
                seat.call("is_paced")
            except DriverCrashedError:
                raise
            except (DriverError, AttributeError):
                who = f"{session.metadata.name} cannot be paced by another instrument: it"
                raise MethodError("step_to", seat.methods, subject=who) from None

    def abort(self, by: str = "user") -> None:
        """Stop it, from any thread; returns without waiting for the end."""
        self._stopped.set()
        super().abort(by)

    def _points(self) -> Generator[Chunk]:
        gate, drain = self._gate.ready(), self._drain.ready()

        def wait(seconds: float) -> None:
            self._wait(seconds, gate, drain)

        try:
            pace = Pace(wait, self._check_abort)
            for chunk in paced(self._params, gate.call, drain.call, pace):
                yield check_chunk(self.spec, chunk, self.method)
        except BaseException:
            # Both keepers switch off before anything is asked of a driver that may not answer.
            self.session.make_safe()
            for seat in (drain, gate):
                with suppress(DrivebayError):
                    seat.call("end_steps")
            raise

    def _wait(self, seconds: float, *seats: Seat) -> None:
        """Wait, but not for a driver that is dead, and not after an abort."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._stopped.wait(min(left_s, _LOOK_S))
            self._check_abort()
            for seat in seats:
                if seat.exit is not None:
                    seat.call("get_status")  # raises what it died of


def _options(session: Session) -> dict[str, Any]:
    """The options of a driver as a run keeps them."""
    options = secrets_of(session.metadata, session.seat.config)
    return {"config": options.config, "config_withheld": list(options.withheld)}


class _Inside(NamedTuple):
    """What an instrument does not show its users."""

    session: Session
    bench: Callable[[], dict[str, Any]]
    draft: Callable[..., RunDraft]
    went_well: Callable[[], None]


def _inside(instrument: Instrument) -> _Inside:
    return _Inside(
        instrument._session,  # noqa: SLF001 - one stage
        instrument._bench,  # noqa: SLF001
        instrument._draft,  # noqa: SLF001
        instrument._went_well,  # noqa: SLF001
    )


class _Sessions:
    """Two sessions as one: what is done to it is done to both."""

    def __init__(self, gate: Session, drain: Session) -> None:
        self._gate, self._drain = gate, drain
        self.resource = f"{gate.resource} and {drain.resource}"

    def __getattr__(self, name: str) -> Any:
        # What has no meaning for two is told of the drain's, whose current is what is looked for.
        return getattr(self._drain, name)

    @property
    def listener(self) -> Any:
        return self._drain.listener

    @listener.setter
    def listener(self, told: Any) -> None:
        self._gate.listener = self._drain.listener = told

    def claim(self) -> None:
        self._gate.claim()
        try:
            self._drain.claim()
        except BaseException:
            self._gate.release()
            raise

    def release(self) -> None:
        try:
            self._drain.release()
        finally:
            self._gate.release()

    def begin(self) -> None:
        self._gate.begin()
        self._drain.begin()

    @property
    def aborted_by(self) -> str:
        return self._gate.aborted_by or self._drain.aborted_by

    @property
    def suspect(self) -> bool:
        return self._gate.suspect or self._drain.suspect

    @suspect.setter
    def suspect(self, value: bool) -> None:
        self._gate.suspect = self._drain.suspect = value

    def abort(self, by: str) -> None:
        _both(lambda each: each.abort(by), self._drain, self._gate)

    def make_safe(self, **how: bool) -> SafeStateReport:
        return _safe(lambda each: each.make_safe(**how), self._drain, self._gate)


def _both(action: Callable[[Any], Any], *parts: Any) -> list[Any]:
    """Do the same to both at the same time, so that one that is slow keeps no other on.

    Raises: what the first one raised, after both were done.
    """
    results: dict[int, Any] = {}
    errors: dict[int, BaseException] = {}

    def do(index: int, part: Any) -> None:
        try:
            results[index] = action(part)
        except BaseException as exc:  # noqa: BLE001 - raised below, in the caller's thread
            errors[index] = exc

    threads = [threading.Thread(target=do, args=each) for each in enumerate(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in sorted(results)]


def _safe(action: Callable[[Any], SafeStateReport], *parts: Any) -> SafeStateReport:
    """Make both safe; verified only if both are."""
    reports: list[SafeStateReport] = _both(action, *parts)
    told = [report.verified for report in reports]
    verified = False if False in told else None if None in told else True
    return SafeStateReport(
        sent=tuple(text for report in reports for text in report.sent),
        verified=verified,
        problems=tuple(text for report in reports for text in report.problems),
    )


def _channel_problems(
    p: TransferCurve | OutputCurve, channel: str, ranges: Mapping[str, Any] | None
) -> list[Diagnostic]:
    """What an instrument cannot do of its part: that is what it could not do in an I-V sweep."""
    levels, name = levels_of(p, channel)
    alone = {
        "spacing": "list",
        "levels_v": levels if len(levels) > 1 else levels * 2,
        "compliance_a": getattr(p, f"{channel}_compliance_a"),
        "nplc": p.nplc,
    }
    try:
        validate(STANDARD["iv_sweep"], alone, ranges)
    except ParameterError as error:
        found: dict[str, Diagnostic] = {}
        for each in error.problems:
            own = f"{channel}_compliance_a" if each.path == "/compliance_a" else name
            own = "nplc" if each.path == "/nplc" else own
            found.setdefault(own, replace(each, path=f"/{own}"))
        return list(found.values())
    return []
