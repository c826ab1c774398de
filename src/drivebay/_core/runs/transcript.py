"""What went to and from the instrument, packed into blocks for a run file and read back.

Promises: a message comes back byte for byte with its time; a block is read only if its checksum is
right, and one that is damaged hides no other. Knows no link and no keeper.

A block is zlib's, level 1 (the fastest; the recorder shares the machine with the driver). Inside:
the times of all its messages as 64-bit integers, their lengths as 32-bit ones, their directions as
one byte each (``w`` or ``r``), and their bytes one after the other; little endian throughout.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from drivebay._core.runs import fileformat

Phase = Literal["connect", "measure"]

_LEVEL: Final = 1
_BLOCK_BYTES: Final = 1 << 20
"""Bytes of messages after which a new block is begun; one message is never divided."""
_PER_MESSAGE: Final = 13


@dataclass(frozen=True, slots=True)
class Message:
    """One message to or from the instrument.

    Attributes:
        time_ns: nanoseconds since the run began; negative for what came before, as when the
            driver connected.
        phase: ``connect`` while the driver connected, ``measure`` since the run began.
        direction: ``w`` to the instrument, ``r`` from it.
        data: its bytes, line end included.
        instrument: which, where there are several, as in ``provenance["instruments"]``; else empty.
    """

    time_ns: int
    phase: Phase
    direction: Literal["w", "r"]
    data: bytes
    instrument: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Messages of one phase, to and from one instrument, as they will be stored."""

    phase: str
    messages: int
    data: bytes


def blocks(
    phase: Phase, heard: Sequence[tuple[int, str, bytes]], instrument: str = ""
) -> list[Block]:
    """Pack messages, in their order.

    Args:
        phase: of all of them.
        heard: nanoseconds since the run began, direction, bytes.
        instrument: to and from which, where there are several.
    """
    whose = f"{phase} {instrument}" if instrument else phase
    found, part, size = [], [], 0
    for message in heard:
        part.append(message)
        size += len(message[2])
        if size >= _BLOCK_BYTES:
            found.append(_packed(whose, part))
            part, size = [], 0
    if part:
        found.append(_packed(whose, part))
    return found


def _packed(phase: str, messages: Sequence[tuple[int, str, bytes]]) -> Block:
    count = len(messages)
    times, ways, parts = zip(*messages, strict=True)
    head = struct.pack(f"<{count}q{count}I", *times, *map(len, parts))
    plain = b"".join((head, "".join(ways).encode("ascii"), *parts))
    return Block(phase, count, zlib.compress(plain, _LEVEL))


def unpacked(whose: str, count: int, data: bytes) -> list[Message]:
    """Return the messages of a block, from its phase and, where there are several, its instrument.

    Raises:
        ValueError: it is no such block.
    """
    try:
        plain = zlib.decompress(data)
    except zlib.error as exc:
        raise ValueError(f"it cannot be unpacked: {exc}") from exc
    if len(plain) < count * _PER_MESSAGE:
        raise ValueError(f"it is too short for {count} messages")
    times = struct.unpack_from(f"<{count}q", plain)
    lengths = struct.unpack_from(f"<{count}I", plain, count * 8)
    ways = plain[count * 12 : count * _PER_MESSAGE].decode("latin-1")
    if len(plain) != count * _PER_MESSAGE + sum(lengths) or set(ways) - {"w", "r"}:
        raise ValueError(f"it does not hold the {count} messages it should")
    return list(_cut(whose, zip(times, ways, lengths, strict=True), plain, count))


def _cut(
    whose: str, heads: Iterator[tuple[int, str, int]], plain: bytes, count: int
) -> Iterator[Message]:
    first, _, instrument = whose.partition(" ")
    phase: Phase = "connect" if first == "connect" else "measure"
    at = count * _PER_MESSAGE
    for time_ns, way, length in heads:
        direction: Literal["w", "r"] = "w" if way == "w" else "r"
        yield Message(time_ns, phase, direction, plain[at : at + length], instrument)
        at += length


def block_crc32(number: int, phase: str, first: int, messages: int, data: bytes) -> int:
    """Checksum of a block and of its place in the run."""
    return zlib.crc32(data, fileformat.text_crc32(number, phase, first, messages))


def in_time(messages: Iterable[Message], instruments: Sequence[str]) -> Iterator[Message]:
    """Give messages of several instruments in the order of their times, as they come in blocks.

    A recorder takes what every instrument has said in one step after the other: within a step their
    blocks follow each other, and steps do. So what one instrument says waits until each other one
    that still speaks has come as far, and never longer than to the end.

    Args:
        messages: those of each instrument in order.
        instruments: names of all that say anything.
    """
    waiting: dict[str, deque[Message]] = {name: deque() for name in instruments}
    for message in messages:
        waiting.setdefault(message.instrument, deque()).append(message)
        while all(waiting.values()):
            yield min(waiting.values(), key=lambda each: each[0].time_ns).popleft()
    rest = [message for each in waiting.values() for message in each]
    yield from sorted(rest, key=lambda message: message.time_ns)


SELECT: Final = "SELECT number, phase, first_message, messages, crc32, data FROM transcript"


def read_block(fields: tuple[Any, ...]) -> list[Message]:
    """Return the messages of a row of :data:`SELECT`.

    Raises:
        ValueError: it is damaged.
    """
    number, phase, first, count, crc, data = fields
    try:
        right = block_crc32(number, phase, first, count, data) == crc
    except TypeError:  # a field that is not even of its type
        right = False
    if not right:
        raise ValueError("its checksum does not match")
    return unpacked(phase, count, data)
