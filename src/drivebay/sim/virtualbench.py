"""The virtual bench: every instrument of a circuit file on a port of its own, on one circuit.

Promises: either all instruments listen or none does; stopping ends every thread. Never chooses
what is connected: the circuit file does.

>>> with VirtualBench(free_ports=True, time_scale=0.0) as bench:
...     bench.resource("gate").startswith("TCPIP::127.0.0.1::")
True
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from drivebay.sim.circuit import Circuit
from drivebay.sim.circuitfile import PACKAGED, CircuitFile, InstrumentEntry, read_circuit
from drivebay.sim.eventlog import EventLog
from drivebay.sim.registry import Options
from drivebay.sim.server import ScpiServer


class VirtualBench:
    """Servers for the instruments of a circuit file; a context manager.

    Attributes:
        said: what the file says.
        circuit: devices and ports, to be looked into.
        servers: by the instruments' names.
    """

    def __init__(
        self,
        circuit_file: str | Path | CircuitFile = PACKAGED,
        *,
        host: str = "127.0.0.1",
        free_ports: bool = False,
        time_scale: float = 1.0,
        log_folder: str | Path | None = None,
        log_traffic: bool = False,
    ) -> None:
        """Makes circuit and instruments; ``start`` opens their ports.

        Args:
            circuit_file: a path, or what one says; the packaged one if not given.
            host: the address to listen on.
            free_ports: take any free port instead of those of the file.
            time_scale: real seconds that a simulated second takes.
            log_folder: also write each instrument's events there, to ``NAME.jsonl``.
            log_traffic: record messages and answers too.

        Raises:
            CircuitFileError: the file is wrong.
            ValueError: an instrument refuses what is said of it.
        """
        if not isinstance(circuit_file, CircuitFile):
            circuit_file = read_circuit(circuit_file)
        self.said = circuit_file
        self.circuit: Circuit = circuit_file.circuit(time_scale)
        self.servers: dict[str, ScpiServer] = {}
        for entry in circuit_file.instruments:
            path = None if log_folder is None else Path(log_folder) / f"{entry.name}.jsonl"
            base = Options(time_scale=time_scale, log=EventLog(path, log_traffic))
            instrument = entry.kind.make(
                {port: self.circuit.ports[name] for port, name in entry.ports.items()},
                replace(base, **entry.settings),
            )
            self.servers[entry.name] = ScpiServer(
                instrument,
                host=host,
                port=0 if free_ports else entry.tcp_port,
                single_connection=entry.single_connection,
            )

    def start(self) -> Self:
        """Opens every port.

        Raises:
            OSError: one cannot be had; none is open then.
        """
        try:
            for name, server in self.servers.items():
                try:
                    server.start()
                except OSError as error:
                    text = f"{name}: port {server.port} of {server.host}: {error.strerror}"
                    raise OSError(error.errno, text) from error
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Closes every port and ends every instrument."""
        for server in self.servers.values():
            server.stop()

    def __enter__(self) -> Self:
        """Starts it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops it."""
        self.stop()

    def resource(self, name: str) -> str:
        """The VISA address of an instrument."""
        return self.servers[name].resource

    def connected(self, entry: InstrumentEntry) -> dict[str, list[str]]:
        """For each port of an instrument, the devices and ports on the same nodes."""
        return {port: self.circuit.neighbours(name) for port, name in entry.ports.items()}

    def bench_file(self) -> str:
        """The text of a ``bench.yaml`` with every instrument, for ``drivebay find --bench``."""
        lines = [f"# simulated: {self.said.name}", f"bench: {self.said.name}", "instruments:"]
        for entry in self.said.instruments:
            lines.append(f"  {entry.name}:")
            model = entry.settings.get("model") or entry.kind.models[0]
            lines.append(f"    # {entry.kind.title}, {model}")
            for port, names in self.connected(entry).items():
                lines.append(f"    # {port}: {', '.join(names) or 'nothing'}")
            lines.append(f"    resource: {self.resource(entry.name)}")
        return "\n".join(lines) + "\n"
