"""The analog part of a source-meter channel: output, level, compliance, interlock, readings.

Promises: what it presents to the circuit is what its settings say, at once; with the output off or
the interlock open nothing is energised. Never knows a command: an instrument's command handlers
set its attributes, and ``ScpiInstrument.present`` (or the interpreter of another language) calls
``apply``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drivebay.sim.circuit import OPEN, Boundary, Circuit, Point, Port, amps, volts
from drivebay.sim.devices import Device
from drivebay.sim.eventlog import EventLog

VOLT, CURR = "VOLT", "CURR"


@dataclass
class Interlock:
    """The safety interlock of an instrument.

    Attributes:
        closed: whether high voltage is allowed.
        safe_v: what is allowed while it is open.
    """

    closed: bool = True
    safe_v: float = 42.0

    def allows(self, volt: float) -> bool:
        """Whether a voltage may be put out now."""
        return self.closed or abs(volt) <= self.safe_v


@dataclass
class SourceChannel:
    """One source-meter channel on a port.

    Attributes:
        port: its terminals in a circuit.
        log: where output and level changes are recorded, as ``docs/reference/simulator.md`` lists.
        name: of the channel, in the log.
        function: ``VOLT`` or ``CURR``: what it sources.
        level_v: level of the voltage source.
        level_a: level of the current source.
        limit_a: compliance while it sources voltage.
        limit_v: compliance while it sources current.
        output_on: whether the output is on.
        remote_sense: whether it senses with four wires.
        off_is_zero_volts: whether "off" is 0 V with ``off_limit_a`` and not an open circuit.
        off_limit_a: compliance of that 0 V.
        interlock: if it has one.
    """

    port: Port
    log: EventLog
    name: str = ""
    function: str = VOLT
    level_v: float = 0.0
    level_a: float = 0.0
    limit_a: float = 1e-4
    limit_v: float = 2.0
    output_on: bool = False
    remote_sense: bool = False
    off_is_zero_volts: bool = False
    off_limit_a: float = 1e-3
    interlock: Interlock = field(default_factory=Interlock)

    @property
    def level(self) -> float:
        """The level of the function it has."""
        return self.level_v if self.function == VOLT else self.level_a

    @property
    def limit(self) -> float:
        """The compliance of the function it has."""
        return self.limit_a if self.function == VOLT else self.limit_v

    def boundary(self, level: float | None = None) -> Boundary:
        """What it presents with the output on.

        Args:
            level: instead of its own level.
        """
        level = self.level if level is None else level
        if self.function == VOLT:
            return volts(level, self.limit_a, remote=self.remote_sense)
        return amps(level, self.limit_v, remote=self.remote_sense)

    def apply(self) -> None:
        """Presents what the settings say, and logs a level that reached the terminals."""
        if not self.output_on:
            off = volts(0.0, self.off_limit_a) if self.off_is_zero_volts else OPEN
            self.port.present(off)
            return
        before, now = self.port.boundary, self.boundary()
        if before != now:
            self.port.present(now)
            if before.level != now.level:
                self._note("level", function=self.function, level=self.level)

    def set_output(self, on: bool, reason: str = "command") -> None:
        """Switches the output; switching on with an open interlock is the caller's to refuse."""
        if on == self.output_on:
            return
        self.output_on = on
        if on:
            self.port.present(self.boundary())
            self._note("output_on", function=self.function, level=self.level)
        else:
            self.apply()
            self._note("output_off", reason=reason)

    def read(
        self, levels: Sequence[float], before_s: float = 0.0, window_s: float = 0.0
    ) -> list[Point]:
        """Exact readings at levels, one after another; the last level stays.

        Args:
            levels: V or A.
            before_s: simulated time from each level to its integration.
            window_s: simulated time each integrates.
        """
        if not self.output_on:
            return self.port.sweep([self.port.boundary] * len(levels), before_s, window_s)
        points = self.port.sweep([self.boundary(each) for each in levels], before_s, window_s)
        if self.function == VOLT:
            self.level_v = levels[-1]
        else:
            self.level_a = levels[-1]
        return points

    def now(self) -> Point:
        """What is at the terminals at this moment, by a perfect meter."""
        return self.port.read()

    def _note(self, event: str, **facts: object) -> None:
        channel = {"channel": self.name} if self.name else {}
        self.log.add(event, **channel, **facts)


def port_of(device: Device | Port | None, otherwise: Device) -> Port:
    """A port for an instrument: the one of a circuit, or one with a device of its own across it.

    Args:
        device: what it was given.
        otherwise: the device if it was given nothing.
    """
    if isinstance(device, Port):
        return device
    return Circuit.around(otherwise if device is None else device)
