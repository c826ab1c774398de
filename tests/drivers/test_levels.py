"""Every built-in driver that has a simulator in the tests is gold on it.

``docs/reference/instruments.md`` says so of each driver, and takes it from here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import drivebay
from drivebay.testing import check_driver

DRIVERS = Path(drivebay.__file__).parent / "drivers"
SIMULATED = Path(__file__).parent / "simulated"
NAMES = sorted(
    path.stem for path in SIMULATED.glob("*.py") if (DRIVERS / path.stem / "plugin.yaml").exists()
)


def simulation(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"level_{name}", SIMULATED / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_driver_is_gold_on_its_simulator(name):
    module = simulation(name)

    with module.simulator(real_time=True) as simulated:
        report = check_driver(
            name,
            simulated.resource,
            config=getattr(module, "CONFIG", None),
            parameters=getattr(module, "PARAMETERS", None),
        )

    assert report.level == "gold", [check for check in report.checks if check.outcome != "passed"]
