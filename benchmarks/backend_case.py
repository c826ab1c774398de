"""Another program's own Keithley 2400 driver, unmodified, on the VISA library it is told to use.

``backend_case.py DRIVER RESOURCE LIBRARY POINTS`` sets a voltage and reads the current, point by
point, in this fresh process, and prints JSON: seconds, and the currents it read. Unlike
``sweep_case.py`` it touches nothing but the name of the library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

Reading = tuple[float, list[float]]


def timed(points: int, set_v: Callable[[float], Any], read_a: Callable[[], float]) -> Reading:
    """Sweep 0 to 0.8 V; the seconds it took, and the currents."""
    set_v(0)
    read_a()
    started = time.perf_counter()
    read = []
    for n in range(points):
        set_v(n * 0.8 / (points - 1))
        read.append(float(read_a()))
    return time.perf_counter() - started, read


def pyvisa(resource: str, library: str, points: int) -> Reading:
    import pyvisa

    smu: Any = pyvisa.ResourceManager(library).open_resource(
        resource, read_termination="\n", write_termination="\n"
    )
    smu.write("*RST;:SOUR:FUNC VOLT;:SENS:CURR:PROT 0.1;:FORM:ELEM CURR;:OUTP ON")
    try:
        return timed(
            points,
            lambda level: smu.write(f":SOUR:VOLT {level:g}"),
            lambda: smu.query_ascii_values(":READ?")[0],
        )
    finally:
        smu.write(":OUTP OFF")
        smu.close()


def pymeasure(resource: str, library: str, points: int) -> Reading:
    from pymeasure.instruments.keithley import Keithley2400

    smu = Keithley2400(
        resource, visa_library=library, read_termination="\n", write_termination="\n"
    )
    smu.reset()
    smu.source_mode = "voltage"
    smu.compliance_current = 0.1
    smu.current_nplc = 0.01
    smu.source_voltage_range = 1
    smu.source_enabled = True
    try:
        return timed(
            points, lambda level: setattr(smu, "source_voltage", level), lambda: smu.current
        )
    finally:
        smu.source_enabled = False
        smu.adapter.connection.close()


def qcodes(resource: str, library: str, points: int) -> Reading:
    from qcodes.instrument_drivers.Keithley import Keithley2400

    smu = Keithley2400("smu", resource, visalib=library)
    smu.mode("VOLT")
    smu.compliancei(0.1)
    smu.nplci(0.01)
    smu.rangev(1)
    smu.output(True)
    try:
        return timed(points, smu.volt, smu.curr)
    finally:
        smu.output(False)
        smu.close()


if __name__ == "__main__":
    driver, address, visa, count = sys.argv[1:5]
    seconds, currents_a = globals()[driver](address, visa, int(count))
    print(json.dumps({"seconds": seconds, "currents_a": currents_a}))
