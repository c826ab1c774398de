"""``ScpiDriver``: the whole contract for an instrument that speaks SCPI; a driver adds methods.

Promises: parameters are valid before the first byte is sent; chunks are checked before anyone sees
them; an abort from any thread reaches the instrument at once and the measurement exactly once; what
``output`` switched on is switched off, whatever happened. Keeps no state outside the instance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from drivebay._core.contract.declared import declared_methods
from drivebay._core.contract.interface import InstrumentDriver
from drivebay._core.contract.readout import (
    FloatArray,
    check_chunk,
    join_chunks,
    list_commands,
    numbers_from_block,
    numbers_from_text,
    parse_identity,
    table,
)
from drivebay._core.contract.stopping import StopSign
from drivebay._core.errors import (
    AbortedError,
    DrivebayError,
    DriverError,
    InstrumentError,
    LinkError,
    LinkLostError,
    LinkTimeoutError,
    MethodError,
    PluginStateError,
)
from drivebay._core.links import Link, open_link
from drivebay._core.methods import MethodSpec, validate

Chunk = dict[str, Any]
_Result = TypeVar("_Result")
_MOST_ERRORS = 100
_COMMANDS_NAMED = 3


class ScpiDriver(InstrumentDriver):
    """A driver for an instrument that speaks SCPI.

    A subclass marks its measurements with :func:`method`; everything else of the contract is here.

    Attributes:
        resource_name: the address it was made for.
        config: the options it was made with.
        ranges: limits of the model, set by the session; parameters are held against them.
        abort_command: what stops a measurement in the instrument; empty for nothing.
        error_query: asks for the oldest entry of the error queue.
        output_query: asks whether the output is on (0 is off); empty where one cannot ask.
        safe_commands: sent by ``reset`` after ``*RST`` and ``*CLS``.
        binary_setup: commands that make the instrument answer in binary, ``ascii_setup`` in text.
        binary_dtype: numpy's name of the numbers in a binary answer.
        binary_has_length: whether its blocks say how long they are. Without (``#0``), binary is
            used only where the link marks the end of a message (GPIB, USB, VXI-11, HiSLIP); on a
            raw socket one could only wait for silence, which costs more than text does.
        list_line_limit: values the instrument takes in one list command.
        safe_timeout_s: deadline of each command that makes the instrument safe.
    """

    abort_command: ClassVar[str] = ":ABOR"
    error_query: ClassVar[str] = ":SYST:ERR?"
    output_query: ClassVar[str] = ""
    safe_commands: ClassVar[Sequence[str]] = ()
    binary_setup: ClassVar[Sequence[str]] = (":FORM REAL,32", ":FORM:BORD SWAP")
    binary_dtype: ClassVar[str] = "<f4"
    binary_has_length: ClassVar[bool] = True
    ascii_setup: ClassVar[Sequence[str]] = (":FORM ASC",)
    list_line_limit: ClassVar[int] = 100
    safe_timeout_s: ClassVar[float] = 1.0

    def __init__(self, resource_name: str, config: dict[str, Any] | None = None) -> None:
        """Remember the address and the options; nothing is opened.

        Args:
            resource_name: VISA address, as ``open_link`` takes it.
            config: the driver's options; ``timeout_s`` is the deadline of a link operation.
        """
        self.resource_name = resource_name
        self.config: dict[str, Any] = dict(config or {})
        self.ranges: Mapping[str, Any] | None = None
        self._link: Link | None = None
        self._lent = False
        self._configured: dict[str, dict[str, Any]] = {}
        self._stop = StopSign()
        self._armed: list[tuple[str, ...]] = []
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

    # -- the rest of the contract -----------------------------------------------------------------

    def reset(self) -> None:
        """``*RST``, ``*CLS`` and what the class names safe; stored parameters are forgotten.

        Raises:
            InstrumentError: the instrument refused one of them.
        """
        self._configured.clear()
        self._binary = None
        self.write("*RST", "*CLS", *self.safe_commands)
        self.check_errors()

    def get_identity(self) -> dict[str, str]:
        """The parts of the ``*IDN?`` reply by name.

        Raises:
            AnswerError: the reply is not one.
        """
        return parse_identity(self.query("*IDN?"), self.resource_name)

    @classmethod
    def supported_methods(cls) -> tuple[str, ...]:
        """Names of the methods of this class, known without an instance."""
        return tuple(declared_methods(cls))

    @classmethod
    def method_specs(cls) -> Mapping[str, MethodSpec]:
        """What each method takes and gives, by name."""
        return MappingProxyType({name: spec for name, (_, spec) in declared_methods(cls).items()})

    def get_capabilities(self) -> list[str]:
        """Names of the methods it can measure."""
        return list(self.supported_methods())

    def configure(self, method: str, params: dict[str, Any]) -> None:
        """Check the parameters and keep them; ``measure`` adds its own to them.

        Raises:
            MethodError: there is no such method.
            ParameterError: every problem with the parameters.
        """
        _, spec = self._declared(method)
        validate(spec, params, self.ranges)
        self._configured[method] = dict(params)

    def measure(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Measure to the end, and return whole columns by name.

        Raises:
            MethodError: there is no such method.
            ParameterError: every problem with the parameters.
            AbortedError: somebody called ``abort``.
            InstrumentError: the instrument refused a command.
            LinkError: the channel failed.
        """
        _, spec = self._declared(method)
        with closing(self.stream(method, params)) as chunks:
            return join_chunks(spec, chunks)

    def stream(self, method: str, params: Mapping[str, Any] | None = None) -> Generator[Chunk]:
        """Measure, and give the points as they are taken.

        The parameters are checked at the call, the measurement starts with the first chunk asked
        for. Closing the iterator ends the measurement and runs its cleanup.

        Raises: as :meth:`measure`.
        """
        attribute, spec = self._declared(method)
        merged = {**self._configured.get(method, {}), **(params or {})}
        values = validate(spec, merged, self.ranges)
        return self._run(spec, getattr(self, attribute), values)

    def abort(self) -> None:
        """Stop the running measurement; callable from any thread, never waits for an answer.

        Stops the instrument and switches off what ``output`` switched on, at once and out of band;
        the measurement then raises AbortedError and cleans up. Without one it only stops the
        instrument.

        Raises:
            LinkError: the instrument could not be told; the measurement is stopped all the same.
        """
        self._stop.ask()
        link = self._link
        if link is None:
            return
        problems = self._halt(link)
        for off in reversed(tuple(self._armed)):
            problems += self._send_off(link, off)
        if problems:
            raise problems[0]

    def get_status(self) -> dict[str, Any]:
        """How the instrument is; while a measurement runs nothing is asked of it.

        Keys: ``connected``, ``measuring``, ``resource``; when idle and connected also
        ``status_byte`` (IEEE 488.2) and, where one can ask, ``output`` (True is on).
        """
        connected = self._link is not None and not self._link.closed
        status: dict[str, Any] = {
            "connected": connected,
            "measuring": self._stop.running,
            "resource": self.resource_name,
        }
        if connected and not self._stop.running:
            status["status_byte"] = int(float(self.query("*STB?")))
            if self.output_query:
                status["output"] = self._is_on(self.query(self.output_query))
        return status

    # -- what a method of a driver uses -----------------------------------------------------------

    def write(self, *commands: str) -> None:
        """Send commands, each as a message of its own.

        Raises:
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed.
        """
        for command in commands:
            self._linked(partial(_write, command=command))
            self._since_check.append(command)

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        """Ask; the answer as text.

        Args:
            command: the question.
            timeout_s: total deadline, by default the link's.

        Raises: as :meth:`write`.
        """
        self._since_check.append(command)
        return self._linked(lambda link: link.query(command, timeout_s=timeout_s))

    def query_numbers(
        self, command: str, columns: int, rows: int | None = None, *, expected_s: float = 0.0
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
            data = self._linked(lambda it: it.query_block(command, timeout_s=timeout_s))
            numbers = numbers_from_block(data, self.binary_dtype, **where)
        else:
            text = self._linked(lambda it: it.query(command, timeout_s=timeout_s))
            numbers = numbers_from_text(text, **where)
        return table(numbers, columns, rows, **where)

    def write_list(self, header: str, values: Sequence[float] | FloatArray) -> None:
        """Give the instrument a list of levels, in as many commands as it needs.

        Raises: as :meth:`write`.
        """
        self.write(*list_commands(header, values, self.list_line_limit))

    def check_errors(self) -> None:
        """Empty the instrument's error queue.

        Raises:
            InstrumentError: there was something in it, all of it in ``entries``.
            AbortedError: the measurement was asked to stop.
            LinkError: the channel failed.
        """
        entries = []
        for _ in range(_MOST_ERRORS):
            code, _, text = self.query(self.error_query).partition(",")
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

    @contextmanager
    def output(
        self, *, on: str | Sequence[str], off: str | Sequence[str], query: str | None = None
    ) -> Generator[None]:
        """Have an output on inside the ``with``, and off afterwards, whatever happened.

        ``off`` is written before anything is asked: after an abort, on a link that is out of step,
        and on a new link of the driver's own if the old one is lost. Then it is asked whether that
        worked. Problems of switching off are notes on the error that was there first.

        Args:
            on: commands that switch on.
            off: commands that switch off.
            query: asks whether this output is on; by default :attr:`output_query`, once the last
                output that was switched on goes off. Empty asks nothing.

        Raises:
            InstrumentError: the instrument says that the output is still on.
            LinkError: it could not be switched off, and nothing else was wrong.
        """
        commands = (off,) if isinstance(off, str) else tuple(off)
        self._armed.append(commands)
        try:
            self.write(*((on,) if isinstance(on, str) else on))
            yield
        except BaseException as first:
            for problem in self._switch_off(commands, query, halt=True):
                first.add_note(f"while switching off: {type(problem).__name__}: {problem}")
            raise
        else:
            problems = self._switch_off(commands, query, halt=False)
            if problems:
                raise problems[0]
        finally:
            self._armed.remove(commands)

    def sleep(self, seconds: float) -> None:
        """Wait; an abort ends the wait.

        Raises:
            AbortedError: the measurement was asked to stop.
        """
        self._stop.wait(seconds)
        self.checkpoint()

    def checkpoint(self) -> None:
        """Give an abort a chance in a long computation.

        Raises:
            AbortedError: the measurement was asked to stop, and has not been told yet.
        """
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
        deadline = time.monotonic() + 2 * expected_s + self.link.timeout_s
        self.sleep(expected_s / 2)
        while True:
            value = int(float(self.query(query)))
            if value & mask:
                return value
            if time.monotonic() >= deadline:
                raise LinkTimeoutError(
                    f"{self.resource_name}: {query!r} is {value}, expected a bit of {mask} within"
                    f" {2 * expected_s + self.link.timeout_s:g} s",
                    resource=self.resource_name,
                    command=query,
                )
            self.sleep(poll_s)

    # -- inside -----------------------------------------------------------------------------------

    def _declared(self, name: str) -> tuple[str, MethodSpec]:
        known = declared_methods(type(self))
        if name not in known:
            raise MethodError(name, known, subject=type(self).__name__)
        return known[name]

    def _linked(self, action: Callable[[Link], _Result]) -> _Result:
        """Do something on the link; an abort before, during or after it is told here."""
        self.checkpoint()
        try:
            result = action(self.link)
        except LinkError as exc:
            # An abort makes the instrument fall silent or answer half: that is not the news.
            try:
                self.checkpoint()
            except AbortedError as aborted:
                raise aborted from exc
            raise
        self.checkpoint()
        return result

    def _reads_binary(self, link: Link) -> bool:
        ends = self.binary_has_length or link.interface != "socket"
        return link.supports_binary and ends

    def _choose_format(self, binary: bool) -> None:
        if self._binary is not binary:
            self.write(*(self.binary_setup if binary else self.ascii_setup))
            self._binary = binary

    def _run(
        self, spec: MethodSpec, function: Callable[[Any], Any], values: Any
    ) -> Generator[Chunk]:
        name = type(self).__name__
        if not self._stop.begin():
            raise PluginStateError(
                f"{name} on {self.resource_name} is measuring already",
                plugin=name,
                status="active",
            )
        try:
            # Others may have set the format since: a front panel, a reset, another program.
            self._binary = None
            self._since_check = []
            produced = function(values)
            if isinstance(produced, Mapping):
                produced = iter((produced,))
            elif not isinstance(produced, Iterator):
                what = type(produced).__name__
                raise DriverError(
                    f"{name}.{spec.name} returned {what}, expected chunks", plugin=name
                )
            yield from self._chunks(spec, produced)
            if self._stop.asked:
                # The driver swallowed it, or was past its last chunk: not a whole measurement.
                raise AbortedError
        finally:
            self._stop.end()

    def _chunks(self, spec: MethodSpec, produced: Iterator[Any]) -> Generator[Chunk]:
        name = type(self).__name__
        try:
            for chunk in produced:
                yield check_chunk(spec, chunk, name)
                if self._stop.asked:
                    self._tell(produced)
                    return
        finally:
            close = getattr(produced, "close", None)
            if close is not None:
                close()

    def _tell(self, produced: Iterator[Any]) -> None:
        """Raise the abort inside the driver, at its ``yield``, so that its cleanup runs."""
        try:
            self.checkpoint()
        except AbortedError as aborted:
            throw = getattr(produced, "throw", None)
            if throw is None:
                raise
            with suppress(StopIteration):
                throw(aborted)

    # -- making safe ------------------------------------------------------------------------------

    def _halt(self, link: Link) -> list[DrivebayError]:
        """Stop what the instrument is doing: device clear where there is one, then the command."""
        try:
            link.interrupt()
            if self.abort_command:
                link.write(self.abort_command, timeout_s=self.safe_timeout_s)
        except LinkError as exc:
            return [exc]
        return []

    def _send_off(self, link: Link, off: Sequence[str]) -> list[DrivebayError]:
        problems: list[DrivebayError] = []
        for command in off:
            try:
                link.write(command, timeout_s=self.safe_timeout_s)
            except LinkError as exc:
                problems.append(exc)
        return problems

    def _switch_off(
        self, off: Sequence[str], query: str | None, *, halt: bool
    ) -> list[DrivebayError]:
        """Everything that went wrong while switching off; the link may be in any state."""
        link = self._link
        if link is None:
            return [LinkLostError("not connected any more", resource=self.resource_name)]
        if query is None:
            query = self.output_query if len(self._armed) == 1 else ""
        problems = self._halt(link) if halt else []
        problems += self._send_off(link, off)
        if not link.closed:
            return problems + self._still_on(link, query)
        if self._lent:
            return problems
        try:
            with open_link(self.resource_name, timeout_s=self.safe_timeout_s) as fresh:
                told = self._halt(fresh) + self._send_off(fresh, off)
                return told + self._still_on(fresh, query)
        except DrivebayError as exc:
            return [*problems, exc]

    def _still_on(self, link: Link, query: str) -> list[DrivebayError]:
        if not query:
            return []
        try:
            on = self._is_on(link.query(query, timeout_s=self.safe_timeout_s))
        except LinkError as exc:
            return [exc]
        if not on:
            return []
        text = f"{self.resource_name} says that its output is still on ({query})"
        return [InstrumentError(text, resource=self.resource_name)]

    @staticmethod
    def _is_on(answer: str) -> bool:
        return answer.strip().upper() not in {"0", "OFF", "+0", "0.0"}


def _write(link: Link, *, command: str) -> None:
    link.write(command)


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
