"""Circuit files: which instruments and devices a virtual bench has, and what is wired to what.

Promises: a file that can be read gives a whole circuit; everything wrong with it is said at once,
by name. Never starts an instrument.

The format is described in ``docs/reference/simulator.md``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from drivebay.sim.circuit import (
    Capacitor,
    Circuit,
    Component,
    Inductor,
    MosCapacitor,
    Mosfet,
    Part,
    Plain,
    SeriesRC,
    Socket,
    SolarCell,
    Varactor,
    Zener,
)
from drivebay.sim.devices import Device, Diode, Resistor
from drivebay.sim.registry import Kind, kind_named

PACKAGED = Path(__file__).with_name("virtual_bench.yaml")
DEVICE_KINDS: dict[str, type[Device] | type[Component]] = {
    "resistor": Resistor,
    "diode": Diode,
    "zener": Zener,
    "solar_cell": SolarCell,
    "varactor": Varactor,
    "mosfet": Mosfet,
    "mos_capacitor": MosCapacitor,
    "capacitor": Capacitor,
    "rc": SeriesRC,
    "inductor": Inductor,
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_INSTRUMENT_KEYS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "model": str,
    "tcp_port": int,
    "serial_number": str,
    "line_frequency_hz": (int, float),
    "seed": int,
    "noise": (int, float),
    "interlock_closed": bool,
    "single_connection": bool,
    "ports": dict,
}


class CircuitFileError(ValueError):
    """A circuit file cannot be used.

    Attributes:
        path: of the file.
        problems: everything that is wrong with it.
    """

    def __init__(self, path: str, problems: Sequence[str]) -> None:
        super().__init__(f"{path}: " + "; ".join(problems))
        self.path = path
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class InstrumentEntry:
    """One instrument of a circuit file.

    Attributes:
        name: its alias.
        kind: of the simulator.
        tcp_port: where it listens; 0 for a free port.
        single_connection: whether a second connection is refused.
        ports: the kind's port name to the circuit's.
        settings: what else is said, as in ``registry.Options``.
    """

    name: str
    kind: Kind
    tcp_port: int
    single_connection: bool
    ports: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CircuitFile:
    """What a circuit file says.

    Attributes:
        name: of the bench.
        instruments: in the order of the file.
        parts: the devices.
        sockets: the ports.
    """

    name: str
    instruments: tuple[InstrumentEntry, ...]
    parts: tuple[Part, ...]
    sockets: tuple[Socket, ...]

    def circuit(self, time_scale: float = 1.0) -> Circuit:
        """A circuit of its own, with everything off."""
        return Circuit(self.parts, self.sockets, time_scale=time_scale)


def read_circuit(path: str | Path = PACKAGED) -> CircuitFile:
    """What a circuit file says.

    Raises:
        CircuitFileError: it cannot be read, or something in it is wrong.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CircuitFileError(str(path), [" ".join(str(error).split())]) from error
    return parse_circuit(data, str(path))


def parse_circuit(data: object, path: str = "circuit") -> CircuitFile:
    """What the data of a circuit file says.

    Args:
        data: as a YAML reader gives it.
        path: for messages.

    Raises:
        CircuitFileError: something in it is wrong.
    """
    problems: list[str] = []
    if not isinstance(data, dict):
        raise CircuitFileError(path, ["expected the keys circuit, instruments, devices"])
    if unknown := [str(key) for key in data if key not in {"circuit", "instruments", "devices"}]:
        problems.append(f"unknown key {unknown[0]!r}; keys: circuit, instruments, devices")
    instruments: list[InstrumentEntry] = []
    sockets: list[Socket] = []
    for name, said in _entries(data, "instruments", problems):
        try:
            entry, its = _instrument(name, said)
        except ValueError as error:
            problems.append(f"instrument {name}: {error}")
        else:
            instruments.append(entry)
            sockets += its
    parts: list[Part] = []
    for name, said in _entries(data, "devices", problems):
        try:
            parts.append(_part(name, said))
        except (ValueError, TypeError) as error:
            problems.append(f"device {name}: {error}")
    problems += _shared_ports(instruments)
    if problems:
        raise CircuitFileError(path, problems)
    name = str(data.get("circuit", "virtual bench"))
    return CircuitFile(name, tuple(instruments), tuple(parts), tuple(sockets))


def _entries(
    data: Mapping[str, Any], section: str, problems: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    entries = data.get(section) or {}
    if not isinstance(entries, dict):
        problems.append(f"{section}: expected names and what they are")
        return
    for name, said in entries.items():
        if not _NAME.match(str(name)):
            problems.append(
                f"{section}: {name!r} is no name: a lower-case letter, then at most 31 lower-case "
                "letters, digits or _"
            )
        elif not isinstance(said, dict):
            problems.append(f"{section}: {name}: expected keys, got {said!r}")
        else:
            yield str(name), said


def _instrument(name: str, said: dict[str, Any]) -> tuple[InstrumentEntry, list[Socket]]:
    for key, value in said.items():
        if key not in _INSTRUMENT_KEYS:
            raise ValueError(f"unknown key {key!r}; keys: {', '.join(_INSTRUMENT_KEYS)}")
        if not isinstance(value, _INSTRUMENT_KEYS[key]):
            raise ValueError(f"{key}: wrong type of value: {value!r}")  # noqa: TRY004
    kind = kind_named(said.get("kind", ""))
    sockets = []
    for port, nodes in said.get("ports", {}).items():
        if port not in kind.ports:
            raise ValueError(f"no port {port!r}; ports: {', '.join(kind.ports)}")
        sockets.append(_socket(f"{name}.{port}", nodes))
    own = {"kind", "tcp_port", "single_connection", "ports"}
    entry = InstrumentEntry(
        name,
        kind,
        said.get("tcp_port", 0),
        said.get("single_connection", False),
        {port: f"{name}.{port}" for port in said.get("ports", {})},
        {key: value for key, value in said.items() if key not in own},
    )
    return entry, sockets


def _socket(name: str, nodes: object) -> Socket:
    if not (isinstance(nodes, list) and len(nodes) in {2, 4}):
        raise ValueError(
            f"{name}: expected the nodes [high, low] or [high, low, sense high, sense low], "
            f"got {nodes!r}"
        )
    high, low, *sense = [str(node) for node in nodes]
    sense_high, sense_low = sense or (high, low)
    if high == low:
        raise ValueError(f"{name}: both terminals are on node {high!r}")
    return Socket(name, high, low, sense_high, sense_low)


def _part(name: str, said: dict[str, Any]) -> Part:
    values = dict(said)
    kind, nodes = str(values.pop("kind", "")), values.pop("nodes", None)
    if kind not in DEVICE_KINDS:
        raise ValueError(f"no kind {kind!r}; kinds: {', '.join(DEVICE_KINDS)}")
    made = DEVICE_KINDS[kind]
    known = [each.name for each in dataclasses.fields(made) if each.init]  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"unknown key {key!r}; keys: kind, nodes, {', '.join(known)}")
        if not isinstance(value, (int, float)):
            raise ValueError(f"{key}: expected a number, got {value!r}")  # noqa: TRY004
    law = made(**values)
    component = Plain(law) if isinstance(law, Device) else law
    return Part(name, component, _nodes(component, nodes))


def _nodes(component: Component, nodes: object) -> tuple[str, ...]:
    """Nodes as a list in the order of the terminals, or by terminal name."""
    terminals = component.terminals
    if isinstance(nodes, dict) and set(nodes) == set(terminals):
        return tuple(str(nodes[terminal]) for terminal in terminals)
    if isinstance(nodes, list) and len(nodes) == len(terminals):
        return tuple(str(node) for node in nodes)
    raise ValueError(f"nodes: expected one for each of {', '.join(terminals)}, got {nodes!r}")


def _shared_ports(instruments: Sequence[InstrumentEntry]) -> list[str]:
    taken: dict[int, str] = {}
    problems = []
    for entry in instruments:
        other = taken.setdefault(entry.tcp_port, entry.name) if entry.tcp_port else entry.name
        if other != entry.name:
            problems.append(f"instrument {entry.name}: port {entry.tcp_port} is {other}'s")
    return problems
