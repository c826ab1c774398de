"""``drivebay estop`` and ``drivebay acknowledge``: everything off, and what a person says after it.

Promises: one row for each instrument that Drivebay opened on this machine; "off" only where the
instrument itself said so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from drivebay.cli.failures import FAILED, OK, NothingFound
from drivebay.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from drivebay import SafeStateReport


@click.command()
@json_option
def estop(as_json: bool) -> int:
    """Switch off every output that Drivebay opened on this machine, whoever opened it.

    Needs no lease. Also what a program that was killed left on is switched off. Each instrument is
    off (it said so), unsafe (it says otherwise, or does not answer) or not confirmed. Programs
    cannot switch on again until you acknowledge that or they open the instrument anew.

    This is software: it cannot switch off what has lost its cable or hangs. Use the interlock of
    the instrument where somebody can be hurt.

    Exits with 1 unless every output said that it is off. With --json: a list of objects with
    resource, state, verified, sent and problems.
    """
    from drivebay import all_outputs_off

    found = all_outputs_off()
    if as_json:
        emit(
            [
                {
                    "resource": resource,
                    "state": _state(report),
                    "verified": report.verified,
                    "sent": report.sent,
                    "problems": report.problems,
                }
                for resource, report in found.items()
            ]
        )
    elif not found:
        click.echo("nothing is open on this machine, and nothing was left on")
    else:
        rows = [
            [resource, _state(report), "; ".join(report.problems) or None]
            for resource, report in found.items()
        ]
        click.echo(table(["resource", "state", "why"], rows))
    return OK if all(_state(report) == "off" for report in found.values()) else FAILED


def _state(report: SafeStateReport) -> str:
    if report.verified is None:
        return "not confirmed"
    return "off" if report.confirmed else "unsafe"


@click.command()
@click.argument("instrument", metavar="INSTRUMENT")
@json_option
def acknowledge(instrument: str, as_json: bool) -> int:
    """Say that you have looked at an instrument that could not be made safe.

    It can be opened and switched on again then. The same goes for one that was switched off by
    `drivebay estop` and is still open. INSTRUMENT is an address, or a name of the bench file.

    Exits with 3 if there was nothing to acknowledge. With --json: one object with resource and
    acknowledged.
    """
    import drivebay

    resource = _address(instrument)
    was = drivebay.acknowledge(resource)
    if as_json:
        emit({"resource": resource, "acknowledged": was})
        return OK if was else NothingFound.exit_code
    if not was:
        raise NothingFound(f"{resource}: there is nothing to acknowledge")
    click.echo(f"{resource}: acknowledged, it can be switched on again")
    return OK


def _address(instrument: str) -> str:
    """The address of what the bench file names so, else the word itself."""
    from drivebay import PluginManager, find_bench, load_bench

    path = None if "::" in instrument else find_bench(PluginManager(plugin_dirs=[]).home)
    if path is None:
        return instrument
    known = load_bench(path).instruments
    return known[instrument].resource if instrument in known else instrument
