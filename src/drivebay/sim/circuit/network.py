"""A circuit: devices and the ports of instruments between named nodes, shared by several threads.

Promises: every reading is one instrument's, taken with all others as they are at that moment;
nothing of one part of the circuit reaches a part it is not connected to. Never calls an
instrument, so it can be asked with an instrument's lock held.

Time: a circuit without capacitances knows none. One with them moves on when an instrument takes a
reading (by the reading's own time) and, if ``time_scale`` is not 0, as real time passes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from drivebay.sim.circuit.component import Component, Plain
from drivebay.sim.circuit.island import Island, Placed, Terminals
from drivebay.sim.circuit.port import Port
from drivebay.sim.devices import Device

GROUND = "gnd"
# A pause longer than this leaves nothing of a transient to see, and is not worth simulating.
LONGEST_CATCH_UP_S = 10.0


@dataclass(frozen=True, slots=True)
class Part:
    """One device of a circuit and the nodes its terminals are on."""

    name: str
    component: Component
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Socket:
    """Where a port is: nodes of its high and low terminal, and of its sense terminals."""

    name: str
    high: str
    low: str
    sense_high: str
    sense_low: str

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes it touches."""
        return self.high, self.low, self.sense_high, self.sense_low


class Circuit:
    """Devices and ports; made once, then shared by the instruments.

    Attributes:
        ports: by name; what an instrument is given.
        parts: the devices, by name.
        time_scale: real seconds that a simulated second takes; 0 if only readings take time.
    """

    def __init__(
        self,
        parts: Iterable[Part],
        sockets: Iterable[Socket],
        *,
        time_scale: float = 0.0,
        real_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects everything; every source is off and every capacitance empty.

        Args:
            parts: the devices.
            sockets: the ports.
            time_scale: real seconds that a simulated second takes; 0 if only readings take time.
            real_s: the clock of real time.

        Raises:
            ValueError: a name stands twice, or a device has more or fewer terminals than nodes.
        """
        self.lock = threading.RLock()
        self.time_scale = time_scale
        self.parts: dict[str, Part] = {}
        for part in parts:
            _check_part(part, self.parts)
            self.parts[part.name] = part
        self.sockets: dict[str, Socket] = {}
        for socket in sockets:
            if socket.name in self.sockets:
                raise ValueError(f"port {socket.name!r} stands twice")
            self.sockets[socket.name] = socket
        self.ports: dict[str, Port] = {}
        self.islands: list[Island] = []
        self._real_s = real_s
        self._caught_up_s: dict[Island, float] = {}
        for names in self._connected():
            self._add_island(names)

    @classmethod
    def around(cls, device: Device | Component, *, time_scale: float = 0.0) -> Port:
        """A port with one two-terminal device across it and nothing else.

        Raises:
            ValueError: the device has not two terminals.
        """
        component = Plain(device) if isinstance(device, Device) else device
        part = Part("device", component, ("high", GROUND))
        socket = Socket("port", "high", GROUND, "high", GROUND)
        return cls([part], [socket], time_scale=time_scale).ports["port"]

    def neighbours(self, port: str) -> list[str]:
        """What is on the same nodes as a port, ground aside: devices (with terminal), ports."""
        mine = {node for node in self.sockets[port].nodes if node != GROUND}
        found = []
        for name, part in self.parts.items():
            terminals = part.component.terminals
            for terminal, node in zip(terminals, part.nodes, strict=True):
                if node in mine:
                    found.append(name if len(terminals) == 2 else f"{name}.{terminal}")
        others = [n for n, s in self.sockets.items() if n != port and mine & set(s.nodes)]
        return list(dict.fromkeys(found + others))

    def powers_w(self) -> Mapping[str, float]:
        """What each device takes up now; negative for one that delivers."""
        with self.lock:
            powers: dict[str, float] = {}
            for island in self.islands:
                powers |= island.power_w(island.now())
            return powers

    def catch_up(self, island: Island, reserve_s: float = 0.0) -> None:
        """Lets the real time that has passed pass in a part of the circuit too.

        Args:
            island: the part.
            reserve_s: simulated seconds at the end that a reading is about to use itself.
        """
        if not (self.time_scale and island.storing):
            return
        now_s = self._real_s()
        passed_s = (now_s - self._caught_up_s[island]) / self.time_scale - reserve_s
        # A reading may take more simulated time than has passed: the next one waits for that.
        self._caught_up_s[island] = now_s + max(-passed_s, 0.0) * self.time_scale
        if passed_s > 0:
            island.advance(min(passed_s, LONGEST_CATCH_UP_S))

    def _connected(self) -> list[list[str]]:
        """Names of nodes that belong together, ground left out: it joins nothing."""
        groups: list[set[str]] = []
        every = [part.nodes for part in self.parts.values()]
        every += [socket.nodes for socket in self.sockets.values()]
        for nodes in every:
            joined = {node for node in nodes if node != GROUND}
            apart = []
            for group in groups:
                if group & joined:
                    joined |= group
                else:
                    apart.append(group)
            groups = [*apart, joined] if joined else apart
        return [sorted(group) for group in groups]

    def _add_island(self, names: Sequence[str]) -> None:
        """Equations for some nodes; one without ground gets its first port's low as reference."""
        here = set(names)
        sockets = [s for s in self.sockets.values() if here & set(s.nodes)]
        parts = [p for p in self.parts.values() if here & set(p.nodes)]
        every = [each.nodes for each in sockets] + [each.nodes for each in parts]
        grounded = any(GROUND in nodes for nodes in every)
        reference = GROUND if grounded else sockets[0].low if sockets else names[0]
        places = {name: k for k, name in enumerate(n for n in names if n != reference)}
        places[reference] = -1
        count = len(places) - 1
        placed = []
        for part in parts:
            inner = tuple(range(count, count + part.component.inner))
            count += part.component.inner
            at = tuple(places[node] for node in part.nodes) + inner
            placed.append(Placed(part.name, part.component, at))
        ends = [
            Terminals(places[s.high], places[s.low], places[s.sense_high], places[s.sense_low])
            for s in sockets
        ]
        island = Island(count, placed, ends)
        self.islands.append(island)
        self._caught_up_s[island] = self._real_s()
        for k, socket in enumerate(sockets):
            self.ports[socket.name] = Port(socket.name, self, island, k)


def _check_part(part: Part, known: Mapping[str, Part]) -> None:
    if part.name in known:
        raise ValueError(f"device {part.name!r} stands twice")
    expected = part.component.terminals
    if len(part.nodes) != len(expected):
        raise ValueError(
            f"device {part.name!r} has terminals {', '.join(expected)}; got nodes {part.nodes!r}"
        )
