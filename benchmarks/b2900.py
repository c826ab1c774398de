"""Rows of the Keysight B2900: sweeps on the simulated B2902A, a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rows import Row, installed, seconds
from timing import child, compare

SCRIPT = "`benchmarks/b2900.py`"
HERE = Path(__file__).parent
POINTS = 1_001


@contextlib.contextmanager
def simulator(log: Path) -> Iterator[str]:
    """The address of a simulated B2902A without integration time; its answers are logged."""
    command = [sys.executable, "-m", "drivebay.sim", "b2900", "--model", "B2902A"]
    command += ["--time-scale", "0", "--log", str(log), "--log-traffic"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline())["resource"]
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def answers(log: Path) -> int:
    return sum(json.loads(line)["event"] == "answer" for line in log.read_text().splitlines())


def b2900_sweep(work: Path, quick: bool) -> list[Row]:
    """1,001 points without integration time: what software costs."""
    from drivebay import Bay

    points = 101 if quick else POINTS
    params = {"start_v": 0, "stop_v": 0.8, "points": points, "compliance_a": 0.1, "nplc": 0.01}
    log = work / "sim.jsonl"
    with (
        simulator(log) as resource,
        Bay(home=work / "bay") as bay,
        bay.open(resource) as smu,
    ):

        def own() -> float:
            # As the peer does: the second of two sweeps.
            for _ in range(2):
                started = time.perf_counter()
                run = smu.measure("iv_sweep", **params)
                taken = time.perf_counter() - started
            assert len(run) == points
            assert 1e-4 < run["current_a"][-1] < 2e-3, run["current_a"][-1]
            return taken

        def peer() -> float:
            result = child(str(HERE / "b2900_case.py"), resource, str(points))
            assert 1e-4 < result["last_a"] < 2e-3, result
            return float(result["seconds"])

        own()
        before = answers(log)
        smu.measure("iv_sweep", **params)
        trips = (answers(log) - before) / points
        cases: dict[str, Callable[[], float]] = {"own": own}
        if installed("qcodes"):
            cases["qcodes"] = peer
        taken = compare(cases, 1 if quick else 5)
    beside, ratio, met = "QCoDeS not installed", "", None
    if "qcodes" in cases:
        beside = f"QCoDeS's B2962A, point by point, Nagle off {seconds(taken.median_s('qcodes'))}"
        ratio = f"{taken.ratio('qcodes', 'own'):.1f}x faster"
        met = trips <= 0.1 and taken.ratio("qcodes", "own") >= 10
    return [
        Row(
            f"Keysight B2902A: {points:,}-point sweep in binary, error queue and compliance read, "
            "kept durably",
            f"{seconds(taken.median_s('own'))}, {trips:.3f} round trips a point",
            beside,
            ratio,
            "<= 0.1 round trips a point, >= 10x QCoDeS",
            met,
            SCRIPT,
        )
    ]


ALL = (b2900_sweep,)
