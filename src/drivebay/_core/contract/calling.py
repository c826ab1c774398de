"""Calling a driver, whichever of the two styles it has: what it takes, and one measurement of it.

A driver that derives from ``ScpiDriver`` has declared methods and gives chunks; one in the style of
the original platform has ``configure`` and ``measure``, takes what it likes and returns one dict.
Above this module nobody needs to know which it is.

Promises: parameters are valid, or an error names all their problems, before the instrument is
touched. Contains nothing: what a driver raises passes through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from drivebay._core.contract.interface import InstrumentDriver
from drivebay._core.contract.readout import mask_codes
from drivebay._core.contract.scpi import ScpiDriver
from drivebay._core.errors import MethodError
from drivebay._core.methods import STANDARD, MethodSpec, validate

if TYPE_CHECKING:
    import numpy as np

Chunk: TypeAlias = "dict[str, np.ndarray[Any, Any]]"


def known_specs(driver: InstrumentDriver) -> dict[str, MethodSpec]:
    """Return every method of a driver, and what it takes and gives, by name."""
    if isinstance(driver, ScpiDriver):
        return dict(driver.method_specs())
    # A seed-style driver has its own parameter names, so they go through as they are.
    return {name: MethodSpec(name, _title(name)) for name in driver.get_capabilities()}


def _title(name: str) -> str:
    standard = STANDARD.get(name)
    return standard.title if standard else name


def method_spec(driver: InstrumentDriver, method: str, plugin: str) -> MethodSpec:
    """Return what a driver's method takes and gives.

    Raises:
        MethodError: it has no such method.
    """
    known = known_specs(driver)
    if method not in known:
        raise MethodError(method, known, subject=plugin)
    return known[method]


def plain_parameters(
    driver: InstrumentDriver, spec: MethodSpec, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return validated parameters as plain data, defaults filled in.

    Raises:
        ParameterError: every problem with the parameters.
    """
    if not isinstance(driver, ScpiDriver) or spec.parameters is None:
        return dict(params)
    plain: dict[str, Any] = msgspec.to_builtins(validate(spec, params, driver.ranges))
    return plain


def measured(
    driver: InstrumentDriver, method: str, params: Mapping[str, Any], values: dict[str, Any]
) -> Iterator[Chunk]:
    """Measure; yield each chunk as it is taken.

    Args:
        driver: connected.
        method: one of its methods.
        params: its parameters, as :func:`plain_parameters` returned them.
        values: is given whatever else than columns a seed-style driver returns.

    Raises: whatever the driver raises.
    """
    if isinstance(driver, ScpiDriver):
        yield from driver.stream(method, params)
        return
    driver.configure(method, dict(params))
    columns, others = split_result(driver.measure(method, dict(params)))
    values.update(others)
    if columns:
        yield columns


def split_result(result: Mapping[str, Any]) -> tuple[Chunk, dict[str, Any]]:
    """Split a seed-style result into columns and the rest.

    Columns are the one-dimensional numeric sequences of the most common length above one; anything
    else is a value. SCPI's codes for "not a number" and "overflow" in a column become that.

    >>> columns, values = split_result({"v": [0.0, 1.0], "i": [0.0, 2.0], "unit": "A"})
    >>> sorted(columns), values
    (['i', 'v'], {'unit': 'A'})
    """
    import numpy as np

    if not isinstance(result, Mapping):
        raise TypeError(f"measure() returned {type(result).__name__}, expected a dictionary")
    arrays: Chunk = {}
    for key, value in result.items():
        if isinstance(value, list | tuple | np.ndarray) and len(value):
            try:
                array = np.asarray(value)
            except ValueError:
                continue
            if array.ndim == 1 and array.dtype.kind in "fiub":
                arrays[str(key)] = mask_codes(array) if array.dtype.kind == "f" else array
    lengths = [len(array) for array in arrays.values()]
    length = max(set(lengths), key=lambda n: (lengths.count(n), n), default=0)
    columns = {key: array for key, array in arrays.items() if len(array) == length}
    values = {str(key): value for key, value in result.items() if str(key) not in columns}
    return columns, values
