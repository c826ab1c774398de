"""Instruments where one command selects the channel of the next: limits follow the selection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay import LimitError
from drivebay._core.limits import Guard, faults_of

DIALECT: dict[str, Any] = {
    "energise": [":OUTPut[:STATe] ON"],
    "off": [":OUTPut[:STATe] OFF", "*RST"],
    "levels": {"[:SOURce]:VOLTage[:LEVel]": {"quantity": "voltage_v"}},
    "clamps": {"[:SOURce]:CURRent[:LEVel]": {"quantity": "current_a"}},
    "select": [":INSTrument:NSELect", ":INSTrument[:SELect]"],
}
CHANNELS = {
    "1": {"voltage_v": (0.0, 6.0), "current_a": (0.0, 1.0)},
    "2": {"voltage_v": (0.0, 25.0), "current_a": (0.0, 0.5)},
}


@pytest.fixture
def judge() -> Guard:
    return guard()


def guard(*, strict: bool = True, without: str = "") -> Guard:
    dialect = {key: value for key, value in DIALECT.items() if key != without}
    return Guard(dialect, {}, channels=CHANNELS, strict=strict, subject="psu", source="bench.yaml")


def send(judge: Guard, *commands: str) -> None:
    for command in commands:
        judge.committed(judge.check(command.encode()))


def code_of(judge: Guard, command: str) -> str:
    try:
        judge.check(command.encode())
    except LimitError as refused:
        return refused.code
    return ""


@pytest.mark.parametrize(
    "select", [":INST:NSEL 2", "inst:nsel 2", "INST OUT2", ":INSTRUMENT:SELECT OUTPUT2", "INST CH2"]
)
def test_a_level_is_held_to_the_limits_of_the_selected_channel(judge, select):
    send(judge, select)

    assert code_of(judge, "VOLT 20") == ""
    assert code_of(judge, "VOLT 30") == "L001"
    send(judge, ":INST:NSEL 1")
    assert code_of(judge, "VOLT 20") == "L001"
    assert code_of(judge, "VOLT 5") == ""


def test_the_same_header_is_judged_anew_after_each_selection(judge):
    """No verdict is remembered beyond the selection it was made for."""
    for _ in range(3):
        send(judge, "INST:NSEL 2", "VOLT 20", "INST:NSEL 1")

        assert code_of(judge, "VOLT 20") == "L001"


def test_a_message_may_select_and_set(judge):
    assert code_of(judge, "INST:NSEL 2;:VOLT 20") == ""
    assert code_of(judge, "INST:NSEL 1;:VOLT 20") == "L001"
    assert code_of(judge, "INST:NSEL 2;:VOLT 20;:INST:NSEL 1;:VOLT 20") == "L001"


@pytest.mark.parametrize(
    "before",
    [
        (),
        ("INST:NSEL 2", "*RST"),
        ("INST:NSEL 2", "INST P6V"),
        ("INST:NSEL 2", "INST:NSEL MAX"),
        ("INST:NSEL 2", "INST:NSEL"),
    ],
)
@pytest.mark.parametrize("command", ["VOLT 5", "CURR 0.1", "OUTP ON"])
def test_nothing_is_sent_while_it_is_not_known_which_channel_is_selected(judge, before, command):
    send(judge, *before)

    assert code_of(judge, command) == "L009"


def test_a_selection_that_may_not_have_arrived_is_not_known(judge):
    send(judge, "INST:NSEL 2")
    judge.maybe_sent(judge.check(b"INST:NSEL 1"))

    assert code_of(judge, "VOLT 5") == "L009"


def test_after_a_reconnect_the_channel_is_selected_again(judge):
    send(judge, "INST:NSEL 2")
    judge.forget()

    assert code_of(judge, "VOLT 5") == "L009"


def test_a_protection_counts_for_the_channel_it_was_set_on(judge):
    send(judge, "INST:NSEL 1", "CURR 0.5")

    assert code_of(judge, "OUTP ON") == ""
    send(judge, "INST:NSEL 2")
    assert code_of(judge, "OUTP ON") == "L004"


def test_a_channel_that_a_command_names_needs_no_selection(judge):
    assert code_of(judge, "VOLT 20,(@2)") == ""
    assert code_of(judge, "VOLT 20,(@1)") == "L001"


@pytest.mark.parametrize("command", ["OUTP OFF", "*RST", "*CLS", "VOLT?"])
def test_control_what_switches_off_or_asks_always_passes(judge, command):
    assert code_of(judge, command) == ""


def test_an_off_of_a_channel_that_is_not_known_is_believed_of_none(judge):
    send(judge, "INST:NSEL 1", "CURR 0.5", "OUTP ON", "INST P6V", "OUTP OFF")

    assert judge.energised_channels == {"1"}


def test_what_is_ramped_is_the_level_of_the_selected_channel(judge):
    send(judge, "INST:NSEL 2", "VOLT 20", "INST:NSEL 1", "VOLT 3")

    assert judge.level(":VOLT") == 3.0
    send(judge, "INST:NSEL 2")
    assert judge.level(":VOLT") == 20.0


def test_control_without_select_a_header_without_a_channel_is_for_the_first():
    judge = guard(without="select")

    assert code_of(judge, "VOLT 20") == "L001"
    assert code_of(judge, "INST:NSEL 2") == "L003"


def test_control_with_ranges_only_an_unknown_selection_is_no_obstacle():
    assert code_of(guard(strict=False), "VOLT 5") == ""


def test_a_dialect_with_select_has_no_faults():
    assert list(faults_of(DIALECT)) == []


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.floats(0, 40, allow_nan=False)), max_size=8))
def test_no_sequence_leads_a_channel_beyond_its_limit(steps: list[tuple[int, float]]):
    judge = guard()
    for channel, level in steps:
        send(judge, f"INST:NSEL {channel}")
        passes = level <= CHANNELS[str(channel)]["voltage_v"][1]

        assert code_of(judge, f"VOLT {level!r}") == ("" if passes else "L001")
