"""Headers, compounds, arguments and framing, as SCPI-99 and IEEE 488.2 have them."""

import re
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from drivebay.sim.keithley2400.commands import TREE
from drivebay.sim.parameters import block_content, definite_block, indefinite_block
from drivebay.sim.syntax import Command, CommandTree, Framer, arguments_of, split_outside_quotes


def named(name, *patterns):
    return Command(patterns, write=lambda inst, arguments: inst.append((name, arguments)))


SMALL = CommandTree(
    (
        named("level", ":SOURce[1]:VOLTage[:LEVel][:IMMediate][:AMPLitude]"),
        named("range", ":SOURce[1]:VOLTage:RANGe"),
        named("auto", ":SOURce[1]:VOLTage:RANGe:AUTO"),
        named("nplc", "[:SENSe[1]]:CURRent[:DC]:NPLCycles"),
        named("clear", "*CLS"),
    )
)


def run(tree, message):
    done = []
    for unit in tree.parse(message):
        if unit.command is None:
            done.append((unit.error, []))
        else:
            unit.command.write(done, unit.arguments)
    return done


def spellings_of(pattern):
    """Every spelling a pattern allows, built here from the pattern's notation alone."""
    options = []
    for optional, short, rest, suffix in re.findall(
        r"(\[)?:([A-Z]+)([a-z]*)(\[1\]|\d*)\]?", pattern
    ):
        ends = ["", "1"] if suffix == "[1]" else [suffix]
        names = [":" + name + end for name in (short, short + rest.upper()) for end in ends]
        options.append([*names, ""] if optional else names)
    return ["".join(choice) for choice in product(*options)]


PATTERNS = [
    ":SOURce[1]:VOLTage[:LEVel][:IMMediate][:AMPLitude]",
    "[:SENSe[1]]:CURRent[:DC]:NPLCycles",
]


@given(st.sampled_from([(p, s) for p in PATTERNS for s in spellings_of(p)]), st.randoms())
def test_every_short_long_and_optional_spelling_in_any_case_is_the_same_command(pair, random):
    pattern, header = pair
    mixed = "".join(random.choice((c.lower(), c.upper())) for c in header)

    assert run(SMALL, mixed + " 1") == [("level" if "VOLT" in pattern else "nplc", ["1"])]


@given(st.sampled_from(["VOL", "VOLTA", "VOLTAG", "VOLTAGES", "SOURC", "SOU", "VOLT2", "LEVE"]))
def test_a_mnemonic_is_short_or_long_and_nothing_between(word):
    header = {"SOURC": ":SOURC:VOLT", "SOU": ":SOU:VOLT", "LEVE": ":SOUR:VOLT:LEVE"}.get(
        word, f":SOUR:{word}"
    )

    assert run(SMALL, header + " 1") == [(-113, [])]


def test_a_relative_header_continues_where_the_last_one_ended():
    assert run(SMALL, ":SOUR:VOLT:LEV 1;RANG 2;RANG:AUTO 1;AUTO 0") == [
        ("level", ["1"]),
        ("range", ["2"]),
        ("auto", ["1"]),
        ("auto", ["0"]),
    ]


def test_the_path_is_what_was_sent_without_its_last_mnemonic_optional_or_not():
    assert run(SMALL, ":SOUR:VOLT 1;RANG 2") == [("level", ["1"]), (-113, [])]
    assert run(SMALL, ":SOUR:VOLT 1;VOLT:RANG 2") == [("level", ["1"]), ("range", ["2"])]


def test_a_leading_colon_starts_from_the_root_and_its_absence_does_not():
    assert run(SMALL, ":SOUR:VOLT:RANG 2;:CURR:NPLC 1") == [("range", ["2"]), ("nplc", ["1"])]
    assert run(SMALL, ":SOUR:VOLT:RANG 2;CURR:NPLC 1") == [("range", ["2"]), (-113, [])]


def test_a_common_command_does_not_move_the_path():
    assert run(SMALL, ":SOUR:VOLT:RANG 2;*CLS;RANG 3") == [
        ("range", ["2"]),
        ("clear", []),
        ("range", ["3"]),
    ]


def test_a_new_message_starts_from_the_root():
    assert run(SMALL, ":SOUR:VOLT:RANG 2") == [("range", ["2"])]
    assert run(SMALL, "RANG 3") == [(-113, [])]


def test_blank_units_and_blanks_around_units_mean_nothing():
    assert run(SMALL, "  :SOUR:VOLT  1 ; ;; *CLS ;") == [("level", ["1"]), ("clear", [])]
    assert run(SMALL, "") == []


def test_a_tab_separates_header_and_argument():
    assert run(SMALL, ":SOUR:VOLT\t1") == [("level", ["1"])]


def test_separators_inside_strings_and_lists_do_not_split():
    assert arguments_of("\"a,b\", 'c;d', (1,2:3)") == ['"a,b"', "'c;d'", "(1,2:3)"]
    assert split_outside_quotes(':DISP:TEXT "a;b";*CLS', ";") == [':DISP:TEXT "a;b"', "*CLS"]


def test_separators_inside_a_block_do_not_split():
    assert split_outside_quotes(":DISP:TEXT #13a;b;*CLS", ";") == [":DISP:TEXT #13a;b", "*CLS"]


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\n"), max_size=80))
def test_no_message_whatever_makes_the_parser_raise(text):
    for unit in TREE.parse(text):
        assert unit.command is not None or unit.error < 0


@given(st.binary(max_size=300))
def test_blocks_come_back_as_they_went(payload):
    assert block_content(definite_block(payload)) == payload
    assert block_content(indefinite_block(payload)) == payload


@given(st.binary(max_size=60), st.lists(st.integers(1, 200), max_size=8))
def test_a_definite_block_may_hold_newlines_however_the_bytes_arrive(payload, cuts):
    sent = b":DISP:TEXT " + definite_block(payload) + b";*CLS\n*IDN?\n"
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(sent[start : start + cut])
        start += cut
    pieces.append(sent[start:])
    framer = Framer()

    messages = [message for piece in pieces for message in framer.feed(piece)]

    assert [m.encode("latin-1") for m in messages] == [sent[:-7], b"*IDN?"]


def test_carriage_returns_before_the_newline_are_dropped():
    assert Framer().feed(b"*IDN?\r\n*CLS\n") == ["*IDN?", "*CLS"]


def test_a_message_without_end_is_thrown_away_and_counted():
    framer = Framer()

    for _ in range(20):
        assert framer.feed(b"x" * 65536) == []

    assert framer.overruns == 1
    assert framer.feed(b"\n*CLS\n")[-1] == "*CLS"
