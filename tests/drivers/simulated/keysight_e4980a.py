"""A simulated E4980A with a varactor, for the tests of standard methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from drivebay.sim import EventLog, ScpiServer
from drivebay.sim.circuit import Circuit
from drivebay.sim.circuit.junctions import Varactor
from drivebay.sim.e4980a import E4980a
from drivebay.sim.registry import Options

MODEL = "E4980A"
# The bias that is reverse to the varactor is negative here.
PARAMETERS = {
    "cv_measurement": {"start_v": 0.0, "stop_v": -1.0, "aperture": "short"},
    "cf_sweep": {"aperture": "short"},
}


@contextmanager
def simulator(*, real_time: bool) -> Iterator[SimpleNamespace]:
    """See ``tests/drivers/test_standard_methods.py`` for what it has to have."""
    log = EventLog(traffic=True)
    options = Options(time_scale=1.0 if real_time else 0.0, log=log)
    meter = E4980a(MODEL, Circuit.around(Varactor()), options=options)
    with ScpiServer(meter) as server:
        yield SimpleNamespace(
            resource=server.resource,
            messages=lambda: [event["text"] for event in log.named("message")],
            output_on=lambda: meter.bias_on,
            wait_until_measuring=lambda: log.wait_for("trigger"),
            errors=lambda: log.named("error", "internal_error"),
        )
