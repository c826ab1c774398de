"""Status: the error queue and the registers of IEEE 488.2 chapter 11 and of SCPI.

Promises: every error sets its bit in the standard event register; the queue is bounded and says
when it overflowed; event registers latch rising conditions until they are read. Never decides
anything: it only remembers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# SCPI-99 volume 2, chapter 21.8, in the words of the 2400 (User's Manual, appendix B, table B-1).
MESSAGES = {
    0: "No error",
    -100: "Command error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -120: "Numeric data error",
    -131: "Invalid suffix",
    -151: "Invalid string data",
    -161: "Invalid block data",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Parameter data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
    800: "Illegal with storage active",
    802: "OUTPUT blocked by output enable",
    803: "Not permitted with OUTPUT off",
    822: "Too small for sense range",
    824: "Cannot exceed compliance range",
    826: "Attempt to exceed power limit",
    830: "Invalid with INF ARM:COUNT",
    900: "Internal System Error",
}

OPERATION_COMPLETE, QUERY_ERROR, DEVICE_ERROR = 1, 4, 8
EXECUTION_ERROR, COMMAND_ERROR, POWER_ON = 16, 32, 128


def standard_event_bit(number: int) -> int:
    """The standard event register bit that an error number sets (0 for none)."""
    if -199 <= number <= -100:
        return COMMAND_ERROR
    if -299 <= number <= -200 or 800 <= number < 900:
        return EXECUTION_ERROR
    if -499 <= number <= -400:
        return QUERY_ERROR
    return DEVICE_ERROR if number else 0


class ErrorQueue:
    """First in, first out; when full, the newest place says -350 and later errors are lost."""

    def __init__(self, places: int = 10) -> None:
        self.places = places
        self._numbers: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._numbers)

    def put(self, number: int) -> None:
        """Remembers an error number."""
        if len(self._numbers) < self.places:
            self._numbers.append(number)
        else:
            self._numbers[-1] = -350

    def take(self) -> int:
        """Removes and returns the oldest error number; 0 if there is none."""
        return self._numbers.popleft() if self._numbers else 0

    def clear(self) -> None:
        """Forgets all errors."""
        self._numbers.clear()


@dataclass(slots=True)
class RegisterSet:
    """A condition, event and enable register."""

    condition: int = 0
    event: int = 0
    enable: int = 0

    def set_condition(self, value: int) -> None:
        """A new condition; bits that rose are latched as events."""
        self.event |= value & ~self.condition
        self.condition = value

    def pulse(self, bits: int) -> None:
        """An event without a lasting condition."""
        self.event |= bits

    def take_event(self) -> int:
        """Reads the event register, which clears it."""
        value, self.event = self.event, 0
        return value

    @property
    def summary(self) -> bool:
        """True if an enabled event is set."""
        return bool(self.event & self.enable)


@dataclass(slots=True)
class Status:
    """All status of one instrument: errors, standard events, and the three SCPI register sets."""

    errors: ErrorQueue = field(default_factory=ErrorQueue)
    standard: RegisterSet = field(default_factory=lambda: RegisterSet(event=POWER_ON))
    measurement: RegisterSet = field(default_factory=RegisterSet)
    operation: RegisterSet = field(default_factory=RegisterSet)
    questionable: RegisterSet = field(default_factory=RegisterSet)
    service_enable: int = 0

    def error(self, number: int) -> None:
        """Queues an error and sets its standard event."""
        self.errors.put(number)
        self.standard.pulse(standard_event_bit(number))

    def byte(self, message_available: bool) -> int:
        """The status byte, with the master summary in bit 6 (manual, section 15, "Status byte")."""
        value = (
            self.measurement.summary
            | (len(self.errors) > 0) << 2
            | self.questionable.summary << 3
            | message_available << 4
            | self.standard.summary << 5
            | self.operation.summary << 7
        )
        return value | (64 if value & self.service_enable & ~64 else 0)

    def clear(self) -> None:
        """``*CLS``: all events and errors are forgotten, enables and conditions stay."""
        self.errors.clear()
        for register in (self.standard, self.measurement, self.operation, self.questionable):
            register.event = 0

    def preset(self) -> None:
        """``:STATus:PRESet``: the SCPI enables go to 0."""
        for register in (self.measurement, self.operation, self.questionable):
            register.enable = 0
