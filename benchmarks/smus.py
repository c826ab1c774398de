"""Rows of the other source-measure units: a sweep of each beside its peers' own drivers.

Each on a simulator in a process of its own. The time is measured with the instrument's log off, the
round trips by a second simulator that logs every answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rows import Row, installed, seconds
from sweep import POINTS, round_trips, simulator
from timing import child, compare

SCRIPT = "`benchmarks/smus.py`"
HERE = Path(__file__).parent
LAST_A = (7e-4, 9e-4)
"""0.8 V at 1 kOhm: a case that did not measure is no figure."""


@dataclass(frozen=True)
class Unit:
    """One of them.

    Attributes:
        title: what the row calls it.
        simulator: which one, and how it is started.
        script: runs a peer's own driver.
        peers: case of that script -> what the row calls it.
        against: the case the limit is about, and how many times faster ours must be.
    """

    title: str
    simulator: tuple[str, ...]
    script: str
    peers: Mapping[str, str]
    against: tuple[str, float]


UNITS = {
    "2602B": Unit(
        "2602B",
        ("keithley2600",),
        "sweep_2600_case.py",
        {"pymeasure": "PyMeasure", "qcodes": "QCoDeS", "qcodes_fast": "QCoDeS's fast sweep"},
        ("pymeasure", 2),
    ),
    "B2902A": Unit(
        "Keysight B2902A",
        ("b2900", "--model", "B2902A"),
        "b2900_case.py",
        {"qcodes": "QCoDeS's B2962A"},
        ("qcodes", 10),
    ),
    "2450": Unit(
        "2450",
        ("keithley2450",),
        "k2450_case.py",
        {
            "pymeasure": "PyMeasure",
            "qcodes": "QCoDeS",
            "qcodes_sweep": "QCoDeS by its sweep (currents only)",
        },
        ("pymeasure", 2),
    ),
}


def _swept(unit: Unit, work: Path, quick: bool) -> list[Row]:
    """1,001 points without integration time: what software, and the simulator, cost."""
    from drivebay import Bay

    points = 101 if quick else POINTS
    params = {"start_v": 0, "stop_v": 0.8, "points": points, "compliance_a": 0.1, "nplc": 0.01}
    started_as = (*unit.simulator, "--device", "resistor", "--time-scale", "0")
    with (
        simulator(work, *started_as) as sim,
        Bay(home=work / "bay") as bay,
        bay.open(sim.resource) as smu,
    ):

        def own() -> float:
            # As the peers do: the second of two sweeps.
            for _ in range(2):
                started = time.perf_counter()
                run = smu.measure("iv_sweep", **params)
                taken = time.perf_counter() - started
            assert len(run) == points
            assert LAST_A[0] < run["current_a"][-1] < LAST_A[1], run["current_a"][-1]
            return taken

        def peer(case: str) -> Callable[[], float]:
            def run() -> float:
                result = child(str(HERE / unit.script), case, sim.resource, str(points))
                assert LAST_A[0] < result["last_a"] < LAST_A[1], (case, result)
                return float(result["seconds"])

            return run

        cases: dict[str, Callable[[], float]] = {"own": own}
        cases |= {case: peer(case) for case in unit.peers if installed(case.partition("_")[0])}
        taken = compare(cases, 1 if quick else 5)
    trips = round_trips(work, started_as, params)
    beside = [
        f"{name} {seconds(taken.median_s(case)) if case in cases else 'not installed'}"
        for case, name in unit.peers.items()
    ]
    ratios = [
        f"{taken.ratio(case, 'own'):.1f}x faster than {name}"
        for case, name in unit.peers.items()
        if case in cases
    ]
    case, times = unit.against
    met = trips <= 0.1 and taken.ratio(case, "own") >= times if case in cases else None
    return [
        Row(
            f"{points:,}-point sweep of a {unit.title}, isolated driver, limits, transcript, error "
            "queue and compliance read, kept durably",
            f"{seconds(taken.median_s('own'))}, {trips:.3f} round trips a point",
            f"nothing kept, Nagle off: {', '.join(beside)}",
            ", ".join(ratios) or "no peer is installed",
            f"<= 0.1 round trips a point, >= {times:g}x {unit.peers[case]}",
            met,
            SCRIPT,
        )
    ]


def sweep_2600(work: Path, quick: bool) -> list[Row]:
    """A Keithley 2602B."""
    return _swept(UNITS["2602B"], work, quick)


def b2900_sweep(work: Path, quick: bool) -> list[Row]:
    """A Keysight B2902A."""
    return _swept(UNITS["B2902A"], work, quick)


def k2450_sweep(work: Path, quick: bool) -> list[Row]:
    """A Keithley 2450."""
    return _swept(UNITS["2450"], work, quick)


ALL = (sweep_2600, b2900_sweep, k2450_sweep)
