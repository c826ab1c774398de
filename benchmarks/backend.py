"""Rows of the PyVISA backend: the same unmodified programs on the keeper and on pyvisa-py."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rows import Row, installed, seconds
from sweep import simulator
from timing import child, compare

SCRIPT = "`benchmarks/backend.py`"
CASE = str(Path(__file__).parent / "backend_case.py")
PROGRAMS = {"pyvisa": "a PyVISA script", "pymeasure": "PyMeasure", "qcodes": "QCoDeS"}
KEEPER, PLAIN = "@drivebay", "@py"


def _question(resource: str, library: str, calls: int) -> float:
    """Seconds of one question, the mean of many."""
    import pyvisa

    manager = pyvisa.ResourceManager(library)
    device: Any = manager.open_resource(resource, read_termination="\n", write_termination="\n")
    try:
        device.query(":OUTP?")
        started = time.perf_counter()
        for _ in range(calls):
            device.query(":OUTP?")
        return (time.perf_counter() - started) / calls
    finally:
        manager.close()


def pyvisa_question(work: Path, quick: bool) -> list[Row]:
    """One question of a PyVISA program: two messages to the keeper, against none."""
    calls = 50 if quick else 1000
    with simulator(work, "--time-scale", "0") as sim:
        taken = compare(
            {
                KEEPER: lambda: _question(sim.resource, KEEPER, calls),
                PLAIN: lambda: _question(sim.resource, PLAIN, calls),
            },
            1 if quick else 9,
        )
    extra = taken.median_s(KEEPER) - taken.median_s(PLAIN)
    return [
        Row(
            "A question of a PyVISA program, through the keeper",
            seconds(taken.median_s(KEEPER)),
            f"pyvisa-py {seconds(taken.median_s(PLAIN))}",
            f"{taken.ratio(KEEPER, PLAIN):.2f}x pyvisa-py",
            "<= 1 ms more",
            extra <= 1e-3,
            SCRIPT,
        )
    ]


def _program(name: str, work: Path, points: int, turns: int) -> Row:
    quantity = f"{points} points, set and read each, by {PROGRAMS[name]} unmodified"
    if not installed(name):
        return Row(quantity, "-", f"{PROGRAMS[name]} not installed", "-", "equal", None, SCRIPT)
    read: dict[str, list[float]] = {}

    def case(library: str) -> Callable[[], float]:
        def run() -> float:
            result = child(CASE, name, sim.resource, library, str(points))
            read[library] = result["currents_a"]
            return float(result["seconds"])

        return run

    with simulator(work, "--time-scale", "0", "--noise", "0") as sim:
        taken = compare({KEEPER: case(KEEPER), PLAIN: case(PLAIN)}, turns)
    equal = read[KEEPER] == read[PLAIN]
    return Row(
        quantity,
        seconds(taken.median_s(KEEPER)),
        f"on pyvisa-py, Nagle on as it comes, {seconds(taken.median_s(PLAIN))}",
        f"{taken.ratio(PLAIN, KEEPER):.1f}x faster, {'equal' if equal else 'other'} readings",
        "equal readings, not slower",
        equal and taken.ratio(PLAIN, KEEPER) >= 1,
        SCRIPT,
    )


def pyvisa_programs(work: Path, quick: bool) -> list[Row]:
    """Sweeps by other programs' drivers; only the name of the VISA library differs."""
    points, turns = (11, 1) if quick else (101, 5)
    return [_program(name, work, points, turns) for name in PROGRAMS]


ALL = (pyvisa_question, pyvisa_programs)
