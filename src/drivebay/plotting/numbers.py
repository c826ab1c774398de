"""Numbers and quantities as a person writes them: prefixes, round ticks, names with units.

Promises: a number that is said is the number to its digits; no locale, no library. Never knows of
runs or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

PREFIXES = {
    -18: "a", -15: "f", -12: "p", -9: "n", -6: "\u00b5", -3: "m",
    0: "", 3: "k", 6: "M", 9: "G", 12: "T",
}  # fmt: skip
_TAKES_PREFIX = {"V", "A", "s", "Hz", "F", "W", "Ω", "H", "C", "J", "S"}
_SIGNS = {"ohm": "Ω", "degC": "°C", "um": "\u00b5m"}
# Where only ASCII can be shown. The prefix u is what SPICE and instruments write for micro.
_PLAIN = {
    "Ω": "ohm",
    "\u2212": "-",
    "\u00b5": "u",
    "°": "deg ",
    "·": "-",
    "→": "to",
    "²": "2",
    "₂": "2",
}


def engineering(value: float, unit: str = "", digits: int = 3) -> str:
    """Return a number as a person would write it, with an engineering prefix.

    Args:
        value: in the unit, without a prefix.
        unit: SI unit; one that takes no prefix (``%``, ``K``) gets none.
        digits: significant digits.

    >>> engineering(-0.0123456, "A"), engineering(4.7e4, "ohm"), engineering(0, "V")
    ('-12.3 mA', '47 kΩ', '0 V')
    """
    sign = sign_of(unit)
    if not math.isfinite(value):
        return f"{value} {sign}".rstrip()
    # Rounded first, so that 999.96 mA is 1 A and never 1e+03 mA.
    rounded = float(f"{value:.{digits}g}")
    exponent = exponent_of(rounded, sign)
    scaled = float(f"{rounded / 10.0**exponent:.{digits}g}")
    number = f"{scaled:g}" if abs(scaled) < 1e6 else f"{scaled:.{digits}g}"
    return f"{number} {PREFIXES.get(exponent, '')}{sign}".rstrip()


def sign_of(unit: str) -> str:
    """Return how a unit is printed: ``ohm`` is Ω.

    >>> sign_of("ohm"), sign_of("V")
    ('Ω', 'V')
    """
    return _SIGNS.get(unit, unit)


def exponent_of(largest: float, unit: str) -> int:
    """Return the power of ten, a multiple of three, in which numbers up to ``largest`` read well.

    >>> exponent_of(0.02, "A"), exponent_of(0.02, "K"), exponent_of(3600, "s")
    (-3, 0, 0)
    """
    size = abs(largest)
    if size == 0 or not math.isfinite(size) or sign_of(unit) not in _TAKES_PREFIX:
        return 0
    most = 0 if unit == "s" else 12  # nobody says kiloseconds
    return min(most, max(-18, 3 * math.floor(math.log10(size * (1 + 1e-12)) / 3)))


def words(name: str, unit: str) -> str:
    """Return a column's name as words; the unit stands beside it.

    >>> words("drain_current_a", "A"), words("resistance_ohm", "ohm"), words("in_compliance", "")
    ('Drain current', 'Resistance', 'In compliance')
    """
    bare = name.removesuffix(f"_{unit.lower()}") if unit else name
    text = bare.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def in_ascii(text: str) -> str:
    """Return the text with nothing but ASCII in it; what has no spelling is a question mark.

    >>> in_ascii("47 kΩ · 25 °C")
    '47 kohm - 25 deg C'
    """
    for sign, spelling in _PLAIN.items():
        text = text.replace(sign, spelling)
    return text.encode("ascii", "replace").decode("ascii")


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers in a span: steps of 1, 2 or 5 times a power of ten.

    Args:
        low: where the span begins.
        high: where it ends, above ``low``.
        about: how many are wanted; at most one more, and fewer where steps are coarse.

    >>> round_ticks(-1, 1, 5), round_ticks(0, 0.0102, 5)
    ([-1.0, -0.5, 0.0, 0.5, 1.0], [0.0, 0.002, 0.004, 0.006, 0.008, 0.01])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    power = math.floor(math.log10(span / about))
    steps = (m * 10.0**p for p in (power, power + 1) for m in (1, 2, 5))
    step = next(s for s in steps if span / s <= about + 0.3)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [_clean(n, step) for n in range(first, last + 1)]


def decades(low: float, high: float, at_most: int) -> list[float]:
    """Return powers of ten in a span of powers, thinned to a number.

    Args:
        low: logarithm (base ten) where the span begins.
        high: where it ends.
        at_most: how many fit; 1 or more.

    >>> decades(-9.3, -2, 4)
    [-8.0, -6.0, -4.0, -2.0]
    """
    whole = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    every = max(1, math.ceil(len(whole) / at_most))
    return [float(n) for n in list(whole)[::-1][::every][::-1]]


def _clean(count: int, step: float) -> float:
    return float(f"{count * step:.12g}")


def told_apart(values: list[float], unit: str) -> Iterator[str]:
    """Say numbers with as few digits as still tell them apart; measured levels carry noise.

    >>> list(told_apart([0.99998, 1.5000013], "V"))
    ['1 V', '1.5 V']
    """
    for digits in range(3, 8):
        said = [engineering(value, unit, digits) for value in values]
        if len(set(said)) == len(set(values)):
            break
    yield from said if values else []


def with_uncertainty(value: float, uncertainty: float, unit: str = "") -> str:
    """Return a number and its standard uncertainty, to the two digits of it that mean something.

    >>> with_uncertainty(0.0123456, 1.2e-5, "A"), with_uncertainty(1.5, 0.002)
    ('(12.346 ± 0.012) mA', '1.5000 ± 0.0020')
    >>> with_uncertainty(1.02e22, 3e20, "1/m3")
    '(1.020 ± 0.030)e22 1/m3'
    """
    if not (math.isfinite(value) and math.isfinite(uncertainty)) or uncertainty <= 0:
        return engineering(value, unit, 6)
    sign = sign_of(unit)
    size = max(abs(value), uncertainty)
    prefix, exponent = PREFIXES.get(exponent_of(size, sign), ""), exponent_of(size, sign)
    power = ""
    if sign not in _TAKES_PREFIX and not 1e-3 <= size < 1e5:
        exponent = math.floor(math.log10(size))
        power, prefix = f"e{exponent}", ""
    scaled, spread = value / 10.0**exponent, uncertainty / 10.0**exponent
    decimals = min(9, max(0, 1 - math.floor(math.log10(float(f"{spread:.1e}")))))
    both = f"{scaled:.{decimals}f} ± {spread:.{decimals}f}"
    return f"({both}){power} {prefix}{sign}".rstrip() if sign or power else both
