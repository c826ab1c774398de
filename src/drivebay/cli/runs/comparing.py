"""``drivebay runs compare``: in what two or more runs differ, and by how much.

Promises: what is not shown is alike; numbers are compared row by row only where the rows belong
together, and by their statistics where they do not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.output import emit, heading, json_option, table
from drivebay.cli.runs.drawing import check_picture, draw_over_each_other
from drivebay.cli.runs.listing import store
from drivebay.cli.runs.saying import clean, quantity, span

if TYPE_CHECKING:
    from drivebay import Run

_ABSENT: Final = "-"
_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


@click.command("compare")
@click.argument("names", metavar="RUN RUN...", nargs=-1, required=True)
@click.option("--plot", metavar="FILE", callback=check_picture, help="Draw them over each other.")
@json_option
def compare_runs(names: tuple[str, ...], plot: str | None, as_json: bool) -> None:
    """Show in what runs differ: parameters, instrument, code, limits and points.

    Every run is compared with the first.
    """
    if len(names) < 2:
        raise click.UsageError("name at least two runs")
    runs = [store().open(name) for name in names]
    facts = [_facts(run) for run in runs]
    found = {
        "runs": [run.id for run in runs],
        "method": runs[0].method,
        "differences": _differences(facts),
        "code": [_code(runs[0], run) for run in runs[1:]],
        "columns": [_columns(runs[0], run) for run in runs[1:]],
    }
    if not as_json:
        _tell(found)  # also where they cannot be drawn: what differs says why
    if plot:
        draw_over_each_other(runs, plot)
        found["files"] = [plot]
    if as_json:
        emit(found)
    elif plot:
        click.echo(f"wrote {plot}")


def _facts(run: Run) -> dict[str, Any]:
    """What may differ, flat, in the order in which a person asks."""
    found: dict[str, Any] = {"method": run.method, "state": run.state, "rows": len(run)}
    found |= _flat("parameters", run.parameters)
    if run.instruments:
        for name, each in run.instruments.items():
            found |= {f"{name}.{key}": value for key, value in _of_instrument(each).items()}
    else:
        bench = {**run.bench, "limits": run.limits}
        about = {"identity": run.identity, "resource": run.resource, "plugin": run.plugin}
        alone = {**about, "config": run.provenance.get("config"), "bench": bench}
        found |= _of_instrument(alone)
    found |= _flat("values", run.values)
    found["user"] = run.provenance.get("user")
    return found


def _of_instrument(each: Mapping[str, Any]) -> dict[str, Any]:
    """What may differ of an instrument and of its driver."""
    bench = each.get("bench") or {}
    identity = each.get("identity")
    found = _flat("instrument", identity if isinstance(identity, Mapping) else {})
    found |= {"resource": each.get("resource") or None, "alias": bench.get("alias") or None}
    found |= _flat("plugin", each.get("plugin") or {})
    found |= _flat("options", each.get("config") or {})
    return found | _flat("limits", bench.get("limits") or {})


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flat(f"{prefix}.{key}", item)
    return found


def _differences(facts: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Facts that are not the same in all runs: what each says."""
    names = list(dict.fromkeys(name for each in facts for name in each))
    said = {name: [each.get(name) for each in facts] for name in names}
    return {name: values for name, values in said.items() if any(v != values[0] for v in values)}


def _code(first: Run, other: Run) -> dict[str, Any]:
    """How the driver's files differ, as a unified diff a file."""
    before, now = first.sources, other.sources
    lines: list[str] = []
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            lines += difflib.unified_diff(
                _lines(before.get(name)),
                _lines(now.get(name)),
                f"{first.id}/{name}" if name in before else "/dev/null",
                f"{other.id}/{name}" if name in now else "/dev/null",
                lineterm="",
            )
    same = first.plugin.get("sha256") == other.plugin.get("sha256")
    known = bool(before) and bool(now)
    return {"run": other.id, "same": same, "known": known, "diff": lines if known else []}


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "backslashreplace").splitlines()


def _columns(first: Run, other: Run) -> dict[str, Any]:
    """How far the points are apart, row by row if both have as many."""
    by_row = len(first) == len(other) > 0
    shared = [name for name in first if name in other and first.kinds[name] != "bool"]
    columns = [_column(first, other, name, by_row) for name in shared]
    only = {run.id: [n for n in run if n not in rest] for run, rest in _both(first, other)}
    return {"run": other.id, "by_row": by_row, "columns": columns, "only": only}


def _both(first: Run, other: Run) -> Iterator[tuple[Run, Run]]:
    yield first, other
    yield other, first


def _column(first: Run, other: Run, name: str, by_row: bool) -> dict[str, Any]:
    import numpy as np

    before, now = (np.asarray(run[name], dtype=float) for run in (first, other))
    found: dict[str, Any] = {
        "name": name,
        "unit": first.units[name],
        "means": [_mean(before), _mean(now)],
        "greatest": None,
        "at_row": None,
        "rms": None,
    }
    if by_row:
        with np.errstate(invalid="ignore", over="ignore"):  # infinities
            apart = np.abs(now - before)
        # Where both lack a number they agree; where one does, there is no number to give.
        there = np.isfinite(apart)
        if there.any():
            at_row = int(np.where(there, apart, -1.0).argmax())
            found["greatest"], found["at_row"] = float(apart[at_row]), at_row
            found["rms"] = float(np.sqrt(np.mean(apart[there] ** 2)))
        found["one_lacks"] = int((np.isnan(before) != np.isnan(now)).sum())
    return found


def _mean(values: Any) -> float | None:
    import numpy as np

    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else None


def _tell(found: dict[str, Any]) -> None:
    runs = found["runs"]
    methods = found["differences"].get("method") or [found["method"]] * len(runs)
    rows = [
        [name, *(_cell(name, value, method) for value, method in zip(values, methods, strict=True))]
        for name, values in found["differences"].items()
    ]
    click.echo(table(["differs", *runs], rows) if rows else "all facts are the same")
    for code in found["code"]:
        _tell_code(runs[0], code)
    for columns in found["columns"]:
        _tell_columns(runs[0], columns)


def _cell(name: str, value: Any, method: str) -> str:
    """A fact as a person says it: parameters, limits and results with their units."""
    if value is None or value == "":
        return _ABSENT
    section, _, key = name.partition(".")
    if key.partition(".")[0] in {"limits", "options"}:  # of one instrument among several
        section, _, key = key.partition(".")
    if section == "limits":
        text = span(key, value)
    elif section in {"parameters", "values"}:
        text = quantity(key, value, method)
    elif section == "options":
        text = quantity(key, value)
    else:
        text = f"{value:,}" if name == "rows" else str(value)
    return clean(text if len(text) <= 40 else f"{text[:37]}...")


def _tell_code(first: str, code: dict[str, Any]) -> None:
    click.echo()
    if code["same"]:
        click.echo(heading(f"code: {first} and {code['run']} ran the same"))
    elif not code["known"]:
        click.echo(heading(f"code: of {first} or {code['run']} it was not kept"))
    else:
        click.echo(heading(f"code: {first} and {code['run']} differ"))
        for line in code["diff"]:
            click.secho(clean(line), fg=_COLOURS.get(line[:1]))


def _tell_columns(first: str, found: dict[str, Any]) -> None:
    from drivebay.plotting import engineering

    click.echo()
    how = "row by row" if found["by_row"] else "by their means, as they differ in length"
    click.echo(heading(f"points: {first} and {found['run']}, {how}"))
    rows = []
    for column in found["columns"]:
        numbers = [*column["means"], column["greatest"], column["rms"]]
        cells = [_ABSENT if n is None else engineering(n, column["unit"], 4) for n in numbers]
        at = _ABSENT if column["at_row"] is None else str(column["at_row"])
        rows.append([column["name"], *cells[:3], at, cells[3]])
    heads = ["column", "mean", "mean now", "greatest |difference|", "at row", "rms"]
    click.echo(table(heads, rows, right=" rrrrr"))
    for run, names in found["only"].items():
        if names:
            click.echo(f"  only in {run}: {', '.join(names)}")
