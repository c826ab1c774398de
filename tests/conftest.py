"""Fixtures every test may use: a home of its own, plugin folders written on the spot, managers."""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from drivebay import PluginManager

# Deadlines measure this machine, not the code. `make soak` asks for the long search; the short one
# is the same on every run, so that a red result is never the dice.
settings.register_profile(
    "quick",
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "soak", settings.get_profile("quick"), max_examples=5000, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

PLUGIN_SOURCE = """\
from drivebay import InstrumentDriver


class Driver(InstrumentDriver):
    def __init__(self, resource_name, config=None):
        self.resource_name = resource_name
        self.config = dict(config or {})
        self.connected = False

    def connect(self):
        self.connected = True
        return True

    def disconnect(self):
        self.connected = False
        return True

    def reset(self):
        pass

    def get_identity(self):
        return {"manufacturer": "ACME", "model": "Model 1", "serial": "1", "firmware": "1.0"}

    def get_capabilities(self):
        return CAPABILITIES

    def configure(self, method, params):
        self.method, self.params = method, dict(params)

    def measure(self, method, params):
        return {"answer": [1.0, 2.0]}

    def abort(self):
        pass

    def get_status(self):
        return {"connected": self.connected}
"""

WritePlugin = Callable[..., Path]


@pytest.fixture(scope="session")
def leases_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of leases for a run of the tests, so that they can share a keeper."""
    return tmp_path_factory.mktemp("leases")


@pytest.fixture(autouse=True)
def home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, leases_of_all: Path
) -> Iterator[Path]:
    """An empty DRIVEBAY_HOME; no test sees the user's plugins, runs or instruments."""
    folder = tmp_path_factory.mktemp("drivebay-home")
    monkeypatch.setenv("DRIVEBAY_HOME", str(folder))
    # Leases are machine-wide: no test waits for another program's, or leaves one behind.
    monkeypatch.setenv("DRIVEBAY_LEASES", str(leases_of_all))
    monkeypatch.delenv("DRIVEBAY_PLUGIN_PATH", raising=False)
    monkeypatch.delenv("DRIVEBAY_RESOURCES", raising=False)
    yield folder
    for kind in ("armed", "unsafe"):  # a later instrument may have the same port
        for path in leases_of_all.glob(f"*.{kind}"):
            path.unlink(missing_ok=True)


@pytest.fixture
def write_plugin() -> WritePlugin:
    """Write a plugin folder as the seed knew them and return it.

    ``write_plugin(root, "acme", version="2.0", driver_source=...)``: keywords are manifest keys,
    None leaves a key out; ``driver_source`` replaces the text of ``driver.py``.
    """

    def write(root: Path, name: str, *, driver_source: str | None = None, **manifest: Any) -> Path:
        folder = Path(root) / name
        folder.mkdir(parents=True, exist_ok=True)
        keys: dict[str, Any] = {
            "name": name,
            "version": "1.0.0",
            "author": "A. Tester",
            "description": f"the plugin {name}",
            "supported_methods": ["answer"],
            "supported_models": ["Model 1"],
            "driver_class": "driver.Driver",
        } | manifest
        keys = {key: value for key, value in keys.items() if value is not None}
        text = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)
        (folder / "plugin.yaml").write_text(text, encoding="utf-8")
        if driver_source is None:
            capabilities = repr(keys.get("supported_methods", []))
            driver_source = PLUGIN_SOURCE.replace("CAPABILITIES", capabilities)
        (folder / "driver.py").write_text(driver_source, encoding="utf-8")
        return folder

    return write


MINIMAL = """\
from drivebay import InstrumentDriver


class {name}(InstrumentDriver):
    VALUE = {value!r}

    def __init__(self, resource_name, config=None):
        self.resource_name, self.config = resource_name, dict(config or {{}})

    def connect(self): return True
    def disconnect(self): return True
    def reset(self): pass
    def get_identity(self): return {{"model": "Model 1"}}
    def get_capabilities(self): return ["answer"]
    def configure(self, method, params): pass
    def measure(self, method, params):
        return {{"answer": self.VALUE}}
    def abort(self): pass
    def get_status(self): return {{}}
"""


@pytest.fixture
def driver_text() -> Callable[..., str]:
    """Source of a whole seed-style driver; ``value`` is what it measures."""

    def text(value: object = 1, name: str = "Driver", before: str = "") -> str:
        return before + MINIMAL.format(name=name, value=value)

    return text


@pytest.fixture
def found() -> Iterator[Callable[..., PluginManager]]:
    """A manager over the given folders that has looked at them once."""
    managers: list[PluginManager] = []

    def make(*folders: Path, **arguments: object) -> PluginManager:
        manager = PluginManager(plugin_dirs=list(folders), **arguments)  # type: ignore[arg-type]
        manager.discover_plugins()
        managers.append(manager)
        return manager

    yield make
    for manager in managers:
        manager.shutdown()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of the host's that plugin code may ``import hook`` to be observed by the test."""
    module = types.ModuleType("hook")
    module.seen = []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hook", module)
    return module


@pytest.fixture
def kill_watchman() -> Callable[[int], None]:
    """Kill what a keeper would leave behind, for tests of what is so when that is dead as well."""

    def kill(keeper: int) -> None:
        (pid,) = Path(f"/proc/{keeper}/task/{keeper}/children").read_text("ascii").split()
        os.kill(int(pid), signal.SIGKILL)

    return kill
