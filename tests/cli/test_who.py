"""``drivebay who``: the models that can, the reasons of those that cannot, the exit code."""

from __future__ import annotations

import pytest

from drivebay.cli import failures


def test_the_models_that_reach_it_are_told_with_what_they_declare(drivebay, home):
    done = drivebay("who", "iv_sweep", "--voltage", "100V", "--current-resolution", "1nA")

    assert done.code == failures.OK
    assert "2400" in done.out
    assert "voltage_v -210 to 210 V" in done.out
    assert "keithley_2400 2401: voltage_v -21 to 21 V, which does not reach 100 V" in done.out


def test_the_same_as_json(drivebay, home):
    done = drivebay("who", "iv_sweep", "--voltage", "-40V..40V", "--json")

    able = {each["model"] for each in done.json if each["able"] and "2400" in each["plugin"]}
    assert "2410" in able
    assert "2401" not in able
    assert all(each["why_not"] for each in done.json if not each["able"])


def test_nobody_is_an_answer_with_its_own_exit_code(drivebay, home):
    done = drivebay("who", "iv_sweep", "--voltage", "1MV")

    assert done.code == failures.NOT_FOUND
    assert "no plugin declares a model that can do that with iv_sweep" in done.out
    assert "which does not reach 1 MV" in done.out


def test_resolutions_and_frequencies_are_said_with_prefixes(drivebay, home):
    small = drivebay("who", "iv_sweep", "--current-resolution", "100nA").out
    fast = drivebay("who", "cv_measurement", "--frequency", "1kHz..1MHz").out

    assert "resolves 10 pA" in small
    assert "frequency_hz 20 Hz to 2 MHz" in fast


def test_a_method_that_nobody_knows_is_named_with_the_nearest(drivebay, home):
    done = drivebay("who", "iv_swep")

    assert done.code == failures.NOT_FOUND
    assert "did you mean 'iv_sweep'?" in done.err


@pytest.mark.parametrize("words", [["--voltage", "1 A"], ["--technique", "guess"]])
def test_a_question_that_makes_no_sense_is_a_usage_error(drivebay, home, words):
    assert drivebay("who", "iv_sweep", *words).code == failures.USAGE


def test_two_instruments_may_do_together_what_neither_does_alone(drivebay, home):
    done = drivebay("who", "transfer_curve", "--voltage", "40V")

    assert done.code == failures.OK
    alone, _, pairs = done.out.partition("with a second instrument (--gate, --drain)")
    assert "2602B" in alone
    assert "2601B" not in alone
    assert "2601B" in pairs
    assert "keithley_2400" in pairs
    assert "keithley_2450" in pairs
    assert "keysight_e4980a" in pairs.partition("more do not claim")[2]
    told = drivebay("who", "transfer_curve", "--json").json
    assert {each["model"] for each in told if each["paired"] and not each["able"]} >= {"2400"}
