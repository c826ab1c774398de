"""``check_driver``: whether a driver keeps what Drivebay promises in its name.

Promises: every check is a sentence that passed, failed with the reason, or could not be judged with
the reason; a check that fails keeps no other from being made. The output is off when it returns, or
the report says that it is not. Runs of a check are kept in no store of the user's. The driver is
stopped, killed and replaced in the middle of measurements, so connect nothing that minds.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import drivebay
from drivebay import (
    AbortedError,
    Bay,
    DrivebayError,
    DriverCrashedError,
    ParameterError,
    PluginError,
    PluginNotFoundError,
    UnsafeError,
)
from drivebay.driver import STANDARD, InstrumentError
from drivebay.testing import sample
from drivebay.testing.report import Check, Level, Outcome, Report

if TYPE_CHECKING:
    from drivebay import Bench, Instrument, PluginInfo, PluginMetadata, Run, Stream

ABORT_S: Final = 3.0
"""Within what a measurement has to end once that was asked for."""

_PATIENCE_S: Final = 60.0
"""How long a measurement is waited for that was given up on; only a hang takes so long."""

_SILENT_S: Final = 0.3
"""A measurement that gave nothing for so long, and talks to the instrument, is in its middle."""

_IDENTITY: Final = ("manufacturer", "model", "serial", "firmware")
_ODD: Final = "no_such_parameter"

Parameters = Mapping[str, Mapping[str, Any]]


def check_driver(
    plugin: str | Path,
    resource: str,
    *,
    bench: str | Path | Bench | None = None,
    isolation: Literal["process", "inline"] = "process",
    config: Mapping[str, Any] | None = None,
    parameters: Parameters | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> Report:
    """Run a driver against an instrument or a simulator, and say what holds.

    Args:
        plugin: its folder, its manifest, or its name.
        resource: the instrument's address, or its name on the bench. It is switched on, stopped
            and left in the middle: connect a device that may be.
        bench: the bench file, or a loaded one; default the one in force.
        isolation: where the driver runs; ``inline`` it cannot be killed, so that is not judged.
        config: options for the driver.
        parameters: by method, for those that cannot be run with the smallest that make sense.
        on_check: told each check as it is made.

    Raises:
        PluginNotFoundError: there is no such plugin.
        ResourceError: ``resource`` is neither an address nor a name of the bench.
        LeaseError: somebody else has the instrument.
        LinkError: nothing answers there.
        UnsafeError: the instrument could not be made safe earlier, and nobody acknowledged that.
    """
    folders, path = _where(plugin)
    with tempfile.TemporaryDirectory(prefix="drivebay-check-") as home:
        if bench is None:
            bench = drivebay.bench_in_force()
        with Bay(home=home, plugin_dirs=folders, bench=bench) as bay:
            info = _plugin(bay, str(plugin), path)
            case = _Case(bay, info, dict(parameters or {}), on_check or (lambda _: None))
            with _opened(case, resource, dict(config) if config is not None else None, isolation):
                for level, name, sentence, function in _CHECKS:
                    case.make(level, name, sentence, function)
            return case.report(resource)


def _where(plugin: str | Path) -> tuple[list[Path], Path]:
    """The folders to search, the plugin's own first; and where the plugin is."""
    everywhere = drivebay.PluginManager()
    path = Path(plugin).expanduser().absolute()
    if not path.exists():
        everywhere.discover_plugins()
        info = everywhere.get_plugin_info(str(plugin))
        if info is None:
            raise PluginNotFoundError(str(plugin), sorted(everywhere.plugins))
        path = Path(info.path)
    folder = path if path.is_dir() else path.parent
    return [folder, *(each for each in everywhere.plugin_dirs if each.is_dir())], path


def _plugin(bay: Bay, name: str, path: Path) -> PluginInfo:
    whole = path.resolve()
    for info in bay.plugins.plugins.values():
        place = Path(info.path).resolve()
        if place == whole or whole in place.parents:
            return info
    raise PluginNotFoundError(name, sorted(bay.plugins.plugins))


class _FailedError(Exception):
    """What a check found is not right."""


class _NotJudgedError(Exception):
    """A check could not find anything out."""


class _Case:
    """One driver on one instrument, and what was found so far.

    Attributes:
        smu: the open instrument; None when it could not be opened.
        why_not: why.
        messages: what the driver sent in its measurements, in order.
        ran: methods that gave a whole run.
        still_on: methods after which the output was on.
        is_served: whether the manifest serves this instrument.
        is_unsafe: whether its safe state did not work; then nothing more is done to it.
    """

    def __init__(
        self, bay: Bay, info: PluginInfo, parameters: Parameters, tell: Callable[[Check], None]
    ) -> None:
        self.bay = bay
        self.name = info.metadata.name
        self.info = info
        self.smu: Instrument | None = None
        self.why_not = ""
        self.messages: list[bytes] = []
        self.ran: dict[str, Run] = {}
        self.still_on: list[str] = []
        self.is_served = False
        self.is_unsafe = False
        self._given = parameters
        self._tell = tell
        self._checks: list[Check] = []

    def make(
        self, level: Level, name: str, sentence: str, function: Callable[[_Case], str]
    ) -> None:
        """Make one check; whatever happens in it is its outcome."""
        outcome: Outcome = "passed"
        try:
            why = function(self)
        except _FailedError as exc:
            outcome, why = "failed", str(exc)
        except _NotJudgedError as exc:
            outcome, why = "not judged", str(exc)
        except DrivebayError as exc:
            outcome, why = "failed", _told(exc)
        check = Check(name, level, sentence, outcome, why)
        self._checks.append(check)
        self._tell(check)

    def report(self, resource: str) -> Report:
        """All of it."""
        info = self.bay.plugins.plugins[self.name]
        smu = self.smu
        return Report(
            self.name,
            info.metadata.version,
            info.sha256 or "",
            smu.resource if smu is not None else resource,
            smu.identity if smu is not None else {},
            tuple(self._checks),
        )

    # -- what the checks ask ----------------------------------------------------------------------

    @property
    def metadata(self) -> PluginMetadata:
        """The manifest."""
        return self.info.metadata

    @property
    def open(self) -> Instrument:
        """The open instrument; a check that needs it is not judged without."""
        if self.smu is None:
            raise _NotJudgedError(self.why_not)
        if self.is_unsafe:
            raise _NotJudgedError("its safe state does not work, so nothing is switched on")
        return self.smu

    @property
    def safe_open(self) -> Instrument:
        """The same, where something declares how it is switched off for a driver that is not."""
        if not (self.metadata.safe_state or {}).get("writes"):
            raise _NotJudgedError("nothing would switch the output off without a safe_state")
        return self.open

    @cached_property
    def ranges(self) -> dict[str, Any]:
        """Limits of the model, narrowed by the bench."""
        found = drivebay.ranges_for(self.metadata, self.open.identity.get("model", "")) or {}
        bench, alias = self.bay.bench, self.open.alias
        for quantity, (low, high) in (
            bench.instruments[alias].limits.items() if bench is not None and alias else ()
        ):
            widest = found.get(quantity, [low, high])
            found[quantity] = [max(low, widest[0]), min(high, widest[1])]
        return found

    def parameters(self, method: str) -> dict[str, Any]:
        """What to run a method with."""
        spec = STANDARD.get(method)
        small = sample.smallest(spec, self.ranges) if spec is not None else {}
        return small | dict(self._given.get(method, {}))

    def sent_since(self, mark_ns: int) -> list[bytes]:
        """Messages to the instrument since a moment."""
        return [data for at, way, data in self.open.transcript if way == "w" and at >= mark_ns]

    def output_is_off(self) -> bool:
        """Whether the instrument itself says so."""
        verify = (self.metadata.safe_state or {}).get("verify")
        if not verify:
            raise _NotJudgedError("its safe_state has no verify, so the output cannot be asked for")
        answer: str = self.open.query(str(verify["query"]))
        return answer.strip() == str(verify["equals"]).strip()

    def must_be_off(self, when: str) -> None:
        """Fail if the output is on."""
        if not self.output_is_off():
            with suppress(DrivebayError):
                self.open.make_safe()
            raise _FailedError(f"the output is on {when}")

    def errors(self) -> str:
        """What is in the instrument's error queue, which is empty then.

        Raises:
            _NotJudgedError: the driver cannot read it.
        """
        try:
            self.open.driver.check_errors()
        except InstrumentError as exc:
            return "; ".join(f"{code}, {text!r}" for code, text in exc.entries)
        except (AttributeError, PluginError) as exc:
            raise _NotJudgedError(f"the driver does not read the error queue ({exc})") from exc
        return ""


@contextmanager
def _opened(
    case: _Case,
    resource: str,
    config: dict[str, Any] | None,
    isolation: Literal["process", "inline"],
) -> Iterator[None]:
    """Have the instrument open, if the driver lets it be, and leave it off."""
    try:
        case.smu = case.bay.open(resource, case.name, config, isolation=isolation)
    except PluginError as exc:
        case.why_not = f"it cannot be opened: {_told(exc)}"
        yield
        return
    except DrivebayError as exc:
        # Is it the driver's own doing, or is there nothing to try it on?
        if case.bay.find([resource])[0].idn is None or isinstance(exc, UnsafeError):
            raise
        case.why_not = f"it cannot be opened: {_told(exc)}"
        yield
        return
    try:
        with suppress(_NotJudgedError, DrivebayError):
            case.errors()  # whatever is in there is somebody else's
        yield
    finally:
        _leave_off(case)


def _leave_off(case: _Case) -> None:
    """Nothing that was found wrong may be left on."""
    smu, case.is_unsafe = case.smu, False
    if smu is None:
        return
    with suppress(DrivebayError):
        smu.make_safe()
    try:
        if not case.output_is_off():
            smu.reset()
    except (_NotJudgedError, DrivebayError):
        with suppress(DrivebayError):
            smu.reset()
    with suppress(DrivebayError):
        smu.close()


# -- bronze ----------------------------------------------------------------------------------------


def _loads(case: _Case) -> str:
    plugins = case.bay.plugins
    plugins.require(case.name)
    code = plugins.generation_of(case.name)
    has = set(code.methods) or set(case.smu.methods if case.smu is not None else ())
    lists = set(case.metadata.supported_methods)
    problems = list(code.drift)
    problems += [f"{name!r} is in the manifest and not in the class" for name in lists - has if has]
    problems += [f"{name!r} is in the class and not in the manifest" for name in has - lists]
    if problems:
        raise _FailedError("\n".join(sorted(problems)))
    return f"{code.class_name}, generation {plugins.plugins[case.name].generation}"


def _identity(case: _Case) -> str:
    found = case.open.identity
    missing = [key for key in _IDENTITY if not str(found.get(key, "")).strip()]
    if missing:
        raise _FailedError(f"the driver reports no {', '.join(missing)}: {found}")
    idn = ",".join(found[key] for key in _IDENTITY)
    serves = [each for each in case.bay.plugins.explain(idn) if each.plugin == case.name]
    if not any(each.usable for each in serves):
        why = "; ".join(each for candidate in serves for each in candidate.why_not)
        models = ", ".join(case.metadata.supported_models)
        raise _FailedError(f"the manifest does not serve {idn!r} ({why or models})")
    case.is_served = True
    return idn


def _safe_state(case: _Case) -> str:
    declared = case.metadata.safe_state or {}
    if not declared.get("writes"):
        raise _FailedError("the manifest declares no safe_state with writes")
    if not declared.get("verify"):
        raise _FailedError("the safe_state has no verify: nobody would know whether it worked")
    report = case.open.make_safe()
    case.is_unsafe = not report.confirmed
    if case.is_unsafe:
        raise _FailedError("; ".join(report.problems) or "the instrument did not confirm it")
    with suppress(_NotJudgedError):
        if refused := case.errors():
            raise _FailedError(f"the instrument refused a command of it: {refused}")
    return f"{', '.join(report.sent)}, and {declared['verify']['query']} confirms it"


def _refuses(case: _Case) -> str:
    tried = 0
    for method in case.open.methods:
        small = case.parameters(method)
        bad = [{**small, _ODD: 1}]
        if method in STANDARD:
            bad += sample.beyond(STANDARD[method], small, case.ranges)
        for parameters in bad:
            _must_refuse(case, method, parameters)
            tried += 1
    return f"{tried} tried"


def _must_refuse(case: _Case, method: str, bad: Mapping[str, Any]) -> None:
    mark_ns = time.monotonic_ns()
    try:
        case.open.measure(method, **bad)
    except ParameterError as exc:
        if sent := case.sent_since(mark_ns):
            raise _FailedError(f"{method} had sent {sent[0]!r} before it said: {exc}") from exc
        return
    except DrivebayError as exc:
        raise _FailedError(f"{method} was not refused but failed: {_told(exc)}") from exc
    if _ODD in bad:
        raise _FailedError(
            f"{method} takes any parameters, {_ODD}=1 too: declare them, with"
            " @method(parameters=...) or under `methods` in the manifest"
        )
    raise _FailedError(f"{method} took parameters beyond the instrument's ranges: {dict(bad)}")


# -- silver ----------------------------------------------------------------------------------------


def _methods(case: _Case) -> str:
    wrong, not_run = [], []
    for method in case.open.methods:
        try:
            case.ran[method] = _run(case, method)
        except _FailedError as exc:
            wrong.append(f"{method}: {exc}")
        except ParameterError as exc:
            needs = "; ".join(f"{p.path.lstrip('/')} {p.message}" for p in exc.problems)
            not_run.append(f"{method} was not run: no parameters are known that fit ({needs})")
        except DrivebayError as exc:
            wrong.append(f"{method}: {_told(exc)}")
    if wrong:
        raise _FailedError("\n".join(wrong + not_run))
    if not_run or not case.ran:
        raise _NotJudgedError("\n".join(not_run) or "the driver has no method")
    rows = {method: len(run) for method, run in case.ran.items()}
    return ", ".join(f"{name} {n} row{'' if n == 1 else 's'}" for name, n in rows.items())


def _run(case: _Case, method: str) -> Run:
    """One whole run of a method, looked at."""
    mark_ns = time.monotonic_ns()
    try:
        run = case.open.measure(method, **case.parameters(method))
    finally:
        case.messages += case.sent_since(mark_ns)
        with suppress(_NotJudgedError, DrivebayError):
            if not case.output_is_off():
                case.still_on.append(method)
                case.open.make_safe()
    if run.state != "done":
        raise _FailedError(f"it ended as {run.state}")
    if not len(run) and not run.values:
        raise _FailedError("it gave nothing")
    if odd := _not_finite(run):
        raise _FailedError(f"{', '.join(odd)} not finite")
    spec = STANDARD.get(method)
    if spec is not None and spec.columns is not None:
        missing = [column.name for column in spec.columns if column.name not in run.columns]
        if missing:
            raise _FailedError(f"no column {', '.join(missing)}, which a {spec.title} has")
    return run


def _not_finite(run: Run) -> list[str]:
    import numpy as np

    return [
        name
        for name, column in run.columns.items()
        if column.dtype.kind == "f" and not np.isfinite(column).all()
    ]


def _output_off(case: _Case) -> str:
    case.output_is_off()  # not judged where one cannot ask
    if case.still_on:
        raise _FailedError(f"the output was on after {', '.join(case.still_on)}")
    if not case.ran:
        raise _NotJudgedError("no method was run")
    return ""


def _no_errors(case: _Case) -> str:
    if found := case.errors():
        raise _FailedError(found)
    return ""


def _aborts(case: _Case) -> str:
    smu = case.safe_open
    middle = _Middle(case)
    began_s = time.monotonic()
    smu.abort("a check")
    ended = middle.wait(ABORT_S)
    took_s = time.monotonic() - began_s
    if not ended:
        middle.wait(_PATIENCE_S)
        raise _FailedError(f"{middle.method} went on for more than {ABORT_S:g} s after the abort")
    if not isinstance(middle.error, AbortedError):
        raise middle.ended_otherwise()
    if middle.stream.run.state != "aborted":
        raise _FailedError(f"{middle.method}: the run says {middle.stream.run.state}")
    case.must_be_off("after the abort")
    return f"{middle.method} ended {took_s * 1000:.0f} ms after it was asked to"


class _Middle:
    """A measurement that is in its middle once this is made.

    Attributes:
        method: what is measured.
        stream: the measurement.
        error: what it ended with; None while it runs, and when it ended well.
    """

    def __init__(self, case: _Case) -> None:
        methods = sorted(case.ran, key=lambda name: name not in STANDARD)
        if not methods:
            raise _NotJudgedError("no method was run")
        self.method = methods[0]
        self.error: BaseException | None = None
        self.stream = _long_stream(case, self.method)
        self._first, self._over = threading.Event(), threading.Event()
        mark_ns = time.monotonic_ns()
        threading.Thread(target=self._read, name="drivebay-check", daemon=True).start()
        deadline_s = time.monotonic() + _SILENT_S
        while not self._first.wait(0.02) and not self._over.is_set():
            if time.monotonic() > deadline_s and case.sent_since(mark_ns):
                break  # one that gives all its points at the end
        if self._over.is_set():
            raise self.ended_otherwise()

    def ended_otherwise(self) -> Exception:
        """What it means that it ended, and not because of the check."""
        if self.error is not None:
            return _FailedError(f"{self.method}: {_told(self.error)}")
        return _NotJudgedError(
            f"{self.method} ended before it could be interrupted; give parameters with which it"
            " takes seconds"
        )

    def _read(self) -> None:
        try:
            for _ in self.stream:
                self._first.set()
        except BaseException as exc:  # noqa: BLE001 - task root: how it ended is what is looked at
            self.error = exc
        finally:
            self._over.set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it has come."""
        return self._over.wait(seconds)


def _long_stream(case: _Case, method: str) -> Stream:
    tries = sample.longest(STANDARD.get(method), case.parameters(method))
    for parameters in tries[:-1]:
        with suppress(ParameterError):
            return case.open.stream(method, **parameters)
    return case.open.stream(method, **tries[-1])


# -- gold ------------------------------------------------------------------------------------------


def _reloads(case: _Case) -> str:
    smu = case.open
    before, links = smu.reloads, smu.reconnects
    if not case.bay.plugins.reload_plugin(case.name):
        raise _FailedError(str(case.bay.plugins.plugins[case.name].error_message))
    info = case.bay.plugins.plugins[case.name]
    if smu.reloads == before:
        raise _FailedError(info.error_message or "the newer code did not take over")
    if smu.reconnects != links:
        raise _FailedError("the link was made anew")
    for method in list(case.ran)[:1]:
        if smu.measure(method, **case.parameters(method)).state != "done":
            raise _FailedError(f"{method} does not run afterwards")
    return f"generation {info.generation} has the open instrument"


def _within_limits(case: _Case) -> str:
    if not case.messages:
        raise _NotJudgedError("no method was run")
    if not case.metadata.dialect:
        raise _FailedError("the manifest has no dialect: under limits no command would be sent")
    model = case.open.identity.get("model", "")
    try:
        refused = drivebay.limit_refusals(case.metadata, model, case.messages)
    except ValueError as exc:
        if isinstance(exc, DrivebayError):
            raise
        problem = _FailedError if case.is_served else _NotJudgedError
        raise problem(f"{exc}, so no limit can be held") from exc
    if refused:
        # One line for each command, however often it was sent with whatever numbers.
        told = {str(each.command).split(" ", 1)[0]: f"{each.code} {each}" for each in refused}
        raise _FailedError("\n".join(told.values()))
    return f"{len(case.messages)} messages"


def _survives(case: _Case) -> str:
    smu = case.safe_open
    if smu.host_pid is None:
        raise _NotJudgedError("the driver runs in this process, which nobody may kill")
    links, middle = smu.reconnects, _Middle(case)
    os.kill(smu.host_pid, signal.SIGKILL)
    if not middle.wait(_PATIENCE_S):
        raise _FailedError(f"{middle.method} did not end after its process was killed")
    if not isinstance(middle.error, DriverCrashedError):
        raise middle.ended_otherwise()
    case.must_be_off("after the driver's process was killed")
    if smu.measure(middle.method, **case.parameters(middle.method)).state != "done":
        raise _FailedError(f"the next {middle.method} does not run")
    if smu.reconnects != links:
        raise _FailedError("the link was made anew")
    return "the output went off, and the next run went well on the same link"


def _told(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}"


_CHECKS: Final[tuple[tuple[Level, str, str, Callable[[_Case], str]], ...]] = (
    ("bronze", "loads", "it loads, and its class has the methods its manifest lists", _loads),
    (
        "bronze",
        "identity",
        "the instrument's identity is whole, and the manifest serves it",
        _identity,
    ),
    ("bronze", "safe_state", "its safe state is declared, is taken, and is confirmed", _safe_state),
    ("bronze", "parameters", "bad parameters are refused before anything is sent", _refuses),
    ("silver", "methods", "every method runs, with the columns it declares, all finite", _methods),
    ("silver", "output", "the output is off after every method", _output_off),
    ("silver", "errors", "the instrument has no error to tell after that", _no_errors),
    ("silver", "abort", "an abort in the middle ends it as aborted, the output off", _aborts),
    ("gold", "reload", "newer code takes over the open instrument", _reloads),
    (
        "gold",
        "limits",
        "under a bench's limits every command it sends is let through",
        _within_limits,
    ),
    ("gold", "killed", "killed in the middle it leaves the output off and can go on", _survives),
)
