"""A link that plays a recording back: the instrument of a replay.

Promises: as long as the driver says what was recorded, it hears what was recorded, in that order,
and the first byte that is not so is kept with its place. From there on an answer is found by its
question, best effort and counted as such; a question that was never recorded stays unanswered.
Nothing waits: where an answer never came, its deadline comes at once.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from drivebay._core.errors import ResourceError
from drivebay._core.links.answers import asks
from drivebay._core.links.direct import DirectLink
from drivebay._core.links.resource import parse_resource
from drivebay._core.replay.judging import Judge
from drivebay._core.replay.recording import CONNECT, MEASURE, Message, pairs

_LOOK_S: Final = 1e-4
"""By how much a look at the clock moves it, so that a loop that only looks comes to an end."""
_EPOCH_S: Final = 10_000.0
_MOST_EXTRA: Final = 2_000
"""Messages beyond three times those of the recording, after which a driver is not listened to."""


@dataclass(frozen=True)
class Difference:
    """The first place where the traffic is not what was recorded.

    Attributes:
        phase: ``connect`` or ``measure``.
        number: of the message in its phase, from 1.
        direction: what was recorded there, ``w`` or ``r``; empty past the end of the recording.
        offset: first byte that differs, from 0.
        expected: what was recorded; empty past its end.
        got: what the driver sent; empty where it sent nothing (more).
        kind: ``bytes``, ``more`` (sent past the end), ``less`` (nothing more was sent) or ``order``
            (an answer and a question have changed places).
        where: the driver's lines that were running, innermost first.
        instrument: whose, where there are several.
    """

    phase: str
    number: int
    direction: str
    offset: int
    expected: bytes
    got: bytes
    kind: str
    where: tuple[str, ...] = ()
    instrument: str = ""

    def __str__(self) -> str:
        whose = f", {self.instrument}" if self.instrument else ""
        at = f"message {self.number} ({self.phase}{whose})"
        if self.kind == "more":
            return f"{at}: sent {_shown(self.got)} after the end of the recording"
        if self.kind == "less":
            what = "was to be sent" if self.direction == "w" else "was to be read"
            return f"{at}: {_shown(self.expected)} {what}, and the driver went no further"
        if self.kind == "order":
            if self.direction == "r":
                return (
                    f"{at}: sent {_shown(self.got)} before the recorded answer"
                    f" {_shown(self.expected)} was read"
                )
            return f"{at}: waits for an answer before {_shown(self.expected)} is sent"
        return (
            f"{at} differs at byte {self.offset}: sent {_shown(self.got, self.offset)},"
            f" recorded {_shown(self.expected, self.offset)}"
        )


def first_difference(one: bytes, other: bytes) -> int:
    """Return the first place where two byte strings differ; the shorter's length if none does.

    >>> first_difference(b":VOLT 1", b":VOLT 2"), first_difference(b"ab", b"abc")
    (6, 2)
    """
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


class ReplayClock:
    """The time of a recording: it goes on with its messages and with the driver's own waits.

    Args:
        began_s: when the run began, seconds since 1970.
        rate: how much faster than recorded it runs; another rate shows what depends on the clock.
    """

    def __init__(self, began_s: float = 0.0, rate: float = 1.0) -> None:
        self.now_s = _EPOCH_S
        self._began_s = began_s
        self._rate = rate

    def reach(self, time_ns: int) -> None:
        """Be at least at a message's time."""
        self.until(_EPOCH_S + self._rate * time_ns / 1e9)

    def until(self, at_s: float) -> None:
        """Be at least at a time on this clock."""
        self.now_s = max(self.now_s, at_s)

    def elapse(self, seconds: float) -> None:
        """Let time pass."""
        if 0 < seconds < float("inf"):
            self.now_s += seconds * self._rate

    def look(self) -> tuple[float, float]:
        """Return what a driver reads: its monotonic clock, and seconds since 1970."""
        self.now_s += _LOOK_S * self._rate
        return self.now_s, self._began_s + self.now_s - _EPOCH_S


class PlayedLink(DirectLink):
    """The link of a replay.

    Args:
        resource: address it was recorded from; a driver chooses by it how numbers are read.
        idn: the instrument's answer to ``*IDN?``, for questions the recording does not hold.
        clock: the time of the recording.
        differs: told the first difference at the moment it is found, while the driver stands there;
            returns the driver's lines.
        judge: holds the limits of the run against what was not recorded.

    Attributes:
        sent: what has passed, in order.
        difference: the first place where that is not the recording.
        guesses: answers found by their question after the first difference.
        unanswered: questions the recording holds no answer to.
        stopped: the recording was stopped from outside, and the driver has come that far.
    """

    def __init__(
        self,
        resource: str,
        idn: str,
        clock: ReplayClock,
        differs: Callable[[], tuple[str, ...]] = tuple,
        judge: Judge | None = None,
    ) -> None:
        super().__init__(
            resource, _interface(resource), timeout_s=5.0, clock=lambda: self._time.now_s
        )
        self.supports_binary = self.interface != "serial"
        self.identity = idn or None
        self.sent: list[Message] = []
        self.difference: Difference | None = None
        self.guesses = 0
        self.unanswered: list[bytes] = []
        self.stopped = False
        self._time = clock
        self._differs = differs
        self._judge = judge or Judge()
        self._idn = idn
        self._phase = CONNECT
        self._strict = False
        self._began_ns = 0
        self._stop_ns: int | None = None
        self._script: Sequence[Message] = ()
        self._said: set[bytes] = set()
        self._at = 0
        self._due: deque[int] = deque()
        self._guessed: deque[bytes] = deque()
        self._room = _MOST_EXTRA
        self.sink = self._hear

    def play(
        self,
        phase: str,
        messages: Sequence[Message],
        *,
        strict: bool,
        stop_ns: int | None = None,
    ) -> None:
        """Begin with a part of the recording.

        Args:
            phase: which.
            messages: what was recorded of it.
            strict: every message must be the recorded one; else answers are found by questions.
            stop_ns: what was recorded after this time is the platform's stopping, not the driver's.
        """
        self._phase, self._script, self._strict, self._stop_ns = phase, messages, strict, stop_ns
        self._at = 0
        self._due.clear()
        self._guessed.clear()
        self._room = 3 * len(messages) + _MOST_EXTRA
        self._pairs = pairs(messages)
        self._said = {each.data for each in messages if each.direction == "w"}
        self._known: dict[bytes, list[int]] = defaultdict(list)
        for at, message in enumerate(messages):
            if message.direction == "w" and at in self._pairs:
                self._known[message.data].append(at)
        if messages:
            self._time.reach(messages[0].time_ns)

    @property
    def left(self) -> Sequence[Message]:
        """What was recorded of this part and not played."""
        return self._script[self._at :]

    def end(self) -> None:
        """Say that the driver is done with this part: what is left is a difference."""
        if self._strict and self.left:
            self._differ("less", b"")

    def _hear(self, _: int, direction: str, data: bytes) -> None:
        self.sent.append(
            Message(
                round(self._time.now_s * 1e9), self._phase, "w" if direction == "w" else "r", data
            )
        )

    # -- what the driver sends ---------------------------------------------------------------------

    def _send(self, message: bytes, deadline: float) -> int:
        self._room -= 1
        if self._room < 0:
            self._lose("is not played any further: the driver says far more than was recorded")
        if self._strict:
            self._send_strictly(message)
        elif self._phase == CONNECT and message in self._said:
            self._judge.believe(message)
            self._answer_by_question(message)
        else:
            self._judge.admit(message, self._differs)
            self._answer_by_question(message)
        return len(message)

    def _send_strictly(self, message: bytes) -> None:
        here = self._here()
        self._check_stop(here)
        while here is not None and here.direction == "w" and here.data != message:
            mark = self._judge.asked_before(message, here.data)
            if mark is None:
                break
            self._judge.prove(mark, self._skip_question(), self._differs)
            here = self._here()
        if here is not None and here.direction == "w" and here.data == message:
            self._time.reach(here.time_ns)
            self._due += self._pairs.get(self._at, ())
            self._at += 1
            self._judge.believe(message)
            return
        self._judge.admit(message, self._differs)
        kind = "more" if here is None else "order" if here.direction == "r" else "bytes"
        self._differ(kind, message)
        self._answer_by_question(message)

    def _here(self) -> Message | None:
        """What stands in the recording where the replay has come to; None past its end."""
        return self._script[self._at] if self._at < len(self._script) else None

    def _skip_question(self) -> bytes:
        """Pass over a question of the keeper's own; returns its answer, empty where none came."""
        asked = self._script[self._at]
        answers = self._pairs.get(self._at, ())
        self._at += 1
        self.sent.append(asked)
        here = self._here()
        if here is None or here.direction != "r" or self._at not in answers:
            return b""
        self._at += 1
        self._time.reach(here.time_ns)
        self.sent.append(here)
        return here.data

    def _check_stop(self, here: Message | None) -> None:
        """End where the recorded driver was stopped from outside: that is no difference."""
        if self._stop_ns is not None and (here is None or here.time_ns >= self._stop_ns):
            self.stopped = True
            self._lose("is not played any further: here the recorded measurement was stopped")

    def _differ(self, kind: str, got: bytes) -> None:
        self._strict = False
        here = self._script[self._at] if self._at < len(self._script) else None
        expected = here.data if here is not None else b""
        if self.difference is None:
            self.difference = Difference(
                self._phase,
                self._at + 1,
                here.direction if here is not None else "",
                first_difference(expected, got) if kind == "bytes" else 0,
                expected,
                got,
                kind,
                self._differs() if kind != "less" else (),
            )
        # Answers that were under way stay due.
        self._guessed.extend(self._script[at].data for at in self._due)
        self._due.clear()

    # -- what it hears -----------------------------------------------------------------------------

    def _receive(self, deadline: float) -> bytes:
        if self._strict:
            return self._next_strictly(deadline)
        if not self._guessed:
            self._time.until(deadline)
            return b""
        self._ended = True
        return self._guessed.popleft()

    def _next_strictly(self, deadline: float) -> bytes:
        here = self._script[self._at] if self._at < len(self._script) else None
        self._check_stop(here if here is not None else None)
        if here is not None and here.direction == "r":
            self._time.reach(here.time_ns)
            if self._due and self._due[0] == self._at:
                self._due.popleft()
            self._at += 1
            self._ended = True
            return here.data
        if self._due:
            # Its answer was recorded, but only after more had been sent.
            self._differ("order", b"")
            return self._receive(deadline)
        self._time.until(deadline)
        return b""

    def _answer_by_question(self, message: bytes) -> None:
        """After the first difference: go on from the recorded message that is this one."""
        if not asks(message):
            ahead = self._ahead(message)
            if ahead is not None:
                self._at = ahead + 1
                self._time.reach(self._script[ahead].time_ns)
            return
        found = self._question(message)
        if found is not None:
            self._at = max(self._at, found + 1)
            self._time.reach(self._script[found].time_ns)
            self._guessed.extend(self._script[at].data for at in self._pairs[found])
            if self._phase == MEASURE:
                self.guesses += 1
        elif self._idn and message.strip().upper() == b"*IDN?":
            self._guessed.append(self._idn.encode() + b"\n")
        else:
            self.unanswered.append(message)

    def _question(self, message: bytes) -> int | None:
        """The recorded question to answer like: the next one, else the last that was so asked."""
        known = self._known.get(message, [])
        return next((at for at in known if at >= self._at), known[-1] if known else None)

    def _ahead(self, message: bytes) -> int | None:
        """The place of a command among the next few recorded messages."""
        near = range(self._at, min(len(self._script), self._at + 50))
        return next(
            (
                at
                for at in near
                if self._script[at].direction == "w" and self._script[at].data == message
            ),
            None,
        )

    # -- the rest of a channel ---------------------------------------------------------------------

    def _waiting(self) -> bool:
        return False

    def _reconnect(self, deadline: float) -> None:
        """Nothing to do: what the recorded link said after its reopen is in the recording."""

    def _shut(self) -> None:
        """Nothing is open."""


def _interface(resource: str) -> str:
    try:
        return parse_resource(resource).interface
    except ResourceError:
        return "replay"


def _shown(data: bytes, at: int = 0) -> str:
    """Bytes for a message: some before a place and some after it."""
    start = max(0, at - 20)
    cut = data[start : start + 60]
    return f"{'...' if start else ''}{cut!r}{'...' if start + 60 < len(data) else ''}"
