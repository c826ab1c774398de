"""The circuit that simulated instruments share: devices, nodes, ports, and its solution.

Promises: physics, by cited laws, the same for every instrument on a node; deterministic. Never
knows which instruments there are, and imports nothing of Drivebay.
"""

from __future__ import annotations

from drivebay.sim.circuit.boundary import OPEN, Boundary, Point, amps, load, volts
from drivebay.sim.circuit.component import Capacitor, Component, Inductor, Plain, SeriesRC
from drivebay.sim.circuit.fieldeffect import MosCapacitor, Mosfet
from drivebay.sim.circuit.island import NoSolutionError
from drivebay.sim.circuit.junctions import SolarCell, Varactor, Zener
from drivebay.sim.circuit.network import GROUND, Circuit, Part, Socket
from drivebay.sim.circuit.port import Port

__all__ = [
    "GROUND",
    "OPEN",
    "Boundary",
    "Capacitor",
    "Circuit",
    "Component",
    "Inductor",
    "MosCapacitor",
    "Mosfet",
    "NoSolutionError",
    "Part",
    "Plain",
    "Point",
    "Port",
    "SeriesRC",
    "Socket",
    "SolarCell",
    "Varactor",
    "Zener",
    "amps",
    "load",
    "volts",
]
