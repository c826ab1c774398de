"""One sweep by another program's own Keithley 2400 driver, in this fresh process; prints JSON.

Point by point, which is how these drivers sweep: set the voltage, read the current. Nagle's
algorithm is switched off by hand in both, which neither offers: with it every point waits 40 ms for
an acknowledgement. Set-up and a first sweep stay outside the clock.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any


def without_nagle(visa: Any) -> None:
    """pyvisa-py 0.8 cannot set VI_ATTR_TCPIP_NODELAY, so the option is set on its socket."""
    link = visa.visalib.sessions[visa.session].interface
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def timed(points: int, set_v: Callable[[float], Any], read_a: Callable[[], float]) -> list[float]:
    """Sweep 0 to 0.8 V twice; the seconds of the second sweep and its last current."""
    for _ in range(2):
        read = []
        started = time.perf_counter()
        for n in range(points):
            set_v(n * 0.8 / (points - 1))
            read.append(read_a())
        taken = time.perf_counter() - started
    return [taken, read[-1]]


def pymeasure(resource: str, points: int) -> list[float]:
    from pymeasure.instruments.keithley import Keithley2400

    smu = Keithley2400(resource, visa_library="@py", read_termination="\n", write_termination="\n")
    without_nagle(smu.adapter.connection)
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


def qcodes(resource: str, points: int) -> list[float]:
    from qcodes.instrument_drivers.Keithley import Keithley2400

    smu = Keithley2400("smu", resource, visalib="@py")
    without_nagle(smu.visa_handle)
    smu.reset()
    # What its constructor sends and the reset undoes.
    smu.write(":TRIG:COUN 1;:FORM:ELEM VOLT,CURR")
    smu.mode("VOLT")
    smu.compliancei(0.1)
    smu.nplci(0.01)
    smu.rangev(1)
    # True, not "on": the cache keeps what was set, and the driver reads only where that equals 1.
    smu.output(True)
    try:
        return timed(points, smu.volt, smu.curr)
    finally:
        smu.output(False)
        smu.close()


if __name__ == "__main__":
    case, address, count = sys.argv[1:4]
    seconds, last_a = globals()[case](address, int(count))
    print(json.dumps({"seconds": seconds, "last_a": last_a}))
