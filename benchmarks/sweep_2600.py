"""Row of the 2600B: a sweep beside PyMeasure's and QCoDeS's own drivers on the same simulator."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rows import Row, installed, seconds
from timing import child, compare

SCRIPT = "`benchmarks/sweep_2600.py`"
HERE = Path(__file__).parent
POINTS = 1_001
PEERS = {"pymeasure": "PyMeasure", "qcodes": "QCoDeS", "qcodes_fast": "QCoDeS's fast sweep"}


@contextmanager
def simulator(work: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """A simulated 2602B in another process: its address, and its log."""
    log = work / f"sim-{time.monotonic_ns()}.jsonl"
    command = [sys.executable, "-m", "drivebay.sim", "keithley2600", "--device", "resistor"]
    command += ["--time-scale", "0", "--log", str(log), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield str(json.loads(process.stdout.readline())["resource"]), log
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _answers(log: Path) -> int:
    return sum(json.loads(line)["event"] == "answer" for line in log.read_text().splitlines())


def _round_trips(work: Path, params: dict[str, Any]) -> float:
    """Answers a point of one sweep, counted by the instrument."""
    from drivebay import Bay

    with (
        simulator(work, "--log-traffic") as (resource, log),
        Bay(home=work / "bay") as bay,
        bay.open(resource) as smu,
    ):
        smu.measure("iv_sweep", **params)
        before = _answers(log)
        smu.measure("iv_sweep", **params)
        return (_answers(log) - before) / float(params["points"])


def sweep_2600(work: Path, quick: bool) -> list[Row]:
    """1,001 points without integration time: what software, and the simulator, cost."""
    from drivebay import Bay

    points = 101 if quick else POINTS
    params = {"start_v": 0, "stop_v": 0.8, "points": points, "compliance_a": 0.1, "nplc": 0.01}
    with (
        simulator(work) as (resource, _),
        Bay(home=work / "bay") as bay,
        bay.open(resource) as smu,
    ):

        def own() -> float:
            for _ in range(2):
                started = time.perf_counter()
                run = smu.measure("iv_sweep", **params)
                taken = time.perf_counter() - started
            assert len(run) == points
            assert 7e-4 < run["current_a"][-1] < 9e-4, run["current_a"][-1]
            return taken

        def peer(case: str) -> Callable[[], float]:
            def run() -> float:
                result = child(str(HERE / "sweep_2600_case.py"), case, resource, str(points))
                assert 7e-4 < result["last_a"] < 9e-4, (case, result)
                return float(result["seconds"])

            return run

        cases: dict[str, Callable[[], float]] = {"own": own}
        cases |= {case: peer(case) for case in PEERS if installed(case.partition("_")[0])}
        taken = compare(cases, 1 if quick else 5)
    trips = _round_trips(work, params)
    peers = [
        f"{name} {seconds(taken.median_s(case)) if case in cases else 'not installed'}"
        for case, name in PEERS.items()
    ]
    ratios = [
        f"{taken.ratio(case, 'own'):.1f}x faster than {name}"
        for case, name in PEERS.items()
        if case in cases
    ]
    return [
        Row(
            f"{points:,}-point sweep of a 2602B, isolated driver, limits, transcript, error queue "
            "and compliance read, kept durably",
            f"{seconds(taken.median_s('own'))}, {trips:.3f} round trips a point",
            f"nothing kept, Nagle off: {', '.join(peers)}",
            ", ".join(ratios) or "no peer is installed",
            "<= 0.1 round trips a point, >= 2x PyMeasure",
            (trips <= 0.1 and taken.ratio("pymeasure", "own") >= 2)
            if "pymeasure" in cases
            else None,
            SCRIPT,
        )
    ]


ALL = (sweep_2600,)
