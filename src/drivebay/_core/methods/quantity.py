"""Numbers with a unit as people write them: ``10 mA`` is 0.01 A exactly.

Promises correct rounding (the prefix moves the decimal exponent, no multiplication happens) and
never guesses: a wrong unit, an unknown prefix and stray characters are errors with their own code.
"""

from __future__ import annotations

import math
import re

from drivebay._core.errors import Diagnostic, ParameterError

UNITS = ("V", "A", "s", "Hz", "ohm", "F", "S", "H", "K", "W", "V/s")
"""SI units a parameter may have; an empty unit means a plain number."""

# The micro sign U+00B5 and the Greek mu U+03BC look alike, and keyboards differ in which they give.
_PREFIXES = {
    "f": -15,
    "p": -12,
    "n": -9,
    "u": -6,
    "\u00b5": -6,
    "\u03bc": -6,
    "m": -3,
    "": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
}
_SPELLINGS = {"\u03a9": "ohm", "\u2126": "ohm", "Ohm": "ohm", "Ohms": "ohm", "ohms": "ohm"}
_TEXT_LIMIT = 64
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,4}))?\s*(\S*)")
_DANGEROUS = re.compile(r"[\x00-\x1f\x7f;\"']|:[A-Za-z]")


def parse_quantity(text: str, unit: str) -> float:
    """The number that ``text`` means in ``unit``, rounded once.

    A number without a unit is taken to be in ``unit`` already, as on a command line where the
    option's name says the unit.

    Args:
        text: such as ``10 mA``, ``-2.5e-3V``, ``50``; at most 64 characters.
        unit: the unit of the result, one of ``UNITS``, or empty for a plain number.

    Raises:
        ParameterError: P001 no finite number, P008 another unit, P009 control characters.

    >>> parse_quantity("10 mA", "A")
    0.01
    >>> parse_quantity("4.7 \u00b5F", "F")
    4.7e-06
    """
    value, problem = read_quantity(text, unit, bare=True)
    if problem is not None:
        raise ParameterError([problem])
    return value


def say_quantity(value: float, unit: str) -> str:
    """A number with its unit as people write it, to six digits; ``parse_quantity`` reads it back.

    >>> say_quantity(1e-11, "A"), say_quantity(2e6, "Hz"), say_quantity(-210, "V")
    ('10 pA', '2 MHz', '-210 V')
    """
    exponent = 0
    if unit and value and math.isfinite(value):
        exponent = 3 * math.floor(math.log10(abs(value)) / 3 + 1e-9)
        exponent = min(max(exponent, -15), 12)
    spellings = [text for text, power in _PREFIXES.items() if power == exponent]
    prefix = "\u00b5" if "\u00b5" in spellings else spellings[0]
    return f"{value / 10.0**exponent:.6g} {prefix}{unit}".rstrip()


def read_quantity(
    text: str, unit: str, *, bare: bool, path: str = ""
) -> tuple[float, Diagnostic | None]:
    """The value and no problem, or NaN and what is wrong with the text.

    Args:
        text: what somebody wrote.
        unit: unit wanted, empty for a plain number.
        bare: whether a number without a unit will do.
        path: JSON pointer put into the problem.
    """

    def bad(code: str, message: str) -> tuple[float, Diagnostic]:
        return math.nan, Diagnostic(code, message, path=path)

    shown = shorten(text)
    if _DANGEROUS.search(text):
        return bad("P009", f"{shown} has characters that do not belong into a number")
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= _TEXT_LIMIT else None
    if match is None:
        return bad("P001", f"{shown} is not a finite number{_in(unit)}")
    mantissa, exponent, suffix = match.groups()
    if not suffix and not bare:
        hint = f" or with its unit, such as '{text.strip()} {unit}'" if unit else ""
        return bad("P001", f"{shown} is text, not a number; write it without quotes{hint}")
    scale = _scale(suffix, unit)
    if scale is None:
        wanted = f"a multiple of {unit}" if unit else "a plain number"
        return bad("P008", f"{shown} has unit {suffix!r}, expected {wanted}")
    value = float(f"{mantissa}e{int(exponent or 0) + scale}")
    if not math.isfinite(value):
        return bad("P001", f"{shown} is not a finite number{_in(unit)}")
    return value, None


def shorten(value: object) -> str:
    """``repr`` of a value, cut to what fits into a message."""
    text = repr(value)
    return text if len(text) <= 48 else text[:45] + "..."


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""


def _scale(suffix: str, unit: str) -> int | None:
    if not suffix:
        return 0
    if not unit:
        return None
    for spelling, canonical in ((unit, unit), *_SPELLINGS.items()):
        if canonical == unit and suffix.endswith(spelling):
            return _PREFIXES.get(suffix[: -len(spelling)])
    return None
