"""The keeper: the process that owns the links, so that a driver that dies closes nothing.

``client`` is what an owner calls, ``server`` the process, ``held`` one instrument in it, ``safing``
the safe state, ``together`` several of them, ``switchoff`` all of the machine, ``records`` what
outlives a keeper, ``watchman`` who. Below the stages that know plugins: no plugin code can
get here. ``open_link`` is how everybody else opens an instrument.
"""

from __future__ import annotations

import json
import os
import weakref
from typing import Final

from drivebay._core import links
from drivebay._core.errors import LeaseError
from drivebay._core.keeper.client import (
    KeeperClient,
    KeptSession,
    SessionLink,
    end_keeper,
    open_session,
    running_keeper,
)
from drivebay._core.keeper.safing import SafeStateReport, run_safe_state
from drivebay._core.keeper.switchoff import acknowledge, all_outputs_off
from drivebay._core.links import KeptLink, Link, parse_resource

GRANT_VARIABLE: Final = "DRIVEBAY_KEEPER"
"""In a driver's process: which instrument it was lent, by which keeper, as JSON."""

__all__ = [
    "GRANT_VARIABLE",
    "KeeperClient",
    "KeptSession",
    "OwnedLink",
    "SafeStateReport",
    "SessionLink",
    "acknowledge",
    "all_outputs_off",
    "borrowed",
    "end_keeper",
    "lend",
    "list_resources",
    "open_link",
    "open_session",
    "run_safe_state",
    "running_keeper",
]


_lent_here: weakref.WeakValueDictionary[str, KeptSession] = weakref.WeakValueDictionary()


def lend(session: KeptSession) -> None:
    """Let :func:`open_link` share a session of this process, while it is open.

    For a driver of the original platform's style, which opens its own connection to the instrument
    that was opened for it.
    """
    _lent_here[session.resource] = session


class OwnedLink(SessionLink):
    """A link that somebody opened for himself: closing it gives the instrument back."""

    def close(self) -> None:
        super().close()
        self.session.close()


def open_link(
    resource: str,
    *,
    timeout_s: float = 5.0,
    visa_library: str | None = None,
    baud_rate: int | None = None,
    terminator: str = "\n",
    force: bool = False,
) -> Link:
    """Open an instrument, through the keeper of this process; nobody else can command it then.

    In the process of a driver it is the instrument the driver was lent, and no other.

    Args:
        resource: its address; see docs/reference/resources.md.
        timeout_s: deadline for opening, and the total deadline of every operation that names none.
        visa_library: PyVISA's name of the library to use (``"@py"``, ``"@ivi"``, a path); by
            default PYVISA_LIBRARY, else pyvisa-py. Named here, it opens raw sockets too.
        baud_rate: speed of a serial line, by default 9600.
        terminator: what ends a command and an answer on a serial line: line feed, carriage return
            or both.
        force: take the instrument over from whoever holds it; it is made safe before.

    Raises:
        ResourceError: the address breaks a rule (V001 to V015).
        LeaseError: somebody else holds the instrument.
        LinkOpenError: nothing answers there.
        UnsafeError: it could not be made safe after an earlier fault.
    """
    where = parse_resource(resource)
    lent = borrowed(resource)
    if lent is not None:
        return lent
    opening = {
        "timeout_s": timeout_s,
        "visa_library": visa_library,
        "baud_rate": baud_rate,
        "terminator": terminator,
    }
    session = open_session(where.text, opening, force=force)
    try:
        return OwnedLink(session)
    except BaseException:
        session.close()
        raise


def borrowed(resource: str) -> Link | None:
    """A link to an instrument that was lent to this process; None where nobody lent any.

    Raises:
        ResourceError: the address breaks a rule (V001 to V015).
        LeaseError: this is the process of a driver, and it was lent another one.
    """
    where = parse_resource(resource)
    granted = os.environ.get(GRANT_VARIABLE)
    if granted:
        return _lent(where.text, granted)
    lent = _lent_here.get(where.text)
    return lent.link() if lent is not None and not lent.closed else None


def list_resources(*, timeout_s: float = 5.0, network: bool = True) -> list[str]:
    """Addresses of the instruments that can be found and opened from here, sorted.

    In the process of a driver that is the instrument the driver was lent. With pyvisa-py a search
    of the network sends broadcasts (VXI-11 port mapper) and mDNS queries and takes 2 to 3 s.

    Args:
        timeout_s: longest time to wait.
        network: False asks the machine's own ports only (serial, USB, GPIB); nothing is sent.

    Raises:
        LinkTimeoutError: the search did not end in time.
        LinkOpenError: the VISA library cannot be used.
    """
    granted = os.environ.get(GRANT_VARIABLE)
    if granted:
        return [str(json.loads(granted)["resource"])]
    return links.list_resources(timeout_s=timeout_s, network=network)


def _lent(resource: str, granted: str) -> Link:
    facts = json.loads(granted)
    if facts["resource"] != resource:
        raise LeaseError(
            f"{resource} was not lent to this driver, only {facts['resource']} was",
            resource=resource,
        )
    return KeptLink(facts["path"], facts["token"], role="host")
