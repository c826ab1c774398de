"""The JSON Schema of an exported run: what a program that reads one can count on.

Promises: every JSON export of this version is valid by it, which the tests hold for runs of any
kind; fresh plain data each time. Says nothing of what a driver or a bench puts into its own parts.
"""

from __future__ import annotations

from typing import Any, Final

from drivebay._core.runs.extract import NULL_IN_COLUMNS

_TEXT: Final = {"type": "string"}
_ANYTHING: Final = {"type": "object"}
_OPEN: Final = {"type": ["object", "null"]}
_MOMENT: Final = {"type": "string", "format": "date-time"}
_STATES: Final = ("running", "done", "aborted", "failed", "interrupted")
_NUMBERS: Final = {
    "nan": {"type": "integer", "minimum": 1, "description": "how many are not a number"},
    **{
        word: {
            "type": "array",
            "minItems": 1,
            "items": {"type": "integer", "minimum": 0},
            "description": "rows, from 0, in which it is this infinity",
        }
        for word in ("inf", "-inf")
    },
}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": item}


def _table(item: dict[str, Any], text: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": item, "description": text}


def export_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an exported run."""
    note = {"at": _MOMENT, "by": _TEXT, "text": _TEXT}
    event = {"time_s": {"type": "number"}, "kind": _TEXT, "data": {}}
    properties: dict[str, Any] = {
        "run": {**_TEXT, "description": "the run's id"},
        "state": {"enum": list(_STATES)},
        "reason": {"type": ["string", "null"], "description": "why it is not done"},
        "method": _TEXT,
        "resource": {**_TEXT, "description": "address of the instrument"},
        "started_at": _MOMENT,
        "ended_at": {**_MOMENT, "type": ["string", "null"]},
        "duration_s": {"type": "number", "minimum": 0},
        "rows": {"type": "integer", "minimum": 0},
        "plugin": {**_ANYTHING, "description": "name, version and sha256 of the driver plugin"},
        "identity": {"description": "what the instrument said it is"},
        "parameters": _ANYTHING,
        "provenance": _ANYTHING,
        "writer": _ANYTHING,
        "bench": _ANYTHING,
        "limits": {**_OPEN, "description": "lowest and highest of each quantity"},
        "tags": _list_of(_TEXT),
        "notes": _list_of({"type": "object", "properties": note, "required": list(note)}),
        "values": {**_OPEN, "description": "results that are no columns"},
        "events": _list_of({"type": "object", "properties": event, "required": list(event)}),
        "problems": {"type": "array", "items": _TEXT, "description": "parts that are damaged"},
        "not_finite": _table(
            {"enum": ["nan", "inf", "-inf"]},
            "JSON pointers to nulls outside of the columns that were these numbers",
        ),
        "units": _table(_TEXT, "unit of each column, empty where it has none"),
        "kinds": _table({"enum": ["float", "int", "bool"]}, "kind of each column"),
        "null_in_columns": {"const": NULL_IN_COLUMNS},
        "columns": _table(
            {"type": "array", "items": {"type": ["number", "boolean", "null"]}},
            "the points, column by column, all of one length",
        ),
        "not_finite_columns": _table(
            {"type": "object", "properties": _NUMBERS, "additionalProperties": False},
            "what the nulls of a column stand for; a column without any is not named",
        ),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A run exported by Drivebay",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }
