"""VISA attributes of a session: what they are, and which of them may be changed.

An attribute that the channel does not follow may be set to what it is and to nothing else: a
program that asks for something must not believe that it has got it.
"""

from __future__ import annotations

from typing import Any, Final

from pyvisa import attributes, constants, rname
from pyvisa.constants import InterfaceType, ResourceAttribute, SerialTermination, StatusCode

_TERMINATIONS: Final = (SerialTermination.none, SerialTermination.termination_char)
_FOLLOWED: Final[dict[ResourceAttribute, tuple[int, ...] | None]] = {
    ResourceAttribute.timeout_value: None,
    ResourceAttribute.termchar: None,
    ResourceAttribute.termchar_enabled: None,
    ResourceAttribute.send_end_enabled: None,
    ResourceAttribute.user_data: None,
    ResourceAttribute.asrl_end_in: _TERMINATIONS,
    ResourceAttribute.asrl_end_out: _TERMINATIONS,
}
"""Attributes that a session goes by, with the values it can go by; None for any."""

_UNKNOWN: Final = frozenset((ResourceAttribute.asrl_avalaible_number,))
"""Attributes whose default would be a guess: only the keeper's own channel could tell."""


class Attributes:
    """The attributes of one session.

    Args:
        name: the address, taken apart.
        manager: handle of the resource manager that opened it.
    """

    def __init__(self, name: rname.ResourceName, manager: int) -> None:
        kind = (name.interface_type_const, name.resource_class)
        self._kind = kind
        self._values: dict[ResourceAttribute, Any] = {}
        known = attributes.AttributesPerResource
        for attribute in known[kind] | known[attributes.AllSessionTypes]:
            which = ResourceAttribute(attribute.attribute_id)
            if attribute.default is not attributes.NotAvailable and which not in _UNKNOWN:
                self._values[which] = attribute.default
        self._values |= {
            ResourceAttribute.resource_manager_session: manager,
            ResourceAttribute.interface_type: name.interface_type_const,
            ResourceAttribute.resource_class: name.resource_class,
            ResourceAttribute.resource_name: str(name),
            ResourceAttribute.resource_manufacturer_name: "Drivebay",
            ResourceAttribute.resource_impl_version: 0x00100000,
            ResourceAttribute.dma_allow_enabled: False,
        }
        self._values |= _of_address(name)

    def __getitem__(self, which: ResourceAttribute) -> Any:
        return self._values[which]

    def __setitem__(self, which: ResourceAttribute, value: Any) -> None:
        self._values[which] = value

    def get(self, which: int) -> tuple[Any, StatusCode]:
        """The value of an attribute, and whether there is one."""
        found = _attribute(which)
        if found is None or found not in self._values:
            return 0, StatusCode.error_nonsupported_attribute
        return self._values[found], StatusCode.success

    def set(self, which: int, value: Any) -> StatusCode:
        """Change an attribute; the status says what came of it."""
        found = _attribute(which)
        if found is None or found not in self._values:
            return StatusCode.error_nonsupported_attribute
        if not attributes.AttributesByID[found].write:
            return StatusCode.error_attribute_read_only
        allowed = _FOLLOWED.get(found, (self._values[found],))
        if allowed is not None and value not in allowed:
            return StatusCode.error_nonsupported_attribute_state
        self._values[found] = value
        return StatusCode.success


def _attribute(which: int) -> ResourceAttribute | None:
    try:
        return ResourceAttribute(which)
    except ValueError:
        return None


def _of_address(name: rname.ResourceName) -> dict[ResourceAttribute, Any]:
    """What the address says by itself."""
    found: dict[ResourceAttribute, Any] = {}
    board = getattr(name, "board", "0")
    if board.isdigit():
        found[ResourceAttribute.interface_number] = int(board)
    if isinstance(name, rname.GPIBInstr):
        secondary = name.secondary_address
        found[ResourceAttribute.gpib_primary_address] = int(name.primary_address)
        found[ResourceAttribute.gpib_secondary_address] = (
            int(secondary) if secondary else constants.VI_NO_SEC_ADDR
        )
    elif isinstance(name, rname.USBInstr):
        found[ResourceAttribute.manufacturer_id] = int(name.manufacturer_id, 0)
        found[ResourceAttribute.model_code] = int(name.model_code, 0)
        found[ResourceAttribute.usb_serial_number] = name.serial_number
        found[ResourceAttribute.usb_interface_number] = int(name.usb_interface_number)
    elif isinstance(name, rname.TCPIPSocket | rname.TCPIPInstr):
        found[ResourceAttribute.tcpip_hostname] = name.host_address
        found[ResourceAttribute.tcpip_address] = name.host_address
        if isinstance(name, rname.TCPIPSocket):
            found[ResourceAttribute.tcpip_port] = int(name.port)
        else:
            hislip = name.lan_device_name.lower().startswith("hislip")
            found[ResourceAttribute.tcpip_device_name] = name.lan_device_name
            found[ResourceAttribute.tcpip_is_hislip] = hislip
    return found


def is_serial(name: rname.ResourceName) -> bool:
    """Whether the address is that of a serial line."""
    return name.interface_type_const is InterfaceType.asrl
