"""One definition, and everything that is generated from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jsonschema_rs
import msgspec
import pytest

from drivebay._core.methods import (
    STANDARD,
    Column,
    IVSweep,
    MethodSpec,
    fields,
    parameter_schema,
    quantity,
    reference_page,
    signature_text,
)

SPEC = STANDARD["iv_sweep"]
GOOD: dict[str, Any] = {"start_v": -1, "stop_v": 1, "points": 11, "compliance_a": 0.01}


def test_iv_sweep_gives_the_same_four_columns_on_every_instrument():
    columns = [(column.name, column.unit, column.kind) for column in SPEC.columns or ()]

    assert columns == [
        ("voltage_v", "V", "float"),
        ("current_a", "A", "float"),
        ("time_s", "s", "float"),
        ("in_compliance", "", "bool"),
    ]


def test_every_field_has_a_unit_a_default_and_a_sentence():
    table = {field.name: field for field in fields(SPEC)}

    assert list(table) == list(IVSweep.__struct_fields__)
    assert table["start_v"].unit == "V"
    assert table["compliance_a"].required
    assert (table["delay_s"].default, table["delay_s"].unit) == (0.0, "s")
    assert table["spacing"].choices == ("linear", "list", "log")
    assert table["levels_v"].kind == "floats"
    assert table["source_range_v"].optional
    assert all(field.help for field in table.values())


def test_a_parameter_without_annotation_has_the_unit_of_its_suffix():
    class Soak(msgspec.Struct):
        hold_s: float
        s: float
        count: int
        gain: Annotated[float, quantity("", "no unit at all")]
        names: list[str] = []

    table = {field.name: field for field in fields(MethodSpec("soak", "Soak", Soak))}

    assert (table["hold_s"].unit, table["s"].unit, table["count"].unit) == ("s", "", "")
    assert table["gain"].help == "no unit at all"
    assert table["names"].default == []


def test_the_signature_reads_as_one_would_call_it():
    text = signature_text(SPEC)

    assert text.startswith("iv_sweep(*, start_v, stop_v, points, compliance_a, delay_s=0.0, ")
    assert signature_text(MethodSpec("any", "Any")) == "any(**parameters)"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"compliance_a": "10 mA"},
        {"source_range_v": None},
        {"spacing": "log", "start_v": 0.1},
        {"up_and_down": True},
    ],
)
def test_the_json_schema_accepts_what_is_good(change):
    assert jsonschema_rs.is_valid(parameter_schema(SPEC), GOOD | change)


@pytest.mark.parametrize(
    "params",
    [
        GOOD | {"points": 1},
        GOOD | {"points": 2.5},
        GOOD | {"compliance_a": 0},
        GOOD | {"delay_s": -1},
        GOOD | {"spacing": "square"},
        GOOD | {"complience": 1},
        {"start_v": 0, "stop_v": 1, "points": 3},
        {"compliance_a": 0.1},
        {"compliance_a": 0.1, "levels_v": [1, 2]} | {"spacing": "log"},
    ],
)
def test_the_json_schema_refuses_what_is_bad(params):
    assert not jsonschema_rs.is_valid(parameter_schema(SPEC), params)


def test_the_json_schema_knows_that_a_list_stands_for_its_ends():
    params = {"spacing": "list", "levels_v": [0, 1], "compliance_a": 0.1}

    assert jsonschema_rs.is_valid(parameter_schema(SPEC), params)


def test_the_json_schema_carries_units_descriptions_and_defaults():
    properties = parameter_schema(SPEC)["properties"]

    assert properties["start_v"]["x-unit"] == "V"
    assert properties["nplc"]["default"] == 1.0
    assert all(entry["description"] for entry in properties.values())


def test_a_method_that_takes_anything_has_a_schema_that_says_so():
    schema = parameter_schema(MethodSpec("any", "Any"))

    assert jsonschema_rs.is_valid(schema, {"x": 1})
    assert fields(MethodSpec("any", "Any")) == ()


def test_standard_methods_cannot_be_changed_by_their_users():
    with pytest.raises(TypeError):
        STANDARD["iv_sweep"] = SPEC  # type: ignore[index]
    with pytest.raises(AttributeError):
        SPEC.name = "other"  # type: ignore[misc]
    assert isinstance(SPEC.columns[0], Column)  # type: ignore[index]


def test_the_reference_page_in_the_tree_is_what_the_definitions_say_today():
    page = Path(__file__).parents[2] / "docs" / "reference" / "methods.md"

    assert page.read_text(encoding="utf-8") == reference_page(STANDARD.values())
