"""Which plugins were considered for an instrument, with the reasons for and against each.

A pure function of a snapshot.
"""

from __future__ import annotations

from drivebay._core.index import (
    Candidate,
    Record,
    maker_agrees,
    normal_maker,
    normal_model,
    parse_idn,
)
from drivebay._core.manager.info import DISCOVERED, PluginStatus, Snapshot


def explain(snapshot: Snapshot, text: str) -> list[Candidate]:
    """Return every plugin with something to say for or against serving ``text``.

    Usable ones come first, in the order in which they would be chosen; then those that claim the
    model and cannot be used, each with why not.
    """
    catalog = snapshot.catalog
    chosen = catalog.resolve(text)
    maker, model = "", normal_model(text)
    if "," in text:
        identity = parse_idn(text)
        maker, model = normal_maker(identity.manufacturer), normal_model(identity.model)
    candidates = []
    for place, (record, why) in enumerate(chosen):
        against = reasons_against(snapshot, record)
        reasons = [why, _maker_reason(record, maker)]
        usable = not against
        score = (100 if usable else 0) - place
        candidates.append(
            Candidate(record.name, usable, score, tuple(filter(None, reasons)), against)
        )
    named = {record.key for record, _ in chosen}
    for record in catalog.records.values():
        if record.key in named or model not in map(normal_model, record.body.models):
            continue
        against = reasons_against(snapshot, record)
        if not maker_agrees(record, maker):
            makers = ", ".join(record.body.makers)
            against = (*against, f"its maker is {makers}, the instrument's is {maker}")
        why_text = (f"declares model {model.upper()!r}",)
        candidates.append(Candidate(record.name, False, 0, why_text, against))
    for record, reason in snapshot.lost:
        if model in map(normal_model, record.body.models):
            candidates.append(
                Candidate(record.name, False, -1, (f"at {record.where()}",), (reason,))
            )
    return sorted(candidates, key=lambda c: (not c.usable, -c.score, c.plugin))


def _maker_reason(record: Record, maker: str) -> str:
    if not maker:
        return ""
    if not record.body.makers:
        return "declares no manufacturer: matched by the model alone"
    return f"manufacturer {maker!r} agrees"


def reasons_against(snapshot: Snapshot, record: Record) -> tuple[str, ...]:
    """Return why a plugin cannot be used now; empty when it can."""
    state = snapshot.states.get(record.key, DISCOVERED)
    found = []
    problem = snapshot.catalog.problem(record)
    if problem:
        found.append(problem)
    if state.status is PluginStatus.DISABLED:
        found.append(f"disabled: {state.reason}")
    elif state.status is PluginStatus.ERROR and not problem:
        found.append(f"failed to load: {state.error_message}")
    return tuple(found)
