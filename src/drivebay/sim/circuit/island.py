"""The equations of one connected part of a circuit, and their solution.

Promises: currents into every node add up to zero to the last digits of double precision; a source
is at its level or at its limit, whichever the rest of the circuit makes it; the same input gives
the same output. Never waits and never locks: the circuit around it does.

Modified nodal analysis (Ho, Ruehli, Brennan, *The modified nodal approach to network analysis*,
IEEE Trans. Circuits and Systems 22 (1975) 504-509): unknown are the voltage of every node and the
current of every port, by Newton's method. Whether a source is at its level or its limit is a
complementarity, solved by an active set around it. Capacitances are integrated by Alexander's
two-stage, stiffly accurate SDIRK (SIAM J. Numer. Anal. 14 (1977) 1006-1021), which needs no
derivative from before a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drivebay.sim.circuit.algebra import Number, SingularError, solved
from drivebay.sim.circuit.boundary import AMP, OPEN, OPEN_CIRCUIT, VOLT, Boundary, Point
from drivebay.sim.circuit.component import Component, Vector

# The insulation of every node, 1 POhm to the reference: what nothing holds has a potential still.
INSULATION_S = 1e-15
# Whole steps nearly always end in ten; what has not by then is taken in smaller ones.
PLAIN_ITERATIONS, MOST_ITERATIONS = 40, 140
_GAMMA = 1.0 - math.sqrt(0.5)
_LEAST_STEP_S = 1e-9
_TOLERANCE = 3e-3


class NoSolutionError(ArithmeticError):
    """Newton's method did not end: a fault of the simulator, not of a user."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A component and the places of its terminals among the unknowns; -1 is the reference."""

    name: str
    component: Component
    places: tuple[int, ...]

    def volts(self, x: Sequence[float]) -> Vector:
        """The voltages of its terminals."""
        return [x[place] if place >= 0 else 0.0 for place in self.places]


@dataclass(frozen=True, slots=True)
class Terminals:
    """The places of a port's nodes: force high and low, sense high and low."""

    high: int
    low: int
    sense_high: int
    sense_low: int


Charges = list[Vector]


class Island:
    """Nodes, components and ports that are connected; its ports' boundaries and its state.

    Attributes:
        boundaries: what each port presents now.
    """

    def __init__(self, nodes: int, placed: Sequence[Placed], ports: Sequence[Terminals]) -> None:
        self.nodes = nodes
        self.placed = tuple(placed)
        self.ports = tuple(ports)
        self.boundaries = [OPEN] * len(self.ports)
        self.size = nodes + len(self.ports)
        self.storing = [each for each in self.placed if each.component.stores]
        self._x = [0.0] * self.size
        self._modes = [0] * len(self.ports)
        self._charges: Charges = self._charges_at(self._x)

    def static(self, boundaries: Sequence[Boundary] | None = None) -> Vector:
        """The operating point once everything has settled; where it begins is kept.

        Raises:
            NoSolutionError: none was found.
        """
        x = self._solved(self.boundaries if boundaries is None else boundaries, None, 0.0)
        if boundaries is None:
            self._x = x
        return x

    def point(
        self, x: Sequence[float], port: int, boundaries: Sequence[Boundary] | None = None
    ) -> Point:
        """What is true at a port at a solution."""
        amp_a = x[self.nodes + port]
        boundary = (self.boundaries if boundaries is None else boundaries)[port]
        volt_v = self._sensed(x, port, boundary.remote)
        held = amp_a if boundary.kind == VOLT else volt_v
        limited = boundary.kind != OPEN_CIRCUIT and abs(held) >= boundary.limit * (1 - 1e-9)
        return Point(volt_v, amp_a, limited)

    def settle(self) -> None:
        """Everything has settled: charges are those of the operating point."""
        self._charges = self._charges_at(self.static())

    def advance(self, seconds: float) -> list[Point]:
        """Lets time pass with the boundaries as they are; each port's mean over that time.

        Raises:
            NoSolutionError: a step has no solution.
        """
        sums = [0.0] * self.size
        done = 0.0
        step = min(seconds, max(seconds * 1e-3, 1e-6))
        while done < seconds * (1.0 - 1e-12):
            step = min(step, seconds - done)
            error, first, second, charges = self._step(step)
            if error > 1.0 and step > _LEAST_STEP_S:
                step = max(step * max(0.9 / math.sqrt(error), 0.1), _LEAST_STEP_S)
                continue
            for place in range(self.size):
                share = (1.0 - _GAMMA) * first[place] + _GAMMA * second[place]
                sums[place] += step * share
            self._x, self._charges = second, charges
            done += step
            step *= min(0.9 / math.sqrt(error), 5.0) if error > 0.03 else 5.0
        mean = [total / seconds for total in sums] if seconds > 0 else self._x
        return [
            self.point(mean, port)._replace(limited=self.point(self._x, port).limited)
            for port in range(len(self.ports))
        ]

    def now(self) -> Vector:
        """The unknowns at this moment, charges as they are.

        Raises:
            NoSolutionError: none was found.
        """
        if not self.storing:
            return self.static()
        self._x = self._solved(self.boundaries, self._charges, _LEAST_STEP_S)
        return self._x

    def admittance_s(self, port: int, frequency_hz: float) -> complex:
        """What a small signal at a port sees of the rest, all other boundaries at their bias.

        Raises:
            NoSolutionError: there is no operating point.
        """
        x = self.now() if self.storing else self.static()
        omega = 2.0 * math.pi * frequency_hz
        matrix = [[0j] * self.size for _ in range(self.size)]
        for node in range(self.nodes):
            matrix[node][node] = complex(INSULATION_S)
        for each in self.placed:
            _add_block(matrix, each.places, each.component.admittance_s(each.volts(x), omega))
        for k, boundary in enumerate(self.boundaries):
            row = self.nodes + k
            for place, sign in self._force(k):
                matrix[place][row] -= sign
            if k == port:
                entries = self._across(k, False)
            else:
                entries = self._row(x, k, boundary, self._modes[k])[1]
            for column, value in entries.items():
                matrix[row][column] += value
        right = [0j] * self.size
        right[self.nodes + port] = 1.0 + 0j
        try:
            return solved(matrix, right)[self.nodes + port]
        except SingularError as error:
            raise NoSolutionError(str(error)) from error

    def power_w(self, x: Sequence[float]) -> dict[str, float]:
        """What each component takes up at a solution; static currents only."""
        powers: dict[str, float] = {}
        for each in self.placed:
            volts = each.volts(x)
            currents = each.component.flow(volts)[0]
            powers[each.name] = math.fsum(v * i for v, i in zip(volts, currents, strict=True))
        return powers

    def _step(self, step: float) -> tuple[float, Vector, Vector, Charges]:
        """One step: its error in tolerances, both stages, and the charges after it."""
        before, inner_s = self._charges, _GAMMA * step
        first = self._solved(self.boundaries, before, inner_s)
        between = self._charges_at(first)
        base = [
            [q0 + (1.0 - _GAMMA) / _GAMMA * (q1 - q0) for q0, q1 in zip(old, new, strict=True)]
            for old, new in zip(before, between, strict=True)
        ]
        second = self._solved(self.boundaries, base, inner_s, first)
        after = self._charges_at(second)
        error = 0.0
        for each, q0, qb, q1, q2 in zip(self.storing, before, base, between, after, strict=True):
            volts = each.volts(second)
            scales = each.component.store(volts)[1]
            for k, volt in enumerate(volts):
                if scales[k][k] > 0:
                    # Charge the second stage moved beyond what the first one's current would have.
                    differs = abs((q2[k] - qb[k]) - (q1[k] - q0[k])) / scales[k][k]
                    error = max(error, differs / (_TOLERANCE * (0.01 + abs(volt))))
        return error, first, second, after

    def _charges_at(self, x: Sequence[float]) -> Charges:
        return [each.component.store(each.volts(x))[0] for each in self.storing]

    def _solved(
        self,
        boundaries: Sequence[Boundary],
        charges: Charges | None,
        seconds: float,
        start: Sequence[float] | None = None,
    ) -> Vector:
        """Newton from where it was; if that does not end, from zero with the levels raised."""
        tries: list[tuple[Sequence[float], Sequence[float]]] = [
            (self._x if start is None else start, (1.0,)),
            ([0.0] * self.size, (1.0,)),
            ([0.0] * self.size, (0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        ]
        for begin, shares in tries:
            try:
                x = list(begin)
                for share in shares:
                    scaled = boundaries if share == 1.0 else _scaled(boundaries, share)
                    x = self._complied(scaled, charges, seconds, x)
            except (NoSolutionError, SingularError):
                continue
            return x
        raise NoSolutionError(f"no operating point of {[each.name for each in self.placed]}")

    def _complied(
        self,
        boundaries: Sequence[Boundary],
        charges: Charges | None,
        seconds: float,
        start: Vector,
    ) -> Vector:
        """The solution in which every source is at its level or, if that is too much, its limit.

        Which of both each is, is guessed from the last solution and corrected until it agrees.
        """
        modes = [
            mode if boundary.kind != OPEN_CIRCUIT and math.isfinite(boundary.limit) else 0
            for mode, boundary in zip(self._modes, boundaries, strict=True)
        ]
        seen: set[tuple[int, ...]] = set()
        for _ in range(4 + 3 ** min(len(modes), 4)):
            x = self._newton(boundaries, charges, seconds, list(start), modes)
            better = [self._mode(x, k, boundary, modes[k]) for k, boundary in enumerate(boundaries)]
            if better == modes:
                self._modes = modes
                return x
            if tuple(better) in seen:
                # Going round in circles: from now on one source a time, the first that disagrees.
                first = next(k for k, mode in enumerate(modes) if better[k] != mode)
                better = [*modes[:first], better[first], *modes[first + 1 :]]
            seen.add(tuple(modes))
            modes = better
        raise NoSolutionError("the sources find no agreement about who is at its limit")

    def _mode(self, x: Sequence[float], port: int, boundary: Boundary, mode: int) -> int:
        """0 at the level, 1 or -1 at the limit, as a solution with ``mode`` says it should be."""
        if boundary.kind == OPEN_CIRCUIT:
            return 0
        current, held = x[self.nodes + port], self._sensed(x, port, boundary.remote)
        limited, driven = (held, current) if boundary.kind == AMP else (current, held)
        if mode == 0:
            over = abs(limited) > boundary.limit * (1.0 + 1e-9)
            return (1 if limited > 0 else -1) if over else 0
        missing = boundary.level - driven - boundary.ohm * current
        # Wider than what Newton leaves, so that a source between both is not sent to and fro.
        floor = 1e-15 if boundary.kind == AMP else 1e-9
        return mode if mode * missing >= -floor - 1e-8 * abs(boundary.level) else 0

    def _newton(
        self,
        boundaries: Sequence[Boundary],
        charges: Charges | None,
        seconds: float,
        x: Vector,
        modes: Sequence[int],
    ) -> Vector:
        nodes = self.nodes
        still = 0
        for turn in range(MOST_ITERATIONS):
            matrix, wrong = self._equations(boundaries, charges, seconds, x, modes)
            if turn < PLAIN_ITERATIONS:
                step = solved(matrix, wrong)
            else:
                kept = [list(line) for line in matrix]
                step = solved(matrix, wrong)
                share = self._share(boundaries, charges, seconds, x, modes, kept, step)
                step = [share * each for each in step]
            for place, each in enumerate(step):
                x[place] -= each
            if all(abs(step[k]) <= 1e-12 + 1e-10 * abs(x[k]) for k in range(nodes)):
                # A current that is a small difference of large ones never stands quite still.
                still += 1
                rest = range(nodes, self.size)
                if still > 3 or all(abs(step[k]) <= 1e-18 + 1e-10 * abs(x[k]) for k in rest):
                    return x
            else:
                still = 0
        raise NoSolutionError(f"no end after {MOST_ITERATIONS} iterations")

    def _share(
        self,
        boundaries: Sequence[Boundary],
        charges: Charges | None,
        seconds: float,
        x: Vector,
        modes: Sequence[int],
        matrix: list[Vector],
        step: Vector,
    ) -> float:
        """How much of a Newton step to take, where whole steps went round in circles.

        The natural monotonicity test: what the same Jacobian would still correct afterwards has to
        be less (P. Deuflhard, *Newton Methods for Nonlinear Problems*, 2004, section 3.3).
        """
        size = math.hypot(*step[: self.nodes])
        share = 1.0
        while share > 1e-3:
            there = [a - share * b for a, b in zip(x, step, strict=True)]
            wrong = self._equations(boundaries, charges, seconds, there, modes)[1]
            left = solved([list(line) for line in matrix], wrong)
            if math.hypot(*left[: self.nodes]) <= (1.0 - 0.25 * share) * size:
                break
            share *= 0.5
        return share

    def _equations(
        self,
        boundaries: Sequence[Boundary],
        charges: Charges | None,
        seconds: float,
        x: Sequence[float],
        modes: Sequence[int],
    ) -> tuple[list[Vector], Vector]:
        """The Jacobian and what is wrong with x."""
        nodes = self.nodes
        matrix = [[0.0] * self.size for _ in range(self.size)]
        wrong = [0.0] * self.size
        for node in range(nodes):
            matrix[node][node] = INSULATION_S
            wrong[node] = INSULATION_S * x[node]
        stored = 0
        for each in self.placed:
            volts = each.volts(x)
            currents, slopes = each.component.flow(volts)
            if charges is not None and each.component.stores:
                _add_charge(each.component, volts, charges[stored], seconds, currents, slopes)
                stored += 1
            for row, current in zip(each.places, currents, strict=True):
                if row >= 0:
                    wrong[row] += current
            _add_block(matrix, each.places, slopes)
        for k in range(len(self.ports)):
            row = nodes + k
            for place, sign in self._force(k):
                matrix[place][row] -= sign
                wrong[place] -= sign * x[row]
            wrong[row], entries = self._row(x, k, boundaries[k], modes[k])
            for column, value in entries.items():
                matrix[row][column] += value
        return matrix, wrong

    def _row(
        self, x: Sequence[float], port: int, boundary: Boundary, mode: int
    ) -> tuple[float, dict[int, float]]:
        """A port's own equation: what is wrong with it, and its derivatives."""
        row = self.nodes + port
        current = x[row]
        if boundary.kind == OPEN_CIRCUIT:
            return current, {row: 1.0}
        target = mode * boundary.limit if mode else boundary.level
        if (boundary.kind == AMP) != bool(mode):
            return current - target, {row: 1.0}
        entries = self._across(port, boundary.remote)
        drop_v = 0.0
        if boundary.ohm and not mode:
            entries[row] = boundary.ohm
            drop_v = boundary.ohm * current
        return self._sensed(x, port, boundary.remote) + drop_v - target, entries

    def _sensed(self, x: Sequence[float], port: int, remote: bool) -> float:
        ends = self.ports[port]
        high, low = (ends.sense_high, ends.sense_low) if remote else (ends.high, ends.low)
        return (x[high] if high >= 0 else 0.0) - (x[low] if low >= 0 else 0.0)

    def _force(self, port: int) -> list[tuple[int, float]]:
        """Where a port's current goes in (1) and out (-1)."""
        ends = self.ports[port]
        return [(place, sign) for place, sign in ((ends.high, 1.0), (ends.low, -1.0)) if place >= 0]

    def _across(self, port: int, remote: bool) -> dict[int, float]:
        ends = self.ports[port]
        high, low = (ends.sense_high, ends.sense_low) if remote else (ends.high, ends.low)
        entries: dict[int, float] = {}
        for place, sign in ((high, 1.0), (low, -1.0)):
            if place >= 0:
                entries[place] = entries.get(place, 0.0) + sign
        return entries


def _add_block(
    matrix: list[list[Number]], places: Sequence[int], block: Sequence[Sequence[Number]]
) -> None:
    """Adds a component's derivatives where its terminals are."""
    for row, line in zip(places, block, strict=True):
        if row >= 0:
            target = matrix[row]
            for column, value in zip(places, line, strict=True):
                if column >= 0:
                    target[column] += value


def _scaled(boundaries: Sequence[Boundary], share: float) -> list[Boundary]:
    return [
        Boundary(each.kind, each.level * share, each.limit, each.ohm, each.remote)
        for each in boundaries
    ]


def _add_charge(
    component: Component,
    volts: Vector,
    before: Vector,
    seconds: float,
    currents: Vector,
    slopes: list[Vector],
) -> None:
    """Adds the current that changes the charge from ``before`` in ``seconds``."""
    charge, capacitance = component.store(volts)
    for k, (q, q0) in enumerate(zip(charge, before, strict=True)):
        currents[k] += (q - q0) / seconds
        for m, c in enumerate(capacitance[k]):
            slopes[k][m] += c / seconds
