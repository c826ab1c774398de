"""One instrument in the keeper: its lease, its channel, what may be sent, and whether it is safe.

Promises:
- Nothing goes to the instrument past the lease, the limits and the latch: a message is checked
  whole before its first byte is sent.
- What makes it safe is on disk before a command that may energise it is sent, and stays there
  until the instrument itself said, after the last such command, that it is off.
- :meth:`Held.make_safe` needs nobody: no driver, no owner, and no answer before its writes. While
  it runs nothing energises.

States (reliability model): ``unknown`` (nobody has asked), ``armed`` (an output may come on),
``energised``, ``safing``, ``safe`` (confirmed), ``unsafe`` (could not be confirmed; latched until
a person acknowledges it). Runs no plugin code.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from drivebay._core.errors import (
    AbortedError,
    AnswerError,
    DrivebayError,
    LeaseError,
    LimitError,
    LinkTimeoutError,
    UnsafeError,
)
from drivebay._core.keeper.records import Lease, remove_record, write_record
from drivebay._core.keeper.safing import (
    SafeStateReport,
    ramp,
    says,
    stop_and_write,
    verify,
)
from drivebay._core.keeper.setup import Setup
from drivebay._core.links import DirectLink, open_direct

if TYPE_CHECKING:
    from drivebay._core.keeper.setup import Grant
    from drivebay._core.limits import Asked, Effect, Guard, Mark

State = Literal["unknown", "armed", "energised", "safing", "safe", "unsafe"]

SAFE_ATTEMPTS: Final = 3

_RECORD_STAYS_S: Final = 2.0
"""How long the record of an output that was switched off stays, in case it goes on again."""

_STAYS_OPEN: Final = frozenset(("gpib", "serial"))
"""Interfaces whose channel does not end when the instrument is switched off and on."""

_KEPT_MESSAGES: Final = 20_000
_KEPT_BYTES: Final = 32 << 20  # of all messages together
_LONGEST: Final = 17 << 20  # of one: a link takes no longer answer; the rest is cut off
_SHOWN_BYTES: Final = 4096  # of one message, to those who only look
_MOST_AT_ONCE: Final = (
    8 << 20
)  # bytes of a transcript in one answer, if it is more than one message

_log = logging.getLogger("drivebay.keeper")


class Held:
    """An instrument this keeper has the lease of.

    Args:
        resource: canonical address.
        opening: keyword arguments of ``open_direct``.
        lease: already taken.
        folder: where the records lie.
        holder: facts of the owner, for the records.
        tell: called with a dictionary for every event the owner should hear of.
    """

    def __init__(
        self,
        resource: str,
        opening: Mapping[str, Any],
        lease: Lease,
        folder: Path,
        holder: Mapping[str, Any],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self.resource = resource
        self.opening = dict(opening)
        self.lease = lease
        self.setup = Setup()
        self.state: State = "unknown"
        self.halted_by = ""
        self.stopped_by = ""
        """Who switched everything off: more than a halt, as no new measurement ends it."""
        self.expires_at: float | None = None  # on the boot-time clock
        self.grants: dict[str, Grant] = {}
        self.sent = 0
        """Messages in the transcript so far, counting those it no longer holds."""
        self.reopened = 0
        self._folder = folder
        self._holder = dict(holder)
        self._tell = tell
        self._link: DirectLink | None = None
        self._opening = threading.Lock()
        self._closed = False
        self._hearing = threading.Lock()
        self._transcript: deque[tuple[int, str, bytes]] = deque()
        self._transcript_bytes = 0
        # Held from the check of a command until it is sent and noted, so that no two cross. Making
        # safe does not wait for it before its writes, only before it asks.
        self._gate = threading.Lock()
        self._armed = False
        self._about_to_arm = False
        self._revoked = ""
        self._recorded = False  # on disk; outlives being armed for a while
        self._tidying: threading.Timer | None = None
        self._energised = 0  # commands that may have energised, so far
        self._under_way = 0  # questions among them that are not answered yet
        self._believed: tuple[DirectLink, int] | None = None  # channel, and how often made new
        self._safing = threading.RLock()
        self._safers = 0  # how many make it safe now
        self._inherited = False  # from a dead keeper, which may have sent half a command

    # -- the channel -----------------------------------------------------------------------------

    def link(self) -> DirectLink:
        """Return the channel, opened if it was parked.

        Raises:
            LinkOpenError: nothing answers there.
        """
        link = self._link
        if link is None:
            with self._opening:
                link = self._link
                if link is None:
                    link = self._link = self._open(self.opening)
        return link

    def _open(self, options: Mapping[str, Any]) -> DirectLink:
        if self._closed:
            raise LeaseError(f"{self.resource} was given back", resource=self.resource)
        link = open_direct(self.resource, **options)
        link.sink = self._hear
        return link

    def _hear(self, at_ns: int, way: str, data: bytes) -> None:
        kept = data if len(data) <= _LONGEST else data[:_LONGEST]
        with self._hearing:
            self.sent += 1
            self._transcript.append((at_ns, way, kept))
            self._transcript_bytes += len(kept)
            while len(self._transcript) > _KEPT_MESSAGES or self._transcript_bytes > _KEPT_BYTES:
                _, _, oldest = self._transcript.popleft()
                self._transcript_bytes -= len(oldest)

    def transcript(self, since: int = 0) -> tuple[int, list[tuple[int, str, bytes]]]:
        """Return messages from number ``since`` on, and the number of the first of them.

        Those that are no longer here are left out, and of a long one its end; what is too much for
        one answer is left for the next call.
        """
        first, messages, _ = self.traffic(since, _SHOWN_BYTES)
        return first, messages

    def traffic(
        self, since: int, longest: int = _LONGEST
    ) -> tuple[int, list[tuple[int, str, bytes]], int]:
        """Return whole messages as :meth:`transcript` does, and the number of the next to come."""
        with self._hearing:
            end = self.sent
            count = min(max(end - since, 0), len(self._transcript))
            # From the newer end: all but the first call ask for the last few of many.
            found = list(islice(reversed(self._transcript), count))[::-1]
        room = _MOST_AT_ONCE
        messages: list[tuple[int, str, bytes]] = []
        for at_ns, way, data in found:
            shown = data[:longest]
            room -= len(shown)
            if room < 0 and messages:
                break
            messages.append((at_ns, way, shown))
        return end - count, messages, end

    def park(self) -> None:
        """Close the channel and keep the lease; the next operation opens it again."""
        with self._opening:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    # -- what a client asks for ------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return what a client's link must know of the channel."""
        link = self.link()
        return {
            "resource": self.resource,
            "interface": link.interface,
            "supports_binary": link.supports_binary,
            "timeout_s": link.timeout_s,
            "identity": link.identity,
            "reopened": link.reopened + self.reopened,
            "closed": link.closed,
        }

    def write(
        self, command: str | bytes, timeout_s: float | None = None, end: bytes | None = None
    ) -> None:
        """Check and send a command.

        Raises:
            LimitError: it would go past a limit; nothing was sent.
            AbortedError: it may energise, and somebody stopped the instrument.
            UnsafeError: it may energise, and the latch is set.
            LinkError: as ``Link.write``.
            ValueError: it is not whole, or does not end where it was checked to.
        """
        if end is not None and not _is_an_end(end, self.link()):
            raise ValueError(
                f"{self.resource}: {end!r} ends no command: what comes after it is not checked"
            )
        asks = b"?" in command if isinstance(command, bytes) else "?" in command
        if asks:  # it may wait for its turn, and a command must not wait for it
            link = self.link()
            self._ask(link, partial(link.write, end=end), command, timeout_s)
            self._answers_go_past()
            return
        with self._gate:
            link = self.link()
            effect, _ = self._admit(command, link)
            try:
                link.write(command, timeout_s=timeout_s, end=end)
            except BaseException:
                self._note(effect, whole=False)
                raise
            self._note(effect)
        self._prove_after(effect, link)

    def write_each(self, commands: Sequence[str], timeout_s: float | None = None) -> None:
        """Check and send commands one after the other. Raises: as :meth:`write`."""
        for command in commands:
            self.write(command, timeout_s)

    def query(self, command: str, timeout_s: float | None = None) -> str:
        """Check and ask. Raises: as ``Link.query`` and :meth:`write`."""
        link = self.link()
        before = self._energised if not self._under_way else -1
        asked = self._waiting_for_proof()
        answer: str = self._ask(link, link.query, command, timeout_s)
        self._take_proof(command, answer, asked)
        if self._armed:
            self._learn(command, answer, before)
        return answer

    def try_ask(self, command: str, wait_s: float, after: Sequence[str] = ()) -> str | None:
        """Check and ask, and wait a little. Raises: as ``Link.try_ask`` and :meth:`write`."""
        self.write_each(after)
        link, asked = self.link(), self._waiting_for_proof()
        self._ask(link, link.write, command, None)
        try:
            answer = link.read(timeout_s=wait_s)
        except LinkTimeoutError:
            self._answers_go_past()
            return None
        self._take_proof(command, answer, asked)
        return answer

    def query_block(self, command: str, timeout_s: float | None = None) -> bytes:
        """Check and ask. Raises: as ``Link.query_block`` and :meth:`write`."""
        link = self.link()
        data: bytes = self._ask(link, link.query_block, command, timeout_s)
        return data

    def _ask(
        self,
        link: DirectLink,
        action: Callable[..., Any],
        command: str | bytes,
        timeout_s: float | None,
    ) -> Any:
        """Check a question, and do what sends it without holding the gate meanwhile."""
        with self._gate:
            effect, energises = self._admit(command, link)
            self._under_way += energises
        if effect is None and not energises:
            return action(command, timeout_s=timeout_s)
        whole = False
        try:
            answer = action(command, timeout_s=timeout_s)
            whole = True
        finally:
            with self._gate:
                self._under_way -= energises
                self._note(effect, whole=whole)
        self._prove_after(effect, link)
        return answer

    def read(self, timeout_s: float | None = None) -> str:
        """Read an answer that is owed. Raises: as ``Link.read``."""
        return self.link().read(timeout_s=timeout_s)

    def read_block(self, timeout_s: float | None = None) -> bytes:
        """Read an answer that is owed. Raises: as ``Link.read_block``."""
        return self.link().read_block(timeout_s=timeout_s)

    def read_raw(
        self, timeout_s: float | None, at_most: int, stop: bytes | None
    ) -> tuple[bytes, bool]:
        """Read an answer that is owed, as it came. Raises: as ``Link.read_raw``."""
        return self.link().read_raw(at_most=at_most, stop=stop, timeout_s=timeout_s)

    def interrupt(self) -> bool:
        """Send a device clear, where there is one."""
        return self.link().interrupt()

    def give_up(self) -> None:
        """End the wait of whoever reads now."""
        link = self._link
        if link is not None:
            link.give_up()

    # -- what may be sent ------------------------------------------------------------------------

    def _admit(self, command: str | bytes, link: DirectLink) -> tuple[Effect | None, bool]:
        """Check a message against latch, halt and limits, and arm; nothing was sent yet.

        The gate is held. Gives the guard's verdict, and whether the message may energise.
        """
        setup = self.setup
        guard = setup.guard
        effect = None
        if guard is not None:
            if self._believed != (link, link.reopened):
                # Another program may have had it meanwhile, or somebody at its front panel.
                self._believed = link, link.reopened
                guard.forget()
            try:
                effect = guard.check(command if isinstance(command, bytes) else command.encode())
            except LimitError as exc:  # its driver may say nothing of it
                self._tell({"event": "refused", "resource": self.resource, "text": str(exc)})
                raise
        energises = setup.may_energise(command, effect)
        if guard is not None and effect is not None and effect.unproven:
            self._check_halt()
            self._prove(guard, effect.unproven, link)
        # Raised before the stop is looked at: who stops it looks at this afterwards, so one of the
        # two sees the other, also while the record is being written.
        self._about_to_arm = bool(energises)
        try:
            if energises or (effect is not None and effect.levels):
                self._check_halt()
            if energises:
                self._arm()
        finally:
            self._about_to_arm = False
        return effect, energises

    def _prove_after(self, effect: Effect | None, link: DirectLink) -> None:
        """Ask for a protection that came in one message with what switches on.

        Raises:
            LimitError: the instrument has not taken it; it was made safe.
        """
        guard = self.setup.guard
        if guard is None or effect is None or not (effect.asks and effect.energises):
            return
        with self._gate:
            marks = [mark for mark, _ in effect.asks if mark in guard.proofs]
            if not marks or link.is_owing:  # an answer to it is on its way: asked the next time
                return
            refused = None
            try:
                self._prove(guard, marks, link)
            except LimitError as exc:
                refused = exc
        if refused is not None:
            self.make_safe(forced=True)
            raise refused

    def _prove(self, guard: Guard, marks: Sequence[Mark], link: DirectLink) -> None:
        """Ask whether the instrument has the protections that it is switched on with.

        Raises:
            LimitError: it has not, or cannot be asked.
        """
        for mark in marks:
            answer = ""
            if not link.is_owing:  # an answer that is waited for must not be thrown away for ours
                with contextlib.suppress(LinkTimeoutError, AnswerError):
                    answer = link.query(
                        guard.proofs.question(mark), timeout_s=self.setup.deadline_s
                    )
            try:
                guard.prove(mark, answer)
            except LimitError as exc:
                self._tell({"event": "refused", "resource": self.resource, "text": str(exc)})
                raise

    def _waiting_for_proof(self) -> Asked:
        guard = self.setup.guard
        return guard.proofs.pending if guard is not None else {}

    def _take_proof(self, command: str, answer: str, asked: Asked) -> None:
        """A driver's own question may have confirmed its protections."""
        guard = self.setup.guard
        if guard is not None and guard.proofs.pending:
            with self._gate:
                guard.heard(command, answer, asked)

    def _answers_go_past(self) -> None:
        """The answer to a question will be read, but which answer it is will not be known."""
        guard = self.setup.guard
        if guard is not None and guard.proofs.pending:
            with self._gate:
                guard.proofs.error_list_is_lost()

    def _check_halt(self) -> None:
        if self._revoked:  # let in before that, and not to be sent after it
            raise LeaseError(f"{self.resource}: {self._revoked}", resource=self.resource)
        if self.state == "unsafe":
            raise UnsafeError(
                f"{self.resource} could not be made safe; look at it, then acknowledge",
                resource=self.resource,
            )
        if self.stopped_by:
            raise AbortedError(
                f"{self.resource}: {self.stopped_by}; acknowledge that, or open it again",
                by=self.stopped_by,
            )
        if self.halted_by:
            raise AbortedError(f"{self.resource} was stopped: {self.halted_by}", by=self.halted_by)
        if self._safers:
            raise AbortedError(f"{self.resource} is being made safe", by="its safe state")

    def _arm(self) -> None:
        self._energised += 1
        if not self._armed and self.setup.safe_state:
            if self._recorded:
                self._armed = True
            else:
                self._write_armed()
        if self.state in {"unknown", "safe"}:
            self.state = "armed"

    def _write_armed(self) -> None:
        facts = {
            "safe_state": dict(self.setup.safe_state),
            "opening": self.opening,
            "plugin": self.setup.plugin,
            "holder": self._holder,
            "policy": self.setup.policy,
        }
        try:
            write_record(self._folder, "armed", self.resource, facts)
        except OSError as exc:
            raise UnsafeError(
                f"{self.resource}: nothing is switched on, because that it may be on cannot be"
                f" written to {self._folder}: {exc.strerror}",
                resource=self.resource,
            ) from exc
        self._armed = self._recorded = True

    def _note(self, effect: Effect | None, *, whole: bool = True) -> None:
        """A message was sent, or a part of it; the gate is held."""
        guard = self.setup.guard
        if effect is None or guard is None:
            return
        if whole:
            guard.committed(effect)
        else:
            guard.maybe_sent(effect)
        if effect.energises and self.state == "armed":
            self.state = "energised"

    def _learn(self, command: str, answer: str, before: int) -> None:
        """A driver that asks the verify question itself tells us that the output is off.

        Args:
            command: what was asked.
            answer: what came.
            before: count of energising commands when it was asked, -1 if one was under way.
        """
        question = self.setup.safe_state.get("verify")
        if not question or command.strip().upper() != question["query"].strip().upper():
            return
        with self._gate:
            if not says(answer, question["equals"]):
                if self.state == "armed":
                    self.state = "energised"
            elif before == self._energised and not self._safers and self.state != "unsafe":
                self._is_safe(for_now=True)

    def _is_safe(self, *, for_now: bool = False) -> None:
        """The instrument said so, and nothing has energised it since; the gate is held.

        Args:
            for_now: between two measurements: the record stays for a while, because to write it is
                the dearest part of switching on. Whoever finds it makes safe what is safe already.
        """
        self.state = "safe"
        if self.setup.guard is not None:
            self.setup.guard.found_off()
            if self._link is not None and self._link.interface in _STAYS_OPEN:
                self.setup.guard.doubt()
        self._armed = False
        if not for_now:
            self._forget_record()
        elif self._recorded and self._tidying is None:
            self._tidying = threading.Timer(_RECORD_STAYS_S, self._tidy)
            self._tidying.daemon = True
            self._tidying.start()

    def _forget_record(self) -> None:
        """Nothing is on: no one has to make it safe; the gate is held."""
        if self._recorded:
            try:
                remove_record(self._folder, "armed", self.resource)
            except OSError as exc:  # it is made safe once more than needed, at the next open
                _log.warning("%s: its record of being armed stays: %s", self.resource, exc)
            self._recorded = False

    def _tidy(self) -> None:
        """Thread of a timer: what was switched off a while ago needs no record."""
        with self._gate:
            self._tidying = None
            if not self._armed and not self._closed:
                self._forget_record()

    def configure(self, setup: Setup) -> None:
        """Say what serves it from now on.

        What is armed stays armed, and goes off as it was declared when it was armed if nothing is
        declared any more.

        Raises:
            UnsafeError: it is armed, and what makes it safe now cannot be written.
        """
        with self._gate:
            if self._armed and not setup.safe_state:
                setup = replace(setup, safe_state=self.setup.safe_state)
            self.setup = setup
            if self._armed:
                self._write_armed()
            else:
                self._forget_record()  # it says what made safe whatever served before

    @property
    def armed(self) -> bool:
        """Whether its output may be on."""
        return self._armed or self._about_to_arm

    # -- stopping --------------------------------------------------------------------------------

    def halt(self, by: str) -> list[str]:
        """Stop and switch off now, and refuse to energise until :meth:`go`; what failed.

        Verifies nothing: it returns as soon as the writes are out.
        """
        if not self.setup.safe_state:
            return []  # only its driver knows how to switch it off, and must be let
        self.halted_by = by
        try:
            return list(stop_and_write(self.link(), self.setup.safe_state).problems)
        except DrivebayError as exc:
            return [str(exc)]

    def go(self) -> None:
        """A new measurement begins: commands may energise again.

        Raises:
            UnsafeError: the latch is set.
            AbortedError: everything was switched off, and nobody has acknowledged that.
        """
        if self.state == "unsafe" or self.stopped_by:
            self._check_halt()
        self.halted_by = ""

    def begin_safe(self, *, planned: bool = False, forced: bool = False) -> SafeStateReport | None:
        """First half of making safe: everything that is written; None if there is nothing to do.

        Waits for nobody but the channel. :meth:`end_safe` must follow.

        Args:
            planned: the end was foreseen and the link is healthy: ``ramp_off`` may ramp.
            forced: a ``hold`` is no reason to leave it on.
        """
        setup = self.setup
        if not setup.safe_state or (setup.policy == "hold" and not forced):
            return None
        with self._hearing:
            self._safers += 1
        self.state = "unsafe" if self.state == "unsafe" else "safing"
        try:
            link = self._usable()
            if self._inherited and link.interface == "serial":
                # Half a command of the dead keeper's may lie there: spoilt, it is refused whole.
                link.write(b"!", timeout_s=setup.deadline_s)
                self._inherited = False
            if planned and setup.policy == "ramp_off":
                self._ramp(link)
        except DrivebayError as exc:
            return SafeStateReport(problems=(str(exc),))
        return stop_and_write(link, setup.safe_state)

    def _usable(self) -> DirectLink:
        """The channel, made new if it is lost. Raises: LinkOpenError."""
        link = self._link
        if link is not None and not link.closed:
            return link
        self.park()
        link = self._open({**self.opening, "timeout_s": self.setup.deadline_s})
        link.timeout_s = float(self.opening.get("timeout_s", 5.0))
        with self._opening:
            found, self._link = self._link, link
        if found is not None:
            found.close()
        self.reopened += 1
        return link

    def _ramp(self, link: DirectLink) -> None:
        plan, guard = self.setup.ramp, self.setup.guard
        if guard is None or not guard.energised:
            return
        until_s = time.monotonic() + float(plan.get("max_s") or 0.0)
        for way in plan.get("ways") or ():
            header = str(way["header"])
            level = guard.level(header)
            left_s = until_s - time.monotonic()
            if not level or left_s <= 0:
                continue
            try:
                ramp(
                    link, partial(guard.command, header), level, way["rate_per_s"], left_s,
                    lambda: bool(self.halted_by),
                )  # fmt: skip
            except DrivebayError as exc:
                _log.warning("%s: the ramp failed, off at once: %s", self.resource, exc)
                return

    def end_safe(self, begun: SafeStateReport | None) -> SafeStateReport:
        """Second half: verify, try again on a new channel if need be, latch if nothing helps."""
        if begun is None:
            return SafeStateReport()
        try:
            with self._safing:
                return self._ended(begun)
        finally:
            with self._hearing:
                self._safers -= 1

    def _ended(self, report: SafeStateReport) -> SafeStateReport:
        latched = self.state == "unsafe"
        for attempt in range(SAFE_ATTEMPTS):
            if attempt:
                report = self._again(report)
            elif not report.problems:
                report = self._verified(report)
            if report.confirmed:
                break
        if not report.confirmed:
            if not (self._closed and not self._armed):  # made safe by another, and given back
                self._latch(report)
            return report
        with self._gate:
            self._is_safe()
            if self.setup.guard is not None:
                self.setup.guard.forget()
            if report.verified is None:
                self.state = "unknown"
            if latched:  # the instrument is off, and still a person has to look why it was not
                self.state = "unsafe"
        return report

    def _verified(self, report: SafeStateReport) -> SafeStateReport:
        """Ask, once no command that was let through before is still on its way."""
        setup, link = self.setup, self._link
        if link is None:
            return replace(report, verified=False, problems=(*report.problems, "it is closed"))
        deadline = time.monotonic() + setup.deadline_s
        late = not self._gate.acquire(blocking=False)
        if late and not self._gate.acquire(timeout=setup.deadline_s):
            return replace(report, problems=(*report.problems, "a command is still on its way"))
        self._gate.release()
        while self._under_way and time.monotonic() < deadline:
            late = True
            link.give_up()
            time.sleep(0.01)
        if self._under_way:
            return replace(report, problems=(*report.problems, "a command is still on its way"))
        if late:  # it may have gone out after ours
            report = stop_and_write(link, setup.safe_state)
        return verify(link, setup.safe_state, report)

    def make_safe(self, *, planned: bool = False, forced: bool = False) -> SafeStateReport:
        """Send the safe state and verify it; never raises."""
        return self.end_safe(self.begin_safe(planned=planned, forced=forced))

    def _again(self, before: SafeStateReport) -> SafeStateReport:
        """One more attempt, on a channel made new."""
        self.park()
        try:
            link = self._usable()
        except DrivebayError as exc:
            return SafeStateReport(before.sent, False, (*before.problems, str(exc)))
        return self._verified(stop_and_write(link, self.setup.safe_state))

    def _latch(self, report: SafeStateReport) -> None:
        self.state = "unsafe"
        facts = {
            "problems": list(report.problems),
            "plugin": self.setup.plugin,
            "holder": self._holder,
            "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        try:
            write_record(self._folder, "unsafe", self.resource, facts)
        except OSError as exc:
            _log.critical("%s: that it is not safe could not be written: %s", self.resource, exc)
        _log.critical("%s: safe state not confirmed: %s", self.resource, "; ".join(report.problems))
        self._tell({"event": "unsafe", "resource": self.resource, "problems": report.problems})

    def adopt(self, left: Mapping[str, Any]) -> None:
        """Take over what the record of a dead keeper says: it may be on, and this makes it safe."""
        self.setup = Setup(
            plugin=str(left.get("plugin") or ""),
            safe_state=left.get("safe_state") or {},
            policy=str(left.get("policy") or "off"),
        )
        self._armed = self._recorded = self._inherited = True
        self.state = "energised"

    def acknowledge(self) -> None:
        """A person has looked at the instrument: the latch is taken off.

        What may be on still may be: it is made safe when its owner ends, as ever.

        Raises:
            OSError: what was written of it cannot be removed.
        """
        with self._gate:
            remove_record(self._folder, "unsafe", self.resource)
            if self.state == "unsafe":
                self.state = "armed" if self._armed else "unknown"
            self.stopped_by = ""

    # -- the end ---------------------------------------------------------------------------------

    def revoke(self, reason: str) -> None:
        """Refuse every client from now on, also what it has begun and may energise."""
        self._revoked = self._revoked or reason
        for grant in self.grants.values():
            grant.reason = grant.reason or reason

    def close(self, reason: str = "is closed") -> None:
        """Close the channel and give the lease back; does not make safe."""
        self.revoke(reason)
        with self._gate:
            self._closed = True
            if not self._armed:
                self._forget_record()
        self.park()
        self.lease.release()

    def status(self) -> dict[str, Any]:
        """Return what is known of it, for people."""
        return {
            "resource": self.resource,
            "plugin": self.setup.plugin,
            "state": self.state,
            "armed": self._armed,
            "policy": self.setup.policy,
            "safe_state": bool(self.setup.safe_state),
            "halted_by": self.stopped_by or self.halted_by,
        }


def _is_an_end(end: bytes, link: DirectLink) -> bool:
    """Whether what is sent after a command ends it and is no part of one.

    Half a command would be judged without its rest: ``:SOUR:VOLT 2`` and then ``00``.
    """
    if not end:
        return link.has_end
    return end == b"\r\n" or (len(end) == 1 and end < b" ")
