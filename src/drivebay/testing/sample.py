"""Parameters to try a method with: the smallest that make sense, and some that take long.

Pure functions of a method's definition and the instrument's ranges. Nothing here is sure: whoever
validates parameters has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from drivebay.driver import Field, MethodSpec, fields

Ranges = Mapping[str, Any]

_FEW: Final = 3
_MANY: Final = 20_000
_SMALL: Final = {"V": 0.1, "A": 1e-3, "W": 1e-3, "Hz": 1e3, "s": 0.01}
"""Harmless to nearly every device, and above what nearly every instrument resolves."""
# As a limit 0.1 V is too little: sources of high currents cannot be held to less than 0.2 V.
_SMALL_LIMIT: Final = {**_SMALL, "V": 1.0}


def smallest(spec: MethodSpec, ranges: Ranges) -> dict[str, Any]:
    """Parameters of a short measurement near zero: those without default, and the example's.

    Args:
        spec: the method.
        ranges: limits of the instrument by quantity, such as ``voltage_v``.

    >>> from drivebay.driver import STANDARD
    >>> smallest(STANDARD["iv_sweep"], {"voltage_v": [-210, 210], "current_a": [-1.05, 1.05]})
    {'start_v': 0.0, 'stop_v': 0.1, 'points': 3, 'compliance_a': 0.001}
    """
    needed = {each.name: _value(each, ranges) for each in fields(spec) if each.required}
    return {**needed, **_possible(spec, ranges)}


def longest(spec: MethodSpec | None, small: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same with many more points, to be tried one after the other: some may be refused.

    >>> from drivebay.driver import STANDARD
    >>> longest(STANDARD["iv_sweep"], {"points": 3, "start_v": 0.0})[0]
    {'points': 20000, 'start_v': 0.0}
    """
    counts = {
        each.name: each.bounds.get("le", _MANY)
        for each in (fields(spec) if spec is not None else ())
        # A meter takes one reading unless it is told.
        if each.kind == "int"
        and ((each.required and each.name in small) or each.name == "readings")
    }
    if not counts:
        return [dict(small)]
    return [
        {**small, **{name: int(min(most, _MANY) / share) for name, most in counts.items()}}
        for share in (1, 4, 16, 64)
    ]


def beyond(spec: MethodSpec, small: Mapping[str, Any], ranges: Ranges) -> list[dict[str, Any]]:
    """Parameters that the instrument cannot do, each list entry with one bad value.

    >>> from drivebay.driver import STANDARD
    >>> beyond(STANDARD["iv_sweep"], {"start_v": 0.0}, {"voltage_v": [-10, 10]})[0]
    {'start_v': 21.0}
    """
    found = []
    for each in fields(spec):
        span = ranges.get(each.limit) if each.limit else None
        if span is not None:
            found.append({**small, each.name: 2.0 * abs(span[1]) + 1.0})
    return found


def _possible(spec: MethodSpec, ranges: Ranges) -> dict[str, Any]:
    """The method's own example, each number as near as the instrument gets to it."""
    known = {each.name: each for each in fields(spec)}
    found: dict[str, Any] = {}
    for name, wanted in spec.example.items():
        field = known[name]
        span = ranges.get(field.limit) if field.limit else None
        found[name] = _within(wanted, field.bounds, span) if field.kind == "float" else wanted
    return found


def _value(field: Field, ranges: Ranges) -> Any:
    if field.kind == "int":
        return int(_within(_FEW, field.bounds, None))
    if field.kind == "choice":
        return field.choices[0]
    if field.kind == "bool":
        return False
    if field.kind == "floats":
        return [0.0, _SMALL.get(field.unit, 1.0)]
    if field.kind == "text":
        return ""
    # A start at zero, and everything else a small step away from it.
    small = _SMALL_LIMIT if "compliance" in field.name else _SMALL
    wanted = 0.0 if "start" in field.name else small.get(field.unit, 1.0)
    return float(_within(wanted, field.bounds, ranges.get(field.limit) if field.limit else None))


def _within(wanted: float, bounds: Mapping[str, float], span: Any) -> float:
    low, high = bounds.get("ge"), bounds.get("le")
    if span is not None:
        low = span[0] if low is None else max(low, span[0])
        high = span[1] if high is None else min(high, span[1])
    if low is not None:
        wanted = max(low, wanted)
    return wanted if high is None else min(high, wanted)
