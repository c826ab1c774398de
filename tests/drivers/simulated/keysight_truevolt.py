"""A simulated 34465A with a resistor, for the tests of standard methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from drivebay.sim import EventLog, Resistor, ScpiServer
from drivebay.sim.registry import Options
from drivebay.sim.truevolt import Truevolt

MODEL = "34465A"


@contextmanager
def simulator(*, real_time: bool) -> Iterator[SimpleNamespace]:
    """See ``tests/drivers/test_standard_methods.py`` for what it has to have."""
    log = EventLog(traffic=True)
    options = Options(time_scale=1.0 if real_time else 0.0, log=log)
    meter = Truevolt(MODEL, Resistor(1000.0), Resistor(1000.0), options=options)
    with ScpiServer(meter) as server:
        yield SimpleNamespace(
            resource=server.resource,
            messages=lambda: [event["text"] for event in log.named("message")],
            output_on=lambda: meter.settings.function != "VOLT",
            wait_until_measuring=lambda: log.wait_for("sweep_begin"),
            errors=lambda: log.named("error", "internal_error"),
        )
