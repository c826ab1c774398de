"""``drivebay find`` and ``drivebay explain``: who is there, and which plugin serves it, and why."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.bench import bench_option
from drivebay.cli.failures import NOT_FOUND, OK, USAGE
from drivebay.cli.output import emit, heading, json_option, table

if TYPE_CHECKING:
    from drivebay import Candidate, Found, PluginManager


@click.command()
@click.argument("resources", nargs=-1, metavar="[INSTRUMENT]...")
@bench_option
@click.option("--network", is_flag=True, help="Search the local network too: sends broadcasts.")
@click.option("--serial", is_flag=True, help="Ask what hangs on the serial ports too.")
@json_option
def find(
    resources: tuple[str, ...], bench: Path | None, network: bool, serial: bool, as_json: bool
) -> int:
    """Ask instruments who they are, and show which plugin serves each.

    An INSTRUMENT is a name of the bench or an address. Without one it looks at the bench, at the
    addresses in DRIVEBAY_RESOURCES and at what VISA lists on USB and GPIB; --network (two or three
    seconds) and --serial widen the search. Only `*IDN?` is sent, and nothing to an instrument that
    somebody holds: it is shown with its holder. With --json: a list of objects with resource,
    alias, idn, plugin, candidates, identity, holder and error.
    """
    from drivebay import Bay

    with Bay(bench=bench) as bay:
        if network and not (resources or as_json) and sys.stderr.isatty():
            click.echo("searching the network ...", err=True)
        found = bay.find(list(resources) or None, network=network, serial=serial)
    there = [each for each in found if each.idn is not None or each.holder]
    if as_json:
        emit([found_data(each) for each in found])
    else:
        _show_found(found)
        if not found:
            click.echo("no instrument found: VISA lists none, DRIVEBAY_RESOURCES names none")
            click.echo("  search wider: drivebay find --network, drivebay find --serial")
            click.echo("  name one: drivebay find TCPIP::192.0.2.10::5025::SOCKET")
            click.echo("  or start simulated ones: drivebay sim --all --bench-file bench.yaml")
    if found and all(_is_no_address(each) for each in found):
        return USAGE
    return OK if there else NOT_FOUND


def found_data(found: Found) -> dict[str, Any]:
    """One address that was looked at, as plain data."""
    return {
        "resource": found.resource,
        "alias": found.alias or None,
        "idn": found.idn,
        "plugin": found.plugin,
        "candidates": [candidate._asdict() for candidate in found.candidates],
        "identity": dict(found.identity),
        "holder": dict(found.holder) or None,
        "error": found.error,
    }


def _show_found(found: Sequence[Found]) -> None:
    answered = [each for each in found if each.idn is not None]
    listed = [each for each in found if each.idn is not None or each.holder]
    if listed:
        heads, rows = _columns(listed)
        click.echo(table(heads, rows))
    for each in found:
        if each.error is not None and not each.holder:
            click.echo(_trouble(each), err=True)
    if any(_is_silent(each) for each in found):
        click.echo("  is it switched on, connected, and free?", err=True)
    for each in answered:
        if each.plugin is None:
            click.echo(f"{_name(each)}: no plugin serves {each.idn!r}", err=True)
            click.echo(f"  why not: drivebay explain {each.resource}", err=True)


def _is_silent(found: Found) -> bool:
    """Whether it is an address, and nobody answered there."""
    return found.error is not None and not found.holder and not _is_no_address(found)


def _is_no_address(found: Found) -> bool:
    return (found.error or "").startswith("V0")


def _trouble(found: Found) -> str:
    """Why one did not answer; the address once, and without the name of a class."""
    text = re.sub(r"^\w+Error: ", "", found.error or "").removeprefix(f"{found.resource}: ")
    return f"{_name(found)}: {text}"


def _name(found: Found) -> str:
    return f"{found.alias} ({found.resource})" if found.alias else found.resource


def _columns(listed: Sequence[Found]) -> tuple[list[str], list[list[object]]]:
    """The table; names of a bench and holders are columns only where there are any."""
    aliases, holders = any(each.alias for each in listed), any(each.holder for each in listed)
    heads = ["resource", "manufacturer", "model", "serial", "plugin"]
    if aliases:
        heads.insert(0, "alias")
    if holders:
        heads.append("held by")
    rows: list[list[object]] = []
    for each in listed:
        who = each.identity
        plugin = each.plugin or ("none" if each.idn is not None else None)
        row: list[object] = [each.resource, who.get("manufacturer"), who.get("model")]
        row += [who.get("serial"), plugin]
        if aliases:
            row.insert(0, each.alias or None)
        if holders:
            row.append(holder_text(each.holder) or None)
        rows.append(row)
    return heads, rows


def holder_text(holder: Mapping[str, Any]) -> str:
    """Who has an instrument, for a person; empty when nobody does.

    >>> holder_text({"user": "ann", "program": "ipython", "pid": 7, "since": "2026-01-01T09:00:00"})
    'ann (ipython, process 7) since 2026-01-01T09:00:00'
    """
    if not holder:
        return ""
    said = {"user": "?", "program": "?", "pid": "?", "since": "?", **holder}
    return "{user} ({program}, process {pid}) since {since}".format(**said)


@click.command()
@click.argument("text", metavar="IDN_OR_RESOURCE")
@json_option
def explain(text: str, as_json: bool) -> int:
    """Say which plugins were considered for an instrument, and why or why not.

    IDN_OR_RESOURCE is a model (2400), a whole `*IDN?` reply in quotes, or the address of an
    instrument (or its name on the bench), which is then asked. With --json: one object with idn,
    resource, plugin, candidates.
    """
    from drivebay import Bay, NoDriverError

    with Bay() as bay:
        resource: str | None = None
        idn = text
        if _is_address(text) or (bay.bench is not None and text in bay.bench.instruments):
            found = bay.find([text])[0]
            if found.idn is None:
                raise NoDriverError(f"{found.resource} cannot be asked: {found.error}")
            resource, idn, candidates = found.resource, found.idn, list(found.candidates)
        else:
            candidates = bay.plugins.explain(text)
        plugin = next((each.plugin for each in candidates if each.usable), None)
        if as_json:
            listed = [each._asdict() for each in candidates]
            emit({"idn": idn, "resource": resource, "plugin": plugin, "candidates": listed})
        else:
            _show_candidates(idn, plugin, candidates, bay.plugins)
    return OK if plugin is not None else NOT_FOUND


def _is_address(text: str) -> bool:
    """Whether a text is a VISA address: no model and no ``*IDN?`` reply has a double colon."""
    return "::" in text or text.upper().startswith("ASRL")


def _show_candidates(
    idn: str, plugin: str | None, candidates: Sequence[Candidate], plugins: PluginManager
) -> None:
    click.echo(heading(idn))
    for each in candidates:
        mark = "chosen" if each.plugin == plugin and each.usable else "usable"
        click.echo(f"  {each.plugin}: {mark if each.usable else 'not usable'}")
        for reason in each.why:
            click.echo(f"    + {reason}")
        for reason in each.why_not:
            click.echo(f"    - {reason}")
    if not candidates:
        found = plugins.plugins.values()
        listed = {model for each in found for model in each.metadata.supported_models}
        known = ", ".join(sorted(listed)) or "none"
        click.echo(f"  no plugin claims it; models known: {known}")
    if plugin is None:
        click.echo("  begin a driver for it: drivebay new NAME --model MODEL", err=True)
