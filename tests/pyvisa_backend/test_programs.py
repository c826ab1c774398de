"""Other people's programs, unmodified: only the name of the VISA library is ours.

PyMeasure is small and comes with the development tools. QCoDeS is 370 MB and does not: it is run
by ``benchmarks/backend.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
from pymeasure.instruments.keithley import Keithley2400


@pytest.mark.slow
@pytest.mark.parametrize("library", ["@drivebay", "@py"], ids=["on the keeper", "control"])
def test_pymeasure_s_own_driver_measures(server, library):
    smu = Keithley2400(
        server.resource, visa_library=library, read_termination="\n", write_termination="\n"
    )
    try:
        read = sweep(smu)
    finally:
        smu.adapter.connection.close()

    assert read == [0.0, 0.0005, 0.001]
    assert server.instrument.output_levels() == (0.0, 0.0)


def sweep(smu: Any) -> list[float]:
    """As PyMeasure's documentation shows it."""
    assert smu.id.startswith("KEITHLEY INSTRUMENTS INC.,MODEL 2400")
    smu.reset()
    smu.source_mode = "voltage"
    smu.source_voltage_range = 20
    smu.compliance_current = 0.01
    smu.current_nplc = 0.1
    smu.source_enabled = True
    read = []
    for level in (0, 0.5, 1.0):
        smu.source_voltage = level
        read.append(smu.current)
    assert smu.check_errors() == []
    smu.shutdown()
    return read
