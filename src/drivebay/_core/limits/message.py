"""Program messages: from bytes on a wire to units of header and parameters (IEEE 488.2 chapter 7).

Promises: what comes out is what every instrument that keeps to the standard would read; a message
that two instruments could read in two ways is a fault, not a guess. Never knows what a command
means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADER = r"\*[A-Za-z_]+[0-9]{0,4}|:?[A-Za-z_]+[0-9]{0,4}(?::[A-Za-z_]+[0-9]{0,4})*"
_UNIT = re.compile(rf"({_HEADER})(\?)?(?:[ \t]+(.*))?", re.S)
_HEADER_ONLY = re.compile(_HEADER)
_ODD = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BLANK = " \t\r\n"
_STRUCTURED = re.compile(r"[\"'#()]")
MAX_CHARACTERS = 4 << 20


class MessageError(ValueError):
    """A message, or a part of one, that could be read in two ways."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One command or question of a message.

    Attributes:
        text: as it stands in the message.
        header: in capitals, as it was sent (absolute, relative or common).
        question: whether the header ends in ``?``.
        parameters: as text, blanks around them removed; a block is there whole.
        has_block: whether one of them is a block.
        fault: why this unit cannot be read; its header is then as far as it went.
    """

    text: str
    header: str
    question: bool = False
    parameters: tuple[str, ...] = ()
    has_block: bool = False
    fault: str = ""


def parse_message(message: bytes, *, lenient: bool = False) -> list[Unit]:
    """The units of a message in order; blank ones are left out.

    Args:
        message: with or without its terminator.
        lenient: whether a message that has faults is still cut into units, at every ``;``.

    Raises:
        MessageError: it holds a second message, a control character, or quotes, blocks or
            parentheses that do not end.
    """
    text = message.decode("latin-1").lstrip(_BLANK)
    try:
        parts = _parts(text)
    except MessageError:
        if not lenient:
            raise
        parts = [(part, False) for part in re.split(r"[;\r\n]", text)]
    return [_unit(part.strip(_BLANK), block) for part, block in parts if part.strip(_BLANK)]


def absolute(header: str, path: str) -> tuple[str, str]:
    """A header from the root, and the path that the next relative one starts from.

    Common commands leave the path as it is (SCPI-99 volume 1, 6.2.4).

    >>> absolute("TRIG", ":SOUR:VOLT")
    (':SOUR:VOLT:TRIG', ':SOUR:VOLT')
    """
    if header.startswith("*"):
        return header, path
    full = header if header.startswith(":") else f"{path}:{header}"
    return full, full.rpartition(":")[0]


def _parts(text: str) -> list[tuple[str, bool]]:
    if len(text) > MAX_CHARACTERS:
        raise MessageError(f"a message of {len(text):,} characters")
    if _STRUCTURED.search(text):
        return _cut(text, ";")
    text = text.rstrip(_BLANK)
    _refuse_odd(text)
    return [(part, False) for part in text.split(";")]


def _refuse_odd(text: str) -> None:
    odd = _ODD.search(text)
    if odd is not None:
        what = "a second message" if odd[0] in "\r\n" else "a control character"
        raise MessageError(f"{what} at character {odd.start() + 1}")


def _cut(text: str, separator: str) -> list[tuple[str, bool]]:
    """Cuts at a separator that is in no string, no block and no parentheses.

    Returns:
        Each part, and whether there is a block in it.
    """
    found: list[tuple[str, bool]] = []
    begin = at = 0
    block = False
    depth = 0
    while at < len(text):
        char = text[at]
        if char in "\"'":
            at = _string_end(text, at)
            continue
        if char == "#":
            end = _block_end(text, at)
            block, at = block or end > at + 1, end
            continue
        if char in "\r\n" and not text[at:].strip(_BLANK):
            break  # the terminator; it is looked for here because a block may end like one
        if char in "()":
            depth += 1 if char == "(" else -1
        elif char == separator and not depth:
            found.append((text[begin:at], block))
            begin, block = at + 1, False
        _refuse_here(char, depth, at)
        at += 1
    if depth:
        raise MessageError("a parenthesis that is not closed")
    found.append((text[begin:], block))
    return found


def _refuse_here(char: str, depth: int, at: int) -> None:
    _refuse_odd(char)
    if depth < 0 or depth > 1 or (depth and char == ";"):
        raise MessageError(f"parentheses that do not fit at character {at + 1}")


def _string_end(text: str, start: int) -> int:
    # A doubled quote is two strings side by side here: they end at the same place.
    end = text.find(text[start], start + 1)
    if end < 0:
        raise MessageError(f"a string that does not end, from character {start + 1}")
    _refuse_odd(text[start:end])
    return end + 1


def _block_end(text: str, start: int) -> int:
    """Where what begins with ``#`` goes on: after a block, or after the ``#`` of a number."""
    kind = text[start + 1 : start + 2]
    if not start or text[start - 1] not in " \t,":
        raise MessageError(f"a '#' inside a word at character {start + 1}")
    if kind and kind in "HhQqBb":
        return start + 1
    if kind == "0":
        return len(text)
    width = int(kind) if kind.isascii() and kind.isdigit() else 0
    digits = text[start + 2 : start + 2 + width]
    if not width or len(digits) != width or not (digits.isascii() and digits.isdigit()):
        raise MessageError(f"a '#' that begins no block at character {start + 1}")
    end = start + 2 + width + int(digits)
    if end > len(text):
        raise MessageError(f"a block that does not end, from character {start + 1}")
    return end


def _unit(text: str, has_block: bool) -> Unit:
    match = _UNIT.fullmatch(text)
    if match is None:
        start = _HEADER_ONLY.search(text)
        header = start[0].upper() if start else ""
        return Unit(text, header, fault="a header is followed by '?', a blank or nothing")
    header, mark, tail = match.groups()
    if not tail:
        return Unit(text, header.upper(), bool(mark))
    if _STRUCTURED.search(tail):
        try:
            parameters = tuple(part.strip(_BLANK) for part, _ in _cut(" " + tail, ","))
        except MessageError as odd:
            return Unit(text, header.upper(), bool(mark), has_block=has_block, fault=str(odd))
    else:
        parameters = tuple(part.strip(" \t") for part in tail.split(","))
    return Unit(text, header.upper(), bool(mark), parameters, has_block)
