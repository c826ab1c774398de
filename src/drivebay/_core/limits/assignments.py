"""Dialects that are programs (TSP): only whole statements that the manifest lists can be limited.

Promises: on a limited instrument a message is one statement that sets an attribute under
``levels`` or ``clamps`` to plain numbers, or it is word for word one that the manifest lists, or it
is refused. Never interprets the language: a program that computes its levels cannot be followed,
and so is refused whole.

``<number>`` in a listed statement stands for one plain number, ``smu<x>`` for ``smua`` throughout
and for ``smub`` throughout. A statement that names ``smub`` and not ``smua`` is about channel 2,
every other about channel 1; ``reset()`` and commands with a ``*`` about all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from drivebay._core.limits.dialect import commands_of
from drivebay._core.limits.effect import ALL_CHANNELS, Effect, Level
from drivebay._core.limits.values import read_number, unit_of

_NUMBER = r"[+-]?[0-9][0-9.]*(?:[eE][+-]?[0-9]{1,4})?"
_ATTRIBUTE = r"([A-Za-z_][A-Za-z0-9_.\[\]]*)"
_ASSIGNMENT = re.compile(rf"{_ATTRIBUTE}=({_NUMBER})")
# A list of levels: listv({0.0,0.5}).
_LISTED = re.compile(rf"{_ATTRIBUTE}\(\{{({_NUMBER}(?:,{_NUMBER})*)\}}\)")
_NONE: frozenset[str] = frozenset()
_ONE = frozenset({"1"})
_PRINT = re.compile(r"print\([A-Za-z0-9_.\[\]]*\)")
_SPACE = re.compile(r"[ \t]+")
_PLACE, _EITHER = "<number>", "smu<x>"


class Setting(NamedTuple):
    """An attribute that sets a level, or a limit of the instrument's own.

    Attributes:
        name: as the dialect spells it.
        quantity: what it sets.
        unit: in what unit it takes it.
        is_clamp: whether it is a protection, which holds both ways.
        first: whether nothing may energise its channel before it was set.
    """

    name: str
    quantity: str
    unit: Any
    is_clamp: bool
    first: bool

    @property
    def channel(self) -> str:
        """The channel it is of."""
        return _channel(self.name)


class Assignments:
    """Statements of a language that is not SCPI, compared word for word."""

    def __init__(self, dialect: Mapping[str, Any], *, strict: bool) -> None:
        self._strict = strict
        self._language = str(dialect.get("language") or "")
        self._lists = {
            key: _Statements(commands_of(dialect, key)) for key in ("energise", "off", "harmless")
        }
        self._switches = {text.partition("=")[0] for text in self._lists["energise"].plain}
        self._settings: dict[str, Setting] = {}
        for key in ("levels", "clamps"):
            for name, given in (dialect.get(key) or {}).items():
                quantity, unit = str(given["quantity"]), given.get("unit")
                first = given.get("first", key == "clamps") is True
                self._settings[_squeezed(name)] = Setting(
                    name, quantity, unit_of(quantity, unit), key == "clamps", first
                )

    @property
    def firsts(self) -> list[Setting]:
        """What must be set before its channel may be energised."""
        return [each for each in self._settings.values() if each.first]

    def is_clamp(self, level: Level) -> bool:
        """Whether what a statement sets is a protection."""
        return any(each.name == level.header and each.is_clamp for each in self._settings.values())

    def read(self, message: bytes) -> tuple[Effect | None, str]:
        """The effect of a statement; or None, and why it is refused."""
        text = message.decode("latin-1").strip()
        if "\n" in text or "\r" in text:
            return (None, "is not sent: it is more than one line") if self._strict else _unknown()
        squeezed = _squeezed(text)
        question = squeezed.startswith(("print(", "printbuffer(")) or squeezed.endswith("?")
        if squeezed in self._lists["off"]:
            forgets = squeezed == "*RST" or squeezed.endswith("reset()")
            return Effect(_NONE, _off(squeezed), (), question, forgets=forgets), ""
        if squeezed in self._lists["harmless"] or not squeezed:
            return Effect(_NONE, _NONE, (), question), ""
        if squeezed in self._lists["energise"]:
            return Effect(frozenset({_channel(squeezed)}), _NONE, (), question), ""
        set_ = self._set(squeezed)
        if set_ is not None:
            return set_, ""
        if self._strict:
            return None, (
                f"is not sent: of {self._language} only listed statements can be held to limits"
            )
        energises = _ONE if self._may_switch(squeezed) else _NONE
        return Effect(energises, _NONE, (), question), ""

    def _set(self, squeezed: str) -> Effect | None:
        """What an assignment of plain numbers does; None if it is none."""
        match = _ASSIGNMENT.fullmatch(squeezed) or _LISTED.fullmatch(squeezed)
        if match is None or match[1] not in self._settings:
            return None
        setting = self._settings[match[1]]
        values = [read_number(text, setting.unit) for text in match[2].split(",")]
        # Both ends: the limit need not lie around zero.
        found = [value for value in values if value is not None]
        if len(found) != len(values):
            return None
        ends = sorted({min(found), max(found)}, key=abs)
        levels = tuple(
            Level(setting.name, setting.quantity, setting.channel, value) for value in ends
        )
        return Effect(_NONE, _NONE, levels, False, ((setting.name, setting.channel),))

    def _may_switch(self, squeezed: str) -> bool:
        """Whether a statement names what switches on, and does more than print it."""
        return _PRINT.fullmatch(squeezed) is None and any(
            name in squeezed for name in self._switches
        )


class _Statements:
    """Listed statements; those with a place for a number match any plain number there."""

    def __init__(self, texts: list[str]) -> None:
        squeezed = [
            _squeezed(text.replace(_EITHER, each))
            for text in texts
            for each in (("smua", "smub") if _EITHER in text else ("",))
        ]
        self.plain = {text for text in squeezed if _PLACE not in text}
        parts = [
            _NUMBER.join(map(re.escape, text.split(_PLACE))) for text in squeezed if _PLACE in text
        ]
        self._open = re.compile("|".join(parts)) if parts else None

    def __contains__(self, squeezed: str) -> bool:
        if squeezed in self.plain:
            return True
        return self._open is not None and self._open.fullmatch(squeezed) is not None


def _unknown() -> tuple[Effect, str]:
    """Several lines where only ranges limit: they may switch something on."""
    return Effect(_ONE, _NONE, (), True), ""


def _channel(squeezed: str) -> str:
    return "2" if "smub" in squeezed and "smua" not in squeezed else "1"


def _off(squeezed: str) -> frozenset[str]:
    every = squeezed.startswith("*") or squeezed == "reset()"
    return frozenset({ALL_CHANNELS if every else _channel(squeezed)})


def _squeezed(text: str) -> str:
    """A statement without its white space; what white space would join is told apart by a blank.

    >>> _squeezed("smua.source.levelv  =  5")
    'smua.source.levelv=5'
    """
    single = _SPACE.sub(" ", text.strip())
    return re.sub(r" ?([=(),.{}\[\]]) ?", r"\1", single)
