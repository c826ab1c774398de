"""Drivers that others wrote, as clients of our simulators: one function each, prints JSON.

Run in an interpreter that has the software: ``python clients.py CASE RESOURCE``. The device is a
resistor of 1 kOhm. Knows nothing of Drivebay: what it imports is the other program's.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def pymeasure_keithley2400(resource: str) -> dict[str, Any]:
    from pymeasure.instruments.keithley import Keithley2400

    smu = Keithley2400(resource, visa_library="@py", read_termination="\n", write_termination="\n")
    smu.reset()
    smu.apply_voltage(20, compliance_current=0.01)
    smu.source_voltage = 2
    smu.measure_current(nplc=0.1)
    smu.enable_source()
    current_a = smu.current
    # Its own buffer: ten readings, told by the status model, of five elements each.
    smu.config_buffer(10)
    smu.start_buffer()
    smu.wait_for_buffer(timeout=10)
    buffered = smu.buffer_data
    smu.shutdown()
    found = {"current_a": current_a, "buffered": [float(value) for value in buffered[1::5]]}
    found["errors"] = [str(error) for error in smu.check_errors() or ()]
    smu.adapter.connection.close()
    return found


def qcodes_keithley2400(resource: str) -> dict[str, Any]:
    from qcodes.instrument_drivers.Keithley import Keithley2400

    smu = Keithley2400("smu", resource, visalib="@py")
    smu.reset()
    # What its constructor sends and the reset undoes.
    smu.write(":TRIG:COUN 1;:FORM:ELEM VOLT,CURR")
    smu.mode("VOLT")
    smu.compliancei(0.01)
    smu.nplci(0.1)
    smu.rangev(20)
    smu.volt(2)
    smu.output(True)
    found: dict[str, Any] = {"current_a": smu.curr(), "idn": smu.get_idn()["model"]}
    smu.output(False)
    found["errors"] = [
        text for text in [smu.ask(":SYST:ERR?")] if not text.lstrip("+").startswith("0")
    ]
    smu.close()
    return found


if __name__ == "__main__":
    case, address = sys.argv[1:3]
    sys.stdout.write(json.dumps(globals()[case](address)) + "\n")
