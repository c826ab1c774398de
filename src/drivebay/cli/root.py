"""The root command: finds the others by name, and turns every end into an exit code.

Promises: a command's module is imported when that command is looked up; an error is one or a few
lines on standard error (and one JSON object on standard output with ``--json``), never a traceback.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final

import click
from click.exceptions import Exit

from drivebay.cli.failures import ABORTED, OK, report_failure
from drivebay.cli.output import WholeSentences

_COMMANDS: Final[Mapping[str, str]] = {
    "demo": "drivebay.cli.demo:demo",
    "sim": "drivebay.cli.simulate:sim",
    "find": "drivebay.cli.find:find",
    "explain": "drivebay.cli.find:explain",
    "who": "drivebay.cli.who:who",
    "measure": "drivebay.cli.measure:measure",
    "estop": "drivebay.cli.estop:estop",
    "acknowledge": "drivebay.cli.estop:acknowledge",
    "runs": "drivebay.cli.runs:runs",
    "analyse": "drivebay.cli.analyse:analyse",
    "plugins": "drivebay.cli.plugins:plugins",
    "bench": "drivebay.cli.bench:bench",
    "new": "drivebay.cli.new:new",
    "dev": "drivebay.cli.dev:dev",
    "check": "drivebay.cli.trial:check",
    "doctor": "drivebay.cli.doctor:doctor",
    "report": "drivebay.cli.report:report",
}


_VERBOSE: Final = re.compile("-v+|--verbose")


class Root(WholeSentences):
    """The group of all commands, by reference instead of by import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a newcomer meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        reference = _COMMANDS.get(cmd_name)
        if reference is None:
            return None
        module, _, attribute = reference.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but name the nearest command when there is none of that name."""
        word = args[0] if args else ""
        if word and not word.startswith("-") and word not in _COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(word, list(_COMMANDS), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {word!r}.{hint}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; exits with its code unless ``standalone_mode`` is off."""
        words = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in words
        if not standalone_mode:  # as click's test runner and other programs may call it
            return self._run(words, prog_name, extra)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that cannot show a micro sign shows a question mark, not an error.
                stream.reconfigure(errors="replace")
        # Warnings of libraries go to the log (-v shows them), not between the lines of a result.
        logging.captureWarnings(True)
        try:
            code = self._run(words, prog_name, extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read the output has seen enough, as `head` does. The interpreter flushes
            # once more at exit, into nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = OK
        except (KeyboardInterrupt, click.Abort):
            click.echo("aborted", err=True)
            code = ABORTED
        except Exception as exc:  # noqa: BLE001 - border: the task root; it becomes an exit code
            verbose = any(_VERBOSE.fullmatch(word) for word in words)
            code = report_failure(exc, as_json, verbose=verbose)
        finally:
            logging.captureWarnings(False)
        sys.exit(code if isinstance(code, int) else OK)

    def _run(self, words: list[str], prog_name: str | None, extra: dict[str, Any]) -> Any:
        """As click's own ``main``, which would turn a broken pipe into a failure."""
        name = prog_name or "drivebay"
        self._main_shell_completion(extra, name)
        try:
            with self.make_context(name, list(words), **extra) as context:
                return self.invoke(context)
        except Exit as exc:
            return exc.exit_code


class _OneLine(logging.Formatter):
    """A log record as a line for a person: no time, no module, no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


class _NotAlreadyTold(logging.Filter):
    """Without ``-v`` the registry's log is silent: commands report what is wrong themselves."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.name.startswith("drivebay.plugins")


def _log_to_stderr(context: click.Context, verbose: int) -> None:
    """Show the log on standard error until the command has ended."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    if not verbose:
        handler.addFilter(_NotAlreadyTold())
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    for name in ("drivebay", "py.warnings") if verbose else ("drivebay",):
        log = logging.getLogger(name)
        before = log.level
        log.addHandler(handler)
        log.setLevel(level)
        context.call_on_close(partial(log.setLevel, before))
        context.call_on_close(partial(log.removeHandler, handler))


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from drivebay._version import __version__

        click.echo(f"drivebay {__version__}")
        ctx.exit()


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version and exit.",
)
@click.option("-v", "--verbose", count=True, help="Say more on standard error; twice for all.")
@click.pass_context
def root(context: click.Context, verbose: int) -> None:
    """Find, use and write drivers of laboratory instruments.

    With --json a command prints one JSON value on standard output, and on failure
    {"error": {"type", "message", "problems"}}.

    Exit codes: 0 done; 1 the instrument, the driver or the measurement failed; 2 the command line
    is wrong, parameters included; 3 nothing found (plugin, instrument or run); 4 aborted, with the
    output made safe first; 5 a plugin cannot be used; 6 a bug of Drivebay.
    """
    _log_to_stderr(context, verbose)
