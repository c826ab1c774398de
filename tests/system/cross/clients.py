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


def pymeasure_keithley2450(resource: str) -> dict[str, Any]:
    from pymeasure.instruments.keithley import Keithley2450

    smu = Keithley2450(resource, visa_library="@py", read_termination="\n", write_termination="\n")
    smu.reset()
    smu.apply_voltage(20, compliance_current=0.01)
    smu.measure_current(nplc=0.1)
    smu.source_voltage = 2
    smu.enable_source()
    found: dict[str, Any] = {"current_a": smu.current, "limit_a": smu.compliance_current}
    smu.current_filter_type = "REP"
    smu.current_filter_count = 3
    smu.current_filter_state = "ON"
    found["filtered_a"] = smu.current
    smu.ramp_to_voltage(1, steps=5, pause=0)
    found["ramped_a"] = smu.current
    # Its statistics are those of the buffer; three readings of 2, 2 and 1 mA are in it.
    found |= {"mean_a": smu.ask(":TRAC:STAT:AVER?"), "most_a": smu.maximums}
    found["mean_a"] = float(found["mean_a"])
    smu.disable_source()
    smu.apply_current(0.01, compliance_voltage=5)
    smu.measure_voltage(nplc=0.1)
    smu.source_current = 1e-3
    smu.enable_source()
    found["voltage_v"] = smu.voltage
    smu.measure_resistance(nplc=0.1)
    smu.wires = 4
    found |= {"resistance_ohm": smu.resistance, "wires": smu.wires}
    smu.beep(440, 0.1)
    smu.use_rear_terminals()
    smu.shutdown()
    found["errors"] = [str(error) for error in smu.check_errors() or ()]
    smu.adapter.connection.close()
    return found


def qcodes_keithley2450(resource: str) -> dict[str, Any]:
    from qcodes.instrument_drivers.Keithley import Keithley2450

    smu = Keithley2450("smu", resource, visalib="@py")
    smu.reset()
    smu.terminals("front")
    smu.sense_function("current")
    smu.source_function("voltage")
    smu.sense.nplc(0.1)
    smu.sense.four_wire_measurement(False)
    smu.sense.auto_range(True)
    smu.sense.auto_zero_enabled(True)
    smu.source.range(20)
    smu.source.limit(0.01)
    smu.source.voltage(2)
    found: dict[str, Any] = {"limit_a": smu.source.limit(), "mains_hz": float(smu.line_frequency())}
    with smu.output_enabled.set_to(True):
        found |= {"current_a": smu.sense.current(), "idn": smu.get_idn()["model"]}
        with smu.buffer("theirs", 100) as buffer:
            # Times, units, formatted values: every element that a reading has.
            buffer.elements(sorted(buffer.available_elements))
            smu.sense.count(3)
            buffer.trigger_start()
            last = buffer.get_last_reading().split(",")
            found |= {"kept": float(buffer.number_of_readings()), "elements": float(len(last))}
            found["buffered"] = [float(a) for a in buffer.get_data(1, 3, readings_only=True)]
            found["size"] = float(buffer.size())
        smu.sense.count(1)
    # Its sweep, which the instrument runs by itself, with its output on and off.
    smu.source.sweep_setup(0, 2, 11)
    smu.output_enabled(True)
    swept = smu.sense.sweep.get()
    smu.output_enabled(False)
    found |= {"points": float(len(swept)), "last_a": float(swept[-1])}
    smu.clear_event_register()
    number, _, text = smu.ask(":SYST:ERR?").partition(",")
    found["errors"] = [text] if int(number) else []
    smu.close()
    return found


def pymeasure_e4980(resource: str) -> dict[str, Any]:
    from pymeasure.adapters import VISAAdapter
    from pymeasure.instruments.agilent import AgilentE4980

    ends = {"read_termination": "\n", "write_termination": "\n"}
    meter = AgilentE4980(VISAAdapter(resource, visa_library="@py", **ends))
    meter.mode = "CPG"
    meter.frequency = 1e5
    meter.ac_voltage = 0.1
    meter.aperture("SHORT", 2)
    found: dict[str, Any] = {"conductance_s": meter.impedance[1]}
    _, swept, hertz = meter.freq_sweep([1e3, 1e4, 1e5], return_freq=True)
    found |= {"swept_s": swept[-1], "last_hz": hertz[-1], "set_v": meter.ac_voltage}
    answer = meter.ask(":SYST:ERR?")
    found["errors"] = [answer] if not answer.lstrip("+").startswith("0") else []
    meter.adapter.close()
    return found


def qcodes_e4980a(resource: str) -> dict[str, Any]:
    from qcodes.instrument_drivers.Keysight import KeysightE4980A, KeysightE4980AMeasurements

    meter = KeysightE4980A("meter", resource, visalib="@py")
    meter.frequency(1e5)
    meter.voltage_level(0.1)
    meter.measurement_function(KeysightE4980AMeasurements.CPG)
    found: dict[str, Any] = {"conductance_s": meter.measurement.get()[1]}
    found["resistance_ohm"] = meter.measure_impedance.get()[0]
    meter.dc_bias_voltage_level(1.0)
    meter.dc_bias_enabled(True)
    found["biased"] = float(meter.dc_bias_enabled())
    meter.dc_bias_enabled(False)
    answer = meter.system_errors()
    found["errors"] = [answer] if not answer.lstrip("+").startswith("0") else []
    meter.close()
    return found


def pymeasure_hp34401a(resource: str) -> dict[str, Any]:
    from pymeasure.instruments.hp import HP34401A

    # The Truevolts took the place of this one, and obey its commands.
    ends = {"read_termination": "\n", "write_termination": "\n"}
    meter = HP34401A(resource, visa_library="@py", **ends)
    meter.function_ = "R2W"
    meter.range_ = 1e3
    meter.nplc = 1
    found: dict[str, Any] = {"resistance_ohm": meter.reading, "range_ohm": meter.range_}
    meter.sample_count = 3
    found |= {"readings": float(len(meter.reading)), "nplc": meter.nplc}
    meter.sample_count = 1
    meter.function_ = "DCV"
    meter.autorange = True
    found["across_v"] = round(abs(meter.reading), 3)
    found["errors"] = [str(error) for error in meter.check_errors() or ()]
    meter.adapter.close()
    return found


def qcodes_34465a(resource: str) -> dict[str, Any]:
    from qcodes.instrument_drivers.Keysight import Keysight34465A

    meter = Keysight34465A("meter", resource, visalib="@py", silent=True)
    meter.sense_function("2 Wire Resistance")
    meter.NPLC(1)
    meter.sample.count(3)
    found: dict[str, Any] = {"resistance_ohm": float(meter.read()[-1])}
    meter.sense_function("DC Voltage")
    meter.range(10.0)
    meter.NPLC(1)
    meter.display.text("hello")
    meter.display.clear()
    meter.timetrace_npts(4)
    meter.timetrace_dt(0.1)
    found |= {"traced": float(len(meter.timetrace())), "range_v": meter.range()}
    number, text = meter.error()
    found["errors"] = [text] if number else []
    meter.close()
    return found


if __name__ == "__main__":
    case, address = sys.argv[1:3]
    sys.stdout.write(json.dumps(globals()[case](address)) + "\n")
