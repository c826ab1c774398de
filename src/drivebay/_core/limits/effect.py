"""What a message does to an instrument, as far as its dialect tells.

Promises: plain facts that a record or another process can hold; an effect is applied only once the
message was sent, so a message that was refused or lost leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

Limit = tuple[float, float]
Mark = tuple[str, str]
"""Something that counts as set, and its channel."""

ALL_CHANNELS = "*"
"""In ``de_energises``: every channel of the instrument."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level or a protection that a message sets.

    Attributes:
        header: as the dialect spells it.
        quantity: such as ``voltage_v``.
        channel: its number as text.
        value: in the SI unit; of a list, the one of the largest magnitude.
    """

    header: str
    quantity: str
    channel: str
    value: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What a message does.

    Attributes:
        energises: channels that some part of it switches on.
        de_energises: channels that are off at its end, :data:`ALL_CHANNELS` for every one; one that
            is in both was switched on and off again.
        levels: what it sets.
        question: whether an answer will come.
        marks: what counts as set from then on, with its channel; for the guard itself.
        modes: choices it makes, such as a source function; for the guard itself.
        forgets: whether what was set before no longer counts; for the guard itself.
        asks: of each protection among the marks, the question that says what became of it.
        unproven: protections that this relies on, and that the instrument has not confirmed.
        clears: whether the instrument's list of errors is emptied; for the guard itself.
        selected: the channel that it selects for what follows, empty for one that is not known,
            None if it selects none; for the guard itself.
    """

    energises: frozenset[str]
    de_energises: frozenset[str]
    levels: tuple[Level, ...]
    question: bool
    marks: tuple[tuple[str, str], ...] = ()
    modes: tuple[tuple[tuple[str, str], str], ...] = ()
    forgets: bool = False
    asks: tuple[tuple[Mark, str], ...] = ()
    unproven: tuple[Mark, ...] = ()
    clears: bool = False
    selected: str | None = None


class Walk:
    """The effect of a message so far, unit by unit, on top of what is believed.

    Attributes:
        header: of the unit that is judged now, from the root.
        question: whether a unit asked something.
        clears: whether one emptied the list of errors.
        asks: of protections that were set, the question about each.
        unproven: protections that were relied on and are not confirmed.
        selected: the channel that headers without one are for, empty if it is not known.
        levels: what was set, in order.
        known: what was set, or believed to be set, so far.
        modes: choices made in this message.
        on: channels that are on, or were believed to be, so far.
    """

    def __init__(
        self,
        known: Set[tuple[str, str]],
        modes: Mapping[tuple[str, str], str],
        on: Set[str],
        selected: str = "",
    ) -> None:
        self.header = ""
        self.question = False
        self.clears = False
        self.asks: dict[Mark, str] = {}
        self.unproven: dict[Mark, None] = {}
        self.levels: list[Level] = []
        self.known = set(known)
        self.modes: dict[tuple[str, str], str] = {}
        self.on = set(on)
        self.selected = selected
        self._selected_before = selected
        self._believed_modes = modes
        self._marks: set[tuple[str, str]] = set()
        self._energised: set[str] = set()
        self._off: set[str] = set()
        self._forgot = False

    def mode(self, header: str, channel: str) -> str | None:
        """The choice made last; None if none is known."""
        value = self.modes.get((header, channel))
        if value is None and not self._forgot:
            value = self._believed_modes.get((header, channel))
        return value

    def forget(self) -> None:
        """What was set before no longer counts."""
        self._forgot = True
        self.selected = ""
        self.asks.clear()
        self.known.clear()
        self._marks.clear()
        self.modes.clear()

    def mark(self, key: str, channel: str) -> None:
        """This counts as set from here on."""
        self.known.add((key, channel))
        self._marks.add((key, channel))

    def energise(self, channels: Iterable[str]) -> None:
        """These channels go on."""
        self._energised.update(channels)
        self.on.update(channels)
        self._off.difference_update((*channels, ALL_CHANNELS))

    def off(self, channels: Iterable[str]) -> None:
        """These channels go off."""
        self._off.update(channels)
        if ALL_CHANNELS in self._off:
            self.on.clear()
        self.on.difference_update(channels)

    def effect(self) -> Effect:
        """What it all comes to."""
        return Effect(
            frozenset(self._energised),
            frozenset(self._off),
            tuple(self.levels),
            self.question,
            tuple(sorted(self._marks)),
            tuple(self.modes.items()),
            self._forgot,
            tuple(self.asks.items()),
            tuple(self.unproven),
            self.clears,
            None if self.selected == self._selected_before else self.selected,
        )
