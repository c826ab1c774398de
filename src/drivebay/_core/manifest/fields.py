"""Stage 1, the one table of what a manifest may hold.

Validation, the JSON Schema for editors, the reference page, the nearest-key hints and the order of
``to_dict`` are all read off :data:`FIELDS`; there is no second list of keys anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from drivebay._core.errors import nearest
from drivebay._core.manifest import grammar, shapes
from drivebay._core.manifest.grammar import kind_of
from drivebay._core.manifest.text import Problem

MANIFEST_VERSION = 1
MAX_TEXT = 4_000
MAX_ITEMS = 500
MAX_ITEM_TEXT = 512
# Looking for the nearest key is the dearest thing done to a bad manifest, so not for thousands.
MAX_HINTS = 30
PAIRED_METHODS = ("transfer_curve", "output_curve")
"""What two instruments can measure together, each with a channel of its own."""

Kind = Literal["text", "count", "list", "mapping"]
Faults = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a manifest.

    Attributes:
        name: the key.
        kind: what its value is.
        doc: what it means, for the reference page and for editors.
        example: a value as it would stand in a ``plugin.yaml``.
        required: whether a manifest without it is refused.
        default: what its absence means (a fresh copy is made of lists and mappings).
        since: the manifest version that brought it.
        code: the diagnostic code of a value that breaks ``fault``.
        fault: says what is wrong with the text, or with each item of a list.
        shape: checks a mapping and may return it with its numbers typed.
        schema: what JSON Schema can say about the value (of each item, for a list).
        typed: whether unquoted numbers, true, false and null inside it become values.
    """

    name: str
    kind: Kind
    doc: str
    example: str
    required: bool = False
    default: Any = None
    since: int = 1
    code: str = "M006"
    fault: Faults | None = None
    shape: Callable[[Any, list[Problem]], Any] | None = None
    schema: Mapping[str, Any] = field(default_factory=dict)
    typed: bool = False

    @property
    def check(self) -> Callable[[Field, Any, list[Problem]], Any]:
        """What checks a value of this kind; it returns the value as the metadata holds it."""
        return _CHECKS[self.kind]


_VERSION_SCHEMA = {"type": ["string", "number"], "maxLength": grammar.MAX_VERSION_TEXT}
_NAME_SCHEMA = {"type": "string", "pattern": f"^{grammar.NAME_PATTERN}$"}


def _isolation_fault(text: str) -> str:
    if text in ("process", "inline"):
        return ""
    return f"isolation {grammar.clip(text)} must be 'process' or 'inline'"


def _paired_fault(text: str) -> str:
    if text in PAIRED_METHODS:
        return ""
    return f"method {grammar.clip(text)} is none of {', '.join(PAIRED_METHODS)}"


def _method_fault(text: str) -> str:
    return "" if text.strip() == text else f"method {grammar.clip(text)} has blanks around it"


_TABLE = (
    Field(
        "name",
        "text",
        required=True,
        code="M007",
        fault=grammar.name_fault,
        schema={**_NAME_SCHEMA, "not": {"enum": sorted(grammar.YAML_WORDS)}},
        doc="What the plugin is called everywhere: a letter, then 1 to 63 letters, digits, `_` or "
        "`-`. Names that differ only in case or in `-` and `_` are one plugin.",
        example="keithley_2400",
    ),
    Field(
        "version",
        "text",
        required=True,
        code="M009",
        fault=grammar.version_fault,
        schema=_VERSION_SCHEMA,
        doc="The plugin's own version (PEP 440). Unquoted `1.10` stays 1.10.",
        example="1.2.0",
    ),
    Field(
        "author",
        "text",
        required=True,
        doc="Who to ask about it.",
        example="Lab Team <lab@example.org>",
    ),
    Field(
        "description",
        "text",
        required=True,
        doc="One sentence on what it drives.",
        example="Keithley 2400 family source-measure units",
    ),
    Field(
        "min_platform_version",
        "text",
        default="1.0.0",
        code="M009",
        fault=grammar.version_fault,
        schema=_VERSION_SCHEMA,
        doc="Oldest version of the driver contract it works with (PEP 440).",
        example="1.0.0",
    ),
    Field(
        "max_platform_version",
        "text",
        code="M009",
        fault=grammar.version_fault,
        schema=_VERSION_SCHEMA,
        doc="Newest version of the driver contract it works with; `1.9` admits every 1.9.x.",
        example="1.9",
    ),
    Field(
        "supported_methods",
        "list",
        default=(),
        fault=_method_fault,
        doc="Measurements the driver can do, by the name under which they are asked for.",
        example="[iv_sweep]",
    ),
    Field(
        "supported_models",
        "list",
        default=(),
        doc="Models it serves, as the instrument prints them; `*` and `?` are wildcards.",
        example='["2400", "2401", "24??-C"]',
    ),
    Field(
        "driver_class",
        "text",
        required=True,
        default="",
        code="D001",
        fault=grammar.class_fault,
        schema={"type": "string", "pattern": f"^{grammar.CLASS_PATTERN}$"},
        doc="Where the class is, inside the plugin's folder: `module.Class`, "
        "`package.module.Class` or `module:Outer.Inner`.",
        example="driver.Keithley2400",
    ),
    Field(
        "dependencies",
        "list",
        default=(),
        code="M043",
        fault=grammar.requirement_fault,
        doc="Distributions that must be installed (PEP 508).",
        example='["pyvisa>=1.13"]',
    ),
    Field(
        "config_schema",
        "mapping",
        typed=True,
        shape=shapes.check_config_schema,
        doc="JSON Schema (2020-12) of the `config` given to the driver. References stay inside "
        "it (`#/...`), patterns have at most 200 characters and no look-around.",
        example="{type: object, properties: {nplc: {type: number, minimum: 0.01, default: 1}}}",
    ),
    Field(
        "manifest_version",
        "count",
        default=1,
        doc="Version of this table the manifest was written for; absent means 1.",
        example="1",
    ),
    Field(
        "manufacturer",
        "list",
        default=(),
        doc="Manufacturers whose instruments it serves, as they stand first in a `*IDN?` reply.",
        example='["KEITHLEY INSTRUMENTS"]',
    ),
    Field(
        "idn_patterns",
        "list",
        default=(),
        doc="Whole `*IDN?` replies it serves, with `*` and `?` as wildcards, in any case; for "
        "instruments whose reply does not name the model plainly.",
        example='["KEITHLEY INSTRUMENTS*,MODEL 24*"]',
    ),
    Field(
        "ranges",
        "mapping",
        typed=True,
        shape=shapes.check_ranges,
        schema=shapes.RANGES_SCHEMA,
        doc="What each model can source and measure: model or wildcard, then quantity to "
        "`[lowest, highest]` in SI units, `regions` with the limits that hold together, "
        "`resolution` with the smallest step of a quantity, and `lacks` with the methods of "
        "`supported_methods` that this model does not have.",
        example='{"2400": {voltage_v: [-210, 210], current_a: [-1.05, 1.05], '
        "resolution: {current_a: 1.0e-11}}}",
    ),
    Field(
        "requires_platform",
        "text",
        code="M044",
        fault=grammar.specifier_fault,
        schema={"type": "string"},
        doc="Versions of the driver contract it works with, as PEP 440 specifiers; beside "
        "`min_platform_version` and `max_platform_version`, all of which must hold.",
        example='">=1,<2"',
    ),
    Field(
        "requires_python",
        "text",
        code="M044",
        fault=grammar.specifier_fault,
        schema={"type": "string"},
        doc="Versions of Python it works with, as PEP 440 specifiers.",
        example='">=3.11"',
    ),
    Field(
        "uses",
        "list",
        default=(),
        code="M007",
        fault=grammar.name_fault,
        schema=_NAME_SCHEMA,
        doc="Other plugins whose code this one imports; they are loaded first.",
        example="[keithley_common]",
    ),
    Field(
        "overrides",
        "list",
        default=(),
        code="M007",
        fault=grammar.name_fault,
        schema=_NAME_SCHEMA,
        doc="Plugins that this one replaces where both serve a model.",
        example="[keithley_2400]",
    ),
    Field(
        "isolation",
        "text",
        code="M037",
        fault=_isolation_fault,
        schema={"enum": ["process", "inline"]},
        doc="Where the driver runs: `process` (its own) or `inline` (the caller's).",
        example="process",
    ),
    Field(
        "safe_state",
        "mapping",
        shape=shapes.check_safe_state,
        schema=shapes.SAFE_STATE_SCHEMA,
        doc="What makes the instrument harmless when its driver is dead: `interrupt` (device "
        "clear, or commands that stop it), `writes`, then `verify` (`query`, `equals`), within "
        "`deadline_s` seconds.",
        example='{interrupt: true, writes: [":OUTP OFF"], verify: {query: ":OUTP?", equals: "0"}}',
    ),
    Field(
        "dialect",
        "mapping",
        typed=True,
        shape=shapes.check_dialect,
        schema=shapes.DIALECT_SCHEMA,
        doc="What limits are read from: which commands `energise` an output and switch it `off`, "
        "which headers set `levels` and which `clamps` (protections), which commands are "
        "`harmless`, which `recall` levels from elsewhere, and which `select` the channel of those "
        "that name none; see the page on limits.",
        example='{energise: [":OUTP ON"], "off": [":OUTP OFF"], '
        'levels: {":SOURce:VOLTage[:LEVel]": {quantity: voltage_v, unit: V}}}',
    ),
    Field(
        "methods",
        "mapping",
        default=MappingProxyType({}),
        typed=True,
        shape=shapes.check_methods,
        schema=shapes.METHODS_SCHEMA,
        doc="Methods of the driver's own: name to `title`, `parameters` (JSON Schema) and "
        "`columns` (`name`, `unit`, `kind`, `help`). Without an entry here a method that is not "
        "a standard one takes any parameters. Of `cv_measurement` it says the `technique`: `ac` "
        "or `quasi_static`.",
        example="{burn_in: {parameters: {type: object}, columns: [{name: time_s, unit: s}]}}",
    ),
    Field(
        "paired_methods",
        "list",
        default=(),
        code="M048",
        fault=_paired_fault,
        schema={"enum": list(PAIRED_METHODS)},
        doc="What it can measure together with a second instrument whose plugin says the same, as "
        "one source each; its class is a `SteppedSource`.",
        example="[transfer_curve, output_curve]",
    ),
    Field("license", "text", doc="Licence of the plugin (SPDX).", example="MIT"),
    Field(
        "homepage",
        "text",
        doc="Where its source or documentation is.",
        example="https://example.org/keithley",
    ),
)

FIELDS: Mapping[str, Field] = MappingProxyType({item.name: item for item in _TABLE})
SEED_FIELDS = tuple(FIELDS)[:11]
REQUIRED = tuple(item.name for item in _TABLE if item.required)


def check_fields(
    raw: Mapping[str, Any], problems: list[Problem], optional: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check a manifest's plain values against the table.

    Args:
        raw: key to plain value; None is the same as an absent key.
        problems: filled with everything that is wrong.
        optional: required keys that may be missing all the same.

    Returns:
        The checked values by field, and those of the ``x-`` keys.
    """
    if _from_the_future(raw, problems):
        return {}, {}
    required = tuple(key for key in REQUIRED if key not in optional) if optional else REQUIRED
    values, extensions = check_keys(raw, FIELDS, problems, required)
    if not problems and values.get("max_platform_version"):
        _check_range(values, problems)
    if not problems and values.get("methods"):
        shapes.check_technique(values["methods"], values.get("ranges") or {}, problems)
    if not problems and values.get("ranges"):
        shapes.check_lacks(values["ranges"], values.get("supported_methods") or (), problems)
    return values, extensions


def check_keys(
    raw: Mapping[str, Any],
    table: Mapping[str, Field],
    problems: list[Problem],
    required: Collection[str],
    *,
    blanks: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check a mapping against a table of its keys.

    Args:
        raw: key to plain value.
        table: every key there is, beside those that begin with ``x-``.
        problems: filled with everything that is wrong.
        required: keys that must have a value.
        blanks: whether any other key without a value counts as absent; else that is a problem.

    Returns:
        The checked values by key, and those of the ``x-`` keys.
    """
    values: dict[str, Any] = {}
    extensions: dict[str, Any] = {}
    for key, value in raw.items():
        item = table.get(key)
        if item is None:
            if type(key) is str and key.startswith("x-"):
                extensions[key] = value
            else:
                problems.append(_unknown(key, table, hint=len(problems) < MAX_HINTS))
        elif value is not None and value != "":
            values[key] = item.check(item, value, problems)
        elif key in required or not blanks:
            problems.append(_no_value(key, value))
    problems.extend(_missing(table[key]) for key in required if key not in raw)
    return values, extensions


def _from_the_future(raw: Mapping[str, Any], problems: list[Problem]) -> bool:
    """Whether the manifest is of a later version, so that its keys cannot be judged here."""
    text = raw.get("manifest_version")
    if text is None:
        return False
    version = int(text) if str(text).isascii() and str(text).isdigit() and len(str(text)) < 9 else 0
    if version <= MANIFEST_VERSION or isinstance(text, bool):
        return False
    needs = raw.get("requires_platform") or raw.get("min_platform_version")
    contract = f" with driver contract {needs}" if isinstance(needs, str) and needs else ""
    message = (
        f"written for manifest version {version}; this drivebay knows {MANIFEST_VERSION}: "
        f"it needs a newer drivebay{grammar.clip(contract, 80)[1:-1] if contract else ''}"
    )
    problems.append(Problem("M027", message, ("manifest_version",)))
    return True


def _unknown(key: object, table: Mapping[str, Field], hint: bool) -> Problem:
    if not isinstance(key, str):
        return Problem("M006", f"key {str(key)[:60]!r} must be text, found {kind_of(key)}")
    close = nearest(key[:64], table) if hint else ""
    message = f"unknown key {grammar.clip(key)}{close or '; keys of your own begin with x-'}"
    return Problem("M003", message, (key,), on_key=True)


def _missing(item: Field) -> Problem:
    key = item.name
    why = "; without it nothing can be loaded" if key == "driver_class" else ""
    return Problem("M004", f"missing key {key!r}{why}; for example {key}: {item.example}")


def _no_value(key: str, value: object) -> Problem:
    if key == "name" and isinstance(value, str):
        return Problem("M007", f"name: {grammar.name_fault(value)}", (key,))
    return Problem("M004", f"key {key!r} has no value", (key,))


def _check_range(values: Mapping[str, Any], problems: list[Problem]) -> None:
    lowest = values.get("min_platform_version") or FIELDS["min_platform_version"].default
    highest = values["max_platform_version"]
    if grammar.range_is_empty(lowest, highest):
        message = f"empty version range: no version lies between {lowest} and {highest}"
        problems.append(Problem("M008", message, ("max_platform_version",)))


def _check_text(item: Field, value: Any, problems: list[Problem]) -> Any:
    if type(value) is not str:
        hint = "; quote it" if isinstance(value, (int, float, bool)) else ""
        message = f"{item.name} must be text, found {kind_of(value)}{hint}"
        problems.append(Problem("M006", message, (item.name,)))
    elif len(value) > MAX_TEXT:
        message = f"{item.name} has {len(value):,} characters, at most {MAX_TEXT:,} are allowed"
        problems.append(Problem("M042", message, (item.name,)))
    elif item.required and value.isspace():
        problems.append(_no_value(item.name, value))
    elif item.fault is not None and (fault := item.fault(value)):
        fault = fault if fault.startswith(item.name) else f"{item.name}: {fault}"
        problems.append(Problem(item.code, fault, (item.name,)))
    return value


def _check_count(item: Field, value: Any, problems: list[Problem]) -> Any:
    text = str(value)
    if isinstance(value, (str, int)) and not isinstance(value, bool) and text == "1":
        return 1
    message = f"{item.name} must be a whole number from 1, found {grammar.clip(text)}"
    problems.append(Problem("M006", message, (item.name,)))
    return 1


def _check_list(item: Field, value: Any, problems: list[Problem]) -> Any:
    if type(value) is not list:
        if type(value) in (str, int):
            value = [value]  # one item may stand without its list
        elif type(value) is tuple:
            value = list(value)
        else:
            message = f"{item.name} must be a list, found {kind_of(value)}"
            problems.append(Problem("M006", message, (item.name,)))
            return []
    if len(value) > MAX_ITEMS:
        message = f"{item.name} has {len(value)} items, at most {MAX_ITEMS} are allowed"
        problems.append(Problem("M042", message, (item.name,)))
        return []
    fault = item.fault
    seen: dict[str, None] = {}
    for index, entry in enumerate(value):
        text = str(entry) if type(entry) is int else entry
        if type(text) is not str:
            message = f"{item.name}[{index}] must be text, found {kind_of(entry)}"
            problems.append(Problem("M006", message, (item.name, index)))
        elif not text or text.isspace() or len(text) > MAX_ITEM_TEXT:
            what = "is longer than 512 characters" if len(text) > MAX_ITEM_TEXT else "is empty"
            problems.append(Problem("M042", f"{item.name}[{index}] {what}", (item.name, index)))
        elif fault is not None and (said := fault(text)):
            problems.append(Problem(item.code, f"{item.name}[{index}]: {said}", (item.name, index)))
        elif text in seen:
            message = f"{item.name} lists {grammar.clip(text)} twice"
            where = (item.name, index)
            problems.append(Problem("M035", message, where, severity="warning"))
        else:
            seen[text] = None
    return list(seen)


def _check_mapping(item: Field, value: Any, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        message = f"{item.name} must be a mapping, found {kind_of(value)}"
        problems.append(Problem("M006", message, (item.name,)))
        return {}
    return item.shape(value, problems) if item.shape is not None else value


_CHECKS: dict[str, Callable[[Field, Any, list[Problem]], Any]] = {
    "text": _check_text,
    "count": _check_count,
    "list": _check_list,
    "mapping": _check_mapping,
}
