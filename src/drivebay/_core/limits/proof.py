"""Which protections were set but not confirmed: a command that was sent may have been refused.

Promises: a protection counts as confirmed only by the instrument's own word, asked after it was
set: either the value it has, or an empty list of errors from which nobody took one since. Never
asks by itself: the owner of the link does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from drivebay._core.limits.effect import Mark

# SCPI-99 volume 2, 21.8, and the queue of Keithley's instruments, in TSP too. A count of them says
# so as well.
_ERRORS = re.compile(
    r":?SYST(?:EM)?:ERR(?:OR)?(?::[A-Z]+)?\?|:?STAT(?:US)?:QUE(?:UE)?(?::NEXT)?\?"
    r"|PRINT\((?:STRING\.FORMAT\(\"[^\"]*\", ?)?ERRORQUEUE\.(?:COUNT|NEXT\(\))\)?\)"
)
_NONE_LEFT = re.compile(r"[+-]?0+(?:\.0*)?(?:[eE][+-]?0+)?(?:[,\t].*)?", re.DOTALL)
_CLEARS = re.compile(r"\*CLS|:SYST(?:EM)?:CLE(?:AR)?|:STAT(?:US)?:QUE(?:UE)?:CLE(?:AR)?")


@dataclass(eq=False, slots=True)
class Doubt:
    """A protection that waits for its confirmation.

    Attributes:
        question: what says its value.
        errors_tell: whether an empty list of errors would still mean that it was taken.
    """

    question: str
    errors_tell: bool = True


Asked = Mapping[Mark, Doubt]
"""What waited for a confirmation when a question was sent."""


class Proofs:
    """The protections of one instrument that were sent and are not confirmed."""

    def __init__(self) -> None:
        self._doubts: dict[Mark, Doubt] = {}
        self._proved: dict[Mark, str] = {}  # and the question of each

    def __contains__(self, mark: Mark) -> bool:
        return mark in self._doubts

    @property
    def pending(self) -> Asked:
        """What waits now."""
        return dict(self._doubts) if self._doubts else {}

    def wanted(self, asks: Iterable[tuple[Mark, str]]) -> None:
        """These were sent just now."""
        self._doubts.update((mark, Doubt(question)) for mark, question in asks)

    def question(self, mark: Mark) -> str:
        """What is to be asked of one; empty when it waits no more."""
        doubt = self._doubts.get(mark)
        return doubt.question if doubt is not None else ""

    def proved(self, mark: Mark) -> None:
        """The instrument says that it has it."""
        doubt = self._doubts.pop(mark, None)
        if doubt is not None:
            self._proved[mark] = doubt.question

    def again(self) -> None:
        """What was confirmed may be lost: the instrument may have been switched off and on."""
        for mark, question in self._proved.items():
            self._doubts.setdefault(mark, Doubt(question, errors_tell=False))
        self._proved.clear()

    def told(self, question: str, answer: str, asked: Asked) -> Iterator[Mark]:
        """Take an answer; gives those of which it says the value, whose limits are not known here.

        Args:
            question: what was asked.
            answer: what came.
            asked: :attr:`pending` when it was asked; what was set again since still waits.
        """
        text = question.strip().upper()
        waiting = [mark for mark, doubt in asked.items() if self._doubts.get(mark) is doubt]
        if _ERRORS.fullmatch(text):
            if not _NONE_LEFT.fullmatch(answer.strip()):
                self.error_list_is_lost()  # whose error it was is not known
            for mark in waiting:
                if self._doubts[mark].errors_tell:
                    self.proved(mark)
            return
        if ";" in text:
            self.error_list_is_lost()  # one may be among the answers
        for mark in waiting:
            if self._doubts[mark].question.upper().removeprefix(":") == text.removeprefix(":"):
                yield mark

    def error_list_is_lost(self) -> None:
        """One may have been taken out of it, or all: that it is empty says nothing any more."""
        for doubt in self._doubts.values():
            doubt.errors_tell = False

    def forget(self) -> None:
        """Nothing counts as set any more, so nothing waits."""
        self._doubts.clear()
        self._proved.clear()


def loses_errors(header: str, is_question: bool) -> bool:
    """Whether a command, by its header from the root, empties the list of errors."""
    return not is_question and _CLEARS.fullmatch(header) is not None
