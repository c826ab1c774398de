"""What goes wrong is told as PyVISA programs know it, and what must not be retried is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pyvisa
from pyvisa.constants import (
    EventMechanism,
    EventType,
    RENLineOperation,
    ResourceAttribute,
    StatusCode,
    TriggerProtocol,
)

from drivebay.sim import Keithley2400Server

HOLDER = """
import sys, pyvisa
try:
    device = pyvisa.ResourceManager("@drivebay").open_resource(sys.argv[1])
except pyvisa.VisaIOError as exc:
    print(exc.error_code, *exc.__notes__)
    sys.exit()
print("open", flush=True)
sys.stdin.read()
"""


def code_of(error: pytest.ExceptionInfo[pyvisa.VisaIOError]) -> int:
    return error.value.error_code


def test_an_address_where_nothing_listens_is_not_found(opened):
    with Keithley2400Server() as gone:
        resource = gone.resource

    with pytest.raises(pyvisa.VisaIOError) as failed:
        opened(resource)
    assert code_of(failed) == StatusCode.error_resource_not_found
    assert "V003" in failed.value.__notes__[0]


def test_an_address_that_is_none_is_an_invalid_name(manager):
    with pytest.raises(pyvisa.VisaIOError) as failed:
        manager.open_bare_resource("TCPIP::127.1::5025::SOCKET")
    assert code_of(failed) == StatusCode.error_invalid_resource_name
    assert "V006" in failed.value.__notes__[0]
    with pytest.raises(pyvisa.VisaIOError) as failed:
        manager.open_bare_resource("no address")
    assert code_of(failed) == StatusCode.error_invalid_resource_name


@pytest.mark.slow
def test_an_instrument_that_another_program_holds_is_locked_until_that_ends(server):
    with program(HOLDER, server.resource) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"

        with program(HOLDER, server.resource) as other:
            said, _ = other.communicate("")
        code, note = said.split(" ", 1)
        assert int(code) == StatusCode.error_resource_locked
        assert str(holder.pid) in note

        holder.communicate("")
    with program(HOLDER, server.resource) as other:
        assert other.communicate("")[0] == "open\n"


def program(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another program, with a keeper of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def test_a_channel_that_broke_is_lost_and_can_be_opened_again(opened, server, smu):
    smu.query("*IDN?")
    server.drop_connections()

    with pytest.raises(pyvisa.VisaIOError) as failed:
        smu.query("*IDN?")
    assert code_of(failed) == StatusCode.error_connection_lost
    smu.close()
    assert opened(server.resource).query(":OUTP?") == "0"


def test_a_session_that_was_closed_is_invalid(manager, smu):
    session = smu.session
    smu.close()

    with pytest.raises(pyvisa.VisaIOError) as failed:
        manager.visalib.read(session, 10)
    assert code_of(failed) == StatusCode.error_invalid_object
    with pytest.raises(pyvisa.VisaIOError) as failed:
        manager.visalib.close(session)
    assert code_of(failed) == StatusCode.error_invalid_object


@pytest.mark.parametrize(
    "attempt",
    [
        lambda smu: smu.read_stb(),
        lambda smu: smu.enable_event(EventType.service_request, EventMechanism.queue),
        lambda smu: smu.wait_on_event(EventType.service_request, 10),
        lambda smu: smu.install_handler(EventType.service_request, lambda *_: None),
        lambda smu: smu.visalib.assert_trigger(smu.session, TriggerProtocol.on),
        lambda smu: smu.visalib.gpib_command(smu.session, b"?"),
        lambda smu: smu.visalib.gpib_send_ifc(smu.session),
        lambda smu: smu.visalib.gpib_control_ren(smu.session, RENLineOperation.deassert),
    ],
)
def test_what_does_not_pass_the_keeper_fails_and_says_why(smu, attempt):
    with pytest.raises(pyvisa.VisaIOError) as failed:
        attempt(smu)

    assert code_of(failed) == StatusCode.error_nonsupported_operation
    assert "keeper" in failed.value.__notes__[0]


# -- attributes and locks -------------------------------------------------------------------------


def test_attributes_that_a_session_goes_by_can_be_set(smu):
    for which, value in [
        (ResourceAttribute.termchar, 13),
        (ResourceAttribute.termchar_enabled, False),
        (ResourceAttribute.send_end_enabled, False),
        (ResourceAttribute.user_data, 7),
    ]:
        smu.set_visa_attribute(which, value)
        assert smu.get_visa_attribute(which) == value


def test_an_attribute_the_channel_does_not_follow_can_be_set_to_what_it_is_only(smu):
    assert smu.get_visa_attribute(ResourceAttribute.tcpip_nodelay)
    smu.set_visa_attribute(ResourceAttribute.tcpip_nodelay, True)

    with pytest.raises(pyvisa.VisaIOError) as failed:
        smu.set_visa_attribute(ResourceAttribute.tcpip_nodelay, False)
    assert code_of(failed) == StatusCode.error_nonsupported_attribute_state


@pytest.mark.parametrize(
    ("which", "code"),
    [
        (ResourceAttribute.asrl_baud_rate, StatusCode.error_nonsupported_attribute),
        (0x12345678, StatusCode.error_nonsupported_attribute),
        (ResourceAttribute.tcpip_port, StatusCode.error_attribute_read_only),
    ],
)
def test_an_attribute_that_is_none_of_a_socket_s_cannot_be_set(smu, which, code):
    with pytest.raises(pyvisa.VisaIOError) as failed:
        smu.set_visa_attribute(which, 1)
    assert code_of(failed) == code


def test_an_attribute_that_nobody_knows_cannot_be_read(smu):
    with pytest.raises(pyvisa.VisaIOError) as failed:
        smu.get_visa_attribute(ResourceAttribute.asrl_avalaible_number)
    assert code_of(failed) == StatusCode.error_nonsupported_attribute


def test_a_lock_is_granted_since_the_lease_is_exclusive(smu):
    with smu.lock_context():
        assert smu.lock_state == pyvisa.constants.AccessModes.exclusive_lock
        assert smu.query(":OUTP?") == "0"
    assert smu.lock_state == pyvisa.constants.AccessModes.no_lock

    with pytest.raises(pyvisa.VisaIOError) as failed:
        smu.unlock()
    assert code_of(failed) == StatusCode.error_session_not_locked


# -- the package ----------------------------------------------------------------------------------


def test_pyvisa_finds_the_backend_by_its_name():
    assert "drivebay" in pyvisa.highlevel.list_backends()


def test_pyvisa_info_names_it():
    found = pyvisa.highlevel.get_wrapper_class("drivebay").get_debug_info()

    assert "keeper" in found["Instruments"]


def test_the_machine_s_own_ports_are_listed(manager):
    from drivebay.driver import list_resources

    assert list(manager.list_resources("?*")) == list_resources(network=False)
    assert manager.list_resources("TCPIP?*") == ()


def test_the_package_is_typed_and_in_the_wheel():
    import pyvisa_drivebay

    folder = Path(pyvisa_drivebay.__file__).parent
    assert (folder / "py.typed").exists()
    settings = (folder.parents[1] / "pyproject.toml").read_text("utf-8")
    assert '"src/pyvisa_drivebay"' in settings
