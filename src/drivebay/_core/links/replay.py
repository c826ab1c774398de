"""Record what passes over a link, and play it back to the same code without the instrument.

Promises: a replay is strict. What is sent must be what was recorded, byte for byte, in order; the
first byte that differs is named. Nothing is guessed, and nothing waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from drivebay._core.errors import LinkError, ResourceError
from drivebay._core.links.direct import DirectLink
from drivebay._core.links.resource import parse_resource

_FORMAT = 1

Entry = tuple[int, str, bytes]


@dataclass(slots=True)
class Recording:
    """What passed over one link, in order.

    Attributes:
        resource: address of the instrument it was recorded from.
        entries: ``(monotonic_ns, "w" or "r", bytes)``, each a whole message with its terminator.
        supports_binary: whether the recorded link took binary blocks.
    """

    resource: str
    entries: list[Entry] = field(default_factory=list)
    supports_binary: bool = True

    def save(self, path: str | Path) -> None:
        """Write it as JSON lines: a head, then ``[seconds, direction, text]`` for each message.

        Bytes are written as Latin-1 text, so that the file reads well and loses nothing.
        """
        head = {
            "drivebay_recording": _FORMAT,
            "resource": self.resource,
            "supports_binary": self.supports_binary,
        }
        start = self.entries[0][0] if self.entries else 0
        lines = [json.dumps(head)]
        lines += [
            json.dumps([round((at - start) / 1e9, 6), direction, data.decode("latin-1")])
            for at, direction, data in self.entries
        ]
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is not a recording; the message names the line.
        """
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        try:
            head = json.loads(lines[0])
            recording = cls(str(head["resource"]), supports_binary=bool(head["supports_binary"]))
        except (IndexError, KeyError, TypeError, ValueError) as exc:
            raise ValueError(f"{path}:1: not the head of a recording") from exc
        if head.get("drivebay_recording") != _FORMAT:
            raise ValueError(f"{path}:1: recording format is not {_FORMAT}")
        for number, line in enumerate(lines[1:], start=2):
            recording.entries.append(_entry(line, f"{path}:{number}"))
        return recording


def _entry(line: str, where: str) -> Entry:
    try:
        seconds, direction, text = json.loads(line)
        entry = (int(seconds * 1e9), str(direction), text.encode("latin-1"))
    except (AttributeError, TypeError, ValueError) as exc:
        raise ValueError(f"{where}: not a recorded message") from exc
    if direction not in {"w", "r"}:
        raise ValueError(f"{where}: direction {direction!r} is neither 'w' nor 'r'")
    return entry


def record(link: DirectLink) -> Recording:
    """Record everything that passes over ``link`` from now on."""
    recording = Recording(link.resource, supports_binary=link.supports_binary)
    link.sink = lambda at, direction, data: recording.entries.append((at, direction, data))
    return recording


class ReplayLink(DirectLink):
    """Plays a recording back to code that sends the same bytes again.

    An answer that the recording does not hold is a LinkTimeoutError at once: an instrument that
    gave none in time is replayed as that.
    """

    def __init__(
        self,
        recording: Recording | Iterable[Entry],
        *,
        resource: str = "REPLAY",
        timeout_s: float = 5.0,
    ) -> None:
        if not isinstance(recording, Recording):
            recording = Recording(resource, list(recording))
        super().__init__(recording.resource, _interface(recording), timeout_s=timeout_s)
        self.supports_binary = recording.supports_binary
        self._entries = recording.entries
        self._at = 0

    @property
    def remaining(self) -> int:
        """Messages of the recording that were not played yet."""
        return len(self._entries) - self._at

    def finish(self) -> None:
        """Say that all of it must have been played.

        Raises:
            LinkError: messages are left.
        """
        if self.remaining:
            _, direction, data = self._entries[self._at]
            kind = "to be sent" if direction == "w" else "to be read"
            raise LinkError(
                f"{self.resource}: {self.remaining} recorded messages were not played, the first "
                f"{kind} is {data[:80]!r}",
                resource=self.resource,
            )

    def _send(self, message: bytes, deadline: float) -> int:
        number = self._at + 1
        if self.remaining == 0:
            raise self._differs(f"sent {_shown(message)} after the end of the recording")
        _, direction, expected = self._entries[self._at]
        if direction == "r":
            raise self._differs(
                f"message {number}: sent {_shown(message)} before the recorded answer "
                f"{_shown(expected)} was read"
            )
        if message != expected:
            at = next(
                (i for i, (a, b) in enumerate(zip(message, expected, strict=False)) if a != b),
                min(len(message), len(expected)),
            )
            raise self._differs(
                f"message {number} differs at byte {at}: sent {_shown(message[at:])}, recorded "
                f"{_shown(expected[at:])} (of {_shown(expected)})"
            )
        self._at += 1
        return len(message)

    def _differs(self, what: str) -> LinkError:
        return LinkError(f"{self.resource}: {what}", resource=self.resource, command=self._asking)

    def _await(self, deadline: float) -> bytes:
        """What is there now: nothing comes later, so there is nothing to wait for."""
        return self._receive(deadline)

    def _receive(self, deadline: float) -> bytes:
        if not self._waiting():
            return b""
        data = self._entries[self._at][2]
        self._at += 1
        self._ended = True
        return data

    def _waiting(self) -> bool:
        return bool(self.remaining) and self._entries[self._at][1] == "r"

    def _reconnect(self, deadline: float) -> None:
        """Nothing to do: what the recorded link said after its reopen is in the recording."""

    def _shut(self) -> None:
        """Nothing is open."""


def _interface(recording: Recording) -> str:
    """That of the recorded link: a driver chooses by it how numbers are read."""
    try:
        return parse_resource(recording.resource).interface
    except ResourceError:
        return "replay"


def _shown(data: bytes) -> str:
    """Bytes for a message, cut when they are long."""
    return repr(data if len(data) <= 60 else data[:57] + b"...")
