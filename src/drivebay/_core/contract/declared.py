"""``@method``: which measurements a driver class has, known without an instance.

A standard name brings the standard's parameters and columns; a name of the driver's own brings
what the driver says, or nothing, and then takes any parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from drivebay._core.methods import STANDARD, Column, MethodSpec

_MARK = "_drivebay_method"
_TABLE = "_drivebay_methods"
_Function = TypeVar("_Function", bound=Callable[..., Any])
ColumnsLike = Iterable[Column | tuple[str, str] | str]


def method(
    name: str,
    parameters: type[msgspec.Struct] | None = None,
    columns: ColumnsLike | None = None,
    *,
    title: str = "",
    help: str = "",
) -> Callable[[_Function], _Function]:
    """Mark a function of a driver class as a measurement.

    The function gets the validated parameters and yields chunks (dicts of equally long columns),
    or returns one.

    Args:
        name: name of the method; of a standard one (``iv_sweep``) everything else is given.
        parameters: msgspec Struct of a method of the driver's own; without one the function gets
            a dict of whatever was passed.
        columns: :class:`Column` objects, ``(name, unit)`` pairs or names; without them chunks
            are only checked for equal length.
        title: for people; by default the name.
        help: one paragraph; by default the first one of the function's docstring.

    Raises:
        ValueError: a standard name with other parameters or columns than the standard's.
    """
    standard = STANDARD.get(name)
    if standard is not None:
        if parameters not in {None, standard.parameters} or columns is not None:
            raise ValueError(
                f"{name!r} is a standard method: its parameters and columns are given; "
                "choose another name for another measurement"
            )
        spec = standard
    else:
        told = None if columns is None else tuple(_column(each) for each in columns)
        spec = MethodSpec(name, title or name.replace("_", " "), parameters, told, help)

    def decorator(function: _Function) -> _Function:
        found = spec
        if standard is None and not help and function.__doc__:
            paragraph = " ".join(function.__doc__.strip().split("\n\n")[0].split())
            found = msgspec.structs.replace(spec, help=paragraph)
        setattr(function, _MARK, found)
        return function

    return decorator


def _column(given: Column | tuple[str, str] | str) -> Column:
    if isinstance(given, Column):
        return given
    if isinstance(given, str):
        return Column(given)
    name, unit = given
    return Column(name, unit)


def declared_methods(cls: type) -> Mapping[str, tuple[str, MethodSpec]]:
    """Attribute and definition of every method a class has, by the method's name.

    A subclass that overrides the function without decorating it keeps the declaration. What it
    names in ``leaves_out`` it does not have, although a base has it.
    """
    known: Mapping[str, tuple[str, MethodSpec]] | None = vars(cls).get(_TABLE)
    return _looked_through(cls) if known is None else known


def remember_methods(cls: type) -> None:
    """Look through a class once, when it is made; it takes its table with it when it goes."""
    setattr(cls, _TABLE, MappingProxyType(_looked_through(cls)))


def _looked_through(cls: type) -> dict[str, tuple[str, MethodSpec]]:
    table: dict[str, tuple[str, MethodSpec]] = {}
    for base in reversed(cls.__mro__):
        for name in vars(base).get("leaves_out", ()):
            table.pop(name, None)
        for attribute, value in vars(base).items():
            spec = getattr(value, _MARK, None)
            if isinstance(spec, MethodSpec):
                table[spec.name] = (attribute, spec)
    return table
