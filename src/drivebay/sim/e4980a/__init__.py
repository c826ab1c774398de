"""A simulated Keysight E4980A or E4980AL LCR meter."""

from __future__ import annotations

from drivebay.sim.e4980a.instrument import MODELS, E4980a, Model

__all__ = ["MODELS", "E4980a", "Model"]
