"""PluginMetadata: the plain dataclass it always was, and what the registry needs on top."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import ManifestError
from drivebay._core.manifest import (
    FIELDS,
    PluginMetadata,
    metadata_from_call,
    metadata_from_plain,
    metadata_to_plain,
    read_manifest,
)

SEED_KEYS = [
    "name",
    "version",
    "author",
    "description",
    "min_platform_version",
    "max_platform_version",
    "supported_methods",
    "supported_models",
    "driver_class",
    "dependencies",
    "config_schema",
]

FULL = b"""\
name: keithley_2400
version: 1.10
author: Lab
description: SMU
supported_methods: [iv_sweep]
supported_models: [2400]
driver_class: driver.K2400
config_schema: {type: object, properties: {wires: {enum: [2, 4], default: 2}}}
manufacturer: [KEITHLEY INSTRUMENTS]
ranges: {2400: {voltage_v: [-210, 210], regions: [{voltage_v: 21, current_a: 1.05}]}}
safe_state: {interrupt: true, writes: [":OUTP OFF"]}
methods: {burn_in: {parameters: {type: object}}}
x-shelf: [a, {b: 1}]
"""


def full() -> PluginMetadata:
    metadata, found = read_manifest(FULL, "plugin.yaml")
    assert metadata is not None, found
    return metadata


def arguments(**more: object) -> dict[str, object]:
    return {
        "name": "k2400",
        "version": "1.0.0",
        "author": "Lab",
        "description": "SMU",
        "supported_methods": ["iv_sweep"],
        "supported_models": ["2400"],
    } | more


def test_the_first_eleven_fields_are_positional_in_their_old_order():
    metadata = PluginMetadata(
        "n", "v", "a", "d", "1.1", "2.0", ["m"], ["M"], "x.Y", ["numpy"], {"type": "object"}
    )

    assert [field.name for field in dataclasses.fields(PluginMetadata)][:11] == SEED_KEYS
    assert list(metadata.to_dict().values()) == [
        *("n", "v", "a", "d", "1.1", "2.0", ["m"], ["M"], "x.Y", ["numpy"], {"type": "object"})
    ]


def test_the_constructor_checks_nothing_and_its_object_may_be_edited():
    metadata = PluginMetadata(name="", version="banana", author="", description="")

    metadata.supported_models.append("2400")
    metadata.version = "2"

    assert (metadata.supported_models, metadata.version) == (["2400"], "2")


def test_the_constructor_refuses_missing_and_unknown_arguments_as_a_dataclass_does():
    with pytest.raises(TypeError, match="author"):
        PluginMetadata("n", "v")
    with pytest.raises(TypeError, match="homepge"):
        PluginMetadata("n", "v", "a", "d", homepge="x")


def test_two_objects_never_share_a_list():
    PluginMetadata("n", "v", "a", "d").supported_models.append("2400")

    assert PluginMetadata("n", "v", "a", "d").supported_models == []


def test_every_field_of_the_table_is_an_attribute_with_the_same_default():
    blank = PluginMetadata("n", "v", "a", "d")
    attributes = [field.name for field in dataclasses.fields(PluginMetadata)]

    assert attributes == [*FIELDS, "extensions"]
    for name, item in FIELDS.items():
        if not item.required:
            assert getattr(blank, name) in (item.default, [], {})


def test_to_dict_has_the_old_keys_always_and_new_ones_only_when_set():
    assert list(PluginMetadata("n", "v", "a", "d").to_dict()) == SEED_KEYS
    assert list(full().to_dict())[11:] == [
        "manufacturer",
        "ranges",
        "safe_state",
        "methods",
        "x-shelf",
    ]


def test_to_dict_gives_copies_all_the_way_down():
    metadata = full()
    before = metadata.to_dict()

    given = metadata.to_dict()
    given["supported_models"].append("x")
    given["config_schema"]["properties"]["wires"]["enum"].clear()
    given["x-shelf"][1]["b"] = 2

    assert metadata.to_dict() == before


def test_from_dict_and_to_dict_are_inverse():
    metadata = full()

    assert PluginMetadata.from_dict(metadata.to_dict()) == metadata


def test_from_dict_does_not_keep_the_callers_lists():
    data = PluginMetadata("ab", "1", "a", "d", supported_models=["2400"]).to_dict()
    metadata = PluginMetadata.from_dict(data)

    data["supported_models"].append("x")

    assert metadata.supported_models == ["2400"]


def test_from_yaml_takes_text_paths_and_says_where_every_problem_is(tmp_path):
    path = tmp_path / "plugin.yaml"
    path.write_bytes(FULL)
    assert PluginMetadata.from_yaml(str(path)) == full()

    path.write_bytes(b"name: k2400\nversion: banana\n")
    with pytest.raises(ManifestError, match=r"plugin\.yaml:2:10: M009") as caught:
        PluginMetadata.from_yaml(path)
    assert [item.code for item in caught.value.diagnostics] == ["M009", "M004", "M004"]
    assert caught.value.plugin == "k2400"


def test_from_yaml_leaves_a_missing_file_to_the_caller(tmp_path):
    with pytest.raises(FileNotFoundError):
        PluginMetadata.from_yaml(tmp_path / "plugin.yaml")


EDITS = {
    "set": lambda m: setattr(m, "version", "2"),
    "delete": lambda m: delattr(m, "version"),
    "new attribute": lambda m: setattr(m, "colour", "red"),
    "append": lambda m: m.supported_models.append("x"),
    "extend": lambda m: m.supported_models.extend(["x"]),
    "add in place": lambda m: m.supported_models.__iadd__(["x"]),
    "sort": lambda m: m.supported_methods.sort(),
    "item": lambda m: m.supported_models.__setitem__(0, "x"),
    "clear": lambda m: m.supported_models.clear(),
    "dict item": lambda m: m.config_schema.__setitem__("type", "array"),
    "dict update": lambda m: m.config_schema.update(type="array"),
    "nested dict": lambda m: m.config_schema["properties"].pop("wires"),
    "nested list": lambda m: m.config_schema["properties"]["wires"]["enum"].append(3),
    "ranges": lambda m: m.ranges["2400"]["voltage_v"].__setitem__(0, -1e6),
    "extension": lambda m: m.extensions["x-shelf"][1].__setitem__("b", 2),
    "setdefault": lambda m: m.methods.setdefault("x", {}),
    "or in place": lambda m: m.methods.__ior__({"x": {}}),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_sealed_metadata_refuses_every_edit(edit):
    sealed = full().sealed()
    before = sealed.to_dict()

    with pytest.raises((AttributeError, TypeError), match="read-only"):
        edit(sealed)

    assert sealed.to_dict() == before


@pytest.mark.parametrize("edit", [EDITS["set"], EDITS["append"], EDITS["dict item"]])
def test_unsealed_metadata_takes_the_same_edits(edit):
    metadata = full()

    edit(metadata)

    assert metadata != full()


def test_sealed_metadata_is_equal_to_what_it_was_made_of_and_apart_from_it():
    metadata = full()
    sealed = metadata.sealed()

    assert sealed == metadata
    assert isinstance(sealed, PluginMetadata)
    assert sealed.supported_models == ["2400"]
    assert isinstance(sealed.supported_models, list)
    assert isinstance(sealed.config_schema, dict)
    assert sealed.sealed() is sealed
    assert (sealed.is_sealed, metadata.is_sealed) == (True, False)
    metadata.supported_models.append("x")
    assert sealed.supported_models == ["2400"]


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: PluginMetadata.from_dict(m.to_dict()),
    ],
)
def test_a_copy_of_sealed_metadata_is_the_callers_own(copied):
    twin = copied(full().sealed())

    assert twin == full()
    twin.supported_models.append("x")
    twin.config_schema["properties"]["wires"]["enum"].append(8)
    twin.version = "2"


def test_copies_of_sealed_lists_and_dicts_may_be_edited():
    sealed = full().sealed()

    for twin in (copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))):
        twin(sealed.supported_models).append("x")
        twin(sealed.config_schema)["type"] = "array"
    assert [*sealed.supported_models, "x"] == ["2400", "x"]


def test_plain_form_goes_through_msgpack_and_comes_back_sealed_and_equal():
    metadata = full().sealed()

    packed = msgspec.msgpack.encode(metadata_to_plain(metadata))
    back = metadata_from_plain(msgspec.msgpack.decode(packed))

    assert back == metadata
    assert back.is_sealed
    with pytest.raises(TypeError, match="read-only"):
        back.ranges["2400"].clear()


def test_plain_form_leaves_out_what_is_default():
    plain = metadata_to_plain(PluginMetadata("n", "1", "a", "d"))

    assert plain == {"name": "n", "version": "1", "author": "a", "description": "d"}
    assert metadata_from_plain(plain) == PluginMetadata("n", "1", "a", "d")


@pytest.mark.parametrize(
    ("field", "value"),
    [("author", ""), ("min_platform_version", ""), ("max_platform_version", ""), ("ranges", {})],
)
def test_plain_form_keeps_empty_values_that_are_not_the_default(field, value):
    metadata = PluginMetadata("n", "1", "a", "d")
    setattr(metadata, field, value)

    assert metadata_from_plain(metadata_to_plain(metadata)) == metadata


def test_a_decorator_call_becomes_metadata_with_the_place_of_its_class():
    metadata = metadata_from_call(arguments(), driver_class="my.module.K2400")

    assert metadata.driver_class == "my.module.K2400"
    assert metadata.supported_models == ["2400"]


def test_a_decorator_call_may_name_its_class_itself():
    metadata = metadata_from_call(arguments(driver_class="a:B.C"), driver_class="my.module.K2400")

    assert metadata.driver_class == "a:B.C"


def test_a_decorator_call_is_held_to_the_rules_of_a_manifest():
    with pytest.raises(ManifestError) as caught:
        metadata_from_call(
            arguments(name="on", version=1.1, modles=["x"], driver_class="..x"),
            driver_class="m.K",
            path="driver.py",
        )

    assert sorted(item.code for item in caught.value.diagnostics) == [
        "D001",
        "M003",
        "M006",
        "M007",
    ]
    assert all(item.path == "driver.py" for item in caught.value.diagnostics)


def test_subclasses_of_metadata_come_out_as_themselves():
    class Mine(PluginMetadata):
        pass

    assert type(Mine.from_dict(full().to_dict())) is Mine
    assert type(Mine("n", "1", "a", "d").sealed()) is Mine


LINE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | LINE
    | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(LINE, inner, max_size=2),
    max_leaves=5,
)
METADATA = st.builds(
    PluginMetadata,
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{8}", fullmatch=True),
    version=st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(rc[0-9])?", fullmatch=True),
    author=LINE,
    description=st.lists(LINE, min_size=1, max_size=4).map(" ".join),
    supported_methods=st.lists(LINE, unique=True, max_size=3),
    supported_models=st.lists(LINE | st.just("2400"), unique=True, max_size=3),
    driver_class=st.from_regex(r"[a-z]{3}9(\.[a-z]{3}9){0,2}[.:][A-Z][a-z]{3}", fullmatch=True),
    config_schema=st.none() | st.fixed_dictionaries({"default": PLAIN, "x-note": PLAIN}),
    ranges=st.none()
    | st.dictionaries(
        LINE, st.just({"voltage_v": [-2.5, 1e6], "nplc": [0.01, 10.0]}), min_size=1, max_size=2
    ),
    extensions=st.dictionaries(LINE.map("x-{}".format), PLAIN.filter(bool), max_size=2),
)


@given(METADATA)
def test_metadata_written_as_yaml_is_read_back_equal(metadata):
    text = yaml.safe_dump(metadata.to_dict(), sort_keys=False, allow_unicode=True)

    back, found = read_manifest(text.encode(), "plugin.yaml")

    assert [str(item) for item in found if item.severity == "error"] == []
    assert back == metadata
    assert metadata_from_plain(metadata_to_plain(metadata)) == metadata
    assert PluginMetadata.from_dict(metadata.to_dict()) == metadata
