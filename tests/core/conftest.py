"""Fixtures of the tests of the plugin engine: small drivers, managers, and what they said."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from drivebay import PluginManager
from drivebay._core.manager import PluginEvent


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
def measured() -> Callable[..., object]:
    """What a new driver of a plugin measures."""

    def answer(manager: PluginManager, name: str = "acme") -> object:
        return manager.get_driver(name, "SIM::1").measure("answer", {})["answer"]

    return answer
