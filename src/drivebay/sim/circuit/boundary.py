"""What an instrument presents to a circuit: a source with compliance, a load, or nothing.

Promises: every boundary is one monotonic curve of current over voltage, so a circuit of devices
and boundaries has one operating point. Never has state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

VOLT, AMP, OPEN_CIRCUIT = "volt", "amp", "open"
# What "no limit" means to the equations: beyond every instrument, and still a number.
UNLIMITED_V = 1e6


@dataclass(frozen=True, slots=True)
class Boundary:
    """What is between the terminals of a port, seen from the circuit.

    Attributes:
        kind: ``volt``, ``amp`` or ``open``.
        level: V or A; a current is positive when it leaves the high terminal.
        limit: the compliance: A of a voltage source, V of a current source.
        ohm: resistance in series with a voltage source.
        remote: whether a source regulates at the sense terminals.
    """

    kind: str
    level: float = 0.0
    limit: float = math.inf
    ohm: float = 0.0
    remote: bool = False


def volts(
    level_v: float, limit_a: float = math.inf, *, ohm: float = 0.0, remote: bool = False
) -> Boundary:
    """A voltage source that gives at most ``limit_a``, in both directions."""
    return Boundary(VOLT, level_v, limit_a, ohm, remote)


def amps(level_a: float, limit_v: float = UNLIMITED_V, *, remote: bool = False) -> Boundary:
    """A current source that gives at most ``limit_v``, in both directions."""
    return Boundary(AMP, level_a, limit_v, 0.0, remote)


def load(ohm: float) -> Boundary:
    """A resistance: a voltmeter's input, an ammeter's shunt."""
    return Boundary(VOLT, 0.0, math.inf, ohm)


OPEN = Boundary(OPEN_CIRCUIT)


class Point(NamedTuple):
    """What is true at a port.

    Attributes:
        volt_v: between its sense terminals, which are its terminals unless wired otherwise.
        amp_a: out of its high terminal, into the circuit.
        limited: whether its source is at its limit.
    """

    volt_v: float
    amp_a: float
    limited: bool
