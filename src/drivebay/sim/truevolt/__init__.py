"""Simulated Keysight Truevolt multimeters: 34460A, 34461A, 34465A and 34470A."""

from __future__ import annotations

from drivebay.sim.truevolt.instrument import Truevolt
from drivebay.sim.truevolt.models import MODELS, Model

__all__ = ["MODELS", "Model", "Truevolt"]
