"""A driver that opens PyVISA itself, in the original platform's style, is covered all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivebay import Bay, LimitError
from drivebay.driver import DriverError

BUILT_IN = Path(__file__).parents[2] / "src/drivebay/drivers/keithley_2400/plugin.yaml"

# As somebody wrote it who had never heard of keepers: pyvisa, and nothing else.
SEED_STYLE = """
import pyvisa
from drivebay import InstrumentDriver


class Driver(InstrumentDriver):
    def __init__(self, resource_name, config=None):
        self.resource_name, self.config = resource_name, dict(config or {})
        self.instrument = None

    def connect(self):
        self.manager = pyvisa.ResourceManager()
        self.instrument = self.manager.open_resource(
            self.resource_name, read_termination="\\n", write_termination="\\n"
        )
        return True

    def disconnect(self):
        self.instrument.close()
        return True

    def get_identity(self):
        return dict(zip(
            ("manufacturer", "model", "serial", "firmware"),
            self.instrument.query("*IDN?").split(","),
        ))

    def get_capabilities(self): return ["one_point"]
    def configure(self, method, params): pass
    def reset(self): self.instrument.write("*RST")
    def abort(self): pass
    def get_status(self): return {"listed": list(self.manager.list_resources("?*"))}

    def measure(self, method, params):
        if "resource" in params:
            self.manager.open_resource(params["resource"])
        self.instrument.write(":SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX")
        self.instrument.write(":FORM:ELEM CURR;:SENS:CURR:PROT 0.01")
        try:
            self.instrument.write(f":SOUR:VOLT {params['volt']}")
        except pyvisa.VisaIOError:
            pass  # as such code does: try again later
        self.instrument.write(":OUTP ON")
        current = float(self.instrument.query(":READ?"))
        self.instrument.write(":OUTP OFF")
        return {"current": current, "library": str(self.manager.visalib)}
"""


@pytest.fixture
def bay(tmp_path: Path, server: Any, write_plugin: Any) -> Iterator[Bay]:
    """A bay with the plugin above and a bench that allows 5 V."""
    manifest = yaml.safe_load(BUILT_IN.read_text("utf-8"))
    write_plugin(
        tmp_path / "plugins",
        "old_style",
        driver_source=SEED_STYLE,
        supported_methods=["one_point"],
        supported_models=["2400"],
        **{key: manifest[key] for key in ("dialect", "ranges", "safe_state")},
    )
    bench = tmp_path / "bench.yaml"
    instrument = {"resource": server.resource, "limits": {"voltage_v": [-5, 5]}}
    bench.write_text(yaml.safe_dump({"bench": "test", "instruments": {"smu": instrument}}))
    with Bay(plugin_dirs=[tmp_path / "plugins"], bench=bench) as bay:
        yield bay


def sent(smu: Any) -> list[str]:
    return [data.decode().strip() for _, way, data in smu.transcript if way == "w"]


def test_it_measures_through_the_keeper_and_its_writes_are_in_the_transcript(bay, messages):
    smu = bay.open("smu")

    run = smu.measure("one_point", volt=2)

    assert run.values["current"] == 0.002
    assert "keeper" in run.values["library"]
    assert ":SOUR:VOLT 2" in sent(smu)
    assert [text for text in messages() if text != "*IDN?"] == [
        text for text in sent(smu) if text != "*IDN?"
    ]
    assert smu.host_pid not in {None, smu.keeper_pid}


def test_a_command_beyond_the_bench_s_limit_is_refused_past_its_except_clause(bay, messages):
    smu = bay.open("smu")

    with pytest.raises(LimitError, match="5"):
        smu.measure("one_point", volt=6)

    assert not [text for text in messages() if "VOLT 6" in text or "OUTP ON" in text]


def test_it_sees_the_instrument_it_was_lent_and_can_open_no_other(bay, server):
    smu = bay.open("smu")

    assert smu.status()["listed"] == [server.resource]
    with pytest.raises(DriverError, match="not lent to this driver"):
        smu.measure("one_point", volt=1, resource="TCPIP::127.0.0.1::1::SOCKET")


def test_when_it_dies_its_output_goes_off(bay, server):
    smu = bay.open("smu")
    smu.write(":SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX", ":SENS:CURR:PROT 0.01")
    smu.write(":SOUR:VOLT 1", ":OUTP ON")
    assert smu.query(":OUTP?") == "1"

    os.kill(smu.host_pid, signal.SIGKILL)

    server.log.wait_for("output_off")
