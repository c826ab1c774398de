"""Is this a measurement that may be run? Parameters in, typed values or every problem at once out.

Two ways: the quick one converts and compares; only when it objects does the slow one look at each
value to say what is wrong, so that a good call costs about a microsecond and a bad one explains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from math import isfinite
from numbers import Integral, Real
from operator import attrgetter, ge, gt, le, lt
from typing import Any

import msgspec

from drivebay._core.errors import Diagnostic, ParameterError, nearest
from drivebay._core.methods.quantity import read_quantity, shorten
from drivebay._core.methods.spec import Field, MethodSpec, fields

_PLAIN_TEXT_LIMIT = 4096
_MAX_PROBLEMS = 50
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class _Plan:
    """What the quick way needs to know of one parameter Struct, worked out once."""

    __slots__ = ("finite", "fits", "judge", "limited", "maybe", "names", "prepare")

    def __init__(self, kind: type[msgspec.Struct], known: Sequence[Field]) -> None:
        # msgspec drops what such a Struct does not know; a misspelt option must not be dropped.
        forbids = kind.__struct_config__.forbid_unknown_fields
        self.names = None if forbids else frozenset(kind.__struct_encode_fields__)
        floats = [f for f in known if f.kind == "float"]
        sure = [f.name for f in floats if not f.optional]
        # attrgetter of one name gives the value itself, of several a tuple; pad to have a tuple.
        self.finite = attrgetter(*sure, sure[0]) if sure else None
        self.maybe = tuple(f.name for f in floats if f.optional)
        self.limited = tuple((f.name, f.limit, f) for f in known if f.limit)
        self.prepare = getattr(kind, "prepare", None)
        self.judge = getattr(kind, "problems", None)
        self.fits = getattr(kind, "fits", None)

    def all_finite(self, values: msgspec.Struct) -> bool:
        # The sum of finite numbers may overflow; then the slow way looks at them one by one.
        if self.finite is not None and not isfinite(sum(self.finite(values))):
            return False
        for name in self.maybe:
            value = getattr(values, name)
            if value is not None and not isfinite(value):
                return False
        return True

    def outside(self, values: msgspec.Struct, ranges: Mapping[str, Any]) -> list[Diagnostic]:
        found = []
        for name, key, field in self.limited:
            span = ranges.get(key)
            if span is not None:
                value = getattr(values, name)
                if value is not None and not span[0] <= value <= span[1]:
                    found.append(_limit_problem(field, value, span, ranges))
        return found


@cache
def _plan(kind: type[msgspec.Struct]) -> _Plan:
    return _Plan(kind, fields(MethodSpec("", "", kind)))


def validate(
    spec: MethodSpec,
    params: Mapping[str, Any] | msgspec.Struct,
    ranges: Mapping[str, Any] | None = None,
) -> Any:
    """The parameters as the method's Struct: SI units, finite, within the model's limits.

    Args:
        spec: the method.
        params: values by name; numbers may be numpy scalars or text with a unit (``"10 mA"``).
        ranges: limits of the model, such as ``{"voltage_v": [-210, 210], "regions": [...]}``;
            ``source`` names where they come from, ``origins`` a place for single keys.

    Returns:
        An instance of ``spec.parameters``; a plain dict when the method declares none.

    Raises:
        ParameterError: with one :class:`Diagnostic` for every problem found.
    """
    kind = spec.parameters
    if kind is None:
        if not isinstance(params, Mapping):
            raise ParameterError([_not_a_mapping(params)], method=spec.name)
        return dict(params)
    plan = _plan(kind)
    values = _converted(plan, kind, params)
    if values is None:
        return _slowly(spec, params, ranges)
    if plan.fits is not None and plan.fits(values, ranges):
        return values
    if not plan.all_finite(values):
        return _slowly(spec, params, ranges)
    problems = plan.outside(values, ranges) if ranges is not None else []
    if plan.judge is not None:
        problems += plan.judge(values, ranges)
    if problems:
        raise ParameterError(problems[:_MAX_PROBLEMS], method=spec.name)
    return values


def _converted(plan: _Plan, kind: type[msgspec.Struct], params: Any) -> Any:
    """The Struct, or None when msgspec objects; it names one problem only, so its word is lost."""
    if isinstance(params, kind):
        return params
    if plan.names is not None and isinstance(params, Mapping) and not params.keys() <= plan.names:
        return None
    try:
        return msgspec.convert(params, kind)
    except (msgspec.ValidationError, TypeError):
        if plan.prepare is None or not isinstance(params, Mapping):
            return None
    try:
        return msgspec.convert(plan.prepare(params), kind)
    except (msgspec.ValidationError, TypeError):
        return None


def _slowly(spec: MethodSpec, params: Any, ranges: Mapping[str, Any] | None) -> Any:
    """Go through every key and value; raise with all problems, or return what they come to."""
    kind = spec.parameters
    assert kind is not None  # noqa: S101 - validate() has sent the others away
    if isinstance(params, msgspec.Struct):
        params = msgspec.structs.asdict(params)
    if not isinstance(params, Mapping):
        raise ParameterError([_not_a_mapping(params)], method=spec.name)
    plan = _plan(kind)
    problems: list[Diagnostic] = []
    known = {field.name: field for field in fields(spec)}
    problems += [_unknown(key, known) for key in params if key not in known]
    given: Mapping[str, Any] = {key: params[key] for key in params if key in known}
    if plan.prepare is not None:
        given = plan.prepare(given)
    values: dict[str, Any] = {}
    types = {info.name: info.type for info in msgspec.structs.fields(kind)}
    for name, field in known.items():
        if name not in given:
            if field.required:
                problems.append(_missing(field))
            continue
        value = _coerce(field, given[name], f"/{name}", problems)
        values[name] = _typed(value, types[name], f"/{name}", problems)
    # What can be judged is judged although something else is wrong: all problems at once.
    good = {name: value for name, value in values.items() if value is not _BAD}
    if len(good) == len(values) and not any(
        f.required and f.name not in good for f in known.values()
    ):
        whole = _typed(good, kind, "", problems)
        if whole is not _BAD:
            problems += _judge(plan, whole, ranges)
        if not problems:
            return whole
    else:
        problems += _limits_of(plan, good, ranges)
    raise ParameterError(problems[:_MAX_PROBLEMS], method=spec.name)


def _judge(plan: _Plan, values: Any, ranges: Mapping[str, Any] | None) -> list[Diagnostic]:
    found = plan.outside(values, ranges) if ranges is not None else []
    return found + plan.judge(values, ranges) if plan.judge is not None else found


def _limits_of(
    plan: _Plan, good: Mapping[str, Any], ranges: Mapping[str, Any] | None
) -> list[Diagnostic]:
    found = []
    for name, key, field in plan.limited:
        span = (ranges or {}).get(key)
        value = good.get(name)
        if span is not None and value is not None and not span[0] <= value <= span[1]:
            found.append(_limit_problem(field, value, span, ranges or {}))
    return found


_BAD: Any = object()


def _coerce(field: Field, value: Any, path: str, problems: list[Diagnostic]) -> Any:
    """The value as the field's type, or ``_BAD`` with one problem more in the list."""
    if value is None and field.optional:
        return None
    # numpy scalars and arrays of one number: .item() gives the plain Python value they stand for.
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if field.kind == "floats":
        return _coerce_list(field, value, path, problems)
    if field.kind == "float":
        return _coerce_float(field, value, path, problems)
    if field.kind == "int":
        whole = _whole(value)
        if whole is None:
            text = f"{shorten(value)} is not a whole number{_bounds_text(field)}"
            return _note(problems, field.code or "P002", path, text)
        return _within(field, whole, path, problems)
    return _coerce_word(field, value, path, problems)


def _typed(value: Any, type_: Any, path: str, problems: list[Diagnostic]) -> Any:
    """What msgspec makes of a value: its type may say more than a field does, such as a length."""
    if value is _BAD:
        return _BAD
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as refused:
        # "Expected `str` of length >= 3 - at `$[2]`"
        said, _, where = str(refused).partition(" - at `$")
        deeper = _STEP.sub(r"/\1\2", where.rstrip("`"))
        text = f"{shorten(value)} is refused: {said[:1].lower()}{said[1:]}"
        return _note(problems, "P014", path + deeper, text)


def _coerce_word(field: Field, value: Any, path: str, problems: list[Diagnostic]) -> Any:
    if field.kind == "bool":
        if isinstance(value, bool):
            return value
        return _note(problems, "P013", path, f"{shorten(value)} must be true or false")
    if not isinstance(value, str):
        return _note(problems, "P013", path, f"{shorten(value)} must be text")
    if (
        any(ord(c) < 32 or ord(c) == 127 or c in ';"' for c in value)
        or len(value) > _PLAIN_TEXT_LIMIT
    ):
        return _note(problems, "P009", path, f"{shorten(value)} has control characters")
    if field.kind == "choice" and value not in field.choices:
        text = f"{shorten(value)} is not one of {', '.join(field.choices)}"
        return _note(problems, "P013", path, text + nearest(value, field.choices))
    return value


def _coerce_list(field: Field, value: Any, path: str, problems: list[Diagnostic]) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return _note(problems, "P013", path, f"{shorten(value)} must be a list of numbers")
    item = Field(field.name, "float", field.unit)
    before = len(problems)
    values = []
    for index, entry in enumerate(value):
        values.append(_coerce(item, entry, f"{path}/{index}", problems))
        if len(problems) - before >= _MAX_PROBLEMS:
            break
    return tuple(values) if len(problems) == before else _BAD


def _coerce_float(field: Field, value: Any, path: str, problems: list[Diagnostic]) -> Any:
    if isinstance(value, str):
        number, problem = read_quantity(value, field.unit, bare=False, path=path)
        if problem is not None:
            problems.append(problem)
            return _BAD
        return _within(field, number, path, problems)
    if isinstance(value, bool) or not isinstance(value, Real):
        text = f"{shorten(value)} must be a finite number{_unit_text(field, ' in ')}"
        return _note(problems, "P001", path, text)
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        text = f"{shorten(value)} must be a finite number{_unit_text(field, ' in ')}"
        return _note(problems, "P001", path, text)
    return _within(field, number, path, problems)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    # JSON has one kind of number: a browser sends 101 points as 101.0.
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _within(field: Field, value: Any, path: str, problems: list[Diagnostic]) -> Any:
    for key, bound in field.bounds.items():
        if not _COMPARE[key](value, bound):
            text = f"{value!r}{_unit_text(field)} is not{_bounds_text(field)}"
            return _note(problems, field.code or "P014", path, text)
    return value


_COMPARE = {"gt": gt, "ge": ge, "lt": lt, "le": le}
_WORDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def _bounds_text(field: Field) -> str:
    words = [f"{_WORDS[key]} {bound:g}" for key, bound in field.bounds.items()]
    return (" " + " and ".join(words)) if words else ""


def _unit_text(field: Field, link: str = " ") -> str:
    return f"{link}{field.unit}" if field.unit else ""


def _note(problems: list[Diagnostic], code: str, path: str, message: str) -> Any:
    problems.append(Diagnostic(code, message, path=path))
    return _BAD


def _unknown(key: object, known: Mapping[str, Field]) -> Diagnostic:
    if not isinstance(key, str):
        return Diagnostic("P007", f"parameter name {shorten(key)} is not text")
    hint = nearest(key, known) or f" (has: {', '.join(known)})"
    pointer = key[:48].replace("~", "~0").replace("/", "~1")
    return Diagnostic("P007", f"unknown parameter {shorten(key)}{hint}", path=f"/{pointer}")


def _missing(field: Field) -> Diagnostic:
    if field.code == "P006":
        text = "is missing; a limit is required before the output goes on"
        return Diagnostic("P006", text, path=f"/{field.name}")
    unit = f" (in {field.unit})" if field.unit else ""
    return Diagnostic("P012", f"is missing{unit}", path=f"/{field.name}")


def _limit_problem(
    field: Field, value: float, span: Sequence[float], ranges: Mapping[str, Any]
) -> Diagnostic:
    bench = ranges.get("origins", {}).get(field.limit)
    where = bench or ranges.get("source", "instrument")
    unit = _unit_text(field)
    text = f"{value:g}{unit} is outside {span[0]:g} to {span[1]:g}{unit} ({where})"
    return Diagnostic("P005" if bench else "P004", text, path=f"/{field.name}")


def _not_a_mapping(params: object) -> Diagnostic:
    return Diagnostic("P007", f"parameters must be names with values, found {shorten(params)}")
