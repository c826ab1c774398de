"""Stage 1: plugin.yaml -> PluginMetadata; data only; all problems at once, with line and column.

The path inside: ``text`` (bytes and scalars) -> ``grammar``, ``json_schema``, ``shapes`` (what a
value may be) -> ``fields`` (the one table of keys) -> ``quick`` and ``reader`` (YAML; the second
knows where everything stands) -> ``metadata`` -> ``config``, ``schema``, ``page``. Plugin code is
never imported, nothing is fetched, and content never raises.
"""

from drivebay._core.manifest.config import check_config, check_parameters
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
from drivebay._core.manifest.schema import manifest_schema
from drivebay._core.manifest.secrets import Secrets, secrets_of
from drivebay._core.manifest.shapes import QUANTITIES
from drivebay._core.manifest.text import MAX_BYTES, read_bytes

__all__ = [
    "FIELDS",
    "MANIFEST_VERSION",
    "MAX_BYTES",
    "QUANTITIES",
    "Field",
    "PluginMetadata",
    "Secrets",
    "canonical_name",
    "check_config",
    "check_parameters",
    "manifest_schema",
    "metadata_from_call",
    "metadata_from_plain",
    "metadata_to_plain",
    "peek",
    "read_bytes",
    "read_manifest",
    "secrets_of",
    "split_driver_class",
]
