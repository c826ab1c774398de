"""``drivebay runs``: what was measured, to look at, to draw and to take away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from drivebay.cli.output import emit, heading, json_option, table
from drivebay.cli.replay import replay

if TYPE_CHECKING:
    from drivebay import Run, RunStore

_PICTURES: Final = (".png", ".svg", ".pdf")


def _store() -> RunStore:
    from drivebay import PluginManager, RunStore

    # The manager knows where home is; it discovers nothing here, so no plugin is looked at.
    return RunStore(PluginManager(plugin_dirs=[]).home / "runs")


@click.group()
def runs() -> None:
    """List, show, draw and export runs.

    RUN is an id, the beginning of an id, `last`, `last-1` and so on, or the path of a run's file.
    """


runs.add_command(replay)


@runs.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@json_option
def list_runs(limit: int, as_json: bool) -> None:
    """List runs, the newest first."""
    store = _store()
    found = store.list(limit)
    if as_json:
        emit([run.to_summary() for run in found])
        return
    if not found:
        click.echo(f"no runs yet in {store.folder}")
        click.echo("  make one: drivebay demo, or drivebay measure iv_sweep --on RESOURCE ...")
        return
    rows = [
        (
            run.id,
            run.state,
            run.method or None,
            len(run),
            _model_of(run),
            run.plugin.get("name"),
            run.started_at[:19].replace("T", " ") or None,
        )
        for run in found
    ]
    heads = ["run", "state", "method", "rows", "instrument", "plugin", "started (UTC)"]
    click.echo(table(heads, rows, right="   r"))


def _model_of(run: Run) -> str | None:
    model = run.identity.get("model") if isinstance(run.identity, dict) else None
    return str(model) if model else run.resource or None


@runs.command("show")
@click.argument("name", metavar="[RUN]", default="last")
@json_option
def show_run(name: str, as_json: bool) -> None:
    """Show one run: how it was made, and its first and last rows.

    With --json: everything, all points included.
    """
    run = _store().open(name)
    if as_json:
        emit(run.to_dict())
        return
    show(run)


def show(run: Run, rows: int = 12) -> None:
    """Print a run for a person."""
    from drivebay.plotting import engineering

    click.echo(heading(f"{run.id}  {run.method}  {run.state}, {len(run)} rows"))
    if run.reason:
        click.echo(f"  {run.reason}")
    identity = run.identity if isinstance(run.identity, dict) else {}
    who = " ".join(filter(None, (identity.get(k, "") for k in ("manufacturer", "model", "serial"))))
    plugin = run.plugin
    sha = (plugin.get("sha256") or "")[:12]
    facts = [
        ("instrument", f"{who} at {run.resource}" if who else run.resource),
        ("plugin", f"{plugin.get('name')} {plugin.get('version')}" + (f" ({sha})" if sha else "")),
        ("started", f"{run.started_at} ({engineering(run.duration_s, 's')})"),
        ("file", str(run.path)),
    ]
    facts += [(f"  {key}", str(value)) for key, value in run.parameters.items()]
    for key, value in facts:
        click.echo(f"  {key:<18}{value}")
    if run.values:
        for key, value in run.values.items():
            click.echo(f"  {key:<18}{value}")
    if len(run):
        click.echo()
        click.echo(rows_table(run, rows))


def rows_table(run: Run, rows: int) -> str:
    """At most so many rows of a run, evenly spread, the first and the last among them."""
    from drivebay.plotting import engineering

    columns, units, kinds = run.columns, run.units, run.kinds
    total = len(run)
    places = sorted({round(at * (total - 1) / max(1, rows - 1)) for at in range(min(rows, total))})
    heads = ["row", *columns]
    body = []
    for place in places:
        cells = [str(place)]
        for name, array in columns.items():
            value = array[place]
            if kinds[name] == "float":
                number = float(value)
                cells.append("-" if number != number else engineering(number, units[name], 4))
            elif kinds[name] == "bool":
                cells.append("yes" if value else "no")
            else:
                cells.append(f"{value} {units[name]}".strip())
        body.append(cells)
    return table(heads, body, right="r" * len(heads))


@runs.command("export")
@click.argument("name", metavar="[RUN]", default="last")
@click.option(
    "--kind",
    "--format",
    "kind",
    type=click.Choice(["csv", "json", "parquet", "hdf5", "netcdf"]),
    help="By default the ending of the file, else csv.",
)
@click.option("--output", "-o", metavar="FILE", help="By default standard output.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@json_option
def export_run(name: str, kind: str | None, output: str | None, force: bool, as_json: bool) -> None:
    """Write a run as CSV, JSON, Parquet, HDF5 or NetCDF (the last three: extra [export]).

    The endings are .csv, .json, .parquet, .h5 and .nc. A CSV file gets what is known of the run in
    a second file beside it, NAME.csv.json. --json prints the names of the files written, or the
    run itself when there is no --output.
    """
    store = _store()
    run = store.open(name)
    if output is None:
        store.export(run, sys.stdout, "json" if as_json else kind or "csv")
        return
    if kind is None and not Path(output).suffix:
        kind = "csv"
    files = store.export(run, output, kind, overwrite=force)
    if as_json:
        emit({"run": run.id, "files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(f"wrote {file}")


def check_picture(_ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    """Refuse a picture file of a kind that cannot be drawn, before anything is measured."""
    if path is not None and not path.lower().endswith(_PICTURES):
        raise click.BadParameter(f"{path!r} must end with one of {', '.join(_PICTURES)}")
    return path


def draw(run: Run, path: str) -> None:
    """Draw a run into a file; what cannot be drawn is a failure, not a bug."""
    try:
        run.plot(path)
    except ValueError as exc:
        raise click.ClickException(f"run {run.id} cannot be drawn: {exc}") from exc


@runs.command("plot")
@click.argument("name", metavar="[RUN]", default="last")
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    callback=check_picture,
    help="PNG, SVG or PDF by its ending; by default RUN.png here.",
)
@json_option
def plot_run(name: str, output: str | None, as_json: bool) -> None:
    """Draw a run into a picture (needs the extra [plot])."""
    run = _store().open(name)
    path = output or f"{run.id}.png"
    draw(run, path)
    if as_json:
        emit({"run": run.id, "files": [path]})
    else:
        click.echo(f"wrote {path}")
