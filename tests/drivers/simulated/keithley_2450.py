"""A simulated 2450 with a resistor, for the tests of standard methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from drivebay.sim.devices import Resistor
from drivebay.sim.keithley2450 import Keithley2450Server

MODEL = "2450"


@contextmanager
def simulator(*, real_time: bool) -> Iterator[SimpleNamespace]:
    """See ``tests/drivers/test_standard_methods.py`` for what it has to have."""
    scale = 1.0 if real_time else 0.0
    with Keithley2450Server(device=Resistor(1000.0), time_scale=scale, log_traffic=True) as server:
        yield SimpleNamespace(
            resource=server.resource,
            messages=lambda: [event["text"] for event in server.log.named("message")],
            output_on=lambda: server.instrument.output_on,
            wait_until_measuring=lambda: server.log.wait_for("output_on"),
            errors=lambda: server.log.named("error", "internal_error"),
        )
