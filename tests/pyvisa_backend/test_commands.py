"""However a program cuts what it writes, each command goes out whole, alone and once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvisa_drivebay.commands import cut_commands

TEXTS = st.sampled_from(
    [b"", b"*IDN?", b":OUTP ON", b':DISP:TEXT "#15"', b"CH#1", b"X '", b"A,#HFF", b"\xb5?"]
)
BLOCKS = st.binary(max_size=30).map(lambda data: b":DATA #2%02d" % len(data) + data)
COMMANDS = st.tuples(st.one_of(TEXTS, BLOCKS), st.sampled_from([b"\n", b"\r\n"]))


@given(st.lists(COMMANDS, max_size=6), TEXTS, st.data())
def test_commands_come_out_as_they_went_in_however_they_are_cut(commands, rest, data):
    written = b"".join(text + end for text, end in commands) + rest
    places = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=5)))
    got, left = [], b""
    for a, b in zip([0, *places], [*places, len(written)], strict=True):
        # A line end may itself be cut in two; PyVISA never does.
        if written[b - 1 : b] == b"\r":
            b += 1
        whole, left = cut_commands(left + written[a + (written[a - 1 : a] == b"\r") * (a > 0) : b])
        got += whole

    assert got == commands
    assert left == rest


@given(st.binary(max_size=60))
def test_no_byte_is_lost_or_made_up(written):
    commands, rest = cut_commands(written)

    assert b"".join(text + end for text, end in commands) + rest == written


@pytest.mark.parametrize(
    ("written", "texts"),
    [
        (b"V1\rV2\r", [b"V1", b"V2"]),
        (b":DATA #0one\ntwo\n", [b":DATA #0one\ntwo"]),
        (b":A #1x\n:B\n", [b":A #1x", b":B"]),
        (b'X "unclosed\nY\n', [b'X "unclosed', b"Y"]),
        (b"LABEL:#2\n", [b"LABEL:#2"]),
    ],
)
def test_what_is_no_block_and_no_string_holds_nothing_back(written, texts):
    commands, rest = cut_commands(written)

    assert [command.text for command in commands] == texts
    assert rest == b""


@pytest.mark.parametrize("written", [b":DATA #", b":DATA #2", b":DATA #21", b":DATA #215abc\n"])
def test_a_block_in_part_is_kept_until_the_rest_of_it_comes(written):
    assert cut_commands(written) == ([], written)
