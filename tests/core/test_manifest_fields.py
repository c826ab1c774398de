"""The keys of a manifest: what each may hold, and what is said when it does not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import Diagnostic, ManifestError
from drivebay._core.manifest import (
    FIELDS,
    PluginMetadata,
    canonical_name,
    read_manifest,
    split_driver_class,
)

MINIMAL = """\
name: k2400
version: 1.0.0
author: Lab
description: SMU
driver_class: driver.K2400
"""


def read(text: str) -> PluginMetadata:
    metadata, found = read_manifest(text.encode(), "plugin.yaml")
    assert metadata is not None, [str(item) for item in found]
    return metadata


def problems(text: str) -> tuple[Diagnostic, ...]:
    metadata, found = read_manifest(text.encode(), "plugin.yaml")
    assert metadata is None
    return found


def only_problem(text: str) -> Diagnostic:
    found = problems(text)
    assert len(found) == 1, [str(item) for item in found]
    return found[0]


def with_line(key: str, value: str) -> str:
    """The minimal manifest with one line replaced or added."""
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"{key}:")]
    return "\n".join([*lines, f"{key}: {value}", ""])


def test_the_smallest_manifest_gets_the_defaults():
    metadata = read(MINIMAL)

    assert metadata == PluginMetadata("k2400", "1.0.0", "Lab", "SMU", driver_class="driver.K2400")
    assert metadata.min_platform_version == "1.0.0"
    assert metadata.supported_methods == []


def test_an_unknown_key_names_file_line_column_and_nearest_key():
    problem = only_problem(MINIMAL + "suported_models: [2400]\n")

    assert str(problem) == (
        "plugin.yaml:6:1: M003 unknown key 'suported_models'; did you mean 'supported_models'?"
    )


def test_keys_that_begin_with_x_are_the_authors_own():
    metadata = read(MINIMAL + "x-bench: {shelf: 3, tags: [a, b]}\n")

    assert metadata.extensions == {"x-bench": {"shelf": 3, "tags": ["a", "b"]}}
    assert metadata.to_dict()["x-bench"] == {"shelf": 3, "tags": ["a", "b"]}


def test_all_problems_are_reported_at_once_in_the_order_of_the_file():
    found = problems(
        "version: banana\nauthor: Lab\nsupported_methods: {a: 1}\nname: a b/c\n"
        "driver_class: K\nhomepge: x\nsupported_models: [2400, [1]]\n"
    )

    assert [(item.code, item.line) for item in found] == [
        ("M009", 1),
        ("M006", 3),
        ("M007", 4),
        ("D001", 5),
        ("M003", 6),
        ("M006", 7),
        ("M004", 0),
    ]


@pytest.mark.parametrize("key", ["name", "version", "author", "description", "driver_class"])
def test_a_missing_key_is_named_with_an_example(key):
    text = "".join(line + "\n" for line in MINIMAL.splitlines() if not line.startswith(key))

    problem = only_problem(text)

    assert problem.code == "M004"
    assert f"missing key {key!r}" in problem.message
    assert FIELDS[key].example in problem.message


@pytest.mark.parametrize("key", ["version", "author", "description", "driver_class"])
@pytest.mark.parametrize("nothing", ["", "null", "~", "''", "'  '"])
def test_a_required_key_without_a_value_is_refused_at_its_line(key, nothing):
    problem = only_problem(with_line(key, nothing))

    assert (problem.code, problem.line) == ("M004", 5)


@pytest.mark.parametrize("nothing", ["", "null", "~", "''"])
@pytest.mark.parametrize("key", [name for name, item in FIELDS.items() if not item.required])
def test_an_optional_key_without_a_value_counts_as_absent(key, nothing):
    assert read(with_line(key, nothing)) == read(MINIMAL)


def test_a_manifest_without_driver_class_is_no_plugin_but_still_metadata(tmp_path):
    text = MINIMAL.replace("driver_class: driver.K2400\n", "")
    path = tmp_path / "plugin.yaml"
    path.write_text(text)

    assert "nothing can be loaded" in only_problem(text).message
    assert PluginMetadata.from_yaml(path).driver_class == ""
    assert PluginMetadata.from_dict(yaml.safe_load(text) | {"driver_class": ""}).driver_class == ""


@pytest.mark.parametrize(
    "name",
    [
        "True",
        "on",
        "Yes",
        "no",
        "None",
        "Null",
        "~x",
        "..",
        "../../etc",
        "a b/c",
        "k",
        "2400",
        "k2400 x",
        "é2400",
        "-k",
        "_k",
        "k" * 65,
        "k.x",
        "k\\n",
        "a/b",
        "",
        "  ",
    ],
)
def test_what_is_no_plugin_name_is_refused(name):
    assert only_problem(with_line("name", f'"{name}"')).code == "M007"


@pytest.mark.parametrize("name", ["keithley_2400", "K2400", "k-2400", "ab", "k" * 64, "offset"])
def test_the_name_grammar_takes_letters_digits_underscore_and_dash(name):
    assert read(with_line("name", name)).name == name


def test_names_that_differ_in_case_dash_or_underscore_are_one_plugin():
    assert {canonical_name(name) for name in ("K-2400", "k_2400", "K_2400 ", "k-2400")} == {
        "k_2400"
    }


@pytest.mark.parametrize(("key", "text"), [("version", "1.10"), ("min_platform_version", "1.0")])
def test_versions_stay_the_text_they_were_written_as(key, text):
    assert getattr(read(with_line(key, text)), key) == text


@pytest.mark.parametrize(
    "version", ["1", "1.2.3", "2.0rc1", "1.0.post2", "1!2.0", "1.0+lab3", "v1.0", "1.0-alpha.1"]
)
def test_any_pep_440_version_is_taken(version):
    assert read(with_line("version", version)).version == version


@pytest.mark.parametrize("key", ["version", "min_platform_version", "max_platform_version"])
@pytest.mark.parametrize("version", ["banana", "one", "1.x", ">=1", "1..2", "1" * 5000, "1,2"])
def test_what_is_no_pep_440_version_is_refused(key, version):
    found = problems(with_line(key, f"'{version}'"))

    assert [item.code for item in found] == ["M042" if len(version) > 4000 else "M009"]


@pytest.mark.parametrize(
    ("lowest", "highest", "empty"),
    [
        ("2.0", "1.0", True),
        ("1.10", "1.9", True),
        ("1.9", "1.10", False),
        ("1.9.5", "1.9", False),
        ("1.0", "1.0", False),
        ("1.0.1", "1.0.0", True),
        ("2.0rc1", "2.0", False),
        ("2.0", "2.0rc1", True),
        ("1!1.0", "2.0", True),
        ("1", "1.0.0", False),
    ],
)
def test_a_platform_range_that_holds_no_version_is_refused(lowest, highest, empty):
    text = MINIMAL + f"min_platform_version: {lowest}\nmax_platform_version: {highest}\n"

    if empty:
        problem = only_problem(text)
        assert (problem.code, problem.line) == ("M008", 7)
        assert f"{lowest} and {highest}" in problem.message
    else:
        assert read(text).max_platform_version == highest


def test_the_default_minimum_counts_against_a_lower_maximum():
    assert only_problem(MINIMAL + "max_platform_version: 0.9\n").code == "M008"


@pytest.mark.parametrize("key", ["supported_models", "supported_methods", "manufacturer"])
def test_items_of_lists_are_always_text(key):
    assert getattr(read(MINIMAL + f"{key}: [2400, 1.10, no, '7']\n"), key) == [
        "2400",
        "1.10",
        "no",
        "7",
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("supported_methods: iv_sweep", ["iv_sweep"]),
        ("supported_models: 2400", ["2400"]),
        ("dependencies: pyvisa>=1.13", ["pyvisa>=1.13"]),
    ],
)
def test_one_item_may_stand_without_its_list(line, value):
    assert getattr(read(MINIMAL + line), line.split(":")[0]) == value
    data = yaml.safe_load(MINIMAL + line)
    assert getattr(PluginMetadata.from_dict(data), line.split(":")[0]) == value


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("supported_models: {a: b}", "M006"),
        ("supported_models: [[2400]]", "M006"),
        ("supported_models: [~]", "M006"),
        ("supported_models: ['']", "M042"),
        ("supported_models: ['   ']", "M042"),
        (f"supported_models: [{'x' * 513}]", "M042"),
        (f"supported_models: [{', '.join(str(n) for n in range(501))}]", "M042"),
        ("author: [a]", "M006"),
        ("description: {a: b}", "M006"),
        ("config_schema: [a]", "M006"),
        ("config_schema: text", "M006"),
        ("ranges: 5", "M006"),
        ("manifest_version: zero", "M006"),
        ("manifest_version: 0", "M006"),
        ("manifest_version: 1.5", "M006"),
        ("isolation: thread", "M037"),
        ("uses: [a b]", "M007"),
        ("overrides: [on]", "M007"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(line, code):
    found = problems(with_line(*line.split(": ", 1)))

    assert [item.code for item in found] == [code]


def test_an_item_listed_twice_is_a_warning_and_counts_once():
    metadata, found = read_manifest(f"{MINIMAL}supported_models: [2400, '2400']\n".encode(), "p")

    assert metadata is not None
    assert metadata.supported_models == ["2400"]
    assert [(item.code, item.severity, item.line) for item in found] == [("M035", "warning", 6)]


@pytest.mark.parametrize(
    "text",
    ["driver.K2400", "pkg.module.Class", "module:Class", "module:Outer.Inner", "a.b:C.D", "_a._B"],
)
def test_every_form_of_class_path_is_taken(text):
    assert read(with_line("driver_class", text)).driver_class == text


@pytest.mark.parametrize(
    "text",
    [
        "K",
        "..tmp.x.evil.K",
        "/tmp/x/evil.K",
        ".driver.K",
        "driver.",
        "a..B",
        "a:b:C",
        "a:B.C:D",
        "a b.C",
        "a-b.C",
        "driver.K()",
        "driver.class",
        "import.K",
        "a.K\\n",
        "drïver.K",
        "a/b.C",
        "1.K",
        "os.system;x",
        "a\\b.C",
        ".".join(["a"] * 20),
    ],
)
def test_a_class_path_that_could_leave_the_plugin_is_refused(text):
    assert only_problem(with_line("driver_class", f'"{text}"')).code == "D001"
    with pytest.raises(ManifestError, match="D001"):
        split_driver_class(text)


@pytest.mark.parametrize("value", [None, 5, ["a.B"], ""])
def test_a_class_path_that_is_no_text_is_refused(value):
    with pytest.raises(ManifestError, match="D001"):
        split_driver_class(value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("module.Class", ("module", "Class")),
        ("pkg.module.Class", ("pkg.module", "Class")),
        ("pkg.module:Outer.Inner", ("pkg.module", "Outer.Inner")),
    ],
)
def test_a_class_path_splits_into_module_and_qualified_name(text, parts):
    assert split_driver_class(text) == parts


@pytest.mark.parametrize(
    "text", ["pyvisa", "pyvisa>=1.13", "numpy >=1.24,<3", "a[b]~=1.0; python_version<'4'", "a.b-c"]
)
def test_dependencies_are_pep_508(text):
    assert read(MINIMAL + f'dependencies: ["{text}"]\n').dependencies == [text]


@pytest.mark.parametrize("text", ["a b c", ">=1", "pyvisa>=", "pyvisa>=x.y", "x" * 300 + " !"])
def test_what_is_no_requirement_is_refused(text):
    assert only_problem(MINIMAL + f'dependencies: ["{text}"]\n').code == "M043"


@pytest.mark.parametrize("key", ["requires_platform", "requires_python"])
def test_specifier_sets_are_pep_440(key):
    assert getattr(read(MINIMAL + f'{key}: ">=1,<2"\n'), key) == ">=1,<2"
    assert getattr(read(MINIMAL + f'{key}: "==1.*, !=1.5"\n'), key) == "==1.*, !=1.5"
    assert getattr(read(MINIMAL + f'{key}: "~=1.4"\n'), key) == "~=1.4"
    for bad in ("1", "newer", "=>1", ">=1,<x", "  "):
        assert only_problem(MINIMAL + f'{key}: "{bad}"\n').code == "M044"


def test_a_later_manifest_version_gives_one_verdict_and_no_flood():
    problem = only_problem(
        "manifest_version: 99\nname: [new, style]\nrequires_platform: '>=3'\nfuture: {a: b}\n"
    )

    assert problem.code == "M027"
    assert problem.line == 1
    assert "manifest version 99" in problem.message
    assert "knows 1" in problem.message
    assert "contract >=3" in problem.message


def test_manifest_version_one_may_be_said():
    assert read(MINIMAL + "manifest_version: 1\n").manifest_version == 1
    assert PluginMetadata.from_dict(yaml.safe_load(MINIMAL + "manifest_version: 1\n")) == read(
        MINIMAL
    )


def test_from_dict_refuses_what_yaml_has_already_spoilt():
    data: dict[str, Any] = yaml.safe_load(MINIMAL)

    with pytest.raises(ManifestError) as caught:
        PluginMetadata.from_dict(data | {"version": 1.1, "author": True, "supported_models": 2.5})

    assert [item.code for item in caught.value.diagnostics] == ["M006", "M006", "M006"]
    assert "quote it" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_from_dict_lists_unknown_and_missing_keys_together():
    with pytest.raises(ManifestError) as caught:
        PluginMetadata.from_dict({"nane": "x", 5: "y"})

    assert [item.code for item in caught.value.diagnostics] == ["M003", "M006", *["M004"] * 4]


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_from_dict_refuses_what_is_no_mapping(data):
    with pytest.raises(ManifestError, match="M002"):
        PluginMetadata.from_dict(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=True)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "x-a", "other"]), JSON, max_size=6))
def test_from_dict_gives_metadata_or_a_manifest_error_for_any_values(data):
    base = {"name": "ab", "version": "1", "author": "a", "description": "b"}
    try:
        metadata = PluginMetadata.from_dict(base | data)
    except ManifestError as error:
        refused = error.diagnostics
    else:
        refused = None
        assert PluginMetadata.from_dict(metadata.to_dict()).to_dict() == metadata.to_dict()
    assert refused != ()


@pytest.mark.parametrize("line", ["requires_python: >=3.11", "dependencies:\n  - >=1"])
def test_a_specifier_without_quotes_is_told_to_be_quoted(line):
    problem = only_problem(f"{MINIMAL}{line}\n")

    assert problem.code == "M028"
    assert "quote text" in problem.message


def test_an_unquoted_yaml_word_as_a_name_is_refused():
    assert only_problem(with_line("name", "on")).code == "M007"
    assert only_problem(with_line("name", "null")).code == "M004"
