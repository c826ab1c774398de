"""Defects 5d of the original platform, rows 58-71: look-ups, states, needs, messages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from drivebay import ConfigError, PluginManager, PluginStatus

Found = Callable[..., PluginManager]


def error_of(manager: PluginManager, name: str = "acme") -> str:
    assert manager.load_plugin(name) is False
    return manager.plugins[name].error_message or ""


def test_models_and_methods_are_found_before_anything_is_loaded(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme", driver_source="raise RuntimeError('must not run')\n")

    manager = found(tmp_path)

    assert manager.find_driver_for_model("Model 1") == "acme"
    assert manager.find_drivers_for_method("answer") == ["acme"]
    assert manager.plugins["acme"].status is PluginStatus.DISCOVERED


@pytest.mark.parametrize(
    "asked",
    [
        "2400",
        " 2400 ",
        "MODEL 2400",
        "model 2400",
        "Keithley 2400",
        "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02",
        "2400-LV",
        "b2901a",
        "B2901A",
        "Keysight Technologies,B2901A,MY1,3.4",
        "2461",
    ],
)
def test_every_spelling_of_a_model_finds_its_plugin(
    tmp_path: Path, write_plugin: Any, found: Found, asked: str
) -> None:
    write_plugin(tmp_path, "smu", supported_models=["2400", "B2901A", "246?"])

    assert found(tmp_path).find_driver_for_model(asked) == "smu"


@pytest.mark.parametrize("asked", ["", "24", "24000", "9999", "ACME,,,", ",", "\n"])
def test_control_what_nobody_claims_has_no_plugin(
    tmp_path: Path, write_plugin: Any, found: Found, asked: str
) -> None:
    write_plugin(tmp_path, "smu", supported_models=["2400", "B2901A", "246?"])

    assert found(tmp_path).find_driver_for_model(asked) is None


def test_a_manufacturer_that_contradicts_the_manifest_is_no_match(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "smu", supported_models=["2400"], manufacturer=["Keithley"])
    manager = found(tmp_path)

    assert manager.find_driver_for_model("KEITHLEY INSTRUMENTS INC.,MODEL 2400,1,1") == "smu"
    assert manager.find_driver_for_model("ACME,MODEL 2400,1,1") is None
    (candidate,) = manager.explain("ACME,MODEL 2400,1,1")
    assert not candidate.usable
    assert "maker" in candidate.why_not[0]


def test_the_longer_literal_start_of_a_wildcard_wins(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "any_maker", supported_models=["*"])
    write_plugin(tmp_path, "family", supported_models=["24*"])
    write_plugin(tmp_path, "exact", supported_models=["2410"])
    manager = found(tmp_path)

    answers = [manager.find_driver_for_model(model) for model in ("2410", "2420", "6517")]

    assert answers == ["exact", "family", "any_maker"]


def test_what_look_ups_return_is_the_callers_own(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)

    manager.find_drivers_for_method("answer").append("intruder")
    manager.capability_index["answer"].append("intruder")
    manager.model_index["9999"] = "intruder"
    manager.list_plugins().clear()
    manager.plugins.copy().clear()

    assert manager.find_drivers_for_method("answer") == ["acme"]
    assert manager.find_driver_for_model("9999") is None
    assert list(manager.plugins) == ["acme"]
    with pytest.raises(TypeError):
        manager.plugins["acme"] = None  # type: ignore[index]
    with pytest.raises(AttributeError):
        manager.plugins["acme"].status = PluginStatus.ACTIVE  # type: ignore[misc]


def test_a_plugin_is_active_exactly_while_an_instance_is_connected(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    states = [manager.plugins["acme"].status]

    first, second = manager.get_driver("acme", "SIM::1"), manager.get_driver("acme", "SIM::2")
    states.append(manager.plugins["acme"].status)
    for step in (first.connect, second.connect, first.disconnect, second.disconnect):
        step()
        states.append(manager.plugins["acme"].status)

    assert [state.value for state in states] == [
        "loaded",
        "loaded",
        "active",
        "active",
        "active",
        "loaded",
    ]


def test_an_active_plugin_gives_further_drivers(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")

    with manager.get_driver("acme", "SIM::1"):
        assert manager.plugins["acme"].status is PluginStatus.ACTIVE
        assert manager.get_driver("acme", "SIM::2").connect() is True


def test_a_disabled_plugin_is_not_loaded_and_stays_so_in_the_next_program(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")

    assert manager.disable_plugin("acme", reason="in repair")

    for other in (manager, found(tmp_path)):
        assert error_of(other) == ""
        info = other.plugins["acme"]
        assert (info.status, info.reason) == (PluginStatus.DISABLED, "in repair")
        assert other.find_driver_for_model("Model 1") is None
        assert other.load_all_plugins() == {}
        with pytest.raises(RuntimeError, match="disabled"):
            other.get_driver("acme", "SIM::1")
    assert manager.enable_plugin("acme")
    assert manager.load_plugin("acme")


def test_missing_and_outdated_distributions_are_named(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    needs = ["no-such-thing", "pyyaml>=999", "packaging", "ghost; python_version < '3'"]
    write_plugin(tmp_path, "acme", dependencies=needs)

    said = error_of(found(tmp_path))

    assert said == (
        f"needs no-such-thing, not installed; needs pyyaml>=999, installed is {version('pyyaml')}"
    )


def test_a_plugin_is_loaded_after_those_it_uses(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    child = "from z_base.driver import Driver as Base\nclass Driver(Base):\n    pass\n"
    write_plugin(tmp_path, "a_child", uses=["z_base"], driver_source=child)
    write_plugin(tmp_path, "z_base", driver_source=driver_text("the base's"))
    manager = found(tmp_path)

    assert manager.load_all_plugins() == {"a_child": True, "z_base": True}
    child_class = manager.plugins["a_child"].driver_class
    base_class = manager.plugins["z_base"].driver_class
    assert child_class is not None
    assert base_class is not None
    assert issubclass(child_class, base_class)


def test_a_circle_of_plugins_is_named(tmp_path: Path, write_plugin: Any, found: Found) -> None:
    for name, used in (("one", "two"), ("two", "three"), ("three", "one")):
        write_plugin(tmp_path, name, uses=[used])

    said = error_of(found(tmp_path), "one")

    assert "plugins use each other in a circle" in said
    assert "one -> two -> three -> one" in said


def test_a_config_is_checked_with_paths_and_defaults_are_filled_in(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    schema = {
        "type": "object",
        "properties": {
            "nplc": {"type": "number", "minimum": 0.01, "default": 1},
            "route": {"enum": ["front", "rear"]},
        },
        "additionalProperties": False,
    }
    write_plugin(tmp_path, "acme", config_schema=schema, driver_source=driver_text())
    manager = found(tmp_path)
    manager.load_plugin("acme")

    with pytest.raises(ConfigError) as caught:
        manager.get_driver("acme", "SIM::1", {"nplc": 0, "route": "side"})

    assert len(caught.value.problems) == 2
    assert any("/nplc" in text for text in caught.value.problems)
    assert any("/route" in text for text in caught.value.problems)
    assert isinstance(caught.value, ValueError)
    driver: Any = manager.get_driver("acme", "SIM::1", {"route": "rear"})
    assert driver.config == {"nplc": 1, "route": "rear"}


@pytest.mark.parametrize(
    ("keys", "platform", "fits"),
    [
        ({"max_platform_version": "1.9"}, "1.9.1", True),
        ({"max_platform_version": "1.9"}, "1.10", False),
        ({"min_platform_version": "1.0"}, "1.0.0rc1", True),
        ({"min_platform_version": "1.0.0"}, "1.0.0.dev3", True),
        ({"max_platform_version": "1.0.0"}, "1.0.0+lab3", True),
        ({"min_platform_version": "1.0.0"}, "0.9", False),
        ({"max_platform_version": "2"}, "99", False),
        ({"requires_platform": ">=1,<2"}, "1.5", True),
        ({"requires_platform": ">=1,<2"}, "2.0", False),
        ({"requires_platform": ">=1,<2", "max_platform_version": "1.4"}, "1.5", False),
        ({"requires_python": ">=3.11"}, "1.0.0", True),
        ({"requires_python": "<3"}, "1.0.0", False),
    ],
)
def test_a_plugin_loads_exactly_where_its_versions_admit_it(
    tmp_path: Path, write_plugin: Any, found: Found, keys: Any, platform: str, fits: bool
) -> None:
    write_plugin(tmp_path, "acme", **keys)
    manager = found(tmp_path, platform_version=platform)

    assert manager.load_plugin("acme") is fits
    assert manager._check_compatibility(manager.plugins["acme"].metadata) is fits


@pytest.mark.parametrize("platform", ["main", "", "1.0.x"])
def test_a_host_that_does_not_know_its_version_hears_of_it_at_once(platform: str) -> None:
    with pytest.raises(ValueError, match="platform_version"):
        PluginManager([], platform_version=platform)


def test_an_incompatible_plugin_says_what_it_needs_what_this_is_and_where_it_says_so(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", min_platform_version="2", max_platform_version="3")
    lines = (folder / "plugin.yaml").read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.startswith("max_platform"))

    said = error_of(found(tmp_path, platform_version="1.9.1"))

    assert said == f"needs platform >=2,<=3, this is 1.9.1 (plugin.yaml:{line})"


def test_each_kind_of_misfit_has_a_message_of_its_own(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "old_python", requires_python="<3")
    write_plugin(tmp_path, "needs_more", dependencies=["no-such-thing"])
    write_plugin(tmp_path, "too_new", min_platform_version="9")
    manager = found(tmp_path)

    said = [error_of(manager, name) for name in ("old_python", "needs_more", "too_new")]

    assert len(set(said)) == 3
    assert "needs Python <3" in said[0]
    assert "Version incompatible" not in "".join(said)


def test_a_failure_has_type_text_line_and_the_whole_traceback(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    source = "def look():\n    return {}['addr']\n\n\nlook()\n"
    write_plugin(tmp_path, "acme", driver_source=source)
    manager = found(tmp_path)

    said = error_of(manager)

    assert said == "KeyError: 'addr' (driver.py:2 in look)"
    trace = manager.plugins["acme"].traceback or ""
    assert "Traceback (most recent call last)" in trace
    assert "driver.py" in trace
    assert "return {}['addr']" in trace


def test_an_exception_without_text_still_says_what_it_is(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme", driver_source="raise ValueError\n")

    assert error_of(found(tmp_path)) == "ValueError (driver.py:1 in <module>)"


def test_classes_that_share_code_are_related_and_their_module_runs_once(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: Any
) -> None:
    shared = driver_text(before="import hook\nhook.seen.append('ran')\nTABLE = []\n")
    write_plugin(tmp_path, "shared", driver_source=shared)
    for name in ("one", "two"):
        source = (
            "from shared.driver import Driver as Base, TABLE\n"
            f"TABLE.append({name!r})\nclass Driver(Base):\n    TABLE = TABLE\n"
        )
        write_plugin(tmp_path, name, uses=["shared"], driver_source=source)
    manager = found(tmp_path)

    assert all(manager.load_all_plugins().values())

    one, two, base = (manager.plugins[name].driver_class for name in ("one", "two", "shared"))
    assert one is not None
    assert two is not None
    assert base is not None
    assert issubclass(one, base)
    assert issubclass(two, base)
    assert one.TABLE is two.TABLE == ["one", "two"]  # type: ignore[attr-defined]
    assert hook.seen == ["ran"]


def test_the_hash_of_what_was_loaded_is_recorded_and_follows_the_files(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    assert manager.plugins["acme"].sha256 is None
    (folder / "driver.py").write_text(driver_text(2))  # between discovery and load
    manager.load_plugin("acme")
    second = manager.plugins["acme"].sha256
    (folder / "driver.py").write_text(driver_text(1))
    manager.reload_plugin("acme")
    first = manager.plugins["acme"].sha256
    (folder / "driver.py").write_text(driver_text(2))
    manager.reload_plugin("acme")

    assert first != second
    assert manager.plugins["acme"].sha256 == second
    assert len(second or "") == 64
    assert manager.get_driver("acme", "SIM::1").measure("answer", {}) == {"answer": 2}


def test_messages_show_the_states_value(tmp_path: Path, write_plugin: Any, found: Found) -> None:
    write_plugin(tmp_path, "acme", driver_source="raise ValueError('no')\n")
    manager = found(tmp_path)
    manager.load_plugin("acme")

    with pytest.raises(RuntimeError) as caught:
        manager.get_driver("acme", "SIM::1")

    assert str(caught.value).startswith("Plugin 'acme' not loaded (status: error): ValueError: no")
    assert f"{PluginStatus.ERROR}" == "error"


ROWS = {
    58: [test_models_and_methods_are_found_before_anything_is_loaded],
    59: [
        test_every_spelling_of_a_model_finds_its_plugin,
        test_control_what_nobody_claims_has_no_plugin,
        test_a_manufacturer_that_contradicts_the_manifest_is_no_match,
        test_the_longer_literal_start_of_a_wildcard_wins,
    ],
    60: [test_what_look_ups_return_is_the_callers_own],
    61: [
        test_a_plugin_is_active_exactly_while_an_instance_is_connected,
        test_an_active_plugin_gives_further_drivers,
        test_a_disabled_plugin_is_not_loaded_and_stays_so_in_the_next_program,
    ],
    62: [
        test_missing_and_outdated_distributions_are_named,
        test_a_plugin_is_loaded_after_those_it_uses,
        test_a_circle_of_plugins_is_named,
    ],
    63: [test_a_config_is_checked_with_paths_and_defaults_are_filled_in],
    64: [
        test_a_plugin_loads_exactly_where_its_versions_admit_it,
        test_a_host_that_does_not_know_its_version_hears_of_it_at_once,
    ],
    65: [
        test_an_incompatible_plugin_says_what_it_needs_what_this_is_and_where_it_says_so,
        test_each_kind_of_misfit_has_a_message_of_its_own,
    ],
    66: [
        test_a_failure_has_type_text_line_and_the_whole_traceback,
        test_an_exception_without_text_still_says_what_it_is,
    ],
    67: [test_classes_that_share_code_are_related_and_their_module_runs_once],
    70: [test_the_hash_of_what_was_loaded_is_recorded_and_follows_the_files],
    71: [test_messages_show_the_states_value],
}
