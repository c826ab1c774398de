"""Bay: plugins, sessions, measurements and runs, composed into what an experimenter uses.

``bay`` finds and opens, ``instrument`` is what was opened, ``stream`` a measurement on it,
``pair`` two of them at one device, ``seats`` the drivers of one, one after the other.
"""

from __future__ import annotations

from drivebay._core.bay.bay import Bay, Found
from drivebay._core.bay.instrument import Instrument
from drivebay._core.bay.pair import Pair
from drivebay._core.bay.stream import Stream

__all__ = ["Bay", "Found", "Instrument", "Pair", "Stream"]
