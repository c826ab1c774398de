"""The bench file, the tables of its keys: what may stand where.

Validation, the JSON Schema for editors, the reference page and the nearest-key hints are read off
these tables; there is no second list of keys anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from drivebay._core.bench import values
from drivebay._core.bench.model import POLICIES, BenchRamp
from drivebay._core.manifest.fields import Field, check_keys
from drivebay._core.manifest.grammar import (
    NAME_PATTERN,
    YAML_WORDS,
    clip,
    kind_of,
    name_fault,
)
from drivebay._core.manifest.schema import object_schema
from drivebay._core.manifest.shapes import SAFE_STATE_SCHEMA, check_safe_state
from drivebay._core.manifest.text import Problem, under

NEEDED_OF_INSTRUMENT: Final = ("resource",)

_NUMBER: Final[Mapping[str, Any]] = {"type": ["number", "string"]}
_LIMIT: Final[Mapping[str, Any]] = {
    "anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}]
}
_LIMITS_SCHEMA: Final[Mapping[str, Any]] = {
    "properties": dict.fromkeys(values.UNITS, _LIMIT),
    "additionalProperties": False,
}


def _table(*items: Field) -> Mapping[str, Field]:
    return MappingProxyType({item.name: item for item in items})


RAMP: Final = _table(
    Field(
        "rate_v_per_s",
        "text",
        code="B106",
        fault=values.positive_fault("V/s"),
        schema=_NUMBER,
        doc="How quickly a voltage goes to zero, in V/s.",
        example="5",
    ),
    Field(
        "rate_a_per_s",
        "text",
        code="B106",
        fault=values.positive_fault("A/s"),
        schema=_NUMBER,
        doc="How quickly a current goes to zero, in A/s; for current sources.",
        example="0.1",
    ),
    Field(
        "max_s",
        "text",
        default=BenchRamp().max_s,
        code="B106",
        fault=values.positive_fault("s", values.MAX_RAMP_S),
        schema=_NUMBER,
        doc="After so many seconds the output is switched off wherever the level is; at most "
        f"{values.MAX_RAMP_S:g}.",
        example="10",
    ),
)


def check_ramp(value: dict[str, Any], problems: list[Problem]) -> BenchRamp | None:
    """Check ``ramp``; None if something is wrong with it."""
    found: list[Problem] = []
    texts, _ = check_keys(value, RAMP, found, (), blanks=False)
    if not found and not texts.keys() & {"rate_v_per_s", "rate_a_per_s"}:
        message = "needs a rate: rate_v_per_s, rate_a_per_s or both"
        found.append(Problem("B106", message))
    problems += under(found, ("ramp",), "ramp")
    if found:
        return None
    units = {"rate_v_per_s": "V/s", "rate_a_per_s": "A/s", "max_s": "s"}
    return BenchRamp(**{key: values.number_of(text, units[key]) for key, text in texts.items()})


IDENTITY: Final = _table(
    Field(
        "manufacturer",
        "text",
        code="B110",
        fault=values.pinned_fault,
        doc="The maker; short and former names of the known ones agree.",
        example="KEITHLEY",
    ),
    Field(
        "model",
        "text",
        code="B110",
        fault=values.pinned_fault,
        doc="The model, with or without the word MODEL before it.",
        example='"2400"',
    ),
    Field(
        "serial",
        "text",
        code="B110",
        fault=values.pinned_fault,
        doc="The serial number.",
        example='"1234567"',
    ),
    Field(
        "firmware",
        "text",
        code="B110",
        fault=values.shown_fault,
        doc="The firmware, or its first words.",
        example="C30",
    ),
)


def check_identity(value: dict[str, Any], problems: list[Problem]) -> dict[str, str]:
    """Check ``identity``: the parts of an answer to ``*IDN?`` that must be as they are here."""
    found: list[Problem] = []
    pinned, _ = check_keys(value, IDENTITY, found, (), blanks=False)
    if not found and not pinned:
        found.append(Problem("B110", f"pins nothing; give one of {', '.join(IDENTITY)}"))
    problems += under(found, ("identity",), "identity")
    return pinned


_OUTCOME: Final = (
    Field(
        "limits",
        "mapping",
        shape=values.check_limits,
        schema=_LIMITS_SCHEMA,
        doc="What may never be exceeded: quantity to `[lowest, highest]`, or to one number that "
        "holds in both directions; plain numbers are in the unit of the name, and `10 mA` is "
        "taken too.",
        example="{voltage_v: [-10, 10], current_a: 10 mA}",
    ),
    Field(
        "policy",
        "text",
        default="off",
        code="B104",
        fault=values.policy_fault,
        # An editor that reads YAML 1.1 makes false of `off` before the schema sees it.
        schema={"enum": [*POLICIES, False]},
        doc="What becomes of the output when a measurement is over or its program has died: "
        "`off`, `hold` or `ramp_off`.",
        example="off",
    ),
    Field(
        "policy_reason",
        "text",
        code="B116",
        fault=values.shown_fault,
        doc="Why the output may stay on; `hold` needs it, and whoever looks at the bench sees it.",
        example="the heater keeps the sample at 4 K",
    ),
    Field(
        "ramp",
        "mapping",
        shape=check_ramp,
        schema=object_schema(RAMP, blanks=False),
        doc="How the level goes to zero; `ramp_off` needs it.",
        example="{rate_v_per_s: 5, max_s: 10}",
    ),
)

CHANNEL: Final = _table(*_OUTCOME)


def check_channels(value: dict[str, Any], problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Check ``channels``: name -> what a channel has of its own."""
    result: dict[str, dict[str, Any]] = {}
    for name, part in value.items():
        where = ("channels", name)
        if fault := values.channel_fault(name):
            problems.append(Problem("B114", fault, where, on_key=True))
        found: list[Problem] = []
        if isinstance(part, dict):
            result[name], _ = check_keys(part, CHANNEL, found, (), blanks=False)
        else:
            found.append(Problem("M006", f"must be a mapping, found {kind_of(part)}"))
        problems += under(found, where, f"channel {clip(name, 32)}")
    return result


INSTRUMENT: Final = _table(
    Field(
        "resource",
        "text",
        required=True,
        code="B102",
        fault=values.resource_fault,
        schema={"type": "string"},
        doc="Its address, a [VISA string](resources.md); each may stand once.",
        example="TCPIP::192.168.1.5::5025::SOCKET",
    ),
    Field(
        "plugin",
        "text",
        code="M007",
        fault=name_fault,
        schema={"type": "string", "pattern": f"^{NAME_PATTERN}$"},
        doc="The plugin that drives it, whatever it answers to `*IDN?`.",
        example="keithley_2400",
    ),
    Field(
        "config",
        "mapping",
        typed=True,
        doc="The driver's `config`; the plugin says what may stand in it.",
        example="{timeout_s: 3}",
    ),
    Field(
        "identity",
        "mapping",
        shape=check_identity,
        schema=object_schema(IDENTITY, blanks=False),
        doc="What it must answer to `*IDN?`, part by part; another instrument gets no output.",
        example='{manufacturer: KEITHLEY, model: "2400", serial: "1234567"}',
    ),
    Field(
        "visa_library",
        "text",
        code="B116",
        fault=values.shown_fault,
        schema={"type": "string"},
        doc="The VISA library, as PyVISA names it: `@py`, `@ivi` or a path.",
        example='"@py"',
    ),
    Field(
        "baud_rate",
        "text",
        code="B108",
        fault=values.baud_fault,
        schema={"type": ["integer", "string"]},
        doc="Bits a second of a serial line, by default 9600.",
        example="9600",
    ),
    Field(
        "terminator",
        "text",
        code="B108",
        fault=values.terminator_fault,
        schema={"enum": list(values.TERMINATORS)},
        doc='What ends a command and an answer on a serial line: `"\\n"` (the default), `"\\r\\n"` '
        'or `"\\r"`.',
        example='"\\r\\n"',
    ),
    *_OUTCOME,
    Field(
        "channels",
        "mapping",
        shape=check_channels,
        schema={
            "propertyNames": {"pattern": f"^{values.CHANNEL_PATTERN}$"},
            "additionalProperties": object_schema(CHANNEL, blanks=False),
        },
        doc="For single channels, by name: `limits`, `policy`, `policy_reason` and `ramp` of their "
        "own. What is not said there is that of the instrument, and no limit may be wider.",
        example='{"1": {limits: {voltage_v: 5}}}',
    ),
    Field(
        "safe_state",
        "mapping",
        shape=check_safe_state,
        schema=SAFE_STATE_SCHEMA,
        doc="Replaces the `safe_state` of the plugin's [manifest](manifest.md), whole, and is "
        "written like it.",
        example='{writes: [":OUTP OFF"], verify: {query: ":OUTP?", equals: "0"}, deadline_s: 1}',
    ),
)

BENCH: Final = _table(
    Field(
        "bench",
        "text",
        code="B116",
        fault=values.shown_fault,
        doc="What the bench is called.",
        example="probe station 3",
    ),
    Field(
        "instruments",
        "mapping",
        schema={
            "propertyNames": {
                "pattern": f"^{values.ALIAS_PATTERN}$",
                "not": {"enum": sorted(YAML_WORDS)},
            },
            "additionalProperties": object_schema(INSTRUMENT, NEEDED_OF_INSTRUMENT, blanks=False),
        },
        doc="Alias to instrument. An alias is a lower-case letter, then lower-case letters, digits "
        "or `_`, at most 32 in all.",
        example="{smu1: {resource: TCPIP::192.168.1.5::5025::SOCKET}}",
    ),
    Field(
        "safe_order",
        "list",
        default=(),
        schema={"type": "string"},
        doc="Aliases in the order in which their instruments are made safe; those not named follow "
        "in the order of the file.",
        example="[smu1]",
    ),
)
