"""What commands print: one JSON value, or aligned columns of text.

Standard output carries the result and nothing else; everything about the way there goes to
standard error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_MOST_SENTENCE: Final = 400


def json_option(command: _Command) -> _Command:
    """Give a command ``--json``, passed to it as ``as_json``."""
    text = "Print one JSON value instead of text."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def emit(value: Any) -> None:
    """Print a JSON value; strict JSON, not-a-number is null."""
    click.echo(json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=2))


def plain(value: Any) -> Any:
    """A value as strict JSON knows it.

    >>> plain({"v": (float("nan"), 1.0)})
    {'v': [None, 1.0]}
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value) if isinstance(value, PurePath) or not hasattr(value, "item") else value.item()


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: str = "") -> str:
    """Columns aligned with blanks.

    Args:
        heads: their titles.
        rows: their cells; None is shown as a dash.
        right: a letter for each column, ``r`` to align it on the right; others on the left.

    >>> print(table(["plugin", "n"], [["a", 1], ["long", 20]], right=" r"))
    plugin   n
    a        1
    long    20
    """
    texts = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [
        max(len(head), *(len(row[at]) for row in texts)) if texts else len(head)
        for at, head in enumerate(heads)
    ]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if right[at : at + 1] == "r" else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    head = line(heads)
    return "\n".join([head, *map(line, texts)])


def counted(number: int, what: str) -> str:
    """A number of things, in the singular where there is one.

    >>> counted(1, "run"), counted(1_000_000, "row"), counted(2, "damaged file")
    ('1 run', '1,000,000 rows', '2 damaged files')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


class WholeSentences(click.Group):
    """A group whose help gives each member's first sentence whole, on as many lines as it takes."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the members; click itself cuts what does not fit on a line."""
        members = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(limit=_MOST_SENTENCE))
            for name, command in members
            if command is not None and not command.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def heading(text: str) -> str:
    """A line that stands out on a terminal."""
    return click.style(text, bold=True)
