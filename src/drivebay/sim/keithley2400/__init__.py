"""A simulated Keithley 2400 family SourceMeter.

Models: 2400, 2401, 2410, 2420, 2425, 2430 (its DC mode) and 2440.
"""

from __future__ import annotations

from drivebay.sim.keithley2400.instrument import Keithley2400
from drivebay.sim.keithley2400.models import MODELS, Model

__all__ = ["MODELS", "Keithley2400", "Model"]
