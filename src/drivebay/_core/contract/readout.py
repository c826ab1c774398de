"""From the bytes an instrument sent to numbers one can compute with, and levels to commands.

Pure functions. Rules: the count of numbers is what was asked for or it is an error; the SCPI codes
for "no number" never survive as numbers (SCPI-1999 volume 1, 7.2.1: 9.91E37 is not a number,
9.9E37 and -9.9E37 are the infinities).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from drivebay._core.errors import AnswerError, DriverError, nearest
from drivebay._core.methods import Column, MethodSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# numpy is imported where it is used: looking for a driver must not wait for it.
FloatArray: TypeAlias = "NDArray[np.float64]"
_NAN_CODE = 9.91e37
_INFINITY_CODE = 9.9e37
_JSON_NUMBERS = msgspec.json.Decoder(list[float])
# Half the gap between the two codes, and far more than single precision loses.
_CODE_WIDTH = 5e34
_DTYPES: Mapping[str, str] = {"float": "float64", "int": "int64", "bool": "bool"}


def numbers_from_text(text: str, *, resource: str = "", command: str = "") -> FloatArray:
    """Comma-separated numbers as an array.

    Raises:
        AnswerError: something between the commas is not a number.
    """
    import numpy as np

    try:
        return np.array(_quick_numbers(text), dtype=np.float64)
    except (ValueError, msgspec.DecodeError):
        pass  # not the usual spelling; float() knows all of them
    # numpy's own text reader accepts a bad end of line in silence; float() does not.
    try:
        return np.array([float(word) for word in text.split(",")], dtype=np.float64)
    except ValueError as exc:
        raise AnswerError(
            f"{command!r} answered {text[:60]!r}, expected numbers with commas between",
            resource=resource,
            command=command,
            raw=text.encode("utf-8", "replace"),
        ) from exc


def _quick_numbers(text: str) -> list[float]:
    """Numbers as instruments write them (``+1.2E-03,-4.5E+00``), read as JSON: twice as quick.

    JSON has no plus sign before a number, so the one that may stand there is taken out. All else
    that is not JSON is left for :func:`float` to judge.

    Raises:
        ValueError: no number, or what would become one if a plus were taken out of it.
        msgspec.DecodeError: other than such numbers.
    """
    if "+-" in text or len(text.split(None, 1)) != 1:  # "+ 1" is no number
        raise ValueError(text[:60])
    numbers = _JSON_NUMBERS.decode(f"[{text.removeprefix('+').replace(',+', ',')}]")
    if not numbers:
        raise ValueError(text[:60])
    return numbers


def numbers_from_block(
    data: bytes, dtype: str, *, resource: str = "", command: str = ""
) -> FloatArray:
    """The payload of a binary block as an array of double precision.

    Args:
        data: the payload, without the block's header.
        dtype: numpy's name of what is in it, such as ``<f4``.
        resource: instrument, for the error.
        command: question, for the error.

    Raises:
        AnswerError: the length is no multiple of the size of one number.
    """
    import numpy as np

    size = np.dtype(dtype).itemsize
    if len(data) % size:
        raise AnswerError(
            f"{command!r} answered a block of {len(data)} bytes, expected a multiple of {size}",
            resource=resource,
            command=command,
            raw=data,
        )
    return np.frombuffer(data, dtype=dtype).astype(np.float64)


def table(
    numbers: FloatArray, columns: int, rows: int | None, *, resource: str = "", command: str = ""
) -> FloatArray:
    """Numbers that came row by row as ``columns`` arrays, special codes masked.

    Args:
        numbers: as the instrument sent them.
        columns: numbers in a row.
        rows: rows there must be; None takes what came.
        resource: instrument, for the error.
        command: question, for the error.

    Raises:
        AnswerError: the count is not ``columns`` times ``rows``.
    """
    wanted = numbers.size // columns if rows is None else rows
    if numbers.size != columns * wanted:
        raise AnswerError(
            f"{command!r} answered {numbers.size} numbers, expected {columns} x {wanted}",
            resource=resource,
            command=command,
        )
    return mask_codes(numbers.reshape(wanted, columns).T)


def mask_codes(values: FloatArray) -> FloatArray:
    """The values with SCPI's codes as what they mean: not a number, or an infinity."""
    import numpy as np

    size = np.abs(values)
    # A comparison with not-a-number is False, so an array that holds one is looked at closely.
    if not size.size or size.max() < _INFINITY_CODE - _CODE_WIDTH:
        return values
    result = np.array(values)
    result[np.abs(values - _NAN_CODE) < _CODE_WIDTH] = np.nan
    infinite = np.abs(size - _INFINITY_CODE) < _CODE_WIDTH
    result[infinite] = np.copysign(np.inf, values[infinite])
    return result


def list_commands(header: str, values: Iterable[float], per_line: int) -> Iterator[str]:
    """Commands that give an instrument a list of levels: the first defines, the others append.

    Every level is written so that it reads back as the same double: rounding could carry a level
    past a limit.

    >>> list(list_commands(":SOUR:LIST:VOLT", [0, 0.5, 1], 2))
    [':SOUR:LIST:VOLT 0.0,0.5', ':SOUR:LIST:VOLT:APP 1.0']
    """
    numbers = [float(value) for value in values]
    for first in range(0, len(numbers), per_line):
        words = ",".join(map(repr, numbers[first : first + per_line]))
        yield f"{header}{':APP' if first else ''} {words}"


def parse_identity(answer: str, resource: str) -> dict[str, str]:
    """The four parts of an ``*IDN?`` reply; parts that are missing are empty.

    Raises:
        AnswerError: there is no comma in it, so it is the answer to something else.
    """
    parts = [part.strip() for part in answer.strip().split(",", 3)]
    if len(parts) < 2 or not any(parts):
        raise AnswerError(
            f"'*IDN?' answered {answer[:60]!r}, expected manufacturer,model,serial,firmware",
            resource=resource,
            command="*IDN?",
            raw=answer.encode("utf-8", "replace"),
        )
    parts += [""] * (4 - len(parts))
    return dict(zip(("manufacturer", "model", "serial", "firmware"), parts, strict=True))


def check_chunk(spec: MethodSpec, chunk: object, driver: str) -> dict[str, NDArray[Any]]:
    """A chunk as the method declares it: all columns, no other, equally long, right types.

    Args:
        spec: the method.
        chunk: what the driver gave.
        driver: the class, for the error.

    Raises:
        DriverError: what is wrong with it.
    """
    if not isinstance(chunk, Mapping):
        what = type(chunk).__name__
        raise DriverError(f"{driver}.{spec.name} gave {what}, expected a dict", plugin=driver)
    if spec.columns is None:
        result = {str(name): _loose(value) for name, value in chunk.items()}
        lengths = {name: value.size for name, value in result.items() if value.ndim}
    else:
        _check_names(spec, spec.columns, chunk, driver)
        result = {c.name: _column(c, chunk[c.name], spec, driver) for c in spec.columns}
        lengths = {name: value.size for name, value in result.items()}
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name}: {count}" for name, count in lengths.items())
        raise DriverError(
            f"{driver}.{spec.name} gave columns of different length ({text})", plugin=driver
        )
    return result


def _check_names(
    spec: MethodSpec, columns: tuple[Column, ...], chunk: Mapping[Any, Any], driver: str
) -> None:
    declared = [column.name for column in columns]
    odd = [str(name) for name in chunk if name not in declared]
    missing = [name for name in declared if name not in chunk]
    words = []
    if odd:
        hint = nearest(odd[0], declared)
        words.append(f"D013 undeclared column {odd[0]!r}{hint}")
    if missing:
        words.append(f"missing column {', '.join(missing)}")
    if words:
        raise DriverError(f"{driver}.{spec.name} gave " + "; ".join(words), plugin=driver)


def _column(column: Column, value: Any, spec: MethodSpec, driver: str) -> NDArray[Any]:
    import numpy as np

    try:
        array = np.atleast_1d(np.asarray(value))
    except ValueError as exc:  # a list of lists of different length
        text = f"{driver}.{spec.name} column {column.name!r} is not {column.kind}: {exc}"
        raise DriverError(text, plugin=driver) from exc
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        shape = f"{array.ndim}-dimensional {array.dtype}"
        text = f"{driver}.{spec.name} column {column.name!r} is {shape}, expected 1-d numbers"
        raise DriverError(text, plugin=driver)
    typed: NDArray[Any] = array.astype(_DTYPES[column.kind])
    return mask_codes(typed) if column.kind == "float" else typed


def _loose(value: Any) -> NDArray[Any]:
    """A value nobody declared: a column if it is a list, else a single value."""
    import numpy as np

    array = np.asarray(value)
    return mask_codes(array.astype(np.float64)) if array.dtype.kind == "f" else array


def join_chunks(spec: MethodSpec, chunks: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    """One dict of whole columns; of single values nobody declared, the last one."""
    import numpy as np

    pieces: dict[str, list[NDArray[Any]]] = {c.name: [] for c in spec.columns or ()}
    for chunk in chunks:
        for name, values in chunk.items():
            pieces.setdefault(name, []).append(values)
    kinds = {column.name: column.kind for column in spec.columns or ()}
    result: dict[str, Any] = {}
    for name, parts in pieces.items():
        if not parts:
            result[name] = np.empty(0, dtype=_DTYPES[kinds[name]])
        elif parts[-1].ndim:
            result[name] = np.concatenate([np.atleast_1d(part) for part in parts])
        else:
            result[name] = parts[-1].item() if parts[-1].dtype != object else parts[-1][()]
    return result
