"""A measured diode: ideality, saturation current, series resistance, leakage.

Promises: each with its standard uncertainty, from noise that is found in the data itself; what is
no diode is refused with the reason, never fitted anyway. The model, the weights and their sources
are on the page docs/reference/analysis.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivebay.analysis.noise import LEAST_RELATIVE_NOISE, ROUNDS, likely_noise, rounding_noise
from drivebay.analysis.semiconductor import BOLTZMANN_J_PER_K, ELEMENTARY_CHARGE_C

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["DiodeFit", "diode_current_a", "fit_diode"]

_BOLTZMANN_OVER_CHARGE = BOLTZMANN_J_PER_K / ELEMENTARY_CHARGE_C

_MIN_POINTS = 8  # four parameters and some evidence
_CLEAR = 100.0  # a current so many noise floors up deviates by its own relative noise only
_LOUD = 10.0  # a current this many noise floors up says something about the curve by itself
_STEEPEST_POWER_LAW = (
    2.2  # current as a power of voltage: a resistor 1, space charge 2, a diode > 4
)
_COARSE = 200  # steps of voltage between which slopes are taken, at most
_MAX_UNCERTAIN = 0.5  # of ideality, or of ln(saturation current) / 2: more is not a measurement


@dataclass(frozen=True, slots=True)
class DiodeFit:
    """A diode's parameters, each with its standard uncertainty (one sigma).

    Attributes:
        ideality: the ideality factor n; 1 for an ideal junction, 2 where recombination dominates.
        saturation_current_a: I_s, amperes.
        series_resistance_ohm: R_s, ohms, not negative.
        leakage_s: conductance of an ohmic path beside the diode, siemens; about zero for a good
            one. It is fitted so that leakage does not pass for saturation current.
        ideality_u: standard uncertainty of ``ideality``.
        saturation_current_u_a: of ``saturation_current_a``.
        series_resistance_u_ohm: of ``series_resistance_ohm``.
        leakage_u_s: of ``leakage_s``.
        residual: root mean square of (measured - fitted) / fitted, of the points 100 noise
            floors up or more.
        points_used: how many points were fitted.
        temperature_k: the temperature that was assumed.
    """

    ideality: float
    saturation_current_a: float
    series_resistance_ohm: float
    leakage_s: float
    ideality_u: float
    saturation_current_u_a: float
    series_resistance_u_ohm: float
    leakage_u_s: float
    residual: float
    points_used: int
    temperature_k: float

    def current_a(self, voltage_v: ArrayLike) -> Array:
        """Return the fitted curve at these voltages."""
        import numpy as np

        volts = np.asarray(voltage_v, dtype=float)
        return self.leakage_s * volts + diode_current_a(
            volts,
            ideality=self.ideality,
            saturation_current_a=self.saturation_current_a,
            series_resistance_ohm=self.series_resistance_ohm,
            temperature_k=self.temperature_k,
        )


def diode_current_a(
    voltage_v: ArrayLike,
    *,
    ideality: float,
    saturation_current_a: float,
    series_resistance_ohm: float = 0.0,
    temperature_k: float = 300.0,
) -> Array:
    """Current of a diode with a resistor in series, in amperes.

    The diode equation I = I_s (exp((V - I R_s) / (n V_t)) - 1) (Sze and Ng, Physics of
    Semiconductor Devices, chapter "p-n Junctions") solved for I with Lambert's W (Corless,
    Gonnet, Hare, Jeffrey and Knuth, On the Lambert W function, Adv. Comput. Math. 5, 1996). W is
    evaluated as the Wright omega function, W(exp(z)), so that no forward voltage overflows.

    Args:
        voltage_v: voltage over diode and resistor together.
        ideality: n, > 0.
        saturation_current_a: I_s, > 0.
        series_resistance_ohm: R_s, >= 0.
        temperature_k: of the junction, > 0.

    >>> i = diode_current_a([0.6], ideality=1, saturation_current_a=1e-12, series_resistance_ohm=10)
    >>> f"{i[0]:.4g} A"
    '0.003322 A'
    """
    import numpy as np
    from scipy.special import wrightomega

    volts = np.asarray(voltage_v, dtype=float)
    scale_v = ideality * _BOLTZMANN_OVER_CHARGE * temperature_k
    drop = saturation_current_a * series_resistance_ohm / scale_v
    if drop < 1e-290:  # no resistance, or one whose logarithm would be no number any more
        return np.asarray(saturation_current_a * np.expm1(volts / scale_v), dtype=float)
    omega = wrightomega(np.log(drop) + volts / scale_v + drop)
    return np.asarray(scale_v / series_resistance_ohm * omega - saturation_current_a, dtype=float)


def fit_diode(
    voltage_v: ArrayLike,
    current_a: ArrayLike,
    temperature_k: float = 300.0,
    in_compliance: ArrayLike | None = None,
) -> DiodeFit:
    """Fit a diode with series resistance to a measured I-V curve.

    Forward points that are not in compliance are fitted; reverse points only tell the noise, since
    leakage and breakdown there are other physics. Each point is weighted by its noise, a part of
    the reading above and a floor below, and both are taken from the scatter of the data itself
    (maximum likelihood), so nothing has to be said of the instrument.

    Args:
        voltage_v: voltage over the diode; anode positive.
        current_a: current into the anode.
        temperature_k: junction temperature. n is as wrong as this is: their product is measured.
        in_compliance: where the instrument limited the current; these points are left out.

    Raises:
        ValueError: the data is no diode's: too few points, no forward current above the noise,
            a resistor's straight line, or a curve from which the parameters cannot be told.
    """
    volts, amps, floor_a = _usable(voltage_v, current_a, temperature_k, in_compliance)
    thermal_v = _BOLTZMANN_OVER_CHARGE * temperature_k
    loud = amps > _LOUD * floor_a
    start = _first_guess(*_coarse(volts[loud], amps[loud]), thermal_v)
    best, covariance, floor_a = _solve(volts, amps, floor_a, start, thermal_v)
    log_is, ideality, ohms, siemens = (float(value) for value in best)
    u_log_is, u_ideality, u_ohms, u_siemens = (float(v) ** 0.5 for v in covariance.diagonal())
    if not (u_ideality < _MAX_UNCERTAIN * ideality and u_log_is < 2 * _MAX_UNCERTAIN):
        raise ValueError(
            f"not a diode, or too noisy to tell: ideality {ideality:.3g} +- {u_ideality:.2g},"
            f" ln(saturation current) known to +- {u_log_is:.2g} from {len(volts)} points"
        )
    import numpy as np

    fitted = _model(best, volts, thermal_v)
    above = fitted > _CLEAR * floor_a
    deviation = (amps[above] - fitted[above]) / fitted[above]
    saturation_a = float(np.exp(log_is))
    return DiodeFit(
        ideality=ideality,
        saturation_current_a=saturation_a,
        series_resistance_ohm=ohms,
        leakage_s=siemens,
        ideality_u=u_ideality,
        saturation_current_u_a=saturation_a * u_log_is,
        series_resistance_u_ohm=u_ohms,
        leakage_u_s=u_siemens,
        residual=float(np.sqrt(np.mean(deviation**2))) if deviation.size else float("nan"),
        points_used=len(volts),
        temperature_k=temperature_k,
    )


def _usable(
    voltage_v: ArrayLike, current_a: ArrayLike, temperature_k: float, limited: ArrayLike | None
) -> tuple[Array, Array, float]:
    """Return the forward points, sorted by voltage, and the noise floor in amperes."""
    import numpy as np

    volts, amps = np.asarray(voltage_v, dtype=float), np.asarray(current_a, dtype=float)
    clipped = np.zeros(volts.shape, bool) if limited is None else np.asarray(limited, dtype=bool)
    if not volts.shape == amps.shape == clipped.shape or volts.ndim != 1:
        raise ValueError(
            f"voltage, current and compliance must be lists of one length; got shapes"
            f" {volts.shape}, {amps.shape}, {clipped.shape}"
        )
    if not temperature_k > 0:
        raise ValueError(f"temperature {temperature_k!r} K; expected more than 0")
    keep = np.isfinite(volts) & np.isfinite(amps) & ~clipped
    volts, amps = volts[keep], amps[keep]
    order = np.argsort(volts, kind="stable")
    volts, amps = volts[order], amps[order]
    if not amps.any():
        raise ValueError(f"not a diode: no current in any of {len(volts)} points")
    floor_a = _noise_floor_a(volts, amps)
    forward = volts > 0
    heard = np.abs(amps) > _LOUD * floor_a
    loud = int((heard & (amps > 0) & forward).sum())
    backward = float(-amps[heard & (volts < 0)].min(initial=0.0))
    reversed_ = backward > 10 * float(amps[forward].max(initial=0.0))
    hint = "; is it connected the other way round?" if reversed_ else ""
    if loud < _MIN_POINTS:
        raise ValueError(
            f"not enough of a diode: {loud} forward point{'s' * (loud != 1)} above the noise"
            f" and below compliance, at least {_MIN_POINTS} are needed{hint}"
        )
    heard &= forward & (amps > 0)
    _refuse_a_resistor(*_coarse(volts[heard], amps[heard]), hint)
    return volts[forward], amps[forward], floor_a


def _noise_floor_a(volts: Array, amps: Array) -> float:
    """Noise at small currents, from how neighbours scatter about a straight line.

    The quarter of the points nearest to zero volts is where the curve itself is flattest; the
    median makes it deaf to the few that lie where it is not.
    """
    import numpy as np

    quiet = np.sort(np.argsort(np.abs(volts), kind="stable")[: max(len(amps) // 4, 5)])
    second = np.abs(np.diff(amps[quiet], 2))
    # 1.4826 turns a median deviation into a sigma; sqrt(6) is a second difference's share of it.
    scatter = 1.4826 * float(np.median(second)) / 6**0.5 if second.size else 0.0
    return max(
        scatter, rounding_noise(amps), 1e-9 * float(np.abs(amps).max()) * LEAST_RELATIVE_NOISE
    )


def _refuse_a_resistor(volts: Array, amps: Array, hint: str) -> None:
    import numpy as np

    slopes = _slopes(np.log(volts), np.log(amps))
    if slopes.size == 0 or slopes.max() < _STEEPEST_POWER_LAW:
        power = f"V^{slopes.max():.2f}" if slopes.size else "a single point"
        raise ValueError(
            f"not a diode: the current grows no faster than {power},"
            f" a resistor's grows as V^1{hint}"
        )


def _coarse(volts: Array, amps: Array) -> tuple[Array, Array]:
    """Return what a long or repeated sweep looks like from afar: means over steps of voltage.

    Neighbours of many points are apart by noise alone, and a slope between them says nothing.
    """
    import numpy as np

    if len(volts) <= _COARSE:
        return volts, amps
    step = (volts - volts[0]) * (_COARSE / max(float(volts[-1] - volts[0]), 1e-300))
    _, group, size = np.unique(step.astype(int), return_inverse=True, return_counts=True)
    return np.bincount(group, volts) / size, np.exp(np.bincount(group, np.log(amps)) / size)


def _slopes(x: Array, y: Array, window: int = 5) -> Array:
    """Slope of the line through each run of neighbours."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    xs, ys = sliding_window_view(x, window), sliding_window_view(y, window)
    dx = xs - xs.mean(axis=1, keepdims=True)
    spread = (dx**2).sum(axis=1)
    ok = spread > 0
    return np.asarray((dx * ys).sum(axis=1)[ok] / spread[ok])


def _first_guess(volts: Array, amps: Array, thermal_v: float) -> Array:
    """Parameters read off the steepest part of ln(I) and the bend at its upper end."""
    import numpy as np

    slope = float(_slopes(volts, np.log(amps)).max())
    ideality = min(max(1 / (slope * thermal_v), 0.5), 20.0)
    scale_v = ideality * thermal_v
    # Every point says what I_s would be without a series resistance; the bend only lowers that.
    log_is = float(np.quantile(np.log(amps) - volts / scale_v, 0.75))
    top = slice(-max(len(volts) // 10, 1), None)
    missing_v = volts[top] - scale_v * np.log(np.maximum(amps[top] / np.exp(log_is), 1.0))
    ohms = float(np.median(np.maximum(missing_v, 0.0) / amps[top]))
    return np.array([log_is, ideality, max(ohms, 1e-3), 0.0])


def _model(parameters: Array, volts: Array, thermal_v: float) -> Array:
    import numpy as np

    log_is, ideality, ohms, siemens = parameters
    through = diode_current_a(
        volts,
        ideality=float(ideality),
        saturation_current_a=float(np.exp(log_is)),
        series_resistance_ohm=float(ohms),
        temperature_k=thermal_v / _BOLTZMANN_OVER_CHARGE,
    )
    return np.asarray(siemens * volts + through)


def _jacobian(parameters: Array, volts: Array, thermal_v: float) -> Array:
    """How the current changes with each parameter, by differentiating the implicit equation.

    Written out, because the effect of R_s at small currents drowns in a difference quotient, and
    the uncertainty of R_s would be its rounding error.
    """
    import numpy as np

    _, ideality, ohms, siemens = parameters
    diode = _model(parameters, volts, thermal_v) - siemens * volts
    conductance = (diode + np.exp(parameters[0])) / (ideality * thermal_v)
    share = 1 / (1 + conductance * ohms)
    junction_v = volts - diode * ohms
    return np.column_stack(
        [
            diode * share,
            -conductance * junction_v / ideality * share,
            -conductance * diode * share,
            volts,
        ]
    )


def _solve(
    volts: Array, amps: Array, floor_a: float, start: Array, thermal_v: float
) -> tuple[Array, Array, float]:
    """Return the parameters, their covariance, and the noise floor that was found.

    Curve and noise are fitted in turns. The first turn weighs every decade alike, which is what a
    fit of ln(I) would do, but it needs no logarithm of a current that noise made negative.
    """
    import numpy as np
    from scipy.optimize import least_squares

    # In these units the leakage is a number near one.
    scale = np.array([1.0, 1.0, 1.0, amps.max() / volts.max()])
    best, relative, least_a = start / scale, 0.1, rounding_noise(amps)
    low, high = [-100.0, 0.2, 1e-6, -1.0], [5.0, 30.0, 1e9, 1.0]
    for turn in range(ROUNDS + 1):
        sigma = np.hypot(floor_a, relative * amps)

        def residuals(p: Array, sigma: Array = sigma) -> Array:
            return np.asarray((_model(p * scale, volts, thermal_v) - amps) / sigma)

        def slopes(p: Array, sigma: Array = sigma) -> Array:
            return np.asarray(_jacobian(p * scale, volts, thermal_v) * scale / sigma[:, None])

        best = least_squares(
            residuals,
            np.clip(best, low, high),
            jac=slopes,
            bounds=(low, high),
            x_scale="jac",
            loss="soft_l1" if turn == 0 else "linear",
            xtol=1e-12, ftol=1e-12, gtol=1e-12, max_nfev=400,
        ).x  # fmt: skip
        if turn < ROUNDS:
            fitted = _model(best * scale, volts, thermal_v)
            relative, floor_a = likely_noise(amps - fitted, fitted, floor_a, least_a)
    covariance = _covariance(slopes(best)) * len(volts) / (len(volts) - 4)
    return best * scale, covariance * np.outer(scale, scale), floor_a


def _covariance(slopes: Array) -> Array:
    """Inverse of the normal matrix; columns are brought to one size first, to lose no digits."""
    import numpy as np

    size = np.maximum(np.sqrt((slopes**2).sum(axis=0)), 1e-300)
    _, singular, rows = np.linalg.svd(slopes / size, full_matrices=False)
    root = rows.T / np.maximum(singular, 1e-14)
    return np.asarray(root @ root.T / np.outer(size, size))
