"""The simulators' command line: one process, one instrument, one line of JSON when ready.

Promises: stops cleanly when its standard input closes, on SIGTERM and on SIGINT. Never prints
anything else on standard output, so that a program can start it and read the address.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from drivebay.sim import Keithley2400Server
from drivebay.sim.devices import Device, Diode, OpenCircuit, Resistor, ShortCircuit
from drivebay.sim.keithley2400 import MODELS


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line."""
    top = argparse.ArgumentParser(prog="drivebay sim", description="simulated instruments on TCP")
    kinds = top.add_subparsers(dest="instrument", required=True, metavar="INSTRUMENT")
    smu = kinds.add_parser("keithley2400", help="a Keithley 2400 family SourceMeter")
    smu.add_argument("--model", choices=tuple(MODELS), default="2400")
    smu.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    smu.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    smu.add_argument("--single-connection", action="store_true", help="refuse a second connection")
    smu.add_argument("--serial-number", default="1234567")
    smu.add_argument("--line-frequency-hz", type=int, choices=(50, 60), default=50)
    smu.add_argument(
        "--time-scale", type=float, default=1.0, help="real seconds a reading's second takes"
    )
    smu.add_argument("--seed", type=int, default=2400, help="of the noise")
    smu.add_argument("--noise", type=float, default=1.0, help="factor on the noise; 0 for none")
    smu.add_argument("--settling-time-s", type=float, default=20e-6)
    smu.add_argument("--lead-resistance-ohm", type=float, default=0.0)
    smu.add_argument(
        "--obeys-while-busy", action="store_true", help="execute other commands during a sweep too"
    )
    smu.add_argument("--ignore-stdin", action="store_true", help="do not stop at the end of input")
    smu.add_argument("--log", metavar="FILE", help="append events to this file as JSON lines")
    smu.add_argument("--log-traffic", action="store_true", help="log messages and answers too")
    _add_device(smu.add_argument_group("device under test"))
    return top


def _add_device(group: argparse._ArgumentGroup) -> None:
    plain = Diode()
    group.add_argument("--device", choices=("diode", "resistor", "open", "short"), default="diode")
    group.add_argument("--saturation-current-a", type=float, default=plain.saturation_current_a)
    group.add_argument("--ideality", type=float, default=plain.ideality)
    group.add_argument("--series-resistance-ohm", type=float, default=plain.series_resistance_ohm)
    group.add_argument("--shunt-resistance-ohm", type=float, default=plain.shunt_resistance_ohm)
    group.add_argument("--temperature-k", type=float, default=plain.temperature_k)
    group.add_argument("--ohm", type=float, default=Resistor().ohm, help="of the resistor")


def device_of(options: argparse.Namespace) -> Device:
    """The device the options describe.

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
    return OpenCircuit() if options.device == "open" else ShortCircuit()


def server_of(options: argparse.Namespace) -> Keithley2400Server:
    """The server the options describe, not yet started.

    Raises:
        ValueError: a parameter is outside its range.
    """
    return Keithley2400Server(
        device_of(options),
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


def run(argv: Sequence[str] | None = None) -> int:
    """Serves until told to stop; the exit code."""
    top = parser()
    options = top.parse_args(argv)
    stop = threading.Event()

    def stopped(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stopped)
        signal.signal(signal.SIGINT, stopped)
    try:
        server = server_of(options)
        server.start()
    except (ValueError, OSError) as error:
        top.exit(2, f"drivebay sim: {error}\n")
    try:
        ready = {"resource": server.resource, "port": server.port}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        # A terminal is no pipe of a program that started us, and reading it stops a background job.
        if not options.ignore_stdin and not (sys.stdin and sys.stdin.isatty()):
            threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
        stop.wait()
    finally:
        server.stop()
    return 0


def _wait_for_end_of_input(stop: threading.Event) -> None:
    """Sets ``stop`` at the end of standard input; a program without one runs until it is told."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        return
    stop.set()
