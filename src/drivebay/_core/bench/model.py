"""The bench file, the model: a bench and its instruments as frozen, checked data.

Whoever holds a :class:`Bench` may rely on every rule of the file. Everything a channel inherits
from its instrument stands in the channel. Nothing here reads a file or knows where a value stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from drivebay._core.errors import Diagnostic, ResourceError
from drivebay._core.index import Identity, normal_maker, normal_model, parse_idn
from drivebay._core.links import parse_resource

Policy = Literal["off", "hold", "ramp_off"]
Limits = Mapping[str, tuple[float, float]]

POLICIES: Final[Mapping[Policy, str]] = MappingProxyType(
    {
        "off": "the output is switched off at once",
        "hold": "the output stays as it is; needs `policy_reason`",
        "ramp_off": "the level goes to zero at the rate of `ramp`, then the output is switched off",
    }
)
"""What becomes of an output when a measurement is over or its program has died."""

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BenchRamp:
    """How a level goes to zero before its output is switched off.

    Attributes:
        rate_v_per_s: for a voltage source, in volts a second.
        rate_a_per_s: for a current source, in amperes a second.
        max_s: after so many seconds the output is switched off wherever the level is.
    """

    rate_v_per_s: float | None = None
    rate_a_per_s: float | None = None
    max_s: float = 10.0

    def seconds_from(self, limits: Limits) -> float:
        """How long the way to zero takes from the furthest level that the limits allow."""
        rates = {"voltage_v": self.rate_v_per_s, "current_a": self.rate_a_per_s}
        return max(
            (
                max(map(abs, limits[quantity])) / rate
                for quantity, rate in rates.items()
                if rate is not None and quantity in limits
            ),
            default=0.0,
        )


@dataclass(frozen=True, slots=True)
class BenchChannel:
    """What holds for one channel, with all that it inherits from its instrument.

    Attributes:
        limits: quantity such as ``voltage_v`` -> lowest and highest, in the unit of its name.
        policy: ``off``, ``hold`` or ``ramp_off``.
        policy_reason: why the output may stay on; always there with ``hold``.
        ramp: always there with ``ramp_off``.
    """

    limits: Limits = field(default_factory=lambda: _NONE)
    policy: Policy = "off"
    policy_reason: str | None = None
    ramp: BenchRamp | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it would stand in a bench file."""
        return _outcome(self)


@dataclass(frozen=True, slots=True)
class BenchInstrument:
    """One instrument of a bench; what its file does not say is None or empty.

    Attributes:
        alias: what it is called on this bench.
        resource: its address in canonical spelling.
        plugin: the driver to use, whatever the instrument answers.
        config: for the driver.
        identity: what it must answer to ``*IDN?``; parts that are not pinned are empty.
        visa_library: as ``open_link`` takes it, like the next two.
        baud_rate: of a serial line, in bits a second.
        terminator: of a serial line.
        limits: quantity such as ``voltage_v`` -> lowest and highest, in the unit of its name;
            they hold for every channel.
        channels: what is said of single channels, by name.
        policy: ``off``, ``hold`` or ``ramp_off``; of every channel that has none of its own.
        policy_reason: why the output may stay on; always there with ``hold``.
        ramp: always there with ``ramp_off``.
        safe_state: replaces the one of the plugin's manifest.
    """

    alias: str
    resource: str
    plugin: str | None = None
    config: Mapping[str, Any] | None = None
    identity: Identity | None = None
    visa_library: str | None = None
    baud_rate: int | None = None
    terminator: str | None = None
    limits: Limits = field(default_factory=lambda: _NONE)
    channels: Mapping[str, BenchChannel] = field(default_factory=lambda: _NONE)
    policy: Policy = "off"
    policy_reason: str | None = None
    ramp: BenchRamp | None = None
    safe_state: Mapping[str, Any] | None = None

    def channel(self, name: str) -> BenchChannel:
        """What holds for a channel, also for one of which the file says nothing."""
        whole = BenchChannel(self.limits, self.policy, self.policy_reason, self.ramp)
        return self.channels.get(name, whole)

    @property
    def link_options(self) -> dict[str, Any]:
        """Keyword arguments for ``open_link``: only those the file sets."""
        found = {key: getattr(self, key) for key in ("visa_library", "baud_rate", "terminator")}
        return {key: value for key, value in found.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """As it would stand in a bench file; only what is set, and fresh copies."""
        pinned = self.identity.to_dict() if self.identity else {}
        found: dict[str, Any] = {
            "resource": self.resource,
            "plugin": self.plugin,
            "config": _thawed(self.config),
            "identity": {key: text for key, text in pinned.items() if text} or None,
            **self.link_options,
            **_outcome(self),
            "channels": {name: each.to_dict() for name, each in self.channels.items()} or None,
            "safe_state": _thawed(self.safe_state),
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench as its file describes it.

    Attributes:
        name: of the bench; empty if the file gives none.
        path: the file.
        instruments: by alias, in the order of the file.
        safe_order: every alias, in the order in which the instruments are made safe.
        warnings: what is odd about the file and keeps nothing from working.
    """

    name: str
    path: Path
    instruments: Mapping[str, BenchInstrument]
    safe_order: tuple[str, ...]
    warnings: tuple[Diagnostic, ...] = ()

    def alias_of(self, resource: str) -> str | None:
        """The alias of an address in any spelling; None if the bench does not name it."""
        try:
            wanted = parse_resource(resource).text
        except ResourceError:
            return None
        return next((a for a, each in self.instruments.items() if each.resource == wanted), None)

    def entry_of(self, instrument: str) -> BenchInstrument | None:
        """What the file says of an instrument, by its alias or its address; None if nothing."""
        alias = instrument if instrument in self.instruments else self.alias_of(instrument)
        return self.instruments[alias] if alias is not None else None

    def setup_of(self, entry: BenchInstrument) -> dict[str, Any]:
        """What the bench adds to the manifest of an instrument, as a session takes it."""
        resources = {alias: each.resource for alias, each in self.instruments.items()}
        return {
            "limits": dict(entry.limits),
            "channels": {name: dict(each.limits) for name, each in entry.channels.items()},
            "policy": entry.policy,
            "ramp": asdict(entry.ramp) if entry.ramp is not None else {},
            "safe_state": entry.safe_state,
            "order": [resources[alias] for alias in self.safe_order],
            "source": f"{self.path} ({entry.alias})",
        }

    def to_dict(self) -> dict[str, Any]:
        """As it would stand in a bench file: written as YAML, it loads as the same bench."""
        found: dict[str, Any] = {"bench": self.name} if self.name else {}
        found["instruments"] = {a: each.to_dict() for a, each in self.instruments.items()}
        found["safe_order"] = list(self.safe_order)
        return found

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """The JSON Schema (2020-12) of a bench file, for editors; fresh plain data."""
        from drivebay._core.bench.read import bench_schema

        return bench_schema()


def identity_problem(pinned: Identity | None, idn: str) -> str | None:
    """Why an instrument is not the one that is pinned, or None if it may be.

    Case and blanks do not matter. The model may be printed with or without ``MODEL``, a maker
    under its older or longer name, and the firmware with its date and boards behind it.

    Args:
        pinned: from a :class:`BenchInstrument`; None, or a part that is empty, agrees with all.
        idn: the instrument's answer to ``*IDN?``.

    >>> wanted = Identity("KEITHLEY", "2400", "1234567", "C30")
    >>> identity_problem(wanted, "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30  Mar 17 2006")
    >>> identity_problem(wanted, "KEITHLEY INSTRUMENTS INC.,MODEL 2400,7654321,C30")
    "serial is '7654321', pinned is '1234567'; it answers \
'KEITHLEY INSTRUMENTS INC.,MODEL 2400,7654321,C30', pinned is 'KEITHLEY,2400,1234567,C30'"
    """
    if pinned is None:
        return None
    found = parse_idn(idn)
    wrong = [
        f"{part} is {getattr(found, part)!r}, pinned is {wanted!r}"
        for part, wanted in pinned.to_dict().items()
        if wanted and not _AGREE[part](wanted, getattr(found, part))
    ]
    if not wrong:
        return None
    wanted_text = ",".join(part or "*" for part in pinned)
    return f"{', '.join(wrong)}; it answers {idn.strip()[:200]!r}, pinned is {wanted_text!r}"


def _same_text(wanted: str, found: str) -> bool:
    return _folded(wanted) == _folded(found)


def _begins_with_words(wanted: str, found: str) -> bool:
    head, text = _folded(wanted), _folded(found)
    return text.startswith(head) and not text[len(head) : len(head) + 1].isalnum()


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


_AGREE: Final = {
    "manufacturer": lambda wanted, found: normal_maker(wanted) == normal_maker(found),
    "model": lambda wanted, found: normal_model(wanted) == normal_model(found),
    "serial": _same_text,
    "firmware": _begins_with_words,
}


def _outcome(of: BenchInstrument | BenchChannel) -> dict[str, Any]:
    """Limits and policy as they would stand in a bench file."""
    found: dict[str, Any] = {}
    if of.limits:
        found["limits"] = {quantity: list(pair) for quantity, pair in of.limits.items()}
    found["policy"] = of.policy
    if of.policy_reason is not None:
        found["policy_reason"] = of.policy_reason
    if of.ramp is not None:
        found["ramp"] = {
            key: getattr(of.ramp, key)
            for key in ("rate_v_per_s", "rate_a_per_s", "max_s")
            if getattr(of.ramp, key) is not None
        }
    return found


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_thawed(item) for item in value]
    return value
