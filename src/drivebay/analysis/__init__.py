"""Numbers out of curves: diodes, resistors and capacitors, and how well each number is known.

Promises: every result comes with its standard uncertainty; data that is not what a fit is for is
refused with the reason, never fitted anyway; the source of each model stands beside it. Needs scipy
and lmfit (the extra ``drivebay[analysis]``), which are imported when the first fit is made.
"""

from __future__ import annotations

from drivebay.analysis.diode import DiodeFit, diode_current_a, fit_diode
from drivebay.analysis.junction import (
    DopingProfile,
    JunctionFit,
    doping_profile,
    fit_junction,
    junction_capacitance_f,
)
from drivebay.analysis.moscap import MosFit, fit_mos_capacitor, mos_capacitance_f
from drivebay.analysis.parameters import Parameter, parameters_of
from drivebay.analysis.resistance import ResistanceFit, fit_resistance

__all__ = [
    "DiodeFit",
    "DopingProfile",
    "JunctionFit",
    "MosFit",
    "Parameter",
    "ResistanceFit",
    "diode_current_a",
    "doping_profile",
    "fit_diode",
    "fit_junction",
    "fit_mos_capacitor",
    "fit_resistance",
    "junction_capacitance_f",
    "mos_capacitance_f",
    "parameters_of",
]
