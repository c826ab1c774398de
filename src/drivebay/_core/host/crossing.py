"""Plain data with numpy arrays in it, as it crosses between an owner and its hosts.

Promises: what arrives equals what was sent, arrays as views of the received bytes without a copy;
what is not plain data is refused before a byte of it is sent. Arrays lie in the tail of a frame,
little-endian, and in the body stands only where; nothing is ever unpickled or evaluated, and a
header that does not fit its bytes is a ProtocolError. Imports numpy only when there is an array.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from drivebay._core.errors import ProtocolError
from drivebay._core.wire import Buffer

if TYPE_CHECKING:
    import numpy as np

ALLOWED: Final = (
    "None, booleans, numbers, text, bytes, arrays of numbers, and lists or dicts of these"
)

_ARRAY: Final = 1
_COMPLEX: Final = 2
_ALIGN: Final = 8
# Numbers, booleans, text and times of fixed width: their bytes hold nothing but themselves.
_KINDS: Final = frozenset("biufcSUmM")

_encode = msgspec.msgpack.Encoder().encode
_header = msgspec.msgpack.Decoder(tuple[str, tuple[int, ...], int]).decode


def pack(message: Any) -> tuple[bytes, list[Buffer]]:
    """Return a message as the body and the tail of a frame.

    Raises:
        TypeError: something in it is not plain data; the text names its type.
    """
    tail: list[Buffer] = []
    try:
        return _encode(message), tail  # as nearly always: no arrays in it
    except (TypeError, ValueError, OverflowError, RecursionError):
        tail.clear()
    try:
        return msgspec.msgpack.Encoder(enc_hook=partial(_spare, tail)).encode(message), tail
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise TypeError(f"{exc}; allowed: {ALLOWED}") from exc


def _spare(tail: list[Buffer], value: Any) -> Any:
    """What msgpack does not know by itself."""
    if isinstance(value, complex):
        return msgspec.msgpack.Ext(_COMPLEX, _encode((value.real, value.imag)))
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, float | int | str):
        return _basic(value)
    np = sys.modules.get("numpy")
    if np is not None and isinstance(value, np.ndarray):
        return _out(tail, value)
    if np is not None and isinstance(value, np.generic) and value.dtype.kind in _KINDS:
        return _out(tail, np.asarray(value)) if value.dtype.kind in "mM" else value.item()
    raise TypeError(f"a value of type {type(value).__name__}")


def _basic(value: float | int | str) -> Any:
    """A subclass of a basic type, such as numpy's float64, as the basic type."""
    for basic in (float, int, str):
        if isinstance(value, basic):
            return basic(value)
    return value


def _out(tail: list[Buffer], array: np.ndarray[Any, Any]) -> Any:
    import numpy as np

    dtype = array.dtype
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise TypeError(f"an array of {dtype}")
    if not dtype.isnative or dtype.byteorder == ">":
        array = array.astype(dtype.newbyteorder("<"))
    # ascontiguousarray makes a column of a single value; its shape is kept apart.
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    start = sum(len(part) for part in tail)
    if flat.nbytes:
        tail.append(flat.data)
        if flat.nbytes % _ALIGN:
            tail.append(bytes(_ALIGN - flat.nbytes % _ALIGN))
    return msgspec.msgpack.Ext(_ARRAY, _encode((array.dtype.str, array.shape, start)))


def unpack(body: bytes, tail: memoryview) -> Any:
    """Return the message of a frame; its arrays are views of ``tail``.

    Raises:
        ProtocolError: it is no message, or an array's header does not fit the bytes.
    """
    try:
        if not tail:
            return _decode_bare(body)
        return msgspec.msgpack.Decoder(ext_hook=partial(_revive, tail)).decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, OverflowError) as exc:
        raise ProtocolError(f"a message that cannot be read: {exc}") from exc


def _revive(tail: memoryview, code: int, data: memoryview) -> Any:
    if code == _COMPLEX:
        real, imaginary = msgspec.msgpack.decode(data, type=tuple[float, float])
        return complex(real, imaginary)
    if code != _ARRAY:
        raise ValueError(f"an unknown kind of value ({code})")
    import numpy as np

    name, shape, start = _header(data)
    dtype = np.dtype(name)
    if (
        dtype.kind not in _KINDS
        or dtype.hasobject
        or not dtype.itemsize
        or min(shape, default=0) < 0
    ):
        raise ValueError(f"an array of {name!r} and shape {shape}")
    count = math.prod(shape)
    if start < 0 or start + count * dtype.itemsize > len(tail):
        raise ValueError(f"an array of {count:,} x {name!r} in {len(tail):,} bytes")
    if not count:
        return np.empty(shape, dtype)
    if dtype.kind == "b":
        # Bytes other than 0 and 1 would be booleans that are neither.
        return (np.frombuffer(tail, np.uint8, count, start) != 0).reshape(shape)
    return np.frombuffer(tail, dtype, count, start).reshape(shape)


_decode_bare = msgspec.msgpack.Decoder(ext_hook=partial(_revive, memoryview(b""))).decode
