"""``drivebay measure METHOD --on INSTRUMENT``: one measurement, with the method's own options.

The options of a standard method are made from its typed parameters; the values are judged where
everybody's are, in the core, so that all problems are told at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.bench import bench_option
from drivebay.cli.failures import ABORTED, NothingFound, describe
from drivebay.cli.interruption import aborting
from drivebay.cli.output import WholeSentences, counted, emit, json_option
from drivebay.cli.runs import check_picture, draw, show
from drivebay.cli.sweepview import view

if TYPE_CHECKING:
    from drivebay import Bay, Instrument, Pair, Run
    from drivebay.driver import Field, MethodSpec


class Methods(WholeSentences):
    """A group whose members are the standard methods; any other name is a plugin's own method."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the standard methods."""
        from drivebay.driver import STANDARD

        return list(STANDARD)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a method; a name that is no standard one takes any parameters."""
        from drivebay.driver import STANDARD

        spec = STANDARD.get(cmd_name)
        return _own_method(cmd_name) if spec is None else _standard_method(spec)


@click.group(cls=Methods, subcommand_metavar="METHOD --on INSTRUMENT [PARAMETERS]...")
def measure() -> None:
    """Measure, record, and show the run.

    Numbers may carry their unit: --compliance-a 10mA. Ctrl-C (and SIGTERM) aborts: the output goes
    off at once, the points so far are kept; the second Ctrl-C leaves at once and the keeper makes
    the instrument safe. What the driver prints goes to standard error. A METHOD that is not listed
    below is one of a plugin's own; its parameters are given as --set NAME=VALUE.
    """


def _standard_method(spec: MethodSpec) -> click.Command:
    from drivebay.driver import fields

    known = fields(spec)

    def run(**options: Any) -> int | None:
        given = {f.name: options.pop(f.name) for f in known}
        params = {
            field.name: _value(field, given[field.name])
            for field in known
            if given[field.name] is not None
        }
        return _measure(spec.name, {**params, **pairs(options.pop("assigned"))}, **options)

    command = click.command(spec.name, help=f"{spec.title}: {spec.help or spec.title}")(
        _common_options(run)
    )
    command.params[:0] = [_option(field) for field in known]
    if spec.name in _BY_TWO:
        for option in command.params:
            option.required = option.required and option.name != "instrument"
        command.params[:0] = [
            click.Option(
                [f"--{channel}"],
                metavar="INSTRUMENT",
                help=f"The one at the {channel}, where two instruments measure together.",
            )
            for channel in _CHANNELS
        ]
    return command


_BY_TWO = ("transfer_curve", "output_curve")
_CHANNELS = ("gate", "drain")


def _own_method(name: str) -> click.Command:
    def run(**options: Any) -> int | None:
        return _measure(name, pairs(options.pop("assigned")), **options)

    text = f"The method {name!r} of a plugin; its parameters are given as --set NAME=VALUE."
    return click.command(name, help=text)(_common_options(run))


instrument_options: Sequence[Callable[..., Any]] = (
    click.option(
        "--on",
        "instrument",
        metavar="INSTRUMENT",
        required=True,
        help="Its name on the bench, or its address.",
    ),
    bench_option,
    click.option(
        "--inline", is_flag=True, help="Run the driver in this process, where a debugger works."
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Take the instrument over from whoever holds it; it is made safe before.",
    ),
    click.option(
        "--acknowledge",
        is_flag=True,
        help="Somebody has looked at the instrument that could not be made safe.",
    ),
)
"""Which instrument, and how it is opened; for every command that opens one."""


def _common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            *instrument_options,
            click.option("--plugin", metavar="NAME", help="Use this plugin, whatever fits best."),
            click.option(
                "--config",
                metavar="NAME=VALUE",
                multiple=True,
                help="An option of the driver; may be repeated.",
            ),
            click.option(
                "--set",
                "assigned",
                metavar="NAME=VALUE",
                multiple=True,
                help="A parameter by its name; may be repeated.",
            ),
            click.option(
                "--plot",
                metavar="FILE",
                callback=check_picture,
                help="Also draw it: PNG, SVG or PDF by its ending.",
            ),
        )
    ):
        function = option(function)
    return json_option(function)


def _option(field: Field) -> click.Option:
    """One parameter as an option; whether its value is any good is not judged here."""
    name = f"--{field.name.replace('_', '-')}"
    if field.kind == "bool":
        return click.Option([name, field.name], is_flag=True, default=None, help=field.help)
    notes = []
    if field.required:
        notes.append("required")
    elif field.default is not None:
        notes.append(f"default: {str(field.default).removesuffix('.0')}")
    text = f"{field.help}  [{', '.join(notes)}]" if notes else field.help
    kind = click.Choice(field.choices) if field.kind == "choice" else click.STRING
    metavar = None if field.kind == "choice" else field.unit or field.kind.upper()
    if field.kind == "floats":
        metavar = f"{field.unit or 'NUMBER'},..."
    return click.Option([name, field.name], type=kind, metavar=metavar, help=text)


def _value(field: Field, text: Any) -> Any:
    """A word of the command line as what it means; text that is no number goes on as it is."""
    if field.kind == "floats":
        return [_number(part.strip()) for part in str(text).split(",") if part.strip()]
    return _number(text) if field.kind in {"float", "int"} else text


def _number(text: str) -> float | int | str:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def parameters_of(method: str, words: Sequence[str]) -> dict[str, Any]:
    """The parameters that words of a command line give to a method, as ``measure`` reads them.

    Args:
        method: a standard method, whose parameters are options; or one of a plugin's own.
        words: what comes after its name.

    Raises:
        click.UsageError: an option it does not have.
    """
    from drivebay.driver import STANDARD, fields

    spec = STANDARD.get(method)
    known = fields(spec) if spec is not None else ()
    assigned = click.Option(["--set", "assigned"], metavar="NAME=VALUE", multiple=True)
    command = click.Command(method, params=[*map(_option, known), assigned])
    given = command.make_context(method, list(words)).params
    named = {f.name: _value(f, given[f.name]) for f in known if given[f.name] is not None}
    return {**named, **pairs(given["assigned"])}


def pairs(words: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` words; a value is JSON where it can be (3, true, [1, 2]), else text."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name):
            raise click.UsageError(f"{word!r} is not NAME=VALUE")
        try:
            found[name.strip().replace("-", "_")] = json.loads(value)
        except ValueError:
            found[name.strip().replace("-", "_")] = value
    return found


def _measure(
    method: str,
    params: Mapping[str, Any],
    *,
    instrument: str | None,
    bench: Path | None,
    inline: bool,
    force: bool,
    acknowledge: bool,
    plugin: str | None,
    config: tuple[str, ...],
    plot: str | None,
    as_json: bool,
    gate: str | None = None,
    drain: str | None = None,
) -> int | None:
    from drivebay import Bay

    two = _two(instrument, gate, drain)
    try:
        with _prints_to_stderr(inline), Bay(bench=bench) as bay:
            if plugin is None and two is None:
                _require_somebody_has(bay, method)

            def opened(name: str) -> Instrument:
                return bay.open(
                    name,
                    plugin=plugin,
                    config=pairs(config) or None,
                    isolation="inline" if inline else None,
                    force=force,
                    acknowledge=acknowledge,
                )

            with contextlib.ExitStack() as stack:
                on: Instrument | Pair
                if two is None:
                    on = stack.enter_context(opened(str(instrument)))
                else:
                    at_gate, at_drain = (stack.enter_context(opened(name)) for name in two)
                    on = stack.enter_context(bay.pair(gate=at_gate, drain=at_drain))
                run, _ = record(on, method, params, curve=not as_json, as_json=as_json)
    except Aborted as exc:
        tell_abort(exc, as_json)
        return ABORTED
    if plot is not None:
        draw(run, plot)
    if as_json:
        emit(run.to_dict())
    else:
        show(run)
        if plot is not None:
            click.echo(f"wrote {plot}")
    return None


def _two(instrument: str | None, gate: str | None, drain: str | None) -> tuple[str, str] | None:
    """Names of the two instruments at a device; None for one that does it alone."""
    if instrument is not None and gate is None and drain is None:
        return None
    if gate is None or drain is None or instrument is not None:
        raise click.UsageError("give --on INSTRUMENT, or --gate INSTRUMENT and --drain INSTRUMENT")
    if gate == drain:
        raise click.UsageError(f"--gate and --drain are both {gate!r}; they are two instruments")
    return gate, drain


@contextlib.contextmanager
def _prints_to_stderr(inline: bool) -> Iterator[None]:
    """What a driver in this process prints must not come between the lines of the result."""
    if not inline:
        yield  # a driver in a process of its own has a pipe, whose lines go to standard error
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _require_somebody_has(bay: Bay, method: str) -> None:
    if bay.plugins.find_drivers_for_method(method):
        return
    from difflib import get_close_matches

    known = sorted(bay.plugins.capability_index)
    near = get_close_matches(method, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise NothingFound(
        f"no plugin has a method {method!r}{hint} (there are: {', '.join(known) or 'none'})"
    )


class Aborted(Exception):  # noqa: N818 - an end somebody asked for, not an error
    """A measurement was stopped from the keyboard or by a signal.

    Attributes:
        run: what was measured before; None when it had not begun.
        safe: True when the instrument confirmed its safe state, None when it cannot be asked.
        cause: the error it ended with.
        left: the program ends without waiting, and the keeper makes the instrument safe.
    """

    def __init__(
        self, run: Run | None, safe: bool | None, cause: Exception, *, left: bool = False
    ) -> None:
        super().__init__(str(cause))
        self.run, self.safe, self.cause, self.left = run, safe, cause, left


def record(
    instrument: Instrument | Pair,
    method: str,
    params: Mapping[str, Any],
    *,
    curve: bool = False,
    on_stderr: bool = True,
    as_json: bool = False,
    on_chunk: Callable[[Mapping[str, Any]], None] | None = None,
) -> tuple[Run, int]:
    """Measure with a view of it, and Ctrl-C as an abort; return the run and how many chunks came.

    Args:
        instrument: what to measure with.
        method: name of the method.
        params: its parameters.
        curve: draw the points as they come.
        on_stderr: where to show it; standard output otherwise. Only a terminal shows anything.
        as_json: tell on standard output, as JSON, when a driver had to be given up.
        on_chunk: is given the points as they come.

    Raises:
        Aborted: it was stopped; the output is off and the points are kept.
        DrivebayError: as :meth:`drivebay.Instrument.measure`.
    """
    from drivebay import AbortedError, PluginStateError

    stream = instrument.stream(method, **params)
    chunks = 0

    def give_up() -> None:
        cause = AbortedError("the driver did not stop; the program left it behind")
        run = None
        with contextlib.suppress(PluginStateError):  # it had not begun
            run = stream.run
            cause.run_id = run.id
        with contextlib.redirect_stdout(sys.__stdout__ or sys.stdout):  # an inline driver's is not
            tell_abort(Aborted(run, None, cause, left=True), as_json)
        if sys.stderr.isatty():
            click.echo("\x1b[?25h", err=True, nl=False)  # the live view hides the cursor
        # Nothing is closed in order: the driver may never answer. With this process its driver's
        # ends, and the keeper makes safe whatever is on.
        os._exit(ABORTED)

    try:
        with (
            aborting(stream, give_up) as stop,
            view(stream, curve=curve, on_stderr=on_stderr) as shown,
        ):
            for chunk in stream:
                chunks += 1
                shown.add(chunk)
                if on_chunk is not None:
                    on_chunk(chunk)
                if stop.by:
                    stream.abort(stop.by)
    except AbortedError as exc:
        # Once more, and with its answer: the person who pressed Ctrl-C should be told.
        report = instrument.make_safe()
        raise Aborted(stream.run, report.verified, exc) from exc
    return stream.run, chunks


def tell_abort(exc: Aborted, as_json: bool) -> None:
    """Say that a measurement was aborted, what state the instrument is in, and what is kept."""
    safe = {
        True: "the instrument confirms that it is in its safe state",
        False: "THE INSTRUMENT DOES NOT CONFIRM ITS SAFE STATE: look at it, switch it off",
        None: "its safe state was sent; its plugin has no query to confirm it",
    }[exc.safe]
    if exc.left:
        safe = "its output was told to go off, and its keeper makes sure of that now"
    if as_json:
        emit(describe(exc.cause))
    click.echo(f"aborted; {safe}", err=True)
    if exc.run is not None:
        click.echo(
            f"  {counted(len(exc.run), 'point')} kept: drivebay runs show {exc.run.id}", err=True
        )


__all__ = [
    "Aborted",
    "instrument_options",
    "measure",
    "pairs",
    "parameters_of",
    "record",
    "tell_abort",
]
