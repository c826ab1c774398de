"""The quick look-up: what it answers under pins and blocks, and that it does not grow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay import PluginManager
from drivebay._core.index import Catalog

Found = Callable[..., PluginManager]

CLAIMS = {
    "aa": "supported_models: ['24*']\nmanufacturer: Keithley\n",
    "bb": "supported_models: ['2400', '241?']\n",
    "cc": "supported_models: ['2400', '6517B', 'model 2410']\nmanufacturer: Keithley\n",
    "dd": "supported_models: ['100', '2[45]*']\nmanufacturer: Bolt\n",
    "ee": "supported_models: ['100', '24*']\noverrides: [dd]\n",
    "ff": "supported_models: []\nidn_patterns: ['BOLT*,*']\n",
}
NAMES = st.sampled_from(sorted(CLAIMS))
MODELS = st.sampled_from(["2400", "2410", "24", "25", "6517b", "6517B", "nothing", "100"])
ASKED = st.one_of(
    MODELS,
    st.builds("MODEL {}".format, MODELS),
    st.builds("{} {}".format, st.sampled_from(["Keithley", "Bolt"]), MODELS),
    st.builds("{}-LV".format, MODELS),
    st.builds("{},MODEL {},1,2".format, st.sampled_from(["KEITHLEY INC.", "Bolt", " "]), MODELS),
    st.text("24,* mod", max_size=8),
)


def write_claims(root: Path, claims: dict[str, str]) -> Path:
    for name, text in claims.items():
        (root / name).mkdir(parents=True)
        (root / name / "plugin.yaml").write_text(
            f"name: {name}\nversion: 1.0\nauthor: A\ndescription: d\n{text}driver_class: d.D\n"
        )
    return root


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> PluginManager:
    """Six plugins whose claims overlap in every way."""
    root = write_claims(tmp_path_factory.mktemp("crowd"), CLAIMS)
    manager = PluginManager([root], home=tmp_path_factory.mktemp("crowd-home"))
    manager.discover_plugins()
    return manager


@given(ASKED, st.frozensets(NAMES), st.dictionaries(MODELS, NAMES, max_size=3))
def test_the_quick_look_up_gives_the_first_of_the_ranked_list_that_may_answer(
    crowd: PluginManager, asked: str, blocked: frozenset[str], pins: dict[str, str]
) -> None:
    catalog = Catalog(crowd.snapshot.catalog.records.values(), pins, "1.0.0")

    ranked = [record.name for record, _ in catalog.resolve(asked) if record.name not in blocked]

    assert catalog.answers(blocked)[asked] == (ranked[0] if ranked else None)


@pytest.mark.parametrize("asked", ["2400", "MODEL 2400", "ACME,2400,1,1"])
def test_a_pin_to_a_wildcard_plugin_holds_however_the_model_is_asked(
    tmp_path: Path, write_plugin: Any, found: Found, asked: str
) -> None:
    write_plugin(tmp_path, "exact", supported_models=["2400", "2401"])
    write_plugin(tmp_path, "wild", supported_models=["24*"])
    manager = found(tmp_path)
    before = manager.find_driver_for_model(asked)

    manager.pin("2400", "wild")

    assert before == "exact"
    assert manager.find_driver_for_model(asked) == "wild"
    assert manager.find_driver_for_model("2401") == "exact"
    assert manager.model_index["2400"] == "wild"


@pytest.mark.parametrize("asked", ["2400", "ACME,MODEL 2400,1,1", "24X"])
def test_an_answer_given_before_is_not_given_once_its_plugin_is_disabled(
    tmp_path: Path, write_plugin: Any, found: Found, asked: str
) -> None:
    write_plugin(tmp_path, "aa", supported_models=["2400", "24*"])
    write_plugin(tmp_path, "bb", supported_models=["2400", "2*"])
    manager = found(tmp_path)
    before = manager.find_driver_for_model(asked)

    manager.disable_plugin("aa")
    without = manager.find_driver_for_model(asked)
    manager.enable_plugin("aa")

    assert (before, without) == ("aa", "bb")
    assert manager.find_driver_for_model(asked) == "aa"


@pytest.mark.parametrize("asked", ["2400", "ACME,MODEL 2400,1,1", "25X"])
def test_what_a_shadowed_manifest_claims_is_answered_by_nobody_until_it_wins(
    tmp_path: Path, write_plugin: Any, found: Found, asked: str
) -> None:
    winner = write_plugin(tmp_path / "first", "smu", supported_models=["6517B"])
    write_plugin(tmp_path / "second", "smu", supported_models=["2400", "25*"])
    manager = found(tmp_path / "first", tmp_path / "second")
    shadowed = manager.find_driver_for_model(asked)

    (winner / "plugin.yaml").unlink()
    manager.discover_plugins()

    assert shadowed is None
    assert manager.find_driver_for_model(asked) == "smu"


def test_nothing_that_was_asked_is_kept(crowd: PluginManager) -> None:
    answers = crowd.snapshot.answers
    assert answers["2400"] == "bb"
    held = dict(answers)

    for number in range(200):
        assert answers[f"KEITHLEY,MODEL 2400,{number},1"] == "bb"
        assert answers[f"241{number}"] is not None
        assert answers[f"unheard of {number}"] is None

    assert dict(answers) == held
    assert len(held) == 4  # 2400, 6517B, model 2410 and 100 as they are written


def lines_run(action: Callable[[], object]) -> int:
    """Count the lines of Python that run during an action."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> list[PluginManager]:
    """A manager of ten plugins and one of three hundred."""
    managers = []
    for plugins in (10, 300):
        claims = {
            f"vendor_{n:03d}": f"supported_models: [M{n}A, 'W{n:03d}*']\n" for n in range(plugins)
        }
        root = write_claims(tmp_path_factory.mktemp(f"of{plugins}"), claims)
        manager = PluginManager([root], home=tmp_path_factory.mktemp("sizes-home"))
        manager.discover_plugins()
        manager.find_driver_for_model("the question that builds the index")
        managers.append(manager)
    return managers


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("M7A", "vendor_007"),
        ("ACME INSTRUMENTS INC.,MODEL M7A,12345,1.0", "vendor_007"),
        ("W007-X", "vendor_007"),
        ("ACME,W007,1,1", "vendor_007"),
        ("nobody's", None),
    ],
)
def test_a_look_up_takes_as_many_steps_among_three_hundred_plugins_as_among_ten(
    sizes: list[PluginManager], asked: str, answer: str | None
) -> None:
    assert [manager.find_driver_for_model(asked) for manager in sizes] == [answer, answer]

    few, many = (lines_run(lambda m=m: m.find_driver_for_model(asked)) for m in sizes)

    assert few == many


def test_control_the_count_of_steps_sees_a_list_of_all_plugins(
    sizes: list[PluginManager],
) -> None:
    few, many = (lines_run(lambda m=m: m.explain("W007-X")) for m in sizes)

    assert many > 10 * few
