"""Who can measure this: the answer of manifests, with the reasons, and without an import."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from drivebay import Ability, ParameterError, PluginManager

SMALL = {
    "voltage_v": [-21, 21],
    "current_a": [-1, 1],
    "resolution": {"current_a": 1e-11},
}
LARGE = {
    "voltage_v": [-210, 210],
    "current_a": [-1, 1],
    "resolution": {"current_a": 1e-6},
    "regions": [{"voltage_v": 21, "current_a": 1}, {"voltage_v": 210, "current_a": 0.1}],
}
EXPLODES = "raise RuntimeError('this plugin must not be imported')\n"


@pytest.fixture
def manager(tmp_path: Path, write_plugin: Any) -> PluginManager:
    common = {"driver_source": EXPLODES, "supported_methods": ["iv_sweep"]}
    write_plugin(
        tmp_path,
        "smus",
        supported_models=["S1", "L1"],
        ranges={"S1": SMALL, "L1": LARGE},
        **common,
    )
    write_plugin(tmp_path, "silent", supported_models=["X1"], **common)
    write_plugin(
        tmp_path,
        "bridge",
        driver_source=EXPLODES,
        supported_methods=["cv_measurement"],
        supported_models=["B1"],
        ranges={"B1": {"frequency_hz": [20, 2e6], "voltage_v": [-40, 40]}},
        methods={"cv_measurement": {"technique": "ac"}},
    )
    manager = PluginManager([tmp_path], home=tmp_path / "home")
    manager.discover_plugins()
    return manager


def models(found: list[Ability]) -> list[str]:
    return [each.model for each in found if each.able]


def why_not(found: list[Ability], model: str) -> str:
    return "; ".join(next(each for each in found if each.model == model).why_not)


def test_without_a_wish_everybody_who_claims_the_method_can(manager):
    assert set(models(manager.who("iv_sweep"))) == {"S1", "L1", "X1"}


def test_a_range_that_is_too_small_is_the_reason_against(manager):
    found = manager.who("iv_sweep", voltage_v="40 V")

    assert models(found) == ["L1"]
    assert why_not(found, "S1") == "voltage_v -21 to 21 V, which does not reach 40 V"
    assert "voltage_v -210 to 210 V" in next(each for each in found if each.able).reasons


@pytest.mark.parametrize("wanted", ["-40..40 V", "-40 V..40 V", "40..-40 V", (-40, 40), [-40, 40]])
def test_from_where_to_where_can_be_asked(manager, wanted):
    assert models(manager.who("iv_sweep", voltage_v=wanted)) == ["L1"]


def test_a_resolution_must_be_declared_and_fine_enough(manager):
    found = manager.who("iv_sweep", current_resolution_a="100 nA")

    assert models(found) == ["S1"]
    assert why_not(found, "L1") == "resolves 1 \u00b5A, not 100 nA"
    assert why_not(found, "X1") == "declares no resolution of current_a"


def test_what_is_wanted_together_must_lie_in_one_region(manager):
    assert models(manager.who("iv_sweep", voltage_v=100, current_a=0.05)) == ["L1"]
    found = manager.who("iv_sweep", voltage_v=100, current_a=0.5)
    assert models(found) == []
    assert "not all of it together" in why_not(found, "L1")


def test_what_a_manifest_does_not_say_is_no_yes(manager):
    found = manager.who("iv_sweep", voltage_v=1)

    assert why_not(found, "X1") == "declares no range voltage_v"


def test_a_technique_is_a_reason_too(manager):
    assert models(manager.who("cv_measurement", technique="ac")) == ["B1"]
    found = manager.who("cv_measurement", technique="quasi_static", frequency_hz="1 kHz")
    assert "its technique is 'ac'" in why_not(found, "B1")


def test_plugins_that_do_not_claim_it_come_last_and_say_so(manager):
    found = manager.who("cv_measurement")

    assert next((each.plugin, each.able) for each in found) == ("bridge", True)
    assert {each.plugin for each in found if each.why_not} == {"smus", "silent"}


def test_a_plugin_that_is_disabled_cannot(manager):
    manager.disable_plugin("smus", reason="broken relay")

    assert "disabled: broken relay" in why_not(manager.who("iv_sweep"), "L1")


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"voltage": 1}, "P007"),
        ({"voltage_v": "3 A"}, "P008"),
        ({"voltage_v": "much"}, "P001"),
        ({"technique": "guess"}, "P013"),
        ({"current_resolution_v": 1}, "P007"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(manager, wanted, code):
    with pytest.raises(ParameterError) as caught:
        manager.who("iv_sweep", **wanted)

    assert [each.code for each in caught.value.problems] == [code]


# -- two instruments -------------------------------------------------------------------------------


@pytest.fixture
def transistors(tmp_path: Path, write_plugin: Any) -> PluginManager:
    """Models with two channels and with one, by one plugin and by others."""
    both = ("transfer_curve", "output_curve")
    # Copies, so that no YAML anchors come of them.
    ranges = {"D1": LARGE, "S1": copy.deepcopy(LARGE) | {"lacks": list(both)}}
    write_plugin(
        tmp_path, "double", supported_methods=["iv_sweep", *both], paired_methods=list(both),
        supported_models=["D1", "S1"], driver_source=EXPLODES, ranges=ranges,
    )  # fmt: skip
    write_plugin(
        tmp_path, "single", supported_methods=["iv_sweep"], paired_methods=list(both),
        supported_models=["O1", "O2"], driver_source=EXPLODES, ranges={"O1": LARGE, "O2": SMALL},
    )  # fmt: skip
    write_plugin(
        tmp_path, "alone", supported_methods=["iv_sweep"], supported_models=["A1"],
        driver_source=EXPLODES,
    )  # fmt: skip
    manager = PluginManager([tmp_path], home=tmp_path / "home")
    manager.discover_plugins()
    return manager


def test_who_can_do_it_in_pairs_is_told_behind_those_who_can_alone(transistors):
    found = transistors.who("transfer_curve")

    assert [(each.model, each.able, each.paired) for each in found] == [
        ("D1", True, True),
        ("S1", False, True),
        ("O1", False, True),
        ("O2", False, True),
        ("", False, False),
    ]
    assert "does not have transfer_curve" in why_not(found, "S1")
    assert "only together with a second instrument" in why_not(found, "O1")


def test_a_range_that_is_too_small_is_too_small_in_a_pair_too(transistors):
    found = transistors.who("output_curve", voltage_v="100 V")

    assert {each.model for each in found if each.paired} == {"D1", "S1", "O1"}
    assert "does not reach 100 V" in why_not(found, "O2")


def test_control_what_is_measured_alone_has_no_pairs(transistors):
    assert not any(each.paired for each in transistors.who("iv_sweep"))
    assert set(models(transistors.who("iv_sweep"))) == {"D1", "S1", "O1", "O2", "A1"}


def test_one_that_may_not_be_used_is_no_half_of_a_pair(transistors):
    transistors.disable_plugin("single", "broken relay")

    assert {each.model for each in transistors.who("transfer_curve") if each.paired} == {"D1", "S1"}
