"""What a host tells of a plugin, of a driver and of its own end, as its owner keeps it.

Plain values; nothing here asks anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from drivebay._core.manifest import PluginMetadata, metadata_to_plain
from drivebay._core.methods import STANDARD, Column, MethodSpec

if TYPE_CHECKING:
    from drivebay._core.loader import Files, LoadPlan


@dataclass(frozen=True)
class Code:
    """A plugin's code as it was read, so that a host runs those very bytes.

    Attributes:
        plan: where it is.
        metadata: its manifest.
        files: what was read there.
    """

    plan: LoadPlan
    metadata: PluginMetadata
    files: Files

    def to_plain(self) -> dict[str, Any]:
        """As it crosses to a host."""
        files = self.files
        return {
            "plan": asdict(self.plan),
            "metadata": metadata_to_plain(self.metadata),
            "files": {
                "home": files.home,
                "module": files.module,
                "sources": dict(files.sources),
                "sha256": files.sha256,
                "digests": dict(files.digests),
                "compiled": files.compiled,
            },
        }


class Loaded(msgspec.Struct, frozen=True):
    """What is known of a plugin once its code was imported.

    Attributes:
        sha256: hash of the files it was imported from.
        class_name: qualified name of the driver class.
        module: module it was imported as, in the host.
        scpi: whether it derives from ``ScpiDriver``.
        resumable: whether it has ``export_state`` and ``resume``.
        methods: name -> definition as plain data; empty for a seed-style driver, which tells it
            only when it is connected.
        drift: where ``@driver_plugin`` contradicts the manifest.
        seconds: how long the import took.
        compiled: for the next host of the same files, where that was asked for.
    """

    sha256: str
    class_name: str
    module: str
    scpi: bool
    resumable: bool
    methods: dict[str, Any]
    drift: tuple[str, ...]
    seconds: float
    compiled: bytes = b""


class Connected(msgspec.Struct, frozen=True):
    """What a driver says once it is connected: who the instrument is, and its methods."""

    identity: dict[str, str]
    methods: dict[str, Any]


@dataclass(frozen=True)
class Exit:
    """How a host ended.

    Attributes:
        code: exit code, None when a signal ended it or nobody could tell.
        signal: name of the signal, empty when none did.
        limit: the limit it went past, empty when none.
    """

    code: int | None = None
    signal: str = ""
    limit: str = ""

    def __str__(self) -> str:
        if self.limit:
            return f"was ended for its use of {self.limit}"
        if self.signal:
            return f"was ended by {self.signal}"
        if self.code is None:
            return "ended together with the process that forks drivers"
        return f"exited with status {self.code}"


def spec_of_plain(plain: Mapping[str, Any]) -> MethodSpec:
    """Return a method's definition from what a host told, without parameters of its own."""
    name = str(plain["name"])
    if plain["standard"] and name in STANDARD:
        return STANDARD[name]
    columns = plain["columns"]
    return MethodSpec(
        name,
        str(plain["title"]),
        None,
        None if columns is None else tuple(msgspec.convert(c, Column) for c in columns),
        str(plain["help"]),
    )
