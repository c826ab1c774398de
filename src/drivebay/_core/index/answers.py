"""Stage 2b: the plugin that answers, without the reasons, as quickly as a dictionary gives it.

Promises: the same plugin that is first in ``Catalog.resolve`` and may answer, whatever is asked; a
pure function of the catalog and of the names that may not answer. Never grows with the questions:
nothing that was asked is kept, so the first question about an instrument costs what the next does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import translate
from typing import Final, NamedTuple

from drivebay._core.index.sources import Record
from drivebay._core.index.spelling import normal_maker, normal_model

_WILDCARD: Final = re.compile(r"[*?\[]")

_ANY: Final[frozenset[str]] = frozenset()

Claimants = tuple[tuple[str, frozenset[str]], ...]
"""Plugins that claim a model, the best first, each with the makers it names (none: any)."""


def is_wildcard(model: str) -> bool:
    """Tell whether a model in a manifest stands for many."""
    return _WILDCARD.search(model) is not None


class Pattern:
    """A wildcard in a manifest; its expression is compiled when its literal start first fits."""

    __slots__ = ("_expression", "all_below", "makers", "prefix", "record", "text")

    def __init__(self, text: str, record: Record) -> None:
        found = _WILDCARD.search(text)
        place = found.start() if found else len(text)
        self.text = text
        self.prefix = text[:place]
        # By far the most common form, and whoever asks has compared the start.
        self.all_below = text[place:] == "*"
        self.record = record
        self.makers = makers_of(record)
        self._expression: re.Pattern[str] | None = None

    def match(self, text: str) -> bool:
        """Tell whether a text that begins as the pattern does fits to its end."""
        if self.all_below:
            return True
        if self._expression is None:
            self._expression = re.compile(translate(self.text))
        return self._expression.match(text) is not None


class Patterns:
    """Many wildcards, by their literal start: a question meets only those that begin like it."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._by_start: dict[str, list[Pattern]] = {}
        for pattern in patterns:
            self._by_start.setdefault(pattern.prefix, []).append(pattern)
        # The longest start is the most specific one.
        self._lengths = sorted({len(start) for start in self._by_start}, reverse=True)
        self._sole = {
            start: found[0].record.name if found[0].all_below and not found[0].makers else found
            for start, found in self._by_start.items()
        }

    def matching(self, text: str) -> Iterator[Pattern]:
        """Yield the patterns that fit ``text``, the most specific first."""
        for length in self._lengths:
            if length <= len(text):
                for pattern in self._by_start.get(text[:length], ()):
                    if pattern.match(text):
                        yield pattern

    def first(self, text: str, maker: str, blocked: frozenset[str]) -> str | None:
        """Return the first of :meth:`matching` that serves a maker and is not blocked."""
        for length in self._lengths:
            hit = self._sole.get(text[:length])
            if hit is None or length > len(text):
                continue
            if hit.__class__ is str and hit not in blocked:
                return hit
            for pattern in self._by_start[text[:length]]:
                if (
                    pattern.record.name not in blocked
                    and pattern.match(text)
                    and serves(pattern.makers, maker)
                ):
                    return pattern.record.name
        return None


class Tables(NamedTuple):
    """What a catalog's claims come to, for one look-up each."""

    written: Mapping[str, str]
    """Model as manifests write it -> plugin; no model with a pin."""
    exact: Mapping[str, str | Claimants]
    """Model in normal form -> the one plugin that claims it for any maker, or all that do."""
    patterns: Patterns
    pinned: frozenset[str]
    """Models (normal form) whose order a user changed: only the whole list tells."""


def serves(makers: frozenset[str], maker: str) -> bool:
    """Tell whether a plugin for ``makers`` (normal form; none: any) may serve a maker as spelt."""
    return not makers or not maker or not (known := normal_maker(maker)) or known in makers


def makers_of(record: Record) -> frozenset[str]:
    """Return the makers a manifest names, in normal form."""
    makers = record.body.makers
    return frozenset(map(normal_maker, makers)) if makers else _ANY


class Answers(dict[str, "str | None"]):
    """Text -> plugin that answers for it now, or None; ask with ``answers[text]``.

    Models as they are written are its items; all else (a reply, another spelling, a wildcard) is
    worked out when it is asked and not kept. Empty until the first question.

    Args:
        tables: gives the catalog's tables, called at the first question.
        resolve: all claimants of a text, for what the tables do not decide.
        blocked: names of plugins that may not answer.
    """

    __slots__ = ("_blocked", "_exact", "_patterns", "_pinned", "_resolve", "_tables")

    def __init__(
        self,
        tables: Callable[[], Tables],
        resolve: Callable[[str], list[tuple[Record, str]]],
        blocked: frozenset[str],
    ) -> None:
        super().__init__()
        self._tables: Callable[[], Tables] | None = tables
        self._resolve = resolve
        self._blocked = blocked

    def __missing__(self, text: str) -> str | None:
        tables = self._tables
        if tables is not None:
            self._fill(tables())
            return self[text]
        if not isinstance(text, str):
            return self[str(text)]  # a model that is a number, as YAML reads 2400
        maker, model = "", text
        if "," in text:
            fields = text.split(",", 2)
            maker, model = fields[0], fields[1]
        model = normal_model(model)
        if model not in self._pinned:
            hit = self._exact.get(model)
            if hit.__class__ is str and hit not in self._blocked:
                return hit
            name = self._claimant(hit, maker) if hit else None
            name = name or self._patterns.first(model, maker, self._blocked)
            if name is not None:
                return name
        claims = self._resolve(text)
        return next((record.name for record, _ in claims if record.name not in self._blocked), None)

    def _fill(self, tables: Tables) -> None:
        # Two threads that come here at once work out the same.
        blocked = self._blocked
        if blocked:
            self.update({m: name for m, name in tables.written.items() if name not in blocked})
        else:
            self.update(tables.written)
        self._exact, self._patterns, self._pinned = tables.exact, tables.patterns, tables.pinned
        self._tables = None

    def _claimant(self, claimants: str | Claimants, maker: str) -> str | None:
        if isinstance(claimants, str):
            return None
        for name, makers in claimants:
            if name not in self._blocked and serves(makers, maker):
                return name
        return None
