"""Fixtures for the tests of drivers, found by pytest wherever Drivebay is installed.

Promises: only fixtures, no hook that changes a run of tests; nothing of Drivebay is imported before
a test asks for one. A test that uses them sees none of the user's plugins, runs and leases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from drivebay.sim import Keithley2400Server
    from drivebay.sim.proxy import FaultProxy
    from drivebay.sim.virtualbench import VirtualBench
    from drivebay.testing import Report


@pytest.fixture
def drivebay_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty home folder and an empty folder of leases, for as long as the test runs."""
    home = tmp_path_factory.mktemp("drivebay")
    monkeypatch.setenv("DRIVEBAY_HOME", str(home))
    monkeypatch.setenv("DRIVEBAY_LEASES", str(home / "leases"))
    for name in ("DRIVEBAY_BENCH", "DRIVEBAY_PLUGIN_PATH", "DRIVEBAY_RESOURCES"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def simulated_2400_server(drivebay_home: Path) -> Iterator[Keithley2400Server]:
    """A simulated Keithley 2400 with a diode, to be looked into; it takes no time to measure.

    What talks to it does so away from the user's bench file, home folder and leases.
    """
    del drivebay_home
    from drivebay.sim import Diode, Keithley2400Server

    with Keithley2400Server(device=Diode(), time_scale=0) as server:
        yield server


@pytest.fixture
def simulated_2400(simulated_2400_server: Keithley2400Server) -> str:
    """The address of a simulated Keithley 2400."""
    return simulated_2400_server.resource


@pytest.fixture
def virtual_bench(drivebay_home: Path) -> Iterator[VirtualBench]:
    """Every simulated instrument, several on one device; none takes time to measure."""
    del drivebay_home
    from drivebay.sim.virtualbench import VirtualBench

    with VirtualBench(free_ports=True, time_scale=0) as bench:
        yield bench


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Puts a bad line in front of an instrument: ``fault_proxy(resource, "ok*3, late")``.

    What it gives is a ``drivebay.sim.proxy.FaultProxy``; its ``resource`` is the address to use.
    """
    from drivebay.sim.proxy import FaultProxy

    with ExitStack() as proxies:

        def behind(resource: str, schedule: Any = (), **options: Any) -> FaultProxy:
            return proxies.enter_context(FaultProxy(resource, schedule, **options))

        yield behind


@pytest.fixture
def check_driver(drivebay_home: Path) -> Callable[..., Report]:
    """``drivebay.testing.check_driver``, away from everything of the user's."""
    del drivebay_home

    def check(plugin: str | Path, resource: str, **options: Any) -> Report:
        from drivebay.testing import check_driver

        return check_driver(plugin, resource, **options)

    return check
