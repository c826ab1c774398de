"""One sweep by another program's own Keithley 2600 driver, in this fresh process; prints JSON.

PyMeasure and QCoDeS point by point, as their drivers do; ``qcodes_fast`` by QCoDeS's own script on
the instrument. Nagle's algorithm is switched off by hand, which neither offers. Set-up and a first
sweep stay outside the clock.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from sweep_case import timed, without_nagle


def pymeasure(resource: str, points: int) -> list[float]:
    from pymeasure.instruments.keithley import Keithley2600

    smu = Keithley2600(resource, visa_library="@py", read_termination="\n", write_termination="\n")
    without_nagle(smu.adapter.connection)
    channel = smu.ChA
    channel.apply_voltage(voltage_range=1, compliance_current=0.1)
    # Its measure_nplc takes only the two ends of the range, 0.001 and 25, as keys of a map.
    channel.write("measure.nplc=0.01")
    channel.source_output = "ON"
    try:
        return timed(
            points,
            lambda level: setattr(channel, "source_voltage", level),
            lambda: channel.current,
        )
    finally:
        channel.source_output = "OFF"
        smu.adapter.connection.close()


def _qcodes(resource: str) -> Any:
    from qcodes.instrument_drivers.Keithley import Keithley2602B

    smu = Keithley2602B("smu", resource, visalib="@py")
    without_nagle(smu.visa_handle)
    smu.smua.reset()
    smu.smua.mode("voltage")
    smu.smua.limiti(0.1)
    smu.smua.nplc(0.01)
    smu.smua.output(True)
    return smu


def qcodes(resource: str, points: int) -> list[float]:
    smu = _qcodes(resource)
    try:
        return timed(points, smu.smua.volt, smu.smua.curr)
    finally:
        smu.smua.output(False)
        smu.close()


def qcodes_fast(resource: str, points: int) -> list[float]:
    from qcodes.dataset import LinSweep

    smu = _qcodes(resource)
    smu.smua.setup_fastsweep(LinSweep(smu.smua.volt, 0, 0.8, points), mode="IV")
    try:
        for _ in range(2):
            started = time.perf_counter()
            read = smu.smua.fastsweep()
            taken = time.perf_counter() - started
        return [taken, float(read[-1])]
    finally:
        smu.smua.output(False)
        smu.close()


if __name__ == "__main__":
    case, address, count = sys.argv[1:4]
    seconds, last_a = globals()[case](address, int(count))
    print(json.dumps({"seconds": seconds, "last_a": last_a}))
