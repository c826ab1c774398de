"""The standard methods: parameters, result columns, units, ranges; pure data.

A method name is worth something only if it means the same on every instrument. What a method takes
and gives is defined once, here, as typed data; JSON Schema, command-line options, signatures and
docs are generated from it. Imports no driver and, until levels are asked for, no numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from drivebay._core.methods.check import validate
from drivebay._core.methods.page import CODES, reference_page
from drivebay._core.methods.quantity import UNITS, parse_quantity
from drivebay._core.methods.spec import (
    Column,
    Field,
    MethodSpec,
    fields,
    parameter_schema,
    quantity,
    signature_text,
)
from drivebay._core.methods.sweep import IV_SWEEP, IVSweep

STANDARD: Mapping[str, MethodSpec] = MappingProxyType({IV_SWEEP.name: IV_SWEEP})
"""Every standard method by name."""

__all__ = [
    "CODES",
    "STANDARD",
    "UNITS",
    "Column",
    "Field",
    "IVSweep",
    "MethodSpec",
    "fields",
    "parameter_schema",
    "parse_quantity",
    "quantity",
    "reference_page",
    "signature_text",
    "validate",
]
