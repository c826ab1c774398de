"""A simulated B2902A with a MOSFET: channel 1 at its gate, channel 2 at its drain.

Its own channel is the one at the gate for the methods of one channel, where nothing flows but
through the resistor beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from drivebay.sim.circuitfile import parse_circuit
from drivebay.sim.virtualbench import VirtualBench

MODEL = "B2902A"
CIRCUIT = {
    "circuit": "a transistor between two channels",
    "instruments": {
        "smu": {
            "kind": "b2900",
            "model": MODEL,
            "ports": {"ch1": ["g", "gnd"], "ch2": ["d", "gnd"]},
        }
    },
    "devices": {
        "beside_the_gate": {"kind": "resistor", "nodes": ["g", "gnd"], "ohm": 1000.0},
        "transistor": {
            "kind": "mosfet",
            "nodes": {"drain": "d", "gate": "g", "source": "gnd"},
            "threshold_v": 1.5,
            "gain_a_per_v2": 2.0e-3,
        },
    },
}
PARAMETERS = {
    "transfer_curve": {"gate_compliance_a": 0.05, "drain_compliance_a": 0.05},
    "output_curve": {"gate_compliance_a": 0.05, "drain_compliance_a": 0.05},
}


@contextmanager
def simulator(*, real_time: bool) -> Iterator[SimpleNamespace]:
    """See ``tests/drivers/test_standard_methods.py`` for what it has to have."""
    said = parse_circuit(CIRCUIT)
    scale = 1.0 if real_time else 0.0
    with VirtualBench(said, free_ports=True, time_scale=scale, log_traffic=True) as bench:
        server = bench.servers["smu"]
        log = server.log
        yield SimpleNamespace(
            resource=server.resource,
            server=server,
            messages=lambda: [event["text"] for event in log.named("message")],
            output_on=lambda: server.instrument.output_on,
            wait_until_measuring=lambda: log.wait_for("output_on"),
            errors=lambda: log.named("error", "internal_error"),
        )
