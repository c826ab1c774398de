"""Fixtures of the tests of hosts: drivers in processes of their own, written on the spot."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivebay._core.host import Code, Host, Limits
from drivebay._core.loader import LoadPlan, read_files
from drivebay._core.manifest import PluginMetadata

HOSTED = """\
from drivebay.driver import ScpiDriver, method


class Driver(ScpiDriver):
    def connect(self):
        return True

    def disconnect(self):
        return True

    def get_identity(self):
        return {"manufacturer": "ACME", "model": "Model 1", "serial": "1", "firmware": "1.0"}

"""


def _plan_of(folder: Path) -> tuple[LoadPlan, PluginMetadata]:
    """What the manager would tell a host of a plugin's folder."""
    metadata = PluginMetadata.from_yaml(folder / "plugin.yaml")
    home, path = str(folder), str(folder / "plugin.yaml")
    plan = LoadPlan(metadata.name, home, str(folder.parent), path, metadata.driver_class)
    return plan, metadata


def _code_of(folder: Path) -> Code:
    plan, metadata = _plan_of(folder)
    return Code(plan, metadata, read_files(plan))


@pytest.fixture
def code_of() -> Callable[[Path], Code]:
    return _code_of


@pytest.fixture
def plan_of(tmp_path: Path) -> Callable[[str], tuple[LoadPlan, PluginMetadata]]:
    return lambda folder: _plan_of(tmp_path / folder)


@pytest.fixture
def hosted(tmp_path: Path, write_plugin: Callable[..., Path]) -> Iterator[Callable[..., Host]]:
    """A driver in a process of its own, loaded and made; the text is the rest of its class.

    ``whole=`` replaces the whole of ``driver.py``; ``methods=`` are those of the manifest;
    ``steps`` is how far it is taken (1: started, 2: loaded, 3: made).
    """
    hosts: list[Host] = []

    def make(
        body: str = "",
        *,
        whole: str = "",
        methods: tuple[str, ...] = (),
        steps: int = 3,
        limits: Limits | None = None,
        **options: Any,
    ) -> Host:
        text = textwrap.dedent(whole) or HOSTED + textwrap.indent(textwrap.dedent(body), "    ")
        folder = write_plugin(
            tmp_path / f"plugins{len(hosts)}",
            "acme",
            driver_source=text,
            version="2.1.0",
            supported_methods=list(methods) or ["answer"] if whole else list(methods),
        )
        host = Host.start("acme", "2.1.0", limits=limits, **options)
        hosts.append(host)
        if steps > 1:
            host.load(_code_of(folder))
        if steps > 2:
            host.create("SIM::1", {"speed": 3})
        return host

    yield make
    for host in hosts:
        host.close(0.5)
