"""Runs programs of :mod:`drivebay.sim.keithley2600.syntax` on tables and on the instrument.

Promises: nothing of Python can be reached from a program: its values are numbers, texts, booleans,
nil, :class:`Table`, functions, and what the instrument gives it. Every turn of a loop and every
call may be interrupted by ``checkpoint``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from drivebay.sim.keithley2600.syntax import Node, parse


class LuaError(Exception):
    """A program cannot go on: error -286 of the instrument."""


class _Return(Exception):  # noqa: N818 - it is no error
    def __init__(self, values: list[Any]) -> None:
        self.values = values


class _Break(Exception):  # noqa: N818 - it is no error
    pass


class Indexed:
    """Something with fields; the instrument's own tables derive from it."""

    def get(self, key: Any) -> Any:
        """The field, None for nil."""
        return None

    def set(self, key: Any, value: Any) -> None:
        """Set the field."""
        raise LuaError(f"cannot modify field `{key}'")

    def length(self) -> int:
        """What ``#`` and ``table.getn`` say."""
        return 0


class Table(Indexed):
    """A table of a program."""

    def __init__(self, values: list[Any] | None = None) -> None:
        self.fields: dict[Any, Any] = {float(k + 1): v for k, v in enumerate(values or [])}

    def get(self, key: Any) -> Any:
        """The field."""
        return self.fields.get(key)

    def set(self, key: Any, value: Any) -> None:
        """Set or remove the field."""
        if value is None:
            self.fields.pop(key, None)
        else:
            self.fields[key] = value

    def length(self) -> int:
        """How many follow one another from 1 on."""
        count = 0
        while float(count + 1) in self.fields:
            count += 1
        return count

    def values(self) -> list[Any]:
        """Those that follow one another from 1 on."""
        return [self.fields[float(k + 1)] for k in range(self.length())]


class Scope:
    """Local names, inside other local names, inside the globals."""

    def __init__(self, names: dict[str, Any], outer: Scope | None = None) -> None:
        self.names = names
        self.outer = outer

    def home(self, name: str) -> dict[str, Any]:
        """Where a name is; the globals if nowhere."""
        scope = self
        while name not in scope.names and scope.outer is not None:
            scope = scope.outer
        return scope.names


class Interpreter:
    """One set of globals, and what runs programs on it."""

    def __init__(self, names: Mapping[str, Any], checkpoint: Callable[[], None]) -> None:
        self._globals = Scope(dict(names))
        self._checkpoint = checkpoint

    def run(self, text: str) -> None:
        """Run a program.

        Raises:
            LuaSyntaxError: it is none; nothing of it ran.
            LuaError: it cannot go on.
        """
        block = parse(text)
        try:
            self._block(block, Scope({}, self._globals))
        except _Return:
            pass
        except _Break:
            raise LuaError("no loop to break") from None
        except RecursionError:
            raise LuaError("stack overflow") from None

    # -- statements -------------------------------------------------------------------------------

    def _block(self, block: list[Node], scope: Scope) -> None:
        for statement in block:
            self._checkpoint()
            getattr(self, f"_run_{statement[0]}")(statement, scope)

    def _run_do_call(self, node: Node, scope: Scope) -> None:
        self._many(node[1], scope)

    def _run_assign(self, node: Node, scope: Scope) -> None:
        values = self._list(node[2], scope)
        for place, target in enumerate(node[1]):
            value = values[place] if place < len(values) else None
            if target[0] == "name":
                scope.home(target[1])[target[1]] = value
            else:
                self._indexed(target, scope).set(self._one(target[2], scope), value)

    def _run_local(self, node: Node, scope: Scope) -> None:
        scope.names.update(dict.fromkeys(node[1]))
        values = self._list(node[2], scope)
        scope.names.update(zip(node[1], values, strict=False))

    def _run_if(self, node: Node, scope: Scope) -> None:
        for condition, block in node[1]:
            if _true(self._one(condition, scope)):
                return self._block(block, Scope({}, scope))
        return self._block(node[2], Scope({}, scope))

    def _run_block(self, node: Node, scope: Scope) -> None:
        self._block(node[1], Scope({}, scope))

    def _run_while(self, node: Node, scope: Scope) -> None:
        try:
            while _true(self._one(node[1], scope)):
                self._checkpoint()
                self._block(node[2], Scope({}, scope))
        except _Break:
            pass

    def _run_repeat(self, node: Node, scope: Scope) -> None:
        try:
            while True:
                self._checkpoint()
                inner = Scope({}, scope)
                self._block(node[1], inner)
                if _true(self._one(node[2], inner)):
                    return
        except _Break:
            pass

    def _run_for(self, node: Node, scope: Scope) -> None:
        span = [_number(self._one(each, scope)) for each in node[2]]
        value, stop, step = span[0], span[1], span[2] if len(span) > 2 else 1.0
        if step == 0:
            raise LuaError("`for' step is zero")
        try:
            while value <= stop if step > 0 else value >= stop:
                self._checkpoint()
                self._block(node[3], Scope({node[1]: value}, scope))
                value += step
        except _Break:
            pass

    def _run_return(self, node: Node, scope: Scope) -> None:
        raise _Return(self._list(node[1], scope))

    def _run_break(self, node: Node, scope: Scope) -> None:
        raise _Break

    # -- expressions ------------------------------------------------------------------------------

    def _list(self, nodes: list[Node], scope: Scope) -> list[Any]:
        """Values of expressions; the last one may give several."""
        found = [self._one(each, scope) for each in nodes[:-1]]
        return found + (self._many(nodes[-1], scope) if nodes else [])

    def _one(self, node: Node, scope: Scope) -> Any:
        values = self._many(node, scope)
        return values[0] if values else None

    def _many(self, node: Node, scope: Scope) -> list[Any]:
        found: list[Any] = getattr(self, f"_value_of_{node[0]}")(node, scope)
        return found

    def _value_of_value(self, node: Node, scope: Scope) -> list[Any]:
        return [node[1]]

    def _value_of_single(self, node: Node, scope: Scope) -> list[Any]:
        return [self._one(node[1], scope)]

    def _value_of_name(self, node: Node, scope: Scope) -> list[Any]:
        return [scope.home(node[1]).get(node[1])]

    def _value_of_index(self, node: Node, scope: Scope) -> list[Any]:
        return [self._indexed(node, scope).get(self._one(node[2], scope))]

    def _value_of_table(self, node: Node, scope: Scope) -> list[Any]:
        table, count = Table(), 0
        for key, value in node[1]:
            if key is None:
                count += 1
            place = float(count) if key is None else self._one(key, scope)
            table.set(place, self._one(value, scope))
        return [table]

    def _value_of_function(self, node: Node, scope: Scope) -> list[Any]:
        def function(*arguments: Any) -> list[Any]:
            names = dict(zip(node[1], arguments, strict=False))
            try:
                self._block(node[2], Scope({**dict.fromkeys(node[1]), **names}, scope))
            except _Return as returned:
                return returned.values
            return []

        return [function]

    def _value_of_call(self, node: Node, scope: Scope) -> list[Any]:
        function = self._one(node[1], scope)
        if not callable(function):
            raise LuaError(f"attempt to call {_named(node[1])} (a {kind_of(function)} value)")
        self._checkpoint()
        result = function(*self._list(node[2], scope))
        if isinstance(result, list):
            return result
        return [] if result is None else [result]

    def _value_of_unary(self, node: Node, scope: Scope) -> list[Any]:
        value = self._one(node[2], scope)
        if node[1] == "not":
            return [not _true(value)]
        if node[1] == "-":
            return [-_number(value)]
        if isinstance(value, Indexed):
            return [float(value.length())]
        return [float(len(value))]

    def _value_of_binary(self, node: Node, scope: Scope) -> list[Any]:
        sign, left = node[1], self._one(node[2], scope)
        if sign in {"and", "or"}:
            return [left if _true(left) == (sign == "or") else self._one(node[3], scope)]
        right = self._one(node[3], scope)
        if sign == "==":
            return [left == right]
        if sign == "~=":
            return [left != right]
        if sign == "..":
            return [_text(left) + _text(right)]
        if sign in _COMPARE:
            if isinstance(left, str) and isinstance(right, str):
                return [_COMPARE[sign](left, right)]
            return [_COMPARE[sign](_number(left), _number(right))]
        return [_COMPUTE[sign](_number(left), _number(right))]

    def _indexed(self, node: Node, scope: Scope) -> Indexed:
        value = self._one(node[1], scope)
        if not isinstance(value, Indexed):
            raise LuaError(f"attempt to index {_named(node[1])} (a {kind_of(value)} value)")
        return value


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
_COMPUTE: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else math.copysign(math.inf, a) if a else math.nan,
    "%": lambda a, b: a % b if b else math.nan,
    "^": lambda a, b: a**b,
}


def kind_of(value: Any) -> str:
    """What ``type`` says."""
    if value is None:
        return "nil"
    kinds = {bool: "boolean", float: "number", int: "number", str: "string"}
    return kinds.get(type(value), "table" if isinstance(value, Indexed) else "function")


def _true(value: Any) -> bool:
    return value is not None and value is not False


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise LuaError(f"attempt to perform arithmetic on a {kind_of(value)} value")
    try:
        return float(value)
    except ValueError:
        raise LuaError("attempt to perform arithmetic on a string value") from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{_number(value):.14g}"


def _named(node: Node) -> str:
    if node[0] == "name":
        return f"global `{node[1]}'"
    return f"field `{node[2][1]}'" if node[0] == "index" and node[2][0] == "value" else "value"
