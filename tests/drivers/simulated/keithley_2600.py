"""A simulated 2602B with a resistor at each channel, for the standard methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from drivebay.sim import Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2600 import Keithley2600
from drivebay.sim.server import ScpiServer

MODEL = "2602B"


@contextmanager
def simulator(*, real_time: bool) -> Iterator[SimpleNamespace]:
    """See ``tests/drivers/test_standard_methods.py`` for what it has to have."""
    log = EventLog(traffic=True)
    instrument = Keithley2600(
        MODEL,
        {"a": Resistor(1000.0), "b": Resistor(1e6)},
        time_scale=1.0 if real_time else 0.0,
        log=log,
    )
    with ScpiServer(instrument) as server:
        yield SimpleNamespace(
            resource=server.resource,
            messages=lambda: [event["text"] for event in log.named("message")],
            output_on=lambda: instrument.output_on,
            wait_until_measuring=lambda: log.wait_for("output_on"),
            errors=lambda: log.named("error", "internal_error"),
        )
