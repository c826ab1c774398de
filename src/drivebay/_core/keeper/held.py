"""One instrument in the keeper: its lease, its channel, what may be sent, and whether it is safe.

Promises:
- Nothing goes to the instrument past the lease, the limits and the latch: a message is checked
  whole before its first byte is sent.
- What makes it safe is on disk before a command that may energise it is sent.
- :meth:`Held.make_safe` needs nobody: no driver, no owner, and no answer before its writes.

States (reliability model): ``unknown`` (nobody has asked), ``armed`` (an output may come on),
``energised``, ``safing``, ``safe`` (confirmed), ``unsafe`` (could not be confirmed; latched until
a person acknowledges it). Runs no plugin code.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from drivebay._core.errors import (
    AbortedError,
    DrivebayError,
    LeaseError,
    UnsafeError,
)
from drivebay._core.keeper.records import Lease, remove_record, write_record
from drivebay._core.keeper.safing import (
    DEFAULT_DEADLINE_S,
    SafeStateReport,
    ramp,
    says,
    stop_and_write,
    verify,
)
from drivebay._core.links import DirectLink, open_direct

if TYPE_CHECKING:
    from drivebay._core.limits import Effect, Guard

State = Literal["unknown", "armed", "energised", "safing", "safe", "unsafe"]

SAFE_ATTEMPTS: Final = 3
_KEPT_MESSAGES: Final = 20_000
_KEPT_BYTES: Final = 4096

_log = logging.getLogger("drivebay.keeper")


@dataclass
class Setup:
    """What the owner said of an instrument once it knew which plugin serves it.

    Attributes:
        plugin: name and version, for messages.
        safe_state: the declared safe state, empty when there is none.
        guard: checks every command; None where nothing is known of them.
        knows_energising: the dialect lists what energises; if not, any command may.
        policy: ``off``, ``ramp_off`` or ``hold``: what a planned or unplanned end does.
        ramp: ``header``, ``rate_per_s`` and ``max_s`` of ``ramp_off``.
    """

    plugin: str = ""
    safe_state: Mapping[str, Any] = field(default_factory=dict)
    guard: Guard | None = None
    knows_energising: bool = False
    policy: str = "off"
    ramp: Mapping[str, Any] = field(default_factory=dict)


class Grant:
    """The right of one client to use a held instrument until it is revoked."""

    __slots__ = ("held", "pid", "reason", "token")

    def __init__(self, held: Held, token: str) -> None:
        self.held = held
        self.token = token
        self.pid = 0
        self.reason = ""

    def check(self) -> None:
        """Raise LeaseError if it was revoked."""
        if self.reason:
            raise LeaseError(f"{self.held.resource}: {self.reason}", resource=self.held.resource)


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
        self._gate = threading.Lock()
        self._safing = threading.RLock()
        self._armed = False
        self._transcript: deque[tuple[int, str, bytes]] = deque(maxlen=_KEPT_MESSAGES)

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
                    link = self._link = self._open(**self.opening)
        return link

    def _open(self, **options: Any) -> DirectLink:
        link = open_direct(self.resource, **options)
        link.sink = self._hear
        return link

    def _hear(self, at_ns: int, way: str, data: bytes) -> None:
        self.sent += 1
        self._transcript.append(
            (at_ns, way, data if len(data) <= _KEPT_BYTES else data[:_KEPT_BYTES])
        )

    def transcript(self, since: int = 0) -> list[tuple[int, str, bytes]]:
        """Return the messages from number ``since`` on, as far as they are still here."""
        messages = list(self._transcript)
        skipped = max(0, since - (self.sent - len(messages)))
        return messages[skipped:]

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

    def write(self, command: str | bytes, timeout_s: float | None = None) -> None:
        """Check and send a command.

        Raises:
            LimitError: it would go past a limit; nothing was sent.
            AbortedError: it may energise, and somebody stopped the instrument.
            UnsafeError: it may energise, and the latch is set.
            LinkError: as ``Link.write``.
        """
        effect = self._admit(command)
        self.link().write(command, timeout_s=timeout_s)
        self._was_sent(effect)

    def write_each(self, commands: Sequence[str], timeout_s: float | None = None) -> None:
        """Check and send commands one after the other. Raises: as :meth:`write`."""
        for command in commands:
            self.write(command, timeout_s)

    def query(self, command: str, timeout_s: float | None = None) -> str:
        """Check and ask. Raises: as ``Link.query`` and :meth:`write`."""
        effect = self._admit(command)
        answer = self.link().query(command, timeout_s=timeout_s)
        self._was_sent(effect)
        if self._armed:
            self._learn(command, answer)
        return answer

    def query_block(self, command: str, timeout_s: float | None = None) -> bytes:
        """Check and ask. Raises: as ``Link.query_block`` and :meth:`write`."""
        effect = self._admit(command)
        data = self.link().query_block(command, timeout_s=timeout_s)
        self._was_sent(effect)
        return data

    def read(self, timeout_s: float | None = None) -> str:
        """Read an answer that is owed. Raises: as ``Link.read``."""
        return self.link().read(timeout_s=timeout_s)

    def read_block(self, timeout_s: float | None = None) -> bytes:
        """Read an answer that is owed. Raises: as ``Link.read_block``."""
        return self.link().read_block(timeout_s=timeout_s)

    def interrupt(self) -> bool:
        """Send a device clear, where there is one."""
        return self.link().interrupt()

    def give_up(self) -> None:
        """End the wait of whoever reads now."""
        link = self._link
        if link is not None:
            link.give_up()

    # -- what may be sent ------------------------------------------------------------------------

    def _admit(self, command: str | bytes) -> Effect | None:
        """Check a message against latch, halt and limits, and arm; nothing was sent yet."""
        setup = self.setup
        guard = setup.guard
        effect = None
        if guard is not None:
            message = command if isinstance(command, bytes) else command.encode()
            with self._gate:
                effect = guard.check(message)
        energises = self._may_energise(command, effect)
        if energises or (effect is not None and effect.levels):
            self._check_halt()
        if energises:
            self._arm()
        return effect

    def _may_energise(self, command: str | bytes, effect: Effect | None) -> bool:
        if effect is not None and self.setup.knows_energising:
            return bool(effect.energises)
        question = b"?" if isinstance(command, bytes) else "?"
        return question not in command  # type: ignore[operator]  # both are of one kind

    def _check_halt(self) -> None:
        if self.state == "unsafe":
            raise UnsafeError(
                f"{self.resource} could not be made safe; look at it, then acknowledge",
                resource=self.resource,
            )
        if self.halted_by:
            raise AbortedError(by=self.halted_by)

    def _arm(self) -> None:
        if not self._armed and self.setup.safe_state:
            facts = {
                "safe_state": dict(self.setup.safe_state),
                "opening": self.opening,
                "plugin": self.setup.plugin,
                "holder": self._holder,
                "policy": self.setup.policy,
            }
            write_record(self._folder, "armed", self.resource, facts)
            self._armed = True
        if self.state in {"unknown", "safe"}:
            self.state = "armed"

    def _was_sent(self, effect: Effect | None) -> None:
        guard = self.setup.guard
        if effect is None or guard is None:
            return
        if effect.energises or effect.de_energises or effect.levels:
            with self._gate:
                guard.committed(effect)
            if effect.energises and self.state == "armed":
                self.state = "energised"

    def _learn(self, command: str, answer: str) -> None:
        """A driver that asks the verify question itself tells us that the output is off."""
        question = self.setup.safe_state.get("verify")
        if question and command.strip().upper() == question["query"].strip().upper():
            if says(answer, question["equals"]):
                self._is_safe()
            elif self.state == "armed":
                self.state = "energised"

    def _is_safe(self) -> None:
        self.state = "safe"
        if self._armed:
            remove_record(self._folder, "armed", self.resource)
            self._armed = False

    @property
    def armed(self) -> bool:
        """Whether its output may be on."""
        return self._armed

    # -- stopping --------------------------------------------------------------------------------

    def halt(self, by: str) -> list[str]:
        """Stop and switch off now, and refuse to energise until :meth:`go`; what failed.

        Verifies nothing: it returns as soon as the writes are out.
        """
        self.halted_by = by
        link = self._link
        if link is None or not self.setup.safe_state:
            return []
        return list(stop_and_write(link, self.setup.safe_state).problems)

    def go(self) -> None:
        """A new measurement begins: commands may energise again.

        Raises:
            UnsafeError: the latch is set.
        """
        if self.state == "unsafe":
            self._check_halt()
        self.halted_by = ""

    def begin_safe(self, *, planned: bool = False, forced: bool = False) -> SafeStateReport | None:
        """First half of making safe: everything that is written; None if there is nothing to do.

        Args:
            planned: the end was foreseen and the link is healthy: ``ramp_off`` may ramp.
            forced: a ``hold`` is no reason to leave it on.
        """
        declared = self.setup.safe_state
        if not declared or (self.setup.policy == "hold" and not forced):
            return None
        self.state = "safing"
        try:
            link = self.link()
        except DrivebayError as exc:
            return SafeStateReport(problems=(str(exc),))
        if planned and self.setup.policy == "ramp_off":
            self._ramp(link)
        return stop_and_write(link, declared)

    def _ramp(self, link: DirectLink) -> None:
        plan, guard = self.setup.ramp, self.setup.guard
        level = guard.level(plan["header"]) if guard is not None else None
        if level:
            try:
                ramp(link, plan["header"], level, plan["rate_per_s"], plan["max_s"])
            except DrivebayError as exc:
                _log.warning("%s: the ramp failed, off at once: %s", self.resource, exc)

    def end_safe(self, begun: SafeStateReport | None) -> SafeStateReport:
        """Second half: verify, try again on a new channel if need be, latch if nothing helps."""
        if begun is None:
            return SafeStateReport()
        declared = self.setup.safe_state
        link = self._link
        report = begun if link is None else verify(link, declared, begun)
        for _ in range(SAFE_ATTEMPTS - 1):
            if report.confirmed:
                break
            report = self._again(declared, report)
        if report.confirmed:
            self._is_safe()
            if report.verified is None:
                self.state = "unknown"
        else:
            self._latch(report)
        if self.setup.guard is not None:
            self.setup.guard.forget()
        return report

    def make_safe(self, *, planned: bool = False, forced: bool = False) -> SafeStateReport:
        """Send the safe state and verify it; never raises."""
        with self._safing:
            return self.end_safe(self.begin_safe(planned=planned, forced=forced))

    def _again(self, declared: Mapping[str, Any], before: SafeStateReport) -> SafeStateReport:
        """One more attempt, on a channel made new."""
        self.park()
        deadline_s = float(declared.get("deadline_s") or DEFAULT_DEADLINE_S)
        try:
            with self._opening:
                link = self._open(**{**self.opening, "timeout_s": deadline_s})
                link.timeout_s = float(self.opening.get("timeout_s", 5.0))
                self._link = link
        except DrivebayError as exc:
            return SafeStateReport(before.sent, False, (*before.problems, str(exc)))
        self.reopened += 1
        return verify(link, declared, stop_and_write(link, declared))

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

    def recover(self, left: Mapping[str, Any]) -> SafeStateReport:
        """Make it safe by the record that a dead keeper left of it; never raises."""
        before = self.setup
        self.setup = Setup(
            plugin=str(left.get("plugin") or ""), safe_state=left.get("safe_state") or {}
        )
        self._armed = True
        try:
            link = self.link()
            if link.interface == "serial":
                # The dead keeper's last command may have been sent in part: this ends it.
                link.write(b"")
        except DrivebayError as exc:
            _log.warning("%s: %s", self.resource, exc)
        report = self.make_safe(forced=True)
        self.setup = before
        if report.confirmed:
            self.state = "unknown"
        return report

    def acknowledge(self) -> None:
        """A person has looked at the instrument: the latch is taken off."""
        remove_record(self._folder, "unsafe", self.resource)
        remove_record(self._folder, "armed", self.resource)
        self._armed = False
        self.state = "unknown"

    # -- the end ---------------------------------------------------------------------------------

    def revoke(self, reason: str) -> None:
        """Refuse every client from now on."""
        for grant in self.grants.values():
            grant.reason = grant.reason or reason

    def close(self, reason: str = "is closed") -> None:
        """Close the channel and give the lease back; does not make safe."""
        self.revoke(reason)
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
            "halted_by": self.halted_by,
        }
