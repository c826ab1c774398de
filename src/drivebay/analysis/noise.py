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
ROUNDS = 3  # turns of curve and noise; a fourth changes no digit that counts


def likely_noise(deviations: Array, fitted: Array, floor: float) -> tuple[float, float]:
    """Return the most likely part-of-reading and floor of Gaussian noise that left deviations.

    Args:
        deviations: measured minus fitted, in the unit of the data.
        fitted: the curve at the same places.
        floor: a first guess at the floor, above 0.
    """
    import numpy as np
    from scipy.optimize import minimize

    def unlikely(logs: Array) -> float:
        sigma2 = np.exp(2 * logs[1]) + (np.exp(logs[0]) * fitted) ** 2
        return float(np.sum(np.log(sigma2) + deviations**2 / sigma2))

    typical = float(np.median(np.abs(deviations) / np.maximum(np.abs(fitted), floor)))
    lowest = float(np.log(LEAST_RELATIVE_NOISE))
    floors = (float(np.log(floor)) - 12.0, float(np.log(floor)) + 3.0)
    found = minimize(
        unlikely,
        np.array([np.log(max(typical, 2 * LEAST_RELATIVE_NOISE)), np.log(floor)]),
        method="Nelder-Mead",
        bounds=[(lowest, 1.0), floors],
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
