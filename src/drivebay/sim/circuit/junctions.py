"""Junction devices: Zener diode, solar cell, varactor.

Promises: closed forms with bounded slopes, continuous through every region. Never fitted to a part:
parameters are what a data sheet or a SPICE model card gives.

Sources: the exponential law and its series resistance as in ``drivebay.sim.devices``; depletion
capacitance ``Cj0 / (1 - V/Vj)^M`` with its linear continuation above ``FC Vj`` from L. W. Nagel,
*SPICE2: a computer program to simulate semiconductor circuits*, UCB/ERL M520 (1975), section on
the diode model; the breakdown branch (a mirrored diode behind the breakdown voltage) as in the
subcircuits that makers publish for Zener diodes; the single-diode solar cell from M. A. Green,
*Solar Cells* (1982), chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drivebay.sim.circuit.component import Component, Matrix, Vector, branch, not_negative, positive
from drivebay.sim.devices import Diode


@dataclass(frozen=True)
class Zener(Component):
    """A diode that conducts backwards beyond its Zener voltage.

    The first terminal is the anode.

    Attributes:
        zener_v: reverse voltage at ``test_a``.
        test_a: the current at which the maker gives it.
        zener_ohm: dynamic resistance in breakdown.
        saturation_current_a: of the forward diode.
        ideality: of the forward diode.
        series_resistance_ohm: of the forward diode.
        temperature_k: of the junction.
    """

    zener_v: float = 5.1
    test_a: float = 5e-3
    zener_ohm: float = 10.0
    saturation_current_a: float = 1e-12
    ideality: float = 1.3
    series_resistance_ohm: float = 1.0
    temperature_k: float = 300.0
    forward: Diode = field(init=False, repr=False)
    backward: Diode = field(init=False, repr=False)
    shift_v: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuses what is no Zener diode.

        Raises:
            ValueError: a parameter is outside its range.
        """
        positive(
            zener_v=self.zener_v,
            test_a=self.test_a,
            zener_ohm=self.zener_ohm,
            series_resistance_ohm=self.series_resistance_ohm,
        )
        kelvin = self.temperature_k
        forward = Diode(
            self.saturation_current_a, self.ideality, self.series_resistance_ohm, kelvin
        )
        # The knee is as sharp as an ideal junction's; at the test current it is at zener_v.
        backward = Diode(1e-15, 1.0, self.zener_ohm, kelvin)
        object.__setattr__(self, "forward", forward)
        object.__setattr__(self, "backward", backward)
        object.__setattr__(self, "shift_v", self.zener_v - backward.voltage_v(self.test_a))

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """Forward diode and breakdown branch side by side."""
        across = volts[0] - volts[1]
        beyond = -across - self.shift_v
        current = self.forward.current_a(across) - self.backward.current_a(beyond)
        # Without a voltage there is no current: the breakdown branch's own leakage is taken off.
        current += self.backward.current_a(-self.shift_v)
        slope = self.forward.conductance_s(across) + self.backward.conductance_s(beyond)
        return branch(current, slope)


@dataclass(frozen=True)
class SolarCell(Component):
    """The single-diode model: ``I = Is (exp((V - I Rs) / n Vt) - 1) + (V - I Rs) / Rsh - Iph``.

    The first terminal is the anode; under light the cell delivers, so the current into it is
    negative between 0 V and the open-circuit voltage.

    Attributes:
        photo_a: Iph at the irradiance it has now.
        saturation_current_a: Is.
        ideality: n.
        series_resistance_ohm: Rs, > 0.
        shunt_resistance_ohm: Rsh, > 0.
        temperature_k: T.
    """

    photo_a: float = 0.035
    saturation_current_a: float = 1e-10
    ideality: float = 1.2
    series_resistance_ohm: float = 0.5
    shunt_resistance_ohm: float = 1e3
    temperature_k: float = 300.0
    dark: Diode = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuses what is no solar cell.

        Raises:
            ValueError: a parameter is outside its range.
        """
        not_negative(photo_a=self.photo_a)
        positive(series_resistance_ohm=self.series_resistance_ohm)
        dark = Diode(
            self.saturation_current_a,
            self.ideality,
            self.series_resistance_ohm,
            self.temperature_k,
            self.shunt_resistance_ohm,
        )
        object.__setattr__(self, "dark", dark)

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The dark law, shifted: the photo current flows behind the series resistance."""
        across = volts[0] - volts[1] + self.photo_a * self.series_resistance_ohm
        return branch(self.dark.current_a(across) - self.photo_a, self.dark.conductance_s(across))


def depletion_charge(
    volt: float, zero_bias_f: float, built_in_v: float, grading: float
) -> tuple[float, float]:
    """Charge (C) and capacitance (F) of a depletion layer at a forward voltage (Nagel 1975)."""
    share, rest = 0.5, 1.0 - grading
    if volt < share * built_in_v:
        left = 1.0 - volt / built_in_v
        capacitance = zero_bias_f * left**-grading
        return zero_bias_f * built_in_v / rest * (1.0 - left**rest), capacitance
    at_edge = zero_bias_f * built_in_v / rest * (1.0 - (1.0 - share) ** rest)
    f2, f3 = (1.0 - share) ** (1.0 + grading), 1.0 - share * (1.0 + grading)
    beyond = volt - share * built_in_v
    squares = volt * volt - (share * built_in_v) ** 2
    charge = at_edge + zero_bias_f / f2 * (f3 * beyond + grading / (2.0 * built_in_v) * squares)
    return charge, zero_bias_f / f2 * (f3 + grading * volt / built_in_v)


@dataclass(frozen=True)
class Varactor(Component):
    """A diode used for its capacitance: ``C = Cj0 / (1 + Vr / Vj)^M + Cp`` in reverse.

    The first terminal is the anode.

    Attributes:
        zero_bias_f: Cj0.
        built_in_v: Vj.
        grading: M; 0.5 abrupt, 0.33 linear, above 0.5 hyperabrupt; below 1.
        package_f: Cp, of the case.
        saturation_current_a: of the junction.
        ideality: of the junction.
        series_resistance_ohm: in front of junction and capacitance, > 0.
        temperature_k: of the junction.
    """

    zero_bias_f: float = 30e-12
    built_in_v: float = 0.7
    grading: float = 0.5
    package_f: float = 0.2e-12
    saturation_current_a: float = 1e-14
    ideality: float = 1.1
    series_resistance_ohm: float = 1.0
    temperature_k: float = 300.0
    junction: Diode = field(init=False, repr=False)
    inner = 1
    stores = True

    def __post_init__(self) -> None:
        """Refuses what is no varactor.

        Raises:
            ValueError: a parameter is outside its range.
        """
        positive(
            zero_bias_f=self.zero_bias_f,
            built_in_v=self.built_in_v,
            grading=self.grading,
            series_resistance_ohm=self.series_resistance_ohm,
        )
        not_negative(package_f=self.package_f)
        if self.grading >= 1.0:
            raise ValueError(f"grading must be < 1, got {self.grading!r}")
        # A hundredth of the series resistance sits in the junction's own law, to bound its slope.
        part = 0.01 * self.series_resistance_ohm
        junction = Diode(self.saturation_current_a, self.ideality, part, self.temperature_k)
        object.__setattr__(self, "junction", junction)

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """Series resistance to the inner node, the junction from there."""
        a, b, inner = volts
        g = 1.0 / (0.99 * self.series_resistance_ohm)
        through, across = (a - inner) * g, inner - b
        current, slope = self.junction.current_a(across), self.junction.conductance_s(across)
        return [through, -current, current - through], [
            [g, 0.0, -g],
            [0.0, slope, -slope],
            [-g, -slope, g + slope],
        ]

    def store(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The depletion charge at the inner node, the case's between the terminals."""
        a, b, inner = volts
        q, c = depletion_charge(inner - b, self.zero_bias_f, self.built_in_v, self.grading)
        cp = self.package_f
        qp = cp * (a - b)
        return [qp, -qp - q, q], [[cp, -cp, 0.0], [-cp, cp + c, -c], [0.0, -c, c]]
