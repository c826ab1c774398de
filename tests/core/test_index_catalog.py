"""Which plugin answers: spellings, makers, wildcards, pins, overrides, conflicts, explanations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay import PluginManager
from drivebay._core.index import normal_maker, normal_model, parse_idn

Found = Callable[..., PluginManager]
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
FIELD = st.text(st.characters(codec="ascii", exclude_characters=",", min_codepoint=32), max_size=20)


@given(TEXT)
def test_the_look_up_form_of_a_model_is_its_own_look_up_form_in_any_case(text: str) -> None:
    once = normal_model(text)

    assert normal_model(f"  {once.upper()}  ") in {
        normal_model(once.upper()),
        once.upper().casefold(),
    }
    assert normal_model(f"  {text}\t") == once


@given(FIELD, FIELD, FIELD, TEXT)
def test_an_idn_reply_is_split_into_four_fields_and_loses_nothing(
    maker: str, model: str, serial: str, firmware: str
) -> None:
    reply = f"{maker},{model},{serial},{firmware}"

    identity = parse_idn(reply)

    assert identity.model == model.strip()
    assert identity.serial == serial.strip()
    assert len(parse_idn(model)) == 4


@given(TEXT)
def test_no_text_at_all_makes_a_look_up_fail(text: str) -> None:
    manager = PluginManager()
    if not manager.plugins:
        manager.discover_plugins()

    assert manager.find_driver_for_model(text) in {None, "keithley_2400"}
    assert isinstance(manager.explain(text), list)
    assert normal_maker(text) == normal_maker(f" {text} ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("KEITHLEY INSTRUMENTS INC.", "Keithley"),
        ("Agilent Technologies", "Keysight"),
        ("HEWLETT-PACKARD", "Keysight Technologies"),
        ("Rohde&Schwarz", "ROHDE-SCHWARZ"),
    ],
)
def test_names_of_one_maker_meet(one: str, other: str) -> None:
    assert normal_maker(one) == normal_maker(other)


def test_control_names_of_two_makers_do_not_meet() -> None:
    assert normal_maker("Keithley") != normal_maker("Keysight")


def test_an_exact_model_beats_a_wildcard_of_an_earlier_folder(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "first", "wild", supported_models=["24*"])
    write_plugin(tmp_path / "second", "exact", supported_models=["2400"])

    manager = found(tmp_path / "first", tmp_path / "second")

    assert manager.find_driver_for_model("2400") == "exact"
    assert manager.find_driver_for_model("2401") == "wild"


def test_a_pin_beats_an_exact_model_and_can_be_taken_back(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "exact", supported_models=["2400"])
    write_plugin(tmp_path, "wild", supported_models=["24*"])
    manager = found(tmp_path)

    manager.pin("2400", "wild")
    pinned = manager.find_driver_for_model("KEITHLEY,MODEL 2400,1,1")
    manager.pin("2400", None)

    assert pinned == "wild"
    assert manager.find_driver_for_model("2400") == "exact"


def test_a_plugin_that_overrides_another_answers_where_both_claim(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "first", "shipped", supported_models=["2400", "2410"])
    write_plugin(tmp_path / "second", "mine", supported_models=["2400"], overrides=["shipped"])

    manager = found(tmp_path / "first", tmp_path / "second")

    assert manager.find_driver_for_model("2400") == "mine"
    assert manager.find_driver_for_model("2410") == "shipped"


def test_the_newer_version_answers_when_nothing_else_decides(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "aa", supported_models=["2400"], version="1.9")
    write_plugin(tmp_path, "bb", supported_models=["2400"], version="1.10")

    assert found(tmp_path).find_driver_for_model("2400") == "bb"


def test_when_the_first_choice_fails_the_next_one_answers(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "aa", supported_models=["2400"], driver_source="raise ValueError\n")
    write_plugin(tmp_path, "bb", supported_models=["2400"])
    manager = found(tmp_path)
    first = manager.find_driver_for_model("2400")

    manager.load_plugin("aa")

    assert first == "aa"
    for asked in ("2400", "MODEL 2400", "ACME,2400,1,1"):
        assert manager.find_driver_for_model(asked) == "bb"
    assert manager.model_index == {"2400": "bb"}
    assert manager.conflicts == ()


def test_two_makers_with_one_model_are_no_conflict(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "one", supported_models=["100"], manufacturer=["ACME"])
    write_plugin(tmp_path, "two", supported_models=["100"], manufacturer=["Bolt"])
    manager = found(tmp_path)

    assert manager.conflicts == ()
    assert manager.find_driver_for_model("ACME,100,1,1") == "one"
    assert manager.find_driver_for_model("Bolt Inc.,100,1,1") == "two"
    assert manager.find_driver_for_model("Bolt 100") == "two"


def test_a_whole_reply_can_be_matched_by_pattern(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "odd", supported_models=[], idn_patterns=["ACME*SN*"])
    manager = found(tmp_path)

    assert manager.find_driver_for_model("ACME LabBox SN:0815") == "odd"
    assert manager.find_driver_for_model("acme labbox sn:1") == "odd"
    assert manager.find_driver_for_model("Bolt LabBox SN:0815") is None


def test_explain_ranks_the_usable_and_tells_why_not_of_the_others(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    models = ["2400"]
    write_plugin(tmp_path, "broken", supported_models=models, driver_source="raise ValueError\n")
    write_plugin(tmp_path, "disabled", supported_models=models)
    write_plugin(tmp_path, "fits", supported_models=models, manufacturer=["Keithley"])
    write_plugin(tmp_path, "future", supported_models=models, min_platform_version="9")
    write_plugin(tmp_path, "other_maker", supported_models=models, manufacturer=["ACME"])
    write_plugin(tmp_path, "unrelated", supported_models=["34401A"])
    write_plugin(tmp_path, "wild", supported_models=["24*"])
    manager = found(tmp_path)
    manager.load_plugin("broken")
    manager.disable_plugin("disabled", "in repair")

    candidates = {c.plugin: c for c in manager.explain("KEITHLEY INSTRUMENTS INC.,MODEL 2400,1,C3")}

    assert [c.plugin for c in candidates.values() if c.usable] == ["fits", "wild"]
    assert "unrelated" not in candidates
    assert candidates["fits"].why[0] == "declares model '2400'"
    assert "agrees" in candidates["fits"].why[1]
    assert "pattern '24*'" in candidates["wild"].why[0]
    assert "failed to load: ValueError" in candidates["broken"].why_not[0]
    assert candidates["disabled"].why_not == ("disabled: in repair",)
    assert "needs platform >=9" in candidates["future"].why_not[0]
    assert "maker is ACME" in candidates["other_maker"].why_not[0]


def test_the_first_usable_candidate_is_the_one_that_a_look_up_names(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    for name, models in {
        "aa": ["24*"],
        "bb": ["2400", "241?"],
        "cc": ["2400"],
        "dd": ["*"],
    }.items():
        write_plugin(tmp_path, name, supported_models=models, manufacturer=["Keithley"])
    manager = found(tmp_path)

    for text in ("2400", "MODEL 2410", "KEITHLEY INSTRUMENTS,MODEL 2400,1,1", "Keithley 6517B"):
        usable = [c.plugin for c in manager.explain(text) if c.usable]
        assert usable[0] == manager.find_driver_for_model(text)


def test_a_model_that_is_a_number_is_looked_up_as_its_text(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "smu", supported_models=[2400])

    assert found(tmp_path).find_driver_for_model(2400) == "smu"  # type: ignore[arg-type]
