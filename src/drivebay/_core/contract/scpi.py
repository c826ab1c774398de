"""``ScpiDriver``: the whole contract for an instrument that speaks SCPI; a driver adds methods.

Promises: parameters are valid before the first byte is sent; chunks are checked before anyone sees
them; an abort from any thread reaches the instrument at once and the measurement exactly once; what
``output`` switched on is switched off, whatever happened. Keeps no state outside the instance.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from types import MappingProxyType
from typing import Any, ClassVar

from drivebay._core.contract.conversation import Conversation
from drivebay._core.contract.declared import declared_methods, remember_methods
from drivebay._core.contract.interface import InstrumentDriver
from drivebay._core.contract.readout import check_chunk, join_chunks, parse_identity
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
    nearest,
)
from drivebay._core.keeper import open_link
from drivebay._core.links import Link
from drivebay._core.methods import MethodSpec, validate

Chunk = dict[str, Any]


class ScpiDriver(Conversation, InstrumentDriver):
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
        leaves_out: methods of a base class that this class has not; they are not offered.
    """

    abort_command: ClassVar[str] = ":ABOR"
    output_query: ClassVar[str] = ""
    safe_commands: ClassVar[Sequence[str]] = ()
    safe_timeout_s: ClassVar[float] = 1.0
    leaves_out: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        """Hold ``leaves_out`` against what there is: a slip would offer what is not done."""
        super().__init_subclass__(**more)
        known = {name for base in cls.__bases__ for name in declared_methods(base)}
        for name in vars(cls).get("leaves_out", ()):
            if name not in known:
                raise TypeError(
                    f"{cls.__name__} leaves out {name!r}, which no base of it has"
                    f"{nearest(name, known)}"
                )
        remember_methods(cls)

    def __init__(self, resource_name: str, config: dict[str, Any] | None = None) -> None:
        """Remember the address and the options; nothing is opened.

        Args:
            resource_name: VISA address, as ``open_link`` takes it.
            config: the driver's options; ``timeout_s`` is the deadline of a link operation.
        """
        super().__init__(resource_name, config)
        self._configured: dict[str, dict[str, Any]] = {}
        self._armed: list[tuple[str, ...]] = []

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

    # -- inside -----------------------------------------------------------------------------------

    def _declared(self, name: str) -> tuple[str, MethodSpec]:
        known = declared_methods(type(self))
        if name not in known:
            raise MethodError(name, known, subject=type(self).__name__)
        return known[name]

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
            self._start_afresh()
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
        except LinkTimeoutError as exc:
            self._note_refusals(exc)
            raise
        finally:
            self._stop.end()

    def _start_afresh(self) -> None:
        # Others may have set the format since: a front panel, a reset, another program.
        self._binary = None
        self._since_check = []

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

    def _note_refusals(self, exc: LinkTimeoutError) -> None:
        """An instrument that refuses a question does not answer it; its error queue says why."""
        try:
            self.check_errors(timeout_s=self.safe_timeout_s)
        except InstrumentError as refused:
            exc.add_note(str(refused))
        except DrivebayError as other:
            exc.add_note(f"its error queue could not be read: {other}")

    # -- making safe ------------------------------------------------------------------------------

    def _halt(self, link: Link) -> list[DrivebayError]:
        """Stop what the instrument is doing: device clear where there is one, then the command."""
        problems: list[DrivebayError] = []
        try:
            link.interrupt()
        except DrivebayError as exc:
            problems.append(exc)
        return problems + (self._send_off(link, [self.abort_command]) if self.abort_command else [])

    def _send_off(self, link: Link, off: Sequence[str]) -> list[DrivebayError]:
        problems: list[DrivebayError] = []
        for command in off:
            try:
                link.write(command, timeout_s=self.safe_timeout_s)
            except DrivebayError as exc:
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
        link.close()  # an instrument that is lost is still ours until it is given back
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
