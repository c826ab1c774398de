"""What the guard lets through, in which order, and what it believes afterwards."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay import LimitError
from drivebay._core.limits import ALL_CHANNELS, CODES, Guard
from guarded import code_of, send

DIALECT: dict[str, Any] = {
    "energise": [":OUTP ON", ":READ?", ":INIT", ":SOUR:SHAP PULSe"],
    "off": [":OUTP OFF", "*RST"],
    "levels": {
        ":SOUR:VOLT": {"quantity": "voltage_v", "first": True, "when": ":SOUR:FUNC VOLTage"},
        ":SOUR:CURR": {"quantity": "current_a", "first": True, "when": ":SOUR:FUNC CURRent"},
        ":SOUR:LIST:VOLT": {
            "quantity": "voltage_v",
            "first": [":READ?"],
            "when": ":SOUR:MODE LIST",
        },
    },
    "clamps": {
        ":SENS:CURR:PROT": {"quantity": "current_a", "when": ":SOUR:FUNC VOLTage"},
        ":SENS:VOLT:PROT": {"quantity": "voltage_v", "when": ":SOUR:FUNC CURRent"},
    },
    "recall": [":SYST:PRES", ":SOUR:FUNC MEMory"],
    "harmless": [
        ":DISP:*",
        ":FORM:DATA",
        ":SOUR:MODE FIXed",
        ':SENS:FUNC "VOLT"',
        ':SENS:FUNC "CURR"',
    ],
}
LIMITS = {"voltage_v": (-10.0, 10.0), "current_a": (-0.1, 0.1)}
READY = [":SOUR:FUNC VOLT", ":SOUR:MODE FIX", ":SENS:CURR:PROT 0.01", ":SOUR:VOLT 0"]


def guard(
    limits: Any = LIMITS, *, dialect: Any = DIALECT, strict: bool = True, **more: Any
) -> Guard:
    return Guard(dialect, limits, strict=strict, subject="smu1", source="bench.yaml", **more)


def test_an_output_goes_on_only_after_everything_that_bounds_it_was_set():
    for left_out in READY:
        judge = guard()
        send(judge, *[command for command in READY if command != left_out])
        missing = left_out != ":SOUR:MODE FIX"

        assert code_of(judge, ":OUTP ON") == ("L004" if missing else "")

    judge = guard()
    send(judge, *READY, ":OUTP ON")
    assert judge.energised


def test_the_refusal_names_the_protection_that_is_missing():
    judge = guard()
    send(judge, ":SOUR:FUNC VOLT", ":SOUR:VOLT 0")

    with pytest.raises(LimitError, match=r"before ':SENS:CURR:PROT' was set.*-0\.1\.\.0\.1"):
        judge.check(b":OUTP ON")


def test_a_protection_beyond_the_limit_is_refused_and_does_not_count():
    judge = guard()
    send(judge, ":SOUR:FUNC VOLT", ":SOUR:VOLT 0")

    assert code_of(judge, ":SENS:CURR:PROT 0.2") == "L001"
    assert code_of(judge, ":OUTP ON") == "L004"


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        ((-0.1, 0.1), ["0.1", "-0.1"], ["0.2", "-0.2"]),
        ((-0.05, 0.1), ["0.05"], ["0.1"]),
        ((0.0, 0.1), ["0.1"], ["0.2"]),
        ((-0.1, 0.0), ["0.1"], ["0.2"]),
    ],
)
def test_a_protection_is_held_to_what_it_lets_pass_both_ways(limit, good, bad):
    judge = guard({"current_a": limit})

    assert [code_of(judge, f":SENS:CURR:PROT {value}") for value in good] == [""] * len(good)
    assert [code_of(judge, f":SENS:CURR:PROT {value}") for value in bad] == ["L001"] * len(bad)


def test_order_counts_inside_one_message():
    judge = guard()
    send(judge, ":SOUR:FUNC VOLT;:SOUR:VOLT 0")

    assert code_of(judge, ":OUTP ON;:SENS:CURR:PROT 0.01") == "L004"
    assert code_of(judge, ":SENS:CURR:PROT 0.01;:OUTP ON") == ""
    assert code_of(judge, ":SENS:CURR:PROT 0.01;*RST;:OUTP ON") == "L004"


def test_a_reset_inside_a_message_forgets_what_stands_before_it():
    dialect = {**DIALECT, "levels": {}, "clamps": {":PROT": {"quantity": "current_a"}}}
    judge = guard(dialect=dialect)

    assert code_of(judge, "*RST;:PROT 0.01;:OUTP ON") == ""
    assert code_of(judge, ":PROT 0.01;*RST;:OUTP ON") == "L004"

    send(judge, ":PROT 0.01;*RST")
    assert code_of(judge, ":OUTP ON") == "L004"


@pytest.mark.parametrize("forgetting", ["*RST", "forget"])
def test_after_a_reset_or_a_reconnect_nothing_counts_as_set(forgetting):
    judge = guard()
    send(judge, *READY, ":OUTP ON", ":OUTP OFF")
    assert code_of(judge, ":OUTP ON") == ""

    if forgetting == "forget":
        judge.forget()
    else:
        send(judge, forgetting)

    assert code_of(judge, ":OUTP ON") == "L004"


def test_what_was_remembered_before_a_reset_still_sets_after_it():
    judge = guard()
    send(judge, *READY)

    send(judge, "*RST", *READY, ":OUTP ON")

    assert judge.energised


def test_only_what_was_sent_counts():
    judge = guard()
    send(judge, *READY[:2], ":SOUR:VOLT 0")

    judge.check(b":SENS:CURR:PROT 0.01")

    assert code_of(judge, ":OUTP ON") == "L004"


def test_another_choice_asks_for_another_protection_even_while_the_output_is_on():
    judge = guard()
    send(judge, *READY, ":OUTP ON")

    assert code_of(judge, ":SOUR:FUNC CURR") == "L004"

    send(judge, ":SENS:VOLT:PROT 5", ":SOUR:CURR 0", ":SOUR:FUNC CURR")
    assert code_of(judge, ":OUTP ON") == ""


def test_a_list_must_be_new_before_it_runs_but_not_before_the_output_goes_on():
    judge = guard()
    send(judge, *READY, ":SOUR:MODE LIST", ":OUTP ON")
    assert code_of(judge, ":READ?") == "L004"

    send(judge, ":SOUR:LIST:VOLT 1,2")

    assert code_of(judge, ":READ?") == ""


@pytest.mark.parametrize(
    "on", [":OUTP ON", ":OUTP 1", ":outp 2", ":OUTPUT on", ":OUTP 0.7", ":OUTP"]
)
def test_whatever_is_not_certainly_off_energises(on):
    judge = guard()
    assert code_of(judge, on) == "L004"

    send(judge, *READY)

    assert judge.check(on.encode()).energises == {"1"}


@pytest.mark.parametrize("off", [":OUTP OFF", ":OUTP 0", ":outp off", ":OUTPUT 0.0", ":OUTP #H0"])
def test_off_passes_always_and_is_believed(off):
    judge = guard()
    assert judge.check(off.encode()).de_energises == {"1"}

    send(judge, *READY, ":OUTP ON", off)

    assert not judge.energised


def test_on_and_off_in_one_message_is_off_at_its_end():
    judge = guard()
    send(judge, *READY)

    effect = judge.check(b":OUTP ON;:OUTP OFF")

    assert (effect.energises, effect.de_energises) == ({"1"}, {"1"})
    judge.committed(effect)
    assert not judge.energised


def test_channels_are_believed_one_by_one():
    judge = guard({})
    send(judge, ":OUTP2 ON", ":OUTP ON", ":OUTP ON,(@4,5)")
    assert judge.energised_channels == {"1", "2", "4", "5"}

    send(judge, ":OUTP2 OFF")
    assert judge.energised_channels == {"1", "4", "5"}

    judge.found_off(["1"])
    assert judge.energised_channels == {"4", "5"}

    assert judge.check(b"*RST").de_energises == {ALL_CHANNELS}
    send(judge, "*RST")
    assert not judge.energised


def test_a_reconnect_does_not_make_an_output_go_off():
    judge = guard({})
    send(judge, ":OUTP ON")

    judge.forget()

    assert judge.energised


def test_what_may_have_been_sent_counts_only_where_that_is_the_safe_side():
    judge = guard()
    send(judge, *READY)

    judge.maybe_sent(judge.check(b":SOUR:VOLT 3"))
    assert judge.level(":SOUR:VOLT") is None
    assert code_of(judge, ":OUTP ON") == ""

    judge.maybe_sent(judge.check(b":OUTP ON"))
    assert judge.energised

    judge.maybe_sent(judge.check(b":OUTP OFF"))
    assert judge.energised

    judge.maybe_sent(judge.check(b"*RST"))
    assert code_of(judge, ":OUTP ON") == "L004"

    judge.maybe_sent(judge.check(b":SENS:CURR:PROT 0.01"))
    assert code_of(judge, ":OUTP ON") == "L004"


def test_a_choice_that_may_have_been_sent_is_not_known():
    judge = guard()
    send(judge, *READY, ":SENS:VOLT:PROT 5", ":SOUR:CURR 0", ":SOUR:FUNC CURR")

    judge.maybe_sent(judge.check(b":SOUR:FUNC VOLT"))

    assert code_of(judge, ":OUTP ON") == ""
    judge.forget()
    send(judge, *READY)
    judge.maybe_sent(judge.check(b":SOUR:FUNC VOLT"))
    assert code_of(judge, ":OUTP ON") == "L004"


def test_the_last_level_is_known_in_any_spelling_until_a_reset():
    judge = guard()
    assert judge.level(":SOUR:VOLT") is None

    send(judge, ":SOUR:VOLT 2;:SOUR:VOLT 3", ":SOUR2:VOLT 4")

    assert judge.level(":source:voltage") == judge.level("SOUR:VOLT") == 3.0
    assert judge.level(":SOUR2:VOLT") == 4.0
    send(judge, "*RST")
    assert judge.level(":SOUR:VOLT") is None


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (":FOO:BAR 1", "L003"),
        ("*TRG", "L003"),
        (":SOUR:MODE SWE", "L003"),
        (':SENS:FUNC "VOLT","RES"', "L003"),
        (":SOUR:SHAP DC", "L003"),
        ("*RCL 1", "L005"),
        ("*DDT #14:REA", "L006"),
        (":SYST:PRES", "L005"),
        (":SOUR:FUNC MEM", "L005"),
        (":SYSTEM:PRESET", "L005"),
        (":FORM:DATA \xb5", "L006"),
    ],
)
def test_a_limited_instrument_takes_only_what_its_dialect_lists(command, code):
    assert code_of(guard(), command) == code


@pytest.mark.parametrize(
    "command",
    [
        ":DISP:TEXT:STAT ON",
        ':SENS:FUNC "VOLT","CURR"',
        ":FORM:DATA #13a;b",
        "*IDN?;*OPC?",
        ":SOUR:VOLT? MAX",
        ":FOO:BAR?",
        ":STAT:QUES:ENAB 1;:ABOR",
        "*CLS;*ESE 1;*SRE 0;*SAV 1;*WAI;*OPC",
    ],
)
def test_control_what_it_lists_what_the_standard_has_and_questions_pass(command):
    assert code_of(guard(), command) == ""


def test_the_nearest_command_that_is_listed_is_named():
    with pytest.raises(LimitError, match="did you mean ':FORM:DATA'"):
        guard().check(b":FORM:DAT ASC")


def test_where_only_the_models_ranges_limit_levels_are_held_to_them_and_all_else_passes():
    judge = guard(strict=False)

    assert [code_of(judge, text) for text in (":FOO:BAR 1", "*RCL 1", ":OUTP ON")] == ["", "", ""]
    assert code_of(judge, ":SOUR:VOLT 11") == "L001"
    assert code_of(judge, ":SOUR:VOLT MAX") == "L002"


def test_without_limits_everything_passes_and_outputs_are_still_seen():
    judge = guard({})
    send(judge, ":SOUR:VOLT 1e9", "*RCL 1", ':FOO "bar', "\x03", ":A\n:OUTP ON")

    assert judge.energised


def test_without_a_dialect_a_limited_instrument_takes_common_commands_and_questions_only():
    judge = guard(dialect=None)

    assert code_of(judge, "*CLS;*IDN?") == ""
    assert code_of(judge, ":OUTP OFF") == "L003"


def test_a_dialect_with_faults_makes_no_guard():
    with pytest.raises(ValueError, match=r"levels\.:SOUR\[:VOLT"):
        guard(dialect={"levels": {":SOUR[:VOLT": {"quantity": "voltage_v"}}})


TSP = {
    "language": "tsp",
    "energise": ["smua.source.output = smua.OUTPUT_ON"],
    "off": ["smua.source.output = smua.OUTPUT_OFF"],
    "levels": {"smua.source.levelv": {"quantity": "voltage_v"}},
    "harmless": ["smua.reset()"],
}


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("smua.source.levelv = 5", ""),
        ("smua.source.levelv=5e0", ""),
        ("smua.source.levelv = 2E2", "L001"),
        ("smua.source.levelv = 5*40", "L007"),
        ("smua.source.levelv = 5 smua.source.levelv = 200", "L007"),
        ("for v = 0, 200 do smua.source.levelv = v end", "L007"),
        ("smua.source.output=smua.OUTPUT_ON", ""),
        ("smua.source.output = smua.OUTPUT_OFF", ""),
        ("smua.reset()", ""),
        ("x = 5", "L007"),
    ],
)
def test_of_a_program_only_plain_assignments_and_listed_statements_pass(statement, code):
    assert code_of(guard(dialect=TSP), statement) == code


def test_outputs_are_seen_in_a_program_too():
    judge = guard(dialect=TSP, strict=False)
    send(judge, "x = 5", "smua.source.output = smua.OUTPUT_ON")
    assert judge.energised

    send(judge, "smua.source.output=smua.OUTPUT_OFF")
    assert not judge.energised


@pytest.mark.parametrize(
    "statement",
    [
        "smua.source.output = 1",
        "smua.source.levelv = 1 smua.source.output = smua.OUTPUT_ON",
        "if true then smua.source.output = x end",
        "print(1) smua.source.output = 1",
    ],
)
def test_a_statement_that_names_what_switches_on_may_do_it(statement):
    judge = guard(dialect=TSP, strict=False)
    send(judge, statement)
    assert judge.energised


def test_control_to_print_it_or_to_switch_another_thing_does_not():
    judge = guard(dialect=TSP, strict=False)
    send(judge, "print(smua.source.output)", "smua.source.levelv = 1", "x = 5")
    assert not judge.energised


@given(st.binary(max_size=60), st.booleans(), st.sampled_from([LIMITS, {}]))
def test_no_bytes_raise_anything_but_a_refusal(message, strict, limits):
    code = code_of(guard(limits, strict=strict), message.decode("latin-1"))

    assert not code or (limits and code in CODES)


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(
                [
                    ":",
                    ";",
                    ",",
                    "#",
                    "#H",
                    "#15",
                    "'",
                    "(",
                    "(@",
                    ")",
                    "?",
                    "*",
                    "RST",
                    "SOUR",
                    "VOLT",
                    "OUTP",
                    "ON",
                    "1",
                    "200",
                    "E",
                    "kV",
                    "-",
                    ".",
                    "SENS",
                    "MAX",
                ]
            ),
            *(" ", "\t", "\n", '"', "\x00", "\xb5"),
        ]
    ),
    max_size=12,
).map("".join)


@given(FRAGMENTS, st.booleans(), st.sampled_from([LIMITS, {}, {"voltage_v": (0.0, 1.0)}]))
def test_no_heap_of_fragments_raises_anything_but_a_refusal(text, strict, limits):
    for dialect in (DIALECT, TSP, None):
        judge = guard(limits, strict=strict, dialect=dialect)
        code = code_of(judge, text)
        if not code:
            send(judge, text)

        assert not code or (limits and code in CODES)


def test_the_guard_is_light_enough_for_the_process_that_owns_the_links():
    program = (
        "import sys; from drivebay._core.limits import Guard\n"
        "print(sorted({'numpy', 'yaml', 'pyvisa', 'msgspec', 'jsonschema_rs'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"
