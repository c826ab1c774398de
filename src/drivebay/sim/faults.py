"""What can go wrong between a program and an instrument, and when it does.

Promises: a schedule gives the same faults for the same seed or script, answer by answer, whatever
the clock says. Never does anything: the proxy carries a fault out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat

OK = "ok"
KINDS = {
    "late": "the answer comes whole, but late",
    "drip": "the answer comes a few bytes at a time",
    "drop": "the answer never comes",
    "truncate": "the answer ends in the middle, without its terminator",
    "garbage": "bytes of the answer are others",
    "busy": "the instrument neither answers nor reads for a while",
    "cut": "the connection is reset in the middle of the answer",
}
# A block stands at the start of an answer or of one of its elements, never within a number.
_BLOCK_START = re.compile(
    rb"(?:\A|(?<=[,; ]))#[1-9]"
    rb"((?:(?<=1)\d|(?<=2)\d{2}|(?<=3)\d{3}|(?<=4)\d{4}|(?<=5)\d{5}"
    rb"|(?<=6)\d{6}|(?<=7)\d{7}|(?<=8)\d{8}|(?<=9)\d{9}))"
)
_SCRIPT = re.compile(r"([a-z]+)(?:\*(\d+))?\Z")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How bad a fault is.

    Attributes:
        late_s: by how much a late answer is late.
        drip_bytes: bytes that come at a time.
        drip_s: the pause between them.
        busy_s: how long the instrument does nothing.
        garbage_share: which share of the bytes is replaced; at least one is.
    """

    late_s: float = 3.0
    drip_bytes: int = 1
    drip_s: float = 0.01
    busy_s: float = 1.0
    garbage_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuses what is no size.

        Raises:
            ValueError: one is negative, or nothing comes at a time.
        """
        for name in ("late_s", "drip_s", "busy_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)!r}")
        if self.drip_bytes < 1:
            raise ValueError(f"drip_bytes must be >= 1, got {self.drip_bytes!r}")
        if not 0 <= self.garbage_share <= 1:
            raise ValueError(f"garbage_share must be 0 to 1, got {self.garbage_share!r}")


def seeded(shares: Mapping[str, float], seed: int) -> Iterator[str]:
    """Faults at random: for each answer ``ok`` or the kind of its fault, without end.

    Args:
        shares: kind to the share of answers it meets, 0 to 1; together at most 1.
        seed: the same gives the same.

    Raises:
        ValueError: a kind or a share that does not exist.
    """
    _check_kinds(shares)
    total = sum(shares.values())
    if any(share < 0 for share in shares.values()) or total > 1 + 1e-9:
        raise ValueError(f"shares must be >= 0 and at most 1 together, got {dict(shares)!r}")
    kinds = [*shares, OK]
    weights = [*shares.values(), max(1.0 - total, 0.0)]
    draw = random.Random(seed)
    return (draw.choices(kinds, weights)[0] for _ in repeat(None))


def scripted(script: Iterable[str] | str) -> Iterator[str]:
    """Faults by a script: one word an answer; when it is over, every answer is ``ok``.

    Args:
        script: words, or a text such as ``ok*3, late, drop``.

    Raises:
        ValueError: a word that is no fault.

    >>> from itertools import islice
    >>> list(islice(scripted("ok*2, drop"), 4))
    ['ok', 'ok', 'drop', 'ok']
    """
    words = script.split(",") if isinstance(script, str) else list(script)
    planned: list[str] = []
    for word in words:
        match = _SCRIPT.match(word.strip())
        if match is None:
            raise ValueError(f"{word.strip()!r} is no word of a script, expected late or ok*3")
        planned += [match[1]] * int(match[2] or 1)
    _check_kinds(set(planned) - {OK})
    return chain(planned, repeat(OK))


def _check_kinds(kinds: Iterable[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; faults: {', '.join(KINDS)}")


def garbled(answer: bytes, share: float, draw: random.Random) -> bytes:
    """An answer with some bytes replaced; its terminator, a newline, stays and none is added."""
    body = bytearray(answer.rstrip(b"\r\n"))
    count = min(len(body), max(1, round(share * len(body))))
    for place in draw.sample(range(len(body)), count):
        others = [byte for byte in range(256) if byte not in {body[place], 10, 13}]
        body[place] = draw.choice(others)
    return bytes(body) + answer[len(body) :]


class AnswerFramer:
    """Cuts what an instrument sends into answers: at newlines that are not inside a block.

    The length of an indefinite block (``#0``) is not known: it ends where what has come so far ends
    with a newline, so a slow one may count as more than one answer.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The answers that are complete now, terminators included."""
        self._rest += data
        answers = []
        while (end := self._end()) >= 0:
            answers.append(self._rest[: end + 1])
            self._rest = self._rest[end + 1 :]
        return answers

    def take_rest(self) -> bytes:
        """What has come of an answer that is not complete."""
        rest, self._rest = self._rest, b""
        return rest

    def _end(self) -> int:
        """Where the terminator of the first answer is; -1 if it has not come."""
        if self._rest.startswith(b"#0"):
            return len(self._rest) - 1 if self._rest.endswith(b"\n") else -1
        at = 0
        while True:
            end = self._rest.find(b"\n", at)
            start = _BLOCK_START.search(self._rest, at, max(end, 0))
            if end < 0 or start is None:
                return end
            at = start.end() + int(start[1])
            if at > len(self._rest):
                return -1
