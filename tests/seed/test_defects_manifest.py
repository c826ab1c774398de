"""Defects 5b of the original platform (rows 9-26): the manifest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import drivebay
from drivebay import ManifestError, PluginManager, PluginMetadata, PluginStatus

HEAD = "name: acme\nversion: 1.0.0\nauthor: Lab\ndescription: d\ndriver_class: driver.Driver\n"


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plugin.yaml"
    path.write_bytes(text.encode(encoding))
    return path


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is said of a manifest, without the folder: ``line:column: code message``."""
    path = manifest(tmp_path / "acme", text)
    with pytest.raises(ManifestError) as caught:
        PluginMetadata.from_yaml(path)
    return [str(d).removeprefix(f"{path}:") for d in caught.value.diagnostics]


def loaded(tmp_path: Path, write_plugin: Any, **keys: Any) -> PluginManager:
    write_plugin(tmp_path, "acme", **keys)
    manager = PluginManager([tmp_path])
    manager.discover_plugins()
    manager.load_plugin("acme")
    return manager


def test_an_unknown_key_is_named_with_file_line_and_nearest_key(tmp_path: Path) -> None:
    said = problems(tmp_path, HEAD + "suported_models: ['2400']\n")

    assert said == ["6:1: M003 unknown key 'suported_models'; did you mean 'supported_models'?"]


def test_keys_that_begin_with_x_are_the_authors_own(tmp_path: Path) -> None:
    metadata = PluginMetadata.from_yaml(manifest(tmp_path, HEAD + "x-shelf: 3\n"))

    assert metadata.to_dict()["x-shelf"] == 3


def test_a_manifest_of_a_newer_version_says_that_drivebay_is_too_old(tmp_path: Path) -> None:
    said = problems(tmp_path, HEAD + "manifest_version: 2\nfrom_the_future: 1\n")

    assert len(said) == 1
    assert "newer drivebay" in said[0]


def test_all_missing_keys_and_all_other_problems_are_told_at_once(tmp_path: Path) -> None:
    said = problems(tmp_path, "name: a b\nversion: banana\ncolour: red\n")

    text = "\n".join(said)
    assert "M007" in text
    assert "1:7" in text
    assert "M009" in text
    assert "2:10" in text
    assert "M003" in text
    assert "missing key 'author'" in text
    assert "missing key 'description'" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the manifest is empty"),
        ("# only a comment\n", "the manifest is empty"),
        ("- a\n- b\n", "must be a mapping at its top level, found a list"),
        ("just words\n", "must be a mapping at its top level, found the text 'just words'"),
    ],
)
def test_a_manifest_that_is_no_mapping_says_what_it_is(
    tmp_path: Path, text: str, expected: str
) -> None:
    (said,) = problems(tmp_path, text)

    assert expected in said


def test_a_broken_manifest_is_a_record_in_state_error_with_its_reasons(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = manifest(tmp_path / "acme", HEAD + "colour: red\n")
    manager = PluginManager([tmp_path])

    assert manager.discover_plugins() == []

    info = manager.list_plugins()["acme"]
    assert info.status is PluginStatus.ERROR
    assert info.path == str(path)
    assert [d.line for d in info.diagnostics] == [6]
    assert "colour" in (info.error_message or "")
    assert info.metadata.version == "1.0.0"
    assert not manager.load_plugin("acme")
    assert f"Failed to load metadata from {path}:6:1" in caplog.text


def test_versions_stay_text_so_that_1_10_is_not_1_1(tmp_path: Path) -> None:
    text = HEAD.replace("1.0.0", "1.10") + "min_platform_version: 1.0\n"

    metadata = PluginMetadata.from_yaml(manifest(tmp_path, text))

    assert metadata.version == "1.10"
    assert metadata.min_platform_version == "1.0"


def test_an_unquoted_minimum_version_is_not_incompatible(tmp_path: Path, write_plugin: Any) -> None:
    folder = write_plugin(tmp_path, "acme", min_platform_version=None)
    with (folder / "plugin.yaml").open("a") as file:
        file.write("min_platform_version: 1.0\n")
    manager = PluginManager([tmp_path])
    manager.discover_plugins()

    assert manager.load_plugin("acme"), manager.plugins["acme"].error_message


def test_unquoted_model_numbers_are_found_by_their_text(tmp_path: Path, write_plugin: Any) -> None:
    manager = loaded(tmp_path, write_plugin, supported_models=[2400, 2401])

    assert manager.plugins["acme"].metadata.supported_models == ["2400", "2401"]
    assert manager.find_driver_for_model("2400") == "acme"


def test_one_method_without_a_list_is_one_method(tmp_path: Path, write_plugin: Any) -> None:
    manager = loaded(tmp_path, write_plugin, supported_methods="iv_sweep")

    assert manager.capability_index == {"iv_sweep": ["acme"]}
    assert manager.find_drivers_for_method("i") == []


def test_one_model_without_a_list_is_one_model(tmp_path: Path, write_plugin: Any) -> None:
    manager = loaded(tmp_path, write_plugin, supported_models=2400)

    assert manager.plugins["acme"].status is PluginStatus.LOADED
    assert manager.find_driver_for_model("2400") == "acme"


def test_a_failed_load_leaves_nothing_in_any_index(tmp_path: Path, write_plugin: Any) -> None:
    manager = loaded(tmp_path, write_plugin, driver_source="raise RuntimeError('no')\n")

    info = manager.plugins["acme"]
    assert info.status is PluginStatus.ERROR
    assert info.driver_class is None
    assert manager.capability_index == {}
    assert manager.model_index == {}
    assert manager.find_driver_for_model("Model 1") is None


@pytest.mark.parametrize("name", ["true", "null", "''", "../../etc", "a b/c", "2400", "k"])
def test_a_name_outside_the_grammar_is_refused(tmp_path: Path, name: str) -> None:
    said = problems(tmp_path, HEAD.replace("acme", name, 1))

    assert any("M007" in text or "M004" in text for text in said), said


@pytest.mark.parametrize("name", ["keithley_2400", "Keithley-2400", "k2400"])
def test_control_an_ordinary_name_is_accepted(tmp_path: Path, name: str) -> None:
    text = HEAD.replace("acme", name, 1)

    assert PluginMetadata.from_yaml(manifest(tmp_path, text)).name == name


def test_names_that_differ_in_case_or_dash_are_one_plugin(
    tmp_path: Path, write_plugin: Any
) -> None:
    for folder, name in (("a", "k-2400"), ("b", "K_2400"), ("c", "K-2400")):
        write_plugin(tmp_path, name).rename(tmp_path / folder)
    manager = PluginManager([tmp_path])
    manager.discover_plugins()

    assert list(manager.plugins) == ["k-2400"]
    assert len(manager.shadowed) == 2
    assert "K_2400" in manager.plugins
    assert manager.load_plugin("k_2400")


def test_a_key_that_stands_twice_is_an_error_with_both_lines(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, HEAD + "version: 2.0.0\n")

    assert "'version' appears twice (lines 2 and 6)" in said


def test_manifests_are_utf8_under_any_locale(tmp_path: Path) -> None:
    path = manifest(tmp_path / "acme", HEAD.replace("Lab", "José").replace("d\n", "1 \u00b5A\n", 1))
    program = (
        "import sys; from drivebay import PluginMetadata\n"
        "m = PluginMetadata.from_yaml(sys.argv[1]); print(ascii(m.author))\n"
    )

    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program, str(path)],
        env={
            "LC_ALL": "C",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONPATH": str(Path(drivebay.__file__).parents[1]),
            "PATH": os.environ.get("PATH", ""),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "'Jos\\xe9'\n", done.stderr


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEAD, encoding="utf-8-sig")

    assert PluginMetadata.from_yaml(path).name == "acme"


@pytest.mark.parametrize("miss", ["plugin.yml", "Plugin.yaml", "plugin.json", "plugin.toml"])
def test_a_near_miss_of_the_manifests_name_is_said(
    tmp_path: Path, miss: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / miss).write_text(HEAD)
    manager = PluginManager([tmp_path])

    assert manager.discover_plugins() == []
    assert str(folder / miss) in caplog.text
    assert "a manifest is called 'plugin.yaml'" in caplog.text


def test_what_to_dict_returns_is_the_callers_own(tmp_path: Path, write_plugin: Any) -> None:
    manager = loaded(tmp_path, write_plugin)
    metadata = manager.plugins["acme"].metadata

    metadata.to_dict()["supported_models"].append("9999")

    assert manager.find_driver_for_model("9999") is None
    assert metadata.supported_models == ["Model 1"]


def test_metadata_of_the_registry_refuses_edits(tmp_path: Path, write_plugin: Any) -> None:
    metadata = loaded(tmp_path, write_plugin).plugins["acme"].metadata

    with pytest.raises(TypeError, match="read-only"):
        metadata.supported_models.append("9999")
    with pytest.raises(AttributeError, match="read-only"):
        metadata.name = "other"


def test_a_version_that_is_no_version_is_refused(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, HEAD.replace("1.0.0", "banana"))

    assert "banana" in said
    assert "2:10" in said


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["x-a: &a [x,x,x,x,x,x,x,x,x]"]
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"x-{name}: &{name} [{','.join(['*' + previous] * 9)}]")

    said = problems(tmp_path, HEAD + "\n".join(lines) + "\n")

    assert any("M011" in text for text in said)
    assert sum(map(len, said)) < 2_000


def test_deep_nesting_is_refused_with_the_limit(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, HEAD + "x-deep: " + "[" * 3_000 + "]" * 3_000 + "\n")

    assert "nested deeper than 12 levels" in said


def test_a_huge_manifest_is_refused_with_the_limit(tmp_path: Path) -> None:
    said = problems(tmp_path, HEAD + "x-pad: " + "a" * 100_000 + "\n")

    assert any("65,536" in text for text in said)


def test_an_absent_manifest_version_means_the_first(tmp_path: Path) -> None:
    assert PluginMetadata.from_yaml(manifest(tmp_path / "a", HEAD)).manifest_version == 1
    said = HEAD + "manifest_version: 1\n"
    assert PluginMetadata.from_yaml(manifest(tmp_path / "b", said)).manifest_version == 1


def test_a_manifest_has_one_driver_class(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, HEAD.replace("driver.Driver", "[driver.A, driver.B]"))

    assert "driver_class must be text, found a list" in said


def test_two_classes_of_one_file_are_two_folders_claims(
    tmp_path: Path, write_plugin: Any, driver_text: Any
) -> None:
    source = driver_text(1, "One") + driver_text(2, "Two").replace(
        "from drivebay", "\nfrom drivebay"
    )
    for name in ("One", "Two"):
        write_plugin(
            tmp_path, name.lower() + "_plugin", driver_class=f"driver.{name}", driver_source=source
        )
    manager = PluginManager([tmp_path])
    manager.discover_plugins()

    assert manager.load_all_plugins() == {"one_plugin": True, "two_plugin": True}


def test_decorator_and_manifest_are_checked_by_the_same_rules() -> None:
    arguments = {
        "name": "a b",
        "version": "banana",
        "author": "Lab",
        "description": "d",
        "supported_methods": ["answer"],
        "supported_models": ["2400"],
    }
    with pytest.raises(ManifestError) as decorated:
        drivebay.driver_plugin(**arguments)(type("Driver", (), {}))  # type: ignore[arg-type]
    with pytest.raises(ManifestError) as read:
        PluginMetadata.from_dict(arguments)

    assert {d.code for d in decorated.value.diagnostics} == {"M007", "M009"}
    assert [str(d) for d in decorated.value.diagnostics] == [str(d) for d in read.value.diagnostics]


def test_a_decorator_that_contradicts_its_manifest_is_told_at_load(
    tmp_path: Path, write_plugin: Any, driver_text: Any, caplog: pytest.LogCaptureFixture
) -> None:
    decorated = driver_text(before="from drivebay import driver_plugin\n").replace(
        "class Driver",
        "@driver_plugin(name='acme', version='2.0.0', author='A', description='d', "
        "supported_methods=['answer'], supported_models=['Model 1'])\nclass Driver",
    )

    manager = loaded(tmp_path, write_plugin, driver_source=decorated)

    assert manager.plugins["acme"].status is PluginStatus.LOADED
    assert "@driver_plugin says version '2.0.0', plugin.yaml says '1.0.0'" in caplog.text


def test_a_decorated_class_and_a_manifest_give_equal_metadata(
    tmp_path: Path, write_plugin: Any, driver_text: Any
) -> None:
    decorated = driver_text(before="from drivebay import driver_plugin\n").replace(
        "class Driver",
        "@driver_plugin(name='acme', version='1.0.0', author='A. Tester', "
        "description='the plugin acme', supported_methods=['answer'], "
        "supported_models=['Model 1'])\nclass Driver",
    )
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "driver.py").write_text(decorated)
    write_plugin(tmp_path / "folders", "acme")
    one, other = PluginManager([tmp_path / "code"]), PluginManager([tmp_path / "folders"])
    one.discover_plugins()
    other.discover_plugins()

    mine = one.plugins["acme"].metadata.to_dict()
    theirs = other.plugins["acme"].metadata.to_dict()

    assert mine.pop("driver_class") == "driver:Driver"
    assert theirs.pop("driver_class") == "driver.Driver"
    assert json.dumps(mine, sort_keys=True) == json.dumps(theirs, sort_keys=True)


ROWS = {
    9: [
        test_an_unknown_key_is_named_with_file_line_and_nearest_key,
        test_keys_that_begin_with_x_are_the_authors_own,
        test_a_manifest_of_a_newer_version_says_that_drivebay_is_too_old,
    ],
    10: [test_all_missing_keys_and_all_other_problems_are_told_at_once],
    11: [test_a_manifest_that_is_no_mapping_says_what_it_is],
    12: [test_a_broken_manifest_is_a_record_in_state_error_with_its_reasons],
    13: [
        test_versions_stay_text_so_that_1_10_is_not_1_1,
        test_an_unquoted_minimum_version_is_not_incompatible,
    ],
    14: [test_unquoted_model_numbers_are_found_by_their_text],
    15: [test_one_method_without_a_list_is_one_method],
    16: [
        test_one_model_without_a_list_is_one_model,
        test_a_failed_load_leaves_nothing_in_any_index,
    ],
    17: [
        test_a_name_outside_the_grammar_is_refused,
        test_control_an_ordinary_name_is_accepted,
        test_names_that_differ_in_case_or_dash_are_one_plugin,
    ],
    18: [test_a_key_that_stands_twice_is_an_error_with_both_lines],
    19: [test_manifests_are_utf8_under_any_locale, test_a_byte_order_mark_is_accepted],
    20: [test_a_near_miss_of_the_manifests_name_is_said],
    21: [
        test_what_to_dict_returns_is_the_callers_own,
        test_metadata_of_the_registry_refuses_edits,
    ],
    22: [test_a_version_that_is_no_version_is_refused],
    23: [
        test_an_alias_bomb_is_refused_before_it_grows,
        test_deep_nesting_is_refused_with_the_limit,
        test_a_huge_manifest_is_refused_with_the_limit,
    ],
    24: [
        test_an_absent_manifest_version_means_the_first,
        test_a_manifest_of_a_newer_version_says_that_drivebay_is_too_old,
    ],
    25: [
        test_a_manifest_has_one_driver_class,
        test_two_classes_of_one_file_are_two_folders_claims,
    ],
    26: [
        test_a_decorator_that_contradicts_its_manifest_is_told_at_load,
        test_decorator_and_manifest_are_checked_by_the_same_rules,
        test_a_decorated_class_and_a_manifest_give_equal_metadata,
    ],
}
