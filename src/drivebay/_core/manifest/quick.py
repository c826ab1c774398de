"""Stage 1, the quick road: the plain block YAML most manifests are written in, without libyaml.

It knows one shape: a block mapping of plain or simply quoted one-line scalars, of block lists of
such scalars, of one-line flow lists of words, and of further such mappings. Whatever has anything
else in it (an anchor, a comment behind a value, a folded text, a duplicate key, a tab, a character
beyond ASCII) is not read here at all: :func:`scan` returns None and libyaml decides. It never
decides that a manifest is bad, and what it does read it reads as libyaml would; a property test
holds the two together. Reading is about four times quicker for it.
"""

from __future__ import annotations

import re
from typing import Any

from drivebay._core.manifest.fields import FIELDS
from drivebay._core.manifest.text import MAX_NODES, NULLS, WILD, has_control, typed_text

MAX_QUICK_BYTES = 8_192
MAX_QUICK_DEPTH = 8

_key = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
# A plain scalar begins with nothing that means anything to YAML and, the usual case first, holds
# neither ':' nor '#'; where it does, no ': ' and no ' #'.
_plain = re.compile(r"(?:[A-Za-z0-9_./(+]|-(?=[0-9]))[^:#]*(?:(?::(?![ ]|$)|(?<! )#)[^:#]*)*(?<! )")
_quoted = re.compile(r"""'([^']*)'|"([^"\\]*)\"""")
_words = re.compile(r"\[ *([A-Za-z0-9_][A-Za-z0-9_./-]*(?: *, *[A-Za-z0-9_][A-Za-z0-9_./-]*)*) *\]")
_comma = re.compile(" *, *")


def scan(data: bytes) -> dict[str, Any] | None:
    """The top-level values of a manifest in the one shape known here, or None.

    The values are those :mod:`reader` would give: text, except in fields that are typed.
    """
    if len(data) > MAX_QUICK_BYTES or not data.isascii() or has_control(data):
        return None
    if b"\t" in data or b"\r" in data:
        return None
    lines = data.decode("ascii").split("\n")
    if 2 * len(lines) + data.count(b",") > MAX_NODES:
        return None
    return _Scan().run(lines)


class _Scan:
    """The state of one scan: the open collections with the indent each of them is at."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self.open: list[tuple[int, dict[str, Any] | list[Any]]] = [(0, self.root)]
        self.waiting: tuple[int, dict[str, Any], str] | None = None
        self.typed = False

    def run(self, lines: list[str]) -> dict[str, Any] | None:
        """Take every line; None at the first that is not of the known shape."""
        for line in lines:
            body = line.lstrip(" ")
            if not body or body[0] == "#":
                continue
            indent = len(line) - len(body)
            if self.waiting is not None and not self._open(indent, body[0] == "-"):
                return None
            stack = self.open
            while stack[-1][0] > indent:
                stack.pop()
            if body[0] == "-":
                if not self._item(indent, body):
                    return None
            elif not self._pair(indent, body):
                return None
        return self.root or None

    def _open(self, indent: int, dash: bool) -> bool:
        """Open what the key on an earlier line waits for, if this line is inside it."""
        if self.waiting is None:
            return True
        at, parent, key = self.waiting
        self.waiting = None
        if indent > at or (dash and indent == at):
            inner: dict[str, Any] | list[Any] = [] if dash else {}
            parent[key] = inner
            self.open.append((indent, inner))
        return len(self.open) <= MAX_QUICK_DEPTH

    def _item(self, indent: int, body: str) -> bool:
        """Take a line of a block list."""
        at, holder = self.open[-1]
        if at != indent or type(holder) is not list or body[1:2] != " ":
            return False
        value = _scalar(body[2:].lstrip(" "), self.typed)
        holder.append(value)
        return value is not WILD

    def _pair(self, indent: int, body: str) -> bool:
        """Take a line of a block mapping."""
        at, holder = self.open[-1]
        if type(holder) is list and at == indent:
            self.open.pop()
            at, holder = self.open[-1]
        key, colon, text = body.partition(":")
        if at != indent or type(holder) is not dict or not colon or key in holder:
            return False
        if not key.isidentifier() and not _key.fullmatch(key):
            return False
        if indent == 0:
            item = FIELDS.get(key)
            self.typed = item is None or item.typed
        if not text:
            holder[key] = None
            self.waiting = (indent, holder, key)
            return True
        if text[0] != " ":
            return False
        text = text.lstrip(" ")
        value = _flow(text, self.typed) if text[:1] == "[" else _scalar(text, self.typed)
        holder[key] = value
        return value is not WILD


def _scalar(text: str, typed: bool) -> Any:
    """The value of a one-line scalar, WILD if libyaml must look at it."""
    if _plain.fullmatch(text):
        if typed:
            return typed_text(text)
        return None if text in NULLS else text
    quoted = _quoted.fullmatch(text)
    if quoted is None:
        return WILD
    return quoted[1] if quoted[2] is None else quoted[2]


def _flow(text: str, typed: bool) -> Any:
    """The value of a one-line flow list of words, WILD if it is anything more."""
    words = _words.fullmatch(text)
    if words is None:
        return WILD
    values = _comma.split(words[1])
    if typed:
        values = [typed_text(word) for word in values]
        return WILD if WILD in values else values
    return [None if word in NULLS else word for word in values]
