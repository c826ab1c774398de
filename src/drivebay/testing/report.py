"""What a check of a driver came to: its findings as values, and the level they add up to.

Promises: a level is computed from what was seen to pass and is declared nowhere. What could not be
judged does not count as passed, and it does not count as failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

Level = Literal["bronze", "silver", "gold"]
Outcome = Literal["passed", "failed", "not judged"]

LEVELS: Final[Mapping[Level, str]] = MappingProxyType(
    {
        "bronze": "it is what it says, its safe state works, and it refuses what does not fit",
        "silver": "its methods give what they promise, leave the output off, and can be stopped",
        "gold": "it may crash or be edited under an open instrument, and be used under limits",
    }
)
"""The levels from the lowest to the highest; each is the checks of its own and of those below."""

_MARKS: Final = {"passed": "pass", "failed": "FAIL", "not judged": "----"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: short and stable, such as ``safe_state``.
        level: the lowest level that needs it.
        sentence: what holds when it passes.
        outcome: ``passed``, ``failed`` or ``not judged``.
        why: what was found, or why nothing could be; may be empty when it passed.
    """

    name: str
    level: Level
    sentence: str
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        text = f"{_MARKS[self.outcome]}  {self.level:<6}  {self.sentence}"
        return "\n".join([text, *(f"{'':14}{line}" for line in self.why.splitlines())])


@dataclass(frozen=True, slots=True)
class Report:
    """Every check of one driver on one instrument.

    Attributes:
        plugin: name of the plugin.
        version: of the plugin.
        sha256: of its code; empty if that could not be loaded.
        resource: address of the instrument.
        identity: of the instrument, as the driver reported it.
        checks: in the order in which they were made.
    """

    plugin: str
    version: str
    sha256: str
    resource: str
    identity: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def level(self) -> Level | None:
        """The highest level all of whose checks passed; None below bronze."""
        reached: Level | None = None
        for level in LEVELS:
            if not all(each.outcome == "passed" for each in self.checks if each.level == level):
                break
            reached = level
        return reached

    @property
    def failed(self) -> tuple[Check, ...]:
        """What failed."""
        return tuple(each for each in self.checks if each.outcome == "failed")

    @property
    def ok(self) -> bool:
        """Whether nothing failed; some of it may not have been judged."""
        return not self.failed

    def reaches(self, level: Level) -> bool:
        """Whether it is at least of this level."""
        order = list(LEVELS)
        return self.level is not None and order.index(self.level) >= order.index(level)

    def __getitem__(self, name: str) -> Check:
        """The check of a name.

        Raises:
            KeyError: there is none.
        """
        for each in self.checks:
            if each.name == name:
                return each
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "plugin": self.plugin,
            "version": self.version,
            "sha256": self.sha256,
            "resource": self.resource,
            "identity": dict(self.identity),
            "level": self.level,
            "ok": self.ok,
            "checks": [
                {
                    "name": each.name,
                    "level": each.level,
                    "sentence": each.sentence,
                    "outcome": each.outcome,
                    "why": each.why,
                }
                for each in self.checks
            ],
        }

    def __str__(self) -> str:
        lines = [str(each) for each in self.checks]
        return "\n".join([*lines, self.verdict])

    @property
    def verdict(self) -> str:
        """One line: the level, and how many checks did not pass."""
        open_ = sum(each.outcome == "not judged" for each in self.checks)
        counts = [f"{len(self.failed)} failed"] if self.failed else []
        counts += [f"{open_} not judged"] if open_ else []
        told = f" ({', '.join(counts)})" if counts else ""
        model = self.identity.get("model") or self.resource
        return f"{self.plugin} {self.version} on {model}: {self.level or 'no level'}{told}"
