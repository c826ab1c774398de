"""Addresses of instruments: read one, repair its case and blanks, or say which rule it breaks.

Rules: never opens, resolves or looks up anything; one canonical text per address, so that two
spellings of one address compare equal; every refusal has its own code
(docs/reference/resources.md).
The shapes are those of VISA (IVI Foundation, VPP-4.3 "The VISA Library", section "Address String").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from drivebay._core.errors import Diagnostic, ResourceError

MAX_LENGTH = 256

_EXAMPLES = (
    "TCPIP::192.168.1.5::5025::SOCKET, TCPIP0::192.168.1.5::inst0::INSTR, GPIB0::24::INSTR, "
    "USB0::0x05E6::0x2450::01234567::INSTR, ASRL/dev/ttyUSB0::INSTR"
)
_HEAD = re.compile(r"(TCPIP|USB|GPIB|ASRL)(.*)\Z", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_LOOKS_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")
_LAN_DEVICE = re.compile(
    r"(inst[0-9]{1,2}|gpib[0-9],[0-9]{1,2}(,[0-9]{1,2})?|hislip[0-9](,[0-9]{1,5})?)\Z"
)
_USB_ID = re.compile(r"0x[0-9a-f]{1,4}\Z|[0-9]{1,5}\Z", re.IGNORECASE)
_USB_SERIAL = re.compile(r"[A-Za-z0-9 ._+/#-]{1,64}\Z")
_SERIAL_DEVICE = re.compile(
    r"(/dev/(tty|cu\.)[A-Za-z0-9._-]{1,64}|/dev/pts/[0-9]{1,5}"
    r"|/dev/serial/by-(id|path)/[A-Za-z0-9._:+-]{1,200}|COM[0-9]{1,3}|[0-9]{1,3})\Z"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One address, taken apart.

    Attributes:
        text: the canonical address; two addresses are the same one if their texts are equal.
        interface: ``socket``, ``tcpip`` (VXI-11, HiSLIP), ``usb``, ``gpib`` or ``serial``.
        board: number of the adapter, 0 where the address names none.
        host: host of a network address in lower case, IPv6 without brackets; else empty.
        port: TCP port of a raw socket, else 0.
        device: LAN device (``inst0``), serial port or USB serial number; else empty.
    """

    text: str
    interface: str
    board: int = 0
    host: str = ""
    port: int = 0
    device: str = ""

    def __str__(self) -> str:
        return self.text


def parse_resource(text: str, *, allow_host: Callable[[str], bool] | None = None) -> Resource:
    """Take an address apart and give it its canonical spelling.

    Args:
        text: the address; letter case and blanks around its parts do not matter.
        allow_host: asked with the host of a network address; False refuses it with V006. It sees
            the name as written, so whoever needs a rule on networks resolves the name there and
            connects by what it resolved.

    Raises:
        ResourceError: the address breaks a rule; ``.problem.code`` says which (V001 to V015).

    >>> parse_resource(" tcpip::10.0.0.7::5025::socket ").text
    'TCPIP::10.0.0.7::5025::SOCKET'
    >>> parse_resource("gpib::24").text
    'GPIB0::24::INSTR'
    """
    cleaned = _clean(text)
    head = _HEAD.match(cleaned)
    if head is None:
        _refuse(text, "V001", f"{_shown(text)} is not a VISA address; examples: {_EXAMPLES}")
    kind = head[1].upper()
    if kind == "ASRL":
        return _serial(text, head[2])
    parts = [part.strip() for part in _split(head[2])]
    board = _board(text, parts[0])
    if kind == "GPIB":
        return _gpib(text, board, parts[1:])
    if kind == "USB":
        return _usb(text, board, parts[1:])
    return _tcpip(text, board, parts[1:], allow_host)


def _refuse(text: str, code: str, message: str) -> NoReturn:
    raise ResourceError(text[:MAX_LENGTH], Diagnostic(code, message))


def _shown(text: str) -> str:
    """The address for a message; long ones are cut, so that no input is echoed in full."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _clean(text: str) -> str:
    if len(text) > MAX_LENGTH:
        _refuse(text, "V005", f"address of {len(text)} characters is longer than {MAX_LENGTH}")
    cleaned = text.strip(" \t\r\n")
    for at, char in enumerate(cleaned):
        if not " " <= char <= "~":
            name = f"U+{ord(char):04X}"
            _refuse(
                text, "V004", f"character {name} at position {at + 1} is not allowed in an address"
            )
    return cleaned


def _split(text: str) -> list[str]:
    """Split at ``::``, but not inside the brackets of an IPv6 host."""
    parts: list[str] = []
    for at, piece in enumerate(re.split(r"(\[[^\]]*\])", text)):
        if at % 2 and parts:
            parts[-1] += piece
            continue
        first, *rest = piece.split("::")
        parts = [*parts[:-1], (parts[-1] if parts else "") + first, *rest]
    return parts


def _board(text: str, digits: str) -> int:
    if digits and not (digits.isdigit() and len(digits) <= 3):
        _refuse(text, "V001", f"{_shown(text)}: {digits!r} is not a board number (0 to 999)")
    return int(digits or 0)


def _shape(text: str, expected: str) -> NoReturn:
    _refuse(text, "V001", f"{_shown(text)} is not a VISA address of the form {expected}")


def _without_instr(parts: list[str]) -> list[str]:
    """The parts without a closing ``INSTR``, which VISA lets one leave out."""
    return parts[:-1] if parts and parts[-1].upper() == "INSTR" else parts


def _gpib(text: str, board: int, parts: list[str]) -> Resource:
    numbers = _without_instr(parts)
    if not 1 <= len(numbers) <= 2 or not all(part.isdigit() for part in numbers):
        _shape(text, "GPIB0::24::INSTR (or GPIB0::24::1::INSTR with a secondary address)")
    if any(len(part) > 3 or int(part) > 30 for part in numbers):
        _refuse(text, "V011", f"GPIB address {'::'.join(numbers)} is not within 0 to 30")
    primary = "::".join(str(int(part)) for part in numbers)
    return Resource(f"GPIB{board}::{primary}::INSTR", "gpib", board)


def _usb(text: str, board: int, parts: list[str]) -> Resource:
    fields = _without_instr(parts)
    if not 3 <= len(fields) <= 4:
        _shape(text, "USB0::0x05E6::0x2450::01234567::INSTR")
    for field, what in zip(fields[:2], ("manufacturer", "model"), strict=True):
        if not _USB_ID.match(field) or int(field, 0 if field[:2].lower() == "0x" else 10) > 0xFFFF:
            _refuse(text, "V014", f"USB {what} id {field!r} is not within 0x0000 to 0xFFFF")
    vendor, product = (int(f, 0 if f[:2].lower() == "0x" else 10) for f in fields[:2])
    if not _USB_SERIAL.match(fields[2]):
        _refuse(text, "V014", f"USB serial number {fields[2]!r} is not 1 to 64 plain characters")
    interface = fields[3] if len(fields) == 4 else "0"
    if not (interface.isdigit() and len(interface) <= 3 and int(interface) <= 255):
        _refuse(text, "V014", f"USB interface number {interface!r} is not within 0 to 255")
    tail = "" if int(interface) == 0 else f"::{int(interface)}"
    name = f"USB{board}::0x{vendor:04X}::0x{product:04X}::{fields[2]}{tail}::INSTR"
    return Resource(name, "usb", board, device=fields[2])


def _serial(text: str, rest: str) -> Resource:
    if re.match(r"\s*[A-Za-z][A-Za-z0-9+.-]*://", rest):
        _refuse(text, "V008", f"{_shown(text)}: URL-type serial ports are not allowed")
    parts = [part.strip() for part in rest.split("::")]
    if len(parts) > 2 or (len(parts) == 2 and parts[1].upper() != "INSTR"):
        _shape(text, "ASRL/dev/ttyUSB0::INSTR, ASRLCOM3::INSTR or ASRL1::INSTR")
    port = parts[0].upper() if parts[0][:3].upper() == "COM" else parts[0]
    if not _SERIAL_DEVICE.match(port) or ".." in port:
        _refuse(
            text,
            "V009",
            f"{parts[0]!r} is not the name of a serial port; expected /dev/tty..., /dev/cu...., "
            "/dev/serial/by-id/..., COM1 or a number",
        )
    number = str(int(port)) if port.isdigit() else port
    return Resource(f"ASRL{number}::INSTR", "serial", device=number)


def _tcpip(
    text: str, board: int, parts: list[str], allow_host: Callable[[str], bool] | None
) -> Resource:
    if parts and parts[-1].upper() == "SOCKET":
        if len(parts) != 3:
            _shape(text, "TCPIP::192.168.1.5::5025::SOCKET")
        host = _host(text, parts[0], allow_host)
        port = _port(text, parts[1])
        # No VISA board takes part in a raw socket, so its number 0 is left out.
        name = f"TCPIP{board or ''}::{_bracketed(host)}::{port}::SOCKET"
        return Resource(name, "socket", board, host, port)
    fields = _without_instr(parts)
    if not 1 <= len(fields) <= 2:
        _shape(text, "TCPIP0::192.168.1.5::inst0::INSTR or TCPIP::192.168.1.5::5025::SOCKET")
    device = fields[1].lower() if len(fields) == 2 else "inst0"
    if device.isdigit():
        _shape(text, f"TCPIP::{fields[0]}::{device}::SOCKET (a port needs SOCKET at the end)")
    if not _LAN_DEVICE.match(device):
        _refuse(
            text,
            "V015",
            f"LAN device {device!r} is not one of inst0, hislip0, hislip0,4880, gpib0,5",
        )
    if device.startswith("hislip") and "," in device:
        _port(text, device.partition(",")[2])
    name_part, comma, port_part = fields[0].partition(",")
    host = _host(text, name_part, allow_host)
    if ":" in host:
        _refuse(text, "V012", f"IPv6 host [{host}] is supported on raw sockets only (...::SOCKET)")
    # VXI-11 servers without a port mapper are named host,port (pyvisa-py's own extension).
    suffix = f",{_port(text, port_part)}" if comma else ""
    return Resource(
        f"TCPIP{board}::{host}{suffix}::{device}::INSTR", "tcpip", board, host, device=device
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port(text: str, digits: str) -> int:
    if not (digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        _refuse(text, "V002", f"port {digits[:20]!r} is not within 1 to 65535")
    return int(digits)


def _host(text: str, host: str, allow_host: Callable[[str], bool] | None) -> str:
    name = host.lower()
    name = _ipv6(text, name[1:-1]) if name.startswith("[") else _name_or_ipv4(text, name)
    if allow_host is not None and not allow_host(name):
        _refuse(text, "V006", f"host {name!r} is not in the allowed networks")
    return name


def _ipv6(text: str, literal: str) -> str:
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError as exc:
        problem = Diagnostic("V001", f"[{literal}] is not an IPv6 address")
        raise ResourceError(text, problem) from exc
    if address.ipv4_mapped is not None or address.is_unspecified:
        _refuse(text, "V006", f"host [{literal}] is ambiguous; write the IPv4 address or the name")
    return str(address)


def _name_or_ipv4(text: str, host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if not host or not all(_LABEL.match(label) for label in labels):
        _refuse(text, "V001", f"{_shown(text)}: {host!r} is not a host name or an IPv4 address")
    if not _LOOKS_NUMERIC.match(labels[-1]):
        return ".".join(labels)
    # What ends in a number is an address to the resolver: 127.1, 2130706433, 0x7f000001 and
    # 0177.0.0.1 all reach 127.0.0.1 there, so only the one plain spelling is let through.
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError as exc:
        problem = Diagnostic(
            "V006",
            f"host {host!r} is an ambiguous spelling of an address; write four decimal numbers",
        )
        raise ResourceError(text, problem) from exc
    if address.is_unspecified:
        _refuse(text, "V006", f"host {host!r} names no instrument; write its address")
    return str(address)
