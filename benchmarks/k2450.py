"""Row of the Keithley 2450: a sweep on the simulated one, a process of its own, beside its peers'.

The time is measured with the instrument's log off, the round trips by a second simulator that logs
every answer.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rows import Row, installed, seconds
from timing import child, compare

SCRIPT = "`benchmarks/k2450.py`"
HERE = Path(__file__).parent
POINTS = 1_001
PEERS = {
    "pymeasure": "PyMeasure",
    "qcodes": "QCoDeS",
    "qcodes_sweep": "QCoDeS by its sweep (currents only)",
}


@contextlib.contextmanager
def simulator(work: Path, *more: str) -> Iterator[tuple[str, Path]]:
    """The address of a simulated 2450 with 1 kOhm and no integration time, and its log."""
    log = work / "sim.jsonl"
    command = [sys.executable, "-m", "drivebay.sim", "keithley2450", "--device", "resistor"]
    command += ["--time-scale", "0", "--log", str(log), *more]
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


def k2450_sweep(work: Path, quick: bool) -> list[Row]:
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
            # As the peers do: the second of two sweeps.
            for _ in range(2):
                started = time.perf_counter()
                run = smu.measure("iv_sweep", **params)
                taken = time.perf_counter() - started
            assert len(run) == points
            assert 7e-4 < run["current_a"][-1] < 9e-4, run["current_a"][-1]
            return taken

        def peer(case: str) -> Callable[[], float]:
            def run() -> float:
                result = child(str(HERE / "k2450_case.py"), case, resource, str(points))
                assert 7e-4 < result["last_a"] < 9e-4, (case, result)
                return float(result["seconds"])

            return run

        cases: dict[str, Callable[[], float]] = {"own": own}
        cases |= {case: peer(case) for case in PEERS if installed(case.partition("_")[0])}
        taken = compare(cases, 1 if quick else 5)
    trips = _round_trips(work, params)
    beside = [
        f"{name} {seconds(taken.median_s(case)) if case in cases else 'not installed'}"
        for case, name in PEERS.items()
    ]
    ratios = [
        f"{taken.ratio(case, 'own'):.1f}x faster than {name}"
        for case, name in PEERS.items()
        if case in cases
    ]
    fast = "pymeasure" in cases and taken.ratio("pymeasure", "own") >= 2
    return [
        Row(
            f"{points:,}-point sweep of a 2450, isolated driver, limits, transcript, error queue "
            "and compliance read, kept durably",
            f"{seconds(taken.median_s('own'))}, {trips:.3f} round trips a point",
            f"nothing kept, Nagle off: {', '.join(beside)}",
            ", ".join(ratios) or "no peer is installed",
            "<= 0.1 round trips a point, >= 2x PyMeasure",
            (trips <= 0.1 and fast) if "pymeasure" in cases else None,
            SCRIPT,
        )
    ]


ALL = (k2450_sweep,)
