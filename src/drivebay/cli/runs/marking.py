"""``drivebay runs tag`` and ``note``: what a person wants to remember of a run.

Promises: a mark is on the disk when the command ends, also of a run that is being taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from drivebay.cli.output import emit, json_option
from drivebay.cli.runs.listing import marks, store
from drivebay.cli.runs.saying import clean, local

if TYPE_CHECKING:
    from drivebay import Run


@click.command("tag")
@click.argument("name", metavar="RUN")
@click.argument("tags", metavar="TAG...", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take the tags away.")
@json_option
def tag_run(name: str, tags: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """Put tags on a run: short words to find it by."""
    run = store().open(name)
    if remove:
        run.untag(*tags)
    else:
        run.tag(*tags)
    _tell(run, as_json)


@click.command("note")
@click.argument("name", metavar="RUN")
@click.argument("text", metavar="TEXT...", nargs=-1, required=True)
@click.option("--by", metavar="WHO", help="Who says so; by default the user of this machine.")
@json_option
def note_run(name: str, text: tuple[str, ...], by: str | None, as_json: bool) -> None:
    """Write a note into a run; notes are kept with author and time, and never taken away."""
    run = store().open(name)
    run.note(" ".join(text), by)
    _tell(run, as_json)


def _tell(run: Run, as_json: bool) -> None:
    if as_json:
        emit({"run": run.id, **marks(run)})
        return
    click.echo(clean(f"{run.id}  {' '.join(run.tags) or 'no tags'}"))
    for note in run.notes:
        click.echo(clean(f"  {local(note.at)} {note.by}: {note.text}"))
