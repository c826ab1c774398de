"""What users decide is kept: disabled plugins and pins, across programs and across accidents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import drivebay
from drivebay import PluginManager, PluginStatus, StoreError

Found = Callable[..., PluginManager]


def test_disabling_closes_what_is_connected(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    driver: Any = manager.get_driver("acme", "SIM::1")
    driver.connect()

    manager.disable_plugin("acme")

    assert driver.connected is False
    with pytest.raises(RuntimeError, match="disabled"):
        manager.get_driver("acme", "SIM::1")


@pytest.mark.parametrize("end", ["unload_plugin", "shutdown"])
def test_unloading_and_shutting_down_disconnect_even_when_one_fails(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    hook: Any,
    end: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = driver_text().replace(
        "disconnect(self): return True",
        "disconnect(self):\n        __import__('hook').seen.append(self.resource_name)\n"
        "        raise OSError('stuck')",
    )
    write_plugin(tmp_path, "acme", driver_source=source)
    manager = found(tmp_path)
    manager.load_plugin("acme")
    drivers = [manager.get_driver("acme", f"SIM::{number}") for number in range(3)]
    for driver in drivers[:2]:
        driver.connect()

    getattr(manager, end)(*(["acme"] if end == "unload_plugin" else []))

    assert hook.seen == ["SIM::1", "SIM::0"]
    assert caplog.text.count("disconnect failed") == 2
    assert manager.plugins["acme"].status is PluginStatus.DISCOVERED


def test_a_reload_leaves_instances_with_the_code_they_were_made_of(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, measured: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("old"))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    driver = manager.get_driver("acme", "SIM::1")
    driver.connect()

    (folder / "driver.py").write_text(driver_text("new"))
    assert manager.reload_plugin("acme")

    assert driver.measure("answer", {}) == {"answer": "old"}
    assert measured(manager) == "new"
    assert manager.plugins["acme"].status is PluginStatus.ACTIVE
    driver.disconnect()
    assert manager.plugins["acme"].status is PluginStatus.LOADED


def test_an_instance_that_is_dropped_while_connected_ends_the_active_state(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    driver = manager.get_driver("acme", "SIM::1")
    driver.connect()
    before = manager.plugins["acme"].status

    del driver

    assert before is PluginStatus.ACTIVE
    assert manager.plugins["acme"].status is PluginStatus.LOADED


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", '"text"', '{"disabled": 5}', '{"pins": []}', "\x00"]
)
def test_a_damaged_state_file_is_kept_aside_and_nothing_is_disabled(
    tmp_path: Path,
    write_plugin: Any,
    found: Found,
    home: Path,
    content: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_plugin(tmp_path, "acme")
    (home / "state.json").write_text(content)

    manager = found(tmp_path)

    assert manager.load_plugin("acme")
    assert "is damaged" in caplog.text
    (aside,) = home.glob("state.json.damaged-*")
    assert aside.read_text() == content
    assert manager.disable_plugin("acme")
    assert json.loads((home / "state.json").read_text())["disabled"] == {
        "acme": "disabled by the user"
    }


def test_a_decision_that_cannot_be_written_is_an_error_not_a_shrug(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "root", "acme")
    (tmp_path / "file").write_text("")
    manager = found(tmp_path / "root", home=tmp_path / "file")

    with pytest.raises(StoreError, match="cannot be written"):
        manager.disable_plugin("acme")
    assert manager.plugins["acme"].status is PluginStatus.DISCOVERED


DISABLE = """\
import sys
from pathlib import Path
from drivebay import PluginManager
manager = PluginManager([Path(sys.argv[1])])
manager.discover_plugins()
print("ready", flush=True)
sys.stdin.readline()
for name in sys.argv[2:]:
    assert manager.disable_plugin(name, "by another program")
"""


def test_programs_that_decide_at_once_all_keep_their_decisions(
    tmp_path: Path, write_plugin: Any, found: Found, home: Path
) -> None:
    names = [f"plugin_{number}" for number in range(12)]
    for name in names:
        write_plugin(tmp_path, name)
    environment = {**os.environ, "PYTHONPATH": str(Path(drivebay.__file__).parents[1])}
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", DISABLE, str(tmp_path), *names[start::3]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for start in range(3)
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        program.communicate(timeout=60)
        assert program.returncode == 0

    manager = found(tmp_path)

    assert {info.status for info in manager.plugins.values()} == {PluginStatus.DISABLED}


def test_a_plugin_disabled_while_its_manifest_changes_leaves_service(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    other = found(tmp_path)
    other.disable_plugin("acme", "elsewhere")

    write_plugin(tmp_path, "acme", version="2.0")
    manager.discover_plugins()

    info = manager.plugins["acme"]
    assert (info.status, info.reason) == (PluginStatus.DISABLED, "elsewhere")
    assert info.driver_class is None


def test_enabling_a_broken_plugin_shows_again_what_is_wrong_with_it(
    tmp_path: Path, found: Found
) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "plugin.yaml").write_text("name: acme\ncolour: red\n")
    manager = found(tmp_path)

    manager.disable_plugin("acme")
    manager.enable_plugin("acme")

    info = manager.plugins["acme"]
    assert info.status is PluginStatus.ERROR
    assert "colour" in (info.error_message or "")
