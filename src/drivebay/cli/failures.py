"""From an exception to what a person reads and a script tests: lines, a JSON object, an exit code.

Never shows a traceback: that of a bug goes to a file under ``DRIVEBAY_HOME``, that of a driver is
one command away.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import click

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
ABORTED: Final = 4
PLUGIN: Final = 5
INTERNAL: Final = 6

# The first class that fits decides, so a subclass stands before its base.
_CODES: Final = (
    ("ParameterError", USAGE),
    ("MethodError", USAGE),
    ("ResourceError", USAGE),
    ("ConfigError", USAGE),
    ("BenchError", USAGE),
    ("ForeignCodeError", USAGE),
    ("PluginNotFoundError", NOT_FOUND),
    ("NoDriverError", NOT_FOUND),
    ("LinkOpenError", NOT_FOUND),
    ("RunNotFoundError", NOT_FOUND),
    ("AbortedError", ABORTED),
    ("DriverError", FAILED),
    ("PluginError", PLUGIN),
    ("DrivebayError", FAILED),
)

_REMEDIES: Final = {
    "LinkOpenError": "is it switched on, connected, and free? `drivebay find` shows who answers",
    "LinkTimeoutError": "`drivebay report RESOURCE` measures how long it takes to answer",
    "NoDriverError": "`drivebay new NAME` begins a driver for it",
    "LoadError": "`drivebay plugins check {plugin}` shows where",
    "ManifestError": "`drivebay plugins check {plugin}` shows all of it",
    "IncompatiblePluginError": "`drivebay plugins show {plugin}` has what it asks for",
    "MissingDependencyError": "install it into the environment of {python}",
    "DriverCrashedError": "only the driver's process is gone; `drivebay -v` shows its last words",
    "DriverHungError": "its process was ended; `drivebay -v` shows where it stood",
    "DriverError": "the driver's own code raised this; `drivebay -v` shows where",
    "ForeignCodeError": "look at it first; then --trust, or --with for code of your own",
    "IdentityError": "put the right instrument back, or change its identity in the bench file",
    "LeaseError": "wait for the holder, or --force: the instrument is made safe and taken over",
    "LimitError": "`drivebay bench show` and `drivebay plugins show NAME` have the limits",
    "UnsafeError": "look at the instrument; then --acknowledge, or `drivebay acknowledge`",
}


# Attributes of errors that a script may want to act on; they are plain data.
_FACTS: Final = ("resource", "plugin", "holder", "signal", "exit_code", "waited_s", "code")


class NothingFound(click.ClickException):
    """What was looked for is not there."""

    exit_code = NOT_FOUND


class PluginProblem(click.ClickException):
    """A plugin cannot be used."""

    exit_code = PLUGIN


def report_failure(exc: Exception, as_json: bool, *, verbose: bool = False) -> int:
    """Say what went wrong and return the exit code.

    Args:
        exc: what ended the command.
        as_json: also print it as a JSON object on standard output.
        verbose: also show the driver's own traceback, if there is one.
    """
    if isinstance(exc, ExceptionGroup):
        return max(report_failure(each, as_json, verbose=verbose) for each in exc.exceptions)
    if isinstance(exc, click.ClickException):
        _say_click(exc, as_json)
        return exc.exit_code
    code = code_of(exc)
    if code == INTERNAL:
        return _report_bug(exc, as_json)
    if as_json:
        click.echo(json.dumps(describe(exc), ensure_ascii=False))
    for line in lines_of(exc):
        click.echo(line, err=True)
    if verbose:
        for line in str(getattr(exc, "traceback", "")).rstrip().splitlines():
            click.echo(f"    {line}", err=True)
    return code


def code_of(exc: Exception) -> int:
    """The exit code an exception comes to; ``INTERNAL`` for what nobody raised on purpose."""
    import drivebay
    from drivebay.cli.demo_bench import SimulatorError

    if isinstance(exc, SimulatorError) or _is_missing_extra(exc) or _is_file_trouble(exc):
        return FAILED
    for name, code in _CODES:
        if isinstance(exc, getattr(drivebay, name)):
            return code
    return INTERNAL


def _is_missing_extra(exc: Exception) -> bool:
    """Whether a feature said which extra it lacks; any other missing module is a bug."""
    return isinstance(exc, ModuleNotFoundError) and "pip install" in str(exc)


def _is_file_trouble(exc: Exception) -> bool:
    """Whether a file that somebody named cannot be read or written."""
    return isinstance(exc, OSError) and exc.filename is not None


def describe(exc: Exception) -> dict[str, Any]:
    """The JSON object of an error."""
    found: dict[str, Any] = {
        "type": type(exc).__name__,
        "message": _message(exc),
        "problems": _problems(exc),
    }
    if (run_id := getattr(exc, "run_id", None)) is not None:
        found["run"] = run_id
    if not isinstance(exc, click.ClickException):
        found.update((fact, value) for fact in _FACTS if (value := getattr(exc, fact, None)))
    return {"error": found}


def lines_of(exc: Exception) -> list[str]:
    """The lines for a person: what is wrong, each problem, what is kept, what to do."""
    problems = _problems(exc)
    if problems and (len(problems) > 1 or type(exc).__name__ == "ParameterError"):
        names = (getattr(exc, name, "") for name in ("method", "plugin", "path"))
        subject = next(filter(None, names), "")
        lines = [f"error: {subject}: {_count(len(problems), 'problem')}"]
        lines += [f"  {_problem_text(problem)}" for problem in problems]
    else:
        first, *rest = _message(exc).splitlines() or [type(exc).__name__]
        lines = [f"error: {first}", *(f"  {line}" for line in rest)]
    lines += [f"  {note}" for note in getattr(exc, "__notes__", ())]
    if isinstance(exc, FileNotFoundError) and exc.filename == os.environ.get("DRIVEBAY_BENCH"):
        lines.append("  DRIVEBAY_BENCH names it")
    if (run_id := getattr(exc, "run_id", None)) is not None:
        lines.append(f"  the points measured before it are kept: drivebay runs show {run_id}")
    remedy = next(
        (_REMEDIES[c.__name__] for c in type(exc).__mro__ if c.__name__ in _REMEDIES), None
    )
    if remedy:
        plugin = getattr(exc, "plugin", "") or "NAME"
        lines.append(f"  {remedy.format(plugin=plugin, python=sys.executable)}")
    return lines


def _message(exc: Exception) -> str:
    if isinstance(exc, click.ClickException):
        return exc.format_message()
    if _is_file_trouble(exc) and isinstance(exc, OSError):
        return f"{exc.filename}: {exc.strerror}"
    return str(exc)


def _problems(exc: Exception) -> list[dict[str, Any]]:
    found = getattr(exc, "problems", None) or getattr(exc, "diagnostics", None) or ()
    if not found and (one := getattr(exc, "problem", None)) is not None:
        found = (one,)
    return [problem_of(each) for each in found]


def problem_of(problem: Any) -> dict[str, Any]:
    """One diagnostic (or one sentence) as plain data."""
    if isinstance(problem, str):
        return {"message": problem}
    return {
        "code": problem.code,
        "message": problem.message,
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "severity": problem.severity,
    }


def _problem_text(problem: dict[str, Any]) -> str:
    path, line = problem.get("path", ""), problem.get("line", 0)
    if line:
        where = f"{path}:{line}:{problem['column']}: "
    elif path.startswith("/") and problem.get("code", "").startswith("P"):
        # A JSON pointer into the parameters; a person typed it as an option.
        where = f"--{path[1:].replace('_', '-')}: "
    else:
        where = f"{path}: " if path else ""
    code = f" [{problem['code']}]" if "code" in problem else ""
    return f"{where}{problem['message']}{code}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _say_click(exc: click.ClickException, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(describe(exc), ensure_ascii=False))
    if isinstance(exc, click.UsageError):
        exc.show()
    else:
        first, *rest = exc.format_message().splitlines() or [""]
        click.echo("\n".join([f"error: {first}", *(f"  {line}" for line in rest)]), err=True)


def _report_bug(exc: Exception, as_json: bool) -> int:
    kept = _keep_traceback(exc)
    message = f"internal error: {type(exc).__name__}: {exc}"
    if as_json:
        found = {"type": type(exc).__name__, "message": message, "problems": []}
        click.echo(json.dumps({"error": {**found, "traceback_file": str(kept) if kept else None}}))
    click.echo(f"error: {message}", err=True)
    where = f"its traceback is in {kept}" if kept else "its traceback could not be written"
    click.echo(f"  this is a bug of Drivebay; {where}", err=True)
    click.echo("  please open an issue with that file and the command you typed", err=True)
    return INTERNAL


def _keep_traceback(exc: Exception) -> Path | None:
    """Write the traceback under the home folder; None if even that fails."""
    import platform
    import time

    from drivebay import PluginManager, __version__

    try:
        folder = PluginManager(plugin_dirs=[]).home / "crashes"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000:03d}.txt"
        about = f"drivebay {__version__}, Python {platform.python_version()}, {platform.platform()}"
        words = " ".join(sys.argv)
        text = "".join(traceback.format_exception(exc))
        path.write_text(f"{about}\n{words}\n\n{text}", encoding="utf-8")
    except Exception:  # noqa: BLE001 - border: the task root, with an error already on its way
        return None
    return path
