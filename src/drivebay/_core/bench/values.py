"""The bench file, the values: which names, addresses, numbers and limits may stand in it.

A ``..._fault`` takes text and returns what is wrong with it as a sentence, or an empty string; a
``check_...`` takes a plain value, puts problems into a list and returns what it could read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from drivebay._core.bench.model import POLICIES
from drivebay._core.errors import ResourceError, nearest
from drivebay._core.links import parse_resource
from drivebay._core.manifest.grammar import YAML_WORDS, clip, kind_of
from drivebay._core.manifest.shapes import known_quantity
from drivebay._core.manifest.text import Problem, Where
from drivebay._core.methods.quantity import read_quantity

ALIAS_PATTERN = r"[a-z][a-z0-9_]{0,31}"
CHANNEL_PATTERN = r"[A-Za-z0-9_]{1,32}"
MAX_RAMP_S = 30.0
MIN_BAUD, MAX_BAUD = 50, 4_000_000

UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "voltage_v": "V",
        "ac_level_v": "V",
        "current_a": "A",
        "power_w": "W",
        "resistance_ohm": "ohm",
        "conductance_s": "S",
        "capacitance_f": "F",
        "inductance_h": "H",
        "impedance_ohm": "ohm",
        "charge_c": "C",
        "frequency_hz": "Hz",
        "temperature_k": "K",
        "time_s": "s",
        "delay_s": "s",
        "width_s": "s",
        "period_s": "s",
        "phase_deg": "deg",
        "nplc": "",
        "points": "",
    }
)
"""Quantity of a limit -> the unit a number of it is in."""

LEVELS: Final = ("voltage_v", "current_a", "power_w")
"""Quantities that are zero when an output is off."""

COMMANDED: Final = ("voltage_v", "ac_level_v", "current_a", "power_w", "frequency_hz")
"""Quantities that commands set; a limit of another one holds for parameters only."""

TERMINATORS: Final[Mapping[str, str]] = MappingProxyType(
    # Without double quotes YAML takes a backslash for a backslash; what was meant is plain.
    {"\n": "\n", "\r\n": "\r\n", "\r": "\r", r"\n": "\n", r"\r\n": "\r\n", r"\r": "\r"}
)

_alias = re.compile(ALIAS_PATTERN)
_channel = re.compile(CHANNEL_PATTERN)
_digits = re.compile("[0-9]{1,7}")


def alias_fault(text: str) -> str:
    """What is wrong with an alias, or an empty string."""
    if not _alias.fullmatch(text):
        return (
            f"{clip(text)} is not an alias: a lower-case letter, then at most 31 lower-case "
            "letters, digits or '_', as in smu1"
        )
    if text in YAML_WORDS:
        return f"{text!r} is a YAML word for true, false or nothing and cannot be an alias"
    if address := canonical(text):
        return f"alias {text!r} reads as the address {address}; choose another"
    return ""


def channel_fault(text: str) -> str:
    """What is wrong with the name of a channel, or an empty string."""
    if _channel.fullmatch(text):
        return ""
    return f"{clip(text)} is not a channel: 1 to 32 letters, digits or '_', as in 1 or smua"


def canonical(resource: object) -> str | None:
    """An address in its one spelling, or None if it is not one."""
    try:
        return parse_resource(resource).text if isinstance(resource, str) else None
    except ResourceError:
        return None


def resource_fault(text: str) -> str:
    """What is wrong with an address, with its own code, or an empty string."""
    try:
        parse_resource(text)
    except ResourceError as exc:
        return f"{exc.problem.message} ({exc.problem.code})"
    return ""


def shown_fault(text: str) -> str:
    """What is wrong with a text that people are shown, or an empty string."""
    if not text.strip():
        return "holds blanks only"
    return "" if text.isprintable() else f"{clip(text)} holds characters that cannot be shown"


def pinned_fault(text: str) -> str:
    """What is wrong with a pinned part of an identity other than the firmware."""
    if "," in text:
        return f"{clip(text)} holds a comma, which separates the parts of an answer to *IDN?"
    return shown_fault(text)


def baud_fault(text: str) -> str:
    """What is wrong with the speed of a serial line, or an empty string."""
    if _digits.fullmatch(text) and MIN_BAUD <= int(text) <= MAX_BAUD:
        return ""
    return f"must be a whole number of bits a second, {MIN_BAUD} to {MAX_BAUD}, found {clip(text)}"


def terminator_fault(text: str) -> str:
    """What is wrong with a terminator, or an empty string."""
    return "" if text in TERMINATORS else rf'must be "\n", "\r\n" or "\r", found {clip(text)}'


def policy_fault(text: str) -> str:
    """What is wrong with a policy, or an empty string."""
    if text in POLICIES:
        return ""
    hint = nearest(text.lower()[:64], POLICIES)
    return f"policy must be one of {', '.join(POLICIES)}, found {clip(text)}{hint}"


def positive_fault(unit: str, most: float = math.inf) -> Callable[[str], str]:
    """A fault for numbers above zero.

    Args:
        unit: they are in, or may be written with.
        most: the largest there may be, in that unit.
    """
    reach = "above 0" if most == math.inf else f"above 0 and at most {most:g}"

    def fault(text: str) -> str:
        number, problem = read_quantity(text, unit, bare=True)
        if problem is not None:
            return problem.message
        return "" if 0 < number <= most else f"must be {reach} {unit}, found {clip(text)}"

    return fault


def number_of(text: str, unit: str) -> float:
    """The number in a text that has no fault."""
    return read_quantity(text, unit, bare=True)[0]


def check_limits(value: dict[str, Any], problems: list[Problem]) -> dict[str, tuple[float, float]]:
    """Check ``limits``: quantity -> [lowest, highest], or one number for both directions."""
    found: dict[str, tuple[float, float]] = {}
    for quantity, limit in value.items():
        where: Where = ("limits", quantity)
        if known_quantity(quantity, where, problems):
            pair = _pair(quantity, limit, where, problems)
            if pair is not None:
                found[quantity] = pair
    return found


def _pair(
    quantity: str, limit: Any, where: Where, problems: list[Problem]
) -> tuple[float, float] | None:
    if isinstance(limit, list):
        if len(limit) != 2:
            message = f"{quantity} must be [lowest, highest], found {len(limit)} values"
            problems.append(Problem("M036", message, where))
            return None
        ends = [_number(end, quantity, (*where, at), problems) for at, end in enumerate(limit)]
        low, high = ends
        if low is None or high is None:
            return None
        if low > high:
            message = f"{quantity} limits {low:g}..{high:g} are empty; the lowest comes first"
            problems.append(Problem("M036", message, where))
            return None
        return low, high
    most = _number(limit, quantity, where, problems)
    if most is None:
        return None
    if most < 0:
        message = f"{quantity} holds in both directions and must not be negative, found {most:g}"
        problems.append(Problem("M036", f"{message}; or write [lowest, highest]", where))
        return None
    return -most or 0.0, most


def _number(value: Any, quantity: str, where: Where, problems: list[Problem]) -> float | None:
    if not isinstance(value, str) or not value:
        # A limit that is left blank would else be no limit at all.
        message = f"{quantity} must be a number or [lowest, highest], found {kind_of(value)}"
        problems.append(Problem("M041", message, where))
        return None
    number, problem = read_quantity(value, UNITS[quantity], bare=True)
    if problem is None:
        return number
    code = "B107" if problem.code == "P008" else "M041"
    problems.append(Problem(code, f"{quantity}: {problem.message}", where))
    return None
