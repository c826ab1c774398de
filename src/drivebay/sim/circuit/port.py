"""A port: the pair of terminals (or the four) through which an instrument has to do with a circuit.

Promises: what an instrument reads is what the circuit makes of its boundary and of everybody
else's. Never energises anything by itself: an instrument presents a boundary, and what it presented
stays until it presents another.

A port is a ``Device`` as well, so that whatever takes a device takes a port of a circuit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from drivebay.sim.circuit.boundary import OPEN, UNLIMITED_V, Boundary, Point, amps, volts
from drivebay.sim.circuit.component import Plain
from drivebay.sim.devices import Device

if TYPE_CHECKING:
    from drivebay.sim.circuit.island import Island
    from drivebay.sim.circuit.network import Circuit


class Port(Device):
    """The terminals of one instrument, or of one channel of it.

    Attributes:
        name: in the circuit, for example ``gate`` or ``smu2.a``.
        circuit: the whole.
    """

    def __init__(self, name: str, circuit: Circuit, island: Island, place: int) -> None:
        self.name = name
        self.circuit = circuit
        self._island = island
        self._place = place
        self._alone = _lone_device(island)

    @property
    def boundary(self) -> Boundary:
        """What the instrument presents now."""
        return self._island.boundaries[self._place]

    def present(self, boundary: Boundary) -> None:
        """The instrument now is this, until it says otherwise."""
        with self.circuit.lock:
            if boundary != self._island.boundaries[self._place]:
                self.circuit.catch_up(self._island)
                self._island.boundaries[self._place] = boundary

    def release(self) -> None:
        """Nothing is connected inside the instrument: its output is off."""
        self.present(OPEN)

    def read(self, before_s: float = 0.0, window_s: float = 0.0) -> Point:
        """One reading with the boundary as it is.

        Args:
            before_s: simulated time that passes before.
            window_s: simulated time it integrates.
        """
        return self.sweep([self.boundary], before_s, window_s)[0]

    def sweep(
        self, boundaries: Sequence[Boundary], before_s: float = 0.0, window_s: float = 0.0
    ) -> list[Point]:
        """One reading a boundary, one after another; the last boundary stays.

        Args:
            boundaries: what the instrument presents, reading by reading.
            before_s: simulated time from each boundary to its integration.
            window_s: simulated time each integrates.
        """
        with self.circuit.lock:
            island, place = self._island, self._place
            if island.storing:
                self.circuit.catch_up(island, len(boundaries) * (before_s + window_s))
            points = []
            for boundary in boundaries:
                island.boundaries[place] = boundary
                if island.storing and before_s + window_s > 0:
                    points.append(self._passing(before_s, window_s))
                elif self._alone is not None and not boundary.ohm:
                    points.append(_answer_of(self._alone, boundary))
                else:
                    points.append(island.point(island.now(), place))
            return points

    def _passing(self, before_s: float, window_s: float) -> Point:
        if before_s > 0:
            settled = self._island.advance(before_s)[self._place]
        if window_s > 0:
            return self._island.advance(window_s)[self._place]
        now = self._island.point(self._island.now(), self._place)
        return now._replace(limited=now.limited or settled.limited)

    def admittance_s(self, frequency_hz: float, window_s: float = 0.0) -> complex:
        """What a small signal sees between the terminals, at the present bias.

        Args:
            frequency_hz: of the signal.
            window_s: simulated time that passes before, so that a new bias can settle.
        """
        with self.circuit.lock:
            self.circuit.catch_up(self._island, window_s)
            if window_s > 0 and self._island.storing:
                self._island.advance(window_s)
            return self._island.admittance_s(self._place, frequency_hz)

    def settle(self) -> None:
        """Waits, in simulated time, until nothing changes any more."""
        with self.circuit.lock:
            self._island.settle()

    def current_a(self, voltage_v: float) -> float:
        """The settled current at a voltage, all others as they are; the boundary stays."""
        if self._alone is not None:
            return self._alone.current_a(voltage_v)
        return self._trial(volts(voltage_v)).amp_a

    def currents_a(self, voltages_v: Iterable[float]) -> list[float]:
        """``current_a`` of many voltages."""
        if self._alone is not None:
            return self._alone.currents_a(voltages_v)
        return [self.current_a(voltage_v) for voltage_v in voltages_v]

    def voltage_v(self, current_a: float) -> float:
        """The settled voltage at a current; infinite where no voltage drives that current."""
        if self._alone is not None:
            return self._alone.voltage_v(current_a)
        point = self._trial(amps(current_a))
        return math.copysign(math.inf, point.volt_v) if point.limited else point.volt_v

    def conductance_s(self, voltage_v: float) -> float:
        """The slope of the settled current, by a small difference."""
        if self._alone is not None:
            return self._alone.conductance_s(voltage_v)
        step_v = 1e-6 * max(abs(voltage_v), 1.0)
        return (self.current_a(voltage_v + step_v) - self.current_a(voltage_v - step_v)) / (
            2.0 * step_v
        )

    def with_leads(self, lead_ohm: float) -> Device:
        """The port itself: the leads of an instrument in a circuit are resistors of the circuit.

        Raises:
            ValueError: leads of their own are asked for.
        """
        if lead_ohm:
            raise ValueError("leads of an instrument in a circuit are resistors of the circuit")
        return self

    def _trial(self, boundary: Boundary) -> Point:
        with self.circuit.lock:
            boundaries = list(self._island.boundaries)
            boundaries[self._place] = boundary
            x = self._island.static(boundaries)
            return self._island.point(x, self._place, boundaries)


def _lone_device(island: Island) -> Device | None:
    """The device of an island that is one port and one plain device: its law is a closed form."""
    if len(island.ports) != 1 or len(island.placed) != 1 or island.storing:
        return None
    component, ends = island.placed[0].component, island.ports[0]
    at = (ends.high, ends.low)
    if not isinstance(component, Plain) or (ends.sense_high, ends.sense_low) != at:
        return None
    return component.device if island.placed[0].places == at else None


def _answer_of(device: Device, boundary: Boundary) -> Point:
    """What a lone device makes of a boundary, by its closed form."""
    if boundary is OPEN or boundary.kind == OPEN.kind:
        return Point(device.voltage_v(0.0), 0.0, False)
    level, limit = boundary.level, boundary.limit
    if boundary.kind == "volt":
        current = device.current_a(level)
        if abs(current) <= limit:
            return Point(level, current, False)
        current = math.copysign(limit, current)
        return Point(device.voltage_v(current), current, True)
    limit = min(limit, UNLIMITED_V)
    volt = device.voltage_v(level)
    if abs(volt) <= limit:
        return Point(volt, level, False)
    volt = math.copysign(limit, volt)
    return Point(volt, device.current_a(volt), True)
