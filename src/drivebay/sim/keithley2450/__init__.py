"""A simulated Keithley 2450, 2460, 2461 (DC) or 2470 with the SCPI command set."""

from __future__ import annotations

from drivebay.sim.keithley2450.instrument import Keithley2450, Keithley2450Server
from drivebay.sim.keithley2450.models import MODELS, Model

__all__ = ["MODELS", "Keithley2450", "Keithley2450Server", "Model"]
