"""A simulated B2901A with a resistor, for the tests of standard methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from drivebay.sim import Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.registry import KINDS, Options
from drivebay.sim.server import ScpiServer
from drivebay.sim.source import port_of

MODEL = "B2901A"


@contextmanager
def simulator(*, real_time: bool) -> Iterator[SimpleNamespace]:
    """See ``tests/drivers/test_standard_methods.py`` for what it has to have."""
    log = EventLog(None, True)
    options = Options(model=MODEL, time_scale=1.0 if real_time else 0.0, log=log)
    instrument = KINDS["b2900"].make({"ch1": port_of(None, Resistor(1000.0))}, options)
    with ScpiServer(instrument) as server:
        yield SimpleNamespace(
            resource=server.resource,
            messages=lambda: [event["text"] for event in log.named("message")],
            output_on=lambda: instrument.output_on,
            wait_until_measuring=lambda: log.wait_for("output_on"),
            errors=lambda: log.named("error", "internal_error"),
        )
