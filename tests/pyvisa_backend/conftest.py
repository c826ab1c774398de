"""A resource manager on the backend, and simulated instruments to open with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import pyvisa

from drivebay.sim import Keithley2400Server, Resistor

Open = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(device=Resistor(1000.0), time_scale=0.0, log_traffic=True) as server:
        yield server


@pytest.fixture
def manager() -> Iterator[pyvisa.ResourceManager]:
    manager = pyvisa.ResourceManager("@drivebay")
    yield manager
    manager.close()


@pytest.fixture
def opened(manager: pyvisa.ResourceManager) -> Iterator[Open]:
    """Open an instrument by its address, with line feeds unless the test says otherwise."""
    with ExitStack() as stack:

        def open_resource(resource: str, **options: Any) -> Any:
            ends = {"read_termination": "\n", "write_termination": "\n"}
            found = manager.open_resource(resource, **(ends | options))
            stack.callback(found.close)
            return found

        yield open_resource


@pytest.fixture
def smu(opened: Open, server: Keithley2400Server) -> Any:
    """The simulated 2400 as PyVISA opens it."""
    return opened(server.resource)


@pytest.fixture
def messages(server: Keithley2400Server) -> Callable[[], list[str]]:
    """What the simulated 2400 was sent, message by message."""
    return lambda: [event["text"] for event in server.log.named("message")]
