"""What the manager tells of a plugin: its record, its state, its events.

Plain values. Nothing in here can be used to change the manager.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from drivebay._core.errors import Diagnostic
from drivebay._core.index import Answers, Catalog, Record
from drivebay._core.loader import Generation, LoadPlan
from drivebay._core.manifest import PluginMetadata, canonical_name

if TYPE_CHECKING:
    from drivebay._core.contract import InstrumentDriver


class PluginStatus(StrEnum):
    """The five states of a plugin. Finer facts are fields beside the state."""

    DISCOVERED = "discovered"
    LOADED = "loaded"
    ACTIVE = "active"
    ERROR = "error"
    DISABLED = "disabled"


@dataclass(frozen=True)
class PluginInfo:
    """Information about a plugin at one moment.

    The first five fields are the original platform's; a record handed out is never changed.
    """

    metadata: PluginMetadata
    status: PluginStatus
    driver_class: type[InstrumentDriver] | None = None
    error_message: str | None = None
    """The whole reason of the last failure, also while an older generation is in service."""
    load_time: float | None = None
    """When the class in service was loaded, seconds since the epoch."""
    source: str = "folder"
    """``folder``, ``entry_point`` or ``builtin``."""
    path: str = ""
    """The manifest, or the ``.py`` file with the decorated class."""
    sha256: str | None = None
    """Hash over every file the class in service was compiled from."""
    generation: int | None = None
    degraded: bool = False
    """The class in service is older than the files: their newest version did not load."""
    shadowed_by: str | None = None
    """Path of the record of the same name that is used instead."""
    reason: str | None = None
    """Why it is disabled or shadowed."""
    diagnostics: tuple[Diagnostic, ...] = ()
    traceback: str | None = None
    load_duration_s: float | None = None
    linked: bool = False
    """Its folder was reached through a symbolic link."""


@dataclass(frozen=True)
class PluginEvent:
    """Something that happened to a plugin.

    Attributes:
        kind: discovered, changed, removed, loaded, load_failed, reloaded, reload_failed, unloaded,
            enabled, disabled, activated, deactivated, driver_failed or shutdown.
        plugin: its name, empty for shutdown.
        epoch: number of the snapshot in which it holds; it only grows.
        message: the reason, for failures and for disabled.
        monotonic_s: when, on the monotonic clock.
    """

    kind: str
    plugin: str
    epoch: int
    message: str = ""
    monotonic_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class State:
    """What changes about a plugin while the platform runs."""

    status: PluginStatus = PluginStatus.DISCOVERED
    generation: Generation | None = None
    error_message: str | None = None
    traceback: str | None = None
    degraded: bool = False
    load_time: float | None = None
    reason: str | None = None
    rejected: Record | None = None
    """The newest manifest, when it is broken and the one before it goes on serving."""
    lacks: frozenset[str] = frozenset()
    """Methods the manifest declares and a connected instance said it does not have."""


DISCOVERED: Final = State()


@dataclass(frozen=True)
class Snapshot:
    """Everything known at one moment; replaced as a whole, never changed."""

    epoch: int
    catalog: Catalog
    states: Mapping[str, State]
    blocked: frozenset[str]
    """Names of plugins that may not answer look-ups now: failed or disabled."""
    lost: tuple[tuple[Record, str], ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    answers: Answers = field(init=False, repr=False, compare=False)
    """Model or ``*IDN?`` reply -> plugin that answers for it now, or None."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", self.catalog.answers(self.blocked))

    def info(self, record: Record) -> PluginInfo:
        """Combine a record with its state."""
        state = self.states.get(record.key, DISCOVERED)
        generation = state.generation
        return PluginInfo(
            metadata=record.metadata,
            status=state.status,
            driver_class=generation.driver_class if generation else None,
            error_message=state.error_message,
            load_time=state.load_time,
            source=record.source,
            path=record.path,
            sha256=generation.sha256 if generation else None,
            generation=generation.number if generation else None,
            degraded=state.degraded,
            reason=state.reason,
            diagnostics=(state.rejected or record).body.diagnostics,
            traceback=state.traceback,
            load_duration_s=generation.seconds if generation else None,
            linked=record.linked,
        )

    def shadowed(self) -> tuple[PluginInfo, ...]:
        """Return the records that lost their name to another, with the reason."""
        return tuple(
            PluginInfo(
                metadata=record.metadata,
                status=PluginStatus.DISCOVERED if record.claim.ok else PluginStatus.ERROR,
                source=record.source,
                path=record.path,
                shadowed_by=self.catalog.records[record.key].path,
                reason=reason,
                diagnostics=record.body.diagnostics,
                linked=record.linked,
            )
            for record, reason in self.lost
        )


class PluginsView(Mapping[str, PluginInfo]):
    """Read-only mapping of name -> record, made when it is looked at.

    Names that differ only in case, ``-`` or ``_`` are the same plugin.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __getitem__(self, name: str) -> PluginInfo:
        record = self._snapshot.catalog.records.get(canonical_name(name))
        if record is None:
            raise KeyError(name)
        return self._snapshot.info(record)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical_name(name) in self._snapshot.catalog.records

    def __iter__(self) -> Iterator[str]:
        return (record.name for record in self._snapshot.catalog.records.values())

    def __len__(self) -> int:
        return len(self._snapshot.catalog.records)

    def copy(self) -> dict[str, PluginInfo]:
        """Return a dictionary of its own, as the original platform's registry would."""
        return dict(self)

    def __repr__(self) -> str:
        return (
            f"<{len(self)} plugins: {', '.join(list(self)[:8])}{' ...' if len(self) > 8 else ''}>"
        )


def plan_for(record: Record) -> LoadPlan:
    """Return what the loader needs to know of a record."""
    return LoadPlan(
        name=record.name,
        home=record.home,
        root=record.root,
        path=record.path,
        driver_class=record.metadata.driver_class,
        alias=record.alias,
    )
