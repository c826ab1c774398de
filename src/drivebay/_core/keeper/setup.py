"""What a keeper is told of an instrument, and the right of a client to use it.

Promises: plain facts, given by an owner and changed by nobody else; they say what makes the
instrument safe, what may be sent, and who may send. Sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from drivebay._core.errors import LeaseError
from drivebay._core.keeper.safing import DEFAULT_DEADLINE_S

if TYPE_CHECKING:
    from drivebay._core.keeper.held import Held
    from drivebay._core.limits import Effect, Guard

_PARTS: Final = re.compile(r"[;\r\n]")


@dataclass
class Setup:
    """What the owner said of an instrument once it knew which plugin serves it.

    Attributes:
        plugin: name and version, for messages.
        safe_state: the declared safe state, empty when there is none.
        guard: checks every command; None where nothing is known of them.
        knows_energising: the dialect lists what energises; if not, any command may.
        policy: ``off``, ``ramp_off`` or ``hold``: what a planned or unplanned end does.
        ramp: of ``ramp_off``, ``max_s`` and ``ways``: ``header`` and ``rate_per_s`` each.
    """

    plugin: str = ""
    safe_state: Mapping[str, Any] = field(default_factory=dict)
    guard: Guard | None = None
    knows_energising: bool = False
    policy: str = "off"
    ramp: Mapping[str, Any] = field(default_factory=dict)
    deadline_s: float = field(init=False)
    _stops: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.deadline_s = float(self.safe_state.get("deadline_s") or DEFAULT_DEADLINE_S)
        interrupt = self.safe_state.get("interrupt")
        stops = [*(self.safe_state.get("writes") or ())]
        stops += interrupt if isinstance(interrupt, list) else ()
        self._stops = frozenset(str(each).strip().upper() for each in stops)

    def says_stop(self, command: str | bytes) -> bool:
        """Whether a command is one of those that make it safe, which are never refused."""
        text = command.decode(errors="replace") if isinstance(command, bytes) else command
        return text.strip().upper() in self._stops

    def may_energise(self, command: str | bytes, effect: Effect | None) -> bool:
        """Whether a message may switch something on: all may that no dialect says it of."""
        if effect is not None and self.knows_energising:
            return bool(effect.energises)
        return not _only_asks(command) and not self.says_stop(command)


class Grant:
    """The right of one client to use a held instrument until it is revoked."""

    __slots__ = ("held", "pids", "reason", "token")

    def __init__(self, held: Held, token: str) -> None:
        self.held = held
        self.token = token
        self.pids: set[int] = set()
        self.reason = ""

    def check(self) -> None:
        """Raise LeaseError if it was revoked."""
        if self.reason:
            raise LeaseError(f"{self.held.resource}: {self.reason}", resource=self.held.resource)


def _only_asks(command: str | bytes) -> bool:
    """Whether every part of a message is a question: ``:OUTP ON;*OPC?`` is not one only.

    A part is cut off where a quoted text has a ``;``: then one too many counts as a command.
    """
    text = command.decode("latin-1") if isinstance(command, bytes) else command
    parts = [part.split(maxsplit=1) for part in _PARTS.split(text)]
    return all(words[0].endswith("?") for words in parts if words)
