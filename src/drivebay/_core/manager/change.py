"""What a new look at the sources changes: pure functions from one snapshot to the next.

Promises: what is in service stays in service for as long as its manifest exists, also when the
newest version of that manifest is broken; the manifest that serves is then the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from drivebay._core.errors import PluginError
from drivebay._core.index import Record
from drivebay._core.loader import Generation, hash_of
from drivebay._core.manager.info import DISCOVERED, PluginStatus, Snapshot, State, plan_for
from drivebay._core.manifest import canonical_name


def first_state(record: Record, disabled: Mapping[str, str]) -> State:
    """Return the state of a plugin that was not known before.

    Args:
        record: the plugin.
        disabled: reasons, by canonical name.
    """
    reason = disabled.get(record.key)
    if reason is not None:
        return State(status=PluginStatus.DISABLED, reason=reason)
    if not record.claim.ok:
        return State(status=PluginStatus.ERROR, error_message=_said(record))
    return DISCOVERED


def restored(state: State) -> State:
    """Return the state of a plugin whose files are again those in service."""
    return replace(state, degraded=False, error_message=None, traceback=None, rejected=None)


Happening = tuple[str, str, str]
"""Kind of event, plugin, message."""


class Change:
    """The records and states after a look, and what to say and do about the difference.

    Attributes:
        records: one for each plugin.
        states: by canonical name.
        events: kind, plugin and message of each event.
        broken: records whose manifest is broken and was not so before.
        out_of_service: generations to retire.
    """

    def __init__(self, old: Snapshot, found: list[Record], disabled: Mapping[str, str]) -> None:
        self.records: list[Record] = []
        self.states: dict[str, State] = {}
        self.events: list[Happening] = []
        self.broken: list[Record] = []
        self.out_of_service: list[Generation] = []
        self._old = old
        self._disabled = disabled
        before = old.catalog.records
        serving = {
            before[key].path: before[key]
            for key, state in old.states.items()
            if state is not DISCOVERED and state.generation is not None
        }
        rest = self._not_as_it_was(found)
        for record in rest:
            # A broken manifest may have lost its name, but it is still the file it was.
            manifest = not record.claim.ok and not record.path.endswith(".py")
            served = serving.get(record.path) if manifest else None
            if served is not None and served.key not in disabled:
                self._broken_while_serving(served, record)
            else:
                self._one(record, before.get(record.key))
        if rest:
            self._in_order_of(found)
        for key, record in before.items():
            if key not in self.states:
                self.events.append(("removed", record.name, ""))
                self._retire(old.states[key])

    def _not_as_it_was(self, found: list[Record]) -> list[Record]:
        """Settle the usual cases, new or unchanged, and return the rest.

        One loop without calls: it runs over every plugin there is at every look.
        """
        before, was, disabled = self._old.catalog.records, self._old.states, self._disabled
        records, states, events, rest = self.records, self.states, self.events, []
        for record in found:
            claim = record.claim
            key = claim.key
            previous = before.get(key)
            if previous is None:
                if not claim.ok or key in disabled:
                    rest.append(record)
                    continue
                states[key] = DISCOVERED
                events.append(("discovered", claim.name, ""))
            else:
                state = was[key]
                same = previous.claim is claim or previous.claim == claim
                if not same or previous.path != record.path or state.rejected:
                    rest.append(record)
                    continue
                states[key] = state
            records.append(record)
        return rest

    def _in_order_of(self, found: list[Record]) -> None:
        # A plugin that kept an older manifest may go by another name than the one just found.
        by_path = {record.path: place for place, record in enumerate(found)}
        by_name = {(record.path, record.key): place for place, record in enumerate(found)}
        self.records.sort(key=lambda r: by_name.get((r.path, r.key), by_path[r.path]))

    def _one(self, record: Record, previous: Record | None) -> None:
        key = record.key
        self.records.append(record)
        if previous is None:
            state = self.states[key] = first_state(record, self._disabled)
            kind = "discovered" if record.claim.ok else "load_failed"
            self.events.append((kind, record.name, state.error_message or ""))
            if not record.claim.ok:
                self.broken.append(record)
            return
        old = self._old.states[key]
        if previous.claim == record.claim and previous.path == record.path:
            self.states[key] = _mended(record, old)
            return
        first = first_state(record, self._disabled)
        if old.generation is None or first.status is PluginStatus.DISABLED:
            self.states[key] = first
            self._retire(old)
        else:
            self.states[key] = replace(old, rejected=None)
        self.events.append(("changed", record.name, ""))
        if not record.claim.ok:
            self.broken.append(record)

    def _broken_while_serving(self, served: Record, record: Record) -> None:
        state = self._old.states[served.key]
        self.records.append(served)
        if state.rejected is not None and state.rejected.claim == record.claim:
            self.states[served.key] = state
            return
        message = _said(record)
        self.states[served.key] = replace(
            state, degraded=True, error_message=message, traceback=None, rejected=record
        )
        self.events.append(("reload_failed", served.name, message))
        self.broken.append(record)

    def _retire(self, state: State) -> None:
        if state.generation is not None:
            self.out_of_service.append(state.generation)


def circle_through(snapshot: Snapshot, record: Record) -> tuple[str, ...]:
    """Return the names along a circle of ``uses`` that leads back to ``record``, or nothing."""
    records = snapshot.catalog.records
    pending: list[tuple[Record, tuple[str, ...]]] = [(record, (record.key,))]
    done: set[str] = set()
    while pending:
        at, path = pending.pop()
        for key in map(canonical_name, at.metadata.uses):
            if key == record.key:
                return (*path, key)
            if key in records and key not in done:
                done.add(key)
                pending.append((records[key], (*path, key)))
    return ()


def _mended(record: Record, old: State) -> State:
    """State once the manifest is again the one that serves; code that is broken too stays so."""
    state = replace(old, rejected=None)
    try:
        same = old.generation is not None and hash_of(plan_for(record)) == old.generation.sha256
    except (PluginError, OSError):
        same = False
    return restored(state) if same else state


def _said(record: Record) -> str:
    return "\n".join(str(diagnostic) for diagnostic in record.body.diagnostics)
