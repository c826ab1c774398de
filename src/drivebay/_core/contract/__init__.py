"""The driver contract: the line past which plugin code exists.

``interface`` holds the ten methods and ``driver_plugin``, ``declared`` the ``@method`` mark,
``readout`` what turns bytes into numbers, ``stopping`` the abort, ``conversation`` the talking,
``scpi`` the class that most drivers derive from, ``stepping`` that of sources which others pace,
``source_meter`` that of source-measure units, in the terms of ``sourcing``. Never loads a plugin
and never looks for one.
"""

from __future__ import annotations

from drivebay._core.contract.conversation import AskedNumbers
from drivebay._core.contract.declared import declared_methods, method
from drivebay._core.contract.interface import (
    InstrumentDriver,
    Resumable,
    Streaming,
    driver_plugin,
    plugin_metadata,
)
from drivebay._core.contract.readout import check_chunk, join_chunks
from drivebay._core.contract.scpi import ScpiDriver
from drivebay._core.contract.source_meter import SourceMeter
from drivebay._core.contract.sourcing import Asked, Readings, Run, Source, Timeline
from drivebay._core.contract.stepping import SteppedSource, Steps
from drivebay._core.index import CONTRACT_VERSION

__all__ = [
    "CONTRACT_VERSION",
    "Asked",
    "AskedNumbers",
    "InstrumentDriver",
    "Readings",
    "Resumable",
    "Run",
    "ScpiDriver",
    "Source",
    "SourceMeter",
    "SteppedSource",
    "Steps",
    "Streaming",
    "Timeline",
    "check_chunk",
    "declared_methods",
    "driver_plugin",
    "join_chunks",
    "method",
    "plugin_metadata",
]
