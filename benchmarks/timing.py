"""How every figure here is taken: side by side, alternating, medians; nothing is scaled.

A comparison runs its cases in turns (A B C, A B C, ...), so that whatever else the machine does
hits all of them, and the ratio is the median of the ratios within each turn.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PY = sys.executable


@dataclass
class Comparison:
    """Seconds of every case in every turn."""

    turns: list[dict[str, float]] = field(default_factory=list)

    def median_s(self, case: str) -> float:
        return statistics.median(turn[case] for turn in self.turns)

    def ratio(self, case: str, to: str) -> float:
        return statistics.median(turn[case] / turn[to] for turn in self.turns)


def compare(cases: Mapping[str, Callable[[], float]], turns: int) -> Comparison:
    """Run every case once to warm up, then ``turns`` times in turns; each returns seconds."""
    for case in cases.values():
        case()
    result = Comparison()
    for _ in range(turns):
        result.turns.append({name: case() for name, case in cases.items()})
    return result


def per_call(function: Callable[[], Any], calls: int) -> Callable[[], float]:
    """A case that takes the mean of many calls, garbage collection off as in ``timeit``."""

    def case() -> float:
        gc.disable()
        try:
            started = time.perf_counter()
            for _ in range(calls):
                function()
            return (time.perf_counter() - started) / calls
        finally:
            gc.enable()

    return case


def per_question(
    function: Callable[[str], Any], questions: list[str], calls: int
) -> Callable[[], float]:
    """A case that asks many different questions, the bare loop over them included."""
    asked = (questions * (calls // len(questions) + 1))[:calls]

    def case() -> float:
        gc.disable()
        try:
            started = time.perf_counter()
            for question in asked:
                function(question)
            return (time.perf_counter() - started) / calls
        finally:
            gc.enable()

    return case


def child(*arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a script in a fresh interpreter and return the JSON of its last line.

    Raises:
        RuntimeError: it failed; the end of its messages is in the text.
    """
    done = subprocess.run(
        [PY, *arguments], capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def whole_process(code: str) -> Callable[[], float]:
    """A case that takes a whole interpreter, from start to exit."""

    def case() -> float:
        started = time.perf_counter()
        subprocess.run([PY, "-c", code], check=True)
        return time.perf_counter() - started

    return case


def machine_loop_ns() -> float:
    """Nanoseconds of a dictionary look-up through a lambda: this machine's speed now."""
    table = {"key": 1}
    get = table.get
    best = min(per_call(lambda: get("key"), 200_000)() for _ in range(5))
    return best * 1e9
