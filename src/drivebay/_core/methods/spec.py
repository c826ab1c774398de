"""What a method is: its parameters, its columns, and what can be generated from them.

Pure data. Nothing here talks to an instrument or judges a value; :mod:`check` does the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import msgspec
from msgspec import inspect as msgspec_inspect

ColumnKind = Literal["float", "int", "bool"]
FieldKind = Literal["float", "int", "bool", "choice", "floats", "text"]

# A parameter called start_v needs no annotation to be in volts: the house names units by suffix.
_SUFFIX_UNITS = {
    "v": "V",
    "a": "A",
    "s": "s",
    "hz": "Hz",
    "ohm": "ohm",
    "f": "F",
    "k": "K",
    "w": "W",
}


class Column(msgspec.Struct, frozen=True):
    """One column of a method's result.

    Attributes:
        name: such as ``current_a``, with the SI unit as suffix.
        unit: SI unit symbol, empty for a plain number.
        kind: ``float``, ``int`` or ``bool``; the dtype the values are stored with.
        help: what the values are, one sentence.
    """

    name: str
    unit: str = ""
    kind: ColumnKind = "float"
    help: str = ""


class MethodSpec(msgspec.Struct, frozen=True):
    """A named measurement: what it takes and what it gives.

    Attributes:
        name: such as ``iv_sweep``.
        title: for people, such as ``I-V sweep``.
        parameters: msgspec Struct of the parameters; None takes any parameters unchecked.
        columns: columns every chunk has; None means that the driver gives what it likes.
        help: one paragraph for the docs.
        example: parameters of a short, harmless measurement, as far as it is not plain from what
            is required; what tries a driver without knowing its device starts from them.
    """

    name: str
    title: str
    parameters: type[msgspec.Struct] | None = None
    columns: tuple[Column, ...] | None = None
    help: str = ""
    example: dict[str, Any] = {}


class Field(msgspec.Struct, frozen=True):
    """One parameter of a method, as a CLI, a web form or the docs need it.

    Attributes:
        name: key of the parameter.
        kind: ``float``, ``int``, ``bool``, ``choice``, ``floats`` (a list) or ``text``.
        unit: SI unit, empty for a plain number.
        required: whether there is no default.
        default: value used when it is left out.
        optional: whether None is a value (it means that the driver chooses).
        choices: what a ``choice`` may be.
        bounds: what the method's definition allows, as msgspec names: ``gt ge lt le``.
        limit: key of the model's ranges this value must stay within, empty for none.
        code: diagnostic code when it is missing or out of bounds.
        help: one sentence.
    """

    name: str
    kind: FieldKind
    unit: str = ""
    required: bool = False
    default: object = None
    optional: bool = False
    choices: tuple[str, ...] = ()
    bounds: dict[str, float] = {}
    limit: str = ""
    code: str = ""
    help: str = ""


def quantity(
    unit: str, help: str, *, limit: str = "", code: str = "", **bounds: float
) -> msgspec.Meta:
    """An annotation that gives a parameter its unit, its limits and its sentence.

    Used as ``start_v: Annotated[float, quantity("V", "First level")]``.

    Args:
        unit: SI unit, empty for a plain number.
        help: one sentence for docs and command line.
        limit: key of the model's ranges it must stay within, such as ``voltage_v``.
        code: diagnostic code when it is missing or out of bounds.
        **bounds: ``gt``, ``ge``, ``lt``, ``le`` for every instrument.
    """
    extra = {"unit": unit, "limit": limit, "code": code}
    schema = {"x-unit": unit} if unit else None
    facts: dict[str, Any] = {"extra": extra, "extra_json_schema": schema, **bounds}
    return msgspec.Meta(description=help, **facts)


def fields(spec: MethodSpec) -> tuple[Field, ...]:
    """The parameters of a method in the order of their definition; empty when it takes any."""
    return _fields(spec.parameters) if spec.parameters is not None else ()


@cache
def _fields(parameters: type[msgspec.Struct]) -> tuple[Field, ...]:
    info = msgspec_inspect.type_info(parameters)
    assert isinstance(info, msgspec_inspect.StructType)  # noqa: S101 - narrows for mypy only
    return tuple(_field(entry) for entry in info.fields)


def _field(entry: msgspec_inspect.Field) -> Field:
    kind, facts = _kind(entry.type)
    required = entry.required
    if entry.default_factory is not msgspec.NODEFAULT:
        default = entry.default_factory()
    else:
        default = None if required else entry.default
    unit = facts.get("unit")
    return Field(
        name=entry.name,
        kind=kind,
        unit=_suffix_unit(entry.name) if unit is None else unit,
        required=required,
        default=default,
        optional=bool(facts.get("optional")),
        choices=facts.get("choices", ()),
        bounds=facts.get("bounds", {}),
        limit=facts.get("limit", ""),
        code=facts.get("code", ""),
        help=facts.get("help", ""),
    )


def _kind(type_: msgspec_inspect.Type) -> tuple[FieldKind, dict[str, Any]]:
    """Kind and facts of one msgspec type, seen through metadata and ``| None``."""
    if isinstance(type_, msgspec_inspect.Metadata):
        kind, facts = _kind(type_.type)
        extra = type_.extra or {}
        facts.update({key: extra[key] for key in ("unit", "limit", "code") if key in extra})
        facts.setdefault("help", (type_.extra_json_schema or {}).get("description", ""))
        return kind, facts
    if isinstance(type_, msgspec_inspect.UnionType):
        others = [t for t in type_.types if not isinstance(t, msgspec_inspect.NoneType)]
        kind, facts = _kind(others[0]) if len(others) == 1 else ("text", {})
        return kind, {**facts, "optional": len(others) < len(type_.types)}
    if isinstance(type_, msgspec_inspect.FloatType | msgspec_inspect.IntType):
        bounds = {key: getattr(type_, key) for key in ("gt", "ge", "lt", "le")}
        found = {key: value for key, value in bounds.items() if value is not None}
        is_float = isinstance(type_, msgspec_inspect.FloatType)
        return "float" if is_float else "int", {"bounds": found}
    return _plain_kind(type_)


def _plain_kind(type_: msgspec_inspect.Type) -> tuple[FieldKind, dict[str, Any]]:
    if isinstance(type_, msgspec_inspect.BoolType):
        return "bool", {}
    if isinstance(type_, msgspec_inspect.LiteralType):
        return "choice", {"choices": tuple(str(value) for value in type_.values)}
    if isinstance(type_, msgspec_inspect.VarTupleType | msgspec_inspect.ListType):
        return "floats", {}
    return "text", {}


def _suffix_unit(name: str) -> str:
    stem, _, suffix = name.rpartition("_")
    return _SUFFIX_UNITS.get(suffix, "") if stem else ""


def parameter_schema(spec: MethodSpec) -> dict[str, Any]:
    """JSON Schema (2020-12) of a method's parameters with units, descriptions and defaults.

    Numbers may also be text with a unit (``10 mA``) where the parameter has one, as
    :func:`validate` accepts. A method without declared parameters accepts any object.
    """
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": spec.title,
        "type": "object",
    }
    if spec.parameters is None:
        return schema
    known = fields(spec)
    schema["properties"] = {field.name: _property(field) for field in known}
    schema["additionalProperties"] = False
    required = [field.name for field in known if field.required]
    refine = getattr(spec.parameters, "refine_schema", None)
    schema["required"] = required
    return refine(schema) if refine is not None else schema


_JSON_BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}


def _property(field: Field) -> dict[str, Any]:
    entry: dict[str, Any] = {"description": field.help} if field.help else {}
    if field.unit:
        entry["x-unit"] = field.unit
    if field.limit:
        entry["x-limit"] = field.limit
    number = {_JSON_BOUNDS[key]: value for key, value in field.bounds.items()}
    if field.kind == "floats":
        shape: dict[str, Any] = {"type": "array", "items": _number(field.unit, {})}
    elif field.kind == "float":
        shape = _number(field.unit, number)
    elif field.kind == "int":
        shape = {"type": "integer", **number}
    elif field.kind == "choice":
        shape = {"enum": list(field.choices)}
    else:
        shape = {"type": "boolean" if field.kind == "bool" else "string"}
    if field.optional:
        shape = {"anyOf": [shape, {"type": "null"}]}
    entry.update(shape)
    if not field.required:
        entry["default"] = field.default
    return entry


def _number(unit: str, bounds: Mapping[str, float]) -> dict[str, Any]:
    plain: dict[str, Any] = {"type": "number", **bounds}
    if not unit:
        return plain
    # 'x V', 'x mV' and their like; the exact grammar is quantity.parse_quantity.
    return {"anyOf": [plain, {"type": "string", "pattern": r"^\s*[+-]?[0-9.].*\S\s*$"}]}


def signature_text(spec: MethodSpec) -> str:
    """The method as one would call it: ``iv_sweep(*, start_v, ..., nplc=1.0)``."""
    if spec.parameters is None:
        return f"{spec.name}(**parameters)"
    words = [f.name if f.required else f"{f.name}={f.default!r}" for f in fields(spec)]
    return f"{spec.name}(*, {', '.join(words)})" if words else f"{spec.name}()"
