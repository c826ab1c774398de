"""The bench file, the check: plain values -> Bench, once everything in it agrees.

Each key is checked by its table; here stands what must hold between keys, between channels and
their instrument, and between instruments. All problems are collected, and a bench is built only
when none of them is an error: there is no half of a bench.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from drivebay._core.bench.keys import BENCH, INSTRUMENT, NEEDED_OF_INSTRUMENT
from drivebay._core.bench.model import (
    POLICIES,
    Bench,
    BenchChannel,
    BenchInstrument,
    BenchRamp,
    Limits,
    Policy,
)
from drivebay._core.bench.values import LEVELS, TERMINATORS, alias_fault, canonical
from drivebay._core.errors import nearest
from drivebay._core.index import Identity
from drivebay._core.links import parse_resource
from drivebay._core.manifest.fields import MAX_HINTS, check_keys
from drivebay._core.manifest.grammar import clip, kind_of
from drivebay._core.manifest.metadata import SealedDict, seal
from drivebay._core.manifest.text import Problem, Where, under

_INHERITED: Final = ("policy", "policy_reason", "ramp")


def check_bench(raw: Mapping[str, Any], path: Path, problems: list[Problem]) -> Bench | None:
    """The bench in plain values, None if there is an error among the problems.

    Args:
        raw: key to plain value; text everywhere but in ``config``.
        path: the file.
        problems: filled with everything that is wrong or odd.
    """
    values, _ = check_keys(raw, BENCH, problems, (), blanks=False)
    parts = _instruments(values.get("instruments", {}), problems)
    order = values.get("safe_order", [])
    _check_order(raw.get("safe_order"), order, values.get("instruments", {}), problems)
    if any(each.severity == "error" for each in problems):
        return None
    return Bench(
        name=values.get("bench", ""),
        path=path,
        instruments=SealedDict({alias: _instrument(alias, part) for alias, part in parts.items()}),
        safe_order=(*order, *(alias for alias in parts if alias not in order)),
    )


def _instruments(value: Mapping[str, Any], problems: list[Problem]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for alias, part in value.items():
        where: Where = ("instruments", alias)
        if fault := alias_fault(alias):
            problems.append(Problem("B101", fault, where, on_key=True))
        found: list[Problem] = []
        if isinstance(part, dict):
            result[alias], _ = check_keys(
                part, INSTRUMENT, found, NEEDED_OF_INSTRUMENT, blanks=False
            )
            _check_instrument(result[alias], found)
        else:
            message = f"must be a mapping with its resource, found {kind_of(part)}"
            found.append(Problem("M006", message))
        problems += under(found, where, _called(alias))
    _check_resources(result, problems)
    return result


def _check_resources(parts: Mapping[str, Mapping[str, Any]], problems: list[Problem]) -> None:
    """Two names for one instrument would be two sets of limits for it."""
    first: dict[str, str] = {}
    for alias, part in parts.items():
        address = canonical(part.get("resource"))
        if address is None:
            continue
        if address in first:
            message = f"{_called(alias)}: {address} is the resource of {first[address]!r} already"
            problems.append(Problem("B103", message, ("instruments", alias, "resource")))
        first.setdefault(address, alias)


def _called(alias: str) -> str:
    """An alias in a message; what is none is quoted and cut."""
    return clip(alias, 32) if alias_fault(alias) else alias


def _check_order(
    raw: Any, order: list[str], instruments: Mapping[str, Any], problems: list[Problem]
) -> None:
    for alias in order:
        if alias in instruments:
            continue
        where: Where = ("safe_order",)
        if isinstance(raw, list):
            where = ("safe_order", raw.index(alias))
        close = nearest(alias[:64], instruments) if len(problems) < MAX_HINTS else ""
        hint = close or f" (there are: {', '.join(list(instruments)[:20]) or 'none'})"
        message = f"safe_order names {clip(alias)}, which is no instrument of this bench{hint}"
        problems.append(Problem("B111", message, where))


def _check_instrument(part: dict[str, Any], found: list[Problem]) -> None:
    """What must hold within one instrument, its channels included."""
    _check_link(part, found)
    _check_outcome(part, part, {}, found)
    limits: Limits = part.get("limits") or {}
    unseen = limits if part.get("policy") == "hold" else {}
    for name, own in (part.get("channels") or {}).items():
        inside: list[Problem] = []
        _check_narrower(own.get("limits") or {}, limits, inside)
        whole = {**part, **own, "limits": {**limits, **(own.get("limits") or {})}}
        _check_outcome(own, whole, unseen, inside)
        found += under(inside, ("channels", name), f"channel {clip(name, 32)}")


def _check_link(part: Mapping[str, Any], found: list[Problem]) -> None:
    address = canonical(part.get("resource"))
    if address is None or parse_resource(address).interface == "serial":
        return
    for key in ("baud_rate", "terminator"):
        if key in part:
            message = f"{key} is for serial lines and changes nothing on {address}"
            found.append(Problem("B109", message, (key,), on_key=True, severity="warning"))


def _check_narrower(own: Limits, limits: Limits, found: list[Problem]) -> None:
    for quantity, (low, high) in own.items():
        lowest, highest = limits.get(quantity, (low, high))
        if low < lowest or high > highest:
            message = (
                f"{quantity} {low:g}..{high:g} is wider than the instrument's "
                f"{lowest:g}..{highest:g}, which holds for every channel"
            )
            found.append(Problem("B113", message, ("limits", quantity)))


def _check_outcome(
    own: Mapping[str, Any], whole: Mapping[str, Any], unseen: Limits, found: list[Problem]
) -> None:
    """What policy, reason, ramp and limits must agree on.

    Args:
        own: what is said of the instrument, or of the channel.
        whole: that with what the channel inherits.
        unseen: inherited limits that need not reach zero for the instrument itself.
        found: filled with problems.
    """
    policy = whole.get("policy", "off")
    if not isinstance(policy, str) or policy not in POLICIES:
        return  # said already, and what else would be wrong with it depends on what was meant
    said: Where = ("policy",) if "policy" in own else ()
    if any(key in own for key in _INHERITED) or own is whole:
        _check_policy(policy, own, whole, said, found)
    if policy == "hold":
        return
    own_limits = own.get("limits") or {}
    for quantity, (low, high) in (whole.get("limits") or {}).items():
        if quantity not in LEVELS or low <= 0 <= high:
            continue
        if quantity not in own_limits and quantity not in unseen:
            continue  # said of the instrument
        message = (
            f"{quantity} {low:g}..{high:g} leaves out 0, where policy {policy!r} takes the output; "
            "widen it, or hold the output (policy: hold, with policy_reason)"
        )
        where: Where = ("limits", quantity) if quantity in own_limits else said
        found.append(Problem("B112", message, where))


def _check_policy(
    policy: str, own: Mapping[str, Any], whole: Mapping[str, Any], said: Where, found: list[Problem]
) -> None:
    if policy == "hold" and "policy_reason" not in whole:
        message = "policy 'hold' leaves an output on and needs policy_reason, which says why"
        found.append(Problem("B105", message, said))
    if policy == "ramp_off" and "ramp" not in whole:
        message = "policy 'ramp_off' needs ramp, for example {rate_v_per_s: 5, max_s: 10}"
        found.append(Problem("B106", message, said))
    if policy != "ramp_off" and "ramp" in own:
        message = f"ramp does nothing with policy {policy!r}; it is for 'ramp_off'"
        found.append(Problem("B106", message, ("ramp",), on_key=True))
    ramp = whole.get("ramp")
    if policy == "ramp_off" and isinstance(ramp, BenchRamp):
        _check_ramp_time(ramp, whole.get("limits") or {}, "ramp" in own, found)


def _check_ramp_time(ramp: BenchRamp, limits: Limits, is_own: bool, found: list[Problem]) -> None:
    seconds = ramp.seconds_from(limits)
    if seconds > ramp.max_s:
        message = (
            f"the way to zero may take {seconds:.4g} s at that rate; after max_s, {ramp.max_s:g} s,"
            " the output is switched off wherever the level is"
        )
        where: Where = ("ramp",) if is_own else ()
        found.append(Problem("B115", message, where, on_key=True, severity="warning"))


def _instrument(alias: str, part: Mapping[str, Any]) -> BenchInstrument:
    baud, terminator = part.get("baud_rate"), part.get("terminator")
    pinned = part.get("identity")
    return BenchInstrument(
        alias=alias,
        resource=parse_resource(part["resource"]).text,
        plugin=part.get("plugin"),
        config=seal(part.get("config")),
        identity=Identity(**{**dict.fromkeys(Identity._fields, ""), **pinned}) if pinned else None,
        visa_library=part.get("visa_library"),
        baud_rate=int(baud) if baud is not None else None,
        terminator=TERMINATORS[terminator] if terminator is not None else None,
        limits=SealedDict(part.get("limits") or {}),
        channels=SealedDict(
            {name: _channel(part, own) for name, own in (part.get("channels") or {}).items()}
        ),
        policy=part.get("policy", "off"),
        policy_reason=part.get("policy_reason"),
        ramp=part.get("ramp"),
        safe_state=seal(part.get("safe_state")),
    )


def _channel(part: Mapping[str, Any], own: Mapping[str, Any]) -> BenchChannel:
    """A channel with what it inherits; a ramp only where the policy uses it."""
    whole = {**{key: part.get(key) for key in _INHERITED}, **own}
    policy: Policy = whole["policy"] or "off"
    return BenchChannel(
        limits=SealedDict({**(part.get("limits") or {}), **(own.get("limits") or {})}),
        policy=policy,
        policy_reason=whole["policy_reason"],
        ramp=whole["ramp"] if policy == "ramp_off" else None,
    )
