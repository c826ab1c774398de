"""What a picture says of its runs: the instrument, the conditions, and what differs between them.

Promises: plain text from what a run has, whatever it lacks; a legend names what differs and nothing
that is the same, and no two of its entries are alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drivebay.plotting.numbers import engineering, words

_UNITS = {"v": "V", "a": "A", "s": "s", "hz": "Hz", "ohm": "ohm", "f": "F", "k": "K", "w": "W"}
_MOST_FACTS = 3  # a legend is read at a glance
_MOST_TEXT = 40
_OTHERWISE = {"up_and_down": "one way", "four_wire": "two wires"}


def instrument(identity: object) -> str:
    """Return maker, model and serial number as on a label.

    >>> instrument({"manufacturer": "KEITHLEY INSTRUMENTS INC.", "model": "MODEL 2400"})
    'Keithley 2400'
    >>> instrument({"manufacturer": "Keysight Technologies", "model": "E4980A", "serial": "MY1"})
    'Keysight E4980A (no. MY1)'
    """
    if not isinstance(identity, Mapping):
        return str(identity or "")
    parts = [str(identity.get(key) or "") for key in ("manufacturer", "model")]
    serial = identity.get("serial") or identity.get("serial_number")
    maker = parts[0].title() if parts[0].isupper() and len(parts[0]) > 4 else parts[0]
    for rest in (" Instruments Inc.", " Instruments", " Technologies"):
        maker = maker.removesuffix(rest)
    name = " ".join(part for part in (maker, re.sub("(?i)^model ", "", parts[1])) if part)
    return f"{name} (no. {serial})" if serial and name else name


def instruments(run: object) -> str:
    """Return the label of what measured; of two that measured together both, of one kind once."""
    about = getattr(run, "provenance", None)
    together = about.get("instruments") if isinstance(about, Mapping) else None
    if not isinstance(together, Mapping) or len(together) < 2:
        return instrument(getattr(run, "identity", None))
    identities = [each.get("identity") for each in together.values() if isinstance(each, Mapping)]
    kinds = {instrument({**each, "serial": ""}) for each in identities if isinstance(each, Mapping)}
    return " and ".join(kinds) if len(kinds) > 1 else f"two {kinds.pop()}" if kinds else ""


def when(run: object) -> str:
    """Return when a run began, to the second, without the zone; empty where it does not say."""
    return str(getattr(run, "started_at", "") or "")[:19].replace("T", " ")


def plugin(run: object) -> str:
    """Return the name and version of the plugin that measured."""
    about = getattr(run, "plugin", None) or {}
    return f"{about.get('name') or ''} {about.get('version') or ''}".strip()


def conditions(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Say under which conditions it was measured."""
    if isinstance(limit := parameters.get("compliance_a"), int | float):
        yield f"compliance {engineering(limit, 'A')}"
    if isinstance(limit := parameters.get("compliance_v"), int | float):
        yield f"compliance {engineering(limit, 'V')}"
    if isinstance(hertz := parameters.get("frequency_hz"), int | float):
        yield engineering(hertz, "Hz")
    if isinstance(nplc := parameters.get("nplc"), int | float):
        yield f"{nplc:g} PLC"


def unit_of(name: str) -> str:
    """Return the unit that a name ends with, empty where it ends with none.

    >>> unit_of("stop_v"), unit_of("sample_rate_hz"), unit_of("points"), unit_of("v")
    ('V', 'Hz', '', '')
    """
    return _UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""


def parameter(name: str, value: Any) -> str:
    """Return a parameter as a person says it.

    >>> parameter("compliance_a", 0.01), parameter("four_wire", True), parameter("points", 5)
    ('compliance 10 mA', 'four wire', 'points 5')
    >>> parameter("up_and_down", False)
    'one way'
    """
    unit = unit_of(name)
    text = words(name, unit).lower()
    if isinstance(value, bool):
        return text if value else _OTHERWISE.get(name, f"no {text}")
    said = engineering(value, unit) if isinstance(value, int | float) else str(value)
    return f"{text} {said}"[:_MOST_TEXT]


def differences(runs: Sequence[object]) -> list[str]:
    """Return a name for each run, made of what differs between them.

    Facts come in the order in which a person would look for the reason of a difference. Runs that
    differ in nothing else are told apart by when they began, then by their ids.
    """
    known = [dict(_facts(run)) for run in runs]
    keys = [key for key in dict.fromkeys(key for facts in known for key in facts) if key != "tags"]
    telling = [key for key in [*keys, "tags"] if len({facts.get(key, "") for facts in known}) > 1]
    telling = telling[:_MOST_FACTS]
    names = [", ".join(filter(None, (facts.get(key, "") for key in telling))) for facts in known]
    for more in (when, lambda run: str(getattr(run, "id", ""))):
        names = _refined(names, [more(run) for run in runs])
    return [
        name if name and names.count(name) == 1 else f"{name} (run {at})" if name else f"run {at}"
        for at, name in enumerate(names, 1)
    ]


def _refined(names: Sequence[str], more: Sequence[str]) -> list[str]:
    """Add a fact to names that are alike, where it tells them apart."""
    kinds: dict[str, set[str]] = {}
    for name, add in zip(names, more, strict=True):
        kinds.setdefault(name, set()).add(add)
    return [
        ", ".join(filter(None, (name, add))) if len(kinds[name]) > 1 else name
        for name, add in zip(names, more, strict=True)
    ]


def _facts(run: object) -> Iterator[tuple[str, str]]:
    for name, value in (getattr(run, "parameters", None) or {}).items():
        if value is not None:
            yield f"parameter {name}", parameter(name, value)
    yield "alias", str(getattr(run, "alias", "") or "")
    yield "instrument", instrument(getattr(run, "identity", None))
    yield "plugin", plugin(run)
    yield "code", str((getattr(run, "plugin", None) or {}).get("sha256") or "")[:8]
    state = str(getattr(run, "state", "done"))
    yield "state", "" if state == "done" else state
    yield "method", str(getattr(run, "method", "") or "").replace("_", " ")
    yield "tags", " ".join(f"#{tag}" for tag in getattr(run, "tags", None) or ())
