"""Numbers, names, switches and readings."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.sim import parameters
from drivebay.sim.syntax import ScpiError

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE)
def test_any_decimal_is_read_as_python_reads_it(value):
    assert parameters.number(repr(value)) == value
    assert parameters.number(f"{value:+.6E}") == float(f"{value:+.6E}")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("0.2kV", "V", 200.0),
        ("-5 MV", "V", -5e-3),
        ("10UA", "A", 1e-5),
        ("10MA", "A", 1e-2),
        ("1MAA", "A", 1e6),
        ("3A", "A", 3.0),
        ("2 mohm", "OHM", 2e6),
        ("1.5e1 ms", "S", 0.015),
        ("1 E 3", "", 1000.0),
        (".5", "", 0.5),
        ("7.", "", 7.0),
        ("#HfF", "", 255.0),
        ("#q17", "", 15.0),
        ("#B101", "", 5.0),
    ],
)
def test_units_and_number_forms_of_the_standard_are_understood(text, unit, value):
    assert parameters.number(text, unit) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "unit", "error"),
    [
        ("1V", "A", -131),
        ("1xV", "V", -131),
        ("1V", "", -131),
        ("abc", "V", -104),
        ("1_0", "", -104),
        ("inf", "", -104),
        ("nan", "", -104),
        ("0x10", "", -104),
        ("#H", "", -120),
        ("#Z1", "", -120),
        ("", "", -104),
    ],
)
def test_what_is_no_number_says_what_is_wrong(text, unit, error):
    with pytest.raises(ScpiError) as caught:
        parameters.number(text, unit)

    assert caught.value.number == error


def test_a_list_refuses_what_only_python_calls_a_number():
    with pytest.raises(ScpiError):
        parameters.numbers(["1", "nan"])
    assert parameters.numbers(["1", "20MV"], "V") == [1.0, 0.02]


@pytest.mark.parametrize("word", ["ON", "on", "1", "2", "0.7"])
def test_on_is_on(word):
    assert parameters.switch(word) is True


@pytest.mark.parametrize("word", ["OFF", "off", "0", "0.2"])
def test_off_is_off(word):
    assert parameters.switch(word) is False


def test_a_switch_is_not_a_word_of_any_other_kind():
    with pytest.raises(ScpiError):
        parameters.switch("YES")


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=50), st.booleans())
def test_single_precision_numbers_survive_in_both_byte_orders(values, little_endian):
    data = parameters.singles(values, little_endian)

    order = "<" if little_endian else ">"
    assert list(struct.unpack(f"{order}{len(values)}f", data)) == values


def test_a_number_beyond_single_precision_becomes_infinite():
    assert struct.unpack("<2f", parameters.singles([1e300, -1e300], True)) == (math.inf, -math.inf)


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_readings_have_seven_digits_a_sign_and_an_exponent(values):
    texts = parameters.readings_text(values).split(",")

    assert [float(text) for text in texts] == [float(f"{value:.6E}") for value in values]
    assert all(text[0] in "+-" for text in texts)
