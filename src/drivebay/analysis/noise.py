"""How noisy data is, from how it lies about a curve: a part of the reading and a floor.

Promises: nothing has to be said of the instrument; data without any noise (a simulator's) still
ends somewhere. Whoever fits weighs by what is found here and fits again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

LEAST_RELATIVE_NOISE = 1e-7
_HIGHEST = 1.0  # ln of the part of the reading; data that noisy says nothing
ROUNDS = 3  # turns of curve and noise; a fourth changes no digit that counts


def rounding_noise(values: Array) -> float:
    """Return the noise of readings that are rounded to a step: the step over the root of 12.

    A meter's last digit may stand still from point to point and looks free of noise then.
    JCGM 100:2008 (GUM), section F.2.2.1. Values that are not rounded have no step, and the
    least difference among them is nearly nothing.
    """
    import numpy as np

    steps = np.diff(np.unique(values))
    return float(steps.min()) / 12**0.5 if steps.size else 0.0


def likely_noise(
    deviations: Array, fitted: Array, floor: float, least: float = 0.0
) -> tuple[float, float]:
    """Return the most likely part-of-reading and floor of Gaussian noise that left deviations.

    Args:
        deviations: measured minus fitted, in the unit of the data.
        fitted: the curve at the same places.
        floor: a first guess at the floor, above 0.
        least: what the floor cannot be below.
    """
    import numpy as np
    from scipy.optimize import minimize

    def unlikely(logs: Array) -> float:
        sigma2 = np.exp(2 * logs[1]) + (np.exp(logs[0]) * fitted) ** 2
        return float(np.sum(np.log(sigma2) + deviations**2 / sigma2))

    typical = float(np.median(np.abs(deviations) / np.maximum(np.abs(fitted), floor)))
    lowest = float(np.log(LEAST_RELATIVE_NOISE))
    floor = max(floor, least)
    lowest_floor = max(float(np.log(floor)) - 12.0, float(np.log(least)) if least else -np.inf)
    floors = (lowest_floor, float(np.log(floor)) + 3.0)
    begin = float(np.log(max(typical, 2 * LEAST_RELATIVE_NOISE)))
    found = minimize(
        unlikely,
        np.array([min(begin, _HIGHEST), np.log(floor)]),
        method="Nelder-Mead",
        bounds=[(lowest, _HIGHEST), floors],
        options={"maxiter": 400},
    )
    return float(np.exp(found.x[0])), float(np.exp(found.x[1]))


def paired(*lists: Any, names: str) -> list[Array]:
    """Return lists as arrays of floats.

    Raises:
        ValueError: they are not lists of one length.
    """
    import numpy as np

    arrays = [np.asarray(values, dtype=float) for values in lists]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1:
        said = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"{names} must be lists of one length; got shapes {said}")
    return arrays
