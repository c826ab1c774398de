"""What of a driver's options must not be kept in a record: passwords, tokens, keys.

Promises: an option is secret if its schema says so (``writeOnly: true`` or ``format: password``) or
its name does (``password``, ``api_key``, ``accessToken``), at any depth; where it stands as it is,
in a message or a text, it can be masked. Never judges what a driver does with it: one that sends
it as a hash puts it beyond our sight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from drivebay._core.manifest.config import Pointer, parts_of, pointer_of
from drivebay._core.manifest.metadata import PluginMetadata

STAND_IN: Final = "********"
"""In the place of a secret, in options and in traffic: of one length, so that it tells nothing."""

_NAMES: Final = frozenset(
    {"password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "key", "apikey",
     "credential", "credentials"}
)  # fmt: skip
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_MOST_DEPTH: Final = 24
_LEAST_BYTES: Final = 4
"""A shorter one is in every second number, and hiding it there would spoil the record."""


@dataclass(frozen=True)
class Secrets:
    """The options of a driver, apart from what is secret in them.

    Attributes:
        config: the options, each secret replaced by :data:`STAND_IN`.
        withheld: JSON pointers to what was replaced.
    """

    config: dict[str, Any]
    withheld: tuple[str, ...] = ()
    _hidden: re.Pattern[bytes] | None = field(default=None, repr=False)

    def masked(self, sent: bytes) -> bytes:
        """Return a message to the instrument with :data:`STAND_IN` for each secret in it."""
        return sent if self._hidden is None else self._hidden.sub(STAND_IN.encode(), sent)

    def masked_data(self, data: Any) -> Any:
        """Return plain data, as that of an event, with :data:`STAND_IN` for each secret in it."""
        if self._hidden is None:
            return data
        if isinstance(data, str):
            return self.masked(data.encode("utf-8", "surrogatepass")).decode(
                "utf-8", "surrogatepass"
            )
        if isinstance(data, bytes):
            return self.masked(data)
        if isinstance(data, Mapping):
            return {key: self.masked_data(item) for key, item in data.items()}
        if isinstance(data, list | tuple):
            return [self.masked_data(item) for item in data]
        return data

    @property
    def in_traffic(self) -> bool:
        """Whether there is a secret that a message could hold."""
        return self._hidden is not None


def secrets_of(metadata: PluginMetadata, config: Mapping[str, Any] | None) -> Secrets:
    """Take the secrets out of a driver's options, which are not changed.

    Args:
        metadata: the plugin's; its ``config_schema`` may mark options.
        config: the options the driver was given.

    >>> found = secrets_of(PluginMetadata("p", "1", "a", "d"), {"password": "open sesame", "n": 1})
    >>> found.config, found.withheld, found.masked(b"SYST:PASS 'open sesame'")
    ({'password': '********', 'n': 1}, ('/password',), b"SYST:PASS '********'")
    """
    schema = metadata.config_schema or {}
    values: dict[Pointer, Any] = {}
    kept = _kept(dict(config or {}), [schema], schema, (), values)
    texts = {str(value).encode("utf-8", "replace") for value in values.values()}
    long = sorted((each for each in texts if len(each) >= _LEAST_BYTES), key=len, reverse=True)
    # Not inside a word or a number: four digits are in many a level.
    words = (rb"(?<![\w.])" + re.escape(each) + rb"(?![\w.])" for each in long)
    hidden = re.compile(b"|".join(words)) if long else None
    return Secrets(kept, tuple(map(pointer_of, values)), hidden)


def _kept(
    value: Any, rules: list[Any], root: Any, where: Pointer, values: dict[Pointer, Any]
) -> Any:
    """A copy without secrets; those are put into ``values`` by their place."""
    rules = list(_together(rules, root, 0))
    if where and (_is_marked(rules) or _is_named(str(where[-1]))):
        return _replaced(value, where, values)
    if isinstance(value, Mapping):
        found = {}
        for key, item in value.items():
            inner = [(rule.get("properties") or {}).get(key) for rule in rules]
            found[key] = _kept(item, inner, root, (*where, str(key)), values)
        return found
    if isinstance(value, list | tuple):
        inner = [rule.get("items") for rule in rules]
        return [_kept(item, inner, root, (*where, at), values) for at, item in enumerate(value)]
    return value


def _replaced(value: Any, where: Pointer, values: dict[Pointer, Any]) -> Any:
    """The stand-in for everything in a value but what says nothing: no value, yes and no."""
    if value is None or isinstance(value, bool) or value in ("", STAND_IN):
        return value
    if isinstance(value, Mapping):
        return {k: _replaced(item, (*where, str(k)), values) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item, (*where, at), values) for at, item in enumerate(value)]
    values[where] = value
    return STAND_IN


def _together(rules: list[Any], root: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Schemas, with all that they refer to."""
    for rule in rules:
        if isinstance(rule, dict) and depth < _MOST_DEPTH:
            yield rule
            more = [*parts_of(rule, root), *rule.get("anyOf", ()), *rule.get("oneOf", ())]
            yield from _together(more, root, depth + 1)


def _is_marked(rules: list[dict[str, Any]]) -> bool:
    return any(rule.get("writeOnly") is True or rule.get("format") == "password" for rule in rules)


def _is_named(name: str) -> bool:
    """Whether a name is one of a secret.

    >>> [_is_named(each) for each in ("password", "apiKey", "API_TOKEN", "keyboard", "key_lock")]
    [True, True, True, False, False]
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and (words[-1] in _NAMES or bool({"password", "secret"} & set(words)))
