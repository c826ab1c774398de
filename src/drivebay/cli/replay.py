"""``drivebay runs replay``: the driver once more, against what was recorded; what differs, named.

Asks before it runs code that came with the run and that no plugin here has. What is compared and
how is all in ``drivebay.replay_run``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.failures import FAILED, OK
from drivebay.cli.output import counted, emit, heading, json_option
from drivebay.cli.traffic import Message, commands_of, differences, lines_of

if TYPE_CHECKING:
    from drivebay import Replay, Run

_VERDICTS = {"identical": "green", "differs": "yellow", "failed": "red"}
_SHOWN = 5


@click.command("replay")
@click.argument("name", metavar="[RUN]", default="last")
@click.option(
    "--with",
    "code",
    metavar="PLUGIN",
    help="Run this code instead: a plugin's folder, file or name.",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Run the code stored in the run though no plugin here has it. It runs with your rights.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 86_400),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="When the code is ended.",
)
@json_option
def replay(name: str, code: str | None, trust: bool, timeout_s: float, as_json: bool) -> int:
    """Run a run's driver code against its transcript, without the instrument.

    The code stored in the run is run in a process of its own with the stored parameters, and what
    it sends and measures is compared byte for byte. Nothing is sent to any instrument and nothing
    waits. --with shows what an edited driver would send and measure instead, and which of its
    commands the limits of the run would have refused.

    A run file that somebody sent you holds his program: code that no plugin here has is run only
    with --trust, or when you say yes.

    Exits with 0 if all is identical, 1 if something differs or the code failed, 2 if the code was
    not trusted, 3 if there is no such run, 5 if the code cannot be loaded.
    """
    from drivebay import PluginManager, RunStore

    run = RunStore(PluginManager(plugin_dirs=[]).home / "runs").open(name)
    found = _replayed(run, code, trust, timeout_s, may_ask=not as_json)
    if as_json:
        now, before = _commands(found)
        changes = [
            {"mark": each.mark, "before": each.before, "now": each.now}
            for each in differences(before, now)
        ]
        emit({**found.to_dict(), "differences": changes})
    else:
        click.echo("\n".join(_lines(run, found)))
    return OK if found.identical else FAILED


def _replayed(
    run: Run, code: str | None, trust: bool, timeout_s: float, *, may_ask: bool
) -> Replay:
    """Replay; if the code is not known here, ask a person who sits at the terminal."""
    from drivebay import ForeignCodeError, replay_run

    try:
        return replay_run(run, code, trust=trust, timeout_s=timeout_s)
    except ForeignCodeError as exc:
        if not may_ask or not sys.stdin.isatty():
            raise
        click.echo(str(exc), err=True)
        if not click.confirm("run it?", err=True):
            raise
    return replay_run(run, code, trust=True, timeout_s=timeout_s)


def _commands(found: Replay) -> tuple[list[str], list[str]]:
    """What was sent in the measurement: now, and in the recording."""
    return commands_of(_measured(found.replayed)), commands_of(_measured(found.recorded))


def _measured(messages: Sequence[Any]) -> Iterator[Message]:
    """The traffic of the measurement; that of connecting depends on how the run was begun."""
    return ((m.time_ns, m.direction, m.data) for m in messages if m.phase == "measure")


def _lines(run: Run, found: Replay) -> Iterator[str]:
    plugin = found.plugin
    origin = "stored in the run" if plugin["stored"] else "named by --with"
    yield heading(f"{run.id}  {run.method}, {run.state}")
    yield f"  code      {plugin['name']} {plugin['version']} ({plugin['sha256'][:12]}), {origin}"
    yield f"  {click.style(found.verdict, fg=_VERDICTS[found.verdict])}"
    yield from _error_lines(run, found)
    yield from _limit_lines(run, found)
    yield from _traffic_lines(found)
    yield from _point_lines(run, found)
    for line in found.output[-_SHOWN:]:
        yield click.style(f"  [{plugin['name']}] {line}", dim=True)


def _error_lines(run: Run, found: Replay) -> Iterator[str]:
    if found.error is not None:
        as_then = "as the run did" if found.same_end else "and the run did not"
        yield f"  the code ended with an error, {as_then}:"
        # Without the remedies of a real instrument: here nobody can switch it on.
        yield from (f"    {line}" for line in str(found.error).splitlines())
    elif not found.same_end:
        yield f"  the code ended well, and the run is {run.state}: {run.reason}"


def _limit_lines(run: Run, found: Replay) -> Iterator[str]:
    """What the limits of the run do not let the code send."""
    if not found.refusals:
        if not found.same_refusals:
            yield "  limits    refused commands in the run, and refuse none now"
        return
    as_then = "as in the run" if found.same_refusals else "not in the run"
    yield f"  limits    {counted(len(found.refusals), 'command')} refused, {as_then}"
    for each in found.refusals[:_SHOWN]:
        yield f"            {each}"
        yield from (f"              at {line}" for line in each.where[:_SHOWN])


def _traffic_lines(found: Replay) -> Iterator[str]:
    if found.traffic is None:
        played = sum(each.phase == "measure" for each in found.replayed)
        yield f"  traffic   {played} messages, every byte as recorded"
        if found.left:
            yield f"            {found.left} more were recorded, which the platform sent at the end"
        return
    yield f"  traffic   {found.traffic}"
    yield from (f"              at {line}" for line in found.traffic.where[:_SHOWN])
    now, before = _commands(found)
    changes = differences(before, now)
    if changes:
        yield "  commands, recorded to now:"
        yield from (f"    {line}" for line in lines_of(changes))
    if found.guesses:
        yield f"  best effort: {found.guesses} answers after that were found by their questions"
    for question in found.unanswered[:_SHOWN]:
        yield f"  the recording holds no answer to {question.decode('ascii', 'replace').strip()!r}"


def _point_lines(run: Run, found: Replay) -> Iterator[str]:
    if not found.points:
        of = f" of {len(run)}" if found.rows != len(run) else ""
        yield f"  points    {found.rows}{of}, every byte as recorded"
    for each in found.points:
        size = f", by {each.largest:.3g} at most" if each.largest else ""
        yield f"  points    {each}{size}"
    for name in found.clock_columns:
        yield f"            {name} holds the host's own time and is not compared"
    if found.values:
        yield f"  values    {', '.join(found.values)} differ"
