"""Making an instrument harmless: an interrupt, then writes, then a question that verifies it.

Rules:
- No question before the writes: one that is not answered would keep the output on.
- Several instruments: everybody's writes first, in the declared order, then everybody's questions.
- What fails is in the report, and the rest is done all the same; nothing here raises.

A safe state is data (``interrupt``, ``writes``, ``verify``, ``deadline_s``); no driver code runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from drivebay._core.errors import DrivebayError
from drivebay._core.links import Link

DEFAULT_DEADLINE_S: Final = 1.0
_RAMP_STEP_S: Final = 0.05


@dataclass(frozen=True)
class SafeStateReport:
    """What became of an attempt to make an instrument harmless.

    Attributes:
        sent: the writes that went out.
        verified: True if the instrument confirmed it, False if it said otherwise or did not
            answer, None if the manifest has no verify query.
        problems: what failed, in the order in which it failed.
    """

    sent: tuple[str, ...] = ()
    verified: bool | None = None
    problems: tuple[str, ...] = ()

    @property
    def confirmed(self) -> bool:
        """Whether nothing speaks against the instrument being safe."""
        return self.verified is not False and not self.problems


def stop_and_write(link: Link, declared: Mapping[str, Any]) -> SafeStateReport:
    """Interrupt what runs and send the writes; a reader that waits is told to give up.

    Args:
        link: the open link, in whatever state a failure left it.
        declared: a manifest's ``safe_state``.
    """
    deadline_s = float(declared.get("deadline_s") or DEFAULT_DEADLINE_S)
    problems: list[str] = []
    sent: list[str] = []
    # A reader ends its wait by itself soon; nothing below waits for it unless a command was torn.
    _attempt("give up", problems, link.give_up)
    interrupt = declared.get("interrupt")
    if interrupt and not _attempt("interrupt", problems, link.interrupt):
        for command in interrupt if isinstance(interrupt, list) else ():
            _attempt(command, problems, link.write, command, timeout_s=deadline_s)
    for command in declared.get("writes") or ():
        before = len(problems)
        _attempt(command, problems, link.write, command, timeout_s=deadline_s)
        if len(problems) == before:
            sent.append(command)
    return SafeStateReport(tuple(sent), None, tuple(problems))


def verify(link: Link, declared: Mapping[str, Any], so_far: SafeStateReport) -> SafeStateReport:
    """Ask whether the writes worked, and add the answer to the report."""
    question = declared.get("verify")
    if not question:
        return so_far
    deadline_s = float(declared.get("deadline_s") or DEFAULT_DEADLINE_S)
    problems = list(so_far.problems)
    query, expected = str(question["query"]), str(question["equals"])
    answer = _attempt(query, problems, link.query, query, timeout_s=deadline_s)
    verified = answer is not None and says(str(answer), expected)
    if answer is not None and not verified:
        problems.append(f"{query} answered {answer!r}, expected {expected!r}")
    return replace(so_far, verified=verified, problems=tuple(problems))


def says(answer: str, expected: str) -> bool:
    """Whether an answer is the expected one, blanks aside."""
    return answer.strip() == expected.strip()


def run_safe_state(link: Link, declared: Mapping[str, Any]) -> SafeStateReport:
    """Send a declared safe state over one link and verify it."""
    return verify(link, declared, stop_and_write(link, declared))


def ramp(
    link: Link,
    command: Callable[[float], str],
    level: float,
    rate_per_s: float,
    most_s: float,
    halted: Callable[[], bool] = bool,
) -> None:
    """Bring a level to zero in steps; for planned ends on a healthy link only.

    Args:
        link: the open link.
        command: gives what sets the level.
        level: where it is now, in the unit of the command.
        rate_per_s: how fast it may change.
        most_s: longest time to take; what is left then goes in one step.
        halted: whether somebody wants it off at once; then nothing more is sent.

    Raises:
        LinkError: the channel failed; the caller turns the output off at once.
    """
    started = time.monotonic()
    while level and time.monotonic() - started < most_s:
        if halted():
            return
        step = min(abs(level), rate_per_s * _RAMP_STEP_S)
        level -= step if level > 0 else -step
        link.write(command(level))
        time.sleep(_RAMP_STEP_S)
    if level:
        link.write(command(0.0))


def _attempt(
    what: str, problems: list[str], action: Callable[..., object], *arguments: Any, **options: Any
) -> object:
    try:
        return action(*arguments, **options)
    except (DrivebayError, OSError, ValueError) as exc:
        problems.append(f"{what}: {exc}")
        return None
