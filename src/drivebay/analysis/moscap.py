"""A measured MOS capacitor: oxide, doping, flat band and threshold, from the whole C-V curve.

Promises: each number with its standard uncertainty; the curve fitted is that of an ideal capacitor
(no interface traps, one doping, a gate of metal), and one that is not is refused or its residual
says so. Never reads an oxide thickness off the largest point: accumulation ends short of it.

Sources: E. H. Nicollian and J. R. Brews, *MOS (Metal Oxide Semiconductor) Physics and Technology*
(charge and capacitance against band bending; flat band by the Debye length); S. M. Sze and K. K.
Ng, *Physics of Semiconductor Devices*, 3rd edition, chapter 4 (high frequency: the widest depletion
layer is that at 2 psi_B; threshold). Full references are on the page docs/reference/analysis.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, Any, Literal

from drivebay.analysis.noise import paired
from drivebay.analysis.semiconductor import (
    ELEMENTARY_CHARGE_C,
    OXIDE_PERMITTIVITY,
    SILICON_PERMITTIVITY,
    VACUUM_PERMITTIVITY_F_PER_M,
    debye_length_m,
    intrinsic_density_per_m3,
    thermal_v,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["MosFit", "fit_mos_capacitor", "mos_capacitance_f"]

Substrate = Literal["p", "n"]

_MIN_POINTS = 12
_LEAST_SWING = 1.1
_MOST_RESIDUAL = 0.05  # of the reading; more is another device
_MAX_UNCERTAIN = 0.5  # of ln(doping), ln(thickness): more is not a measurement
_STEEPEST = 40.0  # kT/q of band bending beyond which no gate voltage goes
_GRID = 400


@dataclass(frozen=True, slots=True)
class MosFit:
    """A MOS capacitor's parameters, with their standard uncertainties (one sigma).

    Attributes:
        oxide_capacitance_f: of the oxide alone.
        oxide_thickness_m: from it, the area and the permittivity of the oxide.
        doping_per_m3: of the substrate.
        flat_band_v: gate voltage without band bending.
        flat_band_capacitance_f: the capacitance there, by the Debye length.
        threshold_v: gate voltage where the bands are bent by 2 psi_B.
        debye_length_m: extrinsic Debye length of the substrate.
        oxide_capacitance_u_f: standard uncertainty of ``oxide_capacitance_f``.
        oxide_thickness_u_m: of ``oxide_thickness_m``; that of the area is in it, as in all.
        doping_u_per_m3: of ``doping_per_m3``.
        flat_band_u_v: of ``flat_band_v``.
        flat_band_capacitance_u_f: of ``flat_band_capacitance_f``.
        threshold_u_v: of ``threshold_v``.
        debye_length_u_m: of ``debye_length_m``.
        residual: root mean square of (measured - fitted) / fitted.
        points_used: how many points were fitted.
        substrate: ``p`` or ``n``.
        quasi_static: whether minority carriers were taken to follow the test signal.
        area_m2: the area that was given.
        temperature_k: the temperature that was given.
        relative_permittivity: of the semiconductor.
        oxide_permittivity: of the oxide.
    """

    oxide_capacitance_f: float
    oxide_thickness_m: float
    doping_per_m3: float
    flat_band_v: float
    flat_band_capacitance_f: float
    threshold_v: float
    debye_length_m: float
    oxide_capacitance_u_f: float
    oxide_thickness_u_m: float
    doping_u_per_m3: float
    flat_band_u_v: float
    flat_band_capacitance_u_f: float
    threshold_u_v: float
    debye_length_u_m: float
    residual: float
    points_used: int
    substrate: Substrate
    quasi_static: bool
    area_m2: float
    temperature_k: float
    relative_permittivity: float
    oxide_permittivity: float

    def capacitance_f(self, gate_voltage_v: ArrayLike) -> Array:
        """Return the fitted curve at these voltages."""
        return mos_capacitance_f(
            gate_voltage_v,
            oxide_thickness_m=self.oxide_thickness_m,
            doping_per_m3=self.doping_per_m3,
            flat_band_v=self.flat_band_v,
            area_m2=self.area_m2,
            substrate=self.substrate,
            quasi_static=self.quasi_static,
            temperature_k=self.temperature_k,
            relative_permittivity=self.relative_permittivity,
            oxide_permittivity=self.oxide_permittivity,
        )


def mos_capacitance_f(
    gate_voltage_v: ArrayLike,
    *,
    oxide_thickness_m: float,
    doping_per_m3: float,
    flat_band_v: float,
    area_m2: float,
    substrate: Substrate = "p",
    quasi_static: bool = False,
    temperature_k: float = 300.0,
    relative_permittivity: float = SILICON_PERMITTIVITY,
    oxide_permittivity: float = OXIDE_PERMITTIVITY,
) -> Array:
    """Return the capacitance of an ideal MOS capacitor.

    The gate voltage drives the charge of both carriers; at high frequency only the majority
    carriers answer, and the depletion layer is no wider than at 2 psi_B.

    >>> made = {"oxide_thickness_m": 1e-8, "doping_per_m3": 1e22, "area_m2": 1e-8}
    >>> both = mos_capacitance_f([-5, 0, 5], flat_band_v=-0.9, **made)
    >>> [f"{farads * 1e12:.2f}" for farads in both]
    ['34.07', '3.18', '3.18']
    """
    import numpy as np

    kt = thermal_v(temperature_k)
    oxide = oxide_permittivity * VACUUM_PERMITTIVITY_F_PER_M / oxide_thickness_m
    layer = _Layer(doping_per_m3, temperature_k, relative_permittivity)
    sign = 1.0 if substrate == "p" else -1.0
    bias = sign * (np.asarray(gate_voltage_v, dtype=float) - flat_band_v)
    bending = _bending(bias, layer, oxide, kt)
    below = layer.static(bending) if quasi_static else layer.fast(bending)
    return np.asarray(area_m2 * oxide * below / (oxide + below))


class _Layer:
    """The semiconductor under the gate: charge and capacitance an area, against band bending.

    Band bending is in kT/q, positive from flat band into depletion.
    """

    def __init__(self, doping_per_m3: float, temperature_k: float, permittivity: float) -> None:
        kt = thermal_v(temperature_k)
        self.fermi = log(doping_per_m3 / intrinsic_density_per_m3(temperature_k))
        length = debye_length_m(doping_per_m3, temperature_k, permittivity)
        self.flat = permittivity * VACUUM_PERMITTIVITY_F_PER_M / length  # F/m2 at flat band
        self._charge = 2**0.5 * self.flat * kt
        self._minority = exp(-2 * self.fermi)

    def charge(self, u: Array) -> Array:
        """Charge on the gate, C/m2, of the field under it."""
        import numpy as np

        square = _excess(-u) + self._minority * _excess(u)
        return np.asarray(np.sign(u) * self._charge * np.sqrt(square))

    def static(self, u: Array) -> Array:
        """Capacitance where both carriers follow, F/m2."""
        import numpy as np

        square = _excess(-u) + self._minority * _excess(u)
        slope = -np.expm1(-u) + self._minority * np.expm1(u)
        return self._of(u, slope, square)

    def fast(self, u: Array) -> Array:
        """Capacitance where only the majority carriers follow, F/m2."""
        import numpy as np

        held = np.minimum(u, 2 * self.fermi)
        return self._of(held, -np.expm1(-held), _excess(-held))

    def _of(self, u: Array, slope: Array, square: Array) -> Array:
        import numpy as np

        flat = np.abs(u) < 1e-6
        root = np.sqrt(np.where(flat, 1.0, 2 * square))
        return np.asarray(self.flat * np.where(flat, 1.0, np.abs(slope) / root))


def _excess(u: Array) -> Array:
    """Return exp(u) - u - 1, to all digits about zero too."""
    import numpy as np

    small = np.abs(u) < 1e-3
    near = u * u / 2 * (1 + u / 3 * (1 + u / 4))
    return np.asarray(np.where(small, near, np.expm1(np.where(small, 0.0, u)) - u))


def _bending(bias: Array, layer: _Layer, oxide: float, kt: float) -> Array:
    """Solve for the band bending that goes with a gate voltage; they rise together."""
    import numpy as np

    grid = np.linspace(-_STEEPEST, 2 * layer.fermi + _STEEPEST, _GRID)
    u = np.interp(bias, kt * grid + layer.charge(grid) / oxide, grid)
    for _ in range(4):  # from a grid of a quarter kT/q on Newton's steps reach the last bits
        error = kt * u + layer.charge(u) / oxide - bias
        u = u - error / (kt * (1 + layer.static(u) / oxide))
    return np.asarray(u)


def fit_mos_capacitor(
    gate_voltage_v: ArrayLike,
    capacitance_f: ArrayLike,
    area_m2: float,
    *,
    substrate: Substrate | None = None,
    quasi_static: bool = False,
    temperature_k: float = 300.0,
    relative_permittivity: float = SILICON_PERMITTIVITY,
    oxide_permittivity: float = OXIDE_PERMITTIVITY,
    area_u_m2: float = 0.0,
) -> MosFit:
    """Fit an ideal MOS capacitor to a measured C-V curve.

    Args:
        gate_voltage_v: gate against substrate, from accumulation past threshold.
        capacitance_f: parallel capacitance, series resistance and mount corrected.
        area_m2: area of the gate.
        substrate: ``p`` or ``n``; None reads it off the side on which the capacitance is larger,
            which a quasi-static curve does not tell.
        quasi_static: whether minority carriers follow, as in a slow ramp.
        temperature_k: temperature.
        relative_permittivity: of the semiconductor; silicon's by default.
        oxide_permittivity: of the oxide; that of SiO2 by default.
        area_u_m2: standard uncertainty of the area; it goes into the results'.

    Raises:
        ValueError: too few points, hardly a change, no accumulation in the sweep, a curve that no
            such capacitor has, or parameters that cannot be told.
    """
    volts, farads = _usable(gate_voltage_v, capacitance_f)
    if not area_m2 > 0 or not area_u_m2 >= 0:
        raise ValueError(
            f"area {area_m2!r} +- {area_u_m2!r} m2; expected more than 0, with no less than 0"
        )
    kind = substrate or _substrate(volts, farads, quasi_static)
    given: dict[str, Any] = {
        "substrate": kind,
        "quasi_static": quasi_static,
        "temperature_k": temperature_k,
        "relative_permittivity": relative_permittivity,
        "oxide_permittivity": oxide_permittivity,
    }
    found = _solve(volts, farads, area_m2, given)
    covariance = _refuse_what_is_none(found, volts, kind)
    values = _derived(found.values, area_m2, given)
    spread = _propagated(found.values, covariance, values, area_m2, given)
    if area_u_m2:
        other = _solve(volts, farads, area_m2 + area_u_m2, given)
        shifted = _derived(other.values, area_m2 + area_u_m2, given)
        spread = {
            name: (u**2 + (shifted[name] - values[name]) ** 2) ** 0.5 for name, u in spread.items()
        }
    numbers: dict[str, Any] = {**values, **{_uncertainty_of(n): u for n, u in spread.items()}}
    return MosFit(
        **numbers,
        residual=float((found.residuals**2).mean() ** 0.5),
        points_used=len(volts),
        area_m2=area_m2,
        **given,
    )


def _uncertainty_of(name: str) -> str:
    stem = name.removesuffix("_per_m3") if name.endswith("_per_m3") else name.rpartition("_")[0]
    return f"{stem}_u{name.removeprefix(stem)}"


def _usable(gate_voltage_v: ArrayLike, capacitance_f: ArrayLike) -> tuple[Array, Array]:
    import numpy as np

    volts, farads = paired(gate_voltage_v, capacitance_f, names="gate voltage and capacitance")
    keep = np.isfinite(volts) & np.isfinite(farads)
    order = np.argsort(volts[keep], kind="stable")
    volts, farads = volts[keep][order], farads[keep][order]
    if len(volts) < _MIN_POINTS:
        raise ValueError(
            f"not enough of a MOS capacitor: {len(volts)} points, at least {_MIN_POINTS} are needed"
        )
    if not (farads > 0).all():
        raise ValueError(
            f"not a capacitance: {int((farads <= 0).sum())} of {len(farads)} points are not above 0"
        )
    swing = float(np.quantile(farads, 0.95) / np.quantile(farads, 0.05))
    if swing < _LEAST_SWING:
        raise ValueError(
            f"not a MOS capacitor: the largest capacitance is {swing:.3f} of the smallest, at least"
            f" {_LEAST_SWING} is needed"
        )
    return volts, farads


def _substrate(volts: Array, farads: Array, quasi_static: bool) -> Substrate:
    import numpy as np

    if quasi_static:
        raise ValueError("a quasi-static curve is high on both sides: say substrate='p' or 'n'")
    part = max(len(volts) // 8, 1)
    return "p" if np.median(farads[:part]) > np.median(farads[-part:]) else "n"


@dataclass(frozen=True, slots=True)
class _Best:
    """What was fitted: ln(thickness), ln(doping) and flat band, and how well they are known."""

    values: list[float]
    covariance: Array | None
    residuals: Array


def _solve(volts: Array, farads: Array, area_m2: float, given: Mapping[str, Any]) -> _Best:
    """Fit with lmfit; parts of the reading are what is minimised."""
    import lmfit
    import numpy as np

    oxide = given["oxide_permittivity"] * VACUUM_PERMITTIVITY_F_PER_M
    thickness = oxide * area_m2 / (1.02 * float(np.quantile(farads, 0.98)))
    # The steepest place says nearly where flat band is, but not the doping: several are tried.
    # A quasi-static curve is as high again beyond its lowest point; flat band is on this side.
    lowest = volts[int(np.argmin(farads))]
    side = volts <= lowest if given["substrate"] == "p" else volts >= lowest
    away = np.abs(farads - 0.7 * farads.max() - 0.3 * farads.min())
    # Counted from far below, since steps in proportion to a flat band near 0 V would be none.
    zero = float(volts[int(np.argmin(np.where(side, away, np.inf)))]) - float(np.ptp(volts))

    def residuals(p: Any) -> Array:
        values = [p["log_thickness"].value, p["log_doping"].value, p["flat_band"].value + zero]
        return np.asarray((_curve(values, volts, area_m2, given) - farads) / farads)

    best: Any = None
    for doping in (1e21, 1e22, 1e23, 1e24):
        start = lmfit.Parameters()
        start.add("log_thickness", value=log(thickness), min=log(1e-10), max=log(1e-4))
        start.add("log_doping", value=log(doping), min=log(1e19), max=log(1e26))
        start.add("flat_band", value=float(np.ptp(volts)))
        found = lmfit.minimize(residuals, start, xtol=1e-10, ftol=1e-12, max_nfev=400)
        if best is None or found.chisqr < best.chisqr:
            best = found
        if found.chisqr / len(volts) < 0.01**2:
            break
    values = [float(p.value) for p in best.params.values()]
    return _Best([*values[:2], values[2] + zero], best.covar, np.asarray(best.residual))


def _curve(p: list[float], volts: Array, area_m2: float, given: Mapping[str, Any]) -> Array:
    return mos_capacitance_f(
        volts,
        oxide_thickness_m=exp(p[0]),
        doping_per_m3=exp(p[1]),
        flat_band_v=p[2],
        area_m2=area_m2,
        **given,
    )


def _refuse_what_is_none(found: _Best, volts: Array, kind: str) -> Array:
    """Return the covariance of a fit that says something."""
    import numpy as np

    residual = float(np.sqrt(np.mean(found.residuals**2)))
    if residual > _MOST_RESIDUAL:
        raise ValueError(
            f"not an ideal MOS capacitor: the best curve is {100 * residual:.1f} % off"
        )
    flat_band = found.values[2]
    accumulated = volts[0] < flat_band if kind == "p" else volts[-1] > flat_band
    if found.covariance is None or not accumulated:
        raise ValueError(
            "not enough of a MOS capacitor: the sweep does not go from accumulation into depletion"
            f" (flat band at {flat_band:.3g} V, sweep {volts[0]:g} to {volts[-1]:g} V)"
        )
    u_thickness, u_doping, _ = np.sqrt(np.diag(found.covariance))
    if not max(u_thickness, u_doping) < _MAX_UNCERTAIN:
        raise ValueError(
            f"too noisy, or too short a sweep, to tell: ln(doping) known to +- {u_doping:.2g},"
            f" ln(oxide thickness) to +- {u_thickness:.2g} from {len(volts)} points"
        )
    return found.covariance


def _derived(p: list[float], area_m2: float, given: Mapping[str, Any]) -> dict[str, float]:
    """Every result from the three fitted ones."""
    thickness, doping, flat_band = exp(p[0]), exp(p[1]), p[2]
    kt = thermal_v(given["temperature_k"])
    permittivity = given["relative_permittivity"] * VACUUM_PERMITTIVITY_F_PER_M
    oxide = given["oxide_permittivity"] * VACUUM_PERMITTIVITY_F_PER_M / thickness
    length = debye_length_m(doping, given["temperature_k"], given["relative_permittivity"])
    below = permittivity / length
    bulk_v = kt * log(doping / intrinsic_density_per_m3(given["temperature_k"]))
    charge = (4 * permittivity * ELEMENTARY_CHARGE_C * doping * max(bulk_v, 0.0)) ** 0.5
    sign = 1.0 if given["substrate"] == "p" else -1.0
    return {
        "oxide_capacitance_f": oxide * area_m2,
        "oxide_thickness_m": thickness,
        "doping_per_m3": doping,
        "flat_band_v": flat_band,
        "flat_band_capacitance_f": area_m2 * oxide * below / (oxide + below),
        "threshold_v": flat_band + sign * (2 * bulk_v + charge / oxide),
        "debye_length_m": length,
    }


def _propagated(
    best: list[float],
    covariance: Array,
    values: Mapping[str, float],
    area_m2: float,
    given: Mapping[str, Any],
) -> dict[str, float]:
    """Standard uncertainties of what is derived, by its slope along each fitted parameter."""
    import numpy as np

    steps = 1e-3 * np.sqrt(np.diag(covariance))
    slopes = {name: np.zeros(len(best)) for name in values}
    for at, step in enumerate(steps):
        moved = list(best)
        moved[at] += float(step)
        for name, value in _derived(moved, area_m2, given).items():
            slopes[name][at] = (value - values[name]) / step
    return {name: float(np.sqrt(g @ covariance @ g)) for name, g in slopes.items()}
