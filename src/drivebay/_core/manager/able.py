"""Who can measure this? Answered from manifests, with the reasons; no plugin is imported for it.

A pure function of a snapshot. Promises: a model is said to be able only if its manifest says so;
what a manifest leaves open is a reason against it, in words that tell it from a range that is too
small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from drivebay._core.errors import Diagnostic, ParameterError, nearest
from drivebay._core.index import Record
from drivebay._core.manager.explain import reasons_against
from drivebay._core.manager.info import DISCOVERED, Snapshot
from drivebay._core.manifest.fields import PAIRED_METHODS
from drivebay._core.manifest.shapes import QUANTITIES
from drivebay._core.methods import TECHNIQUES, parse_quantity, say_quantity

_NEEDS_ANOTHER = "measures this only together with a second instrument"

_UNITS = {
    "v": "V",
    "a": "A",
    "w": "W",
    "ohm": "ohm",
    "s": "s",
    "f": "F",
    "h": "H",
    "hz": "Hz",
    "k": "K",
}


class Ability(NamedTuple):
    """Whether a model can be measured with, as its plugin's manifest says.

    Attributes:
        plugin: the plugin.
        model: one of its models, or a wildcard for several; empty when no model is looked at.
        able: whether it can by itself.
        reasons: what speaks for it.
        why_not: what speaks against it; empty when it can.
        paired: whether it can together with a second instrument, which may be of another model.
    """

    plugin: str
    model: str
    able: bool
    reasons: tuple[str, ...]
    why_not: tuple[str, ...]
    paired: bool = False


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        method: the measurement.
        spans: lowest and highest value wanted of each quantity.
        steps: largest step of each quantity that is still fine enough.
        technique: how a capacitance should be measured; empty for any.
    """

    method: str
    spans: Mapping[str, tuple[float, float]]
    steps: Mapping[str, float]
    technique: str = ""


def quantity_names() -> dict[str, tuple[str, bool]]:
    """What can be asked for, by keyword: the quantity, and whether its resolution is meant."""
    names = {name: (name, False) for name in QUANTITIES}
    for name in QUANTITIES:
        stem, _, unit = name.rpartition("_")
        if unit in _UNITS and stem:
            names[f"{stem}_resolution_{unit}"] = (name, True)
    return names


def unit_of(quantity: str) -> str:
    """SI unit of a quantity of ``ranges``, empty for a plain number."""
    return _UNITS.get(quantity.rpartition("_")[2], "") if "_" in quantity else ""


def wish_of(method: str, wanted: Mapping[str, Any]) -> Wish:
    """A question as plain numbers.

    Args:
        method: the measurement.
        wanted: by keyword, such as ``voltage_v`` or ``current_resolution_a``: a number, its text
            with a unit (``"40 V"``), two of them (``(-40, 40)``, ``"-40..40 V"``); and
            ``technique``.

    Raises:
        ParameterError: a keyword that is not known, or a value that is none.
    """
    known = quantity_names()
    problems: list[Diagnostic] = []
    spans: dict[str, tuple[float, float]] = {}
    steps: dict[str, float] = {}
    technique = ""
    for key, value in wanted.items():
        if key == "technique":
            technique = str(value)
            if technique not in TECHNIQUES:
                text = f"{technique!r} is not one of {', '.join(TECHNIQUES)}"
                problems.append(Diagnostic("P013", text, path="/technique"))
            continue
        if key not in known:
            hint = nearest(key, known) or f" (has: {', '.join(known)})"
            problems.append(Diagnostic("P007", f"nothing to ask for{hint}", path=f"/{key}"))
            continue
        quantity, is_step = known[key]
        try:
            low, high = _span(value, unit_of(quantity))
        except ParameterError as error:
            problem = error.problems[0]
            problems.append(Diagnostic(problem.code, problem.message, path=f"/{key}"))
            continue
        if is_step:
            steps[quantity] = high
        else:
            spans[quantity] = (low, high)
    if problems:
        raise ParameterError(problems, method=method)
    return Wish(method, spans, steps, technique)


def _span(value: Any, unit: str) -> tuple[float, float]:
    parts: list[Any]
    if isinstance(value, str):
        low, dots, high = value.partition("..")
        parts = [low, high] if dots else [value]
    elif isinstance(value, list | tuple) and value:
        parts = list(value)
    else:
        parts = [value]
    numbers = [parse_quantity(str(part).strip(), unit) for part in parts]
    return min(numbers), max(numbers)


def who(snapshot: Snapshot, method: str, wanted: Mapping[str, Any]) -> list[Ability]:
    """Every model of every plugin that claims a method, and whether it can do what is wanted.

    Those that can come first, by precedence; then those that can together with a second instrument;
    then those that cannot; then the plugins that do not claim the method at all.

    Raises:
        ParameterError: as :func:`wish_of`.
    """
    wish = wish_of(method, wanted)
    claimed = snapshot.catalog.by_method.get(method, ())
    found = [each for record in claimed for each in _abilities(snapshot, record, wish)]
    claimants = {record.key for record in claimed}
    if method in PAIRED_METHODS:
        halves = [each for each in snapshot.catalog.paired(method) if each.key not in claimants]
        found += [each for record in halves for each in _abilities(snapshot, record, wish)]
        claimants |= {record.key for record in halves}
    others = [
        Ability(record.name, "", False, (), (f"does not claim {method}",))
        for record in snapshot.catalog.records.values()
        if record.key not in claimants
    ]
    return sorted(found, key=lambda each: (not each.able, not each.paired)) + others


def _abilities(snapshot: Snapshot, record: Record, wish: Wish) -> Iterator[Ability]:
    # A session stands on hosts and keepers, and a manager is had without them.
    from drivebay._core.session import lacks_of, ranges_for

    against = reasons_against(snapshot, record)
    if wish.method in snapshot.states.get(record.key, DISCOVERED).lacks:
        against = (*against, f"a connected instrument said that it does not have {wish.method}")
    technique = (record.metadata.methods.get("cv_measurement") or {}).get("technique", "")
    if wish.technique and technique != wish.technique:
        text = f"its technique is {technique!r}" if technique else "its technique is not declared"
        against = (*against, text)
    for model in record.metadata.supported_models or [""]:
        ranges = ranges_for(record.metadata, model) or {}
        reasons, why_not = _judged(ranges, wish)
        why_not = (*against, *why_not)
        paired = not why_not and wish.method in record.metadata.paired_methods
        if wish.method not in record.metadata.supported_methods:
            why_not = (_NEEDS_ANOTHER, *why_not)
        elif wish.method in lacks_of(record.metadata, model):
            why_not = (f"this model does not have {wish.method}", *why_not)
        yield Ability(record.name, model, not why_not, reasons, why_not, paired)


def _judged(ranges: Mapping[str, Any], wish: Wish) -> tuple[tuple[str, ...], tuple[str, ...]]:
    reasons: list[str] = []
    why_not: list[str] = []
    for quantity, span in wish.spans.items():
        fine, text = _held(quantity, span, ranges.get(quantity))
        (reasons if fine else why_not).append(text)
    for quantity, step in wish.steps.items():
        fine, text = _resolved(quantity, step, (ranges.get("resolution") or {}).get(quantity))
        (reasons if fine else why_not).append(text)
    if not why_not:
        why_not += _together(ranges.get("regions") or (), wish.spans)
    return tuple(reasons), tuple(why_not)


def _held(quantity: str, wanted: tuple[float, float], span: Any) -> tuple[bool, str]:
    unit = unit_of(quantity)
    if span is None:
        return False, f"declares no range {quantity}"
    text = f"{quantity} {_from_to(span, unit)}"
    if span[0] <= wanted[0] and wanted[1] <= span[1]:
        return True, text
    beyond = wanted[1] if wanted[1] > span[1] else wanted[0]
    return False, f"{text}, which does not reach {say_quantity(beyond, unit)}"


def _resolved(quantity: str, wanted: float, step: Any) -> tuple[bool, str]:
    unit = unit_of(quantity)
    if step is None:
        return False, f"declares no resolution of {quantity}"
    text = f"resolves {say_quantity(step, unit)}"
    return step <= wanted, text if step <= wanted else f"{text}, not {say_quantity(wanted, unit)}"


def _from_to(span: Any, unit: str) -> str:
    """A range: the unit once, but where one end has a prefix both say theirs."""
    if all(end == 0 or 1 <= abs(end) < 10_000 for end in span):
        return f"{span[0]:g} to {span[1]:g} {unit}".rstrip()
    return f"{say_quantity(span[0], unit)} to {say_quantity(span[1], unit)}"


def _together(regions: Iterable[Mapping[str, float]], spans: Mapping[str, Any]) -> list[str]:
    """What is wanted of voltage and current, against the regions in which both hold."""
    tops = {name: max(map(abs, span)) for name, span in spans.items()}
    regions = list(regions)
    if not regions or len(tops) < 2:
        return []
    if any(all(top <= r.get(name, top) for name, top in tops.items()) for r in regions):
        return []
    texts = [" with ".join(f"{n} to {most:g}" for n, most in r.items()) for r in regions]
    return [f"not all of it together: {' or '.join(texts)}"]
