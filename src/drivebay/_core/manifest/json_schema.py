"""Stage 1, schemas inside manifests: a JSON Schema that fetches nothing and cannot run away.

A ``config_schema`` or a method's ``parameters`` comes from whoever wrote the plugin and is applied
to what the user typed. So only known keywords are applied (a misspelt one is said, not a rule that
silently never applies), references stay in ``#/$defs/``, form no cycle and expand to a bounded
size, and patterns are short and run on an engine without backtracking.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from drivebay._core.errors import nearest
from drivebay._core.manifest.grammar import clip, kind_of
from drivebay._core.manifest.text import Problem, Where

if TYPE_CHECKING:
    import jsonschema_rs

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Schemas of these drafts say the same with the keywords that are taken here; all are applied as
# 2020-12.
_READABLE = frozenset(
    {
        DIALECT,
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft-07/schema",
    }
)
MAX_PATTERN = 200
MAX_DEPTH = 8
MAX_EXPANDED = 5_000
# Compiling is what a pattern can still make dear: 32 at this size stay below 0.1 s.
MAX_PATTERNS = 32
REGEX_SIZE_BYTES = 250_000

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_SCHEMA = frozenset(
    {"items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"}
    | {"unevaluatedProperties", "unevaluatedItems"}
)
_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas", "patternProperties"})
_NUMBER = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_COUNT = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
    | {"minContains", "maxContains"}
)
_TEXT = frozenset({"title", "description", "$comment", "format", "pattern", "$schema", "$ref"})
_FREE = frozenset({"default", "const", "examples"})
_FLAG = frozenset({"uniqueItems", "readOnly", "writeOnly", "deprecated"})
_OTHER = frozenset({"type", "enum", "required", "dependentRequired"})
KEYWORDS = _SCHEMA | _SCHEMAS | _NAMED | _NUMBER | _COUNT | _TEXT | _FREE | _FLAG | _OTHER


def check_json_schema(schema: dict[str, Any], where: Where, problems: list[Problem]) -> None:
    """Put everything that is wrong with a JSON Schema into ``problems``."""
    if _is_ordinary(schema, 0):
        return
    walk = _Walk(schema, where, problems)
    walk.schema(schema, where, 0)
    if walk.references:
        walk.check_references()
    if len(walk.patterns) > MAX_PATTERNS:
        message = f"{len(walk.patterns)} patterns, at most {MAX_PATTERNS} are allowed"
        problems.append(Problem("M026", message, where))
    elif walk.patterns:
        _check_patterns(walk.patterns, problems)


def _is_ordinary(schema: Any, depth: int) -> bool:
    """Whether a schema holds nothing but the simplest keywords, rightly used.

    Most are; this saves them the walk that keeps track of where everything stands. It may say no
    to a good schema and never says yes to a bad one.
    """
    if type(schema) is not dict or depth > MAX_DEPTH:
        return False
    for key, item in schema.items():
        rule = _ORDINARY.get(key)
        if rule is not None:
            if rule(item):
                return False
        elif key == "properties":
            if type(item) is not dict:
                return False
            for each in item.values():
                if not _is_ordinary(each, depth + 1):
                    return False
        elif key != "default":
            return False
    return True


_plain = re.compile(r"[A-Za-z0-9_.-]+")


class _Walk:
    """One pass over a schema; collects its problems, its patterns and who refers to what."""

    def __init__(self, root: dict[str, Any], where: Where, problems: list[Problem]) -> None:
        self.root = root
        self.where = where
        self.problems = problems
        self.patterns: list[tuple[str, Where]] = []
        self.references: list[tuple[str, Where]] = []

    def schema(self, value: Any, where: Where, depth: int) -> None:
        """Check one (sub)schema."""
        if type(value) is not dict:
            if type(value) is not bool or depth == 0:
                self.say("M024", f"a schema must be a mapping, found {kind_of(value)}", where)
            return
        if depth > MAX_DEPTH:
            self.say("M024", f"schema nested deeper than {MAX_DEPTH} levels", where)
            return
        for key, item in value.items():
            self.keyword(key, item, (*where, key), depth)

    def keyword(self, key: str, item: Any, where: Where, depth: int) -> None:
        """Check one keyword of a (sub)schema."""
        if key in _FREE:
            return
        check = _RULES.get(key)
        if check is not None:
            if fault := check(item):
                self.say("M024", f"{key} {fault}, found {kind_of(item)}", where)
            elif key in _TEXT:
                self.text(key, item, where)
        elif key in _SCHEMA:
            self.schema(item, where, depth + 1)
        elif key in _SCHEMAS:
            self.listed(key, item, where, depth)
        elif key in _NAMED:
            self.named(key, item, where, depth)
        elif not key.startswith("x-"):
            self.unknown(key, where)

    def listed(self, key: str, item: Any, where: Where, depth: int) -> None:
        if type(item) is not list or not item:
            self.say("M024", f"{key} must be a list of schemas, found {kind_of(item)}", where)
            return
        for index, each in enumerate(item):
            self.schema(each, (*where, index), depth + 1)

    def named(self, key: str, item: Any, where: Where, depth: int) -> None:
        if type(item) is not dict:
            self.say("M024", f"{key} must map names to schemas, found {kind_of(item)}", where)
            return
        for name, each in item.items():
            if key == "patternProperties":
                self.pattern(name, (*where, name))
            self.schema(each, (*where, name), depth + 1)

    def text(self, key: str, item: str, where: Where) -> None:
        if key == "pattern":
            self.pattern(item, where)
        elif key == "$ref":
            self.references.append((item, where))
        elif key == "$schema" and item.rstrip("#") not in _READABLE:
            self.say("M024", f"$schema {clip(item)} is not read; use {DIALECT}", where)

    def pattern(self, item: str, where: Where) -> None:
        if len(item) > MAX_PATTERN:
            message = f"pattern of {len(item)} characters, at most {MAX_PATTERN} are allowed"
            self.say("M026", message, where)
        else:
            self.patterns.append((item, where))

    def unknown(self, key: str, where: Where) -> None:
        if key in (
            "$id",
            "$anchor",
            "$dynamicRef",
            "$dynamicAnchor",
            "$recursiveRef",
            "$vocabulary",
        ):
            message = f"{key} is not allowed: references are '#/$defs/NAME' only"
            self.say("M025", message, where)
            return
        hint = nearest(key[:64], KEYWORDS)
        message = f"unknown JSON Schema keyword {clip(key)} is ignored{hint}"
        self.problems.append(Problem("M045", message, where, on_key=True, severity="warning"))

    def say(self, code: str, message: str, where: Where) -> None:
        self.problems.append(Problem(code, message, where))

    def check_references(self) -> None:
        """References stay inside, exist, form no cycle and do not multiply without end."""
        known: dict[str, list[str]] = {}
        for holder in ("$defs", "definitions"):
            names = self.root.get(holder)
            if type(names) is dict:
                # Names a JSON pointer would have to escape cannot be referred to.
                known.update((f"#/{holder}/{name}", []) for name in names if _plain.fullmatch(name))
        start = len(self.where)
        top: list[str] = []
        for target, where in self.references:
            if target not in known:
                where_to = "a remote place" if not target.startswith("#") else "nothing here"
                message = f"$ref {clip(target)} points to {where_to}; use '#/$defs/NAME'"
                self.say("M025", message, where)
                continue
            inner = where[start:]
            holder = f"#/{inner[0]}/{inner[1]}" if len(inner) > 2 else ""
            known.get(holder, top).append(target)
        self._expand(known, top)

    def _expand(self, edges: dict[str, list[str]], top: list[str]) -> None:
        sizes: dict[str, int] = {}
        pending = dict(edges)
        while pending:
            ready = [name for name, uses in pending.items() if all(use in sizes for use in uses)]
            if not ready:
                message = f"$ref goes in a circle through {', '.join(sorted(pending))[:120]}"
                self.say("M025", message, self.where)
                return
            for name in ready:
                sizes[name] = 1 + sum(sizes[use] for use in pending.pop(name))
        if 1 + sum(sizes[use] for use in top) > MAX_EXPANDED:
            message = f"references expand to more than {MAX_EXPANDED:,} schemas"
            self.say("M025", message, self.where)


def _check_patterns(patterns: list[tuple[str, Where]], problems: list[Problem]) -> None:
    for pattern, where in patterns:
        if fault := _pattern_fault(pattern):
            problems.append(Problem("M026", fault, where))


@lru_cache(maxsize=256)
def _pattern_fault(pattern: str) -> str:
    import jsonschema_rs

    try:
        make_validator({"pattern": pattern})
    except jsonschema_rs.ValidationError as error:
        said = str(error).split("\n")[0][:120]
        return f"pattern {clip(pattern)} is not one that runs without backtracking ({said})"
    return ""


def make_validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """A validator that resolves nothing outside the schema and never backtracks."""
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        known_part(schema),
        validate_formats=False,
        retriever=_refuse,
        pattern_options=jsonschema_rs.RegexOptions(
            size_limit=REGEX_SIZE_BYTES, dfa_size_limit=REGEX_SIZE_BYTES
        ),
    )


def known_part(schema: Any) -> Any:
    """The schema without what is not applied, so that the validator does not see it at all."""
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, item in schema.items():
        if key in _SCHEMA:
            result[key] = known_part(item)
        elif key in _SCHEMAS and isinstance(item, list):
            result[key] = [known_part(each) for each in item]
        elif key in _NAMED and isinstance(item, dict):
            result[key] = {name: known_part(each) for name, each in item.items()}
        elif key in KEYWORDS and key != "$schema":
            result[key] = item
    return result


def _refuse(uri: str) -> Any:
    raise ValueError(f"schemas are not fetched, so {uri[:120]!r} is not resolved")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text_list(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(item, str) for item in value)
        and len(set(value)) == len(value)
    )


def _type_fault(value: object) -> str:
    if type(value) is str and value in _TYPES:
        return ""
    names = value if isinstance(value, list) and value else [value]
    if all(isinstance(name, str) and name in _TYPES for name in names):
        return ""
    return f"must be one of {', '.join(sorted(_TYPES))}"


def _enum_fault(value: object) -> str:
    return "" if isinstance(value, list) and value else "must be a list of at least one value"


def _required_fault(value: object) -> str:
    return "" if _text_list(value) else "must be a list of different names"


def _dependent_fault(value: object) -> str:
    fine = isinstance(value, dict) and all(_text_list(names) for names in value.values())
    return "" if fine else "must map names to lists of names"


def _number_fault(value: object) -> str:
    return "" if _is_number(value) else "must be a number"


def _multiple_fault(value: Any) -> str:
    return "" if _is_number(value) and value > 0 else "must be a number above 0"


def _count_fault(value: object) -> str:
    return "" if _is_count(value) else "must be a whole number from 0"


def _text_fault(value: object) -> str:
    return "" if isinstance(value, str) else "must be text"


def _flag_fault(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


_RULES: dict[str, Callable[[Any], str]] = {
    "type": _type_fault,
    "enum": _enum_fault,
    "required": _required_fault,
    "dependentRequired": _dependent_fault,
    **dict.fromkeys(_NUMBER, _number_fault),
    "multipleOf": _multiple_fault,
    **dict.fromkeys(_COUNT, _count_fault),
    **dict.fromkeys(_TEXT, _text_fault),
    **dict.fromkeys(_FLAG, _flag_fault),
}
_ORDINARY = {key: rule for key, rule in _RULES.items() if key not in ("pattern", "$ref", "$schema")}
