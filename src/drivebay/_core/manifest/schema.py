"""Stage 1, for editors: the JSON Schema of a ``plugin.yaml``, made from the table of fields.

It says as much of the rules as JSON Schema can and never more: whatever the reader takes, the
schema takes. Numbers are let through where the reader keeps them as text, because an editor's own
YAML parser turns ``version: 1.10`` into a number, and ``no`` into false, before the schema sees it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from drivebay._core.manifest.fields import (
    FIELDS,
    MANIFEST_VERSION,
    MAX_ITEM_TEXT,
    MAX_ITEMS,
    MAX_TEXT,
    REQUIRED,
    Field,
)
from drivebay._core.manifest.json_schema import DIALECT


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a ``plugin.yaml``, as fresh plain data."""
    return {
        "$schema": DIALECT,
        "title": "Drivebay plugin manifest (plugin.yaml)",
        **object_schema(FIELDS, REQUIRED),
    }


def object_schema(
    table: Mapping[str, Field], required: Collection[str] = (), *, blanks: bool = True
) -> dict[str, Any]:
    """The JSON Schema of a mapping with the keys of a table; fresh plain data.

    Args:
        table: as for :func:`~drivebay._core.manifest.fields.check_keys`, like the others.
        required: keys that must have a value.
        blanks: whether another key without a value is let through.
    """
    return {
        "type": "object",
        "properties": {name: _property(item, blanks) for name, item in table.items()},
        "required": list(required),
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }


def _property(item: Field, blanks: bool) -> dict[str, Any]:
    rule = _RULES[item.kind](item)
    if blanks and not item.required:
        rule = {"anyOf": [rule, {"enum": [None, ""]}]}
    result = {"description": item.doc, **rule}
    if item.default is not None and not item.required:
        result["default"] = _plain(item.default)
    return result


def _text(item: Field) -> dict[str, Any]:
    rule: dict[str, Any] = {"type": ["string", "number", "boolean"], "maxLength": MAX_TEXT}
    if item.required:
        rule["pattern"] = r"\S"
    return {**rule, **_plain(item.schema)}


def _count(item: Field) -> dict[str, Any]:
    return {"enum": [MANIFEST_VERSION, str(MANIFEST_VERSION)]}


def _list(item: Field) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": ["string", "number", "boolean"],
        "pattern": r"\S",
        "maxLength": MAX_ITEM_TEXT,
    } | _plain(item.schema)
    return {"anyOf": [{"type": "array", "items": entry, "maxItems": MAX_ITEMS}, entry]}


def _mapping(item: Field) -> dict[str, Any]:
    return {"type": "object", **_plain(item.schema)}


_RULES = {"text": _text, "count": _count, "list": _list, "mapping": _mapping}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
