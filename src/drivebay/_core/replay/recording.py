"""What a replay is made from: the messages, the code and the circumstances of one measurement.

Promises: plain data, taken out of a run (or made by hand) before anything runs; code that is not
byte for byte what the run says it was is refused. Runs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from drivebay._core.errors import RunError
from drivebay._core.links.answers import asks

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CONNECT: Final = "connect"
MEASURE: Final = "measure"


class Message(NamedTuple):
    """One message as it passed over the link.

    Attributes:
        time_ns: nanoseconds since the run began; negative for what came before.
        phase: ``connect`` or ``measure``.
        direction: ``w`` to the instrument, ``r`` from it.
        data: all of it, line end included.
        instrument: whose, where there are several.
    """

    time_ns: int
    phase: str
    direction: Literal["w", "r"]
    data: bytes
    instrument: str = ""


@dataclass(frozen=True)
class Recording:
    """One measurement, ready to be replayed.

    Attributes:
        plugin: name of the plugin that measured.
        sources: relative path -> bytes of its files, the manifest among them.
        sha256: the hash that those files had.
        messages: the traffic, in order.
        method: the measurement.
        parameters: as they were validated then.
        resource: address of the instrument.
        identity: what the driver said the instrument is.
        idn: its whole ``*IDN?`` answer.
        limits: those in force, quantity -> lowest and highest.
        channels: further limits by channel.
        strict: somebody set the limits; else they were the model's own ranges.
        source: where the limits stood, for messages.
        refused: what they did not let pass then, as it was told.
        config: options of the driver.
        columns: the points, by column.
        values: results that are no columns.
        state: how it ended: ``done``, ``aborted``, ``failed`` or ``interrupted``.
        reason: why, unless it is done.
        stopped_ns: when it was told to stop, nanoseconds since its begin; None if it was not.
        began_s: when it began, seconds since 1970.
        folder: name of the folder the plugin was in, by which its code may import itself.
        alias: dotted name of the installed package it was, by which its code may import itself.
        others: files of the plugins that this one imports, by name.
    """

    plugin: str
    sources: Mapping[str, bytes]
    sha256: str
    messages: Sequence[Message]
    method: str
    parameters: Mapping[str, Any]
    resource: str
    identity: Mapping[str, str] = field(default_factory=dict)
    idn: str = ""
    limits: Mapping[str, tuple[float, float]] | None = None
    channels: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    strict: bool = False
    source: str = ""
    refused: Sequence[str] = ()
    config: Mapping[str, Any] | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    state: str = "done"
    reason: str | None = None
    stopped_ns: int | None = None
    began_s: float = 0.0
    folder: str = ""
    alias: str = ""
    others: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)

    @property
    def measured(self) -> list[Message]:
        """The traffic of the measurement itself."""
        return [each for each in self.messages if each.phase != CONNECT]

    @property
    def connected(self) -> list[Message]:
        """The traffic of the driver's connecting."""
        return [each for each in self.messages if each.phase == CONNECT]

    def check_sources(self) -> None:
        """Refuse code that is not what measured.

        Raises:
            RunError: there is none, or it hashes to something else.
        """
        if not self.sources:
            raise RunError(
                f"this run holds no code of {self.plugin!r}; name some to replay it with"
            )
        found = sources_sha256(self.sources)
        if found != self.sha256:
            raise RunError(
                f"the stored code of {self.plugin!r} hashes to {found[:12]}, the run was measured"
                f" with {self.sha256[:12]}: a file of it is missing or was changed"
            )


def sources_sha256(sources: Mapping[str, bytes]) -> str:
    """Return the hash of a plugin's files, as the loader computes it."""
    whole = hashlib.sha256()
    for name, data in sorted(sources.items()):
        whole.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return whole.hexdigest()


def pairs(messages: Sequence[Message]) -> dict[int, list[int]]:
    """Which answers belong to which question, by their places among the messages.

    An instrument answers in order. Where there are as many answers as questions, that settles it,
    however far the questions run ahead. Else some were not answered (or in pieces), and the last
    questions before an answer are taken to be those that were.

    >>> w, r = (0, "measure", "w"), (0, "measure", "r")
    >>> pairs([Message(*w, b"A?"), Message(*w, b"B?"), Message(*r, b"1"), Message(*r, b"2")])
    {0: [2], 1: [3]}
    """
    questions = [at for at, m in enumerate(messages) if m.direction == "w" and asks(m.data)]
    answers = [at for at, m in enumerate(messages) if m.direction == "r"]
    if len(questions) == len(answers):
        return {question: [answer] for question, answer in zip(questions, answers, strict=True)}
    found: dict[int, list[int]] = {}
    asked: list[int] = []
    came: list[int] = []
    for at, message in enumerate(messages):
        if message.direction == "r":
            came.append(at)
        elif asks(message.data):
            if came:
                found.update(_group(asked, came))
                asked, came = [], []
            asked.append(at)
    found.update(_group(asked, came))
    return found


def _group(asked: Sequence[int], came: Sequence[int]) -> dict[int, list[int]]:
    """Questions without answers between them, and the answers that came after them."""
    if not asked or not came:
        return {}
    those = asked[-len(came) :]
    found = {question: [answer] for question, answer in zip(those, came, strict=False)}
    found[those[-1]] += came[len(those) :]  # more answers than questions: one came in pieces
    return found
