"""Field-effect devices: MOSFET and MOS capacitor.

Promises: one smooth law from below threshold to saturation, and from accumulation through
depletion to inversion. Never fitted to a part.

Sources: C. C. Enz, F. Krummenacher, E. A. Vittoz, *An analytical MOS transistor model valid in all
regions of operation*, Analog Integrated Circuits and Signal Processing 8 (1995) 83-114 (the drain
current as a difference of a forward and a reverse part); S. M. Sze, *Physics of Semiconductor
Devices*, 2nd edition (1981), chapter 7 (surface potential, charge and the low- and high-frequency
capacitance of the ideal MOS diode).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivebay.sim.circuit.component import (
    Component,
    Matrix,
    Vector,
    branch,
    not_negative,
    positive,
)
from drivebay.sim.devices import BOLTZMANN_J_PER_K, ELEMENTARY_CHARGE_C, Diode

VACUUM_F_PER_M = 8.8541878128e-12
SILICON, OXIDE = 11.7, 3.9


def interpolated(exponent: float) -> tuple[float, float]:
    """``ln(1 + exp(x/2))^2`` and its derivative: exp(x) far below 0, (x/2)^2 far above."""
    half = 0.5 * exponent
    if half > 40.0:
        return half * half, half
    grown = math.exp(half)
    log = math.log1p(grown)
    return log * log, log * grown / (1.0 + grown)


@dataclass(frozen=True)
class Mosfet(Component):
    """An n- or p-channel MOSFET with its bulk at the source, and the diode that this makes.

    ``Id = 2 n b Vt^2 (F((Vp - Vs)/Vt) - F((Vp - Vd)/Vt)) (1 + l |Vds|)`` with the pinch-off
    voltage ``Vp = (Vgs - Vth) / n``.

    Attributes:
        threshold_v: Vth; for a p-channel the magnitude counts downwards, so give -1 for -1 V.
        gain_a_per_v2: b, of the strong inversion law ``Id = b/2n (Vgs - Vth)^2``.
        slope_factor: n; the subthreshold swing is ``n Vt ln 10`` a decade.
        modulation_per_v: l, of the channel length.
        p_channel: whether all signs are turned.
        gate_source_f: gate to source capacitance.
        gate_drain_f: gate to drain capacitance.
        body_saturation_a: of the diode from source to drain.
        temperature_k: of the channel.
    """

    threshold_v: float = 1.5
    gain_a_per_v2: float = 2e-3
    slope_factor: float = 1.3
    modulation_per_v: float = 0.01
    p_channel: bool = False
    gate_source_f: float = 0.0
    gate_drain_f: float = 0.0
    body_saturation_a: float = 1e-14
    temperature_k: float = 300.0
    body: Diode = field(init=False, repr=False)
    stores: bool = field(init=False, repr=False)
    terminals = ("drain", "gate", "source")

    def __post_init__(self) -> None:
        """Refuses what is no MOSFET.

        Raises:
            ValueError: a parameter is outside its range.
        """
        positive(
            gain_a_per_v2=self.gain_a_per_v2,
            slope_factor=self.slope_factor,
            temperature_k=self.temperature_k,
            body_saturation_a=self.body_saturation_a,
        )
        not_negative(
            modulation_per_v=self.modulation_per_v,
            gate_source_f=self.gate_source_f,
            gate_drain_f=self.gate_drain_f,
        )
        body = Diode(self.body_saturation_a, 1.0, 0.1, self.temperature_k)
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "stores", self.gate_source_f + self.gate_drain_f > 0)

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """Drain current and the body diode; nothing flows into the gate."""
        sign = -1.0 if self.p_channel else 1.0
        gate = sign * (volts[1] - volts[2])
        drain = sign * (volts[0] - volts[2])
        current, by_gate, by_drain = self._channel(gate, drain)
        current -= self.body.current_a(-drain)
        by_drain += self.body.conductance_s(-drain)
        by_source = -by_gate - by_drain
        current *= sign
        return [current, 0.0, -current], [
            [by_drain, by_gate, by_source],
            [0.0, 0.0, 0.0],
            [-by_drain, -by_gate, -by_source],
        ]

    def _channel(self, gate: float, drain: float) -> tuple[float, float, float]:
        """Drain current and its derivatives by gate and drain voltage, of an n-channel."""
        thermal = BOLTZMANN_J_PER_K * self.temperature_k / ELEMENTARY_CHARGE_C
        n = self.slope_factor
        threshold = -self.threshold_v if self.p_channel else self.threshold_v
        pinch = (gate - threshold) / n
        specific = 2.0 * n * self.gain_a_per_v2 * thermal * thermal
        forward, forward_slope = interpolated(pinch / thermal)
        reverse, reverse_slope = interpolated((pinch - drain) / thermal)
        stretch = 1.0 + self.modulation_per_v * abs(drain)
        plain = specific * (forward - reverse)
        per_volt = specific / thermal * stretch
        by_gate = per_volt * (forward_slope - reverse_slope) / n
        by_drain = per_volt * reverse_slope + plain * math.copysign(self.modulation_per_v, drain)
        return plain * stretch, by_gate, by_drain

    def store(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The two gate capacitances."""
        drain, gate, source = volts
        cd, cs = self.gate_drain_f, self.gate_source_f
        qd, qs = cd * (gate - drain), cs * (gate - source)
        return [-qd, qd + qs, -qs], [[cd, -cd, 0.0], [-cd, cd + cs, -cs], [0.0, -cs, cs]]


@dataclass(frozen=True)
class MosCapacitor(Component):
    """Metal, oxide, p- or n-silicon: capacitance in accumulation, depletion and inversion.

    The first terminal is the gate. Static charge follows the low-frequency law (what a slow ramp
    sees); a small signal sees the minority carriers only as far as ``omega * response_s`` lets it.

    Attributes:
        area_m2: of the gate.
        oxide_m: thickness of the oxide.
        doping_per_m3: of the silicon.
        n_type: the silicon's type; p unless told.
        flat_band_v: gate voltage at which the bands are flat.
        response_s: time in which minority carriers follow.
        leakage_ohm: through the oxide.
        temperature_k: of the silicon.
    """

    area_m2: float = 1e-7
    oxide_m: float = 20e-9
    doping_per_m3: float = 1e22
    n_type: bool = False
    flat_band_v: float = -0.8
    response_s: float = 0.05
    leakage_ohm: float = 1e14
    temperature_k: float = 300.0
    intrinsic_per_m3: float = 1e16
    stores = True

    def __post_init__(self) -> None:
        """Refuses what is no MOS capacitor.

        Raises:
            ValueError: a parameter is outside its range.
        """
        positive(
            area_m2=self.area_m2,
            oxide_m=self.oxide_m,
            doping_per_m3=self.doping_per_m3,
            response_s=self.response_s,
            leakage_ohm=self.leakage_ohm,
            temperature_k=self.temperature_k,
            intrinsic_per_m3=self.intrinsic_per_m3,
        )

    @property
    def oxide_f(self) -> float:
        """The capacitance of the oxide alone."""
        return OXIDE * VACUUM_F_PER_M * self.area_m2 / self.oxide_m

    @property
    def thermal_v(self) -> float:
        """``k T / q``."""
        return BOLTZMANN_J_PER_K * self.temperature_k / ELEMENTARY_CHARGE_C

    def flow(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """What leaks through the oxide."""
        slope = 1.0 / self.leakage_ohm
        return branch((volts[0] - volts[1]) * slope, slope)

    def store(self, volts: Sequence[float]) -> tuple[Vector, Matrix]:
        """The gate's charge and the low-frequency capacitance."""
        charge, low_f, _ = self.gate(volts[0] - volts[1])
        return branch(charge, low_f)

    def admittance_s(self, volts: Sequence[float], omega: float) -> list[list[complex]]:
        """From the low- to the high-frequency curve, with the loss in between (one relaxation)."""
        _, low_f, high_f = self.gate(volts[0] - volts[1])
        seen_f = high_f + (low_f - high_f) / complex(1.0, omega * self.response_s)
        y = 1j * omega * seen_f + 1.0 / self.leakage_ohm
        return [[y, -y], [-y, y]]

    def gate(self, volt: float) -> tuple[float, float, float]:
        """Charge of the gate (C), low- and high-frequency capacitance (F) at a gate voltage."""
        sign = -1.0 if self.n_type else 1.0
        bent = self._surface(sign * (volt - self.flat_band_v))
        charge, low_f, high_f = self._silicon(bent)
        oxide = self.oxide_f
        return sign * charge, oxide * low_f / (oxide + low_f), oxide * high_f / (oxide + high_f)

    def _surface(self, volt: float) -> float:
        """The surface potential in thermal voltages, by bisected Newton: the law is monotonic."""
        vt, oxide = self.thermal_v, self.oxide_f
        low, high = (min(volt / vt, 0.0) - 1e-9, max(volt / vt, 0.0) + 1e-9)
        # Beyond strong accumulation or inversion the potential grows only as a logarithm.
        top = 2.0 * math.log(self.doping_per_m3 / self.intrinsic_per_m3) + 40.0
        low, high = max(low, -60.0), min(high, top)
        bent = min(max(0.0, low), high)
        for _ in range(100):
            charge, slope_f, _ = self._silicon(bent)
            error = bent * vt + charge / oxide - volt
            if error > 0:
                high = bent
            else:
                low = bent
            step = error / (vt * (1.0 + slope_f / oxide))
            after = bent - step
            if not low < after < high:
                after = 0.5 * (low + high)
            if abs(after - bent) < 1e-12 * (1.0 + abs(after)):
                return after
            bent = after
        return bent

    def _silicon(self, bent: float) -> tuple[float, float, float]:
        """Charge (as seen from the gate), low- and high-frequency capacitance of the silicon."""
        vt = self.thermal_v
        permittivity = SILICON * VACUUM_F_PER_M
        debye_m = math.sqrt(permittivity * vt / (ELEMENTARY_CHARGE_C * self.doping_per_m3))
        flat_f = permittivity * self.area_m2 / debye_m
        minority = (self.intrinsic_per_m3 / self.doping_per_m3) ** 2
        if abs(bent) < 1e-4:
            # The series about flat band, where the closed form is 0/0.
            return flat_f * vt * (bent - bent * bent / 6.0), flat_f * (1.0 - bent / 3.0), flat_f
        majority_part = math.exp(-bent) + bent - 1.0
        whole = majority_part + minority * (math.exp(bent) - bent - 1.0)
        root = math.sqrt(2.0 * whole)
        charge = math.copysign(flat_f * vt * root, bent)
        majority_slope = -math.expm1(-bent)
        low_f = flat_f * abs(majority_slope + minority * math.expm1(bent)) / root
        high_f = flat_f * abs(majority_slope) / math.sqrt(2.0 * majority_part)
        return charge, low_f, high_f
