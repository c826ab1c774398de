"""``drivebay dev PLUGIN --on INSTRUMENT``: the author's loop; save, and see what the code now does.

Promises: the instrument is opened once and stays open; each save either takes over that session and
the method is run again, or leaves the older code in service and says why, with the lines of the
plugin's own files. What a run sent is compared with the run before. It edits nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.bench import bench_option
from drivebay.cli.check import holds
from drivebay.cli.failures import ABORTED, FAILED, OK, PLUGIN, describe
from drivebay.cli.failures import lines_of as lines_of_error
from drivebay.cli.measure import Aborted, pairs, parameters_of, record, tell_abort
from drivebay.cli.output import counted, heading, plain
from drivebay.cli.traffic import commands_of, differences, lines_of

if TYPE_CHECKING:
    from drivebay import Bay, Instrument, PluginEvent, PluginInfo, Run

_NEWS: Final = frozenset(("loaded", "load_failed", "reloaded", "reload_failed"))
_FRAME: Final = re.compile(r'  File "(.+?)", line (\d+)(?:, in (.+))?')
_INDENT: Final = " " * 19


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("plugin")
@click.option(
    "--on",
    "instrument",
    metavar="INSTRUMENT",
    required=True,
    help="Its name on the bench, or its address.",
)
@bench_option
@click.argument(
    "words", metavar="[METHOD [PARAMETERS]... | FILE]", nargs=-1, type=click.UNPROCESSED
)
@click.option("--config", metavar="NAME=VALUE", multiple=True, help="An option of the driver.")
@click.option("--force", is_flag=True, help="Take the instrument over from whoever holds it.")
@click.option("--once", is_flag=True, help="Wait for one save, run once more, and leave.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each thing told.")
def dev(
    plugin: str,
    instrument: str,
    bench: Path | None,
    words: tuple[str, ...],
    config: tuple[str, ...],
    force: bool,
    once: bool,
    as_json: bool,
) -> int:
    """Run a method again at each save of a driver, on an instrument that stays open.

    PLUGIN is a plugin's folder or its name. METHOD and its PARAMETERS are written as for `measure`
    (`iv_sweep --start-v 0 ...`, `--set NAME=VALUE`); a FILE (YAML or JSON) has them under the keys
    `method` and `parameters`, as `measure --json` prints them. A method that needs no parameters
    and is the plugin's only one can be left out.

    Each save takes over the open session, or leaves the older code in service and says why. Then
    the method runs again, and the commands that differ from the run before are shown: + new,
    - gone, ~ other numbers. Ctrl-C ends it. With --once the exit code is that of the one save: 5 if
    it did not load, 1 if the method failed.
    """
    from drivebay import Bay, PluginManager

    path = Path(plugin).expanduser().absolute()
    folders = None
    if path.exists():
        folder = path if path.is_dir() else path.parent
        folders = [folder, *PluginManager().plugin_dirs]
    with Bay(plugin_dirs=folders, bench=bench) as bay:
        info = _plugin(bay, plugin, path if folders else None)
        method, parameters = job_of(words, info)
        options = {"plugin": info.metadata.name, "config": pairs(config) or None, "force": force}
        loop = Loop(bay, info.metadata.name, instrument, options, Voice(as_json))
        loop.method, loop.parameters = method, parameters
        try:
            with _ended_by_sigterm(), bay.watch():
                return loop.run(once=once)
        except KeyboardInterrupt:
            return OK
        except Aborted as exc:
            tell_abort(exc, as_json)
            return ABORTED


def _plugin(bay: Bay, name: str, path: Path | None) -> PluginInfo:
    from drivebay import PluginNotFoundError

    known = bay.plugins.plugins
    if path is None:
        found = bay.plugins.get_plugin_info(name)
    else:
        inside = [each for each in known.values() if holds(path, Path(each.path))]
        found = inside[0] if len(inside) == 1 else None
    if found is None:
        raise PluginNotFoundError(name, sorted(known))
    return found


def job_of(words: Sequence[str], info: PluginInfo) -> tuple[str, dict[str, Any]]:
    """The method to run and its parameters, from the words of the command line.

    Raises:
        click.UsageError: they say no method.
    """
    if words and words[0].endswith((".yaml", ".yml", ".json")):
        return _job_in(Path(words[0]))
    if words and not words[0].startswith("-"):
        return words[0], parameters_of(words[0], words[1:])
    methods = list(info.metadata.supported_methods)
    if len(methods) != 1:
        raise click.UsageError(f"say which METHOD: {', '.join(methods) or 'the plugin lists none'}")
    return methods[0], parameters_of(methods[0], words)


def _job_in(path: Path) -> tuple[str, dict[str, Any]]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as exc:
        raise click.UsageError(f"{path}: {exc}") from exc
    if not isinstance(found, dict) or not isinstance(found.get("method"), str):
        raise click.UsageError(f"{path} has no key 'method' with the name of a method")
    parameters = found.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise click.UsageError(f"{path}: 'parameters' must be a mapping of names to values")
    return found["method"], {str(key): value for key, value in parameters.items()}


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """A supervisor's wish ends the loop as Ctrl-C does: the instrument is closed in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Voice:
    """Tells what happened: lines for a person, or a JSON object a line for a program."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def tell(self, event: str, text: str, facts: Mapping[str, Any], *, bad: bool = False) -> None:
        """Tell one thing.

        Args:
            event: what kind of thing.
            text: for a person; its first line is the headline.
            facts: for a program.
            bad: make it loud.
        """
        if self.as_json:
            click.echo(json.dumps(plain({"event": event, **facts}), ensure_ascii=False))
            return
        first, *rest = text.splitlines()
        at = click.style(time.strftime("%H:%M:%S"), dim=True)
        word = click.style(event.ljust(8), bold=True, fg="red" if bad else None)
        click.echo(f"{at}  {word} {click.style(first, fg='red', bold=True) if bad else first}")
        for line in rest:
            click.echo(f"{_INDENT}{line}")


class Loop:
    """The loop on one instrument.

    Attributes:
        method: what is run.
        parameters: with what.
    """

    method = ""
    parameters: Mapping[str, Any]

    def __init__(
        self, bay: Bay, plugin: str, instrument: str, options: dict[str, Any], voice: Voice
    ) -> None:
        self._bay = bay
        self._plugin = plugin
        self._instrument = instrument
        self._options = options
        self._voice = voice
        self._news: queue.SimpleQueue[PluginEvent] = queue.SimpleQueue()
        self._before: list[str] | None = None
        self._broken_by = ""
        # The bay listens first: when news is here, the open instrument has the new code.
        bay.plugins.subscribe(self._heard)

    def _heard(self, event: PluginEvent) -> None:
        if event.kind in _NEWS and event.plugin == self._plugin:
            self._news.put(event)

    def run(self, *, once: bool) -> int:
        """Open, run, and run again at each save; with ``once`` leave after one, with its code."""
        smu = self._open()
        host, code = smu.host_pid, self._measure(smu)
        while True:
            self._tell_waiting()
            event = self._next()
            if smu.closed:  # its plugin was disabled after too many crashes
                self._bay.plugins.enable_plugin(self._plugin)
                smu = self._open()
            if event.kind.endswith("failed") or not _has_newest(smu):
                self._tell_broken(event, smu)
                code = PLUGIN
            else:
                self._tell_taken_over(smu, host)
                host, code = smu.host_pid, self._measure(smu)
            if once:
                return code

    def _next(self) -> PluginEvent:
        """Wait for news; of several at once the last is what holds."""
        event = self._news.get()
        while not self._news.empty():
            event = self._news.get()
        return event

    def _open(self) -> Instrument:
        """Open the instrument; code that cannot be used is told, and another save waited for."""
        from drivebay import DriverError, LoadError, ManifestError

        while True:
            try:
                smu = self._bay.open(self._instrument, **self._options)
            except (LoadError, ManifestError, DriverError) as exc:
                self._tell_error("broken", exc)
                self._tell_waiting()
                self._next()
                continue
            while not self._news.empty():
                self._news.get()
            self._options["force"] = False  # taken over once, it is ours
            self._tell_open(smu)
            return smu

    def _measure(self, smu: Instrument) -> int:
        from drivebay import DrivebayError

        began_ns = time.monotonic_ns()
        try:
            run, _ = record(
                smu, self.method, self.parameters, as_json=self._voice.as_json, on_stderr=True
            )
        except DrivebayError as exc:
            self._tell_error("failed", exc)
            return FAILED
        now = commands_of(smu.transcript, began_ns)
        self._tell_run(run, now)
        self._before = now
        return OK

    # -- telling ---------------------------------------------------------------------------------

    def _tell_open(self, smu: Instrument) -> None:
        info = smu.plugin
        name = f"{smu.alias} ({smu.resource})" if smu.alias else smu.resource
        title = heading(f"{info.metadata.name} {info.metadata.version}")
        text = (
            f"{title}  {Path(info.path).parent}\n"
            f"{name}: {smu.idn}\n"
            f"driver's process {smu.host_pid}, keeper {smu.keeper_pid}"
        )
        facts = {
            "plugin": info.metadata.name,
            "resource": smu.resource,
            "idn": smu.idn,
            "generation": info.generation,
            "sha256": smu.code["sha256"],
            "host_pid": smu.host_pid,
            "keeper_pid": smu.keeper_pid,
        }
        self._voice.tell("open", text, facts)

    def _tell_waiting(self) -> None:
        self._voice.tell("waiting", "for a save; Ctrl-C ends", {"method": self.method})

    def _tell_taken_over(self, smu: Instrument, before: int | None) -> None:
        info = smu.plugin
        self._broken_by = ""
        took_s = _since_save(Path(info.path).parent)
        after = f" {took_s * 1000:.0f} ms after the save" if took_s is not None else ""
        text = (
            f"generation {info.generation} ({(info.sha256 or '')[:12]}) has the open instrument"
            f"{after}\ndriver's process {before} -> {smu.host_pid}, keeper {smu.keeper_pid},"
            f" {smu.reconnects} reconnects"
        )
        facts = {
            "generation": info.generation,
            "sha256": info.sha256,
            "after_s": took_s,
            "host_pid": smu.host_pid,
            "keeper_pid": smu.keeper_pid,
            "reconnects": smu.reconnects,
        }
        self._voice.tell("reload", text, facts)

    def _tell_broken(self, event: PluginEvent, smu: Instrument) -> None:
        info = smu.plugin
        # Code that loads and is not taken over has no traceback: what it said is in the record.
        message = event.message or info.error_message or ""
        loaded = smu.code["sha256"] != info.sha256
        if loaded and event.message and event.message == self._broken_by:
            return  # told when it was loaded; that it did not take over is news of its own
        self._broken_by = message
        what = "does not take over the instrument" if loaded else "does not load"
        lines = own_lines(info.traceback or "", Path(info.path).parent)
        text = f"the save {what}; the code before it goes on (degraded)"
        facts = {
            "message": message,
            "traceback": lines,
            "sha256": smu.code["sha256"],
            "degraded": info.degraded,
        }
        self._voice.tell("broken", "\n".join([text, *(lines or [message])]), facts, bad=True)

    def _tell_error(self, kind: str, exc: Exception) -> None:
        folder = Path(self._bay.plugins.plugins[self._plugin].path).parent
        lines = own_lines(str(getattr(exc, "traceback", "")), folder)
        if getattr(
            exc, "problems", None
        ):  # parameters: told one by one, and no code stood anywhere
            lines = []
        first, *rest = lines_of_error(exc)
        # Where it stood is shown right here.
        rest = [line for line in rest if "`drivebay -v`" not in line]
        text = "\n".join([first.removeprefix("error: "), *rest, *lines])
        facts = {**describe(exc), "traceback": lines}
        self._voice.tell(kind, text, facts, bad=True)

    def _tell_run(self, run: Run, now: list[str]) -> None:
        found = differences(self._before, now) if self._before is not None else []
        lines = [f"{self.method}: {_summary(run)}  {run.id}"]
        facts: dict[str, Any] = {
            "run": run.id,
            "state": run.state,
            "rows": len(run),
            "duration_s": run.duration_s,
            "commands": len(now),
        }
        if self._before is None:
            lines.append(f"{len(now)} commands sent")
        else:
            lines += lines_of(found)
            same = len(now) - sum(each.mark in "+~" for each in found)
            lines.append(click.style(f"{same} of {len(now)} commands as before", dim=True))
            facts["differences"] = [
                {"mark": each.mark, "before": each.before, "now": each.now} for each in found
            ]
        self._voice.tell("run", "\n".join(lines), facts)


def _has_newest(smu: Instrument) -> bool:
    """Whether the code that was loaded last is the one at work on the open instrument."""
    info = smu.plugin
    return smu.code["sha256"] == info.sha256 and not info.degraded


def _since_save(folder: Path) -> float | None:
    """Seconds since the newest file of a plugin was written; None where that cannot be told."""
    try:
        newest = max(file.stat().st_mtime for file in folder.rglob("*") if file.is_file())
    except (OSError, ValueError):
        return None
    passed_s = time.time() - newest
    return passed_s if 0 <= passed_s < 60 else None


def _summary(run: Run) -> str:
    """How much was measured, and between what the second column lies."""
    from drivebay.plotting import engineering

    text = f"{run.state}, {counted(len(run), 'row')} in {engineering(run.duration_s, 's', 3)}"
    floats = [name for name, kind in run.kinds.items() if kind == "float"]
    if len(run) and floats:
        name = floats[min(1, len(floats) - 1)]
        unit, column = run.units[name], run.columns[name]
        low, high = (engineering(float(each), unit, 4) for each in (column.min(), column.max()))
        text += f", {name} {low} to {high}"
    return text


def own_lines(traceback: str, folder: Path) -> list[str]:
    r"""A traceback cut down to the plugin's own files, their paths short, and what was raised.

    >>> text = '  File "/x/a.py", line 1, in f\n    g()\nZeroDivisionError: by zero\n'
    >>> own_lines(text, Path("/x"))
    ['a.py:1 in f', '    g()', 'ZeroDivisionError: by zero']
    """
    kept: list[str] = []
    inside = False
    for line in traceback.rstrip().splitlines():
        frame = _FRAME.match(line)
        if frame is not None:
            path, number, function = frame.groups()
            inside = path.startswith(f"{folder}{os.sep}")
            if inside:
                where = f" in {function}" if function else ""
                kept.append(f"{os.path.relpath(path, folder)}:{number}{where}")
        elif not line.startswith(" "):
            inside = False
            if (
                not line.startswith(("Traceback", "During handling", "The above exception"))
                and line
            ):
                kept.append(line)
        elif inside:
            kept.append(line)
    return kept
