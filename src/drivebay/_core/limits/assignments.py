"""Dialects that are programs (TSP): only whole statements that the manifest lists can be limited.

Promises: on a limited instrument a message is one statement that sets an attribute under
``levels`` or ``clamps`` to plain numbers, or it is word for word one that the manifest lists, or it
is refused. Where only ranges limit, every plain number that a program sets a level to is judged,
and a statement that is not certain to leave the outputs alone counts as one that switches them on.
Never interprets the language: a program that computes its levels cannot be followed.

``<number>`` in a listed statement stands for one plain number, ``smu<x>`` for ``smua`` throughout
and for ``smub`` throughout. A statement that names ``smub`` and not ``smua`` is about channel 2,
every other about channel 1; ``reset()`` and commands with a ``*`` about all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from drivebay._core.limits.dialect import commands_of
from drivebay._core.limits.effect import ALL_CHANNELS, Effect, Level
from drivebay._core.limits.values import read_number, unit_of

# As Lua reads it: no plus before it, digits first.
_NUMBER = r"-?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,4})?"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_ASSIGNMENT = re.compile(rf"({_NAME})=({_NUMBER})")
# A list of levels: listv({0.0,0.5}).
_LISTED = re.compile(rf"({_NAME})\(\{{({_NUMBER}(?:,{_NUMBER})*)\}}\)")
# The same within a longer program; `==` compares.
_WITHIN = re.compile(
    rf"({_NAME})(?:=({_NUMBER})(?![A-Za-z0-9_.])|\(\{{({_NUMBER}(?:,{_NUMBER})*)\}})"
)
# One assignment without a call: Lua calls by `(`, `{`, a string or `[[`.
_QUIET = re.compile(rf"({_NAME})=([^=({{\[\"']*)")
_PRINT = re.compile(rf"print\((?:{_NAME}|{_NUMBER})?\)")
# What IEEE 488.2 says of every instrument; `*RCL`, `*TRG` and `*DDT` are not among it.
_COMMON = re.compile(r"\*(?:[A-Z]+\?|CLS|OPC|WAI|(?:ESE|SRE) ?[0-9]+)")
_CLEARS = frozenset({"*CLS", "errorqueue.clear()"})
_NONE: frozenset[str] = frozenset()
_SPACE = re.compile(r"[ \t]+")
_AROUND = re.compile(r" ?([=(),{}\[\]]) ?")
# Not beside a digit, where blanks make two numbers of one.
_AROUND_DOT = re.compile(r"(?<=[A-Za-z_]) ?\. ?(?=[A-Za-z_])")
_ODD = re.compile(r"[^\x09\x0a\x0d\x20-\x7e]")
_PLACE, _EITHER = "<number>", "smu<x>"


class Refusal(NamedTuple):
    """Why a message may not be sent.

    Attributes:
        code: as in ``CODES``.
        text: how the message's refusal goes on.
    """

    code: str
    text: str


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
        energise = self._lists["energise"].plain
        # The last word of what switches on: whatever `source` is called, it is `.output` of it.
        self._switches = {text.partition("=")[0].rpartition(".")[2] for text in energise}
        self._channels = frozenset(map(_channel, energise)) or frozenset({"1"})
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

    @staticmethod
    def channel_of(name: str) -> str:
        """The channel that an attribute is of."""
        return _channel(name)

    def is_clamp(self, level: Level) -> bool:
        """Whether what a statement sets is a protection."""
        return any(each.name == level.header and each.is_clamp for each in self._settings.values())

    def read(self, message: bytes, is_limited: Callable[[Setting], bool]) -> Effect | Refusal:
        """The effect of a message, or why it is refused.

        Args:
            message: one program, with or without its terminator.
            is_limited: whether what a setting sets has a limit.
        """
        text = message.decode("latin-1").strip(" \t\r\n")
        odd = _ODD.search(text)
        if odd is not None and self._strict:
            return Refusal("L006", f"is not sent: it holds {odd[0]!r}")
        lines = "\n" in text or "\r" in text
        if lines and self._strict:
            return Refusal("L007", "is not sent: it is more than one line")
        squeezed = _squeezed(text)
        question = lines or squeezed.startswith(("print(", "printbuffer(", "printnumber("))
        question = question or squeezed.endswith("?")
        known = None if lines else self._known(squeezed, question)
        if known is not None:
            return known
        if self._strict:
            return Refusal(
                "L007",
                f"is not sent: of {self._language} only listed statements can be held to limits",
            )
        return self._followed(squeezed, question, is_limited)

    def _known(self, squeezed: str, question: bool) -> Effect | None:
        """What a statement does that is listed, or sets a level to plain numbers."""
        if squeezed in self._lists["off"]:
            forgets = squeezed == "*RST" or squeezed.endswith("reset()")
            return Effect(_NONE, _off(squeezed), (), question, forgets=forgets)
        if squeezed in self._lists["harmless"] or not squeezed:
            return Effect(_NONE, _NONE, (), question, clears=squeezed in _CLEARS)
        if squeezed in self._lists["energise"]:
            return Effect(frozenset({_channel(squeezed)}), _NONE, (), question)
        match = _ASSIGNMENT.fullmatch(squeezed) or _LISTED.fullmatch(squeezed)
        setting = None if match is None else self._settings.get(match[1])
        levels = self._levels(setting, match[2]) if match and setting else None
        if setting is None or levels is None:
            return None
        mark = (setting.name, setting.channel)
        asks = ((mark, f"print({setting.name})"),) if setting.is_clamp else ()
        return Effect(_NONE, _NONE, levels, False, (mark,), asks=asks)

    def _followed(
        self, squeezed: str, question: bool, is_limited: Callable[[Setting], bool]
    ) -> Effect | Refusal:
        """A program where only ranges limit: its plain levels, and whether it may switch on."""
        # Of several lines one may be a word that runs a script, such as `endscript`.
        quiet = None if re.search(r"[\r\n]", squeezed) else _QUIET.fullmatch(squeezed)
        setting = None if quiet is None else self._settings.get(quiet[1])
        value = "" if quiet is None else quiet[2].partition("--")[0].strip()
        if setting and is_limited(setting) and not re.fullmatch(_NUMBER, value):
            text = f"is not sent: {value[:32]!r} is no certain value of {setting.quantity}"
            return Refusal("L002", text)
        levels: list[Level] = []
        for match in _WITHIN.finditer(_squeezed(re.sub(r"[\r\n]", " ", squeezed))):
            setting = self._settings.get(match[1])
            levels += self._levels(setting, match[2] or match[3]) or () if setting else ()
        energises = self._channels if self._may_switch(squeezed, quiet) else _NONE
        return Effect(energises, _NONE, tuple(levels), question)

    @staticmethod
    def _levels(setting: Setting, numbers: str) -> tuple[Level, ...] | None:
        """The extremes of what a setting is set to; None if they are not certain."""
        values = [read_number(text, setting.unit) for text in numbers.split(",")]
        found = [value for value in values if value is not None]
        if len(found) != len(values):
            return None
        # Both ends: the limit need not lie around zero.
        ends = sorted({min(found), max(found)}, key=abs)
        return tuple(Level(setting.name, setting.quantity, setting.channel, each) for each in ends)

    def _may_switch(self, squeezed: str, quiet: re.Match[str] | None) -> bool:
        """Whether a statement is not certain to leave the outputs alone.

        A call may be of a function that switches one on, an index may be computed; an assignment of
        a value to another name than that of a switch does not, whatever stands for the channel.
        """
        if quiet is not None:
            return quiet[1].rpartition(".")[2] in self._switches
        return not (_PRINT.fullmatch(squeezed) or _COMMON.fullmatch(squeezed.upper()))


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
    return _AROUND_DOT.sub(".", _AROUND.sub(r"\1", single))
