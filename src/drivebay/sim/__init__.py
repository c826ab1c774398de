"""Simulated instruments on real sockets, with simulated devices that have physics.

Promises: they answer as the manual of the real one says, and record what happened and when. Never
import anything of Drivebay, never touch hardware, and never claim to be real outside of what
``*IDN?`` must answer.

>>> with Keithley2400Server(device=Resistor(1000.0), time_scale=0.0) as server:
...     server.resource.startswith("TCPIP::127.0.0.1::")
True
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from drivebay.sim.devices import Device, Diode, OpenCircuit, Resistor, ShortCircuit
from drivebay.sim.eventlog import EventLog
from drivebay.sim.keithley2400 import Keithley2400
from drivebay.sim.server import ScpiServer

__all__ = [
    "Device",
    "Diode",
    "EventLog",
    "Keithley2400",
    "Keithley2400Server",
    "OpenCircuit",
    "Resistor",
    "ScpiServer",
    "ShortCircuit",
    "main",
]


class Keithley2400Server(ScpiServer):
    """A simulated 2400 on a TCP port of its own; a context manager.

    Attributes:
        instrument: the simulated instrument, for looking at it from a test.
    """

    instrument: Keithley2400

    def __init__(
        self,
        device: Device | None = None,
        *,
        model: str = "2400",
        host: str = "127.0.0.1",
        port: int = 0,
        single_connection: bool = False,
        log_file: str | PathLike[str] | None = None,
        log_traffic: bool = False,
        **instrument: Any,
    ) -> None:
        """Prepares it; entering the context (or ``start``) opens the port.

        Args:
            device: the device under test; a diode if not given.
            model: a model of the family.
            host: the address to listen on.
            port: the port; 0 takes a free one.
            single_connection: refuse a second connection while there is one.
            log_file: also write the event log there, as JSON lines.
            log_traffic: record messages and answers too.
            **instrument: further arguments of ``Keithley2400``: ``time_scale``, ``seed``,
                ``noise``, ...

        Raises:
            ValueError: what ``Keithley2400`` refuses.
        """
        log = EventLog(log_file, log_traffic)
        simulated = Keithley2400(model, device, log=log, **instrument)
        super().__init__(simulated, host=host, port=port, single_connection=single_connection)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: ``python -m drivebay.sim keithley2400 ...``; returns the exit code."""
    from drivebay.sim.commandline import run

    return run(argv)
