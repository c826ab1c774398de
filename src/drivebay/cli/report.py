"""``drivebay report INSTRUMENT``: what a real instrument says of itself, in a file to send back.

Promises: sends the queries of one fixed list and nothing else; sets nothing, clears nothing, and
leaves the output as it is. Two of the queries take away what they answer, as the standard wants it:
the error queue and the event status register; the report says so.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.bench import address_of, bench_option
from drivebay.cli.output import emit, heading, json_option

if TYPE_CHECKING:
    from drivebay.driver import Link

ALLOWED: Final = ("*IDN?", "*OPT?", "*STB?", "*ESR?", ":SYST:ERR?")
"""Everything that is ever sent (IEEE 488.2, common queries; SCPI 1999, SYSTem:ERRor)."""

ROUNDS: Final = 20
_MOST_ERRORS: Final = 50
_TIMEOUT_S: Final = 3.0
_VERSIONS_OF: Final = ("drivebay", "pyvisa", "pyvisa-py", "pyserial", "numpy", "msgspec", "click")


class Questions:
    """Asks an instrument, from the list of allowed queries only, and keeps what was said."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.sent: dict[str, int] = {}
        self.unanswered: dict[str, str] = {}

    def ask(self, query: str) -> str | None:
        """The answer, or None (and the reason in ``unanswered``) when there is none."""
        from drivebay import LinkError

        if query not in ALLOWED:
            raise ValueError(f"{query!r} is not one of {', '.join(ALLOWED)}")
        if query in self.unanswered:
            return None  # Some instruments beep, or fall silent, at a query they do not know.
        self.sent[query] = self.sent.get(query, 0) + 1
        try:
            return self._link.query(query).strip()
        except LinkError as exc:
            self.unanswered[query] = f"{type(exc).__name__}: {exc}"
            return None

    def errors(self) -> list[str]:
        """Every entry of the error queue, which this empties."""
        found: list[str] = []
        for _ in range(_MOST_ERRORS):
            answer = self.ask(":SYST:ERR?")
            if answer is None or answer.split(",")[0].strip().lstrip("+-") == "0":
                break
            found.append(answer)
        return found


@click.command()
@click.argument("instrument")
@bench_option
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it; by default drivebay-report-MODEL-DATE.json here.",
)
@json_option
def report(instrument: str, bench: Path | None, output: Path | None, as_json: bool) -> None:
    """Ask a real instrument about itself, and write a file to send back.

    INSTRUMENT is its name on the bench or its address. Read-only: it sends `*IDN?`, `*OPT?`,
    `*STB?`, `*ESR?` and `:SYST:ERR?`, sets nothing and switches nothing. Reading the error queue
    and the event status register empties them. Writes a JSON file and the same for reading (.md).
    The serial number of the instrument is in both.
    """
    resource, options = address_of(instrument, bench)
    found = examine(resource, **options)
    path = output or Path(_file_name(found))
    path.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    readable = path.with_suffix(".md")
    readable.write_text(as_markdown(found), encoding="utf-8")
    if as_json:
        emit({**found, "files": [str(path), str(readable)]})
        return
    click.echo(heading(found["idn"] or f"{found['resource']} does not answer *IDN?"))
    for key, value in _summary(found):
        click.echo(f"  {key:<14}{value}")
    click.echo(f"wrote {path}")
    click.echo(f"wrote {readable}")
    click.echo("Read them, then send them back in an issue. The serial number is in them.")


def examine(resource: str, timeout_s: float = _TIMEOUT_S, **options: Any) -> dict[str, Any]:
    """Ask an instrument everything on the list; the report as plain data.

    Args:
        resource: its address.
        timeout_s: how long to wait for each answer; a query without one is not asked again.
        **options: as :func:`drivebay.driver.open_link` takes them.

    Raises:
        ResourceError: the address is not one.
        LinkOpenError: nothing answers there.
        LeaseError: somebody else holds it.
    """
    from drivebay.driver import open_link

    opening_s = time.monotonic()
    with open_link(resource, timeout_s=timeout_s, **options) as link:
        opened_s = time.monotonic()
        questions = Questions(link)
        idn = questions.ask("*IDN?")
        # The queue first: a query the instrument does not know would put an entry of its own there.
        before = questions.errors() if idn is not None else []
        fitted = questions.ask("*OPT?") if idn is not None else None
        registers = {name: questions.ask(name) for name in ("*STB?", "*ESR?") if idn is not None}
        times_ms = _round_trips(questions) if idn is not None else []
        after = questions.errors() if idn is not None else []
        transcript = [
            {"t_ms": round((ns - link.transcript[0][0]) / 1e6, 3), "way": way, "data": _text(data)}
            for ns, way, data in link.transcript
        ]
        return {
            "report": 1,
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "resource": link.resource,
            "interface": link.interface,
            "open_ms": round((opened_s - opening_s) * 1000, 3),
            "idn": idn,
            "options": fitted,
            "registers": registers,
            "errors_before": before,
            "errors_after": after,
            "round_trip_ms": _statistics(times_ms),
            "sent": questions.sent,
            "unanswered": questions.unanswered,
            "plugin": _plugin(idn),
            "versions": _versions(),
            "transcript": transcript,
        }


def _text(data: bytes) -> str:
    return bytes(data).decode("ascii", "backslashreplace")


def _round_trips(questions: Questions) -> list[float]:
    times_ms = []
    for _ in range(ROUNDS):
        asked_ns = time.perf_counter_ns()
        if questions.ask("*IDN?") is None:
            break
        times_ms.append((time.perf_counter_ns() - asked_ns) / 1e6)
    return times_ms


def _statistics(times_ms: list[float]) -> dict[str, Any]:
    if not times_ms:
        return {"count": 0}
    ordered = sorted(times_ms)
    return {
        "count": len(ordered),
        "min": round(ordered[0], 3),
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[max(0, round(0.95 * len(ordered)) - 1)], 3),
        "max": round(ordered[-1], 3),
    }


def _plugin(idn: str | None) -> dict[str, Any]:
    """Which plugin would serve it, and why; the driver is not loaded."""
    if idn is None:
        return {"name": None, "candidates": []}
    from drivebay import PluginManager

    manager = PluginManager()
    manager.discover_plugins()
    candidates = manager.explain(idn)
    chosen = next((each.plugin for each in candidates if each.usable), None)
    version = manager.plugins[chosen].metadata.version if chosen is not None else None
    listed = [each._asdict() for each in candidates]
    return {"name": chosen, "version": version, "candidates": listed}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _file_name(found: Mapping[str, Any]) -> str:
    idn = found["idn"] or ""
    model = idn.split(",")[1] if idn.count(",") else "unknown"
    safe = "".join(c if c.isalnum() else "-" for c in model.strip().lower()).strip("-")
    return f"drivebay-report-{safe or 'unknown'}-{time.strftime('%Y%m%d-%H%M%S')}.json"


def _summary(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    times = found["round_trip_ms"]
    timing = (
        f"median {times['median']} ms, 95 % within {times['p95']} ms ({times['count']} times *IDN?)"
        if times["count"]
        else "not measured"
    )
    plugin = found["plugin"]
    chosen = f"{plugin['name']} {plugin['version']}" if plugin["name"] else "none serves it"
    sent = ", ".join(f"{count} x {query}" for query, count in found["sent"].items())
    return [
        ("resource", f"{found['resource']} ({found['interface']})"),
        ("options", found["options"] or "none told"),
        ("errors before", "; ".join(found["errors_before"]) or "none in the queue"),
        ("errors after", "; ".join(found["errors_after"]) or "none in the queue"),
        ("round trip", timing),
        ("plugin", chosen),
        ("sent", sent),
        *(("no answer", f"{query}: {why}") for query, why in found["unanswered"].items()),
    ]


def as_markdown(found: Mapping[str, Any]) -> str:
    """The report for a person to read before sending it."""
    lines = [
        f"# {found['idn'] or found['resource']}",
        "",
        f"Made by `drivebay report` at {found['made_at']}. Only queries were sent. The entries of",
        "the error queue and the bits of `*ESR?` shown here were taken out of the instrument by",
        "reading them.",
        "",
        "| what | answer |",
        "| --- | --- |",
        *(f"| {key} | {_cell(value)} |" for key, value in _summary(found)),
        *(f"| `{query}` | {_cell(str(answer))} |" for query, answer in found["registers"].items()),
        *(f"| {name} | {_cell(version)} |" for name, version in found["versions"].items()),
        "",
        "## Transcript",
        "",
        "```text",
        *(
            f"{entry['t_ms']:10.3f} ms  {'->' if entry['way'] == 'w' else '<-'}  {entry['data']!r}"
            for entry in found["transcript"]
        ),
        "```",
        "",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
