"""``drivebay doctor``: is everything in place on this machine, and if not, what to do."""

from __future__ import annotations

import importlib.util
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from drivebay.cli.failures import FAILED
from drivebay.cli.output import counted, emit, json_option

if TYPE_CHECKING:
    from drivebay import PluginManager

_EXTRAS: Final = (
    ("plot", "matplotlib", "plots"),
    ("analysis", "lmfit", "fits"),
    ("export", "pandas", "data frames"),
)
_MIN_WATCHES: Final = 1024
_WATCH_LIMITS: Final = Path("/proc/sys/fs/inotify")


class Finding(NamedTuple):
    """One thing looked at.

    ``state``: ok; ``note`` works, could be more; ``problem`` has to be put right.
    """

    name: str
    state: str
    detail: str
    remedy: str = ""


@click.command()
@json_option
def doctor(as_json: bool) -> int | None:
    """Look at the installation, and at who holds which instrument on this machine.

    Versions, home folder, bench file, extras, VISA, plugins, limits; whether a keeper and a
    driver's process can be started, and where instruments are reserved; what is held, what may be
    on, what could not be made safe. Exits with 1 if something has to be put right. No instrument is
    spoken to. With --json: one object with ok and findings, each with name, state (ok, note,
    problem), detail and remedy.
    """
    findings = list(examine())
    ok = all(each.state != "problem" for each in findings)
    if as_json:
        emit({"ok": ok, "findings": [each._asdict() for each in findings]})
        return None if ok else FAILED
    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "problem": ("PROBLEM", "red")}
    for each in findings:
        word, colour = marks[each.state]
        click.echo(f"{click.style(f'{word:<8}', fg=colour)} {each.name:<16} {each.detail}")
        if each.remedy:
            click.echo(f"{'':25} {each.remedy}")
    return None if ok else FAILED


def examine() -> Iterator[Finding]:
    """Look at everything."""
    from drivebay import PluginManager

    manager = PluginManager()
    manager.discover_plugins()
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        lambda: _home(manager.home),
        lambda: _bench(manager.home),
        _extras,
        _visa,
        lambda: _plugins(manager),
        _watches,
        _leases,
        _keeper,
        _hosts,
        _instruments,
    )
    for look in looks:
        yield from look()


def _python() -> Iterator[Finding]:
    from drivebay import __version__

    yield Finding("drivebay", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    where = f"Python {platform.python_version()} at {sys.executable}"
    yield Finding("python", "ok", where)
    if not sys.platform.startswith("linux"):
        text = f"{platform.system()}: Linux is the tested platform"
        yield Finding("system", "note", text)


def _home(home: Path) -> Iterator[Finding]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as exc:
        remedy = "make it writable, or set DRIVEBAY_HOME to a folder that is"
        yield Finding("home", "problem", f"{home} cannot be written: {exc.strerror}", remedy)
        return
    yield Finding("home", "ok", str(home))
    crashes = len(list((home / "crashes").glob("*.txt")))
    if crashes:
        text = f"{counted(crashes, 'internal error')} kept in {home / 'crashes'}"
        yield Finding("crashes", "note", text, "please report them, then delete them")


def _bench(home: Path) -> Iterator[Finding]:
    from drivebay import BenchError, find_bench, load_bench

    try:
        path = find_bench(home)
        if path is None:
            yield Finding("bench", "note", "no bench.yaml: instruments have no names and no limits")
            return
        number = len(load_bench(path).instruments)
    except BenchError as exc:
        text = f"{exc.path}: {len(exc.diagnostics)} problems, the first: {exc.diagnostics[0]}"
        yield Finding("bench", "problem", text, "drivebay bench check")
    except OSError as exc:
        text = f"{exc.filename}: {exc.strerror}"
        yield Finding("bench", "problem", text, "set DRIVEBAY_BENCH to a file that can be read")
    else:
        yield Finding("bench", "ok", f"{path}, {number} instruments")


def _extras() -> Iterator[Finding]:
    for extra, module, gives in _EXTRAS:
        if importlib.util.find_spec(module) is None:
            remedy = f"pip install 'drivebay[{extra}]'"
            yield Finding(f"extra {extra}", "note", f"no {gives}: no {module}", remedy)
        else:
            yield Finding(f"extra {extra}", "ok", f"{module} {metadata.version(module)}")


def _visa() -> Iterator[Finding]:
    try:
        from pyvisa.ctwrapper.highlevel import IVIVisaLibrary
    except ImportError as exc:
        yield Finding("visa", "problem", f"PyVISA cannot be imported: {exc}", "pip install pyvisa")
        return
    libraries = [f"pyvisa {metadata.version('pyvisa')}"]
    if importlib.util.find_spec("pyvisa_py") is not None:
        libraries.append(f"pyvisa-py {metadata.version('pyvisa-py')}")
    vendors = [str(path) for path in IVIVisaLibrary.get_library_paths()]
    libraries += vendors or ["no vendor's VISA library (not needed)"]
    yield Finding("visa", "ok", ", ".join(libraries))
    if importlib.util.find_spec("pyvisa_drivebay") is not None:
        text = 'programs on PyVISA can use "@drivebay", or PYVISA_LIBRARY=@drivebay'
        yield Finding("visa backend", "ok", text)
    absent = [name for name in ("zeroconf", "psutil") if importlib.util.find_spec(name) is None]
    if absent:
        text = f"`find` may miss instruments on the network: no {' and no '.join(absent)}"
        remedy = f"pip install {' '.join(absent)}, or name addresses in DRIVEBAY_RESOURCES"
        yield Finding("discovery", "note", text, remedy)
    if not importlib.util.find_spec("usb"):
        yield Finding("usb", "note", "no USB instruments: no pyusb", "pip install pyusb")


def _plugins(manager: PluginManager) -> Iterator[Finding]:
    records = manager.plugins
    bad = [info for info in records.values() if info.error_message]
    yield Finding("plugins", "ok", f"{len(records)} found, {len(bad)} of them with a problem")
    for info in bad:
        name = info.metadata.name
        first = (info.error_message or "").splitlines()[0]
        yield Finding(f"plugin {name}", "problem", first, f"drivebay plugins check {name}")
    for conflict in manager.conflicts:
        text = f"model {conflict.model}: {', '.join(conflict.plugins)}; {conflict.chosen} answers"
        remedy = f"to choose: drivebay plugins pin {conflict.model!r} NAME"
        yield Finding("conflict", "note", text, remedy)
    for info in manager.shadowed:
        yield Finding("shadowed", "note", f"{info.path}: {info.reason}")
    for diagnostic in manager.diagnostics:
        yield Finding("plugin folders", "note", str(diagnostic))


def _watches() -> Iterator[Finding]:
    """Whether edits of plugins can be seen as they happen (Linux: inotify's limits)."""
    found: dict[str, Any] = {}
    for name in ("max_user_watches", "max_user_instances"):
        try:
            found[name] = int((_WATCH_LIMITS / name).read_text("ascii"))
        except (OSError, ValueError):
            return
    text = f"{found['max_user_watches']} folders, {found['max_user_instances']} programs (inotify)"
    if found["max_user_watches"] < _MIN_WATCHES or found["max_user_instances"] < 1:
        remedy = f"sudo sysctl fs.inotify.max_user_watches={64 * _MIN_WATCHES}"
        yield Finding("live edits", "problem", text, remedy)
        return
    yield Finding("live edits", "ok", text)


def _leases() -> Iterator[Finding]:
    """Where instruments are reserved: one folder for everybody on this machine."""
    from drivebay import LeaseError, lease_folder_facts

    remedy = "make it writable for every user, or set DRIVEBAY_LEASES to a folder that is"
    try:
        facts = lease_folder_facts()
    except LeaseError as exc:
        yield Finding("leases", "problem", str(exc), remedy)
        return
    except OSError as exc:
        yield Finding("leases", "problem", f"nothing can be written: {exc.strerror}", remedy)
        return
    text = f"{facts['path']}, owned by {facts['owner']}"
    if facts["shared"]:
        yield Finding("leases", "ok", f"{text}, for every user of this machine")
    else:
        yield Finding("leases", "note", f"{text}, for no other user", remedy)


def _keeper() -> Iterator[Finding]:
    from drivebay import DrivebayError, keeper_facts

    try:
        facts = keeper_facts()
    except (DrivebayError, OSError) as exc:
        text = f"cannot be started, so no instrument can be opened: {exc}"
        yield Finding("keeper", "problem", text, "see the log that is named, in the lease folder")
    else:
        yield Finding("keeper", "ok", f"answers {facts['seconds'] * 1000:.0f} ms after its start")


def _hosts() -> Iterator[Finding]:
    """Whether drivers get processes of their own, and how fast."""
    from drivebay import DrivebayError, host_facts

    if not sys.platform.startswith("linux"):
        text = "every driver starts an interpreter of its own: slower, nothing else"
        yield Finding("drivers", "note", text)
        return
    try:
        facts = host_facts()
    except (DrivebayError, OSError) as exc:
        text = f"every driver starts an interpreter of its own: {exc}"
        yield Finding("drivers", "note", text)
        return
    state = "ok" if facts["threads"] == 1 else "problem"
    text = (
        f"forked from a process of {facts['threads']} thread{'s' * (facts['threads'] != 1)},"
        f" {facts['host_seconds'] * 1000:.0f} ms each"
    )
    remedy = "" if state == "ok" else "what starts threads when it is imported? (sitecustomize)"
    yield Finding("drivers", state, text, remedy)


def _instruments() -> Iterator[Finding]:
    """Who has what, what may be on, and what is not safe."""
    from drivebay import LeaseError, instrument_records
    from drivebay.cli.find import holder_text

    try:
        known = instrument_records()
    except LeaseError:
        return  # said of the folder already
    for each in known:
        who = holder_text(each.holder)
        left = holder_text(each.left_by).partition(" since ")[0] or "nobody knows whom"
        if each.unsafe:
            text = f"could not be made safe: {'; '.join(each.unsafe)}"
            remedy = f"look at it, then `drivebay acknowledge {each.resource}`"
            yield Finding(each.resource, "problem", text, remedy)
        elif each.armed and not who:
            text = f"may be on, left by {left}, whose keeper is gone"
            remedy = "`drivebay estop` switches it off; so does the next program that opens it"
            yield Finding(each.resource, "problem", text, remedy)
        else:
            power = "; its output may be on" if each.armed else ""
            yield Finding(each.resource, "ok", f"held by {who}{power}")
