"""The reading buffers of a 2450: what one reading keeps, and how its elements are written.

Promises: the elements, their bounds and the two binary forms are those of ``:TRACe:DATA?``
(2461-901-01 Rev. A, 6-160), user buffers those of ``:TRACe:MAKE`` (6-165). Never measures.
How units and times of the day are written is not checked against a manual.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final, NamedTuple

from drivebay.sim.parameters import choice, definite_block, doubles, singles
from drivebay.sim.syntax import ScpiError

DEFAULT_SIZE: Final = 100_000
MOST_ELEMENTS: Final = 14
NOT_IN_BINARY: Final = 1133  # "Parameter 4, Syntax error, expected valid name parameters"
POWERED_ON: Final = datetime(2026, 1, 1, tzinfo=UTC)
_UNITS: Final = {"VOLT": "Volt DC", "CURR": "Amp DC", "RES": "Ohm"}
_PREFIXES: Final = ((1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"))
_SYMBOLS: Final = {"VOLT": "V", "CURR": "A", "RES": "Ohm"}


class Reading(NamedTuple):
    """One place of a buffer.

    Attributes:
        reading: in the unit of ``function``.
        source: measured if readback is on, else as set.
        relative_s: since the first reading of the buffer.
        source_status: bits, 8-29 of 2450-901-01 Rev. B.
        status: bits, 8-33.
        function: what was measured: VOLT, CURR or RES.
        source_function: VOLT or CURR.
        taken_s: since the instrument was switched on.
    """

    reading: float
    source: float
    relative_s: float
    source_status: int
    status: int
    function: str
    source_function: str
    taken_s: float


@dataclass(slots=True)
class Buffer:
    """A reading buffer; the newest readings push the oldest out, as CONTinuous does.

    Attributes:
        size: how many readings it holds.
        readings: oldest first.
        first_s: when the first one was taken.
    """

    size: int = DEFAULT_SIZE
    readings: list[Reading] = field(default_factory=list)
    first_s: float | None = None

    def clear(self) -> None:
        """Empties it, and starts its clock again."""
        self.readings, self.first_s = [], None

    def put(self, reading: Reading) -> None:
        """Adds one."""
        self.readings.append(reading)
        del self.readings[: max(0, len(self.readings) - self.size)]


def _date(taken_s: float) -> datetime:
    return POWERED_ON + timedelta(seconds=taken_s)


def displayed(value: float, symbol: str) -> str:
    """A value as the front panel shows it: ``-00.0024 mV``."""
    if not math.isfinite(value) or abs(value) > 9e37:
        return "Overflow"
    power, prefix = next((each for each in _PREFIXES if abs(value) >= each[0]), (1e-9, "n"))
    return f"{value / power:+09.4f} {prefix}{symbol}"


NUMBERS: Final[dict[str, Callable[[Reading], float]]] = {
    "READ": lambda r: r.reading,
    "SOUR": lambda r: r.source,
    "REL": lambda r: r.relative_s,
    "SOURSTAT": lambda r: r.source_status,
    "STAT": lambda r: r.status,
    "FRAC": lambda r: r.taken_s % 1.0,
    "SEC": lambda r: POWERED_ON.timestamp() + math.floor(r.taken_s),
}
TEXTS: Final[dict[str, Callable[[Reading], str]]] = {
    "UNIT": lambda r: _UNITS[r.function],
    "SOURUNIT": lambda r: _UNITS[r.source_function],
    "FORM": lambda r: displayed(r.reading, _SYMBOLS[r.function]),
    "SOURFORM": lambda r: displayed(r.source, _SYMBOLS[r.source_function]),
    "DATE": lambda r: f"{_date(r.taken_s):%m/%d/%Y}",
    "TIME": lambda r: f"{_date(r.taken_s):%H:%M:%S.%f}",
    "TST": lambda r: f"{_date(r.taken_s):%m/%d/%Y %H:%M:%S.%f}",
}
ELEMENTS: Final = (
    *("READing", "SOURce", "RELative", "SOURSTATus", "STATus", "FRACtional", "SEConds"),
    *("UNIT", "SOURUNIT", "FORMatted", "SOURFORMatted", "DATE", "TIME", "TSTamp"),
)
BINARY: Final = {"READ", "SOUR", "REL"}
STATISTICS: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "AVERage": statistics.fmean,
    "MAXimum": max,
    "MINimum": min,
    "STDDev": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
}


def chosen(names: list[str], data: str) -> list[str]:
    """The elements of a query in short form.

    Args:
        names: as they were sent; none means READing.
        data: the format of answers: ASC, REAL or SRE.

    Raises:
        ScpiError: too many, an unknown one, or one that the binary formats do not have.
    """
    short = [choice(name, ELEMENTS) for name in names] or ["READ"]
    if len(short) > MOST_ELEMENTS:
        raise ScpiError(-223)
    if data != "ASC" and not set(short) <= BINARY:
        raise ScpiError(NOT_IN_BINARY)
    return short


def answer(
    readings: Sequence[Reading], names: list[str], data: str, precision: int, swapped: bool
) -> bytes:
    """Readings as the instrument sends them, an element after the other, a reading after the other.

    Args:
        readings: which.
        names: elements as they were sent.
        data: ASC, REAL or SRE.
        precision: digits of a number in text; 0 is the instrument's own choice, seven.
        swapped: whether binary has the low byte first.
    """
    elements = chosen(names, data)
    if data != "ASC":
        flat = list(chain.from_iterable([NUMBERS[e](r) for e in elements] for r in readings))
        return definite_block((singles if data == "SRE" else doubles)(flat, swapped))
    places = f".{(precision or 7) - 1}E"
    writers = [_writer(element, places) for element in elements]
    return ",".join([write(r) for r in readings for write in writers]).encode()


def _writer(element: str, places: str) -> Callable[[Reading], str]:
    if element in TEXTS:
        return TEXTS[element]
    number = NUMBERS[element]
    return lambda reading: format(number(reading), places)
