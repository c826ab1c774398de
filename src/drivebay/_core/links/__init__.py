"""Links: bytes to and from an instrument, with deadlines, and never an answer to another question.

``open_direct`` opens any address in this process; raw sockets are our own, everything else goes
through PyVISA, imported only then. ``interface.py`` has what a link promises, ``direct.py`` how
that is done, ``kept.py`` the client of a link in another process.
"""

from __future__ import annotations

from drivebay._core.links.direct import DirectLink
from drivebay._core.links.interface import Link
from drivebay._core.links.kept import KeeperPort, KeptLink
from drivebay._core.links.replay import Recording, ReplayLink, record
from drivebay._core.links.resource import Resource, parse_resource
from drivebay._core.links.tcp import TcpLink

__all__ = [
    "DirectLink",
    "KeeperPort",
    "KeptLink",
    "Link",
    "Recording",
    "ReplayLink",
    "Resource",
    "TcpLink",
    "list_resources",
    "open_direct",
    "parse_resource",
    "record",
]


def open_direct(
    resource: str,
    *,
    timeout_s: float = 5.0,
    visa_library: str | None = None,
    baud_rate: int | None = None,
    terminator: str = "\n",
) -> DirectLink:
    """Open the channel to an instrument in this process, past every keeper.

    Args:
        resource: its address; see docs/reference/resources.md.
        timeout_s: deadline for opening, and the total deadline of every operation that names none.
        visa_library: PyVISA's name of the library to use (``"@py"``, ``"@ivi"``, a path); by
            default PYVISA_LIBRARY, else pyvisa-py. Named here, it opens raw sockets too.
        baud_rate: speed of a serial line, by default 9600.
        terminator: what ends a command and an answer on a serial line: line feed, carriage return
            or both.

    Raises:
        ResourceError: the address breaks a rule (V001 to V015).
        LinkOpenError: nothing answers there, or it is held by someone else.
    """
    where = parse_resource(resource)
    if where.interface == "socket" and visa_library is None:
        return TcpLink(where, timeout_s=timeout_s)
    from drivebay._core.links.visa import VisaLink

    return VisaLink(
        where,
        timeout_s=timeout_s,
        visa_library=visa_library,
        baud_rate=baud_rate,
        terminator=terminator,
    )


def list_resources(
    *, visa_library: str | None = None, timeout_s: float = 5.0, network: bool = True
) -> list[str]:
    """Addresses of the instruments VISA finds, in canonical spelling, sorted.

    With pyvisa-py this sends broadcasts (VXI-11 port mapper) and mDNS queries and takes 2 to 3 s.

    Args:
        visa_library: PyVISA's name of the library, by default PYVISA_LIBRARY or ``"@py"``.
        timeout_s: longest time to wait.
        network: False asks the machine's own ports only (serial, USB, GPIB); nothing is sent.

    Raises:
        LinkTimeoutError: the search did not end in time.
        LinkOpenError: the VISA library cannot be used.
    """
    from drivebay._core.links import visa

    return visa.list_resources(visa_library=visa_library, timeout_s=timeout_s, network=network)
