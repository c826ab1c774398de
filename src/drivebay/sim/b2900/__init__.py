"""A simulated Keysight B2900 series source/measure unit, with one channel or two.

Models: B2901A, B2902A, B2911A, B2912A and their B versions.
"""

from __future__ import annotations

from drivebay.sim.b2900.instrument import B2900
from drivebay.sim.b2900.models import MODELS, Model

__all__ = ["B2900", "MODELS", "Model"]
