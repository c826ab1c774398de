"""The standard methods: parameters, result columns, units, ranges; pure data.

A method name is worth something only if it means the same on every instrument. What a method takes
and gives is defined once, here, as typed data; JSON Schema, command-line options, signatures and
docs are generated from it. Imports no driver and, until levels are asked for, no numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from drivebay._core.methods.bias import IV_MONITOR, SPOT, IVMonitor, Spot
from drivebay._core.methods.check import validate
from drivebay._core.methods.impedance import (
    CF_SWEEP,
    CV_MEASUREMENT,
    TECHNIQUES,
    CFSweep,
    CVMeasurement,
)
from drivebay._core.methods.meter import (
    DC_CURRENT,
    DC_VOLTAGE,
    RESISTANCE,
    DCCurrent,
    DCVoltage,
    Resistance,
)
from drivebay._core.methods.page import CODES, reference_page
from drivebay._core.methods.quantity import UNITS, parse_quantity, say_quantity
from drivebay._core.methods.spec import (
    Column,
    Field,
    MethodSpec,
    fields,
    parameter_schema,
    quantity,
    signature_text,
)
from drivebay._core.methods.sweep import IV_SWEEP, VI_SWEEP, IVSweep, VISweep
from drivebay._core.methods.transistor import (
    OUTPUT_CURVE,
    TRANSFER_CURVE,
    OutputCurve,
    TransferCurve,
)

STANDARD: Mapping[str, MethodSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            IV_SWEEP,
            VI_SWEEP,
            SPOT,
            IV_MONITOR,
            TRANSFER_CURVE,
            OUTPUT_CURVE,
            CV_MEASUREMENT,
            CF_SWEEP,
            DC_VOLTAGE,
            DC_CURRENT,
            RESISTANCE,
        )
    }
)
"""Every standard method by name."""

__all__ = [
    "CODES",
    "STANDARD",
    "TECHNIQUES",
    "UNITS",
    "CFSweep",
    "CVMeasurement",
    "Column",
    "DCCurrent",
    "DCVoltage",
    "Field",
    "IVMonitor",
    "IVSweep",
    "MethodSpec",
    "OutputCurve",
    "Resistance",
    "Spot",
    "TransferCurve",
    "VISweep",
    "fields",
    "parameter_schema",
    "parse_quantity",
    "quantity",
    "reference_page",
    "say_quantity",
    "signature_text",
    "validate",
]
