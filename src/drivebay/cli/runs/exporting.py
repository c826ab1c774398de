"""``drivebay runs export``: a run in the form another program reads.

Promises: with a file, standard output names the files written; without one it is the run and
nothing else, so that it can be piped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from drivebay.cli.output import emit, json_option
from drivebay.cli.runs.listing import store

_ENDINGS: Final = {".csv", ".json", ".parquet", ".pq", ".h5", ".hdf5", ".nc", ".nc4", ".netcdf"}


@click.command("export")
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
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a JSON export instead.")
@json_option
def export_run(
    name: str, kind: str | None, output: str | None, force: bool, schema: bool, as_json: bool
) -> None:
    """Write a run as CSV, JSON, Parquet, HDF5 or NetCDF (the last three: extra [export]).

    The endings are .csv, .json, .parquet, .h5 and .nc. A CSV file gets what is known of the run in
    a second file beside it, NAME.csv.json. --json prints the names of the files written, or the
    run itself when there is no --output.
    """
    if schema:
        from drivebay import Run

        emit(Run.json_schema())
        return
    runs = store()
    run = runs.open(name)
    if output is None:
        runs.export(run, sys.stdout, "json" if as_json else kind or "csv")
        return
    ending = Path(output).suffix.lower()
    if kind is None and ending not in _ENDINGS:
        if ending:
            text = f"{output!r} must end with .csv, .json, .parquet, .h5 or .nc; or give --kind"
            raise click.BadParameter(text, param_hint="'--output' / '-o'")
        kind = "csv"
    files = runs.export(run, output, kind, overwrite=force)
    if as_json:
        emit({"run": run.id, "files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(f"wrote {file}")
