"""``drivebay runs plot``: runs as a picture, or in the terminal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from drivebay.cli.output import emit, json_option

if TYPE_CHECKING:
    from drivebay import Run

_PICTURES: Final = (".png", ".svg", ".pdf")


def check_picture(_ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    """Refuse a picture that cannot be drawn or has no folder, before anything is measured."""
    if path is None:
        return None
    if not path.lower().endswith(_PICTURES):
        raise click.BadParameter(f"{path!r} must end with one of {', '.join(_PICTURES)}")
    if not Path(path).parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(Path(path).parent)!r} to put it into")
    return path


def draw(run: Run, path: str) -> None:
    """Draw a run into a file; what cannot be drawn is a failure, not a bug."""
    try:
        run.plot(path)
    except ValueError as exc:
        raise click.ClickException(f"run {run.id} cannot be drawn: {exc}") from exc


def draw_over_each_other(runs: list[Run], path: str, log: bool | None = None) -> None:
    """Draw runs into one picture."""
    from drivebay.plotting import plot_runs

    _require_points(runs)
    try:
        plot_runs(runs, path, log)
    except ValueError as exc:
        names = ", ".join(run.id for run in runs)
        raise click.ClickException(f"runs {names} cannot be drawn together: {exc}") from exc


def _require_points(runs: list[Run]) -> None:
    """Axes with nothing on them say less than a sentence."""
    empty = [run.id for run in runs if not len(run)]
    if empty:
        raise click.ClickException(
            f"there is nothing to draw: no points in {', '.join(empty)};"
            f" what happened: drivebay runs show {empty[0]}"
        )


@click.command("plot")
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    callback=check_picture,
    help="PNG, SVG or PDF by its ending; by default RUN.png here.",
)
@click.option("--ascii", "as_text", is_flag=True, help="Draw in the terminal instead.")
@click.option(
    "--log/--linear",
    default=None,
    help="Whether to show the current on a logarithmic axis; by default where it spans decades.",
)
@json_option
def plot_run(
    names: tuple[str, ...], output: str | None, as_text: bool, log: bool | None, as_json: bool
) -> None:
    """Draw a run, or several over each other (a picture needs the extra [plot])."""
    from drivebay.cli.runs.listing import store

    if as_text and output:
        raise click.UsageError("--ascii draws in the terminal; leave out --output")
    runs = [store().open(name) for name in names or ("last",)]
    if as_text:
        text = _in_the_terminal(runs, log)
        if as_json:
            emit({"runs": [run.id for run in runs], "text": text})
        else:
            click.echo(text)
        return
    path = output or f"{runs[0].id}.png"
    draw_over_each_other(runs, path, log)
    if as_json:
        emit({"run": runs[0].id, "runs": [run.id for run in runs], "files": [path]})
    else:
        click.echo(f"wrote {path}")


def _in_the_terminal(runs: list[Run], log: bool | None) -> str:
    from drivebay.plotting import ascii_plot

    _require_points(runs)
    size = shutil.get_terminal_size((80, 24))
    simple = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()
    try:
        return ascii_plot(
            runs,
            min(size.columns, 120),
            max(12, min(size.lines - 2, 40)),
            log=log,
            ascii_only=simple,
        )
    except ValueError as exc:
        names = ", ".join(run.id for run in runs)
        raise click.ClickException(f"{names} cannot be drawn: {exc}") from exc
