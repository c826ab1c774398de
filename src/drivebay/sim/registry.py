"""Which instruments can be simulated: one entry each, and nothing imported before it is used.

Promises: a kind's module is imported only when one of it is made. Never starts anything.

A new simulator is one line in ``KINDS`` and a factory: a function that takes its ports by name and
``Options``, and returns the instrument, not yet on a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

from drivebay.sim.circuit import Circuit, Port
from drivebay.sim.devices import OpenCircuit
from drivebay.sim.eventlog import EventLog
from drivebay.sim.instrument import ScpiInstrument


@dataclass(frozen=True, slots=True)
class Options:
    """What every simulated instrument can be told; a kind ignores what it does not have.

    Attributes:
        model: a model of the kind; empty for its first.
        serial_number: in ``*IDN?``.
        line_frequency_hz: 50 or 60.
        time_scale: real seconds that one simulated second of a reading takes.
        seed: of the noise.
        noise: a factor on the noise; 0 for none.
        interlock_closed: whether its interlock allows high voltage.
        obeys_only_abort_while_busy: as the manual says; False is more patient than any instrument.
        log: where it records events.
    """

    model: str = ""
    serial_number: str = "1234567"
    line_frequency_hz: float = 50.0
    time_scale: float = 1.0
    seed: int = 2400
    noise: float = 1.0
    interlock_closed: bool = True
    obeys_only_abort_while_busy: bool = True
    log: EventLog = field(default_factory=EventLog)


class Factory(Protocol):
    """Makes one instrument of a kind."""

    def __call__(self, ports: Mapping[str, Port], options: Options) -> ScpiInstrument:
        """The instrument; ``ports`` has each of the kind's port names."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A family of instruments that one simulator stands for.

    Attributes:
        name: as commands and circuit files say it.
        factory: ``module:function``.
        models: what it can be; the first if nothing is said.
        ports: names of its ports; one that a circuit leaves out has nothing connected.
        title: for a person.
        tcp_port: where the real one listens for raw sockets.
    """

    name: str
    factory: str
    models: tuple[str, ...]
    ports: tuple[str, ...]
    title: str
    tcp_port: int = 5025

    def make(self, ports: Mapping[str, Port], options: Options) -> ScpiInstrument:
        """One instrument of this kind.

        Raises:
            ValueError: a model or a port that it does not have.
        """
        if options.model and options.model not in self.models:
            known = ", ".join(self.models)
            raise ValueError(f"{self.name} has no model {options.model!r}; models: {known}")
        if unknown := sorted(set(ports) - set(self.ports)):
            known = ", ".join(self.ports)
            raise ValueError(f"{self.name} has no port {unknown[0]!r}; ports: {known}")
        module, _, function = self.factory.partition(":")
        make: Factory = getattr(import_module(module), function)
        return make({name: ports.get(name) or unconnected() for name in self.ports}, options)


def unconnected() -> Port:
    """A port with nothing on it."""
    return Circuit.around(OpenCircuit())


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "keithley2400",
            "drivebay.sim.keithley2400.instrument:simulated",
            ("2400", "2401", "2410", "2420", "2425", "2430", "2440"),
            ("smu",),
            "Keithley 2400 family SourceMeter",
        ),
        Kind(
            "b2900",
            "drivebay.sim.b2900.instrument:simulated",
            tuple(
                f"B29{number}{version}" for version in "AB" for number in ("01", "02", "11", "12")
            ),
            ("ch1", "ch2"),
            "Keysight B2900 source/measure unit",
        ),
        Kind(
            "truevolt",
            "drivebay.sim.truevolt.instrument:simulated",
            ("34465A", "34460A", "34461A", "34470A"),
            ("input", "current"),
            "Keysight Truevolt digital multimeter",
        ),
        Kind(
            "e4980a",
            "drivebay.sim.e4980a.instrument:simulated",
            ("E4980A", "E4980A-standard", "E4980AL-032", "E4980AL-052", "E4980AL-102"),
            ("lcr",),
            "Keysight E4980A or E4980AL LCR meter",
        ),
        Kind(
            "keithley2600",
            "drivebay.sim.keithley2600.instrument:simulated",
            (
                *("2602B", "2601B", "2604B", "2611B", "2612B", "2614B", "2634B", "2635B", "2636B"),
                *("2601A", "2602A", "2611A", "2612A", "2635A", "2636A"),
            ),
            ("smua", "smub"),
            "Keithley 2600B family System SourceMeter (TSP)",
        ),
        Kind(
            "keithley2450",
            "drivebay.sim.keithley2450.instrument:simulated",
            ("2450", "2460", "2461", "2470"),
            ("smu",),
            "Keithley 2450 family SourceMeter, SCPI",
        ),
    )
}


def kind_named(name: str) -> Kind:
    """The kind of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in KINDS:
        raise ValueError(f"no simulator {name!r}; simulators: {', '.join(KINDS)}")
    return KINDS[name]
