"""Devices under test: what current flows at what voltage, solved, not tabulated.

Promises: both directions (current at a voltage, voltage at a current) of one and the same law,
monotonic, finite or infinite but never an exception, from deep reverse to far beyond any
instrument's range. Never knows of instruments: limits, noise and settling are the source-meter's
part.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

BOLTZMANN_J_PER_K = 1.380649e-23
ELEMENTARY_CHARGE_C = 1.602176634e-19
_LARGEST_EXPONENT = 700.0


class Device(ABC):
    """A two-terminal device without memory."""

    @abstractmethod
    def current_a(self, voltage_v: float) -> float:
        """The current at a voltage; infinite where the law has no bound."""

    @abstractmethod
    def voltage_v(self, current_a: float) -> float:
        """The voltage at a current; infinite where no voltage drives that current."""

    @abstractmethod
    def conductance_s(self, voltage_v: float) -> float:
        """The derivative of the current by the voltage; infinite where the law has no bound."""

    @abstractmethod
    def with_leads(self, lead_ohm: float) -> Device:
        """The device behind leads of that resistance together, as two-wire sensing sees it."""

    def currents_a(self, voltages_v: Iterable[float]) -> list[float]:
        """``current_a`` of many voltages."""
        current_a = self.current_a
        return [current_a(voltage) for voltage in voltages_v]


@dataclass(frozen=True, slots=True)
class Resistor(Device):
    """Ohm's law; 0 ohm is a short circuit.

    Attributes:
        ohm: resistance, >= 0.
    """

    ohm: float = 1000.0

    def __post_init__(self) -> None:
        """Refuses what is no resistance.

        Raises:
            ValueError: ``ohm`` is negative or not finite.
        """
        if not (math.isfinite(self.ohm) and self.ohm >= 0):
            raise ValueError(f"ohm must be finite and >= 0, got {self.ohm!r}")

    def current_a(self, voltage_v: float) -> float:
        """The current at a voltage."""
        if self.ohm:
            return voltage_v / self.ohm
        return math.copysign(math.inf, voltage_v) if voltage_v else 0.0

    def voltage_v(self, current_a: float) -> float:
        """The voltage at a current."""
        return current_a * self.ohm

    def conductance_s(self, voltage_v: float) -> float:
        """The same at every voltage."""
        return 1.0 / self.ohm if self.ohm else math.inf

    def with_leads(self, lead_ohm: float) -> Resistor:
        """A resistor with the leads added."""
        return Resistor(self.ohm + lead_ohm)


@dataclass(frozen=True, slots=True)
class OpenCircuit(Device):
    """Nothing connected: no current at any voltage."""

    def current_a(self, voltage_v: float) -> float:
        """Zero."""
        return 0.0

    def voltage_v(self, current_a: float) -> float:
        """Infinite, with the sign of the current."""
        return math.copysign(math.inf, current_a) if current_a else 0.0

    def conductance_s(self, voltage_v: float) -> float:
        """Zero."""
        return 0.0

    def with_leads(self, lead_ohm: float) -> OpenCircuit:
        """Itself."""
        return self


class ShortCircuit(Resistor):
    """A wire: a resistor of 0 ohm."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0.0)


def lambert_w_of_exp(exponent: float) -> float:
    """Lambert's W of ``exp(exponent)`` without overflow: the w with ``w + ln(w) = exponent``.

    >>> lambert_w_of_exp(1.0)
    1.0
    """
    if exponent < -12.5:
        # The series of W for small arguments; its next term is below the last bit.
        x = math.exp(exponent)
        return x * (1.0 - x + 1.5 * x * x)
    log = math.log
    w = exponent - log(exponent) if exponent > 2.0 else 0.8 * math.log1p(math.exp(exponent))
    # Fritsch, Shafer and Crowley (CACM algorithm 443): quartic, two steps reach the last bit.
    for _ in range(2):
        z = exponent - w - log(w)
        n = 1.0 + w
        q = 2.0 * n * (n + z * 2.0 / 3.0)
        w *= 1.0 + z / n * (q - z) / (q - 2.0 * z)
    return w


@dataclass(frozen=True, slots=True)
class Diode(Device):
    """A junction by Shockley's law, with a series and, if wanted, a shunt resistance.

    ``I = Is * (exp(Vj / (n * kT/q)) - 1) + Vj / Rsh`` with ``Vj = V - I * Rs``, solved by Lambert's
    W.

    Attributes:
        saturation_current_a: Is, > 0.
        ideality: n, > 0.
        series_resistance_ohm: Rs, >= 0.
        temperature_k: T, > 0. Is does not follow it: give both.
        shunt_resistance_ohm: Rsh, > 0; infinite means none.
    """

    saturation_current_a: float = 1e-12
    ideality: float = 1.5
    series_resistance_ohm: float = 10.0
    temperature_k: float = 300.0
    shunt_resistance_ohm: float = math.inf

    def __post_init__(self) -> None:
        """Refuses what is no diode.

        Raises:
            ValueError: a parameter is outside its range.
        """
        for name in ("saturation_current_a", "ideality", "temperature_k", "shunt_resistance_ohm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)!r}")
        if not (math.isfinite(self.series_resistance_ohm) and self.series_resistance_ohm >= 0):
            got = self.series_resistance_ohm
            raise ValueError(f"series_resistance_ohm must be finite and >= 0, got {got!r}")

    @property
    def slope_v(self) -> float:
        """N * kT/q: the voltage for a factor e in current."""
        return self.ideality * BOLTZMANN_J_PER_K * self.temperature_k / ELEMENTARY_CHARGE_C

    def with_leads(self, lead_ohm: float) -> Diode:
        """The diode with the leads in its series resistance."""
        return replace(self, series_resistance_ohm=self.series_resistance_ohm + lead_ohm)

    def current_a(self, voltage_v: float) -> float:
        """The current at a voltage."""
        return self.currents_a((voltage_v,))[0]

    def currents_a(self, voltages_v: Iterable[float]) -> list[float]:
        """The currents at many voltages; about a microsecond each."""
        a, sat, rs, rsh = self._law()
        if rs == 0.0:
            return [self._junction_current_a(v) for v in voltages_v]
        # The share of the terminal voltage that reaches the junction while it does not conduct.
        share = 1.0 if math.isinf(rsh) else rsh / (rs + rsh)
        offset = math.log(sat) + math.log(rs * share / a) + share * sat * rs / a
        slope, gain, conductance = share / a, a / rs, (1.0 - share) / rs
        leak = sat * share
        lambert = lambert_w_of_exp
        return [gain * lambert(offset + slope * v) + v * conductance - leak for v in voltages_v]

    def conductance_s(self, voltage_v: float) -> float:
        """Junction and shunt, in series with the series resistance."""
        a, sat, rs, rsh = self._law()
        exponent = (voltage_v - (self.current_a(voltage_v) * rs if rs else 0.0)) / a
        if exponent > _LARGEST_EXPONENT:
            return 1.0 / rs if rs else math.inf
        junction_s = sat / a * math.exp(exponent) + 1.0 / rsh
        return junction_s / (1.0 + junction_s * rs)

    def voltage_v(self, current_a: float) -> float:
        """The voltage at a current; minus infinity below -Is if there is no shunt."""
        a, sat, rs, rsh = self._law()
        if not math.isinf(rsh):
            drive = rsh * (current_a + sat)
            offset = math.log(sat) + math.log(rsh / a)
            exponent = offset + drive / a
            w = lambert_w_of_exp(exponent)
            # drive - a * w is the junction voltage too, but cancels once the diode conducts.
            blocked = exponent < -12.5
            junction_v = drive - a * w if blocked else a * (math.log(w) - offset)
            return junction_v + current_a * rs
        ratio = current_a / sat
        if ratio <= -1.0:
            return -math.inf
        return a * math.log1p(ratio) + current_a * rs

    def _law(self) -> tuple[float, float, float, float]:
        return (
            self.slope_v,
            self.saturation_current_a,
            self.series_resistance_ohm,
            self.shunt_resistance_ohm,
        )

    def _junction_current_a(self, junction_v: float) -> float:
        exponent = junction_v / self.slope_v
        if exponent > _LARGEST_EXPONENT:
            return math.inf
        shunt_a = junction_v / self.shunt_resistance_ohm
        return self.saturation_current_a * math.expm1(exponent) + shunt_a
