"""The owner's side of a host: start it, ask it, and learn what became of it.

Promises: a driver's crash, hang or greed ends its process and nothing else; whoever waits for an
answer gets one, or an error that names plugin, version, method and what happened, within the hang
limit and two seconds. Arrays are handed out as views of the received bytes. No plugin code is ever
imported here.

The thread that calls reads the answer itself; nothing is handed from thread to thread on the way.
One call runs at a time, because a driver is one; ``abort`` and ``aside`` go past it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from drivebay._core import wire
from drivebay._core.errors import (
    BusyError,
    DrivebayError,
    DriverCrashedError,
    DriverError,
    DriverHungError,
    LoadError,
    ProtocolError,
)
from drivebay._core.host import crossing
from drivebay._core.host.facts import Code, Connected, Exit, Loaded
from drivebay._core.host.life import Life, Watch
from drivebay._core.host.nursery import Nursery, abandon_in_fork, best_nursery
from drivebay._core.host.output import Output
from drivebay._core.host.settings import (
    DUMP_SIGNAL,
    GRACE_S,
    Limits,
    settings_of_owner,
)
from drivebay._core.host.shared import SharedIn

if TYPE_CHECKING:
    import numpy as np

    Chunk = dict[str, np.ndarray[Any, Any]]

_log = logging.getLogger("drivebay.host")
_DONE, _FAILED = 0, 1
_SHARED = 3
_START_S: Final = 60.0
_END_S: Final = 5.0
_LOOK_S: Final = 0.1
_HUNG_GRACE_S: Final = 1.0
"""With 5 s of silence, a second until it is noticed and the dump: over within eight seconds."""

_PACKET: Final = 1 << 16
_DUMP_BYTES: Final = 64_000


class Host:
    """A process that runs one driver; made by :meth:`start`."""

    def __init__(
        self,
        name: str,
        version: str,
        limits: Limits,
        on_output: Callable[[str], None] | None,
        on_log: Callable[[str, int, str], None] | None,
        on_death: Callable[[Exit], None] | None,
    ) -> None:
        self.name = name
        self.version = version
        self.limits = limits
        self.resource = ""
        self.pid = 0
        self._shared = SharedIn(0)
        self.output = Output(on_output or _log_line(name))
        self.life = Life(limits)
        self._on_log = on_log or _emit_log
        self._on_death = on_death
        self._turn = threading.Lock()
        self._reading = threading.Lock()
        self._hearing = threading.Lock()
        self._crash_lock = threading.Lock()
        self._aside_lock = threading.Lock()
        self._number = 0
        self._streaming = ""
        self._measuring = 0  # number of the call that measures
        self._stopping = (0, 0.0)  # number of the call that was aborted, and when it must be over
        self._asides: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._aside_count = 0
        self._limit = ""
        self._hung: DriverHungError | LoadError | None = None
        self._exit: Exit | None = None
        self._gone = threading.Event()
        self._trace = ""

    @classmethod
    def start(
        cls,
        name: str,
        version: str = "",
        *,
        limits: Limits | None = None,
        on_output: Callable[[str], None] | None = None,
        on_log: Callable[[str, int, str], None] | None = None,
        on_death: Callable[[Exit], None] | None = None,
        starter: Nursery | None = None,
    ) -> Host:
        """Start a host for a plugin; nothing of it is loaded yet.

        Args:
            name: the plugin.
            version: its version, for errors.
            limits: what it may use.
            on_output: is given each line it prints; by default they are logged.
            on_log: is given name, level and text of its log records; by default they are logged
                under their own names.
            on_death: is told when it ends, in a thread of its own.
            starter: where it comes from, by default the best there is.

        Raises:
            DrivebayError: no process could be started.
            DriverCrashedError: it ended at once.
        """
        host = cls(name, version, limits or Limits(), on_output, on_log, on_death)
        host._start(starter or best_nursery())
        return host

    # -- start and end -----------------------------------------------------------------------------

    def _start(self, starter: Nursery) -> None:
        self._monitor = starter.monitor
        ours, theirs = wire.pipe_pair()
        control, their_control = socket.socketpair(socket.AF_UNIX, _CONTROL_KIND)
        output, their_output = os.pipe()
        self._crash = _anonymous_file()
        try:
            fds = (*theirs, their_control.fileno(), their_output, self._crash)
            self._child = starter.spawn(fds)
        except BaseException:
            for fd in (*ours, output, self._crash):
                os.close(fd)
            control.close()
            raise
        finally:
            their_control.close()
            for fd in (*theirs, their_output):
                os.close(fd)
        self._channel = wire.Channel(*ours, peer=f"the host of {self.name}", room=_room)
        self._control, self._output_fd = control, output
        control.setblocking(False)
        os.set_blocking(output, False)
        self._open_fds = [control.fileno(), output]
        abandon_in_fork(self)
        self._monitor.watch(control.fileno(), self._hear)
        self._monitor.watch(output, self._hear_output)
        self._child.when_ended(self._ended)
        self._greet()

    def _greet(self) -> None:
        settings = settings_of_owner(self.name, self.version, self.limits)
        try:
            self._channel.send(msgspec.to_builtins(settings))
            self.pid = int(wire.expect_greeting(self._channel, _START_S)["pid"])
            self._shared = SharedIn(self.pid)
        except (OSError, EOFError) as exc:
            self.kill_now()
            error = self._death("start")
            self.close(0.0)
            raise error from exc
        except BaseException:
            self.close(0.0)
            raise

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return not self._gone.is_set()

    @property
    def exit(self) -> Exit | None:
        """How it ended, None while it runs."""
        return self._exit

    def close(self, timeout_s: float = GRACE_S) -> None:
        """End it: let the running call end, then tell it to, then make it. Never raises.

        Args:
            timeout_s: how long a running call may still take.
        """
        with contextlib.suppress(OSError):
            self._channel.close_sending()
        if not self._gone.wait(timeout_s):
            self._end_now()
        self._release()

    def kill_now(self) -> None:
        """End the process and all it started, at once; whoever waits for it is told."""
        self._child.signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; whether it has."""
        return self._gone.wait(timeout_s)

    def _end_now(self, grace_s: float = GRACE_S) -> None:
        self._child.signal(signal.SIGTERM)
        if not self._gone.wait(grace_s):
            self._child.signal(signal.SIGKILL)
            self._gone.wait(_END_S)

    def _ended(self) -> None:
        """On the monitor's thread: it has ended; hear what it still said, then tell."""
        self._drain()
        status = self._child.status
        if status is not None and status < 0:
            name = signal.Signals(-status).name if -status in _SIGNALS else f"signal {-status}"
            self._exit = Exit(signal=name, limit=self._limit)
        else:
            self._exit = Exit(code=status, limit=self._limit)
        for done, answer in list(self._asides.values()):
            answer["dead"] = True
            done.set()
        self._gone.set()
        if self._on_death is not None:
            # In a thread of its own: the others must be heard while somebody makes safe.
            name = f"drivebay-end-{self.pid}"
            threading.Thread(
                target=self._on_death, args=(self._exit,), name=name, daemon=True
            ).start()

    def _drain(self) -> None:
        with self._hearing:
            self._hear_control()
            self._hear_output()
            self.output.finish()
            for fd in self._open_fds:
                self._monitor.close(fd)
            self._control.detach()
            self._open_fds = []
        with self._crash_lock:
            self._trace = self._crash_text()
            os.close(self._crash)
            self._crash = -1

    def _release(self) -> None:
        """Close the pipes, once nobody reads from them."""
        with self._reading:
            self._channel.close()
            self._shared.close()

    def abandon(self) -> None:
        """In a forked process: this host is the parent's."""
        for fd in (*self._open_fds, self._crash):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._channel.close()
        self._gone.set()

    # -- what it says unasked ----------------------------------------------------------------------

    def _hear(self) -> bool:
        """Take what it said; False if another thread is at it."""
        if not self._hearing.acquire(False):
            return False
        try:
            self._hear_control()
        finally:
            self._hearing.release()
        return True

    def _hear_control(self) -> None:
        while self._open_fds:
            try:
                data = self._control.recv(_PACKET)
            except OSError:  # nothing more for now, or it is gone: its end is told by others
                return
            if not data:
                return
            try:
                self._take(crossing.unpack(data, memoryview(b"")))
            except ProtocolError as exc:
                _log.warning("%s said something unreadable: %s", self.name, exc)

    def _take(self, fact: Any) -> None:
        if not isinstance(fact, dict):
            raise ProtocolError(f"{fact!r:.80}")
        if "idle_s" in fact:
            self.life.beat(float(fact["idle_s"]))
        elif "log" in fact:
            logger, level, text = fact["log"]
            self._on_log(str(logger), int(level), str(text))
        elif "limit" in fact:
            self._limit = str(fact["limit"])
        elif "aside" in fact:
            done, answer = self._asides.get(fact["aside"], (None, {}))
            if done is not None:
                answer.update(fact)
                done.set()
        if "dropped" in fact:
            _log.warning("%s: %d messages were left out", self.name, fact["dropped"])

    def _hear_output(self) -> None:
        if not self._open_fds:
            return
        # Not more at a time than a pipe holds: others must be heard as well.
        for _ in range(16):
            try:
                data = os.read(self._output_fd, 1 << 16)
            except OSError:
                return
            if not data:
                return
            self.output.add(data)

    # -- calls -------------------------------------------------------------------------------------

    def load(
        self,
        code: Code,
        uses: Sequence[Code] = (),
        *,
        kept: Mapping[str, Any] | None = None,
        keep_compiled: bool = False,
    ) -> Loaded:
        """Import the plugin.

        Args:
            code: the plugin's files and manifest.
            uses: the plugins it imports, each after those it uses itself.
            kept: ``path``, ``token`` and ``resource`` of what a driver is lent that opens its
                link itself.
            keep_compiled: whether to return what compiling took, for the next host.

        Raises:
            LoadError: the code cannot be imported, is no driver, or is not ready in time.
            DriverCrashedError: it ended the process.
        """
        others = [each.to_plain() for each in uses]
        arguments = (code.to_plain(), others, self.limits.load_s, kept, keep_compiled)
        return msgspec.convert(self._ask("load", *arguments), Loaded)

    def create(
        self,
        resource: str,
        config: Mapping[str, Any] | None = None,
        *,
        ranges: Mapping[str, Any] | None = None,
        link: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the driver.

        Args:
            resource: the instrument.
            config: the driver's options, checked already.
            ranges: limits of the parameters.
            link: ``{"kept": {"path": ..., "token": ..., "resource": ...}}``, or in tests
                ``{"direct": resource}``.

        Raises:
            DriverError: its constructor raised.
            LinkError: the link could not be had.
        """
        self.resource = resource
        self._ask("create", resource, config, ranges, link)

    def connect(self) -> Connected:
        """Connect the driver to its instrument.

        Raises:
            LinkOpenError: it did not connect.
            DriverError: the driver raised.
        """
        return msgspec.convert(self._ask("connect"), Connected)

    def use_ranges(self, ranges: Mapping[str, Any] | None) -> None:
        """Set the limits that parameters are held against."""
        self._ask("ranges", ranges)

    def validate(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as plain data, checked, with defaults filled in.

        Raises:
            MethodError: the driver has no such method.
            ParameterError: every problem with the parameters.
        """
        return dict(self._ask("validate", method, params))

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a public method of the driver; the answer is plain data and arrays.

        Raises:
            DriverError: the driver raised, or has no such method; a subclass if it crashed.
            DrivebayError: the driver raised that.
            BusyError: it is in the middle of a measurement.
            TypeError: an argument is not plain data.
        """
        return self._ask("call", name, args, kwargs)

    def stream(
        self, method: str, params: Mapping[str, Any], values: dict[str, Any] | None = None
    ) -> Generator[Chunk]:
        """Measure; yield chunks as they come.

        Closing the generator early aborts the measurement and waits for its end.

        Args:
            method: the method.
            params: its parameters, as :meth:`validate` returned them.
            values: is given whatever else a seed-style driver returned.

        Raises: as :meth:`call`; AbortedError.
        """
        self._take_turn(method)
        over = False
        try:
            number = self._measuring = self._send("stream", method, params)
            while True:
                self._check_stop(number, method)
                kind, payload = self._receive(number, "stream", (method,))
                if kind == _DONE:
                    break
                yield payload
            over = True
            if values is not None:
                values.update(payload)
        except DrivebayError:
            over = True
            raise
        finally:
            if not over:
                self._give_up(number, method)
            self._streaming, self._measuring = "", 0
            self._turn.release()

    def _give_up(self, number: int, method: str) -> None:
        """The reader wants no more: stop the driver, and read what it still says."""
        with contextlib.suppress(DrivebayError):
            self.abort()
        with contextlib.suppress(DrivebayError):
            while self._receive(number, "stream", (method,))[0] != _DONE:
                self._check_stop(number, method)

    def _take_turn(self, streaming: str = "") -> None:
        """Wait for the end of another call, but not for that of a measurement.

        Raises:
            BusyError: a measurement is going on.
        """
        while not self._turn.acquire(False):
            if self._streaming:
                raise BusyError(
                    f"{self.name} is in the middle of {self._streaming}; abort() ends it"
                )
            if self._turn.acquire(timeout=_LOOK_S):
                break
        self._streaming = streaming

    def _ask(self, verb: str, *arguments: Any) -> Any:
        self._take_turn()
        try:
            return self._receive(self._send(verb, *arguments), verb, arguments)[1]
        finally:
            self._turn.release()

    def _send(self, verb: str, *arguments: Any) -> int:
        self._number += 1
        number = self._number
        body, tail = crossing.pack((number, verb, arguments))
        try:
            self._channel.send_body(body, tail, timeout_s=self.limits.hang_s + GRACE_S)
        except BrokenPipeError:
            raise self._death(_name_of(verb, arguments)) from None
        except TimeoutError:
            raise self._hang(_name_of(verb, arguments), self.limits.hang_s + GRACE_S) from None
        return number

    def _receive(self, number: int, verb: str, arguments: Sequence[Any] = ()) -> tuple[int, Any]:
        """The next answer to a call: its kind and what it carries."""
        watch: Watch | None = None
        pause_s = self.life.pause_s
        with self._reading:
            while True:
                try:
                    body, tail = self._channel.receive_body(pause_s)
                except TimeoutError:
                    watch = watch or self.life.watch(loading=verb == "load")
                    self._look(watch, _name_of(verb, arguments))
                    self._check_stop(number, _name_of(verb, arguments))
                    continue
                except EOFError:
                    raise self._death(_name_of(verb, arguments)) from None
                try:
                    got, kind, payload = crossing.unpack(body, tail)
                except (ProtocolError, ValueError, TypeError) as exc:
                    raise ProtocolError(f"the host of {self.name}: {exc}") from exc
                if got == number:
                    if kind == _FAILED:
                        raise self._failure(payload)
                    if kind == _SHARED:
                        return _DONE, self._shared_answer(payload, _name_of(verb, arguments))
                    return kind, payload

    def _shared_answer(self, told: Any, what: str) -> Any:
        """The answer that lies in shared memory."""
        try:
            fd, length, body = told
            tail = self._shared.take(fd, length, _room)
            return crossing.unpack(body, tail)[2]
        except OSError:
            raise self._death(what) from None
        except (ValueError, TypeError, IndexError) as exc:
            raise ProtocolError(f"the host of {self.name}: {exc}") from exc

    def _look(self, watch: Watch, what: str) -> None:
        """Nothing came for a while: is it dead, or does it hang?"""
        # Before it is judged, what it said is heard: the monitor may be kept busy by a listener.
        if watch.silent_s() and self._hear() and (silent_s := watch.silent_s()):
            raise self._hang(what, silent_s)
        if self._gone.is_set():
            # Its pipe is open, so somebody it started has it: nothing will come any more.
            raise self._death(what)

    def _check_stop(self, number: int, what: str) -> None:
        """End a process whose measurement goes on long after it was aborted."""
        aborted, deadline = self._stopping
        if aborted != number or self.life.clock() < deadline:
            return
        seconds = f"within {self.limits.stop_s:.3g} s after its abort"
        raise self._hang(what, self.limits.stop_s, f"did not end {seconds}")

    def _failure(self, packed: Any) -> DrivebayError:
        error = wire.unpack_error(packed)
        if isinstance(error, DrivebayError):
            return error
        return DriverError(f"{self.name}: {error}", plugin=self.name, resource=self.resource)

    # -- past the running call ---------------------------------------------------------------------

    def abort(self, wait_s: float = GRACE_S) -> bool:
        """Call the driver's ``abort`` at once, whatever it does.

        A measurement that goes on all the same is ended with its process after ``limits.stop_s``.

        Args:
            wait_s: how long to wait for that call to end.

        Returns:
            Whether it has ended within that time; the measurement's own end comes from its stream.

        Raises:
            DrivebayError: what ``abort`` raised.
        """
        if number := self._measuring:
            self._stopping = number, self.life.clock() + self.limits.stop_s
        try:
            self.aside("abort", wait_s=wait_s)
        except TimeoutError:
            return False
        return True

    def aside(self, name: str, *args: Any, wait_s: float = GRACE_S) -> Any:
        """Call a method of the driver beside a running call, such as ``get_status``.

        Raises:
            TimeoutError: it did not answer in time.
            DriverCrashedError: its process has ended.
            DrivebayError: what the method raised.
        """
        done = threading.Event()
        answer: dict[str, Any] = {}
        with self._aside_lock:
            self._aside_count += 1
            number = self._aside_count
            self._asides[number] = done, answer
        try:
            self._say({"aside": number, "name": name, "args": list(args)}, name)
            if not done.wait(wait_s):
                raise TimeoutError(f"{self.name}.{name}() has not ended within {wait_s:g} s")
        finally:
            del self._asides[number]
        if "dead" in answer:
            raise self._death(name)
        if "failed" in answer:
            raise self._failure(answer["failed"])
        return answer.get("done")

    def _say(self, request: dict[str, Any], what: str) -> None:
        body, _ = crossing.pack(request)
        try:
            self._control.send(body)
        except BlockingIOError:
            return  # it reads nothing at all: the deadline of whoever waits will tell
        except OSError:
            raise self._death(what) from None

    # -- what became of it -------------------------------------------------------------------------

    def _death(self, what: str) -> DrivebayError:
        """The error for whoever waited for a process that has ended."""
        if not self._gone.wait(GRACE_S):
            self.kill_now()
            self._gone.wait(_END_S)
        if self._hung is not None:
            return self._hung
        ended = self._exit or Exit()
        during = f" during {what}" if what else ""
        return DriverCrashedError(
            f"{self._title()}: its process {ended}{during}",
            plugin=self.name,
            resource=self.resource,
            traceback=self._trace or (self.output.text if what == "start" else ""),
            version=self.version,
            method=what,
            signal=ended.signal,
            exit_code=ended.code,
            limit=ended.limit,
        )

    def where(self) -> str:
        """Return where each of its threads is now, as tracebacks; empty if it does not say."""
        before = self._crash_size()
        self._child.signal(DUMP_SIGNAL)
        self._await_dump(before)
        with self._crash_lock:
            return self._crash_text(before) if self._crash >= 0 else ""

    def _hang(self, what: str, waited_s: float, did: str = "") -> DrivebayError:
        """End a process that hangs, and return the error for it."""
        before = self._crash_size()
        self._child.signal(DUMP_SIGNAL)
        self._await_dump(before)
        with self._crash_lock:
            trace = self._crash_text() if self._crash >= 0 else self._trace
        self._hung = self._hung_error(what, waited_s, trace, did)
        self._end_now(_HUNG_GRACE_S)
        return self._hung

    def _hung_error(
        self, what: str, waited_s: float, trace: str, did: str
    ) -> DriverHungError | LoadError:
        if what == "load":
            text = f"its code was not imported within {waited_s:.3g} s"
            return LoadError(text, plugin=self.name, traceback=trace)
        did = did or f"gave no sign of life for {waited_s:.3g} s"
        return DriverHungError(
            f"{self._title()}: {what} {did} and was ended",
            plugin=self.name,
            resource=self.resource,
            traceback=trace,
            version=self.version,
            method=what,
            waited_s=waited_s,
        )

    def _title(self) -> str:
        on = f" on {self.resource}" if self.resource else ""
        return f"{self.name} {self.version}".strip() + on

    def _await_dump(self, before: int) -> None:
        """Wait until the traceback is written; a stopped process writes none, so not for long."""
        last, pause = before, threading.Event()
        for _ in range(50):
            if pause.wait(0.01) or self._gone.is_set():
                return
            size = self._crash_size()
            if size > before and size == last:
                return
            last = size

    def _crash_size(self) -> int:
        with self._crash_lock:
            return os.fstat(self._crash).st_size if self._crash >= 0 else 0

    def _crash_text(self, start: int = 0) -> str:
        return os.pread(self._crash, _DUMP_BYTES, start).decode("utf-8", "replace")


def _name_of(verb: str, arguments: Sequence[Any]) -> str:
    return str(arguments[0]) if verb in {"call", "stream", "validate"} and arguments else verb


_SIGNALS: Final = frozenset(int(number) for number in signal.Signals)
# Whole messages, so that one for which there is no room is left out and the next one is not torn.
_CONTROL_KIND: Final = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM


def _room(length: int) -> Any:
    """A buffer for arrays; numpy's are not filled with zeros before they are read into."""
    numpy = sys.modules.get("numpy")
    return bytearray(length) if numpy is None else numpy.empty(length, numpy.uint8)


def _anonymous_file() -> int:
    """A file without a name, gone with its last descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("drivebay-crash")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _log_line(name: str) -> Callable[[str], None]:
    logger = logging.getLogger(f"drivebay.driver.{name}")
    return lambda line: logger.info("%s", line)


def _emit_log(name: str, level: int, text: str) -> None:
    logging.getLogger(name).log(level, "%s", text)
