"""Stage 1, the text: a manifest's bytes and scalars, before anybody asks what YAML makes of them.

The limits, what a file may be read from, which characters may stand in it, and when an unquoted
scalar is a number. Everything here is bounded by the limits and imports no parser.
"""

from __future__ import annotations

import os
import re
import stat
from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from drivebay._core.errors import Diagnostic, ManifestError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 12
MAX_NODES = 2_000
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
WILD = object()
"""Stands for a number that is not finite, or has more digits than any measurement can need."""

Where = tuple[str | int, ...]

_control = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# C1 controls (but NEL, which YAML takes for a line break), byte order marks inside the text, and
# the bidirectional overrides that make a line read differently from what it says.
_hidden = re.compile("[\x80-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
_number = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_long_number = re.compile(r"-?[0-9]{19,}(\.[0-9]+)?|-?[0-9]+\.[0-9]{31,}")
_WORDS: dict[str, bool | None] = {
    "true": True,
    "false": False,
    "null": None,
    "": None,
    "~": None,
}


@dataclass(frozen=True, slots=True)
class Document:
    """A kind of YAML file: what messages call it, and how much of it is read.

    Attributes:
        name: as in "the manifest is empty".
        start: what to put into an empty one.
        max_nodes: how many values, keys counted, it may hold.
    """

    name: str
    start: str
    max_nodes: int


MANIFEST = Document("manifest", "it needs at least name and version", MAX_NODES)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a document, before it is known where it stands in the file.

    Attributes:
        code: as in :class:`~drivebay._core.errors.Diagnostic`.
        message: subject, value, expectation.
        where: keys and indexes from the top of the document.
        on_key: the key itself is at fault, not its value.
        mark: 0-based line and column, when the place is known but is no value.
        severity: ``error`` or ``warning``.
    """

    code: str
    message: str
    where: Where = ()
    on_key: bool = False
    mark: tuple[int, int] | None = None
    severity: str = "error"


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a manifest file, one more than allowed at the most.

    Never blocks: a FIFO or a device is refused by what it is, before it is read.

    Raises:
        ManifestError: M018, the path is not a regular file.
        OSError: there is no such file, or it may not be read.
    """
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ManifestError([Diagnostic("M018", "is not a regular file", str(path))])
        parts = []
        left = MAX_BYTES + 1
        while left > 0 and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def typed_text(text: str) -> Any:
    """An unquoted scalar as JSON would have it: number (or WILD), true, false, null, else text."""
    if text in _WORDS:
        return _WORDS[text]
    match = _number.fullmatch(text)
    if match is None:
        return WILD if _long_number.fullmatch(text) else text
    if match[2] is None and match[3] is None:
        return int(text)
    number = float(text)
    return number if isfinite(number) else WILD


def has_control(data: bytes) -> bool:
    """Whether there is a control character in the bytes, other than tab and line break."""
    return _control.search(data) is not None


def under(problems: Iterable[Problem], where: Where, subject: str) -> list[Problem]:
    """The problems of a nested part as those of the document around it.

    Args:
        problems: found in the part, their places counted from its top.
        where: the way from the top of the document to the part.
        subject: what messages call the part.
    """
    return [
        replace(
            each,
            message=f"{subject}: {each.message}",
            where=(*where, *each.where),
            # What a part lacks has no place in it: its name is pointed at instead.
            on_key=each.on_key or not each.where,
        )
        for each in problems
    ]


def bytes_problem(data: bytes, document: Document = MANIFEST) -> Problem | None:
    """What is wrong with the bytes themselves: too many, not UTF-8, or not printable."""
    if len(data) > MAX_BYTES:
        at_least = (
            "more than " if len(data) == MAX_BYTES + 1 else f"{len(data):,} bytes, more than "
        )
        message = f"the {document.name} is {at_least}the {MAX_BYTES:,} bytes allowed"
        return Problem("M013", message)
    if control := _control.search(data):
        at = control.start()
        message = f"character U+{data[at]:04X} at byte {at} is not allowed; use UTF-8 text"
        return Problem("M015", message, mark=_mark_at(data, at))
    if data.isascii():
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start} (0x{data[error.start]:02X}); save it as UTF-8"
        return Problem("M016", message, mark=_mark_at(data, error.start))
    if hidden := _hidden.search(text):
        marked = 3 if data.startswith(BOM_UTF8) else 0
        at = marked + len(text[: hidden.start()].encode())
        message = f"character U+{ord(hidden[0]):04X} at byte {at} is not allowed"
        return Problem("M015", message, mark=_mark_at(data, at))
    return None


def _mark_at(data: bytes, byte: int) -> tuple[int, int]:
    before = data[:byte].decode("utf-8-sig", "replace")
    return before.count("\n"), len(before) - (before.rfind("\n") + 1)
