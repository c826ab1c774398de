"""A driver that a program makes itself is held to the bench as well: limits, identity, policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drivebay import BenchError, PluginManager
from drivebay._core.errors import IdentityError, LimitError
from drivebay._core.keeper import open_link

BENCH = """\
instruments:
  smu1:
    resource: {resource}
    limits: {{voltage_v: [-5, 5], current_a: [-0.01, 0.01]}}
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the bench file that is in force."""
    path = tmp_path / "bench.yaml"
    monkeypatch.setenv("DRIVEBAY_BENCH", str(path))
    return lambda text: path.write_text(text, encoding="utf-8") and None


@pytest.fixture
def manager() -> PluginManager:
    manager = PluginManager()
    manager.discover_plugins()
    manager.load_plugin("keithley_2400")
    return manager


def test_a_driver_of_the_programs_own_is_held_to_the_limits_of_the_bench(manager, smu, bench):
    server = smu()
    bench(BENCH.format(resource=server.resource))
    driver = manager.get_driver("keithley_2400", server.resource)
    driver.connect()
    driver.write(":SENS:CURR:PROT 0.01", ":SOUR:VOLT 5")  # control

    with pytest.raises(LimitError, match="smu1"):
        driver.write(":SOUR:VOLT 5.1")

    assert float(driver.query(":SOUR:VOLT?")) == 5
    driver.disconnect()


def test_an_instrument_that_the_bench_does_not_name_has_only_the_limits_of_its_model(
    manager, smu, bench
):
    bench(BENCH.format(resource="TCPIP::127.0.0.1::1::SOCKET"))
    driver = manager.get_driver("keithley_2400", smu().resource)
    driver.connect()

    driver.write(":SENS:CURR:PROT 0.01", ":SOUR:VOLT 5.1")

    driver.disconnect()


def test_another_instrument_than_the_pinned_one_is_let_go_again(manager, smu, bench):
    server = smu()
    bench(BENCH.format(resource=server.resource) + "    identity: {serial: '7654321'}\n")
    driver = manager.get_driver("keithley_2400", server.resource)

    with pytest.raises(IdentityError, match="7654321"):
        driver.connect()

    with open_link(server.resource) as link:
        assert link.query("*IDN?")


def test_a_bench_file_that_cannot_be_read_opens_nothing(manager, smu, bench):
    server = smu()
    bench("instruments: [")
    driver = manager.get_driver("keithley_2400", server.resource)

    with pytest.raises(BenchError):
        driver.connect()

    with open_link(server.resource) as link:
        assert link.query("*IDN?")
