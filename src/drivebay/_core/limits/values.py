"""Parameters of commands: numbers in every spelling of IEEE 488.2, switches, words and channels.

Promises: a number is the one the instrument will read, rounded once (a multiplier moves the decimal
exponent); what is not certainly a number is None. Never raises on what stands on the wire.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from drivebay._core.limits.headers import forms, is_form_of

# IEEE 488.2 table 7-2. "MA" is mega, and yet "10MA" is ten milliamps: the unit is taken off first.
_MULTIPLIERS = {
    "": 0, "EX": 18, "PE": 15, "T": 12, "G": 9, "MA": 6, "K": 3,
    "M": -3, "U": -6, "N": -9, "P": -12, "F": -15, "A": -18,
}  # fmt: skip
# MOHM and MHZ are mega by decree (IEEE 488.2, 7.7.3.3).
_MEGA_BY_DECREE = frozenset({"OHM", "HZ"})
# What a dialect may write before its unit; unlike the wire's these tell small from capital.
_SI_PREFIXES = {"p": -12, "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}
_BASES = {
    "v": "V", "a": "A", "w": "W", "ohm": "OHM", "f": "F", "h": "H", "c": "C", "hz": "HZ",
    "k": "K", "s": "S", "deg": "DEG",
}  # fmt: skip

_NUMBER = re.compile(
    r"([+-]?(?:[0-9]{1,255}(?:\.[0-9]{0,255})?|\.[0-9]{1,255}))"
    r"(?:[ \t]*[eE][ \t]*([+-]?[0-9]{1,5}))?[ \t]*([A-Za-z]{0,12})"
)
_RADIX = {"H": 16, "Q": 8, "B": 2}
_NON_DECIMAL = re.compile(r"#(?:[Hh][0-9A-Fa-f]{1,32}|[Qq][0-7]{1,64}|[Bb][01]{1,128})")
_CHANNELS = re.compile(r"\(@[ \t]*([0-9]{1,4}(?:[ \t]*[,:][ \t]*[0-9]{1,4})*)[ \t]*\)")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_CHANNELS = 1_000


@dataclass(frozen=True, slots=True)
class Unit:
    """In what unit an instrument takes a quantity.

    Attributes:
        symbol: the unit's name on the wire, in capitals; empty for a bare number.
        exponent: power of ten from a number without a unit to the SI unit.
    """

    symbol: str
    exponent: int = 0


def unit_of(quantity: str, text: str | None = None) -> Unit:
    """The unit of a level of the dialect.

    Args:
        quantity: such as ``voltage_v``; its suffix is the SI unit.
        text: as the dialect writes it, such as ``V`` or ``mV``; None for the SI unit.

    Raises:
        ValueError: the unit is not one of the quantity.

    >>> unit_of("voltage_v", "mV")
    Unit(symbol='V', exponent=-3)
    """
    _, separator, suffix = quantity.rpartition("_")
    symbol = _BASES.get(suffix, "") if separator else ""
    if text is None or text.strip().upper() == symbol:
        return Unit(symbol)
    stripped = text.strip()
    prefix = stripped[: len(stripped) - len(symbol)]
    if symbol and stripped.upper().endswith(symbol) and prefix in _SI_PREFIXES:
        return Unit(symbol, _SI_PREFIXES[prefix])
    expected = f"a multiple of {symbol}" if symbol else "a bare number"
    raise ValueError(f"unit {text[:20]!r} does not fit {quantity}, expected {expected}")


def read_number(text: str, unit: Unit) -> float | None:
    """The finite number a parameter is, in the SI unit; None if that is not certain.

    >>> read_number("0.2kV", Unit("V")), read_number("200 MV", Unit("V"))
    (200.0, 0.2)
    >>> read_number("2MOHM", Unit("OHM")), read_number("#HFF", Unit("V"))
    (2000000.0, 255.0)
    >>> read_number("5 A", Unit("V")) is None
    True
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        if not _NON_DECIMAL.fullmatch(text):
            return None
        value = float(f"{int(text[2:], _RADIX[text[1].upper()])}e{unit.exponent}")
    else:
        mantissa, exponent, suffix = match.groups()
        shift = _exponent(suffix.upper(), unit) if suffix else unit.exponent
        if shift is None:
            return None
        value = float(f"{mantissa}e{int(exponent or 0) + shift}")
    return value if math.isfinite(value) else None


def _exponent(suffix: str, unit: Unit) -> int | None:
    if not unit.symbol or not suffix.endswith(unit.symbol):
        return None
    prefix = suffix[: -len(unit.symbol)]
    if prefix == "M" and unit.symbol in _MEGA_BY_DECREE:
        return 6
    return _MULTIPLIERS.get(prefix)


_BARE = Unit("")


def truth(text: str) -> bool | None:
    """What a switch is set to; None if that is not certain.

    >>> truth("on"), truth("0.4"), truth("UP")
    (True, False, None)
    """
    word = text.upper()
    if word in {"ON", "OFF"}:
        return word == "ON"
    value = read_number(text, _BARE)
    return None if value is None else abs(value) >= 0.5


@dataclass(frozen=True, slots=True)
class Expected:
    """The parameter after a header of the dialect: a switch, a number or a word."""

    switch: bool | None
    match: Callable[[str], bool]

    def excludes(self, given: str) -> bool:
        """Whether a parameter is certainly another one."""
        if self.switch is not None:
            return truth(given) is (not self.switch)
        readable = _WORD.fullmatch(given) or read_number(given, _BARE) is not None
        return bool(readable) and not self.match(given)


def expected(text: str) -> Expected:
    """The parameter of a command as a dialect writes it.

    Raises:
        ValueError: it is a word whose capitals are no short form.
    """
    switch = truth(text) if text.upper() in {"ON", "OFF", "0", "1"} else None
    if switch is not None:
        return Expected(switch, lambda given: truth(given) is switch)
    number = read_number(text, _BARE)
    if number is not None:
        return Expected(None, lambda given: read_number(given, _BARE) == number)
    if _WORD.fullmatch(text):
        forms(text)
        return Expected(None, lambda given: is_form_of(given.upper(), text))
    return Expected(None, lambda given: given.upper() == text.upper())


def channels_of(text: str) -> tuple[str, ...] | None:
    """The channels of a list such as ``(@1,3:5)``; None if it is none.

    >>> channels_of("(@1,3:5)")
    ('1', '3', '4', '5')
    """
    match = _CHANNELS.fullmatch(text)
    if match is None:
        return None
    found: list[str] = []
    for part in match[1].split(","):
        ends = [int(end) for end in part.split(":")]
        if len(ends) > 2 or len(found) + max(ends) - min(ends) >= _MOST_CHANNELS:
            return None
        found += [str(number) for number in range(min(ends), max(ends) + 1)]
    return tuple(found)
