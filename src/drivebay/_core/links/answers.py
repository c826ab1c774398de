"""What comes back from an instrument, read as text or as an IEEE 488.2 block; pure functions.

Rules: no input or output, no waiting; what cannot be read is a ValueError with the reason, and the
link makes an AnswerError with the raw bytes of it.
"""

from __future__ import annotations

import re

_QUOTED = re.compile(rb"\"[^\"]*\"|'[^']*'")
_BLOCK_START = re.compile(rb"#[0-9]")
_TEXT_CONTROLS = str.maketrans("", "", "\t\r\x00")

INDEFINITE = -1


def asks(message: bytes) -> bool:
    """Whether a program message makes the instrument answer: a ``?`` outside strings and blocks.

    >>> asks(b"*IDN?"), asks(b":DISP:TEXT 'ready?'"), asks(b":OUTP ON")
    (True, False, False)
    """
    if b"?" not in message:
        return False
    block = _BLOCK_START.search(message)
    head = message[: block.start()] if block else message
    return b"?" in _QUOTED.sub(b"", head)


def decode_answer(raw: bytes) -> str:
    r"""The text of one answer: ASCII, UTF-8, or printable Latin-1 (a degree sign of older makes).

    Raises:
        ValueError: it is none of these, so it is binary data or line noise.

    >>> decode_answer(b"23.5 \xb0C")
    '23.5 °C'
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if text.isprintable() or text.translate(_TEXT_CONTROLS).isprintable():
        return text
    raise ValueError(f"answer of {len(raw)} bytes is neither ASCII, UTF-8 nor Latin-1 text")


def block_span(buffer: bytes | bytearray) -> tuple[int, int] | None:
    """Where the payload of the block at the start of ``buffer`` begins, and its length.

    The length is :data:`INDEFINITE` for ``#0``. None means that more bytes are needed to tell.
    Syntax: IEEE 488.2, "arbitrary block response data".

    Raises:
        ValueError: what is there does not begin a block.

    >>> block_span(b"#15hello"), block_span(b"#0abc"), block_span(b"#21")
    ((3, 5), (2, -1), None)
    """
    if not buffer:
        return None
    if buffer[:1] != b"#":
        raise ValueError(f"expected a block that begins with '#', found {bytes(buffer[:16])!r}")
    if len(buffer) < 2:
        return None
    digits = buffer[1] - 0x30
    if not 0 <= digits <= 9:
        raise ValueError(f"block header {bytes(buffer[:2])!r} has no digit after '#'")
    if digits == 0:
        return 2, INDEFINITE
    number = bytes(buffer[2 : 2 + digits])
    if not number.isdigit() and number:
        raise ValueError(
            f"block header {bytes(buffer[: 2 + digits])!r} has no length of {digits} digits"
        )
    return (2 + digits, int(number)) if len(number) == digits else None
