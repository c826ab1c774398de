"""One sweep by QCoDeS's driver of the B2962A on the simulated B2902A; prints JSON.

It is the nearest driver there is: neither QCoDeS nor PyMeasure has one for a B2900. Point by point,
as it can: set the voltage, read the current by a spot measurement. See ``sweep_case.py``.
"""

from __future__ import annotations

import json
import sys

from sweep_case import timed, without_nagle


def qcodes(resource: str, points: int) -> list[float]:
    from qcodes.instrument_drivers.Keysight import KeysightB2962A

    smu = KeysightB2962A("smu", resource, visalib="@py")
    without_nagle(smu.visa_handle)
    smu.write("*RST;:SENS1:CURR:NPLC 0.01")
    channel = smu.ch1
    channel.source_mode("voltage")
    channel.current_limit(0.1)
    channel.enable(True)
    try:
        return timed(points, channel.source_voltage, channel.current)
    finally:
        channel.enable(False)
        smu.close()


if __name__ == "__main__":
    case, address, count = sys.argv[1:4]
    seconds, last_a = globals()[case](address, int(count))
    print(json.dumps({"seconds": seconds, "last_a": last_a}))
