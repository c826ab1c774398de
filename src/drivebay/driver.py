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

import os

from drivebay._core.contract import (
    CONTRACT_VERSION,
    Asked,
    AskedNumbers,
    InstrumentDriver,
    Readings,
    Resumable,
    Run,
    ScpiDriver,
    Source,
    SourceMeter,
    SteppedSource,
    Steps,
    Streaming,
    Timeline,
    driver_plugin,
    method,
)
from drivebay._core.errors import (
    AbortedError,
    AnswerError,
    Diagnostic,
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
from drivebay._core.keeper import GRANT_VARIABLE, borrowed, list_resources
from drivebay._core.links import Link, Recording, ReplayLink
from drivebay._core.methods import (
    STANDARD,
    CFSweep,
    Column,
    CVMeasurement,
    DCCurrent,
    DCVoltage,
    Field,
    IVMonitor,
    IVSweep,
    MethodSpec,
    OutputCurve,
    Resistance,
    Spot,
    TransferCurve,
    VISweep,
    fields,
    parameter_schema,
    parse_quantity,
    quantity,
)

__all__ = [
    "CONTRACT_VERSION",
    "STANDARD",
    "AbortedError",
    "AnswerError",
    "Asked",
    "AskedNumbers",
    "CFSweep",
    "CVMeasurement",
    "Column",
    "DCCurrent",
    "DCVoltage",
    "Diagnostic",
    "DrivebayError",
    "DriverError",
    "Field",
    "IVMonitor",
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
    "OutputCurve",
    "ParameterError",
    "Readings",
    "Recording",
    "ReplayLink",
    "Resistance",
    "Resumable",
    "Run",
    "ScpiDriver",
    "Source",
    "SourceMeter",
    "Spot",
    "SteppedSource",
    "Steps",
    "Streaming",
    "Timeline",
    "TransferCurve",
    "VISweep",
    "driver_plugin",
    "fields",
    "list_resources",
    "method",
    "open_link",
    "parameter_schema",
    "parse_quantity",
    "quantity",
]


def open_link(
    resource: str,
    *,
    timeout_s: float = 5.0,
    visa_library: str | None = None,
    baud_rate: int | None = None,
    terminator: str | None = None,
    force: bool = False,
) -> Link:
    """Open an instrument, through the keeper of this process; nobody else can command it then.

    In the process of a driver it is the instrument the driver was lent, and no other. Elsewhere
    what the bench file in force says of it holds, its limits as well: see ``open_on_bench``.

    Args:
        resource: its address, see docs/reference/resources.md, or its name on the bench.
        timeout_s: deadline for opening, and the total deadline of every operation that names none.
        visa_library: PyVISA's name of the library to use (``"@py"``, ``"@ivi"``, a path); by
            default what the bench says, else PYVISA_LIBRARY, else pyvisa-py. Named here, it opens
            raw sockets too.
        baud_rate: speed of a serial line, by default what the bench says, else 9600.
        terminator: what ends a command and an answer on a serial line: line feed, carriage return
            or both; by default what the bench says, else a line feed.
        force: take the instrument over from whoever holds it; it is made safe before.

    Raises:
        ResourceError: the address breaks a rule (V001 to V015).
        LeaseError: somebody else holds the instrument.
        LinkOpenError: nothing answers there.
        UnsafeError: it could not be made safe after an earlier fault.
        BenchError: the bench file in force has problems.
        IdentityError: another instrument answers than the bench pins.
        NoDriverError: the bench limits it, and no plugin knows its commands.
    """
    if os.environ.get(GRANT_VARIABLE):
        lent = borrowed(resource)
        if lent is not None:
            return lent
    # A driver's process never comes here: what knows benches and plugins is not imported in it.
    from drivebay._core.lending import open_on_bench

    return open_on_bench(
        resource,
        timeout_s=timeout_s,
        visa_library=visa_library,
        baud_rate=baud_rate,
        terminator=terminator,
        force=force,
    )
