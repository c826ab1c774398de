"""How the facts of a run are said to a person: numbers with their units, ranges, counts, times.

Promises: text that comes out of a run, which may be anybody's, cannot move the cursor once it went
through :func:`clean`; a unit is that of the standard method, else the one its name ends with; what
is cut short says how much there was. Reads no file and prints nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

_MOST_TEXT: Final = 200
_DIGITS: Final = 10


def clean(text: str) -> str:
    r"""Text of a run, which may be anybody's, without what would move the cursor.

    >>> clean("ok\x1b[2J")
    'ok?[2J'
    """
    return "".join(each if each.isprintable() or each == "\t" else "?" for each in text)


def local(moment: str) -> str:
    """A moment of a run in this machine's time, with its offset."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return moment


def short(value: object) -> str:
    """A value of a run on one line."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}={short(item)}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(map(short, value))
    else:
        text = f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}... ({len(text)} characters)"


def quantity(name: str, value: object, method: str = "") -> str:
    """A parameter, a result or a limit with its unit.

    Args:
        name: what it is called; without a method's word for it, its end is the unit.
        value: a number, a list of them, or anything else.
        method: name of the measurement it belongs to.

    >>> quantity("compliance_a", 0.01), quantity("points", 5), quantity("ideal", 1.5)
    ('10 mA', '5', '1.5')
    >>> quantity("voltage_v", [-210.0, 210.0])
    '-210 V, 210 V'
    """
    from drivebay.plotting import engineering

    unit = _unit(name, method)
    if isinstance(value, list | tuple) and unit:
        text = ", ".join(quantity(name, item, method) for item in value)
        return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}... ({len(value)} values)"
    if unit and isinstance(value, int | float) and not isinstance(value, bool):
        return engineering(float(value), unit, _DIGITS)
    return short(value)


def span(name: str, limits: object) -> str:
    """A limit, lowest to highest.

    >>> span("current_a", [-1.05, 1.05])
    '-1.05 A to 1.05 A'
    """
    if isinstance(limits, list | tuple) and len(limits) == 2:
        return " to ".join(quantity(name, each) for each in limits)
    return quantity(name, limits)


def _unit(name: str, method: str) -> str:
    from drivebay.driver import STANDARD, fields
    from drivebay.plotting.facts import unit_of

    spec: Any = STANDARD.get(method)
    units = {field.name: field.unit for field in fields(spec)} if spec is not None else {}
    return units[name] if name in units else unit_of(name)
