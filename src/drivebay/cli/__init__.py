"""The command line: the same verbs as :class:`drivebay.Bay`, for people and for scripts.

Uses what is public, as anybody could. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

__all__ = ["command_tree", "main"]


def command_tree() -> click.Group:
    """Every command, as click's tree; its members are imported when they are looked up."""
    from drivebay.cli.root import root

    return root


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        argv: the words after the program's name; default those it was started with.
    """
    command_tree().main(args=None if argv is None else list(argv), prog_name="drivebay")
