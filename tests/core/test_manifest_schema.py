"""The JSON Schema for editors and the reference pages say the same as the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.manifest import FIELDS, manifest_schema, page, read_manifest
from drivebay._core.manifest.json_schema import check_json_schema

DOCS = Path(__file__).parents[2] / "docs" / "reference"
SOURCE = Path(page.__file__).parent

GOOD: dict[str, Any] = {
    "name": "k2400",
    "version": "1.0.0",
    "author": "Lab",
    "description": "SMU",
    "driver_class": "driver.K2400",
}

BAD = [
    {"name": "on"},
    {"name": "a b"},
    {"name": 5},
    {"name": ""},
    {"version": ["1"]},
    {"author": None},
    {"author": "  "},
    {"driver_class": "..tmp.K"},
    {"driver_class": "K"},
    {"supported_models": {"a": "b"}},
    {"supported_models": [[1]]},
    {"supported_models": [""]},
    {"uses": ["a b"]},
    {"isolation": "thread"},
    {"manifest_version": 2},
    {"config_schema": []},
    {"ranges": {"2400": {"volts": [0, 1]}}},
    {"ranges": {"2400": {"voltage_v": [0]}}},
    {"ranges": {"2400": {"regions": [{"voltage_v": 1}]}}},
    {"safe_state": {"write": [":OUTP OFF"]}},
    {"safe_state": {"writes": [":OUTP OFF"], "deadline_s": 100}},
    {"safe_state": {"writes": [":OUTP OFF"], "verify": {"query": "OUTP", "equals": "0"}}},
    {"dialect": {"levels": {":VOLT": {"quantity": "volts"}}}},
    {"dialect": {"clamps": {":PROT": {"unit": "A"}}}},
    {"dialect": {"off": [5]}},
    {"dialect": {"language": "basic"}},
    {"methods": {"a": {"parametres": {}}}},
    {"methods": {"a": {"columns": [{"unit": "V"}]}}},
    {"homepge": "x"},
    {"paired_methods": ["iv_sweep"]},
    {"ranges": {"2400": {"voltage_v": [0, 1], "lacks": "iv_sweep"}}},
]

VALIDATOR = jsonschema_rs.Draft202012Validator(manifest_schema())


def reader_takes(data: dict[str, Any]) -> bool:
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return read_manifest(text.encode(), "plugin.yaml")[0] is not None


def test_the_schema_is_a_json_schema():
    jsonschema_rs.meta.validate(manifest_schema())


def test_the_schema_holds_to_the_rules_for_schemas_in_manifests():
    problems: list[Any] = []

    check_json_schema(manifest_schema()["properties"]["driver_class"], (), problems)

    assert problems == []


def test_the_schema_is_fresh_data_each_time():
    manifest_schema()["properties"].clear()

    assert list(manifest_schema()["properties"]) == list(FIELDS)


def test_a_good_manifest_is_good_to_both():
    assert reader_takes(GOOD)
    assert VALIDATOR.is_valid(GOOD)


def test_what_an_editor_makes_of_unquoted_numbers_is_let_through():
    assert VALIDATOR.is_valid(GOOD | {"version": 1.1, "supported_models": [2400]})
    assert VALIDATOR.is_valid(GOOD | {"supported_models": 2400, "x-mine": [None]})


@pytest.mark.parametrize("change", BAD, ids=str)
def test_a_bad_manifest_is_bad_to_both(change):
    assert not VALIDATOR.is_valid(GOOD | change)
    assert not reader_takes(GOOD | change)


@pytest.mark.parametrize("key", ["name", "version", "author", "description", "driver_class"])
def test_both_want_the_same_keys(key):
    data = {name: value for name, value in GOOD.items() if name != key}

    assert not VALIDATOR.is_valid(data)
    assert not reader_takes(data)


TEXT = st.sampled_from(["k2400", "on", "1.0", "a.B", "", "pyvisa>=1", ">=1", "process", ":OUTP?"])
NUMBER = st.integers(-2, 3) | st.sampled_from([0.5, 1e3])
LEAF = st.none() | st.booleans() | NUMBER | TEXT
PART = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "2400",
                    "voltage_v",
                    "current_a",
                    "regions",
                    "writes",
                    "verify",
                    "query",
                    "equals",
                    "interrupt",
                    "deadline_s",
                    "energise",
                    "levels",
                    "quantity",
                    "unit",
                    "columns",
                    "parameters",
                    "name",
                    "kind",
                    "type",
                    "x",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "x-a"]), PART, max_size=4))
def test_whatever_the_reader_takes_the_schema_takes(change):
    text = yaml.safe_dump(GOOD | change, sort_keys=False)
    metadata, _ = read_manifest(text.encode(), "plugin.yaml")
    if metadata is None:
        return

    assert VALIDATOR.is_valid(GOOD | change)
    assert VALIDATOR.is_valid(metadata.to_dict())


def test_every_example_of_the_table_is_read_without_a_complaint():
    text = "".join(f"{item.name}: {item.example}\n" for item in FIELDS.values())

    metadata, found = read_manifest(text.encode(), "plugin.yaml")

    assert [str(item) for item in found] == []
    assert metadata is not None
    assert VALIDATOR.is_valid(yaml.safe_load(text))


def test_the_first_example_of_the_page_is_a_manifest():
    text = page.reference_page().split("```yaml\n")[1].split("```")[0]

    assert read_manifest(text.encode(), "plugin.yaml")[1] == ()


def test_the_reference_page_in_the_tree_is_the_generated_one():
    assert (DOCS / "manifest.md").read_text(encoding="utf-8") == page.reference_page()


def test_the_codes_in_the_diagnostics_page_are_the_generated_ones():
    text = (DOCS / "diagnostics.md").read_text(encoding="utf-8")

    assert page.codes_section() in text


def test_every_code_the_manifest_gives_is_explained_and_every_m_code_explained_once():
    import re

    used = set()
    for path in SOURCE.glob("*.py"):
        if path.name != "page.py":
            used |= set(re.findall(r'"([MD]\d{3})"', path.read_text(encoding="utf-8")))

    assert used <= page.CODES.keys()
    assert [code for code in page.CODES if code[0] == "M"] == sorted(
        code for code in page.CODES if code[0] == "M"
    )
