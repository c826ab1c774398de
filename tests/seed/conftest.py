"""Fixtures of the tests that hold the original platform's API and its list of defects."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivebay import PluginManager

MINIMAL = """\
from drivebay import InstrumentDriver


class {name}(InstrumentDriver):
    VALUE = {value!r}

    def __init__(self, resource_name, config=None):
        self.resource_name, self.config = resource_name, dict(config or {{}})

    def connect(self): return True
    def disconnect(self): return True
    def reset(self): pass
    def get_identity(self): return {{"model": "Model 1"}}
    def get_capabilities(self): return ["answer"]
    def configure(self, method, params): pass
    def measure(self, method, params): return {{"answer": self.VALUE}}
    def abort(self): pass
    def get_status(self): return {{}}
"""


@pytest.fixture
def driver_text() -> Callable[..., str]:
    """Source of a whole seed-style driver; ``value`` is what it measures."""

    def text(value: object = 1, name: str = "Driver", before: str = "") -> str:
        return before + MINIMAL.format(name=name, value=value)

    return text


@pytest.fixture
def found() -> Iterator[Callable[..., PluginManager]]:
    """A manager over the given folders that has looked at them once."""
    managers: list[PluginManager] = []

    def make(*folders: Path, **arguments: object) -> PluginManager:
        manager = PluginManager(plugin_dirs=list(folders), **arguments)  # type: ignore[arg-type]
        manager.discover_plugins()
        managers.append(manager)
        return manager

    yield make
    for manager in managers:
        manager.shutdown()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of the host's that plugin code may ``import hook`` to be observed by the test."""
    module = types.ModuleType("hook")
    module.seen = []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hook", module)
    return module
