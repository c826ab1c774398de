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
from functools import cached_property
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from drivebay._core.index.answers import (
    Answers,
    Claimants,
    Pattern,
    Patterns,
    Tables,
    is_wildcard,
    makers_of,
)
from drivebay._core.index.compat import static_problem
from drivebay._core.index.sources import Record
from drivebay._core.index.spelling import normal_maker, normal_model, parse_idn


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


class Catalog:
    """All winning records and the indexes over them."""

    def __init__(self, records: Iterable[Record], pins: Mapping[str, str], platform: str) -> None:
        self.records: dict[str, Record] = {record.claim.key: record for record in records}
        self.platform = platform
        self._pins = {normal_model(model): plugin for model, plugin in pins.items()}
        self._answers: tuple[frozenset[str], Answers] | None = None

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
    def _declared(self) -> tuple[list[tuple[Record, str, str]], list[tuple[Record, str]]]:
        """Record, model as written and in normal form; record and wildcard in normal form."""
        models, wildcards = [], []
        for record in self._good:
            for model in record.body.models:
                normal = normal_model(model)
                if is_wildcard(normal):
                    wildcards.append((record, normal))
                else:
                    models.append((record, model, normal))
        return models, wildcards

    @cached_property
    def exact(self) -> dict[str, tuple[Record, ...]]:
        """Normal model -> records that claim it word for word, the best first."""
        found: dict[str, tuple[Record, ...]] = {}
        several = set()
        for record, _, model in self._declared[0]:
            before = found.setdefault(model, (record,))
            # Two spellings of one model in one manifest are one claim.
            if before[-1] is not record:
                found[model] = (*before, record)
                several.add(model)
        for model in several:
            found[model] = self._ranked(model, found[model])
        return found

    @property
    def spellings(self) -> list[str]:
        """Every model that is claimed word for word, in normal form and as it is written."""
        return list(dict.fromkeys([*self.exact, *(model for _, model, _ in self._declared[0])]))

    @cached_property
    def by_method(self) -> dict[str, tuple[Record, ...]]:
        """Method -> records that declare it, by precedence, then by name."""
        found: dict[str, dict[str, Record]] = {}
        for record in sorted(self._good, key=lambda r: (r.rank, r.key)):
            for method in record.body.methods:
                found.setdefault(method, {})[record.key] = record
        return {method: tuple(records.values()) for method, records in found.items()}

    def paired(self, method: str) -> list[Record]:
        """Records that do a method with a second instrument, by precedence, then by name."""
        found = [each for each in self._good if method in each.metadata.paired_methods]
        return sorted(found, key=lambda each: (each.rank, each.key))

    @cached_property
    def _wildcards(self) -> Patterns:
        return Patterns(Pattern(model, record) for record, model in self._declared[1])

    @cached_property
    def _idn_patterns(self) -> Patterns:
        return Patterns(
            Pattern(text.casefold(), record)
            for record in self._good
            for text in record.body.idn_patterns
        )

    @cached_property
    def _tables(self) -> Tables:
        exact: dict[str, str | Claimants] = {}
        for model, records in self.exact.items():
            if len(records) == 1 and not records[0].body.makers:
                exact[model] = records[0].name
            else:
                exact[model] = tuple([(record.name, makers_of(record)) for record in records])
        # Copies, made one after the other: a model and its answer then lie side by side in memory,
        # which is a tenth of the time of a look-up among 10,000 plugins.
        names: dict[str, str] = {}
        written: dict[str, str] = {}
        for _, model, normal in self._declared[0]:
            if normal not in self._pins:
                best = self.exact[normal][0].name
                written[_copy(model)] = names.get(best) or names.setdefault(best, _copy(best))
        return Tables(written, exact, self._wildcards, frozenset(self._pins))

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
        for why, patterns, text in (
            ("model", self._wildcards, model),
            ("*IDN?", self._idn_patterns, idn),
        ):
            for pattern in patterns.matching(text):
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

    def answers(self, blocked: frozenset[str]) -> Answers:
        """Return text -> plugin, without the plugins that may not answer now."""
        held = self._answers
        if held is None or held[0] != blocked:
            answers = Answers(lambda: self._tables, self.resolve, blocked)
            self._answers = held = (blocked, answers)
        return held[1]

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


def _copy(text: str) -> str:
    return f"{text} "[:-1]


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
        rival = by_key.setdefault(record.claim.key, record)
        if rival is record:
            continue
        first, second = sorted((rival, record), key=_precedence)
        by_key[record.key] = first
        lost.append((second, f"shadowed by {first.name} {first.body.version} at {first.where()}"))
    return list(by_key.values()), lost


def _precedence(record: Record) -> tuple[object, ...]:
    overrides = record.name in record.body.overrides
    return (not record.claim.ok, not overrides, record.rank, record.path)
