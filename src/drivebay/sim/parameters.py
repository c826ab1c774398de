"""SCPI data: text to numbers, switches, names, strings and blocks, and numbers back to text.

Promises: IEEE 488.2 sections 7.7 (what an instrument must read) and 8.7 (what it sends), with SCPI
units. Never guesses: what does not fit raises the SCPI error that says why.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Iterable, Sequence

from drivebay.sim.syntax import ScpiError

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:\s*[eE]\s*[+-]?\d+)?)\s*([A-Za-z]*)\Z")
_RADIX = {"H": 16, "Q": 8, "B": 2}
# IEEE 488.2 table 7-2. "MA" is mega, but "10MA" is ten milliamps: the unit is taken off first.
_MULTIPLIERS = {
    "": 1.0,
    "EX": 1e18,
    "PE": 1e15,
    "T": 1e12,
    "G": 1e9,
    "MA": 1e6,
    "K": 1e3,
    "M": 1e-3,
    "U": 1e-6,
    "N": 1e-9,
    "P": 1e-12,
    "F": 1e-15,
}


def number(text: str, unit: str = "") -> float:
    """A decimal (NRf), a number with a unit, or ``#H``, ``#Q``, ``#B``.

    Args:
        text: what was sent, for example ``-1.5e-3``, ``0.2kV``, ``#HFF``.
        unit: the unit the parameter has, in capitals; "" if it has none.

    Raises:
        ScpiError: -104 (no number), -131 (a unit it does not have), -120 (bad ``#`` number).

    >>> number("0.2kV", "V"), number("10MA", "A"), number("2 MOHM", "OHM"), number("#hFF")
    (200.0, 0.01, 2000000.0, 255.0)
    """
    try:
        # The common case; float() also takes inf, nan and "_", which are no NRf.
        if text[-1:].isdigit() and "_" not in text:
            return float(text)
    except ValueError:
        pass
    if text.startswith("#"):
        return float(_non_decimal(text))
    match = _NUMBER.match(text)
    if match is None:
        raise ScpiError(-104)
    value = float("".join(match[1].split()))
    return value * _multiplier(match[2].upper(), unit)


def _non_decimal(text: str) -> int:
    try:
        return int(text[2:], _RADIX[text[1:2].upper()])
    except (KeyError, ValueError):
        raise ScpiError(-120) from None


def _multiplier(suffix: str, unit: str) -> float:
    if not suffix:
        return 1.0
    if not unit or not suffix.endswith(unit):
        raise ScpiError(-131)
    prefix = suffix[: len(suffix) - len(unit)]
    # MOHM and MHZ are mega by decree (IEEE 488.2, 7.7.3.3).
    if prefix == "M" and unit in {"OHM", "HZ"}:
        return 1e6
    if prefix not in _MULTIPLIERS:
        raise ScpiError(-131)
    return _MULTIPLIERS[prefix]


def bounded(text: str, low: float, high: float, default: float, unit: str = "") -> float:
    """A number within limits, or ``MINimum``, ``MAXimum``, ``DEFault``.

    Raises:
        ScpiError: -222 outside the limits, and those of ``number``.
    """
    named = {"MIN": low, "MINIMUM": low, "MAX": high, "MAXIMUM": high}
    named |= {"DEF": default, "DEFAULT": default}
    value = named.get(text.upper())
    if value is None:
        value = number(text, unit)
        if not low <= value <= high:
            raise ScpiError(-222)
    return value


def numbers(texts: Sequence[str], unit: str = "") -> list[float]:
    """Several numbers; the bulk path of a source list."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return [number(text, unit) for text in texts]
    if not all(map(math.isfinite, values)):
        raise ScpiError(-104)
    return values


def switch(text: str) -> bool:
    """ON, OFF or a number, which is on unless it rounds to 0.

    Raises:
        ScpiError: -224, a word that is neither.
    """
    word = text.upper()
    if word in {"ON", "OFF"}:
        return word == "ON"
    try:
        return round(number(text)) != 0
    except ScpiError:
        raise ScpiError(-224) from None


def short_form(name: str) -> str:
    """The short form of a mnemonic in manual notation: its capitals and digits.

    >>> short_form("HIMPedance")
    'HIMP'
    """
    return "".join(char for char in name if not char.islower())


def choice(text: str, names: Iterable[str]) -> str:
    """The short form of the name that was sent, in any spelling.

    Raises:
        ScpiError: -224, none of them.
    """
    word = text.upper()
    for name in names:
        if word in {short_form(name), name.upper()}:
            return short_form(name)
    raise ScpiError(-224)


def string(text: str) -> str:
    """The content of a quoted string or of a block.

    Raises:
        ScpiError: -151, neither.
    """
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].replace(text[0] * 2, text[0])
    if text.startswith("#"):
        return block_content(text.encode("latin-1")).decode("latin-1")
    raise ScpiError(-151)


def definite_block(payload: bytes) -> bytes:
    """An IEEE 488.2 definite length block (8.7.9).

    >>> definite_block(b"abc")
    b'#13abc'
    """
    length = str(len(payload)).encode()
    return b"#" + str(len(length)).encode() + length + payload


def indefinite_block(payload: bytes) -> bytes:
    """An IEEE 488.2 indefinite length block (8.7.10); its end is the message terminator."""
    return b"#0" + payload


def block_content(data: bytes) -> bytes:
    """The payload of a definite or indefinite block (without the message terminator).

    Raises:
        ScpiError: -161, it is not one.
    """
    if data[:2] == b"#0":
        return data[2:]
    width = int(data[1:2]) if data[:1] == b"#" and data[1:2].isdigit() else 0
    digits = data[2 : 2 + width]
    if not width or not digits.isdigit() or len(data) != 2 + width + int(digits):
        raise ScpiError(-161)
    return data[2 + width :]


def singles(values: Iterable[float], little_endian: bool) -> bytes:
    """IEEE 754 single precision numbers; what is out of their range becomes infinite."""
    try:
        packed = array("f", values)
    except OverflowError:
        packed = array("f", (max(min(v, math.inf), -math.inf) for v in values))
    if little_endian != (sys.byteorder == "little"):
        packed.byteswap()
    return packed.tobytes()


def doubles(values: Iterable[float], little_endian: bool) -> bytes:
    """IEEE 754 double precision numbers."""
    packed = array("d", values)
    if little_endian != (sys.byteorder == "little"):
        packed.byteswap()
    return packed.tobytes()


def readings_text(values: Sequence[float]) -> str:
    """Readings as the 2400 sends them: signed, seven digits, an exponent.

    >>> readings_text((1.0, -2e-9))
    '+1.000000E+00,-2.000000E-09'
    """
    return ("%+.6E," * len(values))[:-1] % tuple(values)


def setting_text(value: float | bool | str) -> str:
    """The answer to a settings query: NR3, 0 or 1, or a short form."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return f"{value:.6E}" if math.isfinite(value) else "+9.900000E+37"
