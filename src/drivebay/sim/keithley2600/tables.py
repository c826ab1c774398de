"""The instrument's own tables: attributes that are checked, functions, and reading buffers.

Promises: a field that the instrument does not have reads as nil and cannot be set; a value out of
its range is refused with the instrument's error and changes nothing. Never measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from drivebay.sim.keithley2600.interpreter import Indexed, LuaError

# Reference manual 2600BS-901-01, "Error summary list" (Rev. F, 6-2). Of it these pages were seen:
# 1102 (9-245), 5052 (9-334), 0 (errorqueue.next). The other numbers and texts are those that a
# driver of others holds for the 2636A (qkit, Keithley.py, taken from 2600AS-901-01).
PARAMETER_TOO_BIG, PARAMETER_TOO_SMALL, PARAMETER_INVALID = 1101, 1102, -224
TOO_BIG_FOR_RANGE, UNSAFE_AREA, BLOCKED_BY_INTERLOCK = 5005, 5007, 802
BUFFER_NOT_CLEARED, OVERLAPPED, UNCONFIGURED_SOURCE = 5032, 5042, 5059
TEXTS = {
    0: "Queue Is Empty",
    -113: "Undefined header",
    -222: "Parameter Data Out of Range",
    -224: "Illegal Parameter Value",
    -285: "TSP Syntax error",
    -286: "TSP Runtime error",
    -350: "Queue Overflow",
    -363: "Input Buffer Over-run",
    802: "Output Blocked By Interlock",
    1101: "Parameter too big",
    1102: "Parameter too small",
    5005: "Value too big for range",
    5007: "Operation would exceed safe operating area of the instrument",
    5032: "Cannot change this setting unless buffer is cleared",
    5042: "Invalid while overlapped measure",
    5059: "trigger.source.action enabled without configuration",
}
BUFFER_SIZE = 60_000


class TspError(Exception):
    """The instrument refuses a value; the program goes on (appendix "Error effects on scripts")."""

    def __init__(self, number: int) -> None:
        super().__init__(TEXTS.get(number, ""))
        self.number = number


class Attributes(Indexed):
    """One table of the instrument."""

    def __init__(self, name: str, refuse: Callable[[int], None], *, open_: bool = False) -> None:
        """An empty one.

        Args:
            name: for messages.
            refuse: takes the number of an error.
            open_: whether any field may be set, as for what is not simulated.
        """
        self.name = name
        self._refuse = refuse
        self._open = open_
        self._values: dict[Any, Any] = {}
        self._checks: dict[Any, Callable[[Any], Any]] = {}
        self._reads: dict[Any, Callable[[], Any]] = {}

    def fixed(self, **fields: Any) -> None:
        """Constants, functions and tables: they can be read only."""
        self._values.update(fields)

    def settable(self, name: str, value: Any, check: Callable[[Any], Any]) -> None:
        """An attribute, and what makes the value that is kept of a value that is set."""
        self._values[name] = value
        self._checks[name] = check

    def computed(self, name: str, read: Callable[[], Any]) -> None:
        """A field that is worked out when it is read."""
        self._reads[name] = read

    def get(self, key: Any) -> Any:
        """The field."""
        read = self._reads.get(key)
        return self._values.get(key) if read is None else read()

    def kept(self, key: str) -> Any:
        """What was set last, also of a field that reads as something else."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """The instrument itself changes a field."""
        self._values[key] = value

    def set(self, key: Any, value: Any) -> None:
        """A program sets a field."""
        check = self._checks.get(key)
        if check is None:
            if not self._open:
                raise LuaError(f"cannot modify field `{key}' of `{self.name}'")
            self._values[key] = value
            return
        try:
            self._values[key] = check(value)
        except TspError as error:
            self._refuse(error.number)


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], float]:
    """A check for a number in a range."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TspError(PARAMETER_INVALID)
        if math.isnan(value) or value < low:
            raise TspError(PARAMETER_TOO_SMALL)
        if value > high:
            raise TspError(PARAMETER_TOO_BIG)
        return float(value)

    return check


def one_of(*choices: float) -> Callable[[Any], float]:
    """A check for one of some numbers."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or value not in choices:
            raise TspError(PARAMETER_INVALID)
        return float(value)

    return check


class BufferColumn(Indexed):
    """``buffer.readings`` and its like."""

    def __init__(self, buffer: Buffer, column: str) -> None:
        self.buffer = buffer
        self.column = column

    def get(self, key: Any) -> Any:
        """The item, counted from 1."""
        values = self.buffer.columns[self.column]
        place = int(key) - 1 if isinstance(key, int | float) else -1
        return values[place] if 0 <= place < len(values) else None

    def length(self) -> int:
        """How many there are."""
        return len(self.buffer.columns[self.column])

    def items(self, first: int, last: int) -> Sequence[float]:
        """Items from first to last, counted from 1."""
        return self.buffer.columns[self.column][first - 1 : last]


class Buffer(Attributes):
    """A reading buffer: ``nvbuffer1``, ``nvbuffer2`` and those of ``makebuffer``."""

    def __init__(self, name: str, refuse: Callable[[int], None], size: int = BUFFER_SIZE) -> None:
        super().__init__(name, refuse)
        self.columns: dict[str, list[float]] = {
            each: [] for each in ("readings", "timestamps", "statuses", "sourcevalues")
        }
        self._size = size
        self._base_s = 0.0
        self.reset()
        self.fixed(capacity=float(size), clear=self.clear, clearcache=lambda: None)
        self.fixed(**{name: BufferColumn(self, name) for name in self.columns})
        self.computed("n", lambda: float(len(self.columns["readings"])))
        self.computed("basetimestamp", lambda: self._base_s)

    def reset(self) -> None:
        """As after ``smuX.reset()``: empty, with the settings of a fresh buffer."""
        self.clear()
        for name in ("appendmode", "collectsourcevalues"):
            self.settable(name, 0.0, self._while_empty)
        self.settable("collecttimestamps", 1.0, self._while_empty)
        self.settable("fillmode", 0.0, one_of(0, 1))
        self.settable("cachemode", 1.0, one_of(0, 1))
        self.settable("timestampresolution", 1e-6, number(1e-6))

    def get(self, key: Any) -> Any:
        """A field, or a reading by its number."""
        if isinstance(key, int | float) and not isinstance(key, bool):
            return BufferColumn(self, "readings").get(key)
        return super().get(key)

    def length(self) -> int:
        """How many readings there are."""
        return len(self.columns["readings"])

    def clear(self) -> None:
        """Forget all readings."""
        for values in self.columns.values():
            values.clear()

    def begin(self) -> None:
        """A measurement into the buffer begins: without append mode it starts anew."""
        if not self.get("appendmode"):
            self.clear()

    def put_reading(self, reading: float, time_s: float, status: int, source: float) -> None:
        """Store one, if there is room."""
        if len(self.columns["readings"]) >= self._size:
            return
        if not self.columns["readings"]:
            self._base_s = time_s
        row = (reading, time_s - self._base_s, float(status), source)
        for values, value in zip(self.columns.values(), row, strict=True):
            values.append(value)

    def _while_empty(self, value: Any) -> float:
        checked = one_of(0, 1)(value)
        if self.columns["readings"]:
            raise TspError(BUFFER_NOT_CLEARED)
        return checked
