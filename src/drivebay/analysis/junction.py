"""A measured junction's capacitance: built-in potential, grading, doping, and doping over depth.

Promises: each number with its standard uncertainty; a curve that is no depletion capacitance is
refused with the reason. The fit is lmfit's, of ln C, so that a reading's noise weighs the same
everywhere: instruments of capacitance are noisy in parts of the reading.

Sources: S. M. Sze and K. K. Ng, *Physics of Semiconductor Devices*, 3rd edition, chapters 2
(depletion capacitance, 1/C^2) and 3 (Schottky); D. K. Schroder, *Semiconductor Material and Device
Characterization*, 3rd edition, chapter 2 (profiling). Full references are on the page
docs/reference/analysis.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from drivebay.analysis.noise import LEAST_RELATIVE_NOISE, paired
from drivebay.analysis.semiconductor import (
    ELEMENTARY_CHARGE_C,
    SILICON_PERMITTIVITY,
    VACUUM_PERMITTIVITY_F_PER_M,
    debye_length_m,
    thermal_v,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "DopingProfile",
    "JunctionFit",
    "doping_profile",
    "fit_junction",
    "junction_capacitance_f",
]

_MIN_POINTS = 8
_LEAST_SWING = 1.05  # largest over smallest capacitance; with less there is no curve
_MOST_RESIDUAL = 0.03  # of the reading; a depletion capacitance fits better than that
_MAX_UNCERTAIN = 0.5  # of the intercept: more is not a measurement
_EDGE_KT = {"pn": 2.0, "schottky": 1.0}  # what the tails of the carriers take off the intercept
_OTHER_GRADING, _SURE = 0.03, 1e-6  # refused: so far from what was imposed, so surely
_NOISE_WINDOW = 7
_LEAST_TOLD = 0.3  # of the stretches; a few are told by chance
_MEDIAN_CHI2_3 = 0.789  # median of chi squared with 7 - 4 degrees of freedom, over its mean


@dataclass(frozen=True, slots=True)
class JunctionFit:
    """A junction's parameters, with their standard uncertainties (one sigma).

    Attributes:
        zero_bias_f: capacitance at 0 V, the stray capacitance taken off; farads.
        intercept_v: where 1/C^(1/m) would be zero; volts.
        built_in_v: built-in potential: the intercept and 2 kT/q (p-n) or kT/q (Schottky).
        grading: m of C = C0 / (1 - V/Vi)^m: 1/2 for an abrupt junction, 1/3 for a linear grade.
        doping_per_m3: doping of the lighter side at the edge of the depletion layer at 0 V.
        zero_bias_u_f: standard uncertainty of ``zero_bias_f``.
        intercept_u_v: of ``intercept_v``.
        built_in_u_v: of ``built_in_v``.
        grading_u: of ``grading``; 0 where it was given.
        doping_u_per_m3: of ``doping_per_m3``; that of the area is in it.
        residual: root mean square of (measured - fitted) / fitted.
        points_used: how many points were fitted.
        area_m2: the area that was given.
        stray_f: the parallel capacitance that was given.
    """

    zero_bias_f: float
    intercept_v: float
    built_in_v: float
    grading: float
    doping_per_m3: float
    zero_bias_u_f: float
    intercept_u_v: float
    built_in_u_v: float
    grading_u: float
    doping_u_per_m3: float
    residual: float
    points_used: int
    area_m2: float
    stray_f: float

    def capacitance_f(self, voltage_v: ArrayLike) -> Array:
        """Return the fitted curve at these voltages; not-a-number beyond the intercept."""
        return self.stray_f + junction_capacitance_f(
            voltage_v,
            zero_bias_f=self.zero_bias_f,
            intercept_v=self.intercept_v,
            grading=self.grading,
        )


@dataclass(frozen=True, slots=True)
class DopingProfile:
    """Doping over depth, each with its standard uncertainty.

    Attributes:
        depth_m: width of the depletion layer at the middle of each stretch of the curve.
        doping_per_m3: doping there.
        depth_u_m: standard uncertainty of ``depth_m``.
        doping_u_per_m3: of ``doping_per_m3``; that of the area is in it.
        debye_length_m: at the median doping; no structure finer than a few of it is real.
    """

    depth_m: Array
    doping_per_m3: Array
    depth_u_m: Array
    doping_u_per_m3: Array
    debye_length_m: float


def junction_capacitance_f(
    voltage_v: ArrayLike, *, zero_bias_f: float, intercept_v: float, grading: float = 0.5
) -> Array:
    """Return the capacitance of a depletion layer; anode positive.

    >>> float(junction_capacitance_f(-2.1, zero_bias_f=1e-10, intercept_v=0.7).round(14))
    5e-11
    """
    import numpy as np

    bent = 1 - np.asarray(voltage_v, dtype=float) / intercept_v
    return np.asarray(zero_bias_f * np.where(bent > 0, bent, np.nan) ** -grading)


def fit_junction(
    voltage_v: ArrayLike,
    capacitance_f: ArrayLike,
    area_m2: float,
    *,
    grading: float | None = 0.5,
    kind: Literal["pn", "schottky"] = "pn",
    temperature_k: float = 300.0,
    relative_permittivity: float = SILICON_PERMITTIVITY,
    area_u_m2: float = 0.0,
    stray_f: float = 0.0,
    highest_v: float = 0.0,
) -> JunctionFit:
    """Fit a depletion capacitance to a measured C-V curve.

    Args:
        voltage_v: bias, anode positive: the sweep is at and below zero.
        capacitance_f: parallel capacitance.
        area_m2: area of the junction; the doping goes with its inverse square.
        grading: 0.5 imposes an abrupt junction (the straight line in 1/C^2), 1/3 a linear grade;
            None fits it.
        kind: ``schottky`` for a barrier of metal: how far the intercept is from the potential.
        temperature_k: temperature of the junction.
        relative_permittivity: of the semiconductor; silicon's by default.
        area_u_m2: standard uncertainty of the area; it goes into the doping's.
        stray_f: capacitance of the mount in parallel, taken off first.
        highest_v: points above are left out: forward, carriers add a capacitance of their own.

    Raises:
        ValueError: too few points, a capacitance that is not above the stray one, does not fall
            with reverse bias, or does not follow the law.

    >>> import numpy as np
    >>> volts = np.linspace(-10, 0, 21)
    >>> farads = junction_capacitance_f(volts, zero_bias_f=1e-10, intercept_v=0.65)
    >>> round(fit_junction(volts, farads, area_m2=1e-6).built_in_v, 4)
    0.7017
    """
    import numpy as np

    volts, farads = _usable(voltage_v, capacitance_f, stray_f, highest_v)
    _check_area(area_m2, area_u_m2)
    edge_v = _EDGE_KT[kind] * thermal_v(temperature_k)
    found = _solve(volts, farads, grading)
    if grading is not None:
        _refuse_another_grading(found, _solve(volts, farads, None), grading)
    residual = float(np.sqrt(np.mean(np.square(found.residual))))
    if residual > _MOST_RESIDUAL:
        raise ValueError(
            f"not a depletion capacitance: the best curve is {100 * residual:.1f} % off"
        )
    values, spread = _told(found, grading is None)
    c0, m = float(np.exp(values["log_c0"])), values["grading"]
    permittivity = relative_permittivity * VACUUM_PERMITTIVITY_F_PER_M
    # d(1/C^2)/dV of the law at 0 V, in the formula of the profile.
    doping = c0**2 * values["intercept"] / (ELEMENTARY_CHARGE_C * permittivity * area_m2**2 * m)
    gradient = {"log_c0": 2.0, "intercept": 1 / values["intercept"], "grading": -1 / m}
    relative_u = _propagated(found, gradient)
    return JunctionFit(
        zero_bias_f=c0,
        intercept_v=values["intercept"],
        built_in_v=values["intercept"] + edge_v,
        grading=m,
        doping_per_m3=doping,
        zero_bias_u_f=c0 * spread["log_c0"],
        intercept_u_v=spread["intercept"],
        built_in_u_v=spread["intercept"],
        grading_u=spread["grading"],
        doping_u_per_m3=doping * float(np.hypot(relative_u, 2 * area_u_m2 / area_m2)),
        residual=residual,
        points_used=len(volts),
        area_m2=area_m2,
        stray_f=stray_f,
    )


def _solve(volts: Array, farads: Array, grading: float | None) -> Any:
    """Fit ln C with lmfit; a grading of None is fitted too."""
    import lmfit
    import numpy as np

    start = lmfit.Parameters()
    start.add("log_c0", value=float(np.log(farads[-1])))
    start.add("intercept", value=0.7, min=1e-3, max=100.0)
    start.add("grading", value=grading or 0.45, min=0.05, max=2.0, vary=grading is None)

    def residuals(p: Any) -> Array:
        bent = np.log1p(-volts / p["intercept"].value)
        return np.asarray(p["log_c0"].value - p["grading"].value * bent - np.log(farads))

    return lmfit.minimize(residuals, start, xtol=1e-12, ftol=1e-12)


def _refuse_another_grading(imposed: Any, free: Any, grading: float) -> None:
    """Compare with the best grading (F test): an imposed one gives its numbers to any curve.

    Raises:
        ValueError: the data is of another grading, and that is no chance.
    """
    from scipy.stats import f as f_distribution

    best = float(free.params["grading"].value)
    if abs(best - grading) < _OTHER_GRADING or not free.nfree > 0:
        return
    ratio = (imposed.chisqr - free.chisqr) / max(free.chisqr / free.nfree, 1e-300)
    if f_distribution.sf(ratio, 1, free.nfree) < _SURE:
        raise ValueError(
            f"not a junction of grading {grading:.3g}: {best:.3g} fits better, and that is no"
            " chance; grading=None fits it"
        )


def _usable(
    voltage_v: ArrayLike, capacitance_f: ArrayLike, stray_f: float, highest_v: float
) -> tuple[Array, Array]:
    """Return the points to fit, sorted by voltage, the stray capacitance taken off."""
    import numpy as np

    volts, farads = paired(voltage_v, capacitance_f, names="voltage and capacitance")
    farads = farads - stray_f
    keep = np.isfinite(volts) & np.isfinite(farads) & (volts <= highest_v)
    order = np.argsort(volts[keep], kind="stable")
    volts, farads = volts[keep][order], farads[keep][order]
    if len(volts) < _MIN_POINTS:
        raise ValueError(
            f"not enough of a junction: {len(volts)} points at or below {highest_v:g} V,"
            f" at least {_MIN_POINTS} are needed; is it connected the other way round?"
        )
    if not (farads > 0).all():
        raise ValueError(
            f"not a capacitance: {int((farads <= 0).sum())} of {len(farads)} points are not above"
            f" the stray {stray_f:g} F"
        )
    part = max(len(farads) // 8, 1)
    swing = float(np.median(farads[-part:]) / np.median(farads[:part]))
    if swing < _LEAST_SWING:
        raise ValueError(
            "not a depletion capacitance: from the largest reverse bias to the smallest it goes to"
            f" {swing:.3f} of itself, at least {_LEAST_SWING} is needed"
        )
    return volts, farads


def _check_area(area_m2: float, area_u_m2: float) -> None:
    if not area_m2 > 0 or not area_u_m2 >= 0:
        raise ValueError(
            f"area {area_m2!r} +- {area_u_m2!r} m2; expected more than 0, with no less than 0"
        )


def _told(found: Any, graded: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return values and standard uncertainties by name.

    Raises:
        ValueError: the data does not tell them.
    """
    values = {name: float(p.value) for name, p in found.params.items()}
    if found.covar is None:
        raise ValueError("not a depletion capacitance, or too noisy to tell: the fit has no best")
    spread = {name: float(p.stderr or 0.0) for name, p in found.params.items()}
    if not spread["intercept"] < _MAX_UNCERTAIN * values["intercept"]:
        raise ValueError(
            f"too noisy, or too short a sweep, to tell: intercept {values['intercept']:.3g}"
            f" +- {spread['intercept']:.2g} V" + (", with the grading fitted too" if graded else "")
        )
    return values, spread


def _propagated(found: Any, gradient: dict[str, float]) -> float:
    """Standard uncertainty of a quantity whose derivatives by the fitted parameters are known."""
    import numpy as np

    slope = np.array([gradient[name] for name in found.var_names])
    return float(np.sqrt(slope @ found.covar @ slope))


def doping_profile(
    voltage_v: ArrayLike,
    capacitance_f: ArrayLike,
    area_m2: float,
    *,
    window: int = 5,
    temperature_k: float = 300.0,
    relative_permittivity: float = SILICON_PERMITTIVITY,
    area_u_m2: float = 0.0,
    stray_f: float = 0.0,
    highest_v: float = 0.0,
) -> DopingProfile:
    """Return the doping over depth, from the slope of 1/C^2.

    N = 2 / (q eps A^2 |d(1/C^2)/dV|) at W = eps A / C (Schroder, chapter 2). The slope is that of
    a straight line through each ``window`` neighbours; neighbouring values share points.

    Args:
        voltage_v: bias, anode positive.
        capacitance_f: parallel capacitance.
        area_m2: area of the junction.
        window: points a line; more are less noisy and blur more. Odd, 3 or more.
        temperature_k: for the Debye length.
        relative_permittivity: of the semiconductor; silicon's by default.
        area_u_m2: standard uncertainty of the area.
        stray_f: capacitance of the mount in parallel, taken off first.
        highest_v: points above are left out.

    Raises:
        ValueError: as :func:`fit_junction`; or the noise hides the slope nearly everywhere.
    """
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    if window < 3 or window % 2 == 0:
        raise ValueError(f"window {window!r}; expected an odd number, 3 or more")
    volts, farads = _usable(voltage_v, capacitance_f, stray_f, highest_v)
    volts, farads = _averaged(volts, farads)
    _check_area(area_m2, area_u_m2)
    if len(volts) < max(window, _NOISE_WINDOW) + 2:
        raise ValueError(
            f"not enough of a curve: {len(volts)} different voltages,"
            f" at least {max(window, _NOISE_WINDOW) + 2} are needed"
        )
    relative = _relative_noise(volts, farads)
    y = farads**-2.0
    x, ys = sliding_window_view(volts, window), sliding_window_view(y, window)
    sigma = 2 * relative * ys
    dx = x - x.mean(axis=1, keepdims=True)
    spread = (dx**2).sum(axis=1)
    slope = (dx * ys).sum(axis=1) / spread
    slope_u = np.sqrt(((dx * sigma) ** 2).sum(axis=1)) / spread
    told = (slope < 0) & (slope_u < 0.5 * np.abs(slope))
    if told.mean() < _LEAST_TOLD:
        raise ValueError(
            f"too noisy to tell a profile: the noise is {100 * relative:.2g} % of the reading;"
            f" a window of more than {window} points, or a longer sweep, tells more"
        )
    slope, slope_u, middle = slope[told], slope_u[told], ys.mean(axis=1)[told]
    middle_u = np.sqrt((sigma**2).sum(axis=1))[told] / window
    permittivity = relative_permittivity * VACUUM_PERMITTIVITY_F_PER_M
    doping = 2 / (ELEMENTARY_CHARGE_C * permittivity * area_m2**2 * np.abs(slope))
    depth = permittivity * area_m2 * np.sqrt(middle)
    area_part = area_u_m2 / area_m2
    order = np.argsort(depth)
    doping_u = doping * np.hypot(slope_u / slope, 2 * area_part)
    depth_u = depth * np.hypot(middle_u / (2 * middle), area_part)
    debye = debye_length_m(float(np.median(doping)), temperature_k, relative_permittivity)
    return DopingProfile(depth[order], doping[order], depth_u[order], doping_u[order], debye)


def _averaged(volts: Array, farads: Array) -> tuple[Array, Array]:
    """Join what was measured at one voltage on the way up and on the way down."""
    import numpy as np

    least = 1e-6 * float(np.ptp(volts))
    group = np.concatenate([[0], np.cumsum(np.diff(volts) > least)])
    count = np.bincount(group)
    return np.bincount(group, volts) / count, np.bincount(group, farads) / count


def _relative_noise(volts: Array, farads: Array) -> float:
    """Noise as a part of the reading, from how neighbours lie about a cubic through them.

    The median of the stretches is deaf to those few where a cubic does not follow the curve.
    """
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    x = sliding_window_view(volts, _NOISE_WINDOW)
    y = sliding_window_view(np.log(farads), _NOISE_WINDOW)
    squares = []
    for a, b in zip(x, y, strict=True):
        columns = np.vander((a - a.mean()) / np.ptp(a), 4)
        best = np.linalg.lstsq(columns, b, rcond=None)[0]
        squares.append(float(np.sum((b - columns @ best) ** 2)) / (_NOISE_WINDOW - 4))
    return max(float(np.sqrt(np.median(squares) / _MEDIAN_CHI2_3)), LEAST_RELATIVE_NOISE)
