"""``drivebay runs show``: everything about one run on one screen.

Promises: what is cut short says how much there is; a source file of a run, which may be anybody's,
is written only into the folder that was named, and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.output import counted, emit, heading, json_option, table
from drivebay.cli.runs.listing import marks, store
from drivebay.cli.runs.saying import clean, local, quantity, short, span

if TYPE_CHECKING:
    from drivebay import Run

_MOST_EVENTS: Final = 12
_NARROWEST: Final = 18  # so that the facts of two runs stand in the same column, most of the time


@click.command("show")
@click.argument("name", metavar="[RUN]", default="last")
@click.option("--transcript", is_flag=True, help="Every message to and from the instrument.")
@click.option(
    "--sources",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the driver's files that ran into a new folder.",
)
@json_option
def show_run(name: str, transcript: bool, sources: Path | None, as_json: bool) -> None:
    """Show one run: how it was made, what happened, and its first and last rows.

    With --json: everything, all points included.
    """
    run = store().open(name)
    if sources is not None:
        _tell_files(run, _write_sources(run, sources), as_json)
    elif as_json:
        emit(_everything(run, transcript))
    elif transcript:
        for message in run.messages():
            click.echo(_line(message))
    else:
        show(run)


def show(run: Run, rows: int = 12) -> None:
    """Print a run for a person."""
    click.echo(heading(clean(f"{run.id}  {run.method}  {run.state}, {counted(len(run), 'row')}")))
    facts = list(_facts(run))
    width = max(_NARROWEST, *(len(key) + 1 for key, _ in facts))
    for key, value in facts:
        click.echo(clean(f"  {key:<{width}}{value}"))
    if len(run):
        click.echo()
        click.echo(rows_table(run, rows))


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """Everything but the points, a line each; what is damaged says so and hides nothing else."""
    from drivebay import StoreError

    if run.reason:
        yield ("why failed" if run.state == "failed" else f"why {run.state}"), run.reason
    sections = (
        _instrument_facts,
        _origin_facts,
        _parameter_facts,
        _result_facts,
        _mark_facts,
        _event_facts,
    )
    for section in sections:
        try:
            yield from section(run)
        except StoreError as exc:
            yield "damaged", str(exc)


def _result_facts(run: Run) -> Iterator[tuple[str, str]]:
    benches = {name: each.get("bench") or {} for name, each in run.instruments.items()}
    for name, bench in (benches or {"": run.bench}).items():
        for key, value in (bench.get("limits") or {}).items():
            yield f"limit {name} {key}".replace("  ", " "), span(key, value)
    for key, value in run.values.items():
        yield key, quantity(key, value, run.method)


def _mark_facts(run: Run) -> Iterator[tuple[str, str]]:
    if run.tags:
        yield "tags", " ".join(run.tags)
    for note in run.notes:
        yield "note", f"{note.text} ({note.by}, {local(note.at)})"


def _instrument_facts(run: Run) -> Iterator[tuple[str, str]]:
    if run.instruments:
        for name, each in run.instruments.items():
            alias, resource = str(each.get("alias") or ""), str(each.get("resource") or "")
            yield from _who(name, alias, each.get("identity"), resource)
        return
    yield from _who("instrument", str(run.bench.get("alias") or ""), run.identity, run.resource)


def _who(name: str, alias: str, identity: object, resource: str) -> Iterator[tuple[str, str]]:
    known = identity if isinstance(identity, dict) else {}
    names = (str(known.get(key) or "") for key in ("manufacturer", "model", "serial"))
    who = " ".join(filter(None, (alias, *names)))
    if who or resource:
        yield name, " at ".join(filter(None, (who, resource)))
    if firmware := known.get("firmware"):
        yield "  firmware" if name != "instrument" else "firmware", str(firmware)


def _origin_facts(run: Run) -> Iterator[tuple[str, str]]:
    from drivebay.plotting import engineering

    plugin, files = run.plugin, len(run.sources)
    if plugin.get("name"):
        sha = str(plugin.get("sha256") or "")[:12]
        code = ", ".join(filter(None, (sha, f"{counted(files, 'file')} kept" if files else "")))
        named = f"{plugin['name']} {plugin.get('version') or ''}".strip()
        yield "plugin", f"{named} ({code})" if code else named
    else:
        yield "plugin", "none: stored by a program of its own"
    yield "started", f"{local(run.started_at)} (took {engineering(run.duration_s, 's')})"
    made = run.provenance
    by = " on ".join(filter(None, (str(made.get("user") or ""), str(made.get("host") or ""))))
    if by:
        program = made.get("program")
        yield "by", f"{by}, {program}" if program else by
    yield "file", f"{run.path} ({counted(run.path.stat().st_size, 'byte')})"


def _parameter_facts(run: Run) -> Iterator[tuple[str, str]]:
    for key, value in run.parameters.items():
        yield f"  {key}", quantity(key, value, run.method)
    told = {name: each.get("config") for name, each in run.instruments.items()}
    for name, options in (told or {"": run.provenance.get("config")}).items():
        for key, value in (options if isinstance(options, Mapping) else {}).items():
            yield f"option {name} {key}".replace("  ", " "), quantity(key, value)


def _event_facts(run: Run) -> Iterator[tuple[str, str]]:
    events = run.events
    for seconds, kind, data in events[:_MOST_EVENTS]:
        told = data
        if isinstance(data, Mapping):  # clocks are for programs, and long
            told = {key: item for key, item in data.items() if key != "clock" and item is not None}
        yield f"{seconds:+.3f} s", f"{kind} {short(told)}" if told not in (None, {}) else kind
    if len(events) > _MOST_EVENTS:
        more = counted(len(events) - _MOST_EVENTS, "more event")
        yield "", f"... and {more} (--json has all)"


def _everything(run: Run, transcript: bool) -> dict[str, Any]:
    events = [{"time_s": at, "kind": kind, "data": data} for at, kind, data in run.events]
    found = {
        **run.to_dict(),
        "path": str(run.path),
        **marks(run),
        "limits": run.limits,
        "bench": run.bench,
        "events": events,
        "sources": sorted(run.sources),
    }
    if transcript:
        found["transcript"] = [
            {
                "time_s": message.time_ns / 1e9,
                "phase": message.phase,
                "instrument": message.instrument,
                "direction": message.direction,
                "data": message.data.decode("ascii", "backslashreplace"),
            }
            for message in run.messages()
        ]
    return found


def _line(message: Any) -> str:
    """One message, in the width of a terminal, with what cannot be printed spelt out."""
    mark = ">" if message.direction == "w" else "<"
    text = message.data.decode("ascii", "backslashreplace").rstrip("\r\n")
    text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    whose = f" {message.instrument:<5}" if message.instrument else ""
    return f"{message.time_ns / 1e9:+12.6f} {message.phase[:7]:<7}{whose} {mark} {text}"


def _write_sources(run: Run, folder: Path) -> list[Path]:
    """Write the files that ran; a folder with something in it is left alone."""
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty; name a new folder")
    sources = run.sources
    if not sources:
        raise click.ClickException(f"run {run.id} holds no source files")
    for name in sources:
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in name or "\0" in name:
            raise click.ClickException(f"run {run.id} would write {name!r} outside of {folder}")
    written = []
    for name, content in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return written


def _tell_files(run: Run, files: list[Path], as_json: bool) -> None:
    if as_json:
        emit({"run": run.id, "files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(f"wrote {file}")


def rows_table(run: Run, rows: int) -> str:
    """At most so many rows of a run, evenly spread, the first and the last among them."""
    from drivebay.plotting import engineering

    columns, units, kinds = run.columns, run.units, run.kinds
    shown, last = min(rows, len(run)), len(run) - 1
    places = [round(at * last / max(1, shown - 1)) for at in range(shown)]
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
