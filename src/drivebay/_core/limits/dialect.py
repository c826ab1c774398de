"""The dialect of a manifest as rules: which command energises, sets, protects or may be used.

Promises: everything a dialect may hold is read here, once, and what is wrong with it is said by the
same code that the manifest is checked with. Never judges a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from drivebay._core.limits import COMMAND_KEYS, LANGUAGES, SETTING_KEYS
from drivebay._core.limits.headers import Header, parse_header
from drivebay._core.limits.values import Expected, Unit, expected, unit_of

Kind = Literal["energise", "off", "harmless", "recall", "select", "level", "clamp", "mode"]
Form = Literal["command", "question", "both"]

# What IEEE 488.2 and SCPI-99 say of every instrument, so that no manifest has to.
_HARMLESS = (
    "*CLS", "*ESE", "*OPC", "*PSC", "*RST", "*SAV", "*SRE", "*WAI", ":ABORt", ":STATus:*",
)  # fmt: skip
# Saved setups, macros and stored triggers: what they set is not in the message.
_RECALL = ("*RCL", "*DDT", "*DMC", "*EMC", "*RDT")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a level or a clamp sets.

    Attributes:
        quantity: as in the limits.
        unit: in what unit the instrument takes it.
        named: values of MINimum, MAXimum and DEFault where the dialect gives them.
        first: commands that are refused until this was set; True for all that energise.
        when: it counts only while each of these was not followed by another choice.
    """

    quantity: str
    unit: Unit
    named: Mapping[str, float]
    first: bool | frozenset[str]
    when: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the dialect.

    Attributes:
        kind: what the command does.
        text: as the dialect spells it.
        header: whose spellings it is.
        form: whether it is the command, the question or both.
        parameter: what must follow, None for anything.
        setting: for a level or a clamp.
        built_in: whether it is the standard's and stands in no manifest.
    """

    kind: Kind
    text: str
    header: Header
    form: Form
    parameter: Expected | None = None
    setting: Setting | None = None
    built_in: bool = False


def language_of(dialect: Mapping[str, Any]) -> str:
    """The language the commands are in, in small letters; SCPI if it is not said."""
    return str(dialect.get("language") or "scpi").lower()


def rules_of(dialect: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Every rule of a dialect in SCPI, and those that hold for all.

    Raises:
        ValueError: it has faults; the text says the first.
    """
    faults = list(faults_of(dialect))
    if faults:
        raise ValueError("dialect " + ": ".join((".".join(faults[0][0]), faults[0][1])))
    rules = [
        command_rule(kind, text, built_in=True)
        for kind, texts in (("harmless", _HARMLESS), ("recall", _RECALL))
        for text in texts
    ]
    for key in COMMAND_KEYS:
        rules += [command_rule(key, text) for text in commands_of(dialect, key)]
    for key, kind in (("levels", "level"), ("clamps", "clamp")):
        for text, given in (dialect.get(key) or {}).items():
            rules += _setting_rules(kind, text, given)
    return tuple(rules)


def commands_of(dialect: Mapping[str, Any], key: str) -> list[str]:
    """The commands of one key; one text counts as a list of one."""
    value = dialect.get(key) or []
    return [value] if isinstance(value, str) else list(value)


def command_rule(kind: str, text: str, *, built_in: bool = False) -> Rule:
    """A rule out of a command as a dialect writes it.

    ``:OUTP ON`` is that command only, ``:READ?`` that question. ``:INIT`` is the command, and the
    question as well where it is about energising.

    Raises:
        ValueError: it is no command.
    """
    head, _, tail = text.strip().partition(" ")
    form: Form = "both" if kind == "energise" and not tail else "command"
    if head.endswith("?"):
        form = "question"
    header = parse_header(head.removesuffix("?"))
    parameter = expected(tail.strip()) if tail else None
    return Rule(_KINDS[kind], text, header, form, parameter, None, built_in)


_KINDS: dict[str, Kind] = {
    "energise": "energise", "off": "off", "harmless": "harmless", "recall": "recall",
    "select": "select",
    "level": "level", "clamp": "clamp", "mode": "mode",
}  # fmt: skip


def _setting_rules(kind: str, text: str, given: Mapping[str, Any]) -> Iterator[Rule]:
    setting = _setting(kind, given)
    yield Rule(_KINDS[kind], text, parse_header(text), "command", None, setting)
    for each in setting.when:
        yield command_rule("mode", each)


def _setting(kind: str, given: Mapping[str, Any]) -> Setting:
    names = {"MIN": "minimum", "MAX": "maximum", "DEF": "default"}
    named = {word: float(given[key]) for word, key in names.items() if given.get(key) is not None}
    first = given.get("first")
    if first is None:
        first = kind == "clamp"
    elif not isinstance(first, bool):
        first = frozenset([first] if isinstance(first, str) else first)
    when = given.get("when") or ()
    return Setting(
        str(given["quantity"]),
        unit_of(str(given["quantity"]), given.get("unit")),
        named,
        first,
        (when,) if isinstance(when, str) else tuple(when),
    )


# -- what is wrong with a dialect -----------------------------------------------------------------

Fault = tuple[tuple[str, ...], str]


def faults_of(dialect: Mapping[str, Any]) -> Iterator[Fault]:
    """Everything that keeps limits from being read off a dialect: where, and what.

    Shapes (lists, mappings, texts) are the manifest's to check; what is not of the right shape is
    passed over here.
    """
    if language_of(dialect) not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        yield ("language",), f"language {language_of(dialect)[:20]!r} is not one of {known}"
        return
    if language_of(dialect) != "scpi":
        return
    for key in COMMAND_KEYS:
        for command in commands_of(dialect, key):
            if isinstance(command, str):
                yield from _faults((key,), partial(command_rule, key, command))
    for key in SETTING_KEYS:
        settings = dialect.get(key)
        for header, given in settings.items() if isinstance(settings, Mapping) else ():
            if isinstance(given, Mapping):
                yield from _setting_faults(dialect, key, str(header), given)


def _setting_faults(
    dialect: Mapping[str, Any], key: str, header: str, given: Mapping[str, Any]
) -> Iterator[Fault]:
    here = (key, header)
    yield from _faults(here, partial(parse_header, header))
    unit, quantity = given.get("unit"), given.get("quantity")
    if isinstance(quantity, str) and isinstance(unit, str):
        yield from _faults((*here, "unit"), partial(unit_of, quantity, unit))
    for name in ("when", "first"):
        value = given.get(name)
        texts: Sequence[Any] = [value] if isinstance(value, str) else value or ()
        if isinstance(texts, bool):
            texts = ()
        for text in texts:
            yield from _faults((*here, name), partial(command_rule, "mode", str(text)))
            if name == "first" and text not in commands_of(dialect, "energise"):
                yield (*here, name), f"first {str(text)[:40]!r} is not one of the energise commands"
            if name == "when" and " " not in str(text).strip():
                yield (*here, name), f"when {str(text)[:40]!r} has no parameter to tell it by"


def _faults(where: tuple[str, ...], read: Callable[[], object]) -> Iterator[Fault]:
    try:
        read()
    except ValueError as error:
        yield where, str(error)
