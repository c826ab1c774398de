"""Stage 1, the shapes: what the nested parts of a manifest must look like.

Each check takes the plain value and a list to put problems in, and goes on after the first; the
ranges and the safe state come back with their numbers typed. Nothing here is executed, fetched or
sent: a safe state is only looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from drivebay._core.errors import nearest
from drivebay._core.limits import COMMAND_KEYS, LANGUAGES, SETTING_KEYS
from drivebay._core.manifest.grammar import clip, kind_of
from drivebay._core.manifest.json_schema import check_json_schema
from drivebay._core.manifest.text import Problem, Where

QUANTITIES = (
    "voltage_v",
    "current_a",
    "power_w",
    "resistance_ohm",
    "conductance_s",
    "capacitance_f",
    "inductance_h",
    "impedance_ohm",
    "charge_c",
    "frequency_hz",
    "ac_level_v",
    "temperature_k",
    "time_s",
    "delay_s",
    "width_s",
    "period_s",
    "phase_deg",
    "nplc",
    "points",
)
"""Quantities a range or a level may be of; the suffix is the SI unit it is in."""

REGION_QUANTITIES = ("voltage_v", "current_a")
"""What every region must bound: together they are the power envelope."""

MAX_DEADLINE_S = 60.0
MAX_COMMANDS = 100
MAX_COMMAND_TEXT = 256
COLUMN_KINDS = ("float", "int", "bool")
TECHNIQUES = ("ac", "quasi_static")
"""As :mod:`drivebay._core.methods` has them; to import those costs more than to read a manifest."""

_SPAN: dict[str, Any] = {
    "type": "array",
    "items": {"type": ["number", "string"]},
    "minItems": 2,
    "maxItems": 2,
}
RANGES_SCHEMA: dict[str, Any] = {
    "additionalProperties": {
        "type": "object",
        "properties": {
            **dict.fromkeys(QUANTITIES, _SPAN),
            "regions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": list(REGION_QUANTITIES),
                    "propertyNames": {"enum": list(QUANTITIES)},
                },
            },
            "resolution": {
                "type": "object",
                "propertyNames": {"enum": list(QUANTITIES)},
                "additionalProperties": {"type": ["number", "string"]},
            },
            "lacks": {"type": "array", "items": {"type": "string", "pattern": r"\S"}},
        },
        "additionalProperties": False,
    }
}
_COMMANDS: dict[str, Any] = {
    "type": ["array", "string"],
    "items": {"type": "string", "pattern": r"\S", "maxLength": MAX_COMMAND_TEXT},
    "minItems": 1,
    "maxItems": MAX_COMMANDS,
}
SAFE_STATE_SCHEMA: dict[str, Any] = {
    "properties": {
        "interrupt": {**_COMMANDS, "type": ["array", "boolean", "null", "string"]},
        "writes": {**_COMMANDS, "type": ["array", "string", "null"]},
        "verify": {
            "type": ["object", "null"],
            "properties": {
                "query": {"type": "string", "pattern": r"\?"},
                "equals": {"type": ["string", "number"]},
            },
            "required": ["query", "equals"],
            "additionalProperties": False,
        },
        "deadline_s": {
            "type": ["number", "string", "null"],
            "exclusiveMinimum": 0,
            "maximum": MAX_DEADLINE_S,
        },
    },
    "additionalProperties": False,
}
_NUMBER: dict[str, Any] = {"type": ["number", "string", "null"]}
_SETTINGS: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": {
        "type": "object",
        "properties": {
            "quantity": {"enum": list(QUANTITIES)},
            "unit": {"type": "string"},
            "minimum": _NUMBER,
            "maximum": _NUMBER,
            "default": _NUMBER,
            "first": {**_COMMANDS, "type": ["array", "boolean", "null", "string"]},
            "when": {**_COMMANDS, "type": ["array", "null", "string"]},
        },
        "required": ["quantity"],
    },
}


def _any_case(words: Iterable[str]) -> str:
    """A pattern that editors understand too: ECMAScript has no inline flags."""
    spelled = ("".join(f"[{char}{char.upper()}]" for char in word) for word in words)
    return f"^({'|'.join(spelled)})$"


DIALECT_SCHEMA: dict[str, Any] = {
    "properties": {
        "language": {"type": ["string", "null"], "pattern": _any_case(LANGUAGES)},
        **{key: {**_COMMANDS, "type": ["array", "string", "null"]} for key in COMMAND_KEYS},
        **dict.fromkeys(SETTING_KEYS, _SETTINGS),
    }
}
METHODS_SCHEMA: dict[str, Any] = {
    "additionalProperties": {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "technique": {"enum": list(TECHNIQUES)},
            "parameters": {"type": ["object", "null"]},
            "columns": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "unit": {"type": ["string", "null"]},
                        "kind": {"enum": list(COLUMN_KINDS)},
                        "help": {"type": ["string", "null"]},
                    },
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    }
}

_decimal = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def check_ranges(value: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Check ``ranges``: model or wildcard -> quantity -> [lowest, highest], and ``regions``."""
    result: dict[str, Any] = {}
    for model, limits in value.items():
        where: Where = ("ranges", model)
        if not isinstance(limits, dict):
            message = (
                f"ranges of model {clip(str(model))} must be a mapping, found {kind_of(limits)}"
            )
            problems.append(Problem("M006", message, where))
            continue
        result[str(model)] = {
            key: _PARTS.get(key, _limits)(key, given, (*where, key), problems)
            for key, given in limits.items()
        }
    return result


def _limits(quantity: str, pair: Any, where: Where, problems: list[Problem]) -> list[float]:
    if not known_quantity(quantity, where, problems):
        return []
    if not isinstance(pair, list) or len(pair) != 2:
        message = f"{quantity} must be [lowest, highest], found {kind_of(pair)}"
        problems.append(Problem("M036", message, where))
        return []
    numbers = [finite(end, f"{quantity} limit", where, problems) for end in pair]
    low, high = numbers
    if low is None or high is None:
        return []
    if low >= high:
        message = f"{quantity} range {low:g}..{high:g} is empty; the lowest comes first"
        problems.append(Problem("M036", message, where))
    return [low, high]


def _resolution(_: str, value: Any, where: Where, problems: list[Problem]) -> dict[str, float]:
    """The smallest step of each quantity that the model tells apart, in its best range."""
    if not isinstance(value, dict):
        message = f"resolution must map quantities to a smallest step, found {kind_of(value)}"
        problems.append(Problem("M036", message, where))
        return {}
    result: dict[str, float] = {}
    for quantity, step in value.items():
        if not known_quantity(quantity, (*where, quantity), problems):
            continue
        number = finite(step, f"resolution of {quantity}", (*where, quantity), problems)
        if number is not None and number <= 0:
            message = f"resolution of {quantity} must be above 0, found {number:g}"
            problems.append(Problem("M036", message, (*where, quantity)))
        result[quantity] = number or 0.0
    return result


def _regions(_: str, value: Any, where: Where, problems: list[Problem]) -> list[dict[str, float]]:
    if not isinstance(value, list):
        message = f"regions must be a list of mappings, found {kind_of(value)}"
        problems.append(Problem("M036", message, where))
        return []
    result = []
    for index, region in enumerate(value):
        here: Where = (*where, index)
        if not isinstance(region, dict) or not region:
            message = "a region must map quantities to their largest magnitude"
            problems.append(Problem("M036", f"{message}, found {kind_of(region)}", here))
            continue
        if missing := [quantity for quantity in REGION_QUANTITIES if quantity not in region]:
            message = f"a region needs {' and '.join(missing)} as well"
            problems.append(Problem("M036", message, here))
        checked: dict[str, float] = {}
        for quantity, most in region.items():
            if not known_quantity(quantity, (*here, quantity), problems):
                continue
            number = finite(most, f"{quantity} of a region", (*here, quantity), problems)
            if number is not None and number <= 0:
                message = f"{quantity} of a region must be above 0, found {number:g}"
                problems.append(Problem("M036", message, (*here, quantity)))
            checked[quantity] = 0.0 if number is None else number
        result.append(checked)
    return result


def _lacks(_: str, value: Any, where: Where, problems: list[Problem]) -> list[str]:
    """The methods of its plugin that the model does not have."""
    if isinstance(value, list) and all(isinstance(each, str) and each.strip() for each in value):
        return list(value)
    message = f"lacks must be a list of methods, found {kind_of(value)}"
    problems.append(Problem("M006", message, where))
    return []


_PARTS: dict[str, Any] = {"regions": _regions, "resolution": _resolution, "lacks": _lacks}
"""What the ranges of a model hold beside a span for each quantity."""


def known_quantity(quantity: object, where: Where, problems: list[Problem]) -> bool:
    """Whether a quantity is one of :data:`QUANTITIES`; a problem if not."""
    if quantity in QUANTITIES:
        return True
    text = str(quantity)[:60]
    hint = nearest(text, QUANTITIES) or f" (known: {', '.join(QUANTITIES)})"
    problems.append(Problem("M036", f"unknown quantity {text!r}{hint}", where, on_key=True))
    return False


def finite(value: Any, subject: str, where: Where, problems: list[Problem]) -> float | None:
    """A finite number out of a number or its text; None and a problem when it is none."""
    number: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value) if abs(value) < 1e300 else math.inf
    elif isinstance(value, str) and len(value) <= 40 and _decimal.fullmatch(value):
        number = float(value)
    if number is None or not math.isfinite(number):
        message = f"{subject} must be a finite number, found {kind_of(value)}"
        problems.append(Problem("M041", message, where))
        return None
    return number


def check_safe_state(value: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Check ``safe_state`` and type its flag and its deadline."""
    where: Where = ("safe_state",)
    only_keys(value, ("interrupt", "writes", "verify", "deadline_s"), where, problems)
    result: dict[str, Any] = {}
    if (interrupt := value.get("interrupt")) is not None:
        result["interrupt"] = _interrupt(interrupt, problems)
    if (writes := value.get("writes")) is not None:
        result["writes"] = commands(writes, "safe_state writes", (*where, "writes"), problems)
    elif not result.get("interrupt"):
        message = "safe_state says nothing to do; give writes, for example [':OUTP OFF']"
        problems.append(Problem("M038", message, where))
    if (verify := value.get("verify")) is not None:
        result["verify"] = _verify(verify, problems)
    if (deadline := value.get("deadline_s")) is not None:
        here: Where = (*where, "deadline_s")
        number = finite(deadline, "deadline_s", here, problems)
        if number is not None and not 0 < number <= MAX_DEADLINE_S:
            message = f"deadline_s must be above 0 and at most {MAX_DEADLINE_S:g} s"
            problems.append(Problem("M038", f"{message}, found {number:g}", here))
        result["deadline_s"] = number
    return result


def _interrupt(value: Any, problems: list[Problem]) -> Any:
    where: Where = ("safe_state", "interrupt")
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    if isinstance(value, list):
        return commands(value, "safe_state interrupt", where, problems)
    message = f"interrupt must be true, false or a list of commands, found {kind_of(value)}"
    problems.append(Problem("M038", message, where))
    return False


def _verify(value: Any, problems: list[Problem]) -> dict[str, str]:
    where: Where = ("safe_state", "verify")
    if not isinstance(value, dict):
        message = f"verify must hold query and equals, found {kind_of(value)}"
        problems.append(Problem("M038", message, where))
        return {}
    only_keys(value, ("query", "equals"), where, problems)
    for key in ("query", "equals"):
        text = value.get(key)
        if isinstance(text, int) and not isinstance(text, bool):
            text = str(text)
        if not isinstance(text, str) or not text.strip():
            message = f"verify needs {key} as text, found {kind_of(text)}"
            problems.append(Problem("M038", message, (*where, key)))
        elif key == "query" and "?" not in text and not text.startswith("print("):  # TSP
            message = f"verify query {clip(text)} asks nothing; a query has a '?'"
            problems.append(Problem("M038", message, (*where, key)))
    return {key: str(value.get(key, "")) for key in ("query", "equals")}


def commands(value: Any, subject: str, where: Where, problems: list[Problem]) -> list[str]:
    """A list of commands, each one line of text; one text counts as a list of one."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or len(items) > MAX_COMMANDS:
        message = f"{subject} must be a list of 1 to {MAX_COMMANDS} commands, found "
        found = f"{len(items)} of them" if isinstance(items, list) else kind_of(items)
        problems.append(Problem("M038", message + found, where))
        return []
    for index, item in enumerate(items):
        if not isinstance(item, str) or not item.strip():
            message = f"{subject}[{index}] must be a command, found {kind_of(item)}"
        elif "\n" in item or "\r" in item or len(item) > MAX_COMMAND_TEXT:
            message = (
                f"{subject}[{index}] must be one line of at most {MAX_COMMAND_TEXT} characters"
            )
        else:
            continue
        problems.append(Problem("M038", message, (*where, index)))
    return [item for item in items if isinstance(item, str)]


def check_dialect(value: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Check the parts of ``dialect`` that the limits are read from; the rest is free."""
    before = len(problems)
    result = dict(value)
    if not isinstance(value.get("language") or "", str):
        message = f"language must be text, found {kind_of(value['language'])}"
        problems.append(Problem("M006", message, ("dialect", "language")))
    for key in COMMAND_KEYS:
        if value.get(key) is not None:
            result[key] = commands(value[key], key, ("dialect", key), problems)
    for key in SETTING_KEYS:
        if value.get(key) is not None:
            result[key] = _settings(value[key], key, problems)
    if len(problems) == before:
        from drivebay._core.limits import faults_of

        problems.extend(
            Problem("M036", fault, ("dialect", *where)) for where, fault in faults_of(result)
        )
    return result


def _settings(value: Any, key: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        message = f"{key} must map headers to quantity and unit, found {kind_of(value)}"
        problems.append(Problem("M006", message, ("dialect", key)))
        return value
    return {
        header: _setting(setting, f"{key[:-1]} {clip(str(header))}", (key, header), problems)
        for header, setting in value.items()
    }


def _setting(value: Any, subject: str, place: tuple[str, str], problems: list[Problem]) -> Any:
    """One level or clamp, with its numbers typed."""
    where: Where = ("dialect", *place)
    if not isinstance(value, dict):
        message = f"{subject} must hold quantity and unit, found {kind_of(value)}"
        problems.append(Problem("M006", message, where))
        return value
    quantity = value.get("quantity")
    if quantity is None:
        problems.append(Problem("M036", f"{subject} does not say its quantity", where))
    else:
        known_quantity(quantity, (*where, "quantity"), problems)
    if not isinstance(value.get("unit", ""), str):
        problems.append(Problem("M006", f"unit of {subject} must be text", (*where, "unit")))
    result = dict(value)
    for name in ("minimum", "maximum", "default"):
        if value.get(name) is not None:
            result[name] = finite(value[name], f"{name} of {subject}", (*where, name), problems)
    for name in ("first", "when"):
        given = value.get(name)
        if given is not None and not (name == "first" and isinstance(given, bool)):
            result[name] = commands(given, f"{name} of {subject}", (*where, name), problems)
    return result


def check_methods(value: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Check ``methods``: name -> title, parameters (JSON Schema), columns."""
    for name, method in value.items():
        where: Where = ("methods", name)
        if not isinstance(method, dict):
            message = f"method {clip(str(name))} must be a mapping, found {kind_of(method)}"
            problems.append(Problem("M006", message, where))
            continue
        only_keys(method, ("title", "technique", "parameters", "columns"), where, problems)
        if "technique" in method:
            _technique(name, method["technique"], (*where, "technique"), problems)
        if not isinstance(method.get("title", ""), str):
            problems.append(Problem("M006", "title must be text", (*where, "title")))
        parameters = method.get("parameters")
        if isinstance(parameters, dict):
            check_json_schema(parameters, (*where, "parameters"), problems)
        elif parameters is not None:
            message = f"parameters must be a JSON Schema, found {kind_of(parameters)}"
            problems.append(Problem("M006", message, (*where, "parameters")))
        if (columns := method.get("columns")) is not None:
            _columns(columns, (*where, "columns"), problems)
    return value


def _technique(method: str, value: Any, where: Where, problems: list[Problem]) -> None:
    if method != "cv_measurement":
        message = f"technique belongs to cv_measurement, not to {clip(str(method))}"
        problems.append(Problem("M046", message, where))
    elif value not in TECHNIQUES:
        hint = nearest(str(value)[:60], TECHNIQUES) or f" (known: {', '.join(TECHNIQUES)})"
        message = f"unknown technique {clip(str(value))}{hint}"
        problems.append(Problem("M046", message, where))


def check_lacks(ranges: Mapping[str, Any], claimed: Iterable[str], problems: list[Problem]) -> None:
    """Hold what models lack against what the plugin claims: a slip would promise too much."""
    known = list(claimed)
    for model, limits in ranges.items():
        for index, method in enumerate(limits.get("lacks", ())):
            if method not in known:
                message = (
                    f"model {model} lacks {clip(method)}, which supported_methods does not claim"
                    f"{nearest(method, known)}"
                )
                problems.append(Problem("M049", message, ("ranges", model, "lacks", index)))


def check_technique(
    methods: Mapping[str, Any], ranges: Mapping[str, Any], problems: list[Problem]
) -> None:
    """Hold the technique against the ranges: what has no frequency measures nothing by `ac`."""
    technique = methods.get("cv_measurement", {}).get("technique")
    deaf = [model for model, limits in ranges.items() if "frequency_hz" not in limits]
    if technique != "ac" or (ranges and not deaf):
        return
    which = f"model {', '.join(deaf)}" if deaf else "the instrument"
    message = (
        f"technique 'ac' needs an alternating voltage, and {which} has no range frequency_hz; "
        "a source-measure unit measures a capacitance by 'quasi_static'"
    )
    problems.append(Problem("M047", message, ("methods", "cv_measurement", "technique")))


def _columns(value: Any, where: Where, problems: list[Problem]) -> None:
    if not isinstance(value, list):
        message = f"columns must be a list of mappings, found {kind_of(value)}"
        problems.append(Problem("M006", message, where))
        return
    names: set[str] = set()
    for index, column in enumerate(value):
        here: Where = (*where, index)
        if not isinstance(column, dict):
            message = f"a column holds name, unit and kind, found {kind_of(column)}"
            problems.append(Problem("M006", message, here))
            continue
        only_keys(column, ("name", "unit", "kind", "help"), here, problems)
        name = column.get("name")
        if not isinstance(name, str) or not name.isidentifier() or name in names:
            message = f"a column needs a name of its own, found {kind_of(name)}"
            problems.append(Problem("M039", message, here))
        else:
            names.add(name)
        if column.get("kind", "float") not in COLUMN_KINDS:
            message = f"column kind must be one of {', '.join(COLUMN_KINDS)}"
            problems.append(Problem("M039", message, (*here, "kind")))
        problems.extend(
            Problem("M039", f"column {key} must be text", (*here, key))
            for key in ("unit", "help")
            if not isinstance(column.get(key, ""), str | None)
        )


def only_keys(
    value: Mapping[str, Any], known: Iterable[str], where: Where, problems: list[Problem]
) -> None:
    """Report every key that is not known here, with the nearest that is."""
    known = tuple(known)
    for key in value:
        if key not in known:
            text = str(key)[:60]
            hint = nearest(text, known) or f" (known: {', '.join(known)})"
            message = f"unknown key {text!r} in {'.'.join(map(str, where))}{hint}"
            problems.append(Problem("M003", message, (*where, key), on_key=True))


def check_config_schema(value: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Check ``config_schema`` as :func:`check_json_schema` does."""
    check_json_schema(value, ("config_schema",), problems)
    return value
