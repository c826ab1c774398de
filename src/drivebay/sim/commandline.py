"""The simulators' command line: one instrument, or with ``--all`` a whole virtual bench.

Promises: stops cleanly when its standard input closes, on SIGTERM and on SIGINT. Prints one line of
JSON for one instrument, the text of a bench file (or one line of JSON) for a bench, and nothing
else on standard output, so that a program can start it and read the addresses.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from drivebay.sim import Keithley2400Server
from drivebay.sim.circuit import Circuit, Component, Port
from drivebay.sim.circuitfile import DEVICE_KINDS, PACKAGED
from drivebay.sim.devices import Device, Diode, OpenCircuit, Resistor, ShortCircuit
from drivebay.sim.eventlog import EventLog
from drivebay.sim.registry import KINDS, Kind, Options
from drivebay.sim.server import ScpiServer
from drivebay.sim.serving import Stop
from drivebay.sim.virtualbench import VirtualBench

# Devices of the command line that a circuit file has no need of, and those with options here.
_OWN_DEVICES = ("diode", "resistor", "open", "short")
_OTHER_DEVICES = tuple(
    name for name in DEVICE_KINDS if name not in _OWN_DEVICES and name != "mosfet"
)


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line for one instrument."""
    top = argparse.ArgumentParser(
        prog="drivebay sim",
        description="simulated instruments on TCP",
        epilog="drivebay sim --all starts a whole virtual bench; see drivebay sim --all --help",
    )
    kinds = top.add_subparsers(dest="instrument", required=True, metavar="INSTRUMENT")
    for kind in KINDS.values():
        one = kinds.add_parser(kind.name, help=f"a {kind.title}")
        one.add_argument("--model", choices=kind.models, default=kind.models[0])
        _add_common(one)
        if kind.name == "keithley2400":
            one.add_argument("--settling-time-s", type=float, default=20e-6)
            one.add_argument("--lead-resistance-ohm", type=float, default=0.0)
        _add_device(one.add_argument_group("device under test"))
    return top


def bench_parser() -> argparse.ArgumentParser:
    """The grammar of the command line for a whole bench."""
    top = argparse.ArgumentParser(
        prog="drivebay sim --all", description="a whole virtual bench on TCP"
    )
    top.add_argument("--all", action="store_true", help="every instrument of the circuit")
    top.add_argument(
        "--circuit", metavar="FILE", default=PACKAGED, help="another circuit than the packaged one"
    )
    top.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    top.add_argument("--free-ports", action="store_true", help="any free port for each instrument")
    top.add_argument("--time-scale", type=float, default=1.0, help="real seconds a second takes")
    top.add_argument("--bench-file", metavar="FILE", help="write a bench.yaml there")
    top.add_argument("--json", action="store_true", help="print one line of JSON")
    top.add_argument("--ignore-stdin", action="store_true", help="do not stop at the end of input")
    top.add_argument("--log-folder", metavar="FOLDER", help="events of each instrument, NAME.jsonl")
    top.add_argument("--log-traffic", action="store_true", help="log messages and answers too")
    return top


def _add_common(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    one.add_argument("--port", type=_port, default=0, help="0 takes a free one (default)")
    one.add_argument("--single-connection", action="store_true", help="refuse a second connection")
    one.add_argument("--serial-number", default="1234567")
    one.add_argument("--line-frequency-hz", type=int, choices=(50, 60), default=50)
    one.add_argument(
        "--time-scale", type=float, default=1.0, help="real seconds a reading's second takes"
    )
    one.add_argument("--seed", type=int, default=2400, help="of the noise")
    one.add_argument("--noise", type=float, default=1.0, help="factor on the noise; 0 for none")
    one.add_argument(
        "--obeys-while-busy", action="store_true", help="execute other commands during a sweep too"
    )
    one.add_argument("--ignore-stdin", action="store_true", help="do not stop at the end of input")
    one.add_argument("--log", metavar="FILE", help="append events to this file as JSON lines")
    one.add_argument("--log-traffic", action="store_true", help="log messages and answers too")


def _port(text: str) -> int:
    """A port of TCP; argparse says what is wrong with any other text."""
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to 65535, or 0 for a free one")
    return port


def _add_device(group: argparse._ArgumentGroup) -> None:
    plain = Diode()
    group.add_argument("--device", choices=(*_OWN_DEVICES, *_OTHER_DEVICES), default="diode")
    group.add_argument("--saturation-current-a", type=float, default=plain.saturation_current_a)
    group.add_argument("--ideality", type=float, default=plain.ideality)
    group.add_argument("--series-resistance-ohm", type=float, default=plain.series_resistance_ohm)
    group.add_argument("--shunt-resistance-ohm", type=float, default=plain.shunt_resistance_ohm)
    group.add_argument("--temperature-k", type=float, default=plain.temperature_k)
    group.add_argument("--ohm", type=float, default=Resistor().ohm, help="of the resistor")


def device_of(options: argparse.Namespace) -> Device:
    """The device the options describe; one with a memory is a port of a circuit of its own.

    Raises:
        ValueError: a parameter is outside its range.
    """
    if options.device == "resistor":
        return Resistor(options.ohm)
    if options.device == "diode":
        return Diode(
            saturation_current_a=options.saturation_current_a,
            ideality=options.ideality,
            series_resistance_ohm=options.series_resistance_ohm,
            temperature_k=options.temperature_k,
            shunt_resistance_ohm=options.shunt_resistance_ohm,
        )
    if options.device in _OTHER_DEVICES:
        made: Device | Component = DEVICE_KINDS[options.device]()
        return Circuit.around(made, time_scale=options.time_scale)
    return OpenCircuit() if options.device == "open" else ShortCircuit()


def server_of(options: argparse.Namespace) -> ScpiServer:
    """The server the options describe, not yet started.

    Raises:
        ValueError: a parameter is outside its range.
    """
    device = device_of(options)
    if options.instrument != "keithley2400":
        return _plain_server(KINDS[options.instrument], device, options)
    return Keithley2400Server(
        device,
        model=options.model,
        host=options.host,
        port=options.port,
        single_connection=options.single_connection,
        log_file=options.log,
        log_traffic=options.log_traffic,
        serial_number=options.serial_number,
        line_frequency_hz=options.line_frequency_hz,
        time_scale=options.time_scale,
        seed=options.seed,
        noise=options.noise,
        settling_time_s=options.settling_time_s,
        lead_resistance_ohm=options.lead_resistance_ohm,
        obeys_only_abort_while_busy=not options.obeys_while_busy,
    )


def _plain_server(kind: Kind, device: Device, options: argparse.Namespace) -> ScpiServer:
    """Any kind, with the device on its first port and nothing on the others."""
    port = device if isinstance(device, Port) else Circuit.around(device)
    said = Options(
        model=options.model,
        serial_number=options.serial_number,
        line_frequency_hz=options.line_frequency_hz,
        time_scale=options.time_scale,
        seed=options.seed,
        noise=options.noise,
        obeys_only_abort_while_busy=not options.obeys_while_busy,
        log=EventLog(options.log, options.log_traffic),
    )
    return ScpiServer(
        kind.make({kind.ports[0]: port}, said),
        host=options.host,
        port=options.port,
        single_connection=options.single_connection,
    )


def run(argv: Sequence[str] | None = None) -> int:
    """Serves until told to stop; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if {"--all", "--circuit"} & {word.partition("=")[0] for word in argv}:
        return _run_bench(argv)
    top = parser()
    options = top.parse_args(argv)
    stop = Stop()
    try:
        server = server_of(options).start()
    except (ValueError, OSError) as error:
        top.exit(2, f"drivebay sim: {_said(error, '--port 0 takes a free one')}\n")
    ready = {"resource": server.resource, "port": server.port}
    stop.serve(server, json.dumps(ready) + "\n", options.ignore_stdin)
    return 0


def _run_bench(argv: Sequence[str]) -> int:
    top = bench_parser()
    options = top.parse_args(argv)
    stop = Stop()
    try:
        if options.log_folder is not None:
            Path(options.log_folder).mkdir(parents=True, exist_ok=True)
        bench = VirtualBench(
            options.circuit,
            host=options.host,
            free_ports=options.free_ports,
            time_scale=options.time_scale,
            log_folder=options.log_folder,
            log_traffic=options.log_traffic,
        ).start()
    except (ValueError, OSError) as error:
        top.exit(2, f"drivebay sim: {_said(error, '--free-ports takes free ones')}\n")
    try:
        if options.bench_file is not None:
            _write_whole(Path(options.bench_file), bench.bench_file())
    except OSError as error:
        bench.stop()
        why = f"{options.bench_file} cannot be written: {error.strerror}"
        top.exit(2, f"drivebay sim: {why}\n")
    stop.serve(bench, _ready(bench, options), options.ignore_stdin)
    return 0


def _said(error: Exception, instead: str) -> str:
    """What is wrong; of a port that somebody has also what to do about it."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{error.strerror or error}: stop the program that has it (Ctrl-C); {instead}"
    return str(error)


def _ready(bench: VirtualBench, options: argparse.Namespace) -> str:
    if not options.json:
        where = options.bench_file or "FILE"
        return f"{bench.bench_file()}# ready; look at it with: drivebay find --bench {where}\n"
    instruments = [
        {
            "name": entry.name,
            "kind": entry.kind.name,
            "model": entry.settings.get("model") or entry.kind.models[0],
            "resource": bench.resource(entry.name),
            "connected": bench.connected(entry),
        }
        for entry in bench.said.instruments
    ]
    return json.dumps({"bench_file": options.bench_file, "instruments": instruments}) + "\n"


def _write_whole(path: Path, text: str) -> None:
    """Writes a file that a reader finds whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
