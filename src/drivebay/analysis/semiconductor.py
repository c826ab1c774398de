"""Constants of nature and of silicon that the fits share, each with its source.

Promises: SI units; no fit. Constants are the exact values of 2019 (BIPM, *The International System
of Units*, 9th edition) and the CODATA 2018 permittivity.
"""

from __future__ import annotations

import math

BOLTZMANN_J_PER_K = 1.380649e-23
ELEMENTARY_CHARGE_C = 1.602176634e-19
VACUUM_PERMITTIVITY_F_PER_M = 8.8541878128e-12

# S. M. Sze and K. K. Ng, Physics of Semiconductor Devices, 3rd edition, tables of properties:
# silicon 11.9, SiO2 3.9. (Others give 11.7 for silicon; the doping goes with its inverse.)
SILICON_PERMITTIVITY = 11.9
OXIDE_PERMITTIVITY = 3.9


def thermal_v(temperature_k: float) -> float:
    """Return kT/q.

    Raises:
        ValueError: the temperature is not above 0 K.

    >>> round(thermal_v(300.0), 6)
    0.025852
    """
    if not temperature_k > 0:
        raise ValueError(f"temperature {temperature_k!r} K; expected more than 0")
    return BOLTZMANN_J_PER_K * temperature_k / ELEMENTARY_CHARGE_C


def intrinsic_density_per_m3(temperature_k: float) -> float:
    """Return the density of carriers in undoped silicon.

    K. Misiakos and D. Tsamakis, *Journal of Applied Physics* 74 (1993) 3293, measured from 78 to
    340 K.

    >>> f"{intrinsic_density_per_m3(300.0):.2g}"
    '9.7e+15'
    """
    states = 5.29e25 * math.pow(temperature_k / 300.0, 2.54)
    return states * math.exp(-6726.0 / temperature_k)


def debye_length_m(
    doping_per_m3: float,
    temperature_k: float = 300.0,
    relative_permittivity: float = SILICON_PERMITTIVITY,
) -> float:
    """Return the extrinsic Debye length, below which a profile of doping cannot be resolved.

    E. H. Nicollian and J. R. Brews, *MOS (Metal Oxide Semiconductor) Physics and Technology*, 1982.

    >>> f"{debye_length_m(1e22) * 1e9:.0f} nm"
    '41 nm'
    """
    permittivity = relative_permittivity * VACUUM_PERMITTIVITY_F_PER_M
    charge = ELEMENTARY_CHARGE_C * doping_per_m3
    return math.sqrt(permittivity * thermal_v(temperature_k) / charge)
