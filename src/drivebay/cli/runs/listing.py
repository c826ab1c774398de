"""``drivebay runs list``: the runs that meet some criteria, newest first.

Promises: what is shown was read from the files a moment ago; nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from drivebay.cli.output import counted, emit, json_option, table
from drivebay.cli.runs.saying import clean

if TYPE_CHECKING:
    from drivebay import Run, RunStore

_Command = TypeVar("_Command", bound=Callable[..., Any])

STATES: Final = ("running", "done", "aborted", "failed", "interrupted", "damaged")
_FILTERS: Final = (
    ("--method", "METHOD", "The measurement's name."),
    ("--alias", "NAME", "The instrument's name in the bench file."),
    ("--model", "MODEL", "The instrument's model, as it says itself."),
    ("--serial", "NUMBER", "Its serial number."),
    ("--resource", "ADDRESS", "Its address."),
    ("--plugin", "PLUGIN", "The driver plugin."),
    ("--user", "USER", "Who measured."),
    ("--since", "TIME", 'An age ("2 days"), "today", or a moment ("2026-11-22 14:30").'),
    ("--until", "TIME", "Runs that began before; likewise."),
    ("--text", "WORDS", "Words that all occur in what is known of the run, notes included."),
)


def store() -> RunStore:
    """The runs of this home."""
    from drivebay import PluginManager, RunStore

    # The manager knows where home is; it discovers nothing here, so no plugin is looked at.
    return RunStore(PluginManager(plugin_dirs=[]).home / "runs")


def filters(command: _Command) -> _Command:
    """Give a command the criteria of a search."""
    state = click.option("--state", type=click.Choice(STATES), help="What became of it.")
    tag = click.option("--tag", multiple=True, metavar="TAG", help="A tag it has; may be repeated.")
    wrapped = tag(state(command))
    for name, metavar, text in reversed(_FILTERS):
        wrapped = click.option(name, metavar=metavar, help=text)(wrapped)
    return wrapped


@click.command("list")
@filters
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@json_option
def list_runs(limit: int, everything: bool, as_json: bool, **criteria: Any) -> None:
    """List runs, the newest first."""
    runs = store()
    most = None if everything else limit
    # One more than is shown tells whether there are more.
    with criteria_told():
        found = runs.search(**criteria, limit=None if most is None else most + 1)
    shown = found[:most]
    if as_json:
        emit([summary(run) for run in shown])
        return
    if not found:
        _say_why_none(runs, any(criteria.values()))
        return
    click.echo(runs_table(shown))
    if len(found) > len(shown):
        click.echo(f"... and older ones: --limit {limit * 5} or --all", err=True)


@contextmanager
def criteria_told() -> Iterator[None]:
    """A time nobody can read is a wrong command line, not a failure of the store."""
    from drivebay import RunError, StoreError

    try:
        yield
    except RunError as exc:
        if isinstance(exc, StoreError | LookupError):
            raise
        raise click.UsageError(str(exc)) from exc


def summary(run: Run) -> dict[str, Any]:
    """A run without its points, as a script wants it."""
    return {**run.to_summary(), "path": str(run.path), **marks(run)}


def marks(run: Run) -> dict[str, Any]:
    """What people said of a run; damage there is told and hides nothing else."""
    from drivebay import StoreError

    if run.state == "damaged":
        return {"tags": [], "notes": []}
    try:
        notes = [{"at": note.at, "by": note.by, "text": note.text} for note in run.notes]
        return {"tags": list(run.tags), "notes": notes}
    except StoreError as exc:
        return {"tags": [], "notes": [], "problem": str(exc)}


def runs_table(found: list[Run]) -> str:
    """Runs, one a line."""
    from drivebay.plotting import engineering

    def line(run: Run) -> tuple[object, ...]:
        damaged = run.state == "damaged"
        return (
            clean(run.id),
            run.state,
            clean(run.method) or None,
            f"{len(run):,}",
            instrument_of(run),
            clean(str(run.plugin.get("name") or "")) or None,
            None if damaged else engineering(run.duration_s, "s"),
            clean(run.started_at[:19].replace("T", " ")) or None,
            clean(_remark(run)),
        )

    heads = ["run", "state", "method", "rows", "instrument", "plugin", "took", "started (UTC)"]
    return table([*heads, "tags"], map(line, found), right="   r  r")


def _remark(run: Run) -> str:
    """Tags, or what is wrong with the file."""
    if run.state == "damaged":
        return (run.reason or "")[:60]
    said = marks(run)
    return said["problem"][-60:] if "problem" in said else " ".join(said["tags"])


def instrument_of(run: Run) -> str | None:
    """The name a person has for the instrument: of the bench, or its model, or its address."""
    model = run.identity.get("model") if isinstance(run.identity, dict) else None
    named = [str(name) for name in (run.bench.get("alias"), model) if name]
    return clean(" ".join(named) or run.resource) or None


def _say_why_none(runs: RunStore, filtered: bool) -> None:
    if filtered and runs.ids():
        click.echo(f"{counted(len(runs.ids()), 'run')} in {runs.folder}, none like that")
        return
    click.echo(f"no runs yet in {runs.folder}")
    click.echo("  make one: drivebay demo, or drivebay measure iv_sweep --on RESOURCE ...")
