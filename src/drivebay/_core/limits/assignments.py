"""Dialects that are programs (TSP): only whole statements that the manifest lists can be limited.

Promises: on a limited instrument a statement is ``attribute = number`` with an attribute under
``levels``, or is word for word one of ``off`` or ``harmless``, or is refused. Never interprets the
language: a program that computes its levels cannot be followed, and so is refused whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drivebay._core.limits.dialect import commands_of
from drivebay._core.limits.effect import Effect, Level
from drivebay._core.limits.values import read_number, unit_of

_ASSIGNMENT = re.compile(
    r"([A-Za-z_][A-Za-z0-9_.\[\]]*)=([+-]?[0-9][0-9.]*(?:[eE][+-]?[0-9]{1,4})?)"
)
_NONE: frozenset[str] = frozenset()
_PRINT = re.compile(r"print\([A-Za-z0-9_.\[\]]*\)")
_SPACE = re.compile(r"\s+")


class Assignments:
    """Statements of a language that is not SCPI, compared word for word."""

    def __init__(self, dialect: Mapping[str, Any], *, strict: bool) -> None:
        self._strict = strict
        self._language = str(dialect.get("language") or "")
        self._lists = {
            key: {_squeezed(text) for text in commands_of(dialect, key)}
            for key in ("energise", "off", "harmless")
        }
        self._switches = {text.partition("=")[0] for text in self._lists["energise"]}
        self._levels = {
            _squeezed(name): (name, str(given["quantity"]), given.get("unit"))
            for name, given in (dialect.get("levels") or {}).items()
        }

    def read(self, message: bytes) -> tuple[Effect | None, str]:
        """The effect of a statement; or None, and why it is refused."""
        text = message.decode("latin-1").strip()
        squeezed = _squeezed(text)
        listed = squeezed in self._lists["energise"]
        off = frozenset({"1"}) if squeezed in self._lists["off"] else _NONE
        question = squeezed.startswith("print(") or squeezed.endswith("?")
        if off or squeezed in self._lists["harmless"] or not squeezed:
            return Effect(_NONE, off, (), question), ""
        match = _ASSIGNMENT.fullmatch(squeezed)
        if match is not None and match[1] in self._levels:
            name, quantity, unit = self._levels[match[1]]
            value = read_number(match[2], unit_of(quantity, unit))
            if value is not None:
                return Effect(_NONE, _NONE, (Level(name, quantity, "1", value),), False), ""
        if self._strict and not listed:
            return None, (
                f"is not sent: of {self._language} only listed statements can be held to limits"
            )
        energises = listed or self._may_switch(squeezed)
        return Effect(frozenset({"1"}) if energises else _NONE, _NONE, (), question), ""

    def _may_switch(self, squeezed: str) -> bool:
        """Whether a statement names what switches on, and does more than print it."""
        return _PRINT.fullmatch(squeezed) is None and any(
            name in squeezed for name in self._switches
        )


def _squeezed(text: str) -> str:
    """A statement without its white space; what white space would join is told apart by a blank.

    >>> _squeezed("smua.source.levelv  =  5")
    'smua.source.levelv=5'
    """
    single = _SPACE.sub(" ", text.strip())
    return re.sub(r" ?([=(),.\[\]]) ?", r"\1", single)
