"""``drivebay who METHOD``: which instruments could measure this, and why not the others.

Answered from the manifests: nothing is imported, opened or asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.failures import NOT_FOUND, OK, NothingFound
from drivebay.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from drivebay import Ability, PluginManager

_ASKED: Final = {
    "voltage": ("v", "40V or -40V..40V"),
    "current": ("a", "10mA"),
    "power": ("w", "20W"),
    "resistance": ("ohm", "1Mohm"),
    "frequency": ("hz", "20Hz..1MHz"),
    "ac-level": ("v", "50mV"),
}
"""Quantities that are asked for by an option: the suffix of the parameter, and an example."""

_WORDS: Final = {"ac-level": "AC level"}
_RESOLVED: Final = ("voltage", "current", "resistance")


def _options(command: Any) -> Any:
    for name in reversed(_RESOLVED):
        suffix, _ = _ASKED[name]
        text = f"Steps of the {name} that must still be told apart."
        declared = (f"--{name}-resolution", f"{name}_resolution_{suffix}")
        command = click.option(*declared, metavar="STEP", help=text)(command)
    for name, (suffix, example) in reversed(_ASKED.items()):
        text = f"The {_WORDS.get(name, name)} it must reach, or from where to where: {example}."
        declared = (f"--{name}", f"{name.replace('-', '_')}_{suffix}")
        command = click.option(*declared, metavar="VALUE", help=text)(command)
    return command


@click.command()
@click.argument("method")
@_options
@click.option("--technique", metavar="NAME", help="How to measure a capacitance: ac, quasi_static.")
@json_option
def who(method: str, as_json: bool, **asked: str | None) -> int:
    """Say which models can measure METHOD, and why the others cannot.

    From the manifests of all plugins, with the ranges and resolutions they declare for each model:
    `drivebay who iv_sweep --voltage 40V --current-resolution 100nA`. No plugin is imported and no
    instrument is asked. Of a transfer or an output curve those are told too that measure it
    together with a second instrument, in pairs (`--gate`, `--drain`). The exit code is 3 when
    nobody can. With --json: a list of objects with plugin, model, able, reasons, why_not, paired.
    """
    from drivebay import PluginManager

    wanted = {name: text for name, text in asked.items() if text is not None}
    manager = PluginManager()
    manager.discover_plugins()
    _require_it_exists(manager, method)
    found = manager.who(method, **wanted)
    able = [each for each in found if each.able]
    if as_json:
        emit([each._asdict() for each in found])
    else:
        _show(method, found, able)
    return OK if able or any(each.paired for each in found) else NOT_FOUND


def _require_it_exists(manager: PluginManager, method: str) -> None:
    """A name that is misspelt is no question that all plugins answer with no."""
    from difflib import get_close_matches

    from drivebay.driver import STANDARD

    known = sorted({*STANDARD, *manager.capability_index})
    if method not in known:
        near = get_close_matches(method, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise NothingFound(f"no method {method!r}{hint} (there are: {', '.join(known)})")


def _show(method: str, found: list[Ability], able: list[Ability]) -> None:
    if able:
        click.echo(_told(able))
    else:
        click.echo(f"no plugin declares a model that can do that with {method}")
    halves = [each for each in found if each.paired and not each.able]
    if halves:
        others = ", or one of these and one of those" if any(each.paired for each in able) else ""
        click.echo(f"\nwith a second instrument (--gate, --drain): two of these{others}")
        click.echo(_told(halves))
    claimed = [each for each in found if not each.able and not each.paired and each.model]
    if claimed:
        click.echo("\nnot these:")
    for each in claimed:
        click.echo(f"  {each.plugin} {each.model}: {'; '.join(each.why_not)}")
    silent = [each.plugin for each in found if not (each.able or each.paired or each.model)]
    if silent:
        shown = ", ".join(silent[:8]) + (", ..." if len(silent) > 8 else "")
        click.echo(f"\n{len(silent)} more do not claim {method}: {shown}")


def _told(found: list[Ability]) -> str:
    rows = [[each.plugin, each.model or None, "; ".join(each.reasons) or None] for each in found]
    return table(["plugin", "model", "because it declares"], rows)


__all__ = ["who"]
