"""``drivebay bench``: whether the bench file is right, what it says, and its schema for editors.

Reads files only: no instrument is spoken to and no driver is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.failures import USAGE, NothingFound, problem_of
from drivebay.cli.output import WholeSentences, emit, heading, json_option, table

if TYPE_CHECKING:
    from drivebay import Bench, BenchChannel, BenchInstrument, Diagnostic, PluginManager

bench_option = click.option(
    "--bench",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The bench file; by default the one in force (`drivebay bench show`).",
)
"""For every command that takes the name of an instrument."""

_path_argument = click.argument(
    "path", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)


def _manager() -> PluginManager:
    from drivebay import PluginManager

    manager = PluginManager()
    manager.discover_plugins()
    return manager


def address_of(instrument: str, bench: Path | None) -> tuple[str, dict[str, Any]]:
    """The address of an instrument that is named, and how the bench opens it.

    Args:
        instrument: its name on the bench, or its address, which needs no bench.
        bench: the bench file, None for the one in force.

    Raises:
        BenchError: every problem of the bench file.
    """
    from drivebay import PluginManager, find_bench, load_bench

    path = bench or find_bench(PluginManager(plugin_dirs=[]).home)
    if path is None:
        return instrument, {}
    loaded = load_bench(path)
    alias = instrument if instrument in loaded.instruments else loaded.alias_of(instrument)
    if alias is None:
        return instrument, {}
    entry = loaded.instruments[alias]
    return entry.resource, dict(entry.link_options)


def _in_force(path: Path | None, home: Path) -> Path:
    """The file that is named, else the one that every command would use."""
    from drivebay import find_bench

    found = path or find_bench(home)
    if found is None:
        raise NothingFound(
            "there is no bench file: DRIVEBAY_BENCH is not set, and there is no bench.yaml in the "
            f"current folder or in {home}"
        )
    return found


@click.group(cls=WholeSentences)
def bench() -> None:
    """Check and show the bench file, which names instruments and limits them.

    The file is the one of DRIVEBAY_BENCH, else `bench.yaml` in the current folder, else
    `bench.yaml` in the home folder.
    """


@bench.command()
@_path_argument
@json_option
def check(path: Path | None, as_json: bool) -> int | None:
    """Check a bench file and list everything that is wrong with it.

    Without PATH the file in force is checked. No instrument is spoken to. Exits with 2 if
    something must be put right. With --json: one object with ok, path and diagnostics.
    """
    from drivebay import BenchError, load_bench

    manager = _manager()
    file = _in_force(path, manager.home)
    try:
        loaded = load_bench(file)
    except BenchError as exc:
        _tell(file, exc.diagnostics, None, as_json)
        return USAGE
    _tell(file, (*loaded.warnings, *_plugins_missing(loaded, manager)), loaded, as_json)
    return None


def _plugins_missing(loaded: Bench, manager: PluginManager) -> Iterator[Diagnostic]:
    """Plugins that the file names and this machine does not have: it may still come."""
    from drivebay import Diagnostic, PluginNotFoundError

    for alias, instrument in loaded.instruments.items():
        name = instrument.plugin
        if name is not None and manager.get_plugin_info(name) is None:
            said = PluginNotFoundError(name, sorted(manager.plugins))
            text = f"{alias}: {said}"
            yield Diagnostic("B117", text, str(loaded.path), severity="warning")


def _tell(file: Path, found: tuple[Diagnostic, ...], loaded: Bench | None, as_json: bool) -> None:
    if as_json:
        problems = [problem_of(each) for each in found]
        emit({"ok": loaded is not None, "path": str(file), "diagnostics": problems})
        return
    for each in found:
        where = f"{each.path}:{each.line}:{each.column}" if each.line else each.path
        click.echo(f"{where}: {each.severity}: {each.message} [{each.code}]")
    if loaded is None:
        click.echo(f"{file}: CANNOT BE USED")
    else:
        number = len(loaded.instruments)
        click.echo(f"{file}: {number} instrument{'' if number == 1 else 's'}, can be used")


@bench.command()
@_path_argument
@json_option
def show(path: Path | None, as_json: bool) -> None:
    """Show the instruments of a bench: their addresses, limits and policies.

    Without PATH the file in force is shown. With --json: the whole bench as one object with path,
    bench, instruments and safe_order; what a channel inherits stands in the channel.
    """
    from drivebay import PluginManager, load_bench

    loaded = load_bench(_in_force(path, PluginManager(plugin_dirs=[]).home))
    if as_json:
        emit({"path": loaded.path, "bench": loaded.name, **loaded.to_dict()})
        return
    click.echo(heading(f"{loaded.name or 'bench'}  {loaded.path}"))
    rows = [row for each in loaded.instruments.values() for row in _rows(each)]
    click.echo(table(["alias", "resource", "plugin", "identity", "limits", "policy"], rows))
    click.echo(f"made safe in this order: {', '.join(loaded.safe_order) or 'nothing to do'}")
    for warning in loaded.warnings:
        click.echo(str(warning), err=True)


def _rows(instrument: BenchInstrument) -> Iterator[tuple[Any, ...]]:
    """A line for the instrument, and one for each channel that the file speaks of."""
    pinned = [part for part in instrument.identity or () if part]
    yield (
        instrument.alias,
        instrument.resource,
        instrument.plugin,
        ", ".join(pinned) or None,
        *_outcome(instrument),
    )
    for name, channel in instrument.channels.items():
        yield (f"  channel {name}", "", "", "", *_outcome(channel))


def _outcome(of: BenchInstrument | BenchChannel) -> tuple[str | None, str]:
    limits = ", ".join(f"{name} {low:g}..{high:g}" for name, (low, high) in of.limits.items())
    policy: str = of.policy
    if policy == "hold":
        policy += f" ({of.policy_reason})"
    elif of.ramp is not None:
        policy += f" (at most {of.ramp.max_s:g} s)"
    return limits or None, policy


@bench.command()
@json_option
def schema(as_json: bool) -> None:
    """Print the JSON Schema of `bench.yaml`, for editors.

    Point your editor at it: the first line of a bench file may say
    `# yaml-language-server: $schema=bench.schema.json`.
    """
    from drivebay import Bench

    del as_json  # it is JSON either way
    emit(Bench.json_schema())
