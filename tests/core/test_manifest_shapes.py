"""The nested parts of a manifest: ranges, safe state, dialect, methods, and schemas inside them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import Diagnostic
from drivebay._core.manifest import PluginMetadata, read_manifest
from drivebay._core.manifest.json_schema import (
    KEYWORDS,
    check_json_schema,
    known_part,
    make_validator,
)

MINIMAL = """\
name: k2400
version: 1.0.0
author: Lab
description: SMU
driver_class: driver.K2400
"""


def read(key: str, value: Any) -> PluginMetadata:
    metadata, found = given_part(key, value)
    assert metadata is not None, [str(item) for item in found]
    assert found == ()
    return metadata


def codes(key: str, value: Any) -> list[str]:
    metadata, found = given_part(key, value)
    assert metadata is None
    assert all(item.line > 5 for item in found), [str(item) for item in found]
    return [item.code for item in found]


def given_part(key: str, value: Any) -> tuple[PluginMetadata | None, tuple[Diagnostic, ...]]:
    text = value if isinstance(value, str) else yaml.safe_dump({key: value}, sort_keys=False)
    if isinstance(value, str):
        text = f"{key}: {value}\n"
    return read_manifest((MINIMAL + text).encode(), "plugin.yaml")


# Ranges


def test_ranges_are_numbers_by_model_and_quantity():
    ranges = read(
        "ranges",
        '{2400: {voltage_v: [-210, 2.1e2], nplc: ["0.01", 10], '
        "regions: [{voltage_v: 21, current_a: 1.05}]}, '24*': {}}",
    ).ranges

    assert ranges == {
        "2400": {
            "voltage_v": [-210.0, 210.0],
            "nplc": [0.01, 10.0],
            "regions": [{"voltage_v": 21.0, "current_a": 1.05}],
        },
        "24*": {},
    }


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"voltage_v": [210, -210]}, ["M036"]),
        ({"voltage_v": [1, 1]}, ["M036"]),
        ({"voltage_v": [1]}, ["M036"]),
        ({"voltage_v": 210}, ["M036"]),
        ({"voltage_v": "wide"}, ["M036"]),
        ({"voltage_v": [float("nan"), 1]}, ["M041"]),
        ({"voltage_v": ["a", True]}, ["M041", "M041"]),
        ({"voltage_v": [0, float("inf")]}, ["M041"]),
        ({"voltage": [0, 1]}, ["M036"]),
        ({"regions": {"voltage_v": 1}}, ["M036"]),
        ({"regions": [5]}, ["M036"]),
        ({"regions": [{"voltage_v": 1}]}, ["M036"]),
        ({"regions": [{"voltage_v": 0, "current_a": -1}]}, ["M036", "M036"]),
        ({"regions": [{"voltage_v": "x", "current_a": 1, "power": 5}]}, ["M041", "M036"]),
    ],
)
def test_ranges_that_make_no_sense_are_refused(limits, expected):
    assert codes("ranges", {"2400": limits}) == expected


def test_an_unknown_quantity_names_the_nearest():
    found = given_part("ranges", {"2400": {"voltage": [0, 1]}})[1]

    assert "did you mean 'voltage_v'?" in found[0].message
    assert (found[0].line, found[0].column) == (8, 5)


# Safe state


def test_a_safe_state_is_typed_by_its_keys_and_commands_stay_text():
    verify = '{query: ":OUTP?", equals: 0}'
    text = f'{{interrupt: true, writes: ":OUTP OFF", verify: {verify}, deadline_s: 1}}'

    assert read("safe_state", text).safe_state == {
        "interrupt": True,
        "writes": [":OUTP OFF"],
        "verify": {"query": ":OUTP?", "equals": "0"},
        "deadline_s": 1.0,
    }


def test_an_interrupt_may_be_a_list_of_commands():
    state = read("safe_state", {"interrupt": [":ABOR"], "writes": [":OUTP OFF"]}).safe_state

    assert state == {"interrupt": [":ABOR"], "writes": [":OUTP OFF"]}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, ["M038"]),
        ({"interrupt": False}, ["M038"]),
        ({"writes": []}, ["M038"]),
        ({"writes": [""]}, ["M038"]),
        ({"writes": [["a"]]}, ["M038"]),
        ({"writes": ["a\nb"]}, ["M038"]),
        ({"writes": ["x" * 300]}, ["M038"]),
        ({"writes": {"a": "b"}}, ["M038"]),
        ({"writes": ["a"], "interrupt": "maybe"}, ["M038"]),
        ({"writes": ["a"], "verify": {"query": ":OUTP?"}}, ["M038"]),
        ({"writes": ["a"], "verify": {"query": ":OUTP", "equals": "0"}}, ["M038"]),
        ({"writes": ["a"], "verify": ":OUTP?"}, ["M038"]),
        ({"writes": ["a"], "deadline_s": 0}, ["M038"]),
        ({"writes": ["a"], "deadline_s": 61}, ["M038"]),
        ({"writes": ["a"], "deadline_s": "soon"}, ["M041"]),
        ({"writes": ["a"], "deadline": 1}, ["M003"]),
    ],
)
def test_a_safe_state_that_could_not_be_run_is_refused(state, expected):
    assert codes("safe_state", state) == expected


# Dialect and methods


def test_a_dialect_is_free_beside_what_limits_are_read_from():
    dialect = {
        "energise": [":OUTP ON"],
        "off": [":OUTP OFF"],
        "levels": {":SOUR:VOLT": {"quantity": "voltage_v", "unit": "V"}},
        "clamps": {
            ":SENSe[1]:CURRent:PROTection[:LEVel]": {
                "quantity": "current_a",
                "unit": "mA",
                "maximum": 1.05,
                "first": [":OUTP ON"],
                "when": [":SOUR:FUNC VOLTage"],
            }
        },
        "recall": ["*RCL", ":SOUR:MEM:*"],
        "harmless": [":DISP:*"],
        "language": "scpi",
        "notes": {"anything": [1, 2]},
    }

    assert read("dialect", dialect).dialect == dialect


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ({"energise": {"a": 1}}, ["M038"]),
        ({"energise": [5]}, ["M038"]),
        ({"levels": ["a"]}, ["M006"]),
        ({"levels": {":SOUR:VOLT": "voltage_v"}}, ["M006"]),
        ({"levels": {":SOUR:VOLT": {"unit": "V"}}}, ["M036"]),
        ({"levels": {":SOUR:VOLT": {"quantity": "volts"}}}, ["M036"]),
        ({"levels": {":SOUR:VOLT": {"quantity": "voltage_v", "unit": 5}}}, ["M006"]),
        ({"levels": {":SOUR:VOLT": {"quantity": "voltage_v", "unit": "A"}}}, ["M036"]),
        ({"levels": {":SOUR[:VOLT": {"quantity": "voltage_v"}}}, ["M036"]),
        ({"levels": {":Sour:Volt:Level": {"quantity": "voltage_v"}}}, ["M036"]),
        ({"clamps": {":PROT": {"quantity": "current_a", "maximum": "much"}}}, ["M041"]),
        ({"clamps": {":PROT": {"quantity": "current_a", "first": [":OUTP ON"]}}}, ["M036"]),
        ({"clamps": {":PROT": {"quantity": "current_a", "first": {"a": "b"}}}}, ["M038"]),
        ({"clamps": {":PROT": {"quantity": "current_a", "when": ":SOUR:FUNC"}}}, ["M036"]),
        ({"clamps": [":PROT"]}, ["M006"]),
        ({"off": [5]}, ["M038"]),
        ({"harmless": ["[:DISP]"]}, ["M036"]),
        ({"recall": [":SYST PRES;"], "harmless": [":A(B)"]}, ["M036"]),
        ({"language": "basic"}, ["M036"]),
        ({"language": ["scpi"]}, ["M006"]),
    ],
)
def test_a_dialect_that_limits_cannot_be_read_from_is_refused(dialect, expected):
    assert codes("dialect", dialect) == expected


def test_own_methods_have_parameters_and_columns():
    methods = {
        "burn_in": {
            "title": "Burn in",
            "parameters": {"type": "object", "properties": {"hours": {"type": "number"}}},
            "columns": [{"name": "time_s", "unit": "s", "kind": "float", "help": "since start"}],
        }
    }

    assert read("methods", methods).methods == methods


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (5, ["M006"]),
        ({"parametres": {}}, ["M003"]),
        ({"title": 5}, ["M006"]),
        ({"parameters": [1]}, ["M006"]),
        ({"parameters": {"type": "objekt"}}, ["M024"]),
        ({"columns": {"a": 1}}, ["M006"]),
        ({"columns": [1]}, ["M006"]),
        ({"columns": [{"unit": "s"}]}, ["M039"]),
        ({"columns": [{"name": "a b"}]}, ["M039"]),
        ({"columns": [{"name": "a"}, {"name": "a"}]}, ["M039"]),
        ({"columns": [{"name": "a", "kind": "text", "unit": 5}]}, ["M039", "M039"]),
        ({"columns": [{"name": "a", "units": "s"}]}, ["M003"]),
    ],
)
def test_a_method_schema_that_makes_no_sense_is_refused(method, expected):
    assert codes("methods", {"burn_in": method}) == expected


# Schemas inside manifests


@pytest.mark.parametrize(
    "reference",
    [
        "http://127.0.0.1:9/x",
        "https://json-schema.org/draft/2020-12/schema",
        "other.json",
        "#",
        "#/properties/a",
        "#/$defs/nothing",
        "file:///etc/passwd",
        "urn:x",
        "#anchor",
        "//x/y",
    ],
)
def test_a_reference_that_leaves_the_schema_is_refused(reference):
    schema = {"$defs": {"here": {}}, "properties": {"a": {"$ref": reference}}}

    assert codes("config_schema", schema) == ["M025"]


def test_a_reference_to_a_definition_of_the_same_schema_is_taken():
    schema = {
        "properties": {"a": {"$ref": "#/$defs/volts"}},
        "$defs": {"volts": {"type": "number"}},
    }

    assert read("config_schema", schema).config_schema == schema


def test_a_property_that_is_called_ref_is_no_reference():
    schema = {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}}

    assert read("config_schema", schema).config_schema == schema


@pytest.mark.parametrize("word", ["$id", "$anchor", "$dynamicRef", "$recursiveRef", "$vocabulary"])
def test_words_that_move_references_are_refused(word):
    assert codes("config_schema", {word: "http://example.org/x"}) == ["M025"]


def test_references_in_a_circle_are_refused():
    schema = {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}},
    }

    assert codes("config_schema", schema) == ["M025"]


def test_references_that_double_at_every_step_are_refused():
    chain = {
        f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}, {"$ref": f"#/$defs/s{n + 1}"}]}
        for n in range(40)
    }
    schema = {"$ref": "#/$defs/s0", "$defs": {**chain, "s40": {"type": "number"}}}

    assert codes("config_schema", schema) == ["M025"]


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(a", "a{1000}{1000}{1000}", "a" * 201])
def test_a_pattern_that_needs_backtracking_or_too_much_is_refused(pattern):
    assert codes("config_schema", {"properties": {"a": {"pattern": pattern}}}) == ["M026"]
    assert codes("config_schema", {"patternProperties": {pattern: {}}}) == ["M026"]


def test_patterns_beyond_what_compiles_quickly_are_refused():
    many = {f"p{number}": {"pattern": f"a{{{number}}}"} for number in range(33)}

    assert codes("config_schema", {"properties": many}) == ["M026"]
    assert codes("config_schema", {"pattern": "((a|b|c){1,40}){1,40}x"}) == ["M026"]


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^[A-Z]{2,5}[0-9]*$", "(?i)gpib"])
def test_patterns_that_run_without_backtracking_are_taken(pattern):
    assert read("config_schema", {"properties": {"a": {"pattern": pattern}}}).config_schema


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "must be one of"),
        ({"type": []}, "must be one of"),
        ({"minimum": "1 V"}, "minimum must be a number"),
        ({"multipleOf": 0}, "above 0"),
        ({"minLength": -1}, "whole number"),
        ({"maxItems": 2.5}, "whole number"),
        ({"enum": []}, "at least one"),
        ({"enum": 5}, "at least one"),
        ({"required": "a"}, "list of different names"),
        ({"required": ["a", "a"]}, "list of different names"),
        ({"dependentRequired": {"a": "b"}}, "lists of names"),
        ({"properties": ["a"]}, "map names to schemas"),
        ({"properties": {"a": 5}}, "must be a mapping"),
        ({"items": 5}, "must be a mapping"),
        ({"allOf": {}}, "list of schemas"),
        ({"anyOf": []}, "list of schemas"),
        ({"uniqueItems": "yes"}, "true or false"),
        ({"title": 5}, "must be text"),
        ({"$schema": "http://example.org/mine"}, "2020-12"),
        (
            {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {}}}}}}}}}},
            "8 levels",
        ),
    ],
)
def test_what_is_no_json_schema_is_refused_at_its_place(schema, said):
    found = given_part("config_schema", schema)[1]

    assert [item.code for item in found] == ["M024"]
    assert said in found[0].message
    assert found[0].line > 5


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": ["object", "null"]},
        {"additionalProperties": False, "x-note": "mine"},
        {"if": {"required": ["a"]}, "then": {"minProperties": 2}, "else": True},
        {"properties": {"a": {"items": {"type": "integer"}, "prefixItems": [{"const": 1}]}}},
    ],
)
def test_good_schemas_are_taken(schema):
    assert read("config_schema", schema).config_schema == schema


SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "number", "x", ["string", "null"], 5]),
            "minimum": st.integers(-3, 3) | st.just("x"),
            "maxLength": st.integers(-1, 5),
            "pattern": st.sampled_from(["^a", "(a", "(?=a)", "[a-z]+"]),
            "required": st.lists(st.sampled_from("ab"), max_size=2),
            "enum": st.lists(st.integers(), max_size=2),
            "default": st.integers() | st.none(),
            "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b", "#", "http://127.0.0.1:9/"]),
            "multipleOf": st.integers(0, 2) | st.floats(0, 1),
            "dependencies": st.just({"a": {"$ref": "http://127.0.0.1:9/"}}),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "$defs": st.dictionaries(st.sampled_from("ab/~%"), inner, max_size=2),
            "items": inner,
            "not": inner,
            "allOf": st.lists(inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "("]), inner, max_size=1),
        },
    ),
    max_leaves=6,
)


@given(SCHEMAS, st.dictionaries(st.sampled_from("ab"), st.integers() | st.text(max_size=3)))
def test_every_schema_that_is_taken_compiles_and_validates_without_fetching(schema, value):
    problems: list[Any] = []
    check_json_schema(schema, (), problems)
    if any(problem.severity == "error" for problem in problems):
        return

    validator = make_validator(schema)

    assert validator.is_valid(value) in (True, False)


def test_every_keyword_that_is_allowed_is_one_that_is_checked_or_free():
    from drivebay._core.manifest import json_schema

    handled = json_schema._RULES.keys() | json_schema._SCHEMA | json_schema._SCHEMAS
    assert handled | json_schema._NAMED | json_schema._FREE == KEYWORDS


def test_a_misspelt_keyword_is_a_warning_that_names_the_nearest():
    metadata, found = given_part("config_schema", {"properties": {"a": {"minimun": 1}}})

    assert metadata is not None
    assert [(item.code, item.severity, item.line) for item in found] == [("M045", "warning", 9)]
    assert "did you mean 'minimum'?" in found[0].message


def test_what_is_not_applied_is_not_shown_to_the_validator():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "dependencies": {"a": {"$ref": "http://127.0.0.1:9/"}},
        "x-mine": {"$ref": "http://127.0.0.1:9/"},
        "properties": {"dependencies": {"allOf": [{"type": "number", "nope": 1}]}},
    }

    assert given_part("config_schema", schema)[0] is not None
    assert known_part(schema) == {"properties": {"dependencies": {"allOf": [{"type": "number"}]}}}
    assert not make_validator(schema).is_valid({"dependencies": "text"})


@pytest.mark.parametrize("draft", ["draft-07", "draft/2019-09", "draft/2020-12"])
def test_schemas_of_recent_drafts_are_taken(draft):
    schema = {"$schema": f"https://json-schema.org/{draft}/schema#", "type": "object"}

    assert read("config_schema", schema).config_schema == schema
