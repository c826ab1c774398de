"""Metadata to JSON text and back, without losing what JSON cannot say.

Numpy scalars and arrays become plain numbers and lists. Not-a-number and infinities are kept as
``{"$float": "nan"}``, complex numbers as ``{"$complex": [re, im]}`` and bytes as
``{"$bytes": hex}``; a key that begins with ``$`` gets a second one, so that nothing of a user's is
taken for one of ours. Half a surrogate pair, which no file takes, is spelt out (:func:`spelt_out`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any, Final

from drivebay._core.errors import RunError


class Plain(dict[str, Any]):
    """A mapping of which it is known that it is plain data, through and through."""


def to_text(value: object, where: str) -> str:
    """Return ``value`` as strict JSON text.

    Args:
        value: what a caller gave: numbers, texts, mappings, sequences, numpy, msgspec structs.
        where: what the value is, for the error message: ``parameters``.

    Raises:
        RunError: something in it is no data (an open file, a function).
    """
    text = _encoded(_plain(value, where))
    return text if text.isascii() else _HALF.sub(_json_spelt_out, text)


def from_text(text: str) -> Any:
    """Return what :func:`to_text` was given; tuples are lists, numpy's numbers plain ones."""
    return json.loads(text, object_hook=_revive)


def spelt_out(text: str) -> str:
    r"""Return ``text`` as UTF-8 can hold it.

    Python has halves of surrogate pairs where a file name or an instrument's answer was no text.
    Stored as they are they would come up again in every export, terminal and page.

    >>> spelt_out("caf\udce9")
    'caf\\udce9'
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def strict(value: Any) -> Any:
    """Return ``value`` for other people's JSON: not-a-number and infinities become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, complex):
        return [strict(value.real), strict(value.imag)]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return value


def not_finite(value: Any, where: str = "") -> dict[str, str]:
    """Return where :func:`strict` puts None for a number, as JSON pointers, and the number.

    >>> not_finite({"values": {"a/b": float("nan"), "c": [1.0, float("-inf")], "d": None}})
    {'/values/a~1b': 'nan', '/values/c/1': '-inf'}
    """
    if isinstance(value, float):
        return {} if math.isfinite(value) else {where: repr(float(value))}
    if isinstance(value, complex):
        return not_finite([value.real, value.imag], where)
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = ((str(k).replace("~", "~0").replace("/", "~1"), v) for k, v in value.items())
    elif isinstance(value, list):
        items = enumerate(value)
    return {
        place: word
        for key, item in items
        for place, word in not_finite(item, f"{where}/{key}").items()
    }


_encoded: Final = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode
_HALF: Final = re.compile("[\ud800-\udfff]")
_AS_IT_IS: Final = frozenset({bool, int, str, type(None), Plain})


def _plain(value: Any, where: str) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:  # nearly everything: a run's head is made before its first point
        return value
    if kind is dict:
        return {
            key if type(key) is str and key[:1] != "$" else _key(key): (
                item if type(item) in _AS_IT_IS else _plain(item, f"{where}/{key}")
            )
            for key, item in value.items()
        }
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if isinstance(value, int | str):
        return _exact(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, Mapping):
        return _plain(dict(value), where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}/{at}") for at, item in enumerate(value)]
    return _special(value, where)


def _special(value: Any, where: str) -> Any:
    if isinstance(value, set | frozenset):
        return _plain(sorted(value, key=repr), where)
    if isinstance(value, complex):
        return {"$complex": [_plain(value.real, where), _plain(value.imag, where)]}
    if isinstance(value, bytes | bytearray):
        return {"$bytes": bytes(value).hex()}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, date):  # a datetime too
        return value.isoformat()
    fields = getattr(value, "__struct_fields__", None)  # a msgspec Struct, as the methods' are
    if fields is not None:
        return {name: _plain(getattr(value, name), f"{where}/{name}") for name in fields}
    if hasattr(value, "tolist"):  # numpy, which this module need not import to recognise
        return _plain(value.tolist(), where)
    raise RunError(f"{where} is a {type(value).__name__}, which a run cannot keep; give plain data")


def _exact(value: Any) -> Any:
    """Strip a subclass of int or str (an IntFlag's value, a str subclass) to the plain type."""
    return str(value) if isinstance(value, str) else int(value)


def _json_spelt_out(half: re.Match[str]) -> str:
    return f"\\\\u{ord(half[0]):04x}"  # inside JSON text, where a backslash is two


def _key(key: object) -> str:
    text = str(key)
    return f"${text}" if text.startswith("$") else text


def _revive(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        (key, value), *_ = found.items()
        if key == "$float":
            return float(value)
        if key == "$complex":
            return complex(*value)
        if key == "$bytes":
            return bytes.fromhex(value)
    return {key[1:] if key.startswith("$") else key: value for key, value in found.items()}
