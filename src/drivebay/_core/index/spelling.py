"""Stage 2b: how models, makers and replies are spelt, and when two spellings mean the same.

Promises: pure functions of text, and any text at all has a look-up form. Never knows which plugins
there are.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_COMPANY_WORDS: Final = frozenset(
    {"ag", "and", "co", "company", "corp", "corporation", "electronics", "gmbh", "inc"}
    | {"incorporated", "instrument", "instruments", "international", "limited", "llc", "ltd"}
    | {"measurement", "sa", "systems", "technologies", "technology", "test"}
)
_MAKER_ALIASES: Final = {
    # The same instruments have answered under these names as the companies were renamed.
    "hewlett packard": "keysight",
    "hewlettpackard": "keysight",
    "hp": "keysight",
    "agilent": "keysight",
    "rohde schwarz": "rohde&schwarz",
    "rohde & schwarz": "rohde&schwarz",
    "rohdeschwarz": "rohde&schwarz",
}


class Identity(NamedTuple):
    """The four fields of an ``*IDN?`` reply (IEEE 488.2, 10.14), blanks stripped."""

    manufacturer: str
    model: str
    serial: str
    firmware: str

    def to_dict(self) -> dict[str, str]:
        return self._asdict()


def parse_idn(text: str) -> Identity:
    """Split an ``*IDN?`` reply; missing fields are empty, further commas stay in the firmware.

    >>> parse_idn("KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30").model
    'MODEL 2400'
    """
    fields = [part.strip() for part in text.strip().split(",", 3)]
    return Identity(*fields, *[""] * (4 - len(fields)))


def normal_model(text: str) -> str:
    """Return a model's look-up form: no ``MODEL``, no blanks at the ends, one case.

    >>> normal_model(" MODEL 2400 ") == normal_model("2400")
    True
    """
    text = text.strip().casefold()
    bare = text.removeprefix("model")
    if bare is not text:
        text = bare.lstrip(" \t:_-")
    return " ".join(text.split()) if " " in text else text


@lru_cache(maxsize=4096)
def normal_maker(text: str) -> str:
    """Return a maker's look-up form, so that renamed and abbreviated companies meet.

    >>> normal_maker("KEITHLEY INSTRUMENTS INC.") == normal_maker("Keithley")
    True
    """
    words = re.sub(r"[^a-z0-9&]+", " ", text.casefold()).split()
    kept = [word for word in words if word not in _COMPANY_WORDS] or words
    name = " ".join(kept)
    return _MAKER_ALIASES.get(name, _MAKER_ALIASES.get(kept[0], name) if kept else name)
