"""Stage 1: plugin.yaml -> PluginMetadata; data only; all problems at once, with line and column.

The path inside: ``reader`` (bytes -> plain values that know their place) -> ``grammar``,
``json_schema``, ``shapes`` (what a value may be) -> ``fields`` (the one table of keys) ->
``metadata``. Plugin code is never imported, nothing is fetched, and content never raises.
"""

from drivebay._core.manifest.config import check_config
from drivebay._core.manifest.fields import FIELDS, MANIFEST_VERSION, Field
from drivebay._core.manifest.grammar import canonical_name, split_driver_class
from drivebay._core.manifest.metadata import (
    PluginMetadata,
    metadata_from_call,
    metadata_from_plain,
    metadata_to_plain,
    peek,
    read_manifest,
)
from drivebay._core.manifest.reader import MAX_BYTES, read_bytes
from drivebay._core.manifest.schema import manifest_schema
from drivebay._core.manifest.shapes import QUANTITIES

__all__ = [
    "FIELDS",
    "MANIFEST_VERSION",
    "MAX_BYTES",
    "QUANTITIES",
    "Field",
    "PluginMetadata",
    "canonical_name",
    "check_config",
    "manifest_schema",
    "metadata_from_call",
    "metadata_from_plain",
    "metadata_to_plain",
    "peek",
    "read_bytes",
    "read_manifest",
    "split_driver_class",
]
