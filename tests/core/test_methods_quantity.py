"""Numbers with units: exact, and never a guess."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import ParameterError
from drivebay._core.methods import UNITS, parse_quantity

PREFIXES = {"f": -15, "p": -12, "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}


@given(
    st.decimals(-1_000_000, 1_000_000, allow_nan=False, places=6),
    st.sampled_from(sorted(PREFIXES)),
    st.sampled_from(UNITS),
    st.sampled_from(["", " ", "  "]),
)
def test_a_prefix_moves_the_decimal_point_and_rounds_once(number, prefix, unit, gap):
    exact = float(Decimal(number).scaleb(PREFIXES[prefix]))

    assert parse_quantity(f"{number}{gap}{prefix}{unit}", unit) == exact


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("10 mA", "A", 0.01),
        ("4.7 \u00b5F", "F", 4.7e-6),
        ("4.7 \u03bcF", "F", 4.7e-6),
        ("1e-3V", "V", 1e-3),
        (" -2.5 ", "V", -2.5),
        ("10 k\u03a9", "ohm", 10_000.0),
        ("2 MOhm", "ohm", 2e6),
        (".5 s", "s", 0.5),
        ("5. s", "s", 5.0),
        ("300 K", "K", 300.0),
        ("1 kHz", "Hz", 1000.0),
        ("3", "", 3.0),
    ],
)
def test_what_people_write_is_read(text, unit, value):
    assert parse_quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "code"),
    [
        ("10 mA", "V", "P008"),
        ("10 ma", "A", "P008"),
        ("10 xA", "A", "P008"),
        ("10 V", "", "P008"),
        ("1 Ks", "s", "P008"),
        ("", "V", "P001"),
        ("V", "V", "P001"),
        ("1,5 V", "V", "P001"),
        ("1e999 V", "V", "P001"),
        ("1e99999 V", "V", "P001"),
        ("0x10 V", "V", "P001"),
        ("1 V 2 V", "V", "P001"),
        ("9" * 100, "V", "P001"),
        ("1;2", "V", "P009"),
        ("1\t\n", "V", "P009"),
        (":OUTP ON", "V", "P009"),
    ],
)
def test_what_is_not_a_quantity_says_why(text, unit, code):
    with pytest.raises(ParameterError) as caught:
        parse_quantity(text, unit)

    assert [problem.code for problem in caught.value.problems] == [code]


@given(st.text(max_size=80), st.sampled_from(["", *UNITS]))
def test_any_text_is_a_finite_number_or_a_parameter_error(text, unit):
    try:
        value = parse_quantity(text, unit)
    except ParameterError:
        return
    assert math.isfinite(value)
