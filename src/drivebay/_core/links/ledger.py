"""The ledger of questions: which answers are still owed, and whether the stream can be trusted.

Promises: after a timeout nothing counts as an answer until every answer owed before it has come or
the channel has been made new. It holds no bytes and touches no channel.
"""

from __future__ import annotations


class Ledger:
    """Counts questions against answers on one channel.

    Attributes:
        owed: questions sent whose answers have not been read.
        late: one of them went past its deadline, so its answer may come at any time.
        doubt: why counting answers is not enough to be in step again; empty when it is.
        torn: a part of a command was sent; anything sent after it would be read as its rest.
    """

    __slots__ = ("doubt", "late", "owed", "torn")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The channel is new: nothing is owed on it."""
        self.owed = 0
        self.late = False
        self.doubt = ""
        self.torn = False

    def answered(self) -> None:
        """One answer has been read whole."""
        if self.owed > 1:
            self.owed -= 1
        else:
            self.owed = 0
            self.late = False

    def timed_out(self) -> None:
        """An answer did not come in time; it is owed even if nothing sent looked like asking."""
        self.late = True
        self.owed = max(self.owed, 1)

    def lost_track(self, reason: str) -> None:
        """Where the next answer begins can no longer be told from the bytes."""
        self.doubt = reason

    def found_again(self, reason: str) -> None:
        """What one had lost track for has come whole; another doubt stays."""
        if self.doubt == reason:
            self.doubt = ""

    def cut_off(self, reason: str) -> None:
        """A command was sent in part."""
        self.torn = True
        self.doubt = reason

    def blocks_question(self) -> bool:
        """Whether a question with its own answer must first settle what went before."""
        return bool(self.owed or self.doubt)
