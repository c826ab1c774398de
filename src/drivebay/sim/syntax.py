"""SCPI syntax: from bytes on a wire to commands of a declared tree.

Promises: any header the tree declares is understood in its short and its long form, in any case,
with or without its optional nodes, alone or in a ``;`` compound whose relative headers follow
SCPI-99 volume 1, section 6.2. Never executes a command and never raises on what a client sent: what
is wrong becomes a unit that carries its error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

Write = Callable[[Any, list[str]], None]
Query = Callable[[Any, list[str]], "str | bytes | None"]

_NODE = re.compile(r"(\[)?:?(\*?[A-Z]+)([a-z]*)(\[1\]|\d+)?(\])?")
_BLOCK_START = re.compile(r"(?:^|[\s,])#([1-9])")
MAX_MESSAGE_BYTES = 1 << 20


class ScpiError(Exception):
    """What a command got wrong, by its SCPI or instrument error number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Command:
    """One leaf of the tree.

    Attributes:
        patterns: headers in manual notation, such as ``[:SENSe[1]]:CURRent[:DC]:NPLCycles``.
        write: called for the command form; None if there is only a query.
        query: called for the query form; None if there is only a command.
        urgent: obeyed at once while the instrument is busy.
        when_idle: its query (or what has none, its command) waits for idle whatever else overlaps.
    """

    patterns: tuple[str, ...]
    write: Write | None = None
    query: Query | None = None
    urgent: bool = False
    when_idle: bool = False


class Node:
    """One level of the command tree."""

    __slots__ = ("children", "command")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.command: Command | None = None


@dataclass(slots=True)
class Unit:
    """One program message unit: a command with its arguments, or the error it is."""

    command: Command | None
    is_query: bool
    arguments: list[str]
    error: int = 0


def spellings(short: str, rest: str, suffix: str) -> tuple[str, ...]:
    """All spellings of one mnemonic, in upper case.

    >>> spellings("SENS", "e", "[1]")
    ('SENS', 'SENSE', 'SENS1', 'SENSE1')
    """
    names = (short,) if not rest else (short, short + rest.upper())
    if suffix == "[1]":
        return names + tuple(name + "1" for name in names)
    return tuple(name + suffix for name in names)


class CommandTree:
    """The commands of an instrument, found by header."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.root = Node()
        self._found: dict[tuple[int, str], tuple[Command, Node]] = {}
        for command in commands:
            for pattern in command.patterns:
                self._add(pattern, command)

    def _add(self, pattern: str, command: Command) -> None:
        levels: list[list[tuple[str, ...]]] = []
        for optional, short, rest, suffix, _ in _NODE.findall(pattern):
            names = spellings(short, rest, suffix)
            levels.append([names, ()] if optional else [names])
        for variant in product(*levels):
            node = self.root
            for names in variant:
                if not names:
                    continue
                child = (
                    next((node.children[n] for n in names if n in node.children), None) or Node()
                )
                for name in names:
                    node.children.setdefault(name, child)
                node = child
            # Two patterns may share an optional header; the one declared first keeps it.
            if node.command is None and node is not self.root:
                node.command = command

    def find(self, header: str, path: Node) -> tuple[Command, Node]:
        """The command a header means, and the path the next relative header starts from.

        Raises:
            ScpiError: -113, no such header.
        """
        key = (id(path), header)
        hit = self._found.get(key)
        if hit is None:
            hit = self._walk(header.upper(), path)
            if len(self._found) < 4096:
                self._found[key] = hit
        return hit

    def _walk(self, header: str, path: Node) -> tuple[Command, Node]:
        if header.startswith("*"):
            node = self.root.children.get(header)
            if node is None or node.command is None:
                raise ScpiError(-113)
            return node.command, path
        parent = self.root if header.startswith(":") else path
        names = header.lstrip(":").split(":") if header.startswith(":") else header.split(":")
        node = parent
        for name in names:
            child = node.children.get(name)
            if child is None:
                raise ScpiError(-113)
            parent, node = node, child
        if node.command is None:
            raise ScpiError(-113)
        return node.command, parent

    def parse(self, text: str) -> list[Unit]:
        """The units of one program message, in order; blank units are left out."""
        units: list[Unit] = []
        path = self.root
        parts = text.split(";") if not _is_quoted(text) else split_outside_quotes(text, ";")
        for part in parts:
            part = part.strip()
            if part:
                unit, path = self._unit(part, path)
                units.append(unit)
        return units

    def _unit(self, text: str, path: Node) -> tuple[Unit, Node]:
        header, _, tail = text.partition(" ") if "\t" not in text else _partition_blank(text)
        is_query = header.endswith("?")
        try:
            command, path = self.find(header[:-1] if is_query else header, path)
        except ScpiError as error:
            return Unit(None, is_query, [], error.number), path
        if (command.query if is_query else command.write) is None:
            return Unit(None, is_query, [], -113), path
        return Unit(command, is_query, arguments_of(tail)), path


def _is_quoted(text: str) -> bool:
    return '"' in text or "'" in text or "#" in text


def _partition_blank(text: str) -> tuple[str, str, str]:
    header, *tail = text.split(None, 1)
    return header, " ", tail[0] if tail else ""


def arguments_of(text: str) -> list[str]:
    """The arguments of a command, as text; commas inside strings, lists and blocks do not split."""
    text = text.strip()
    if not text:
        return []
    if _is_quoted(text) or "(" in text:
        return [part.strip(" \t") for part in split_outside_quotes(text, ",")]
    return [part.strip() for part in text.split(",")]


def _block_end(text: str, start: int) -> int:
    """Where the block that begins at ``start`` (its ``#``) ends; ``start`` if it is no block."""
    kind = text[start + 1 : start + 2]
    if kind == "0":
        return len(text)
    if not kind.isdigit():
        return start
    digits = text[start + 2 : start + 2 + int(kind)]
    return start + 2 + int(kind) + int(digits) if digits.isdigit() else start


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """Splits at a separator that is in no string, no parenthesis and no IEEE 488.2 block."""
    parts: list[str] = []
    quote = ""
    depth = begin = at = 0
    while at < len(text):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#" and (end := _block_end(text, at)) > at:
            at = end
            continue
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == separator and depth <= 0:
            parts.append(text[begin:at])
            begin = at + 1
        at += 1
    parts.append(text[begin:])
    return parts


class Framer:
    """Cuts a byte stream into program messages at newlines that are not inside a block.

    Bounded: a message over 1 MiB is thrown away and counted in ``overruns``.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.overruns = 0

    def feed(self, data: bytes) -> list[str]:
        """The messages that are complete now, without terminators, as latin-1 text."""
        self._rest += data
        messages: list[str] = []
        while (end := self._end()) >= 0:
            messages.append(self._rest[:end].rstrip(b"\r").decode("latin-1"))
            self._rest = self._rest[end + 1 :]
        if len(self._rest) > MAX_MESSAGE_BYTES:
            self._rest = b""
            self.overruns += 1
        return messages

    def _end(self) -> int:
        end = self._rest.find(b"\n")
        if end < 0 or b"#" not in self._rest[:end]:
            return end
        text = self._rest.decode("latin-1")
        at = 0
        while match := _BLOCK_START.search(text, at, end):
            start = match.start(1) - 1
            at = max(_block_end(text, start), match.end())
            if at > len(text):
                return -1
            if at > end:
                end = text.find("\n", at)
                if end < 0:
                    return -1
        return end
