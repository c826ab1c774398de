"""Rows of the first instrument: sweeps on the simulated 2400, a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import Row, seconds
from timing import compare

SCRIPT = "`benchmarks/sweep.py`"
POINTS = 1_001


@dataclass
class Simulator:
    """A simulated 2400 in another process."""

    resource: str
    port: int
    log: Path

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def simulator(work: Path, *options: str) -> Iterator[Simulator]:
    log = work / f"sim-{time.monotonic_ns()}.jsonl"
    command = [sys.executable, "-m", "drivebay.sim", "keithley2400", "--log", str(log), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        ready = json.loads(process.stdout.readline())
        yield Simulator(ready["resource"], ready["port"], log)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _raw_list_sweep(port: int, points: int) -> float:
    """The limit: the same sweep by hand on a bare socket, nothing checked and nothing kept."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = link.makefile("rb")

        def write(text: str) -> None:
            link.sendall(text.encode() + b"\n")

        started = time.perf_counter()
        write("*RST;:SENS:FUNC:CONC ON;:SENS:FUNC 'VOLT','CURR';:SENS:CURR:PROT 0.1;NPLC 0.01")
        write(":FORM:ELEM VOLT,CURR;:SOUR:FUNC VOLT;:SOUR:VOLT:RANG 1;MODE LIST;:OUTP ON")
        levels = [f"{n * 0.8 / (points - 1):.6g}" for n in range(points)]
        for start in range(0, points, 100):
            verb = ":SOUR:LIST:VOLT" + (":APP " if start else " ")
            write(verb + ",".join(levels[start : start + 100]))
        write(f":TRIG:COUN {points}")
        write(":READ?")
        numbers = reader.readline().split(b",")
        write(":OUTP OFF")
        taken = time.perf_counter() - started
        assert len(numbers) == 2 * points, len(numbers)
        return taken


def _pymeasure(resource: str, points: int) -> float | None:
    """PyMeasure's own driver, set then read, with Nagle's algorithm off."""
    if importlib.util.find_spec("pymeasure") is None:
        return None
    from pymeasure.instruments.keithley import Keithley2400

    smu = Keithley2400(resource, visa_library="@py", read_termination="\n", write_termination="\n")
    visa = smu.adapter.connection
    visa.visalib.sessions[visa.session].interface.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    try:
        smu.reset()
        smu.source_mode = "voltage"
        smu.compliance_current = 0.1
        smu.current_nplc = 0.01
        smu.source_voltage_range = 1
        smu.source_enabled = True
        read = []
        started = time.perf_counter()
        for n in range(points):
            smu.source_voltage = n * 0.8 / (points - 1)
            read.append(smu.current)
        taken = time.perf_counter() - started
        smu.source_enabled = False
        assert len(read) == points
        return taken
    finally:
        visa.close()


def fast_sweep(work: Path, quick: bool) -> list[Row]:
    """1,001 points without integration time: what software costs."""
    from drivebay import Bay

    points = 101 if quick else POINTS
    params = {"start_v": 0, "stop_v": 0.8, "points": points, "compliance_a": 0.1, "nplc": 0.01}
    with simulator(work, "--time-scale", "0", "--log-traffic") as sim:  # noqa: SIM117
        with Bay(home=work / "bay") as bay, bay.open(sim.resource) as smu:

            def own() -> float:
                started = time.perf_counter()
                run = smu.measure("iv_sweep", **params)
                taken = time.perf_counter() - started
                assert len(run) == points
                return taken

            own()
            before = len([e for e in sim.events() if e["event"] == "answer"])
            own()
            answers = len([e for e in sim.events() if e["event"] == "answer"]) - before
    with simulator(work, "--time-scale", "0") as sim:
        with Bay(home=work / "bay") as bay, bay.open(sim.resource) as smu:

            def measured() -> float:
                started = time.perf_counter()
                assert len(smu.measure("iv_sweep", **params)) == points
                return time.perf_counter() - started

            taken = compare(
                {"own": measured, "raw": lambda: _raw_list_sweep(sim.port, points)},
                3 if quick else 15,
            )
        peers = [_pymeasure(sim.resource, points) for _ in range(1 if quick else 3)]
    figures = sorted(peer for peer in peers if peer is not None)
    peer = figures[len(figures) // 2] if figures else None
    own_s = taken.median_s("own")
    trips = answers / points
    faster = f"; {peer / own_s:.1f}x faster than PyMeasure" if peer else ""
    met = trips <= 0.1 and peer / own_s >= 10 if peer else None
    return [
        Row(
            f"{points:,}-point sweep, error queue and compliance read, kept durably",
            f"{seconds(own_s)}, {trips:.3f} round trips a point",
            f"list sweep on a bare socket {seconds(taken.median_s('raw'))}; PyMeasure point by "
            f"point, Nagle off, {seconds(peer) if peer else 'not installed'}",
            f"{taken.ratio('own', 'raw'):.1f}x the bare socket{faster}",
            "<= 0.1 round trips a point, >= 10x PyMeasure",
            met,
            SCRIPT,
        )
    ]


def slow_sweep(work: Path, quick: bool) -> list[Row]:
    """A sweep of about 20 s at NPLC 1: the first chunk, and an abort, by the simulator's log."""
    from drivebay import AbortedError, Bay

    points = 1_000
    firsts = []
    stops = []
    for turn in range(1 if quick else 5):
        with (
            simulator(work, "--single-connection") as sim,
            Bay(home=work / "bay") as bay,
            bay.open(sim.resource) as smu,
        ):
            started = time.perf_counter()
            stream = smu.stream(
                "iv_sweep", start_v=0, stop_v=0.6, points=points, compliance_a=0.1, nplc=1
            )
            iterator = iter(stream)
            next(iterator)
            firsts.append(time.perf_counter() - started)
            # Aborts at different places of a segment.
            asked: list[float] = []

            def abort(asked: list[float] = asked, stream: Any = stream) -> None:
                asked.append(time.monotonic())
                stream.abort()

            timer = threading.Timer(0.07 * turn, abort)
            timer.start()
            with contextlib.suppress(AbortedError):
                for _ in iterator:
                    pass
            timer.join()
            off = [e for e in sim.events() if e["event"] == "output_off"][-1]
            stops.append(off["t"] - asked[0])
    return [
        Row(
            "20 s sweep at NPLC 1, one connection, instrument obeys only an abort while busy",
            f"first chunk {seconds(max(firsts))}, abort to output off {seconds(max(stops))}",
            "the sweep itself: 20 s",
            f"slowest of {len(stops)}, off times read off the simulator's log",
            "first chunk <= 1 s, off <= 0.5 s",
            max(firsts) <= 1 and max(stops) <= 0.5,
            SCRIPT,
        )
    ]


ALL = (fast_sweep, slow_sweep)
