"""Every benchmark runs in its tiny form, so that one which no longer does is found here.

What they measure is not looked at: speed is compared by ``make bench``, never asserted in a test.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/performance.md"
NAMES = [
    "discovery",
    "look_ups",
    "loading",
    "importing",
    "validation",
    "reloading",
    "fast_sweep",
    "slow_sweep",
    "sweep_2600",
    "b2900_sweep",
    "k2450_sweep",
    "query",
    "opening",
    "many",
    "host_calls",
    "host_starts",
    "pyvisa_question",
    "pyvisa_programs",
    "durable_chunks",
    "durable_points",
    "grouped_points",
    "reading_back",
    "catalogue",
]
# What a row calls a peer, and the package that must be there to measure it.
PEERS = {
    "discovery": {"npe2": "npe2", "stevedore": "stevedore"},
    "validation": {"jsonschema": "jsonschema"},
    "reloading": {"watchfiles": "watchfiles"},
    "host_calls": {"Pyro5": "Pyro5"},
    "durable_chunks": {"QCoDeS": "qcodes"},
    "b2900_sweep": {"QCoDeS's B2962A": "qcodes"},
    "k2450_sweep": {"PyMeasure": "pymeasure", "QCoDeS": "qcodes"},
    "fast_sweep": {"PyMeasure": "pymeasure", "QCoDeS": "qcodes"},
    "sweep_2600": {"PyMeasure": "pymeasure", "QCoDeS": "qcodes"},
}


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/run.py"), *options],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_and_says_which_peers_are_not_installed(name):
    page = PAGE.read_bytes()

    done = run("--quick", "--only", name)

    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (?!quantity|---).*\|$", done.stdout, re.M)
    assert rows
    for peer, package in PEERS.get(name, {}).items():
        missing = importlib.util.find_spec(package) is None
        assert (f"{peer} not installed" in rows[0]) == missing
    assert PAGE.read_bytes() == page, "only `make bench` writes the page"


@pytest.mark.slow
def test_a_benchmark_that_does_not_exist_is_refused_with_those_that_do():
    done = run("--quick", "--only", "nothing")

    assert done.returncode == 2
    assert re.findall(r"'?(\w+)'?[,)]", done.stderr.partition("(choose from ")[2]) == NAMES
