"""Any SCPI instrument, raw: ask it a question, once or over time, and keep the numbers.

Promises: sends the question it is given and that of the error queue, nothing else; a row holds the
numbers of one answer, or the measurement fails. Never chooses a setting, and never knows what the
instrument does: it has no safe state. Proven on simulators only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from drivebay.driver import AnswerError, Diagnostic, ScpiDriver, method, quantity

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TIME: Final = "time_s"

_Command = Annotated[
    str,
    msgspec.Meta(description="The question, such as :MEAS:VOLT?"),
]
_Columns = Annotated[
    str,
    msgspec.Meta(
        description="A name for each number of a row, its unit as suffix: voltage_v,current_a",
    ),
]
_ExpectedS = Annotated[
    float, quantity("s", "How long an answer may well take beside the deadline", ge=0, le=86_400)
]


class _Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked, and what the numbers are called."""

    command: _Command
    columns: _Columns = "value"
    expected_s: _ExpectedS = 0.0

    @property
    def names(self) -> list[str]:
        """The columns of the answer."""
        return [name.strip() for name in self.columns.split(",")]

    def problems(self, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
        """What cannot be asked, or cannot be the name of a column; empty when all is well."""
        del ranges
        found = []
        # An instrument answers nothing else, and one would wait for the deadline to learn it.
        if "?" not in self.command or not self.command.isprintable():
            text = f"command is {self.command!r}, expected one line with a question mark"
            found.append(Diagnostic("P001", text, path="/command"))
        names = self.names
        good = all(_NAME.fullmatch(name) and name != _TIME for name in names)
        if not good or len(set(names)) != len(names):
            text = f"columns are {self.columns!r}, expected different names with commas between"
            found.append(Diagnostic("P001", f"{text}, none of them {_TIME}", path="/columns"))
        return found


class Query(_Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``query``."""


class Record(_Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ``record``."""

    readings: Annotated[int, quantity("", "How often it is asked", ge=1, le=1_000_000)] = 10
    interval_s: Annotated[
        float,
        quantity("s", "From one question to the next; 0 is as quick as it goes", ge=0, le=86_400),
    ] = 0.0


class AnyScpi(ScpiDriver):
    """Whatever answers a question with numbers."""

    # Nothing is known that stops it, and a command it may not know would be an error in its queue.
    abort_command = ""

    @method("query", Query, help="Ask once; the numbers of the answer, in rows of the columns.")
    def ask_once(self, p: Query) -> Iterator[dict[str, Any]]:
        """Ask once; as many rows as the answer fills."""
        self._clear_errors()
        yield self._rows(p)
        self._clear_errors()

    @method("record", Record, help="Ask again and again; one row an answer, with the time.")
    def ask_often(self, p: Record) -> Iterator[dict[str, Any]]:
        """Ask ``readings`` times; a row is given as soon as it is there.

        A question is due at a multiple of the interval from the first, so nothing drifts. One that
        comes late because the answer before took longer is asked at once, and none is left out.
        """
        self._clear_errors()
        began_s = time.monotonic()
        for index in range(p.readings):
            due_s = began_s + index * p.interval_s
            self.sleep(max(0.0, due_s - time.monotonic()))
            asked_s = time.monotonic() - began_s
            yield {_TIME: np.array([asked_s]), **self._rows(p, 1)}
        self._clear_errors()

    def get_identity(self) -> dict[str, str]:
        """The parts of the ``*IDN?`` reply; all empty where it is none, with ``reply`` as it was.

        Older instruments answer it with an error or a name of their own, and can be asked all the
        same: nothing was chosen by it.
        """
        reply = self.query("*IDN?")
        parts = [part.strip() for part in reply.split(",", 3)]
        names = ("manufacturer", "model", "serial", "firmware")
        if len(parts) != len(names):
            return {**dict.fromkeys(names, ""), "reply": reply}
        return dict(zip(names, parts, strict=True))

    def _rows(self, p: _Question, rows: int | None = None) -> dict[str, Any]:
        # As text, in whatever format it is set to: a change of format would be a setting.
        timeout_s = self.link.timeout_s + p.expected_s
        answer = self.query(p.command, timeout_s=timeout_s)
        width = len(p.names)
        numbers = _numbers(answer, p.command, self.resource_name)
        wanted = width * (len(numbers) // width if rows is None else rows)
        if not numbers or len(numbers) != wanted:
            raise AnswerError(
                f"{p.command!r} answered {len(numbers)} numbers, expected rows of {width}"
                f" ({p.columns})",
                resource=self.resource_name,
                command=p.command,
                raw=answer.encode("utf-8", "replace"),
            )
        table = np.array(numbers, dtype=np.float64).reshape(-1, width)
        return {name: table[:, index].copy() for index, name in enumerate(p.names)}

    def _clear_errors(self) -> None:
        """Read the error queue, unless the instrument is said to have none."""
        if self.error_query:
            self.check_errors()

    def __init__(self, resource_name: str, config: dict[str, Any] | None = None) -> None:
        """Remember the address and the options; nothing is opened."""
        super().__init__(resource_name, config)
        self.error_query = self.config.get("error_query", ":SYST:ERR?")  # type: ignore[misc]


def _numbers(answer: str, command: str, resource: str) -> list[float]:
    """The numbers of an answer; SCPI's codes for none and infinity are no numbers.

    Raises:
        AnswerError: a part is no number.
    """
    try:
        found = [float(word) for word in re.split(r"[,;]", answer)]
    except ValueError as exc:
        raise AnswerError(
            f"{command!r} answered {answer[:60]!r}, expected numbers with commas between",
            resource=resource,
            command=command,
            raw=answer.encode("utf-8", "replace"),
        ) from exc
    return [_plain(value) for value in found]


def _plain(value: float) -> float:
    """One number as it is meant (SCPI-1999 volume 1, 7.2.1)."""
    if abs(value - 9.91e37) < 5e34:
        return float("nan")
    if abs(abs(value) - 9.9e37) < 5e34:
        return float(np.copysign(np.inf, value))
    return value
