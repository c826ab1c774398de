"""GPIB, USB and serial lines: the backend on the keeper, the keeper on another VISA library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import AccessModes, Parity, ResourceAttribute, StatusCode

SIM = """\
spec: "1.1"
devices:
  smu:
    eom:
      GPIB INSTR: {q: "\\n", r: "\\n"}
      USB INSTR: {q: "\\n", r: "\\n"}
      TCPIP INSTR: {q: "\\n", r: "\\n"}
      ASRL INSTR: {q: "\\n", r: "\\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "ACME,MODEL 1,42,1.0"}
      - {q: "CURR?", r: "1.5E-3"}
resources:
  GPIB0::9::INSTR: {device: smu}
  GPIB0::9::7::INSTR: {device: smu}
  USB0::0x05E6::0x2450::01234567::INSTR: {device: smu}
  TCPIP0::192.0.2.1::inst0::INSTR: {device: smu}
  ASRL1::INSTR: {device: smu}
"""


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[pyvisa.ResourceManager]:
    """A resource manager whose keeper opens instruments through pyvisa-sim."""
    path = tmp_path / "bench.yaml"
    path.write_text(SIM)
    manager = pyvisa.ResourceManager(f"{path}@sim@drivebay")
    yield manager
    manager.close()


def opened(manager: pyvisa.ResourceManager, resource: str, **options: Any) -> Any:
    ends = {"read_termination": "\n", "write_termination": "\n", "timeout": 20_000}
    return manager.open_resource(resource, **(ends | options))


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        ("GPIB0::9::INSTR", "GPIBInstrument"),
        ("USB0::0x05E6::0x2450::01234567::INSTR", "USBInstrument"),
        ("TCPIP0::192.0.2.1::inst0::INSTR", "TCPIPInstrument"),
        ("ASRL1::INSTR", "SerialInstrument"),
    ],
)
def test_each_bus_has_its_own_class_of_resource(sim, resource, kind):
    device = opened(sim, resource)

    assert type(device).__name__ == kind
    assert device.query("*IDN?") == "ACME,MODEL 1,42,1.0"
    assert device.query_ascii_values("CURR?") == [0.0015]


def test_where_the_bus_has_end_a_command_needs_no_line_end(sim):
    device = opened(sim, "GPIB0::9::INSTR", write_termination="")
    device.write("CURR?\n")
    assert device.read() == "1.5E-3"

    device.send_end = False
    device.write("CU")
    device.write("RR?\n")
    assert device.read() == "1.5E-3"


def test_a_gpib_address_is_in_the_attributes(sim):
    device = opened(sim, "GPIB0::9::7::INSTR", access_mode=AccessModes.exclusive_lock)

    assert (device.primary_address, device.secondary_address) == (9, 7)
    assert device.interface_number == 0
    assert device.lock_state == AccessModes.exclusive_lock
    assert opened(sim, "GPIB0::9::INSTR").secondary_address == pyvisa.constants.VI_NO_SEC_ADDR


def test_a_usb_address_is_in_the_attributes(sim):
    device = opened(sim, "USB0::0x05E6::0x2450::01234567::INSTR")

    assert (device.manufacturer_id, device.model_code) == (0x05E6, 0x2450)
    assert device.serial_number == "01234567"


def test_a_lan_device_is_in_the_attributes(sim):
    device = opened(sim, "TCPIP0::192.0.2.1::inst0::INSTR")

    assert device.get_visa_attribute(ResourceAttribute.tcpip_device_name) == "inst0"
    assert device.get_visa_attribute(ResourceAttribute.tcpip_is_hislip) is False


def test_a_serial_line_changes_its_speed_and_is_otherwise_as_it_is(sim):
    device = opened(sim, "ASRL1::INSTR", baud_rate=115200)
    assert device.baud_rate == 115200
    assert device.query("CURR?") == "1.5E-3"
    device.parity = Parity.none

    with pytest.raises(pyvisa.VisaIOError) as failed:
        device.parity = Parity.even
    assert failed.value.error_code == StatusCode.error_nonsupported_attribute_state
    assert device.query("CURR?") == "1.5E-3"


def test_a_serial_line_may_end_writes_with_its_termination_character(sim):
    device = opened(sim, "ASRL1::INSTR", write_termination="")
    device.end_output = pyvisa.constants.SerialTermination.termination_char

    assert device.query("CURR?") == "1.5E-3"
