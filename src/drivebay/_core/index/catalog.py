"""Stage 2b: which plugin answers a question about a model, an ``*IDN?`` reply or a method.

Promises: every index is a pure function of the records, so nothing can be left behind in it; two
plugins that claim one model are a conflict that can be seen, and the choice between them is always
the same; an exact claim beats a wildcard, a user's pin beats both. Never guesses: a model nobody
claims has no plugin, and a maker that contradicts the manifest is a reason against it.

Readers need no lock: a catalog never changes its answers, it only works them out when asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from packaging.version import InvalidVersion, Version

from drivebay._core.index.compat import static_problem
from drivebay._core.index.sources import Record

_WILDCARD: Final = re.compile(r"[*?\[]")
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


class Candidate(NamedTuple):
    """One plugin considered for an instrument, with the reasons."""

    plugin: str
    usable: bool
    score: int
    why: tuple[str, ...]
    why_not: tuple[str, ...]


class Conflict(NamedTuple):
    """A model that more than one plugin claims; ``chosen`` is the one that answers for it."""

    model: str
    plugins: tuple[str, ...]
    chosen: str
    reason: str


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
    if text[:5] == "model":
        text = text[5:].lstrip(" \t:_-")
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


class _Pattern:
    """A wildcard in a manifest; its expression is compiled when its literal start first fits."""

    def __init__(self, text: str, record: Record) -> None:
        found = _WILDCARD.search(text)
        self.text = text
        self.prefix = text[: found.start()] if found else text
        self.record = record

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(translate(self.text))

    def match(self, text: str) -> bool:
        if self.text[len(self.prefix) :] == "*":
            return True  # by far the most common form, and the caller has compared the start
        return self._expression.match(text) is not None


class Catalog:
    """All winning records and the indexes over them."""

    def __init__(self, records: Iterable[Record], pins: Mapping[str, str], platform: str) -> None:
        self.records: dict[str, Record] = {record.key: record for record in records}
        self.platform = platform
        self._pins = {normal_model(model): plugin for model, plugin in pins.items()}
        self._answers: tuple[frozenset[str], dict[str, str]] | None = None

    @cached_property
    def _good(self) -> list[Record]:
        return [record for record in self.records.values() if self.problem(record) is None]

    def problem(self, record: Record) -> str | None:
        """Say why a plugin cannot be used here, from its manifest alone, or None."""
        if not record.claim.ok:
            return next((d.message for d in record.body.diagnostics), "its manifest is broken")
        return static_problem(record.body.needs, self.platform)

    # -- indexes, each built at first use ----------------------------------------------------

    @cached_property
    def exact(self) -> dict[str, tuple[Record, ...]]:
        """Normal model -> records that claim it word for word, the best first."""
        found: dict[str, list[Record]] = {}
        for record in self._good:
            # Two spellings of one model in one manifest are one claim.
            for model in dict.fromkeys(map(normal_model, record.body.models)):
                if not _WILDCARD.search(model):
                    found.setdefault(model, []).append(record)
        return {
            model: tuple(claims) if len(claims) == 1 else self._ranked(model, claims)
            for model, claims in found.items()
        }

    @cached_property
    def best(self) -> dict[str, str]:
        """Model, in normal form and as written -> the plugin that answers for it."""
        names = {model: records[0].name for model, records in self.exact.items()}
        for record in self._good:
            for model in record.body.models:
                if model not in names and not _WILDCARD.search(model):
                    names[model] = names[normal_model(model)]
        return names

    @cached_property
    def by_method(self) -> dict[str, tuple[Record, ...]]:
        """Method -> records that declare it, by precedence, then by name."""
        found: dict[str, dict[str, Record]] = {}
        for record in sorted(self._good, key=lambda r: (r.rank, r.key)):
            for method in record.body.methods:
                found.setdefault(method, {})[record.key] = record
        return {method: tuple(records.values()) for method, records in found.items()}

    @cached_property
    def _wildcards(self) -> dict[str, list[_Pattern]]:
        found: dict[str, list[_Pattern]] = {}
        for record in self._good:
            for model in record.body.models:
                if _WILDCARD.search(model):
                    pattern = _Pattern(normal_model(model), record)
                    found.setdefault(pattern.prefix, []).append(pattern)
        return found

    @cached_property
    def _idn_patterns(self) -> dict[str, list[_Pattern]]:
        found: dict[str, list[_Pattern]] = {}
        for record in self._good:
            for text in record.body.idn_patterns:
                pattern = _Pattern(text.casefold(), record)
                found.setdefault(pattern.prefix, []).append(pattern)
        return found

    @cached_property
    def _model_starts(self) -> list[int]:
        """Lengths of the wildcards' literal starts, the longest (most specific) first."""
        return sorted({len(prefix) for prefix in self._wildcards}, reverse=True)

    @cached_property
    def _idn_starts(self) -> list[int]:
        return sorted({len(prefix) for prefix in self._idn_patterns}, reverse=True)

    # -- choosing ----------------------------------------------------------------------------

    def _ranked(self, model: str, records: Iterable[Record]) -> tuple[Record, ...]:
        """Order records that claim the same model: pin, overrides, precedence, version, name."""
        records = list(records)
        pinned = self._pins.get(model, "")
        overridden = {name for record in records for name in record.body.overrides}

        def order(record: Record) -> tuple[object, ...]:
            return (
                record.name != pinned,
                record.name in overridden,
                record.rank,
                _NewerFirst(record.body.version),
                record.key,
            )

        return tuple(sorted(records, key=order))

    def claims(self, model: str, maker: str = "", idn: str = "") -> list[tuple[Record, str]]:
        """Return every record that claims an instrument, the best first, each with why.

        Args:
            model: in normal form.
            maker: in normal form, empty when it is not known; contradicting makers are left out.
            idn: the whole reply in lower case, for manifests with ``idn_patterns``.
        """
        found: dict[str, tuple[Record, str]] = {}
        for record in self.exact.get(model, ()):
            found.setdefault(record.key, (record, f"declares model {model.upper()!r}"))
        for why, patterns, text, starts in (
            ("model", self._wildcards, model, self._model_starts),
            ("*IDN?", self._idn_patterns, idn, self._idn_starts),
        ):
            for pattern in _matching(patterns, text, starts):
                reason = f"its {why} pattern {pattern.text!r} matches"
                found.setdefault(pattern.record.key, (pattern.record, reason))
        pinned = self._pins.get(model)
        agreeing = [pair for pair in found.values() if maker_agrees(pair[0], maker)]
        if pinned:
            agreeing.sort(key=lambda pair: pair[0].name != pinned)
        return agreeing

    def resolve(self, text: str) -> list[tuple[Record, str]]:
        """Return the records for whatever a person or an instrument calls itself.

        Accepts ``2400``, ``MODEL 2400``, ``Keithley 2400`` and a whole ``*IDN?`` reply. An option
        after the model (``2400-LV``, ``2400/LV``) is dropped when nobody claims it as it stands.
        """
        maker = ""
        if "," in text:
            identity = parse_idn(text)
            maker, model = normal_maker(identity.manufacturer), normal_model(identity.model)
        else:
            model = normal_model(text)
        idn = text.strip().casefold()
        for candidate_maker, candidate in _spellings(maker, model):
            found = self.claims(candidate, candidate_maker, idn)
            if found:
                return found
        return []

    def answers(self, blocked: frozenset[str]) -> dict[str, str]:
        """Return :attr:`best` without the plugins that may not answer now."""
        held = self._answers
        if held is None or held[0] != blocked:
            best = self.best
            if blocked:
                best = {model: name for model, name in best.items() if name not in blocked}
            self._answers = held = (blocked, best)
        return held[1]

    def first(self, text: str, blocked: frozenset[str]) -> str | None:
        """Return the best plugin for a model or an ``*IDN?`` reply that is not blocked.

        The same answer as the first of :meth:`resolve`, without making the list, since programs
        ask this for every instrument they see.
        """
        if not self._pins:
            maker, _, rest = text.partition(",")
            model = normal_model(rest.partition(",")[0] if rest else text)
            maker = maker if rest else ""
            for record in self.exact.get(model, ()):
                if record.claim.name not in blocked and _serves(record, maker):
                    return record.claim.name
            for pattern in _matching(self._wildcards, model, self._model_starts):
                if pattern.record.claim.name not in blocked and _serves(pattern.record, maker):
                    return pattern.record.claim.name
        for record, _ in self.resolve(text):
            if record.claim.name not in blocked:
                return record.claim.name
        return None

    def conflicts(self, usable: Callable[[Record], bool]) -> tuple[Conflict, ...]:
        """Return the models that more than one usable plugin claims for the same maker."""
        found = []
        for model, records in self.exact.items():
            rivals = [record for record in records if usable(record)] if len(records) > 1 else []
            if len(rivals) > 1 and any(_same_makers(rivals[0], other) for other in rivals[1:]):
                chosen = rivals[0].name
                reason = "pinned" if self._pins.get(model) == chosen else "precedence"
                names = tuple(record.name for record in rivals)
                found.append(Conflict(model.upper(), names, chosen, reason))
        return tuple(sorted(found))


def maker_agrees(record: Record, maker: str) -> bool:
    """Tell whether a record may serve ``maker`` (normal form); undeclared makers agree with all."""
    makers = record.body.makers
    return not maker or not makers or maker in map(normal_maker, makers)


def _serves(record: Record, maker: str) -> bool:
    """:func:`maker_agrees` for a maker as the instrument spells it."""
    return not record.body.makers or maker_agrees(record, normal_maker(maker) if maker else "")


def _same_makers(one: Record, other: Record) -> bool:
    mine, theirs = map(normal_maker, one.body.makers), map(normal_maker, other.body.makers)
    first, second = set(mine), set(theirs)
    return not first or not second or bool(first & second)


def _spellings(maker: str, model: str) -> Iterable[tuple[str, str]]:
    yield maker, model
    if not maker and " " in model:
        first, _, rest = model.partition(" ")
        yield normal_maker(first), normal_model(rest)
        maker, model = normal_maker(first), rest
    plain = re.split(r"[-/\s]", normal_model(model), maxsplit=1)[0]
    if plain and plain != model:
        yield maker, plain


def _matching(
    patterns: dict[str, list[_Pattern]], text: str, starts: list[int]
) -> Iterable[_Pattern]:
    for length in starts:
        for pattern in patterns.get(text[:length], ()) if length <= len(text) else ():
            if pattern.match(text):
                yield pattern


class _NewerFirst:
    """Sort key that puts the newer version first."""

    def __init__(self, version: str) -> None:
        try:
            self.version = Version(version)
        except InvalidVersion:
            self.version = Version("0")

    def __lt__(self, other: _NewerFirst) -> bool:
        return self.version > other.version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _NewerFirst) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)


def winners(records: Iterable[Record]) -> tuple[list[Record], list[tuple[Record, str]]]:
    """Choose one record per name; return the winners and each loser with its reason.

    A good manifest beats a broken one, then a declared ``overrides`` of its own name, then the
    source that comes first, then the path.
    """
    by_key: dict[str, Record] = {}
    lost: list[tuple[Record, str]] = []
    for record in records:
        rival = by_key.setdefault(record.key, record)
        if rival is record:
            continue
        first, second = sorted((rival, record), key=_precedence)
        by_key[record.key] = first
        lost.append((second, f"shadowed by {first.name} {first.body.version} at {first.where()}"))
    return list(by_key.values()), lost


def _precedence(record: Record) -> tuple[object, ...]:
    overrides = record.name in record.body.overrides
    return (not record.claim.ok, not overrides, record.rank, record.path)
