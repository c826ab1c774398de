"""``drivebay runs verify``, ``rebuild`` and ``gc``: are the files whole, found, and worth keeping.

Promises: nothing is deleted; what goes is moved into the folder ``trash``, and only with ``--yes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.failures import FAILED
from drivebay.cli.output import counted, emit, json_option, table
from drivebay.cli.runs.listing import store

if TYPE_CHECKING:
    from drivebay import Run


@click.command("verify")
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every run there is.")
@json_option
@click.pass_context
def verify_runs(
    context: click.Context, names: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Check every byte of runs against their checksums; exits with 1 if something is damaged.

    Without a RUN, the last one.
    """
    if names and everything:
        raise click.UsageError("give RUNs or --all, not both")
    runs = store()
    found = runs.list() if everything else [runs.open(name) for name in names or ("last",)]
    checked = [_verified(run) for run in found]
    damaged = [each for each in checked if each["problems"]]
    if as_json:
        emit(checked)
    else:
        for each in damaged if everything else checked:
            click.echo(f"{each['run']}  {'damaged' if each['problems'] else 'whole'}")
            for problem in each["problems"]:
                click.echo(f"  {problem}")
        if everything:
            click.echo(f"{len(checked) - len(damaged)} whole, {len(damaged)} damaged")
    context.exit(FAILED if damaged else 0)


def _verified(run: Run) -> dict[str, Any]:
    """One run's answer; one that cannot be opened at all has its reason as the problem."""
    from drivebay import StoreError

    try:
        problems = list(run.verify())
    except StoreError as exc:
        problems = [str(exc)]
    return {"run": run.id, "path": str(run.path), "problems": problems}


@click.command("rebuild")
@json_option
def rebuild_catalogue(as_json: bool) -> None:
    """Make the catalogue anew from all run files.

    It is only an index, and mends itself when a list finds it missing or damaged; this does it at
    once, and reads every file.
    """
    runs = store()
    rebuilt = runs.rebuild()
    if as_json:
        emit({"runs": rebuilt.runs, "damaged": rebuilt.damaged, "kept": rebuilt.kept})
        return
    damaged = counted(rebuilt.damaged, "damaged file")
    click.echo(f"{counted(rebuilt.runs, 'run')} in {runs.folder}, {damaged}")
    if rebuilt.damaged:
        click.echo("  they are shown by: drivebay runs list --state damaged")
    if not rebuilt.kept:
        click.echo("  the catalogue cannot be written here; lists read the files instead")


@click.command("gc")
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option(
    "--older-than",
    metavar="AGE",
    default="30 days",
    show_default=True,
    help="Age before which a run without points can go.",
)
@click.option("--yes", is_flag=True, help="Move it; without this nothing is touched.")
@json_option
def collect_litter(names: tuple[str, ...], older_than: str, yes: bool, as_json: bool) -> None:
    """Show what can go, and with --yes move it into the folder `trash` beside the runs.

    That is: runs that failed, were aborted or interrupted before their first point and bear no
    value, tag or note, and files that killed programs left beside no run. A RUN that is named goes
    whatever it holds. Nothing is deleted; emptying the trash is yours.
    """
    runs = store()
    found = runs.gc(names, older_than=older_than, remove=yes)
    if as_json:
        emit(
            [
                {
                    "path": str(each.path),
                    "kind": each.kind,
                    "reason": each.reason,
                    "size": each.size,
                    "moved_to": None if each.moved_to is None else str(each.moved_to),
                }
                for each in found
            ]
        )
        return
    if not found:
        click.echo("nothing to throw away")
        return
    rows = [(each.path.relative_to(runs.folder), each.kind, each.reason) for each in found]
    click.echo(table(["file", "what", "why"], rows))
    size = counted(sum(each.size for each in found), "byte")
    files = counted(len(found), "file")
    if yes:
        click.echo(f"moved {files}, {size}, to {runs.folder / 'trash'}")
    else:
        click.echo(f"{files}, {size}; move to the trash with --yes")
