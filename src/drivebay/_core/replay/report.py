"""What a replay found, as data, as lines and as a JSON object; pure functions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from drivebay._core.errors import DrivebayError
from drivebay._core.replay.judging import Refusal
from drivebay._core.replay.player import Difference
from drivebay._core.replay.points import ColumnDifference
from drivebay._core.replay.recording import Message

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["identical", "differs", "failed"]


@dataclass(frozen=True)
class Replay:
    """What came of one replay.

    Attributes:
        run: id of the run, empty where a recording was replayed.
        plugin: the code that ran: ``name``, ``version``, ``sha256``, and ``stored`` (True when it
            is the run's own).
        traffic: the first place where the traffic is not the recorded one, None if it is.
        points: the columns that are not the recorded ones.
        values: names of other results that are not the recorded ones.
        error: what the driver raised, or what became of its process; None if it ended well.
        same_end: it ended as the run did, also where that was an error or a stop.
        clock_columns: columns that hold the host's own time; they cannot be equal and are not
            compared. They were found by replaying with another clock.
        recorded: the run's traffic.
        replayed: the replay's.
        columns: the replay's points.
        refusals: commands that the limits of the run refused; the driver got the error it would
            have got, and they were not played.
        same_refusals: these are those that were refused in the run.
        guesses: answers that were found by their question after the first difference: best effort.
        unanswered: questions that the recording holds no answer to.
        left: recorded messages that were not played; after an aborted or failed run these are the
            platform's own, which made the instrument safe.
        rows: points of the replay.
        output: what the driver printed.
    """

    run: str
    plugin: Mapping[str, Any]
    traffic: Difference | None
    points: Sequence[ColumnDifference]
    values: Sequence[str]
    error: DrivebayError | None
    same_end: bool
    clock_columns: Sequence[str] = ()
    recorded: Sequence[Message] = field(default=(), repr=False)
    replayed: Sequence[Message] = field(default=(), repr=False)
    columns: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict, repr=False)
    refusals: Sequence[Refusal] = ()
    same_refusals: bool = True
    guesses: int = 0
    unanswered: Sequence[bytes] = ()
    left: int = 0
    rows: int = 0
    output: Sequence[str] = ()

    @property
    def identical(self) -> bool:
        """Whether traffic, points, other results, refusals and the end are those of the run."""
        return self.verdict == "identical"

    @property
    def verdict(self) -> Verdict:
        """``identical``, ``differs``, or ``failed`` when the code ended otherwise than the run."""
        if not self.same_end:
            return "failed"
        same = self.same_refusals and not (self.traffic or self.points or self.values)
        return "identical" if same else "differs"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON; bytes as Latin-1 text, which loses none."""
        return {
            "run": self.run,
            "plugin": dict(self.plugin),
            "verdict": self.verdict,
            "traffic": None if self.traffic is None else _plain(self.traffic),
            "points": [asdict(each) for each in self.points],
            "values": list(self.values),
            "error": None
            if self.error is None
            else {"type": type(self.error).__name__, "message": str(self.error)},
            "clock_columns": list(self.clock_columns),
            "messages": {"recorded": len(self.recorded), "replayed": len(self.replayed)},
            "rows": self.rows,
            "refusals": [asdict(each) for each in self.refusals],
            "same_refusals": self.same_refusals,
            "guesses": self.guesses,
            "unanswered": [each.decode("latin-1") for each in self.unanswered],
            "left": self.left,
            "output": list(self.output),
        }


def _plain(difference: Difference) -> dict[str, Any]:
    found = asdict(difference)
    for name in ("expected", "got"):
        found[name] = found[name].decode("latin-1")
    return {**found, "where": list(difference.where), "message": str(difference)}
