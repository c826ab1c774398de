"""Bytes to numbers: the right count, the right type, no code that pretends to be a number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.contract.readout import (
    check_chunk,
    join_chunks,
    list_commands,
    mask_codes,
    numbers_from_block,
    numbers_from_text,
    parse_identity,
    table,
)
from drivebay._core.errors import AnswerError, DriverError
from drivebay._core.methods import STANDARD, Column, MethodSpec

SWEEP = STANDARD["iv_sweep"]
LOOSE = MethodSpec("free", "Free")
NUMBERS = st.floats(-1e30, 1e30, allow_nan=False)


def chunk(n: int = 3, **change: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "voltage_v": np.arange(n, dtype=float),
        "current_a": [1e-3] * n,
        "time_s": tuple(range(n)),
        "in_compliance": np.zeros(n, dtype=bool),
    }
    return columns | change


@given(st.lists(NUMBERS, min_size=1, max_size=200))
def test_numbers_come_back_from_text_as_they_were_sent(values):
    text = ",".join(f"{value:+.17E}" for value in values)

    assert numbers_from_text(text).tolist() == values


@given(
    st.lists(NUMBERS, min_size=1, max_size=50),
    st.sampled_from(["{!r}", "{:.3e}", "{:+.6E}", " {:f} "]),
)
def test_every_spelling_of_a_number_is_read_as_float_reads_it(values, spelling):
    text = ",".join(spelling.format(value) for value in values)

    assert numbers_from_text(text).tolist() == [float(word) for word in text.split(",")]


@given(st.text(alphabet='0123456789+-.,eE[]" nainf_', max_size=30))
def test_text_is_numbers_exactly_where_float_takes_every_word_of_it(text):
    try:
        wanted = [float(word) for word in text.split(",")]
    except ValueError:
        with pytest.raises(AnswerError):
            numbers_from_text(text)
    else:
        np.testing.assert_array_equal(numbers_from_text(text), wanted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        " ",
        "1,,2",
        "1;2",
        "1.0,abc",
        "#0",
        "1,+-2",
        "+-1",
        "+ 1",
        "1,+ 2",
        "1+2",
        "[1]",
        "1],[2",
        "1,",
    ],
)
def test_text_that_is_no_numbers_says_what_came(text):
    with pytest.raises(AnswerError, match="expected numbers") as caught:
        numbers_from_text(text, resource="R", command=":READ?")

    assert caught.value.command == ":READ?"
    assert caught.value.raw == text.encode()


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=50), st.sampled_from(["<f4", ">f4"]))
def test_a_block_is_read_in_its_byte_order_and_single_precision(values, dtype):
    data = np.array(values, dtype=dtype).tobytes()

    assert numbers_from_block(data, dtype).tolist() == values


def test_a_block_that_is_cut_off_is_an_error():
    with pytest.raises(AnswerError, match="7 bytes, expected a multiple of 4"):
        numbers_from_block(b"1234567", "<f4", command=":READ?")


def test_rows_become_columns():
    first, second = table(np.array([1.0, 10.0, 2.0, 20.0]), 2, 2)

    assert (first.tolist(), second.tolist()) == ([1, 2], [10, 20])


@pytest.mark.parametrize(("size", "rows"), [(7, 2), (9, 2), (7, None), (0, 1)])
def test_a_wrong_count_of_numbers_is_never_reshaped(size, rows):
    with pytest.raises(AnswerError, match=f"answered {size} numbers"):
        table(np.zeros(size), 4, rows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_codes_for_no_number_are_masked_also_in_single_precision(dtype):
    sent = np.array([9.91e37, 9.9e37, -9.9e37, 1.0, 9.8e37], dtype=dtype).astype(float)

    seen = mask_codes(sent)

    assert math.isnan(seen[0])
    assert seen[1:4].tolist() == [math.inf, -math.inf, 1.0]
    assert seen[4] == pytest.approx(9.8e37)


@given(st.lists(NUMBERS, max_size=250), st.integers(1, 120))
def test_a_list_goes_out_whole_in_lines_the_instrument_takes(values, per_line):
    lines = list(list_commands(":L", values, per_line))

    heads = [line.split(" ", 1)[0] for line in lines]
    words = [line.split(" ", 1)[1].split(",") for line in lines]
    assert heads == [":L", *[":L:APP"] * (len(lines) - 1)][: len(lines)]
    assert all(len(line) <= per_line for line in words)
    assert [float(word) for line in words for word in line] == values


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        ("A,B,C,D", ("A", "B", "C", "D")),
        (" A , MODEL 2400 ,1,C30,x \n", ("A", "MODEL 2400", "1", "C30,x")),
        ("A,B", ("A", "B", "", "")),
    ],
)
def test_an_identity_has_four_parts(answer, parts):
    found = parse_identity(answer, "R")

    assert tuple(found.values()) == parts
    assert list(found) == ["manufacturer", "model", "serial", "firmware"]


@pytest.mark.parametrize("answer", ["", "0", "+1.234E+00"])
def test_the_answer_to_something_else_is_no_identity(answer):
    with pytest.raises(AnswerError, match=r"\*IDN\?"):
        parse_identity(answer, "R")


# -- chunks ---------------------------------------------------------------------------------------


def test_a_chunk_gets_the_declared_types_whatever_the_driver_used():
    seen = check_chunk(SWEEP, chunk(), "Drv")

    kinds = [seen[name].dtype.kind for name in seen]
    assert list(seen) == ["voltage_v", "current_a", "time_s", "in_compliance"]
    assert kinds == ["f", "f", "f", "b"]


def test_codes_in_a_chunk_are_masked_too():
    seen = check_chunk(SWEEP, chunk(3, current_a=[1.0, 9.91e37, 9.9e37]), "Drv")

    assert np.isnan(seen["current_a"][1])
    assert np.isposinf(seen["current_a"][2])


def test_an_undeclared_column_is_named_with_the_nearest_declared():
    with pytest.raises(
        DriverError, match="D013 undeclared column 'curent_a'; did you mean 'current"
    ):
        check_chunk(SWEEP, chunk(curent_a=[1, 2, 3]), "Drv")


def test_a_missing_column_is_named():
    broken = chunk()
    del broken["time_s"]

    with pytest.raises(DriverError, match="missing column time_s"):
        check_chunk(SWEEP, broken, "Drv")


@pytest.mark.parametrize("spec", [SWEEP, LOOSE])
def test_columns_of_different_length_are_refused(spec):
    with pytest.raises(DriverError, match="different length"):
        check_chunk(spec, chunk(3, current_a=[1.0]), "Drv")


@pytest.mark.parametrize(
    "value", [[[1.0], [2.0], [3.0]], ["a", "b", "c"], [1j, 2j, 3j], [None] * 3]
)
def test_a_column_that_is_not_a_row_of_numbers_is_refused(value):
    with pytest.raises(DriverError, match="current_a"):
        check_chunk(SWEEP, chunk(3, current_a=value), "Drv")


@pytest.mark.parametrize("value", [None, [1, 2], "text", 5])
def test_a_chunk_that_is_no_dict_is_refused(value):
    with pytest.raises(DriverError, match="expected a dict"):
        check_chunk(SWEEP, value, "Drv")


def test_chunks_are_joined_in_order_and_none_give_empty_columns_of_the_right_type():
    whole = join_chunks(
        SWEEP, [check_chunk(SWEEP, chunk(2), "D"), check_chunk(SWEEP, chunk(3), "D")]
    )
    empty = join_chunks(SWEEP, [])

    assert whole["voltage_v"].tolist() == [0, 1, 0, 1, 2]
    assert {name: values.dtype.kind for name, values in empty.items()} == {
        "voltage_v": "f",
        "current_a": "f",
        "time_s": "f",
        "in_compliance": "b",
    }


def test_single_values_nobody_declared_come_back_as_single_values():
    parts = [check_chunk(LOOSE, {"x": [1, 2], "label": "a", "n": 1}, "D")]
    parts.append(check_chunk(LOOSE, {"x": [3], "label": "b", "n": 2}, "D"))

    whole = join_chunks(LOOSE, parts)

    assert whole["x"].tolist() == [1, 2, 3]
    assert (whole["label"], whole["n"]) == ("b", 2)


def test_integer_columns_stay_integers():
    spec = MethodSpec("count", "Count", None, (Column("n", kind="int"),))

    assert check_chunk(spec, {"n": [1.0, 2.0]}, "D")["n"].dtype == np.int64
