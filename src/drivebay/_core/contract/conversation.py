"""Talking to an instrument: commands, questions, numbers, its error queue, and an ear for aborts.

Promises: every wait has a deadline and ends early when the measurement is asked to stop; an answer
is what was asked for or an error. Knows nothing of methods, parameters or outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from drivebay._core.contract.readout import (
    FloatArray,
    list_commands,
    numbers_from_block,
    numbers_from_text,
    table,
)
from drivebay._core.contract.stopping import StopSign
from drivebay._core.errors import (
    AbortedError,
    InstrumentError,
    LinkError,
    LinkLostError,
    LinkTimeoutError,
)
from drivebay._core.keeper import open_link
from drivebay._core.links import Link
from drivebay._core.links.passing import PASSING
from drivebay._core.links.pulse import PULSE

_Result = TypeVar("_Result")
_MOST_ERRORS = 100
_COMMANDS_NAMED = 3
# How often a long wait for an answer looks for an abort: a person must not notice it.
_LOOK_S = 0.1


class Conversation:
    """An instrument on a link; the attributes are described at ``ScpiDriver``."""

    error_query: ClassVar[str] = ":SYST:ERR?"
    binary_setup: ClassVar[Sequence[str]] = (":FORM REAL,32", ":FORM:BORD SWAP")
    binary_dtype: ClassVar[str] = "<f4"
    binary_has_length: ClassVar[bool] = True
    ascii_setup: ClassVar[Sequence[str]] = (":FORM ASC",)
    list_line_limit: ClassVar[int] = 100

    def __init__(self, resource_name: str, config: Mapping[str, Any] | None = None) -> None:
        self.resource_name = resource_name
        self.config: dict[str, Any] = dict(config or {})
        self.ranges: Mapping[str, Any] | None = None
        self._link: Link | None = None
        self._lent = False
        self._stop = StopSign()
        self._since_check: list[str] = []
        self._binary: bool | None = None

    # -- the link ---------------------------------------------------------------------------------

    def use_link(self, link: Link) -> None:
        """Use an open link that stays somebody else's: ``disconnect`` will not close it."""
        self._drop_link()
        self._link, self._lent = link, True

    def connect(self) -> bool:
        """Open a link to the instrument, unless there is one; no output changes.

        Raises:
            ResourceError: the address breaks a rule.
            LinkOpenError: nothing answers there.
        """
        if self._link is None or (self._link.closed and not self._lent):
            self._link = open_link(self.resource_name, timeout_s=self._timeout_s)
            self._lent = False
        return True

    def disconnect(self) -> bool:
        """Close the link if it is this driver's own; a lent one is given back open."""
        self._drop_link()
        return True

    @property
    def link(self) -> Link:
        """The open link.

        Raises:
            LinkLostError: ``connect()`` was not called.
        """
        if self._link is None:
            raise LinkLostError(
                f"{self.resource_name} is not connected; call connect() first",
                resource=self.resource_name,
            )
        return self._link

    @property
    def _timeout_s(self) -> float:
        return float(self.config.get("timeout_s", 5.0))

    def _drop_link(self) -> None:
        link, lent = self._link, self._lent
        self._link, self._lent, self._binary = None, False, None
        if link is not None and not lent:
            link.close()

    # -- what a method of a driver uses -----------------------------------------------------------

    def write(self, *commands: str) -> None:
        """Send commands, each as a message of its own; an abort is noticed before and after them.

        One call with many commands is quicker than many calls, because the link may be held by
        another process.

        Raises:
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed.
        """
        self._since_check.extend(commands)
        self._linked(partial(_write, commands=commands))

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        """Ask; the answer as text.

        Args:
            command: the question.
            timeout_s: total deadline, by default the link's.

        Raises: as :meth:`write`.
        """
        self._since_check.append(command)
        return self._linked(lambda link: link.query(command, timeout_s=timeout_s), timeout_s)

    def query_numbers(
        self,
        command: str,
        columns: int,
        rows: int | None = None,
        *,
        expected_s: float = 0.0,
        after: Sequence[str] = (),
    ) -> FloatArray:
        """Ask for numbers; an array of ``columns`` rows, to be unpacked into as many names.

        In binary where blocks get through the link and it is known where they end, else as text.
        SCPI's codes for "not a number" and infinity come back as such. Binary numbers have single
        precision (24 bits, 7 digits).

        Args:
            command: the question, such as ``":READ?"``.
            columns: numbers the instrument gives for one point.
            rows: points there must be; None takes what comes.
            expected_s: how long the instrument may well take before it answers, in seconds.
            after: commands to send right before the question. Given here they are quicker than
                with :meth:`write`, because the link may be held by another process.

        Raises:
            AnswerError: not numbers, or not as many.
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed.
        """
        link = self.link
        binary = self._reads_binary(link)
        self._choose_format(binary)
        timeout_s = link.timeout_s + 2 * expected_s
        where = {"resource": self.resource_name, "command": command}
        if binary:
            self.write(*after, command)
            data = self._linked(lambda it: self._read_on(it.read_block, timeout_s), timeout_s)
            numbers = numbers_from_block(data, self.binary_dtype, **where)
        else:
            self._since_check.extend(after)
            text = self._linked(
                lambda it: self._wait_for_text(it, command, timeout_s, after), timeout_s
            )
            numbers = numbers_from_text(text, **where)
        return table(numbers, columns, rows, **where)

    def ask_numbers(
        self,
        command: str,
        columns: int,
        rows: int | None = None,
        *,
        expected_s: float = 0.0,
        after: Sequence[str] = (),
    ) -> AskedNumbers:
        """Ask for numbers and go on while the instrument works; see :meth:`query_numbers`.

        What came before can be worked on meanwhile. One question at a time: call
        :meth:`AskedNumbers.wait` before the next is asked.

        Raises: as :meth:`write`.
        """
        link = self.link
        binary = self._reads_binary(link)
        self.write(*self._format_setup(binary), *after, command)
        self._binary = binary
        timeout_s = link.timeout_s + 2 * expected_s
        return AskedNumbers(self, command, columns, rows, timeout_s, binary=binary)

    def _answer_to(self, asked: AskedNumbers) -> str | bytes:
        """The answer that is owed; an abort ends the wait for it."""

        def read(link: Link) -> str | bytes:
            if asked.binary:
                return self._read_on(link.read_block, asked.timeout_s)
            return self._read_on(link.read, asked.timeout_s)

        return self._linked(read, asked.timeout_s)

    def write_list(self, header: str, values: Sequence[float] | FloatArray) -> None:
        """Give the instrument a list of levels, in as many commands as it needs.

        Raises: as :meth:`write`.
        """
        self.write(*self.list_commands(header, values))

    def list_commands(self, header: str, values: Sequence[float] | FloatArray) -> list[str]:
        """The commands that :meth:`write_list` sends, for ``query_numbers(..., after=...)``."""
        return list(list_commands(header, values, self.list_line_limit))

    def check_errors(self, *, timeout_s: float | None = None) -> None:
        """Empty the instrument's error queue.

        Args:
            timeout_s: deadline of each question, by default the link's.

        Raises:
            InstrumentError: there was something in it, all of it in ``entries``.
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed.
        """
        entries = []
        for _ in range(_MOST_ERRORS):
            code, _, text = self.query(self.error_query, timeout_s=timeout_s).partition(",")
            number = _error_number(code)
            if number == 0:
                break
            entries.append((number, text.strip().strip('"')))
        sent, self._since_check = self._since_check, []
        if entries:
            raise InstrumentError(
                _refusal(self.resource_name, entries, [c for c in sent if c != self.error_query]),
                resource=self.resource_name,
                entries=entries,
            )

    def sleep(self, seconds: float) -> None:
        """Wait; an abort ends the wait.

        Raises:
            AbortedError: the measurement was asked to stop.
        """
        PULSE.excuse(seconds)
        if PASSING.replayed:
            PASSING.elapse(seconds)
        else:
            self._stop.wait(seconds)
        self.checkpoint()

    def checkpoint(self) -> None:
        """Give an abort a chance in a long computation, and show that it goes on.

        Raises:
            AbortedError: the measurement was asked to stop, and has not been told yet.
        """
        PULSE.tick()
        self._stop.check()

    def wait_for(
        self, query: str, mask: int, *, expected_s: float = 0.0, poll_s: float = 0.02
    ) -> int:
        """Poll a status register until one of some bits is set; its value.

        Args:
            query: asks for the register, such as ``":STAT:OPER:COND?"``.
            mask: the bits.
            expected_s: how long it should take; the deadline is twice that and the link's own.
            poll_s: pause between two questions; the first half of ``expected_s`` is slept.

        Raises:
            LinkTimeoutError: the bits were not set before the deadline.
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed.
        """
        deadline = PASSING.monotonic() + 2 * expected_s + self.link.timeout_s
        self.sleep(expected_s / 2)
        while True:
            value = int(float(self.query(query)))
            if value & mask:
                return value
            if PASSING.monotonic() >= deadline:
                raise LinkTimeoutError(
                    f"{self.resource_name}: {query!r} is {value}, expected a bit of {mask} within"
                    f" {2 * expected_s + self.link.timeout_s:g} s",
                    resource=self.resource_name,
                    command=query,
                )
            self.sleep(poll_s)

    # -- inside -----------------------------------------------------------------------------------

    def _linked(self, action: Callable[[Link], _Result], timeout_s: float | None = None) -> _Result:
        """Do something on the link; an abort before, during or after it is told here."""
        self.checkpoint()
        link = self.link
        PULSE.excuse(link.timeout_s if timeout_s is None else timeout_s)
        try:
            result = action(link)
        except LinkError as exc:
            # An abort makes the instrument fall silent or answer half: that is not the news.
            try:
                self.checkpoint()
            except AbortedError as aborted:
                raise aborted from exc
            raise
        self.checkpoint()
        return result

    def _wait_for_text(
        self, link: Link, command: str, timeout_s: float, after: Sequence[str]
    ) -> str:
        """Ask, and look for an abort while waiting: after one the answer may never come."""
        deadline = PASSING.monotonic() + timeout_s
        answer = link.try_ask(command, wait_s=min(timeout_s, _LOOK_S), after=after)
        if answer is not None:
            return answer
        return self._read_on(link.read, deadline - PASSING.monotonic())

    def _read_on(self, read: Callable[..., _Result], timeout_s: float) -> _Result:
        """Wait for an answer that is owed, and look for an abort meanwhile."""
        deadline = PASSING.monotonic() + timeout_s
        while True:
            left_s = deadline - PASSING.monotonic()
            try:
                return read(timeout_s=max(1e-3, min(left_s, _LOOK_S)))
            except LinkTimeoutError:
                if left_s <= _LOOK_S or self._stop.pending:
                    raise

    def _reads_binary(self, link: Link) -> bool:
        ends = self.binary_has_length or link.interface != "socket"
        return link.supports_binary and ends

    def _choose_format(self, binary: bool) -> None:
        setup = self._format_setup(binary)
        if setup:
            self.write(*setup)
        self._binary = binary

    def _format_setup(self, binary: bool) -> Sequence[str]:
        """What makes the instrument answer so, empty if it does already."""
        if self._binary is binary:
            return ()
        return self.binary_setup if binary else self.ascii_setup


class AskedNumbers:
    """Numbers that an instrument was asked for and that are on their way."""

    def __init__(
        self,
        asker: Conversation,
        command: str,
        columns: int,
        rows: int | None,
        timeout_s: float,
        *,
        binary: bool,
    ) -> None:
        self._asker = asker
        self._command = command
        self._columns = columns
        self._rows = rows
        self._answer: str | bytes | None = None
        self.timeout_s = timeout_s
        self.binary = binary

    def wait(self) -> None:
        """Wait for the answer, so that the instrument is free; it is made into numbers later.

        Raises:
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed, or nothing came in time.
        """
        if self._answer is None:
            self._answer = self._asker._answer_to(self)  # noqa: SLF001 - the two are one unit

    def numbers(self) -> FloatArray:
        """An array of ``columns`` rows, as :meth:`Conversation.query_numbers` gives it.

        Raises: as :meth:`wait`, and AnswerError for what is no numbers, or not as many.
        """
        self.wait()
        where = {"resource": self._asker.resource_name, "command": self._command}
        if isinstance(self._answer, bytes):
            found = numbers_from_block(self._answer, self._asker.binary_dtype, **where)
        else:
            found = numbers_from_text(self._answer or "", **where)
        return table(found, self._columns, self._rows, **where)


def _write(link: Link, *, commands: Sequence[str]) -> None:
    if len(commands) == 1:
        link.write(commands[0])
    else:
        link.write_each(commands)


def _error_number(code: str) -> int:
    try:
        return int(float(code))
    except ValueError:
        return -1


def _refusal(resource: str, entries: Sequence[tuple[int, str]], sent: Sequence[str]) -> str:
    """``TCPIP... refused ':SOUR:VOLT 999': -222, 'Data out of range'``."""
    told = "; ".join(f"{code}, {text!r}" for code, text in entries[:5])
    if len(entries) > 5:
        told += f"; and {len(entries) - 5} more"
    shown = [command if len(command) <= 60 else command[:57] + "..." for command in sent]
    if len(shown) == 1:
        what = repr(shown[0])
    elif shown:
        last = ", ".join(map(repr, shown[-_COMMANDS_NAMED:]))
        what = f"one of {len(shown)} commands up to {last}"
    else:
        what = "a command sent earlier"
    return f"{resource} refused {what}: {told}"
