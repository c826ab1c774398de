"""Links: bytes to and from an instrument, with deadlines, and never an answer to another question.

``open_link`` opens any address; raw sockets are our own, everything else goes through PyVISA, which
is imported only then. The rules every link keeps are at the top of ``link.py``.
"""

from __future__ import annotations

from drivebay._core.links.link import Link
from drivebay._core.links.resource import Resource, parse_resource
from drivebay._core.links.tcp import TcpLink

__all__ = [
    "Link",
    "Resource",
    "TcpLink",
    "open_link",
    "parse_resource",
]


def open_link(resource: str, *, timeout_s: float = 5.0, visa_library: str | None = None) -> Link:
    """Open the channel to an instrument.

    Args:
        resource: its address; see docs/reference/resources.md.
        timeout_s: deadline for opening, and the total deadline of every operation that names none.
        visa_library: PyVISA's name of the library to use (``"@py"``, ``"@ivi"``, a path). Given for
            a raw socket, it makes that go through PyVISA too.

    Raises:
        ResourceError: the address breaks a rule (V001 to V015).
        LinkOpenError: nothing answers there, or it is held by someone else.
    """
    where = parse_resource(resource)
    return TcpLink(where, timeout_s=timeout_s)
