"""Fixtures of the tests of the plugin engine: small drivers, managers, and what they said."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivebay import PluginManager
from drivebay._core.manager import PluginEvent

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
    def measure(self, method, params):
        return {{"answer": self.VALUE}}
    def abort(self): pass
    def get_status(self): return {{}}
"""


class Heard:
    """The events of a manager, and a way to wait for what they lead to."""

    def __init__(self, manager: PluginManager) -> None:
        self.events: list[PluginEvent] = []
        self._news = threading.Condition()
        manager.subscribe(self._take)

    def _take(self, event: PluginEvent) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def kinds(self, plugin: str = "acme") -> list[str]:
        return [event.kind for event in self.events if event.plugin == plugin]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after every event."""
        with self._news:
            assert self._news.wait_for(condition, timeout=60), self.events[-5:]


@pytest.fixture
def heard() -> type[Heard]:
    return Heard


@pytest.fixture
def driver_text() -> Callable[..., str]:
    """Source of a whole seed-style driver; ``value`` is what it measures."""

    def text(value: object = 1, name: str = "Driver", before: str = "") -> str:
        return before + MINIMAL.format(name=name, value=value)

    return text


@pytest.fixture
def measured() -> Callable[..., object]:
    """What a new driver of a plugin measures."""

    def answer(manager: PluginManager, name: str = "acme") -> object:
        return manager.get_driver(name, "SIM::1").measure("answer", {})["answer"]

    return answer


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
