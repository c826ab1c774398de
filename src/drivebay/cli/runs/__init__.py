"""``drivebay runs``: what was measured, to find, to look at, to compare and to take away."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from drivebay.cli.output import WholeSentences
from drivebay.cli.runs.drawing import check_picture, draw
from drivebay.cli.runs.showing import rows_table, show

__all__ = ["check_picture", "draw", "rows_table", "runs", "show"]

_COMMANDS: Final[Mapping[str, str]] = {
    "list": "drivebay.cli.runs.listing:list_runs",
    "show": "drivebay.cli.runs.showing:show_run",
    "tag": "drivebay.cli.runs.marking:tag_run",
    "note": "drivebay.cli.runs.marking:note_run",
    "plot": "drivebay.cli.runs.drawing:plot_run",
    "compare": "drivebay.cli.runs.comparing:compare_runs",
    "export": "drivebay.cli.runs.exporting:export_run",
    "replay": "drivebay.cli.replay:replay",
    "verify": "drivebay.cli.runs.upkeep:verify_runs",
    "rebuild": "drivebay.cli.runs.upkeep:rebuild_catalogue",
    "gc": "drivebay.cli.runs.upkeep:collect_litter",
}


class Runs(WholeSentences):
    """The group, by reference: a list need not import what draws."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they are met."""
        return [*_COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=Runs)
def runs() -> None:
    """Find, show, mark, draw, compare and export runs.

    RUN is an id, the beginning of an id, `last`, `last-1` and so on, or the path of a run's file.
    """
