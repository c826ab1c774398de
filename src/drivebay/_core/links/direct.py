"""A link that holds its channel itself: one question at a time, and no answer to the wrong one.

Rules:
- Every operation has one total deadline on a monotonic clock, however the bytes trickle.
- One question at a time: a query waits for the question lock, within its own deadline.
- A plain command never waits for a reader. It takes the short write lock only, so the bytes of two
  commands never mix and an abort goes out while a query is waiting.
- After a timeout the ledger decides: answers still owed are read and thrown away, up to one that is
  known beforehand (``*IDN?``, if it was ever asked), or the channel is made new and ``*IDN?`` is
  compared. Until then nothing is asked.
- A channel that the other side closed stays closed: opening again is the caller's decision, because
  an instrument that was switched off and on is not in the state the caller left it in.

- A reader that waits looks up ten times a second, so that :meth:`Link.give_up` ends its wait.

Channels derive from :class:`DirectLink` and supply how bytes are sent, received and how one
reconnects.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from drivebay._core.errors import AnswerError, LinkLostError, LinkOpenError, LinkTimeoutError
from drivebay._core.links.answers import INDEFINITE, asks, block_span, decode_answer
from drivebay._core.links.interface import Link, Sink
from drivebay._core.links.ledger import Ledger

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of one answer; longer ones are refused."""

DRAIN_S = 1.0
"""Longest wait for late answers before the channel is made new instead."""

QUIET_S = 0.05
"""Silence after a newline that ends a block of indefinite length where the channel has no END."""

TAIL_S = 0.25
"""Silence after a block that was asked for raw: it has no terminator, then."""

MAX_TIMEOUT_S = 86_400.0

_WITHOUT_END = frozenset(("socket", "serial"))  # nothing tells where a message ends but its text
_LOOK_S = 0.1  # how often a waiting reader looks whether it was told to give up
_REOPEN_PAUSE_S = 0.01  # the first of several, each twice the one before
_TRANSCRIPT_ENTRIES = 2000
_TRANSCRIPT_BYTES = 4096
_IN_PART = "a block came in part"

Clock = Callable[[], float]
_T = TypeVar("_T")


def shown(command: str) -> str:
    """A command for a message: its repr, cut when it is long."""
    return repr(command if len(command) <= 80 else command[:77] + "...")


def _named(command: str | bytes) -> str:
    """A command as text, for messages."""
    if isinstance(command, bytes):
        command = command[:256].decode(errors="replace")
    return command.rstrip("\r\n") or "?"


class DirectLink(Link):
    """One open channel to an instrument, held by this process.

    Attributes:
        sink: called with every whole message, for recorders; None when nobody records.
        identity_check: given the first answer to ``*IDN?`` and the one after a reopen, says whether
            they are of the same instrument; by default they must be equal.
        discarded_bytes: bytes that came without a question, or too late, and were thrown away.
        has_end: the channel says where a message ends, whatever its bytes are.
    """

    has_end = False

    def __init__(
        self,
        resource: str,
        interface: str,
        *,
        timeout_s: float,
        terminator: str = "\n",
        clock: Clock = time.monotonic,
    ) -> None:
        if terminator not in {"\n", "\r\n", "\r"}:
            raise ValueError(f"terminator {terminator!r} is not one of '\\n', '\\r\\n', '\\r'")
        self.resource = resource
        self.interface = interface
        self.timeout_s = timeout_s
        self._messages: deque[tuple[int, str, bytes]] = deque(maxlen=_TRANSCRIPT_ENTRIES)
        self.sink: Sink | None = None
        self.identity: str | None = None
        self.identity_check: Callable[[str, str], bool] = str.__eq__
        self.discarded_bytes = 0
        self._reopened = 0
        self._clock = clock
        self._terminator = terminator.encode()
        self._last = self._terminator[-1:]
        self._questions = threading.Lock()
        self._writes = threading.Lock()
        self._ledger = Ledger()
        self._buffer = bytearray()
        self._ended = False  # the channel said END after the last byte in the buffer
        self._skip_end = False  # a block was read whole, its terminator may still be on the way
        self._midway = False  # an answer was cut, and its rest has not been read
        self._begun = False  # the buffer begins with a block that had not come whole in time
        self._asking = ""
        self._give_ups = 0
        self._heeded = 0  # of these, those from before the reader began to wait
        self._gone = ""  # why this link can never be used again
        self._closing = False  # its owner closed it: no reopening brings it back
        self._check_timeout(timeout_s)

    # -- what a channel supplies ------------------------------------------------------------------

    @abstractmethod
    def _send(self, message: bytes, deadline: float) -> int:
        """Send bytes; the number sent before the deadline. Raises through :meth:`_lose`."""

    @abstractmethod
    def _receive(self, deadline: float) -> bytes:
        """Some bytes, empty at the deadline; sets ``_ended``. Raises through :meth:`_lose`."""

    @abstractmethod
    def _waiting(self) -> bool:
        """Whether bytes have come that nobody read. Raises through :meth:`_lose` on a hang-up."""

    @abstractmethod
    def _reconnect(self, deadline: float) -> None:
        """Make the channel new, so that nothing sent before can answer. Raises LinkOpenError."""

    @abstractmethod
    def _shut(self) -> None:
        """Close the channel and wake whoever waits on it; callable twice and from any thread."""

    # -- public -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return bool(self._gone)

    @property
    def transcript(self) -> Sequence[tuple[int, str, bytes]]:
        return self._messages

    @property
    def reopened(self) -> int:
        return self._reopened

    def write(
        self, command: str | bytes, *, timeout_s: float | None = None, end: bytes | None = None
    ) -> None:
        deadline = self._deadline(timeout_s)
        message = self._message(command, end)
        question = asks(message)
        if question or self._ledger.torn:
            self._enter(self._questions, deadline, command)
            try:
                ledger = self._ledger
                if ledger.late or ledger.doubt:
                    self._settle(deadline)
                elif not ledger.owed and (self._buffer or (not self._gone and self._waiting())):
                    self._discard(deadline)
                self._put(message, deadline, _named(command) if question else "")
            finally:
                self._questions.release()
        else:
            self._put(message, deadline, "")

    @property
    def is_owing(self) -> bool:
        """Whether somebody has asked, and does not read the answer at this moment."""
        ledger = self._ledger
        return bool(ledger.owed) and not ledger.late and not self._questions.locked()

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        raw = self._ask(command, self._take_line, timeout_s)
        answer = self._text(raw, command)
        if self.identity is None and "*IDN?" in command.upper() and ";" not in command:
            self.identity = answer
        return answer

    def query_block(self, command: str, *, timeout_s: float | None = None) -> bytes:
        return self._ask(command, self._take_block, timeout_s)

    def read(self, *, timeout_s: float | None = None) -> str:
        return self._text(self._next(self._take_line, timeout_s), self._asking)

    def read_block(self, *, timeout_s: float | None = None) -> bytes:
        return self._next(self._take_block, timeout_s)

    def read_raw(
        self,
        *,
        at_most: int = MAX_ANSWER,
        stop: bytes | None = None,
        timeout_s: float | None = None,
    ) -> tuple[bytes, bool]:
        return self._next(lambda deadline: self._take_raw(deadline, at_most, stop), timeout_s)

    def interrupt(self) -> bool:
        if self._ledger.owed:
            self._ledger.late = True
        return False

    def close(self) -> None:
        self._closing = True
        self._gone = self._gone or "is closed"
        self._shut()

    def give_up(self) -> None:
        self._give_ups += 1

    # -- deadlines, locks, errors -----------------------------------------------------------------

    @staticmethod
    def _check_timeout(timeout_s: float) -> None:
        if not 0 < timeout_s <= MAX_TIMEOUT_S:  # refuses not-a-number as well
            raise ValueError(
                f"timeout_s {timeout_s!r} is not within 0 to {MAX_TIMEOUT_S:g} seconds"
            )

    def _deadline(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            timeout_s = self.timeout_s
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            self._check_timeout(timeout_s)
        return self._clock() + timeout_s

    def _enter(self, lock: threading.Lock, deadline: float, command: str | bytes) -> None:
        if lock.acquire(False):
            return
        remaining = deadline - self._clock()
        if remaining <= 0 or not lock.acquire(timeout=remaining):
            name = _named(command)
            raise LinkTimeoutError(
                f"{self.resource} was busy with {shown(self._asking)} until the deadline of "
                f"{shown(name)}",
                resource=self.resource,
                command=name,
            )

    def _lose(self, reason: str, cause: BaseException | None = None) -> NoReturn:
        """End this link for good and say why."""
        self._gone = self._gone or reason
        self._shut()
        raise self._lost() from cause

    def _lost(self) -> LinkLostError:
        return LinkLostError(
            f"{self.resource} {self._gone}; open it again",
            resource=self.resource,
            command=self._asking,
        )

    def _timed_out(self, what: str) -> LinkTimeoutError:
        return LinkTimeoutError(
            f"{self.resource} {what}", resource=self.resource, command=self._asking
        )

    def _unreadable(self, what: str, raw: bytes | bytearray) -> AnswerError:
        return AnswerError(
            f"{self.resource} answered {shown(self._asking)}: {what}",
            resource=self.resource,
            command=self._asking,
            raw=bytes(raw[:256]),
        )

    def _record(self, direction: str, data: bytes) -> None:
        now = time.monotonic_ns()
        self._messages.append(
            (now, direction, data if len(data) <= _TRANSCRIPT_BYTES else data[:_TRANSCRIPT_BYTES])
        )
        if self.sink is not None:
            self.sink(now, direction, data)

    # -- sending ----------------------------------------------------------------------------------

    def _message(self, command: str | bytes, end: bytes | None = None) -> bytes:
        end = self._terminator if end is None else end
        if isinstance(command, str):
            line = command.removesuffix("\n").removesuffix("\r")
            if "\n" in line or "\r" in line:
                raise ValueError(f"command {shown(command)} holds a line end; send one at a time")
            return line.encode() + end
        return command + end

    def _put(self, message: bytes, deadline: float, question: str) -> None:
        """Send one whole message under the write lock, and enter a question in the ledger."""
        self._enter(self._writes, deadline, question or message)
        try:
            self._put_now(message, deadline, question)
        finally:
            self._writes.release()

    def _put_now(self, message: bytes, deadline: float, question: str) -> None:
        if self._gone:
            raise self._lost()
        if question:
            self._asking = question
            self._midway = False
        sent = self._send(message, deadline)
        if sent < len(message):
            self._unsent(message, sent)
        if question:
            self._ledger.owed += 1
        self._record("w", message)

    def _unsent(self, message: bytes, sent: int) -> NoReturn:
        if sent:
            self._record("w", message[:sent])
            self._ledger.cut_off(f"{sent} of {len(message)} bytes of a command were sent")
        name = _named(message)
        raise LinkTimeoutError(
            f"{self.resource} took {sent} of {len(message)} bytes of {shown(name)} in time",
            resource=self.resource,
            command=name,
        )

    # -- asking -----------------------------------------------------------------------------------

    def _ask(self, command: str, take: Callable[[float], bytes], timeout_s: float | None) -> bytes:
        deadline = self._deadline(timeout_s)
        message = self._message(command)
        self._enter(self._questions, deadline, command)
        self._heeded = self._give_ups
        try:
            ledger = self._ledger
            if ledger.owed or ledger.doubt:
                self._settle(deadline)
            elif self._buffer or (not self._gone and self._waiting()):
                self._discard(deadline)
            self._put(message, deadline, command or "?")
            raw = take(deadline)
            ledger.answered()
            return raw
        finally:
            self._questions.release()

    def _next(self, take: Callable[[float], _T], timeout_s: float | None) -> _T:
        deadline = self._deadline(timeout_s)
        self._enter(self._questions, deadline, "read")
        self._heeded = self._give_ups
        try:
            if self._gone:
                raise self._lost()
            raw = take(deadline)
            self._ledger.answered()
            return raw
        finally:
            self._questions.release()

    def _text(self, raw: bytes, command: str) -> str:
        line = raw.removesuffix(self._last)
        if self._last == b"\n":
            line = line.removesuffix(b"\r")
        try:
            return decode_answer(line)
        except ValueError as exc:
            raise AnswerError(
                f"{self.resource} answered {shown(command)}: {exc}",
                resource=self.resource,
                command=command,
                raw=raw,
            ) from exc

    # -- reading ----------------------------------------------------------------------------------

    def _fill(self, deadline: float) -> None:
        """Add some bytes to the buffer, or raise at the deadline."""
        self._add(self._await(deadline))

    def _await(self, deadline: float) -> bytes:
        """Some bytes; empty at END, at the deadline, or when told to give up."""
        while True:
            chunk = self._receive(min(deadline, self._clock() + _LOOK_S))
            if chunk or self._ended or self._give_ups != self._heeded or self._clock() >= deadline:
                return chunk

    def _add(self, chunk: bytes) -> None:
        if not chunk and not self._ended:
            self._ledger.timed_out()
            came = f" ({len(self._buffer)} bytes of it came)" if self._buffer else ""
            raise self._timed_out(f"did not answer {shown(self._asking)} before the deadline{came}")
        if self._skip_end:
            chunk = self._without_end(chunk)
        self._buffer += chunk

    def _without_end(self, chunk: bytes) -> bytes:
        """Drop the terminator that belongs to the block read before."""
        if self._terminator == b"\r\n" or self._last == b"\n":
            chunk = chunk.removeprefix(b"\r")
        rest = chunk.removeprefix(self._last)
        self._skip_end = not chunk
        return rest

    def _take_line(self, deadline: float) -> bytes:
        """One answer up to its terminator (or END), with it."""
        buffer = self._buffer
        if not buffer and not self._ended and not self._skip_end:
            chunk = self._await(deadline)
            if chunk and chunk.find(self._last) == len(chunk) - 1:  # as nearly always
                self._ended = False
                self._record("r", chunk)
                return chunk
            self._add(chunk)
        start = 0
        while (at := buffer.find(self._last, start)) < 0:
            if self._ended:
                at = len(buffer) - 1
                break
            start = len(buffer)
            if start > MAX_ANSWER:
                self._too_long(start)
            self._fill(deadline)
        return self._cut(at + 1)

    def _cut(self, stop: int) -> bytes:
        buffer = self._buffer
        raw = bytes(buffer) if stop == len(buffer) else bytes(buffer[:stop])
        del buffer[:stop]
        self._begun = False
        if not buffer:
            self._ended = False
        self._record("r", raw)
        return raw

    def _too_long(self, length: int) -> NoReturn:
        self._ledger.lost_track("an answer went past the limit")
        raise self._unreadable(f"more than {MAX_ANSWER} bytes (at least {length})", self._buffer)

    def _take_block(self, deadline: float) -> bytes:
        """The payload of one block; its terminator is taken with it when it is there."""
        begun = self._begun
        try:
            start, length = self._header(deadline)
            if length > MAX_ANSWER:
                self._too_long(length)
            if length == INDEFINITE:
                payload = self._indefinite(start, deadline)
                self._ledger.found_again(_IN_PART if begun else "")
                return payload
            while len(self._buffer) < start + length:
                if self._ended:
                    self._cut(len(self._buffer))
                    self._ledger.answered()
                    raise self._unreadable(f"a block cut short of its {length} bytes", b"")
                self._fill(deadline)
        except LinkTimeoutError:
            if self._buffer:
                # Its rest may hold line ends, so counting lines would not bring us back in step;
                # only who reads on as a block does.
                self._begun = begun or not self._ledger.doubt
                self._ledger.lost_track(_IN_PART)
            raise
        payload = bytes(self._buffer[start : start + length])
        self._ledger.found_again(_IN_PART if begun else "")
        self._after_block(start + length)
        return payload

    def _header(self, deadline: float) -> tuple[int, int]:
        while True:
            try:
                span = block_span(self._buffer)
            except ValueError as exc:
                raise self._no_block(str(exc), deadline) from exc
            if span is not None:
                return span
            if self._ended:
                raw = self._cut(len(self._buffer))
                self._ledger.answered()
                raise self._unreadable("the answer ends within a block header", raw)
            self._fill(deadline)

    def _no_block(self, reason: str, deadline: float) -> AnswerError:
        """The error for something else than a block; a line of text is read whole."""
        if self._buffer[:1] == b"#":
            self._ledger.lost_track("a block with an unreadable header came")
            return self._unreadable(reason, self._buffer)
        raw = self._take_line(deadline)
        self._ledger.answered()
        return self._unreadable(reason, raw)

    def _indefinite(self, start: int, deadline: float) -> bytes:
        self._fill_indefinite(start, deadline)
        return self._cut(len(self._buffer))[start:].removesuffix(self._last)

    def _fill_indefinite(self, start: int, deadline: float) -> None:
        """Fill the buffer with a block of indefinite length, its terminator included."""
        buffer = self._buffer
        while not self._ended:
            if len(buffer) > MAX_ANSWER:
                self._too_long(len(buffer))
            complete = buffer.endswith(self._last) and len(buffer) > start
            quiet = self._clock() + QUIET_S
            chunk = self._await(min(deadline, quiet) if complete else deadline)
            buffer += chunk
            if chunk or self._ended:
                continue
            if complete and self._clock() >= quiet:  # a shorter silence is none
                break
            self._ledger.timed_out()
            raise self._timed_out(f"did not end its block for {shown(self._asking)} in time")

    def _after_block(self, stop: int) -> None:
        """Take the block and its terminator out of the buffer; nothing else may follow."""
        rest = self._buffer[stop:]
        tail = len(rest) - len(rest.removeprefix(b"\r").removeprefix(self._last))
        self._skip_end = not tail and not self._ended
        if len(rest) == tail:
            self._cut(len(self._buffer))
        elif tail:
            self._cut(stop + tail)  # what follows is an answer that was asked for before
        else:
            self._ledger.lost_track("an answer went on after its block")
            self._skip_end = False
            raise self._unreadable(f"{len(rest)} bytes after the block", rest)

    def _take_raw(self, deadline: float, at_most: int, stop: bytes | None) -> tuple[bytes, bool]:
        """The next answer as it came, and whether it ended; see :meth:`Link.read_raw`."""
        last = stop or self._last
        block = 0 if self.has_end or self._midway else self._raw_block(deadline, last)
        searched = block
        while (at := self._end_of_raw(last, searched)) < 0:
            size = len(self._buffer)
            if not block and size >= at_most:
                self._midway = True
                return self._cut(at_most), False
            if size > MAX_ANSWER:
                self._too_long(size)
            bare = size == block > 0  # its terminator, if there is one, comes with it
            chunk = self._await(min(deadline, self._clock() + TAIL_S) if bare else deadline)
            if bare and not chunk and not self._ended:
                self._skip_end = True
                return self._cut(size), True
            searched = max(block, size)
            self._add(chunk)
        whole = block > 0 or at < at_most
        self._midway = not whole
        return self._cut(at + 1 if whole else at_most), whole

    def _end_of_raw(self, last: bytes, start: int) -> int:
        """Index of the last byte of the answer in the buffer, -2 when it has not ended."""
        if self.has_end:
            return len(self._buffer) - 1 if self._ended else -2
        at = self._buffer.find(last, start)
        return at if at >= 0 else len(self._buffer) - 1 if self._ended else -2

    def _raw_block(self, deadline: float, last: bytes) -> int:
        """Bytes of the block that the next answer begins with, terminator left out; 0 for none."""
        buffer = self._buffer
        while True:
            try:
                span = block_span(buffer)
            except ValueError:
                return 0
            if span is not None:
                break
            if self._ended:
                return 0
            self._fill(deadline)
        start, length = span
        if length > MAX_ANSWER:
            self._too_long(length)
        try:
            if length == INDEFINITE:
                self._fill_indefinite(start, deadline)
                return len(buffer) - len(last) * buffer.endswith(last)
            while len(buffer) < start + length and not self._ended:
                self._fill(deadline)
        except LinkTimeoutError:
            self._ledger.lost_track(_IN_PART)
            raise
        return min(start + length, len(buffer))

    # -- settling ---------------------------------------------------------------------------------

    def _discard(self, deadline: float) -> None:
        """Throw away what came without a question, but for a terminator that was on its way."""
        total = 0
        while self._buffer or self._waiting():
            if not self._buffer:
                self._fill(deadline)
            total += len(self._buffer)
            self._throw_away()
            if total > MAX_ANSWER or self._clock() >= deadline:
                self._ledger.lost_track("bytes keep coming without a question")
                self._settle(deadline)
                return

    def _throw_away(self) -> None:
        if self._buffer:
            self.discarded_bytes += len(self._buffer)
            self._cut(len(self._buffer))
        self._ended = False

    def _settle(self, deadline: float) -> None:
        """Bring questions and answers in step again; the question lock is held."""
        if self._gone:
            raise self._lost()
        if self._can_mark():
            in_step = self._marked(deadline)
        else:
            in_step = not self._ledger.doubt and self._drained(deadline)
        if not in_step:
            self._reopen(deadline)

    def _can_mark(self) -> bool:
        """Whether an answer that is known beforehand can tell where the stream stands.

        Not where a device clear does better, not after a part of a command, and not when the answer
        that is owed could be taken for the mark.
        """
        return (
            self.identity is not None
            and self.interface in _WITHOUT_END
            and not self._ledger.torn
            and self._ledger.owed <= 1
            and "IDN" not in self._asking.upper()
        )

    def _marked(self, deadline: float) -> bool:
        """Ask ``*IDN?`` and throw away all that comes before the known answer.

        An instrument answers in order, so what it still owed comes before; what it dropped, because
        it was aborted, never comes. A half answer without its end stands before it on one line.
        """
        now = self._clock()
        until = now + min(DRAIN_S, (deadline - now) / 2)
        mark = (self.identity or "").encode()
        try:
            self._put(self._message("*IDN?"), until, "")
        except LinkTimeoutError:
            return False
        buffer = self._buffer
        while not buffer.rstrip(b"\r\n").endswith(mark) or buffer[-1:] != self._last:
            chunk = self._await(until)
            buffer += chunk
            if not chunk or len(buffer) > MAX_ANSWER:
                self._ledger.lost_track("it did not say who it is in time")
                return False
        self.discarded_bytes += len(buffer) - len(mark) - 1
        self._cut(len(buffer))
        self._ledger.reset()
        self._skip_end = False
        if self._waiting():
            self._discard(deadline)
        return True

    def _drained(self, deadline: float) -> bool:
        """Read the answer that is owed and throw it away; False if that cannot be done for sure.

        Of several answers on their way one may be said twice or not at all, and counting lines
        would be out of step without a sign of it.
        """
        ledger = self._ledger
        if ledger.owed > 1:
            return False
        now = self._clock()
        until = now + min(DRAIN_S, (deadline - now) / 2)
        if ledger.owed:
            try:
                while not self._buffer and not self._ended:
                    self._fill(until)
                if self._buffer[:1] == b"#":
                    return False  # a block: line ends inside it are no ends of answers
                line = self._take_line(until)
            except (LinkTimeoutError, AnswerError):
                return False
            self.discarded_bytes += len(line)
            ledger.answered()
        if self._buffer or self._waiting():
            self._discard(deadline)
        return True

    def _reopen(self, deadline: float) -> None:
        """Make the channel new and see that the same instrument is at its end."""
        self._enter(self._writes, deadline, "reopen")
        try:
            pause = _REOPEN_PAUSE_S
            while not self._made_new(deadline, pause):
                time.sleep(pause)
                pause *= 2
        finally:
            self._writes.release()

    def _made_new(self, deadline: float, pause: float) -> bool:
        """Reopen once; False if the new channel broke at once and there is time to try again.

        An instrument that serves one connection takes the new one and resets it while it has not
        noticed that the old one ended.
        """
        try:
            self._reconnect(deadline)
        except LinkOpenError as exc:
            # The old channel is gone and the new one is not there: the next operation,
            # whatever it is, starts here again.
            self._ledger.cut_off("the channel is closed for reopening")
            raise LinkLostError(
                f"{self.resource} could not be reopened in time: {exc}",
                resource=self.resource,
                command=self._asking,
            ) from exc
        self._reopened += 1
        self._buffer.clear()
        self._ended = self._skip_end = self._begun = False
        self._ledger.reset()
        if self.identity is None:
            return True
        try:
            now = self._asked_identity(deadline)
        except LinkLostError:
            # Only the new channel is lost, so the next operation may start here again.
            self._gone = ""
            if self._closing:
                self._gone = "is closed"
                raise
            self._ledger.cut_off("the new channel broke at once")
            if self._clock() + pause >= deadline:
                raise
            return False
        if not self.identity_check(self.identity, now):
            self._lose(f"was reopened and {now!r} answers where {self.identity!r} was")
        if self._buffer or self._waiting():
            self._discard(deadline)  # said twice
        return True

    def _asked_identity(self, deadline: float) -> str:
        self._put_now(self._message("*IDN?"), deadline, "*IDN?")
        try:
            now = self._text(self._take_line(deadline), "*IDN?")
        except LinkTimeoutError:
            self._ledger.cut_off("who answers after a reopen is not known")
            raise
        self._ledger.answered()
        return now
