"""Command headers as manuals print them, and which headers on the wire they stand for.

Promises: a header of the dialect stands for its short and its long form in any case, with and
without its optional nodes, and for nothing in between (SCPI-99 volume 1, 6.2.1). Never reads a
message: it is given one header. Compiles nothing: a manifest has a hundred of them and is read at
every start.

``:SOURce[1]:VOLTage[:LEVel]`` is the notation of manuals: capitals are the short form, ``[...]``
may be left out, ``[1]`` is a numeric suffix that may be left out and can be no other. A word
without small letters, ``:SOUR:VOLT``, stands for every word whose short form it is. A numeric
suffix that the notation does not name is a channel, and no suffix is channel 1. ``:*`` at the end
stands for everything below as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

MAX_HEADER = 256

_TOKEN = re.compile(
    r"\[(?P<fixed>\d{1,4})\]|(?P<open>\[)|(?P<close>\])|:"
    r"|(?P<name>\*?[A-Za-z_]+)(?P<digits>\d{0,4})"
)
_MIXED = re.compile(r"[A-Z_]+[a-z]+")
_SENT = re.compile(r"(\*?[A-Z_]+)([0-9]{0,4})")
_SMALL = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = "AEIOU"


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of a header.

    Attributes:
        short: its short form in capitals.
        long: its long form; empty where the dialect gives only a short one.
        suffix: the numeric suffix it must have, -1 for any.
        is_channel: whether that suffix is a channel.
    """

    short: str
    long: str
    suffix: int = -1
    is_channel: bool = True

    def takes(self, word: str, number: int) -> bool:
        if self.suffix not in (-1, number):
            return False
        return word in {self.short, self.long} or (not self.long and short_form(word) == self.short)


@dataclass(frozen=True, slots=True)
class Header:
    """One header of a dialect.

    Attributes:
        text: as the dialect spells it.
        plain: the shortest spelling in capitals, for messages and for the nearest-known hint.
        everything_below: whether it ends in ``:*``.
    """

    # An item is a node, or a tuple of items that may be left out.
    text: str
    plain: str
    everything_below: bool
    _items: tuple[object, ...]

    def channel_of(self, header: str, unnamed: str = "1") -> str | None:
        """The channel that a header on the wire addresses, if it is a spelling of this one.

        Args:
            header: absolute, in capitals: ``:SOUR2:VOLT`` or ``*RST``.
            unnamed: what it addresses if it names none.

        Returns:
            The channel's number as text; None if it is another header, or names two channels.
        """
        words = _words(header)
        channels = self._match(self._items, words) if words else None
        if channels is None or len(channels) > 1:
            return None
        return str(next(iter(channels), unnamed))

    def _match(
        self, items: tuple[object, ...], words: tuple[tuple[str, int], ...]
    ) -> frozenset[int] | None:
        """The channels beside 1 that the words name; None if they are not the items."""
        if not items:
            return frozenset() if not words or self.everything_below else None
        first, rest = items[0], items[1:]
        if isinstance(first, tuple):
            found = self._match((*first, *rest), words)
            return self._match(rest, words) if found is None else found
        if not isinstance(first, _Node) or not words or not first.takes(*words[0]):
            return None
        found = self._match(rest, words[1:])
        number = words[0][1]
        if found is not None and first.is_channel and number != 1:
            found |= {number}
        return found


@lru_cache(maxsize=64)
def _words(header: str) -> tuple[tuple[str, int], ...]:
    """The words of a header with their suffixes, 1 where there is none; empty if it is none."""
    found = [_SENT.fullmatch(part) for part in header.removeprefix(":").split(":")]
    words = [(match[1], int(match[2] or 1)) for match in found if match is not None]
    return tuple(words) if len(words) == len(found) else ()


def parse_header(text: str) -> Header:
    """A header of the dialect, ready to be compared.

    Raises:
        ValueError: it is not one; the text says why.

    >>> parse_header(":SOURce:VOLTage[:LEVel]").channel_of(":SOUR2:VOLTAGE")
    '2'
    >>> parse_header(":SOUR:VOLT").channel_of(":SOUR:VOLT:RANG") is None
    True
    """
    body, below = (text[:-2], True) if text.endswith(":*") else (text, False)
    if not body or len(text) > MAX_HEADER:
        raise ValueError(f"{text[:40]!r} is no command header")
    groups: list[list[object]] = [[]]
    plain = ""
    for token in _tokens(body):
        if token["name"]:
            groups[-1].append(_node(token["name"], token["digits"]))
            plain += "" if len(groups) > 1 else _plain(token["name"]) + token["digits"]
        elif token["fixed"]:
            groups[-1].append(_fixed(groups[-1], int(token["fixed"]), text))
        elif token["open"]:
            groups.append([])
        elif token["close"]:
            inside = groups.pop()
            if not groups:
                raise ValueError(f"{text!r} closes a bracket that is not open")
            groups[-1].append(tuple(inside))
    if len(groups) > 1 or not plain:
        raise ValueError(f"{text!r} has no node that must be there, or an open bracket")
    return Header(text, plain, below, tuple(groups[0]))


def _tokens(body: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(body):
        token = _TOKEN.match(body, at)
        if token is None:
            raise ValueError(f"{body!r} has {body[at]!r} where a command header cannot")
        yield token
        at = token.end()


def _fixed(group: list[object], number: int, text: str) -> _Node:
    """The last node again, with a suffix that it may have and that is no channel."""
    last = group.pop() if group else None
    if isinstance(last, _Node):
        return _Node(last.short, last.long, number, is_channel=False)
    raise ValueError(f"{text!r} has a suffix where there is no word")


def short_form(word: str) -> str:
    """The short form of a mnemonic by SCPI's rule: four letters, or three before a vowel.

    >>> short_form("VOLTAGE"), short_form("LEVEL"), short_form("AUTO")
    ('VOLT', 'LEV', 'AUTO')
    """
    word = word.upper()
    if len(word) <= 4:
        return word
    return word[:3] if word[3] in _VOWELS else word[:4]


def forms(name: str) -> tuple[str, str]:
    """The short and the long form of a word of the dialect; no long one if it gives none.

    Raises:
        ValueError: its capitals are no short form.

    >>> forms("VOLTage"), forms("VOLT"), forms("OUTPUT")
    (('VOLT', 'VOLTAGE'), ('VOLT', ''), ('OUTP', 'OUTPUT'))
    """
    if _MIXED.fullmatch(name):
        short, long = name.rstrip(_SMALL), name.upper()
        if len(short) < 3 and len(long) > 4:
            right = short_form(long)
            right += long[len(right) :].lower()
            raise ValueError(f"{name!r}: its capitals are not a short form; write {right!r}")
        return short, long
    word = name.upper()
    return short_form(word), word if len(word) > 4 else ""


def is_form_of(word: str, name: str) -> bool:
    """Whether a word on the wire, in capitals, is a form of a word of the dialect."""
    short, long = forms(name)
    return _Node(short, long).takes(word, 1)


def _plain(name: str) -> str:
    return name.upper() if name.startswith("*") else ":" + forms(name)[0]


def _node(name: str, digits: str) -> _Node:
    # Common commands have one form only.
    short, long = (name.upper(),) * 2 if name.startswith("*") else forms(name)
    return _Node(short, long, int(digits) if digits else -1)
