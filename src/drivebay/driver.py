"""Write a driver: everything a driver needs, and nothing else.

    from drivebay.driver import IVSweep, ScpiDriver, method

    class MySmu(ScpiDriver):
        @method("iv_sweep")
        def iv_sweep(self, p: IVSweep):
            ...

A ``plugin.yaml`` beside the class (or ``@driver_plugin`` on it) says what it serves. The whole of
this is described in docs/reference/driver-api.md.
"""

from __future__ import annotations

from drivebay._core.contract import (
    CONTRACT_VERSION,
    InstrumentDriver,
    Resumable,
    ScpiDriver,
    Streaming,
    driver_plugin,
    method,
)
from drivebay._core.errors import (
    AbortedError,
    AnswerError,
    DrivebayError,
    DriverError,
    InstrumentError,
    LimitError,
    LinkError,
    LinkLostError,
    LinkOpenError,
    LinkTimeoutError,
    MethodError,
    ParameterError,
)
from drivebay._core.keeper import list_resources, open_link
from drivebay._core.links import Link
from drivebay._core.methods import (
    STANDARD,
    Column,
    Field,
    IVSweep,
    MethodSpec,
    fields,
    parse_quantity,
    quantity,
)

__all__ = [
    "CONTRACT_VERSION",
    "STANDARD",
    "AbortedError",
    "AnswerError",
    "Column",
    "DrivebayError",
    "DriverError",
    "Field",
    "IVSweep",
    "InstrumentDriver",
    "InstrumentError",
    "LimitError",
    "Link",
    "LinkError",
    "LinkLostError",
    "LinkOpenError",
    "LinkTimeoutError",
    "MethodError",
    "MethodSpec",
    "ParameterError",
    "Resumable",
    "ScpiDriver",
    "Streaming",
    "driver_plugin",
    "fields",
    "list_resources",
    "method",
    "open_link",
    "parse_quantity",
    "quantity",
]
