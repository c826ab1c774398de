"""The fixtures that pytest finds: what they give, and what they leave alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import drivebay

ROOT = Path(__file__).parents[2]
TESTS = """\
import os

import pytest


def test_a_simulator_is_there(simulated_2400):
    from drivebay.driver import open_link

    with open_link(simulated_2400) as link:
        assert "MODEL 2400" in link.query("*IDN?")


def test_a_driver_is_checked_away_from_the_users_things(check_driver, simulated_2400):
    assert os.environ["DRIVEBAY_HOME"] != os.environ["USERS_HOME"]
    assert "DRIVEBAY_BENCH" not in os.environ

    assert check_driver("keithley_2400", simulated_2400).level == "gold"


def test_it_can_be_looked_into(simulated_2400_server, simulated_2400):
    assert simulated_2400_server.resource == simulated_2400
    assert simulated_2400_server.instrument.output_on is False


def test_a_line_can_be_bad(fault_proxy, simulated_2400):
    from drivebay import AnswerError
    from drivebay.driver import open_link

    proxy = fault_proxy(simulated_2400, "garbage")
    with open_link(proxy.resource) as link, pytest.raises(AnswerError):
        link.query("*IDN?")
    assert [each["kind"] for each in proxy.log.named("fault")] == ["garbage"]


def test_there_is_a_whole_bench(virtual_bench):
    from drivebay.driver import open_link

    with open_link(virtual_bench.resource("drain")) as link:
        assert "MODEL 2400" in link.query("*IDN?")
    assert virtual_bench.circuit.powers_w()
"""


def run(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(drivebay.__file__).parents[1])} | more
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_drivers_are_tested_with_fixtures_alone(tmp_path: Path, home: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")

    done = run(
        tmp_path,
        *("-m", "pytest", "-q", "-p", "drivebay.testing.fixtures", "-p", "no:cacheprovider"),
        USERS_HOME=str(home),
        DRIVEBAY_BENCH=str(tmp_path / "missing.yaml"),
    )

    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    assert list(home.iterdir()) == []


def test_a_run_of_tests_that_asks_for_none_imports_nothing_of_it(tmp_path: Path) -> None:
    code = (
        "import sys, drivebay.testing.fixtures\n"
        "print([n for n in sys.modules if n.startswith('drivebay._core') or n == 'numpy'])"
    )

    assert run(tmp_path, "-c", code).stdout.strip() == "[]"


def test_the_entry_point_leads_to_the_fixtures_under_the_modules_own_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    ((name, value),) = project["entry-points"]["pytest11"].items()

    module = EntryPoint(name, value, "pytest11").load()

    assert name == module.__name__ == "drivebay.testing.fixtures"
