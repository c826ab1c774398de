"""Fixtures of the crash laboratory, and where its figures go.

With ``DRIVEBAY_FIGURES`` set to a file, what was measured is written there as JSON when the tests
have passed; ``make reliability`` makes a page of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivebay import Bay
from lab import SOAK, Log, Simulator, Wire

_figures: dict[str, str] = {}

Note = dict[str, str]


@pytest.fixture
def figures() -> Note:
    """What the laboratory measured: the name of a row of the page, and its figure."""
    return _figures


def pytest_sessionfinish(exitstatus: int) -> None:
    target = os.environ.get("DRIVEBAY_FIGURES")
    if target and exitstatus == 0:
        Path(target).write_text(json.dumps(_figures | {"soak": str(SOAK)}), encoding="utf-8")


@pytest.fixture(scope="session")
def leases_of_the_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("leases-of-the-lab")


@pytest.fixture(autouse=True)
def one_folder_of_leases(
    home: Path, leases_of_the_lab: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A keeper with nothing to keep lingers a moment, and so serves the next test as well."""
    monkeypatch.setenv("DRIVEBAY_LEASES", str(leases_of_the_lab))
    return leases_of_the_lab


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def log(simulator: Simulator) -> Log:
    return simulator.log


@pytest.fixture
def wire(simulator: Simulator) -> Iterator[Wire]:
    """The cable to the simulator; who uses its address goes through it."""
    with Wire(simulator.port) as wire:
        yield wire


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay
