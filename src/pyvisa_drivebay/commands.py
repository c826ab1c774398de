r"""Bytes that a PyVISA program writes, cut into the commands they are; pure functions.

PyVISA writes bytes, the keeper judges commands: each must be looked at whole, and alone, before its
first byte is sent. So a command is what stands before a line end (``\n``, ``\r\n`` or ``\r``), and
what has none yet is no command yet. Line ends in a block (IEEE 488.2, ``#15hello``) are data.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    rb"""\r\n|\r|\n            # a line end
    |"[^"\r\n]*"|'[^'\r\n]*'   # a string, in which '#' begins no block
    |(?<=[ \t,])\#[0-9]        # a block can only be a parameter
    |[^\r\n"'\#]+|.""",
    re.VERBOSE | re.DOTALL,
)


class Command(NamedTuple):
    """One command, and the line end it was written with."""

    text: bytes
    end: bytes


def cut_commands(data: bytes) -> tuple[list[Command], bytes]:
    r"""Cut what was written into whole commands, and what has no line end yet.

    >>> cut_commands(b":OUTP ON\r\n*ID")
    ([Command(text=b':OUTP ON', end=b'\r\n')], b'*ID')
    >>> cut_commands(b":DATA #13a\nb\n")
    ([Command(text=b':DATA #13a\nb', end=b'\n')], b'')
    """
    commands: list[Command] = []
    start = at = 0
    while at < len(data):
        found = _TOKEN.match(data, at)
        token = found[0] if found is not None else data[at : at + 1]
        at += len(token)
        if token[:1] in {b"\r", b"\n"}:
            commands.append(Command(data[start : at - len(token)], token))
            start = at
        elif len(token) == 2 and token[:1] == b"#":
            at = _after_block(data, at)
            if at < 0:
                break
    return commands, data[start:]


def _after_block(data: bytes, at: int) -> int:
    """Index after the block whose two bytes of header end at ``at``; -1 if it is not all there."""
    digits = data[at - 1] - 0x30
    if digits == 0:  # of indefinite length: up to the line end that ends all of it
        return len(data) - 1 if data.endswith(b"\n") else -1
    length = data[at : at + digits]
    if length and not length.isdigit():
        return at  # no block after all
    if len(length) < digits:
        return -1
    end = at + digits + int(length)
    return end if end <= len(data) else -1
