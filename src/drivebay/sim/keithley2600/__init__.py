"""A simulated Keithley 2600B family System SourceMeter: a TSP server with a small Lua."""

from __future__ import annotations

from drivebay.sim.keithley2600.instrument import Keithley2600
from drivebay.sim.keithley2600.models import MODELS, Model

__all__ = ["MODELS", "Keithley2600", "Model"]
