"""Plain data with arrays crosses unchanged; anything else is refused before or named after."""

from __future__ import annotations

import contextlib
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay import ProtocolError
from drivebay._core.host import crossing

DTYPES = [
    "<f8",
    "<f4",
    ">f8",
    "<i2",
    ">i4",
    "<u8",
    "|b1",
    "<c16",
    "<U3",
    "|S2",
    "<M8[s]",
    "<m8[ms]",
]
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


def crossed(message: object) -> object:
    body, tail = crossing.pack(message)
    return crossing.unpack(body, memoryview(bytearray(b"".join(tail))))


@given(dtype=st.sampled_from(DTYPES), shape=SHAPES, data=st.data())
def test_an_array_arrives_with_its_shape_and_its_values(dtype, shape, data):
    count = int(np.prod(shape))
    raw = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    array = np.array(raw).astype(dtype).reshape(shape)

    again = crossed({"first": np.arange(3), "it": array})["it"]

    assert again.shape == array.shape
    assert again.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(again, array)


def test_a_view_that_is_not_contiguous_arrives_as_it_looks():
    array = np.arange(12.0).reshape(3, 4).T[::2]

    assert np.array_equal(crossed([array])[0], array)


def test_arrays_are_views_of_what_was_received():
    body, tail = crossing.pack([np.arange(4.0)])
    received = bytearray(b"".join(tail))

    array = crossing.unpack(body, memoryview(received))[0]
    received[0:8] = struct.pack("<d", 7.0)

    assert array[0] == 7.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(1.5), 1.5),
        (np.int32(3), 3),
        (np.True_, True),
        (np.str_("x"), "x"),
        (1 + 2j, 1 + 2j),
    ],
)
def test_numbers_of_numpy_arrive_as_numbers_of_python(value, expected):
    again = crossed([value])[0]

    assert again == expected
    assert type(again) is type(expected)


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "value", [object(), np.array([object()]), 2**70, "\ud800", [object()], {"a": range}, LOOP]
)
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(TypeError, match="allowed: None, booleans"):
        crossing.pack(value)


def array_frame(dtype: str, shape: object, start: int) -> bytes:
    header = msgspec.msgpack.encode((dtype, shape, start))
    return msgspec.msgpack.encode([msgspec.msgpack.Ext(1, header)])


@pytest.mark.parametrize(
    ("dtype", "shape", "start"),
    [
        ("<f8", (3,), 0),
        ("<f8", (1,), 9),
        ("<f8", (-1,), 0),
        ("<f8", (2**40, 2**40), 0),
        ("<f8", (1,), -8),
        ("O", (1,), 0),
        ("V4", (1,), 0),
        ("nonsense", (1,), 0),
        ("<f8", "text", 0),
        ("<U0", (1,), 0),
    ],
)
def test_a_header_that_does_not_fit_its_bytes_is_a_protocol_error(dtype, shape, start):
    with pytest.raises(ProtocolError):
        crossing.unpack(array_frame(dtype, shape, start), memoryview(bytearray(16)))


def test_control_the_same_header_with_its_bytes_is_an_array():
    array = crossing.unpack(array_frame("<f8", (2,), 0), memoryview(bytearray(16)))[0]

    assert array.tolist() == [0.0, 0.0]


def test_a_boolean_that_is_neither_does_not_get_through():
    body, _ = crossing.pack([np.array([True, True])])

    array = crossing.unpack(body, memoryview(bytearray(b"\x00\x07" + bytes(6))))[0]

    assert array.view(np.uint8).tolist() == [0, 1]


@given(body=st.binary(max_size=80), tail=st.binary(max_size=40))
def test_no_bytes_make_the_reader_fail_in_another_way(body, tail):
    with contextlib.suppress(ProtocolError):
        crossing.unpack(body, memoryview(bytearray(tail)))
