"""Makers of commands that only set or answer one setting.

Promises: a number is checked against its limits, a name against its list, and a query answers what
was set. Never does anything else: a command with consequences has a handler of its own.

Each maker takes the header in manual notation (``[:SENSe[1]]:CURRent:NPLCycles``) and the name of
an attribute of ``instrument.settings``, which any instrument that uses them has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivebay.sim.parameters import bounded, choice, setting_text, short_form, switch
from drivebay.sim.syntax import Command, Query, ScpiError, Write


def only(arguments: list[str]) -> str:
    """The one argument.

    Raises:
        ScpiError: -109 or -108, there are fewer or more.
    """
    if not arguments or not arguments[0]:
        raise ScpiError(-109)
    if len(arguments) > 1:
        raise ScpiError(-108)
    return arguments[0]


def none(arguments: list[str]) -> None:
    """Checks that there is no argument.

    Raises:
        ScpiError: -108, there is one.
    """
    if arguments:
        raise ScpiError(-108)


def limit_named(arguments: list[str], low: float, high: float, default: float) -> float | None:
    """What ``? MINimum``, ``? MAXimum`` and ``? DEFault`` ask for; None for a plain query."""
    if not arguments:
        return None
    name = choice(only(arguments), ("MINimum", "MAXimum", "DEFault"))
    return {"MIN": low, "MAX": high, "DEF": default}[name]


def number(
    pattern: str,
    name: str,
    low: float,
    high: float,
    default: float,
    unit: str = "",
    *,
    whole: bool = False,
) -> Command:
    """A numeric setting with fixed limits."""

    def write(inst: Any, arguments: list[str]) -> None:
        value = bounded(only(arguments), low, high, default, unit)
        setattr(inst.settings, name, round(value) if whole else value)

    def query_(inst: Any, arguments: list[str]) -> str:
        value = limit_named(arguments, low, high, default)
        value = getattr(inst.settings, name) if value is None else value
        return setting_text(int(value) if whole else float(value))

    return Command((pattern,), write=write, query=query_)


def measure_number(
    pattern: str, name: str, low: float, high: float, default: float, unit: str
) -> Command:
    """A measure range: setting it turns its auto range (``<function>_auto_range``) off."""
    plain = number(pattern, name, low, high, default, unit)
    automatic = name.replace("_range", "_auto_range")

    def write(inst: Any, arguments: list[str]) -> None:
        if plain.write is not None:
            plain.write(inst, arguments)
        setattr(inst.settings, automatic, False)

    return Command((pattern,), write=write, query=plain.query)


def toggle(pattern: str, name: str) -> Command:
    """A switch."""

    def write(inst: Any, arguments: list[str]) -> None:
        setattr(inst.settings, name, switch(only(arguments)))

    def query_(inst: Any, arguments: list[str]) -> str:
        none(arguments)
        return setting_text(bool(getattr(inst.settings, name)))

    return Command((pattern,), write=write, query=query_)


def choose(pattern: str, name: str, *names: str, flag: bool = False) -> Command:
    """One of some names; with ``flag`` the setting is whether it is the second of two."""
    shorts = [short_form(each) for each in names]

    def write(inst: Any, arguments: list[str]) -> None:
        chosen = choice(only(arguments), names)
        setattr(inst.settings, name, chosen == shorts[1] if flag else chosen)

    def query_(inst: Any, arguments: list[str]) -> str:
        none(arguments)
        value = getattr(inst.settings, name)
        return shorts[value] if flag else str(value)

    return Command((pattern,), write=write, query=query_)


def action(pattern: str, act: Callable[[Any], None]) -> Command:
    """A command without arguments and without a query."""

    def write(inst: Any, arguments: list[str]) -> None:
        none(arguments)
        act(inst)

    return Command((pattern,), write=write)


def query(pattern: str, answer: Query) -> Command:
    """A query without a command."""
    return Command((pattern,), query=answer)


def store(pattern: str, write: Write, answer: Callable[[Any], str] | None = None) -> Command:
    """A command with a handler, and a query that only looks."""
    if answer is None:
        return Command((pattern,), write=write)
    look = answer
    return Command((pattern,), write=write, query=lambda inst, arguments: look(inst))
