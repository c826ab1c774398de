"""What a circuit is made of: laws between the voltages and the currents of a few terminals.

Promises: every law gives its derivative too, is continuous, and bounds its slope, so that Newton's
method finds the one solution; a component remembers nothing, the network does. Never knows of
instruments.

A component says what flows into each of its terminals (``flow``), what charge sits on each
(``store``), and what a small signal sees (``admittance_s``). Its terminals may include nodes inside
of it, which no one else can join.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivebay.sim.devices import Device

Vector = list[float]
Matrix = list[list[float]]
# A wire in a circuit: less than any contact has, and it keeps the equations solvable.
LEAST_OHM = 1e-6


class Component(ABC):
    """One device with two or more terminals."""

    terminals: tuple[str, ...] = ("a", "b")
    inner: int = 0
    stores: bool = False

    @abstractmethod
    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The static current into each terminal, in A, and its derivative by each voltage, in S."""

    def store(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The charge on each terminal, in C, and its derivative by each voltage, in F."""
        size = len(volts)
        return [0.0] * size, [[0.0] * size for _ in range(size)]

    def admittance_s(self, volts: Sequence[float], omega: float) -> list[list[complex]]:
        """The small-signal admittance at a bias and an angular frequency (rad/s)."""
        conductance = self.flow(volts)[1]
        if not self.stores:
            return [[complex(each) for each in row] for row in conductance]
        capacitance = self.store(volts)[1]
        return [
            [complex(g, omega * c) for g, c in zip(gs, cs, strict=True)]
            for gs, cs in zip(conductance, capacitance, strict=True)
        ]


def branch(value: float, slope: float) -> tuple[Vector, Matrix]:
    """One quantity that goes in at the first terminal and out at the second."""
    return [value, -value], [[slope, -slope], [-slope, slope]]


def positive(**values: float) -> None:
    """Refuses what is not a finite number > 0.

    Raises:
        ValueError: names the first such value.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and > 0, got {value!r}")


def not_negative(**values: float) -> None:
    """Refuses what is not a finite number >= 0.

    Raises:
        ValueError: names the first such value.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and >= 0, got {value!r}")


@dataclass(frozen=True)
class Plain(Component):
    """A two-terminal device without memory: resistor, diode, open circuit, wire.

    Attributes:
        device: its law.
    """

    device: Device

    def __post_init__(self) -> None:
        """Gives a law without a bounded slope (a wire, an ideal diode) the resistance of a wire."""
        if self.device.conductance_s(1e3) > 1.0 / LEAST_OHM:
            object.__setattr__(self, "device", self.device.with_leads(LEAST_OHM))

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The device's law."""
        across = volts[0] - volts[1]
        return branch(self.device.current_a(across), self.device.conductance_s(across))


@dataclass(frozen=True)
class Capacitor(Component):
    """``i = C dv/dt``, with a leakage resistance beside it.

    Attributes:
        farad: capacitance, > 0.
        leakage_ohm: resistance in parallel; infinite means none.
    """

    farad: float = 1e-9
    leakage_ohm: float = math.inf
    stores = True

    def __post_init__(self) -> None:
        """Refuses what is no capacitor.

        Raises:
            ValueError: a parameter is outside its range.
        """
        positive(farad=self.farad)
        if not self.leakage_ohm > 0:
            raise ValueError(f"leakage_ohm must be > 0, got {self.leakage_ohm!r}")

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The leakage."""
        slope = 1.0 / self.leakage_ohm
        return branch((volts[0] - volts[1]) * slope, slope)

    def store(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """``q = C v``."""
        return branch(self.farad * (volts[0] - volts[1]), self.farad)


@dataclass(frozen=True)
class SeriesRC(Component):
    """A resistance in series with a (leaky) capacitor: it settles with ``tau = R C``.

    Attributes:
        ohm: the series resistance, > 0.
        farad: the capacitance, > 0.
        leakage_ohm: resistance beside the capacitor; infinite means none.
    """

    ohm: float = 1e4
    farad: float = 1e-6
    leakage_ohm: float = math.inf
    inner = 1
    stores = True
    capacitor: Capacitor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuses what is no such device.

        Raises:
            ValueError: a parameter is outside its range.
        """
        positive(ohm=self.ohm)
        object.__setattr__(self, "capacitor", Capacitor(self.farad, self.leakage_ohm))

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """Resistor from the first terminal to the inner node, leakage from there."""
        a, b, inner = volts
        g, leak = 1.0 / self.ohm, 1.0 / self.leakage_ohm
        through, leaked = (a - inner) * g, (inner - b) * leak
        return [through, -leaked, leaked - through], [
            [g, 0.0, -g],
            [0.0, leak, -leak],
            [-g, -leak, g + leak],
        ]

    def store(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The charge of the capacitor, between the inner node and the second terminal."""
        c = self.farad
        q = c * (volts[2] - volts[1])
        return [0.0, -q, q], [[0.0, 0.0, 0.0], [0.0, c, -c], [0.0, -c, c]]


@dataclass(frozen=True)
class Inductor(Component):
    """An inductor as an LCR meter sees it; for direct current it is its winding's resistance.

    Attributes:
        henry: inductance, > 0.
        ohm: resistance of the winding, > 0. Its current settles at once: no transient is simulated.
    """

    henry: float = 1e-3
    ohm: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what is no inductor.

        Raises:
            ValueError: a parameter is outside its range.
        """
        positive(henry=self.henry, ohm=self.ohm)

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The winding's resistance."""
        slope = 1.0 / self.ohm
        return branch((volts[0] - volts[1]) * slope, slope)

    def admittance_s(self, volts: Sequence[float], omega: float) -> list[list[complex]]:
        """``1 / (R + j omega L)``."""
        y = 1.0 / complex(self.ohm, omega * self.henry)
        return [[y, -y], [-y, y]]
