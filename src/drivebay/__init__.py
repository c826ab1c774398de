"""Drivebay: the platform that laboratory instrument drivers plug into.

Everything public is here or in :mod:`drivebay.driver`; nothing is imported before it is used, so
that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivebay._version import __version__

if TYPE_CHECKING:
    from drivebay._core.bay import Bay, Found, Instrument, Pair, Stream
    from drivebay._core.bench import (
        Bench,
        BenchChannel,
        BenchInstrument,
        BenchRamp,
        find_bench,
        load_bench,
    )
    from drivebay._core.contract import InstrumentDriver, driver_plugin
    from drivebay._core.errors import (
        AbortedError,
        AnswerError,
        BenchError,
        BusyError,
        ConfigError,
        Diagnostic,
        DrivebayError,
        DriverCrashedError,
        DriverError,
        DriverHungError,
        ForeignCodeError,
        IdentityError,
        IncompatiblePluginError,
        InstrumentError,
        LeaseError,
        LimitError,
        LinkError,
        LinkLostError,
        LinkOpenError,
        LinkTimeoutError,
        LoadError,
        ManifestError,
        MethodError,
        MissingDependencyError,
        NoDriverError,
        ParameterError,
        PluginError,
        PluginNotFoundError,
        PluginStateError,
        ProtocolError,
        ResourceError,
        RunError,
        RunNotFoundError,
        StoreError,
        UnsafeError,
    )
    from drivebay._core.index import Candidate, Conflict
    from drivebay._core.keeper import SafeStateReport, acknowledge, all_outputs_off
    from drivebay._core.lending import bench_in_force, open_on_bench
    from drivebay._core.machine import (
        InstrumentRecord,
        host_facts,
        instrument_records,
        keeper_facts,
        lease_folder_facts,
    )
    from drivebay._core.manager import (
        Ability,
        PluginEvent,
        PluginInfo,
        PluginManager,
        PluginStatus,
        Watcher,
    )
    from drivebay._core.manifest import PluginMetadata
    from drivebay._core.replay import Replay, replay_run
    from drivebay._core.runs import (
        Litter,
        Mark,
        Message,
        Note,
        Points,
        Rebuilt,
        Run,
        RunStore,
        RunWriter,
    )
    from drivebay._core.seat import stage_in_host
    from drivebay._core.session import limit_refusals, ranges_for

_HOMES = {
    "bay": ("Bay", "Found", "Instrument", "Pair", "Stream"),
    "bench": ("Bench", "BenchChannel", "BenchInstrument", "BenchRamp", "find_bench", "load_bench"),
    "contract": ("InstrumentDriver", "driver_plugin"),
    "errors": (
        "AbortedError",
        "AnswerError",
        "BenchError",
        "BusyError",
        "ConfigError",
        "Diagnostic",
        "DrivebayError",
        "DriverCrashedError",
        "DriverError",
        "DriverHungError",
        "ForeignCodeError",
        "IdentityError",
        "IdentityError",
        "IncompatiblePluginError",
        "InstrumentError",
        "LeaseError",
        "LimitError",
        "LinkError",
        "LinkLostError",
        "LinkOpenError",
        "LinkTimeoutError",
        "LoadError",
        "ManifestError",
        "MethodError",
        "MissingDependencyError",
        "NoDriverError",
        "ParameterError",
        "PluginError",
        "PluginNotFoundError",
        "PluginStateError",
        "ProtocolError",
        "ResourceError",
        "RunError",
        "RunNotFoundError",
        "StoreError",
        "UnsafeError",
    ),
    "index": ("Candidate", "Conflict"),
    "manager": ("Ability", "PluginEvent", "PluginInfo", "PluginManager", "PluginStatus", "Watcher"),
    "manifest": ("PluginMetadata",),
    "replay": ("Replay", "replay_run"),
    "runs": (
        "Litter",
        "Mark",
        "Message",
        "Note",
        "Points",
        "Rebuilt",
        "Run",
        "RunStore",
        "RunWriter",
    ),
    "keeper": ("SafeStateReport", "acknowledge", "all_outputs_off"),
    "lending": ("bench_in_force", "open_on_bench"),
    "machine": (
        "InstrumentRecord",
        "host_facts",
        "instrument_records",
        "keeper_facts",
        "lease_folder_facts",
    ),
    "seat": ("stage_in_host",),
    "session": ("limit_refusals", "ranges_for"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Ability",
    "AbortedError",
    "AnswerError",
    "Bay",
    "Bench",
    "BenchChannel",
    "BenchError",
    "BenchInstrument",
    "BenchRamp",
    "BusyError",
    "Candidate",
    "ConfigError",
    "Conflict",
    "Diagnostic",
    "DrivebayError",
    "DriverCrashedError",
    "DriverError",
    "DriverHungError",
    "ForeignCodeError",
    "Found",
    "IdentityError",
    "IncompatiblePluginError",
    "Instrument",
    "InstrumentDriver",
    "InstrumentError",
    "InstrumentRecord",
    "LeaseError",
    "LimitError",
    "LinkError",
    "LinkLostError",
    "LinkOpenError",
    "LinkTimeoutError",
    "Litter",
    "LoadError",
    "ManifestError",
    "Mark",
    "Message",
    "MethodError",
    "MissingDependencyError",
    "NoDriverError",
    "Note",
    "Pair",
    "ParameterError",
    "PluginError",
    "PluginEvent",
    "PluginInfo",
    "PluginManager",
    "PluginMetadata",
    "PluginNotFoundError",
    "PluginStateError",
    "PluginStatus",
    "Points",
    "ProtocolError",
    "Rebuilt",
    "Replay",
    "ResourceError",
    "Run",
    "RunError",
    "RunNotFoundError",
    "RunStore",
    "RunWriter",
    "SafeStateReport",
    "StoreError",
    "Stream",
    "UnsafeError",
    "Watcher",
    "__version__",
    "acknowledge",
    "all_outputs_off",
    "bench_in_force",
    "driver_plugin",
    "find_bench",
    "host_facts",
    "instrument_records",
    "keeper_facts",
    "lease_folder_facts",
    "limit_refusals",
    "load_bench",
    "open_on_bench",
    "ranges_for",
    "replay_run",
    "stage_in_host",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'drivebay' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"drivebay._core.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
