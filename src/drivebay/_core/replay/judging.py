"""The limits of a run, held against what is said in its replay.

Promises: what the replay says and the recording does not is judged as the keeper would have judged
it, by the limits that were in force in the run and the command table of the code that runs now;
what is refused is not played, its driver gets the LimitError it would have got, and the refusal is
kept with the driver's lines. What was recorded at its place was sent then, and is believed. Sends
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivebay._core.errors import LimitError
from drivebay._core.limits import Guard

if TYPE_CHECKING:
    from drivebay._core.limits.effect import Mark
    from drivebay._core.manifest import PluginMetadata
    from drivebay._core.replay.recording import Recording


@dataclass(frozen=True)
class Refusal:
    """A command that the limits of the run do not let pass.

    Attributes:
        text: why, as its driver was told.
        code: of :class:`drivebay.LimitError`, such as ``L001``.
        command: the command.
        quantity: what is limited; empty where it is not about one.
        value: what would have been set, in SI units; None where that cannot be known.
        limit: lowest and highest in SI units; None where it is not about a value.
        where: the driver's lines that were running, innermost first.
    """

    text: str
    code: str = ""
    command: str = ""
    quantity: str = ""
    value: float | None = None
    limit: tuple[float, float] | None = None
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


class Judge:
    """Follows what passes in one replay.

    Args:
        guard: of the run's limits; None where there were none.

    Attributes:
        refusals: what it refused, in order.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard
        self.refusals: list[Refusal] = []

    def believe(self, message: bytes) -> None:
        """Take note of a message that was sent in the run."""
        if self._guard is None:
            return
        try:
            self._guard.committed(self._guard.check(message))
        except LimitError:
            # It passed then, by what was known from before the run.
            return

    def asked_before(self, message: bytes, recorded: bytes) -> Mark | None:
        """The protection that the keeper itself asked for before it let a message pass.

        Args:
            message: what the driver says.
            recorded: what stands there in the recording.
        """
        if self._guard is None:
            return None
        try:
            effect = self._guard.check(message)
        except LimitError:
            return None
        text = recorded.strip().decode("ascii", "replace")
        questions = {mark: self._guard.proofs.question(mark) for mark in effect.unproven}
        return next((mark for mark, question in questions.items() if question == text), None)

    def prove(self, mark: Mark, answer: bytes, where: Callable[[], tuple[str, ...]]) -> None:
        """Take the recorded answer to a question of the keeper's.

        Args:
            mark: the protection that was asked for.
            answer: what the instrument said.
            where: gives the driver's lines that run now.

        Raises:
            LimitError: it did not confirm the protection.
        """
        if self._guard is not None:
            with self._refusing(where):
                self._guard.prove(mark, answer.decode("ascii", "replace").strip())

    def admit(self, message: bytes, where: Callable[[], tuple[str, ...]]) -> None:
        """Take note of a message that was not in the run, if it may be sent.

        Args:
            message: it.
            where: gives the driver's lines that run now.

        Raises:
            LimitError: nothing of it may be sent.
        """
        if self._guard is None:
            return
        with self._refusing(where):
            effect = self._guard.check(message)
        self._guard.committed(effect)

    @contextmanager
    def _refusing(self, where: Callable[[], tuple[str, ...]]) -> Iterator[None]:
        """Keep what is refused, with the lines."""
        try:
            yield
        except LimitError as exc:
            told = (str(exc), exc.code, exc.command, exc.quantity, exc.value, exc.limit)
            self.refusals.append(Refusal(*told, where()))
            raise


def judge_of(recording: Recording, metadata: PluginMetadata) -> Judge:
    """Return what judges a replay: the run's limits, by the command table of a manifest.

    Args:
        recording: what is replayed.
        metadata: of the code that runs.
    """
    dialect = metadata.dialect
    if not dialect and not recording.strict:
        return Judge()
    return Judge(
        Guard(
            dialect,
            _pairs(recording.limits or {}),
            channels={name: _pairs(each) for name, each in recording.channels.items()},
            strict=recording.strict,
            subject=recording.resource,
            source=recording.source,
        )
    )


def _pairs(limits: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}
