"""Rows of the first instrument: sweeps on the simulated 2400, a process of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import Row, installed, seconds
from timing import child, compare

SCRIPT = "`benchmarks/sweep.py`"
HERE = Path(__file__).parent
POINTS = 1_001
PEERS = {"pymeasure": "PyMeasure", "qcodes": "QCoDeS"}


@dataclass
class Simulator:
    """A simulated instrument in another process."""

    resource: str
    port: int
    log: Path

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def simulator(work: Path, *options: str) -> Iterator[Simulator]:
    """Start one by its name and options; without a name it is a 2400."""
    if not options or options[0].startswith("-"):
        options = ("keithley2400", *options)
    log = work / f"sim-{time.monotonic_ns()}.jsonl"
    command = [sys.executable, "-m", "drivebay.sim", *options, "--log", str(log)]
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
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
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
        # The next one comes on a connection of its own, and must not be overtaken by this OFF.
        write("*OPC?")
        assert reader.readline()
        return taken


def _peer(case: str, resource: str, points: int) -> Callable[[], float]:
    """A sweep by a peer's own driver, in a process that has imported nothing else."""

    def run() -> float:
        result = child(str(HERE / "sweep_case.py"), case, resource, str(points))
        assert 1e-4 < result["last_a"] < 2e-3, (case, result)
        return float(result["seconds"])

    return run


def round_trips(work: Path, started_as: Sequence[str], params: Mapping[str, float]) -> float:
    """Answers a point of one sweep, counted by the instrument."""
    from drivebay import Bay

    with (
        simulator(work, *started_as, "--log-traffic") as sim,
        Bay(home=work / "bay") as bay,
        bay.open(sim.resource) as smu,
    ):
        smu.measure("iv_sweep", **params)
        before = len([e for e in sim.events() if e["event"] == "answer"])
        smu.measure("iv_sweep", **params)
        answers = len([e for e in sim.events() if e["event"] == "answer"]) - before
    return answers / params["points"]


def fast_sweep(work: Path, quick: bool) -> list[Row]:
    """1,001 points without integration time: what software costs."""
    from drivebay import Bay

    points = 101 if quick else POINTS
    params = {"start_v": 0, "stop_v": 0.8, "points": points, "compliance_a": 0.1, "nplc": 0.01}
    with (
        simulator(work, "--time-scale", "0") as sim,
        Bay(home=work / "bay") as bay,
        bay.open(sim.resource) as smu,
    ):

        def own() -> float:
            # As the peers do: the second of two sweeps, so that nobody pays for the others' turns.
            for _ in range(2):
                started = time.perf_counter()
                run = smu.measure("iv_sweep", **params)
                taken = time.perf_counter() - started
            assert len(run) == points
            assert 1e-4 < run["current_a"][-1] < 2e-3, run["current_a"][-1]
            return taken

        cases: dict[str, Callable[[], float]] = {
            "own": own,
            "raw": lambda: _raw_list_sweep(sim.port, points),
        }
        for case in PEERS:
            if installed(case):
                cases[case] = _peer(case, sim.resource, points)
        taken = compare(cases, 1 if quick else 9)
    trips = round_trips(work, ("--time-scale", "0"), params)
    peers = [
        f"{name} {seconds(taken.median_s(case)) if case in cases else 'not installed'}"
        for case, name in PEERS.items()
    ]
    faster = [
        f", {taken.ratio(case, 'own'):.1f}x faster than {name}"
        for case, name in PEERS.items()
        if case in cases
    ]
    met = None
    if "pymeasure" in cases:
        met = (
            trips <= 0.1
            and taken.ratio("pymeasure", "own") >= 10
            and taken.ratio("own", "raw") <= 5
        )
    return [
        Row(
            f"{points:,}-point sweep, isolated driver, limits, transcript, error queue and "
            "compliance read, kept durably",
            f"{seconds(taken.median_s('own'))}, {trips:.3f} round trips a point",
            f"list sweep on a bare socket {seconds(taken.median_s('raw'))}; point by point, Nagle "
            f"off, nothing kept: {', '.join(peers)}",
            f"{taken.ratio('own', 'raw'):.1f}x the bare socket{''.join(faster)}",
            "<= 0.1 round trips a point, >= 10x PyMeasure, <= 5x the bare socket (aim 2x)",
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
