"""A measured resistor: resistance and offset voltage from a straight line, and whether it is one.

Promises: standard uncertainties that hold whatever the noise does from one end of the sweep to the
other; what bends is refused or told, never averaged over. Linear least squares in closed form, so
there is nothing to converge. The line and weights: N. R. Draper and H. Smith, *Applied Regression
Analysis*. Uncertainties where the noise of each point is another and unknown: HC3 of J. G.
MacKinnon and H. White, *Journal of Econometrics* 29 (1985) 305.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from drivebay.analysis.noise import LEAST_RELATIVE_NOISE, paired

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["ResistanceFit", "fit_resistance"]

_MIN_POINTS = 4  # two parameters and some evidence
_CURVED = 2  # square and cube: how many parameters a bent line has more
_BEND = 0.1  # of its height; a line that is significantly bent by more is none
_SIGNIFICANT = 0.001
_TOLD = 4.0  # standard uncertainties a slope must be from none


@dataclass(frozen=True, slots=True)
class ResistanceFit:
    """A resistor's parameters, with their standard uncertainties (one sigma).

    Attributes:
        resistance_ohm: of the device, the leads taken off where they were given; ohms.
        offset_v: the voltage at which no current flows: thermal voltages, an offset of the source.
        resistance_u_ohm: standard uncertainty of ``resistance_ohm``, that of the leads included.
        offset_u_v: of ``offset_v``.
        nonlinearity: how far the best cubic is from the line, as a part of the line's height.
        nonlinearity_p: how probable so much curvature is for a straight line with this noise.
        residual: root mean square of measured - fitted, as a part of the line's height.
        points_used: how many points were fitted.
        wires: 2 or 4; with 2 the leads are in the measurement.
        leads_ohm: the resistance of the leads that was taken off.
    """

    resistance_ohm: float
    offset_v: float
    resistance_u_ohm: float
    offset_u_v: float
    nonlinearity: float
    nonlinearity_p: float
    residual: float
    points_used: int
    wires: int
    leads_ohm: float

    @property
    def linear(self) -> bool:
        """Whether the points may lie on a straight line, at the level of one in a thousand."""
        return self.nonlinearity_p >= _SIGNIFICANT

    def current_a(self, voltage_v: ArrayLike) -> Array:
        """Return the fitted line at these voltages, leads included."""
        import numpy as np

        whole_ohm = self.resistance_ohm + self.leads_ohm
        return np.asarray((np.asarray(voltage_v, dtype=float) - self.offset_v) / whole_ohm)


def fit_resistance(
    voltage_v: ArrayLike,
    current_a: ArrayLike,
    in_compliance: ArrayLike | None = None,
    *,
    sourced: Literal["voltage", "current"] = "voltage",
    measured_u: ArrayLike | None = None,
    wires: Literal[2, 4] = 2,
    leads_ohm: float = 0.0,
    leads_u_ohm: float = 0.0,
) -> ResistanceFit:
    """Fit a straight line to a measured I-V curve.

    What was sourced is taken as exact, what was measured as noisy. The offset is fitted too, lest
    a thermal voltage or an offset of the meter pass for resistance. Without
    ``measured_u`` all points weigh alike and the uncertainty comes from the scatter, whatever its
    size at each point; a model of the noise would have to be found in too few points.

    Args:
        voltage_v: voltage over the device, and with two wires over its leads.
        current_a: current through it.
        in_compliance: where the instrument limited; these points are left out.
        sourced: which of the two was set, the other being measured.
        measured_u: standard uncertainty of each measured value, in its unit, such as a data
            sheet gives; points are weighted by it and the result's uncertainty follows from it.
        wires: 4 where the voltage was sensed at the device.
        leads_ohm: resistance of both leads together, taken off a two-wire result.
        leads_u_ohm: its standard uncertainty, which goes into the result's.

    Raises:
        ValueError: the data is no resistor's: too few points, one level only, no current above the
            noise, a curve; or leads were given for four wires.

    >>> fit = fit_resistance([-1, 0, 1, 2, 3], [-0.0101, 0.0, 0.0099, 0.0201, 0.03])
    >>> print(f"{fit.resistance_ohm:.1f} +- {fit.resistance_u_ohm:.1f} ohm, linear: {fit.linear}")
    99.7 +- 0.3 ohm, linear: True
    """
    import numpy as np

    if wires == 4 and (leads_ohm or leads_u_ohm):
        raise ValueError(
            f"leads of {leads_ohm!r} ohm were given, but four wires do not measure them"
        )
    volts, amps = paired(voltage_v, current_a, names="voltage and current")
    keep = np.isfinite(volts) & np.isfinite(amps)
    if in_compliance is not None:
        _, clipped = paired(volts, in_compliance, names="voltage and compliance")
        keep &= clipped == 0
    x, y = (volts, amps) if sourced == "voltage" else (amps, volts)
    sigma = None if measured_u is None else _weights(y, measured_u)[keep]
    x, y = x[keep], y[keep]
    _refuse_too_little(x, y, sourced)
    line, covariance = _polynomial(x, y, sigma, 1)
    nonlinearity, chance = _curvature(x, y, sigma, line)
    if nonlinearity > _BEND and chance < _SIGNIFICANT:
        raise ValueError(
            f"not a resistor: the curve bends {100 * nonlinearity:.0f} % away from a straight line"
        )
    (offset, slope), spread = line, np.sqrt(np.diag(covariance))
    if not abs(slope) > _TOLD * spread[1]:
        raise ValueError(_untold(y - offset - slope * x, slope, spread[1], sourced))
    if slope < 0:
        raise ValueError(
            "not a resistor: the current falls as the voltage rises;"
            " is one of the two measured the other way round?"
        )
    ohms, u_ohms, offset_v, u_offset_v = _results(offset, slope, covariance, sourced)
    height = float(np.ptp(offset + slope * x))
    return ResistanceFit(
        resistance_ohm=ohms - leads_ohm,
        offset_v=offset_v,
        resistance_u_ohm=float(np.hypot(u_ohms, leads_u_ohm)),
        offset_u_v=u_offset_v,
        nonlinearity=nonlinearity,
        nonlinearity_p=chance,
        residual=float(np.sqrt(np.mean((y - offset - slope * x) ** 2))) / height,
        points_used=len(x),
        wires=wires,
        leads_ohm=leads_ohm,
    )


def _refuse_too_little(x: Array, y: Array, sourced: str) -> None:
    import numpy as np

    if len(x) < _MIN_POINTS or len(np.unique(x)) < 3:
        raise ValueError(
            f"not enough of a line: {len(x)} points below compliance at"
            f" {len(np.unique(x))} levels, at least {_MIN_POINTS} at 3 are needed"
        )
    if not y.any():
        what = "current" if sourced == "voltage" else "voltage"
        raise ValueError(f"not a resistor: no {what} in any of {len(y)} points")


def _weights(y: Array, measured_u: ArrayLike) -> Array:
    import numpy as np

    given = np.broadcast_to(np.asarray(measured_u, dtype=float), y.shape)
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError("uncertainties of measured values must be finite and above 0")
    return given


def _polynomial(x: Array, y: Array, sigma: Array | None, power: int) -> tuple[Array, Array]:
    """Return the coefficients of a polynomial, lowest power first, and their covariance."""
    import numpy as np

    # In these units every column is about one, so that no digits are lost.
    scale = float(np.abs(x).max())
    columns = np.vander(x / scale, power + 1, increasing=True)
    values = y if sigma is None else y / sigma
    if sigma is not None:
        columns = columns / sigma[:, None]
    inverse = np.linalg.pinv(columns)
    best = inverse @ values
    if sigma is None:
        # HC3: the deviation of each point from the curve that the others would give.
        leverage = np.sum(columns * inverse.T, axis=1)
        alone = (values - columns @ best) / np.maximum(1 - leverage, 1e-6)
        covariance = (inverse * alone**2) @ inverse.T
    else:
        covariance = inverse @ inverse.T
    back = scale ** -np.arange(power + 1.0)
    return best * back, covariance * np.outer(back, back)


def _curvature(x: Array, y: Array, sigma: Array | None, line: Array) -> tuple[float, float]:
    """Return how bent the points are, and how probable that is by chance (Wald test)."""
    import numpy as np
    from scipy.stats import f as f_distribution

    freedom = len(x) - 2 - _CURVED
    if freedom < 1 or len(np.unique(x)) < 2 + _CURVED:
        return 0.0, 1.0
    # About the middle of the sweep, so that square and cube are not each other's shadow.
    middle = (float(x.min()) + float(x.max())) / 2
    cubic, covariance = _polynomial(x - middle, y, sigma, 1 + _CURVED)
    straight = line[0] + line[1] * x
    bent = np.polynomial.polynomial.polyval(x - middle, cubic)
    height = float(np.ptp(straight)) or float(np.ptp(y)) or 1.0
    bend = float(np.abs(bent - straight).max()) / height
    if bend < LEAST_RELATIVE_NOISE:  # arithmetic, not a curve
        return bend, 1.0
    scale = np.sqrt(np.diag(covariance))[2:]
    part = cubic[2:] / scale
    ratio = part @ np.linalg.pinv(covariance[2:, 2:] / np.outer(scale, scale)) @ part / _CURVED
    return bend, float(f_distribution.sf(ratio, _CURVED, freedom))


def _untold(deviations: Array, slope: float, slope_u: float, sourced: str) -> str:
    """Say why there is no slope: neighbours that deviate alike are a curve, others are noise."""
    import numpy as np

    ratio = np.sum(np.diff(deviations) ** 2) / max(float(np.sum(deviations**2)), 1e-300)
    if ratio < 1.0:  # von Neumann's ratio: 2 for noise
        return "not a resistor: the curve bends too much for any line"
    unit = "A/V" if sourced == "voltage" else "V/A"
    return f"no resistance to be told: the slope is {slope:.3g} +- {slope_u:.2g} {unit}"


def _results(
    offset: float, slope: float, covariance: Array, sourced: str
) -> tuple[float, float, float, float]:
    """Resistance and offset voltage, each with its uncertainty, from the line's two numbers."""
    import numpy as np

    spread = np.sqrt(np.diag(covariance))
    if sourced == "current":
        return float(slope), float(spread[1]), float(offset), float(spread[0])
    zero_v = -offset / slope
    gradient = np.array([-1 / slope, offset / slope**2])
    u_zero_v = float(np.sqrt(gradient @ covariance @ gradient))
    return float(1 / slope), float(spread[1] / slope**2), float(zero_v), u_zero_v
