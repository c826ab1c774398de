"""``drivebay check PLUGIN --on INSTRUMENT``: run a driver, and say what holds and what level it is.

Tells each check when it was made. What is judged and how is all in ``drivebay.testing``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.bench import bench_option
from drivebay.cli.failures import FAILED, OK
from drivebay.cli.measure import pairs
from drivebay.cli.output import emit, heading, json_option

if TYPE_CHECKING:
    from drivebay.testing import Check

_COLOURS = {"passed": "green", "failed": "red", "not judged": "yellow"}
_WORDS = {"passed": "pass", "failed": "FAIL", "not judged": "----"}


@click.command()
@click.argument("plugin")
@click.option(
    "--on",
    "instrument",
    metavar="INSTRUMENT",
    required=True,
    help="Its name on the bench, or its address. A simulator will do.",
)
@bench_option
@click.option(
    "--set",
    "given",
    metavar="METHOD.NAME=VALUE",
    multiple=True,
    help="A parameter to run a method with, where the smallest that make sense are not right.",
)
@click.option("--config", metavar="NAME=VALUE", multiple=True, help="An option of the driver.")
@click.option(
    "--level",
    type=click.Choice(["bronze", "silver", "gold"]),
    help="Only ask whether it reaches this level.",
)
@click.option("--inline", is_flag=True, help="Run the driver in this process, for a debugger.")
@json_option
def check(
    plugin: str,
    instrument: str,
    bench: Path | None,
    given: tuple[str, ...],
    config: tuple[str, ...],
    level: str | None,
    inline: bool,
    as_json: bool,
) -> int:
    """Run a driver on an instrument or a simulator, and say what holds.

    PLUGIN is a plugin's folder or its name. The output is switched on with the smallest parameters
    that make sense; the driver is stopped, killed and replaced in the middle of measurements. The
    checks make levels, bronze, silver and gold, which are computed and declared nowhere.

    Exits with 1 if a check failed, or with --level if that level is not reached. `drivebay plugins
    check` looks at a plugin without an instrument.
    """
    from drivebay.testing import check_driver

    def tell(made: Check) -> None:
        if not as_json:
            _tell(made)

    parameters = _by_method(given)
    with _told_by_checks_alone():
        report = check_driver(
            plugin,
            instrument,
            bench=bench,
            isolation="inline" if inline else "process",
            config=pairs(config) or None,
            parameters=parameters,
            on_check=tell,
        )
    if as_json:
        emit(report.to_dict())
    else:
        click.echo(heading(report.verdict))
    good = report.ok if level is None else report.reaches(level)  # type: ignore[arg-type]
    return OK if good else FAILED


@contextmanager
def _told_by_checks_alone() -> Iterator[None]:
    """A driver that is killed on purpose is no news; ``-v`` shows the log all the same."""
    log = logging.getLogger("drivebay")
    before = log.level
    if not click.get_current_context().find_root().params.get("verbose"):
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _by_method(words: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """``METHOD.NAME=VALUE`` words as parameters by method."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in pairs(words).items():
        method, dot, parameter = name.partition(".")
        if not (dot and method and parameter):
            raise click.UsageError(f"{name!r} is not METHOD.NAME")
        found.setdefault(method, {})[parameter] = value
    return found


def _tell(made: Check) -> None:
    word = click.style(_WORDS[made.outcome], fg=_COLOURS[made.outcome], bold=True)
    click.echo(f"{word}  {made.level:<6}  {made.sentence}")
    for line in made.why.splitlines():
        click.echo(click.style(f"{'':14}{line}", dim=made.outcome == "passed"))
