"""The results of any fit as a list: name, value, standard uncertainty, unit.

Promises: nothing that the fit does not say; the unit is read from the end of the name and the
uncertainty is the field of that name with ``_u`` before the unit, as all fits here are named.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

# The longest endings first: ``_per_m3`` ends in no other unit, but ``_m`` ends ``_per_m`` too.
_UNITS = {
    "per_m3": "1/m3", "ohm": "ohm", "m2": "m2", "a": "A", "v": "V", "f": "F", "s": "S", "k": "K",
    "m": "m",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of a fit.

    Attributes:
        name: name of the field, without its unit.
        value: in ``unit``.
        uncertainty: standard uncertainty; None where the value is exact or was given.
        unit: empty where there is none.
    """

    name: str
    value: float
    uncertainty: float | None
    unit: str


def parameters_of(fit: Any) -> list[Parameter]:
    """Return the fitted numbers of a result, in its order.

    >>> from drivebay.analysis import fit_resistance
    >>> fit = fit_resistance([0, 1, 2, 3], [0, 1e-3, 2e-3, 3e-3])
    >>> [(p.name, p.unit) for p in parameters_of(fit)][:2]
    [('resistance', 'ohm'), ('offset', 'V')]
    """
    known = {field.name: getattr(fit, field.name) for field in fields(fit)}
    found = []
    for name, value in known.items():
        bare, unit = _split(name)
        if isinstance(value, bool) or not isinstance(value, float) or bare.endswith("_u"):
            continue
        ending = name.removeprefix(bare)
        found.append(Parameter(bare, value, known.get(f"{bare}_u{ending}"), unit))
    return found


def _split(name: str) -> tuple[str, str]:
    for ending, unit in _UNITS.items():
        if name.endswith(f"_{ending}"):
            return name.removesuffix(f"_{ending}"), unit
    return name, ""
