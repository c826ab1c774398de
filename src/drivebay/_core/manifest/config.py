"""Stage 1, what a user passes: a driver's options and the parameters of its own methods.

Both are held against the JSON Schema that the manifest gives: ``config_schema``, and ``parameters``
under ``methods``. Rules: nothing is fetched, no pattern backtracks, what the caller passed is never
changed, and every problem is said at once with a JSON pointer to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from drivebay._core.errors import ConfigError, Diagnostic, ParameterError, nearest
from drivebay._core.manifest.grammar import kind_of
from drivebay._core.manifest.json_schema import check_json_schema, make_validator
from drivebay._core.manifest.metadata import PluginMetadata
from drivebay._core.manifest.text import Problem

if TYPE_CHECKING:
    import jsonschema_rs

MAX_CONFIG_DEPTH = 12
MAX_MESSAGE = 240

Pointer = tuple[str | int, ...]


def check_config(metadata: PluginMetadata, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The configuration a driver is given: checked, with the schema's defaults filled in.

    A plugin without a ``config_schema`` takes any mapping; it comes back as a new dict.
    Defaults are filled in from ``properties``, through ``$ref`` and ``allOf``, in objects that are
    there and in objects that are complete by their defaults alone.

    Args:
        metadata: the plugin's; its schema is compiled once however often it is used.
        config: what the user passed; None counts as empty. It is not changed.

    Raises:
        ConfigError: with one text per problem in ``problems``, each after its JSON pointer.

    >>> schema = {"type": "object", "properties": {"nplc": {"type": "number", "default": 1}}}
    >>> check_config(PluginMetadata("k2400", "1.0", "Lab", "SMU", config_schema=schema), {})
    {'nplc': 1}
    """
    if config is not None and not isinstance(config, Mapping):
        problem = f"/: must be a mapping, found {kind_of(config)}"
        raise ConfigError([problem], plugin=metadata.name)
    if metadata.config_schema is None:
        return dict(config or {})
    problems: list[str] = []
    value = _json_copy(dict(config or {}), (), problems)
    if problems:
        raise ConfigError(problems, plugin=metadata.name)
    compiled = _compiled(metadata)
    problems = _judged(compiled, value)
    if problems:
        raise ConfigError(problems, plugin=metadata.name)
    return dict(value)


def check_parameters(
    metadata: PluginMetadata, method: str, params: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of a measurement as the manifest declares them, with its defaults filled in.

    Args:
        metadata: the plugin's.
        method: one of its methods; one without a schema in the manifest takes any parameters.
        params: by name; not changed.

    Raises:
        ParameterError: every problem, each with its JSON pointer.

    >>> answer = {"parameters": {"properties": {"times": {"type": "integer", "default": 1}}}}
    >>> meta = PluginMetadata("k2400", "1.0", "Lab", "SMU", methods={"answer": answer})
    >>> check_parameters(meta, "answer", {})
    {'times': 1}
    """
    schema = (metadata.methods.get(method) or {}).get("parameters")
    if schema is None:
        return dict(params)
    problems: list[str] = []
    value = _json_copy(params, (), problems)
    if not problems:
        compiled, problems_of_schema = _compile(msgspec.json.encode(schema))
        problems = list(problems_of_schema) if compiled is None else _judged(compiled, value)
    if problems:
        told = (problem.partition(": ") for problem in problems)
        raise ParameterError(
            [Diagnostic("P013", message, path=pointer) for pointer, _, message in told],
            method=method,
        )
    return dict(value)


def _judged(compiled: _Compiled, value: Any) -> list[str]:
    """Fill the defaults in, and say what is wrong with the whole."""
    _fill(value, compiled.schema, compiled.schema, 0)
    return [] if compiled.validator.is_valid(value) else _said(compiled, value)


class _Compiled:
    """A checked schema and its validator."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.validator: jsonschema_rs.Draft202012Validator = make_validator(schema)


def _compiled(metadata: PluginMetadata) -> _Compiled:
    try:
        key = msgspec.json.encode(metadata.config_schema)
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"config_schema is not JSON ({error})"
        raise ConfigError([problem], plugin=metadata.name) from error
    compiled, problems = _compile(key)
    if compiled is None:
        raise ConfigError(problems, plugin=metadata.name)
    return compiled


@lru_cache(maxsize=256)
def _compile(key: bytes) -> tuple[_Compiled | None, tuple[str, ...]]:
    schema = msgspec.json.decode(key)
    problems: list[Problem] = []
    if isinstance(schema, dict):
        check_json_schema(schema, ("config_schema",), problems)
    else:
        message = f"config_schema must be a mapping, found {kind_of(schema)}"
        problems.append(Problem("M024", message, ("config_schema",)))
    errors = [item for item in problems if item.severity == "error"]
    if errors:
        said = (f"{pointer_of(item.where)}: {item.code} {item.message}" for item in errors)
        return None, tuple(said)
    return _Compiled(schema), ()


def _json_copy(value: Any, where: Pointer, problems: list[str]) -> Any:
    """A copy in plain JSON types; whatever JSON cannot hold is a problem."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            problems.append(f"{pointer_of(where)}: must be a finite number, found {value}")
        return value
    if len(where) > MAX_CONFIG_DEPTH:
        problems.append(f"{pointer_of(where)}: nested deeper than {MAX_CONFIG_DEPTH} levels")
        return None
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            if isinstance(key, str):
                result[key] = _json_copy(item, (*where, key), problems)
            else:
                problems.append(f"{pointer_of(where)}: key {str(key)[:60]!r} must be text")
        return result
    if isinstance(value, list | tuple):
        return [_json_copy(item, (*where, index), problems) for index, item in enumerate(value)]
    problems.append(f"{pointer_of(where)}: must be JSON data, found {kind_of(value)}")
    return None


def _fill(value: Any, schema: Any, root: dict[str, Any], depth: int) -> None:
    """Fill the defaults of a schema into an object or into the objects of a list."""
    if not isinstance(schema, dict) or depth > 2 * MAX_CONFIG_DEPTH:
        return
    for part in parts_of(schema, root):
        _fill(value, part, root, depth + 1)
    if isinstance(value, dict):
        for key, rule in (schema.get("properties") or {}).items():
            if key in value:
                _fill(value[key], rule, root, depth + 1)
                continue
            found, default = _default(rule, root, depth + 1)
            if found:
                value[key] = default
    elif isinstance(value, list):
        for item in value:
            _fill(item, schema.get("items"), root, depth + 1)


def parts_of(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[Any]:
    """The schemas that hold together with this one: what it refers to and its ``allOf``."""
    target = schema.get("$ref")
    if isinstance(target, str):
        _, holder, name = target.split("/", 2)
        yield root.get(holder, {}).get(name)
    yield from schema.get("allOf", ())


def _default(rule: Any, root: dict[str, Any], depth: int) -> tuple[bool, Any]:
    if not isinstance(rule, dict) or depth > 2 * MAX_CONFIG_DEPTH:
        return False, None
    if "default" in rule:
        return True, _json_copy(rule["default"], (), [])
    built: dict[str, Any] = {}
    _fill(built, rule, root, depth)
    wanted = set(rule.get("required", ()))
    for part in parts_of(rule, root):
        found, default = _default(part, root, depth + 1)
        if found and not isinstance(default, dict):
            return True, default
        wanted |= set(part.get("required", ())) if isinstance(part, dict) else set()
    return bool(built) and wanted <= set(built), built


def _said(compiled: _Compiled, value: Any) -> list[str]:
    problems = []
    for error in compiled.validator.iter_errors(value):
        problems += _one_error(compiled, error)
    return list(dict.fromkeys(problems))


def _one_error(compiled: _Compiled, error: jsonschema_rs.ValidationError) -> list[str]:
    where = tuple(error.instance_path)
    facts = error.kind.as_dict()
    if error.kind.name == "additionalProperties":
        known = _properties_beside(compiled.schema, error.schema_path)
        return [
            f"{pointer_of((*where, key))}: unknown key {key[:60]!r}"
            + (nearest(key[:64], known) or f" (known: {', '.join(known) or 'none'})")
            for key in facts["unexpected"]
        ]
    if error.kind.name == "required":
        return [f"{pointer_of((*where, facts['property']))}: is missing"]
    message = error.message
    if len(message) > MAX_MESSAGE:
        message = message[:MAX_MESSAGE] + "..."
    return [f"{pointer_of(where)}: {message}"]


def _properties_beside(schema: Any, path: list[str | int]) -> tuple[str, ...]:
    """The keys declared beside the ``additionalProperties`` that a schema path ends in."""
    at: Any = schema
    for step in path[:-1]:
        try:
            at = at[step]
        except (KeyError, IndexError, TypeError):
            return ()
        if isinstance(at, str) and at.startswith("#/"):
            _, holder, name = at.split("/", 2)
            at = schema.get(holder, {}).get(name)
    return tuple(at.get("properties") or ()) if isinstance(at, dict) else ()


def pointer_of(where: Pointer) -> str:
    """An RFC 6901 JSON pointer; the whole document is ``/`` here, so that it can be seen."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in where)
    return "/" + "/".join(steps)
