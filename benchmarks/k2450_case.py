"""One sweep by another program's own Keithley 2450 driver, in this fresh process; prints JSON.

PyMeasure and QCoDeS point by point, which is how these drivers are used; ``qcodes_sweep`` by
QCoDeS's linear sweep, which the instrument runs by itself and which gives currents only. Nagle's
algorithm is switched off by hand, which neither offers. Set-up and a first sweep stay outside the
clock.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from sweep_case import timed, without_nagle


def pymeasure(resource: str, points: int) -> list[float]:
    from pymeasure.instruments.keithley import Keithley2450

    smu = Keithley2450(resource, visa_library="@py", read_termination="\n", write_termination="\n")
    without_nagle(smu.adapter.connection)
    smu.reset()
    smu.apply_voltage(1, compliance_current=0.1)
    smu.measure_current(nplc=0.01)
    smu.enable_source()
    try:
        return timed(
            points, lambda level: setattr(smu, "source_voltage", level), lambda: smu.current
        )
    finally:
        smu.disable_source()
        smu.adapter.connection.close()


def _qcodes(resource: str) -> Any:
    from qcodes.instrument_drivers.Keithley import Keithley2450

    smu = Keithley2450("smu", resource, visalib="@py")
    without_nagle(smu.visa_handle)
    smu.reset()
    smu.sense_function("current")
    smu.source_function("voltage")
    smu.sense.nplc(0.01)
    smu.source.range(1)
    smu.source.limit(0.1)
    return smu


def qcodes(resource: str, points: int) -> list[float]:
    smu = _qcodes(resource)
    smu.output_enabled(True)
    try:
        # ``current`` looks whether the output is on before each reading.
        return timed(points, smu.source.voltage, smu.sense.current)
    finally:
        smu.output_enabled(False)
        smu.close()


def qcodes_sweep(resource: str, points: int) -> list[float]:
    smu = _qcodes(resource)
    try:
        for _ in range(2):
            started = time.perf_counter()
            smu.source.sweep_setup(0, 0.8, points)
            read = smu.sense.sweep.get()
            taken = time.perf_counter() - started
        return [taken, float(read[-1])]
    finally:
        smu.output_enabled(False)
        smu.close()


if __name__ == "__main__":
    case, address, count = sys.argv[1:4]
    seconds, last_a = globals()[case](address, int(count))
    print(json.dumps({"seconds": seconds, "last_a": last_a}))
