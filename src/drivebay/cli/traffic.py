"""What a run said to the instrument, and how that differs from the run before: for the author.

Pure functions from transcripts to lines. Commands are compared by their words with the numbers left
out, so that a level that became another is one changed line and not one removed and one added.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

import click

Message = tuple[int, str, bytes]
"""Monotonic nanoseconds, ``w`` or ``r``, the bytes: as ``Instrument.transcript`` gives it."""

MOST_COMPARED: Final = 2_000
_ALIKE_SHOWN: Final = 3
_WIDEST: Final = 60
_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_UNIT: Final = re.compile(r"""((?:[^;"']|"[^"]*"|'[^']*')+)(?:;|$)""")
_COLOURS: Final = {"~": "yellow", "+": "green", "-": "red"}


@dataclass(frozen=True)
class Difference:
    """A command that is not what it was.

    Attributes:
        mark: ``+`` new, ``-`` gone, ``~`` other numbers.
        before: as it was, empty when new.
        now: as it is, empty when gone.
        after: the unchanged command before it, for a reader to find the place.
    """

    mark: str
    before: str
    now: str
    after: str = ""


def commands_of(transcript: Iterable[Message], since_ns: int = 0) -> list[str]:
    r"""The commands that were sent since a moment, one by one, in order.

    Args:
        transcript: the messages.
        since_ns: on the monotonic clock.

    >>> commands_of([(1, "w", b"*RST;:OUTP ON\n"), (2, "r", b"1\n")])
    ['*RST', ':OUTP ON']
    """
    found: list[str] = []
    for at_ns, way, data in transcript:
        if way == "w" and at_ns >= since_ns:
            text = bytes(data).decode("ascii", "backslashreplace").strip()
            found += (part.strip() for part in _UNIT.findall(text) if part.strip())
    return found


def skeleton(command: str) -> str:
    """A command without its numbers; those in its header are part of its name.

    >>> skeleton(":SOUR2:VOLT 1.5E-3,2")
    ':SOUR2:VOLT #,#'
    """
    header, blank, arguments = command.partition(" ")
    return header + blank + _NUMBER.sub("#", arguments)


def differences(before: Sequence[str], now: Sequence[str]) -> list[Difference]:
    """What is not as it was, in the order of the newer run.

    Only the first 2,000 commands of each are compared: the time to compare grows with the square.
    """
    old, new = before[:MOST_COMPARED], now[:MOST_COMPARED]
    matcher = SequenceMatcher(None, [*map(skeleton, old)], [*map(skeleton, new)], autojunk=False)
    found: list[Difference] = []
    context = ""
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            found += (Difference("-", was, "", context) for was in old[a:b])
            found += (Difference("+", "", comes, context) for comes in new[c:d])
            context = ""
            continue
        for was, comes in zip(old[a:b], new[c:d], strict=True):
            if was != comes:
                found.append(Difference("~", was, comes, context))
                context = ""
            else:
                context = comes
    return found


def lines_of(found: Sequence[Difference]) -> Iterator[str]:
    """The differences for a terminal: numbers in columns, many alike told as one."""
    alike: Counter[tuple[str, str]] = Counter()
    shown: list[Difference] = []
    for each in found:
        key = each.mark, skeleton(each.now or each.before)
        alike[key] += 1
        if alike[key] <= _ALIKE_SHOWN:
            shown.append(each)
    cells = {id(each): _cells(each) for each in shown if each.mark == "~"}
    widths = [max((len(row[at]) for row in cells.values()), default=0) for at in range(3)]
    context = ""
    for each in shown:
        if each.after and each.after != context:
            context = each.after
            yield click.style(f"  {_short(context)}", dim=True)
        text = _short(each.now or each.before)
        if each.mark == "~":
            header, was, comes = cells[id(each)]
            text = f"{header:<{widths[0]}}  {was:>{widths[1]}} -> {comes:>{widths[2]}}"
        yield click.style(f"{each.mark} {text}", fg=_COLOURS[each.mark])
    for (mark, words), count in alike.items():
        if count > _ALIKE_SHOWN:
            more = f"{mark} ... {count - _ALIKE_SHOWN} more like {_short(words)}"
            yield click.style(more, fg=_COLOURS[mark], dim=True)


def _cells(each: Difference) -> tuple[str, str, str]:
    """Header, arguments before and arguments now; of a long list only where it differs first."""
    header, _, was = each.before.partition(" ")
    comes = each.now.partition(" ")[2]
    if max(len(was), len(comes)) <= _WIDEST // 2:
        return header, was, comes
    pairs = list(zip(_NUMBER.findall(was), _NUMBER.findall(comes), strict=True))
    others = [place for place, (one, other) in enumerate(pairs) if one != other]
    if not others:  # the numbers agree, their spelling around them does not
        return header, _short(was, _WIDEST // 2), _short(comes, _WIDEST // 2)
    place = others[0]
    title = f"{header} ({len(others)} of {len(pairs)}, the first at {place + 1})"
    return title, *pairs[place]


def _short(text: str, widest: int = _WIDEST) -> str:
    return text if len(text) <= widest else f"{text[: widest - 3]}..."
