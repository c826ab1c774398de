"""Defects 5a of the original platform (rows 1-8): the file itself and what it promised."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import drivebay
from drivebay import ConfigError, InstrumentDriver, PluginManager, PluginStatus

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))
DISTRIBUTION_OF = {
    "yaml": "pyyaml",
    "jsonschema_rs": "jsonschema-rs",
    "serial": "pyserial",
    "pyvisa_py": "pyvisa-py",
}


def test_every_source_file_parses_and_the_package_imports_in_a_bare_process() -> None:
    for path in SOURCES:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)

    done = run_python(
        "-W", "error", "-c", "import drivebay; print(drivebay.PluginManager.__name__)"
    )

    assert done.stdout == "PluginManager\n"


def test_control_the_original_text_does_not_parse() -> None:
    with pytest.raises(SyntaxError, match="invalid character"):
        compile("import re\n\n“””\nPlugin Architecture\n“””\n", "plugin_manager.py", "exec")


def test_reload_unload_disable_enable_and_shutdown_work_and_say_so(
    tmp_path: Path, write_plugin: Any
) -> None:
    write_plugin(tmp_path, "acme")
    manager = PluginManager([tmp_path])
    events: list[tuple[str, str]] = []
    manager.subscribe(lambda event: events.append((event.kind, event.plugin)))
    manager.discover_plugins()

    manager.load_plugin("acme")
    manager.reload_plugin("acme")
    manager.unload_plugin("acme")
    manager.disable_plugin("acme", reason="on loan")
    manager.enable_plugin("acme")
    manager.load_plugin("acme")
    manager.shutdown()

    kinds = ["discovered", "loaded", "reloaded", "unloaded", "disabled", "enabled", "loaded"]
    assert [kind for kind, _ in events] == [*kinds, "unloaded", "shutdown"]
    assert {plugin for _, plugin in events[:-1]} == {"acme"}
    assert manager.plugins["acme"].status is PluginStatus.DISCOVERED


def test_load_time_is_set_when_the_plugin_is_loaded(tmp_path: Path, write_plugin: Any) -> None:
    write_plugin(tmp_path, "acme")
    manager = PluginManager([tmp_path])
    manager.discover_plugins()
    assert manager.plugins["acme"].load_time is None

    manager.load_plugin("acme")

    info = manager.plugins["acme"]
    assert isinstance(info.load_time, float)
    assert info.load_duration_s is not None


def test_the_active_and_disabled_states_are_entered(tmp_path: Path, write_plugin: Any) -> None:
    write_plugin(tmp_path, "acme")
    manager = PluginManager([tmp_path])
    manager.discover_plugins()
    manager.load_plugin("acme")

    with manager.get_driver("acme", "SIM::1"):
        inside = manager.plugins["acme"].status
    after = manager.plugins["acme"].status
    manager.disable_plugin("acme")

    assert inside is PluginStatus.ACTIVE
    assert after is PluginStatus.LOADED
    assert manager.plugins["acme"].status is PluginStatus.DISABLED
    assert manager.plugins["acme"].reason == "disabled by the user"


def test_declared_dependencies_are_checked(tmp_path: Path, write_plugin: Any) -> None:
    write_plugin(tmp_path, "acme", dependencies=["no-such-distribution>=3"])
    manager = PluginManager([tmp_path])
    manager.discover_plugins()

    assert not manager.load_plugin("acme")
    assert "no-such-distribution>=3" in (manager.plugins["acme"].error_message or "")


def test_a_config_schema_is_enforced(tmp_path: Path, write_plugin: Any) -> None:
    schema = {"type": "object", "properties": {"nplc": {"type": "number", "maximum": 10}}}
    write_plugin(tmp_path, "acme", config_schema=schema)
    manager = PluginManager([tmp_path])
    manager.discover_plugins()
    manager.load_plugin("acme")

    with pytest.raises(ConfigError, match="nplc"):
        manager.get_driver("acme", "SIM::1", {"nplc": 1000})


def test_what_the_decorator_attaches_is_discovered_and_loaded(
    tmp_path: Path, driver_text: Any
) -> None:
    decorated = driver_text(name="Lockin").replace(
        "class Lockin",
        '@driver_plugin(name="lockin", version="1.0", author="Lab", description="d",\n'
        '               supported_methods=["answer"], supported_models=["SR830"])\nclass Lockin',
    )
    (tmp_path / "lockin.py").write_text("from drivebay import driver_plugin\n" + decorated)
    manager = PluginManager([tmp_path])

    assert manager.discover_plugins() == ["lockin"]
    assert manager.load_plugin("lockin")
    assert manager.find_driver_for_model("SR830") == "lockin"


def test_nothing_is_imported_and_left_unused() -> None:
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))

    done = subprocess.run(
        [ruff, "check", "--select", "F401", "src"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_a_keithley_driver_is_shipped_and_loads() -> None:
    manager = PluginManager()
    manager.discover_plugins()

    assert manager.load_plugin("keithley_2400"), manager.plugins["keithley_2400"].error_message
    assert manager.plugins["keithley_2400"].source == "builtin"
    assert manager.find_driver_for_model("KEITHLEY INSTRUMENTS INC.,MODEL 2400,1,C30") == (
        "keithley_2400"
    )


def test_a_default_folder_that_does_not_exist_is_no_warning(
    caplog: pytest.LogCaptureFixture, home: Path
) -> None:
    assert not (home / "plugins").exists()

    PluginManager().discover_plugins()

    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_control_a_named_folder_that_does_not_exist_is_a_warning(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    PluginManager([tmp_path / "absent"]).discover_plugins()

    assert "plugin folder does not exist" in caplog.text


def test_user_plugins_live_in_the_home_folder_not_in_the_package(
    home: Path, write_plugin: Any
) -> None:
    write_plugin(home / "plugins", "mine")
    manager = PluginManager()

    assert "mine" in manager.discover_plugins()
    assert manager.plugins["mine"].path == str(home / "plugins" / "mine" / "plugin.yaml")


def test_the_path_variable_adds_folders(
    tmp_path: Path, write_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "one", "first")
    write_plugin(tmp_path / "two", "second")
    monkeypatch.setenv(
        "DRIVEBAY_PLUGIN_PATH", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")])
    )

    names = PluginManager().discover_plugins()

    assert {"first", "second", "keithley_2400"} <= set(names)


def test_a_distribution_brings_drivers_by_entry_point(
    tmp_path: Path, write_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, write_plugin)
    monkeypatch.syspath_prepend(str(tmp_path))
    manager = PluginManager()

    assert "wheeled" in manager.discover_plugins()
    assert manager.plugins["wheeled"].source == "entry_point"
    (tmp_path / "labdrivers" / "__init__.py").write_text("")
    assert manager.load_plugin("wheeled"), manager.plugins["wheeled"].error_message
    assert "labdrivers" not in sys.modules


def test_the_example_discovers_loads_and_looks_up(home: Path) -> None:
    done = run_python("-W", "error", str(REPOSITORY / "examples" / "seed_example.py"))

    assert "keithley_2400" in done.stdout
    assert re.search(r"loaded.*keithley_2400", done.stdout)
    assert "answered by" in done.stdout
    assert "Traceback" not in done.stderr


def test_every_third_party_import_is_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    for name, requirements in project["optional-dependencies"].items():
        if name not in {"dev", "docs"}:
            wanted.extend(requirements)
    declared = {re.split(r"[\s\[<>=!~;]", text, maxsplit=1)[0].lower() for text in wanted}

    used = {name for path in SOURCES for name in imports_of(path)}

    # A driver may use another plugin, by its name; the manifest says so.
    plugins = {path.parent.name for path in REPOSITORY.glob("src/drivebay/drivers/*/plugin.yaml")}
    missing = {DISTRIBUTION_OF.get(name, name) for name in used} - declared - plugins
    assert missing == set()


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for name in names:
            head = name.partition(".")[0]
            if head not in sys.stdlib_module_names | {"drivebay", "pyvisa_drivebay"}:
                yield head


def install(site: Path, write_plugin: Any) -> None:
    """Lay out in ``site`` what installing a wheel with one driver would."""
    folder = write_plugin(site, "wheeled").rename(site / "labdrivers")
    # Discovery reads the manifest beside this file and must not run it.
    (folder / "__init__.py").write_text("import hook\n")
    meta = site / "labdrivers-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: labdrivers\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[drivebay.drivers]\nwheeled = labdrivers\n")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(drivebay.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_contract_can_be_subclassed_from_the_public_package() -> None:
    assert InstrumentDriver.__module__.startswith("drivebay")


ROWS = {
    1: [
        test_every_source_file_parses_and_the_package_imports_in_a_bare_process,
        test_control_the_original_text_does_not_parse,
    ],
    2: [test_reload_unload_disable_enable_and_shutdown_work_and_say_so],
    3: [
        test_load_time_is_set_when_the_plugin_is_loaded,
        test_the_active_and_disabled_states_are_entered,
        test_declared_dependencies_are_checked,
        test_a_config_schema_is_enforced,
        test_what_the_decorator_attaches_is_discovered_and_loaded,
    ],
    4: [test_nothing_is_imported_and_left_unused],
    5: [
        test_a_keithley_driver_is_shipped_and_loads,
        test_a_default_folder_that_does_not_exist_is_no_warning,
        test_control_a_named_folder_that_does_not_exist_is_a_warning,
        test_a_distribution_brings_drivers_by_entry_point,
    ],
    6: [
        test_user_plugins_live_in_the_home_folder_not_in_the_package,
        test_the_path_variable_adds_folders,
    ],
    7: [test_the_example_discovers_loads_and_looks_up],
    8: [test_every_third_party_import_is_declared],
}
