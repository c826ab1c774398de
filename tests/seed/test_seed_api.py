"""The original platform's API: signatures, fields, defaults, returns and errors as they were."""

from __future__ import annotations

import abc
import dataclasses
import enum
import inspect
import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import drivebay
from drivebay import (
    InstrumentDriver,
    PluginInfo,
    PluginManager,
    PluginMetadata,
    PluginStatus,
    driver_plugin,
)

REQUIRED = "required"
FRESH_LIST = "a fresh list"

# Written down from the text of the original platform: name -> default, in its order.
METADATA_FIELDS = {
    "name": REQUIRED,
    "version": REQUIRED,
    "author": REQUIRED,
    "description": REQUIRED,
    "min_platform_version": "1.0.0",
    "max_platform_version": None,
    "supported_methods": FRESH_LIST,
    "supported_models": FRESH_LIST,
    "driver_class": "",
    "dependencies": FRESH_LIST,
    "config_schema": None,
}
INFO_FIELDS = {
    "metadata": REQUIRED,
    "status": REQUIRED,
    "driver_class": None,
    "error_message": None,
    "load_time": None,
}
STATES = ["discovered", "loaded", "active", "error", "disabled"]
DRIVER_METHODS = {
    "__init__": {"resource_name": REQUIRED, "config": None},
    "connect": {},
    "disconnect": {},
    "reset": {},
    "get_identity": {},
    "get_capabilities": {},
    "configure": {"method": REQUIRED, "params": REQUIRED},
    "measure": {"method": REQUIRED, "params": REQUIRED},
    "abort": {},
    "get_status": {},
}
MANAGER_METHODS = {
    "__init__": {"plugin_dirs": None, "platform_version": "1.0.0", "logger": None},
    "discover_plugins": {},
    "load_plugin": {"plugin_name": REQUIRED},
    "load_all_plugins": {},
    "get_driver": {"plugin_name": REQUIRED, "resource_name": REQUIRED, "config": None},
    "find_driver_for_model": {"model": REQUIRED},
    "find_drivers_for_method": {"method": REQUIRED},
    "get_plugin_info": {"plugin_name": REQUIRED},
    "list_plugins": {},
    "_check_compatibility": {"metadata": REQUIRED},
}
MANAGER_ATTRIBUTES = [
    "platform_version",
    "logger",
    "plugin_dirs",
    "plugins",
    "capability_index",
    "model_index",
]
NEW_METHODS = {
    "reload_plugin": {"name": REQUIRED},
    "unload_plugin": {"name": REQUIRED},
    "enable_plugin": {"name": REQUIRED},
    "disable_plugin": {"name": REQUIRED, "reason": None},
    "explain": {"idn": REQUIRED},
    "watch": {},
    "subscribe": {"callback": REQUIRED},
}
DECORATOR = ["name", "version", "author", "description", "supported_methods", "supported_models"]


def defaults_of(cls: type) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.default_factory is not dataclasses.MISSING:
            table[field.name] = FRESH_LIST if field.default_factory is list else "fresh"
        else:
            table[field.name] = REQUIRED if field.default is dataclasses.MISSING else field.default
    return table


def positional(function: Any) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())
    return {
        p.name: REQUIRED if p.default is p.empty else p.default
        for p in parameters
        if p.name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD
    }


@pytest.mark.parametrize(
    ("cls", "fields"), [(PluginMetadata, METADATA_FIELDS), (PluginInfo, INFO_FIELDS)]
)
def test_the_original_fields_come_first_with_their_order_and_defaults(
    cls: type, fields: dict[str, Any]
) -> None:
    table = defaults_of(cls)

    assert list(table.items())[: len(fields)] == list(fields.items())
    assert all(default != REQUIRED for default in list(table.values())[len(fields) :])


def test_metadata_is_made_positionally_and_two_never_share_a_list() -> None:
    one = PluginMetadata("k", "1.0", "Lab", "SMU", "1.0.0", None, ["iv_sweep"], ["2400"], "a.B")
    other = PluginMetadata("k", "1.0", "Lab", "SMU")
    other.supported_models.append("2401")

    assert one.driver_class == "a.B"
    assert PluginMetadata("k", "1.0", "Lab", "SMU").supported_models == []


def test_the_states_are_five_and_are_text() -> None:
    assert [state.value for state in PluginStatus] == STATES
    assert [state.name for state in PluginStatus] == [value.upper() for value in STATES]
    assert issubclass(PluginStatus, str)
    assert issubclass(PluginStatus, enum.Enum)
    assert PluginStatus.LOADED == "loaded"


def test_the_contract_has_exactly_the_original_abstract_methods() -> None:
    assert issubclass(InstrumentDriver, abc.ABC)
    assert InstrumentDriver.__abstractmethods__ == frozenset(DRIVER_METHODS)
    for name, parameters in DRIVER_METHODS.items():
        assert positional(getattr(InstrumentDriver, name)) == parameters, name
    assert positional(InstrumentDriver.__enter__) == {}
    assert len(inspect.signature(InstrumentDriver.__exit__).parameters) == 4


@pytest.mark.parametrize("methods", [MANAGER_METHODS, NEW_METHODS])
def test_the_manager_has_every_method_with_its_parameters(methods: dict[str, Any]) -> None:
    for name, parameters in methods.items():
        assert positional(getattr(PluginManager, name)) == parameters, name


def test_the_managers_attributes_are_there_and_readable(tmp_path: Path) -> None:
    logger = logging.getLogger("mine")
    manager = PluginManager([tmp_path], "1.2.0", logger)

    assert all(hasattr(manager, name) for name in MANAGER_ATTRIBUTES)
    assert manager.platform_version == "1.2.0"
    assert manager.logger is logger
    assert manager.plugin_dirs == [tmp_path]
    assert all(isinstance(folder, Path) for folder in manager.plugin_dirs)
    assert dict(manager.plugins) == manager.capability_index == manager.model_index == {}
    assert hasattr(manager, "conflicts")


def test_the_decorator_takes_the_original_arguments_and_more_keys() -> None:
    assert list(positional(driver_plugin)) == DECORATOR
    assert any(
        p.kind is p.VAR_KEYWORD for p in inspect.signature(driver_plugin).parameters.values()
    )

    @driver_plugin(
        name="keithley_2400",
        version="1.0.0",
        author="Lab Team",
        description="Keithley 2400 SMU Driver",
        supported_methods=["iv_sweep"],
        supported_models=["2400", "2401"],
        dependencies=["numpy"],
    )
    class Keithley:
        pass

    metadata = Keithley._plugin_metadata  # type: ignore[attr-defined]
    assert isinstance(metadata, PluginMetadata)
    assert metadata.supported_models == ["2400", "2401"]
    assert metadata.dependencies == ["numpy"]
    assert metadata.driver_class.endswith("Keithley")


def test_the_six_names_are_imported_from_the_package() -> None:
    names = {"PluginMetadata", "PluginInfo", "PluginStatus", "InstrumentDriver"}
    names |= {"PluginManager", "driver_plugin"}

    assert names <= set(drivebay.__all__)


def test_every_call_returns_the_original_type(tmp_path: Path, write_plugin: Any) -> None:
    write_plugin(tmp_path, "acme")
    manager = PluginManager([tmp_path])

    assert manager.discover_plugins() == ["acme"]
    assert manager.load_plugin("acme") is True
    assert manager.load_plugin("nobody") is False
    assert manager.load_all_plugins() == {}
    assert isinstance(manager.get_driver("acme", "SIM::1"), InstrumentDriver)
    assert manager.find_driver_for_model("Model 1") == "acme"
    assert manager.find_driver_for_model("Model 9") is None
    assert manager.find_drivers_for_method("answer") == ["acme"]
    assert manager.find_drivers_for_method("nothing") == []
    assert isinstance(manager.get_plugin_info("acme"), PluginInfo)
    assert manager.get_plugin_info("nobody") is None
    assert type(manager.list_plugins()) is dict
    assert manager.plugins["acme"].status is PluginStatus.LOADED
    assert type(manager.plugins.copy()) is dict
    assert manager.capability_index == {"answer": ["acme"]}
    assert manager.model_index["Model 1"] == "acme"
    metadata = manager.plugins["acme"].metadata
    assert manager._check_compatibility(metadata) is True


def test_the_new_calls_return_bool(tmp_path: Path, write_plugin: Any) -> None:
    write_plugin(tmp_path, "acme")
    manager = PluginManager([tmp_path])
    manager.discover_plugins()
    manager.load_all_plugins()

    assert manager.reload_plugin("acme") is True
    assert manager.unload_plugin("acme") is True
    assert manager.disable_plugin("acme", reason="on loan") is True
    assert manager.enable_plugin("acme") is True
    for call in (manager.reload_plugin, manager.unload_plugin, manager.enable_plugin):
        assert call("nobody") is False
    assert manager.disable_plugin("nobody") is False
    assert manager.conflicts == ()
    assert [c.plugin for c in manager.explain("ACME,Model 1,1,1")] == ["acme"]


def test_errors_keep_their_types_and_say_what_they_said(tmp_path: Path, write_plugin: Any) -> None:
    write_plugin(tmp_path, "acme")
    manager = PluginManager([tmp_path])
    manager.discover_plugins()

    with pytest.raises(ValueError, match="Plugin 'nobody' not found"):
        manager.get_driver("nobody", "SIM::1")
    with pytest.raises(RuntimeError, match=r"Plugin 'acme' not loaded \(status: discovered\)"):
        manager.get_driver("acme", "SIM::1")


def test_reasons_of_failures_hold_the_original_words(
    tmp_path: Path, write_plugin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(tmp_path, "stranger", driver_source="class Driver:\n    pass\n")
    manager = PluginManager([tmp_path])
    manager.discover_plugins()

    assert not manager.load_plugin("stranger")

    reason = "Driver does not implement InstrumentDriver interface"
    assert manager.plugins["stranger"].error_message == reason
    assert f"Failed to load plugin 'stranger': {reason}" in caplog.text


PROGRAM = """
from drivebay import InstrumentDriver, PluginInfo, PluginManager
from drivebay import PluginMetadata, PluginStatus, driver_plugin

import logging
import sys
from pathlib import Path

logging.basicConfig(level=logging.INFO)
base = Path(sys.argv[1])

metadata = PluginMetadata(
    name="keithley_2400",
    version="1.0.0",
    author="Lab Team",
    description="Keithley 2400 SMU Driver",
    min_platform_version="1.0.0",
    supported_methods=["iv_sweep", "cv_measurement"],
    supported_models=["2400", "2401", "2410"],
    driver_class="keithley.Keithley2400Driver",
)
copy = PluginMetadata.from_dict(metadata.to_dict())
assert copy == metadata
read = PluginMetadata.from_yaml(base / "builtin" / "keithley_2400" / "plugin.yaml")
assert read.name == "keithley_2400" and read.driver_class == "keithley.Keithley2400Driver"
print(f"States: {[s.value for s in PluginStatus]}")

manager = PluginManager(plugin_dirs=[base / "builtin", base / "plugins"], platform_version="1.0.0")
print(sorted(manager.discover_plugins()))
for name, info in manager.list_plugins().items():
    assert info.status == PluginStatus.DISCOVERED
results = manager.load_all_plugins()
assert all(results.values()), results

for model in ("2400", "SR830", "34401A"):
    name = manager.find_driver_for_model(model)
    with manager.get_driver(name, "GPIB0::24::INSTR", {"nplc": 1}) as driver:
        identity = driver.get_identity()
        driver.configure(driver.get_capabilities()[0], {"points": 3})
        result = driver.measure(driver.get_capabilities()[0], {"points": 3})
        print(model, name, identity["model"], result["points"], driver.get_status()["config"])
        driver.abort()
        driver.reset()

assert manager.find_drivers_for_method("iv_sweep") == ["keithley_2400"]
assert manager.find_driver_for_model("9999") is None
assert manager.capability_index["dc_voltage"] == ["vendor_dmm"]
assert manager.model_index["SR830"] == "lockin"
info = manager.get_plugin_info("lockin")
assert isinstance(info, PluginInfo) and info.status == PluginStatus.LOADED
assert info.driver_class.__name__ == "LockIn" and info.error_message is None
try:
    manager.get_driver("unknown", "GPIB0::1::INSTR")
except ValueError as error:
    print(error)
print("done")
"""


def test_a_program_written_for_the_original_runs_with_one_import_changed(
    tmp_path: Path, driver_text: Any, home: Path
) -> None:
    """Its three layouts: module in the root, module beside the manifest, vendor.driver.Driver."""
    body = textwrap.dedent(driver_text(name="NAME")).replace(
        'return {"answer": self.VALUE}', 'return {"points": params["points"]}'
    )
    body = body.replace(
        "def get_status(self): return {}", "def get_status(self): return vars(self)"
    )
    layouts = {
        "builtin/keithley_2400": ("keithley.Keithley2400Driver", "2400", "iv_sweep"),
        "plugins/lockin": ("lockin.LockIn", "SR830", "read_xy"),
        "plugins/vendor": ("vendor.driver.Driver", "34401A", "dc_voltage"),
    }
    names = {"plugins/vendor": "vendor_dmm"}
    for place, (driver_class, model, method) in layouts.items():
        folder = tmp_path / place
        folder.mkdir(parents=True)
        name = names.get(place, folder.name)
        (folder / "plugin.yaml").write_text(
            f"name: {name}\nversion: '1.0.0'\nauthor: Lab\ndescription: d\n"
            f"supported_methods: [{method}]\nsupported_models: ['{model}']\n"
            f"driver_class: {driver_class}\n"
        )
        source = body.replace("NAME", driver_class.rsplit(".", 1)[1]).replace("Model 1", model)
        source = source.replace('return ["answer"]', f'return ["{method}"]')
        beside = {"plugins/lockin": "lockin.py", "plugins/vendor": "driver.py"}.get(place)
        target = folder / beside if beside else folder.parent / "keithley.py"
        target.write_text(source)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=home,
        env={"PYTHONPATH": str(Path(drivebay.__file__).parents[1]), "DRIVEBAY_HOME": str(home)},
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"States: {STATES}"
    assert lines[1] == "['keithley_2400', 'lockin', 'vendor_dmm']"
    assert lines[2].startswith("2400 keithley_2400 2400 3 {'nplc': 1}")
    assert lines[-2].startswith("Plugin 'unknown' not found")
    assert lines[-1] == "done"
    assert "INFO:drivebay.plugins:Loaded plugin: lockin" in done.stderr


def test_a_user_made_metadata_can_be_changed_as_before() -> None:
    metadata = PluginMetadata("k", "1.0", "Lab", "SMU")

    metadata.supported_models.append("2400")
    metadata.version = "1.1"

    assert metadata.to_dict() == {
        "name": "k",
        "version": "1.1",
        "author": "Lab",
        "description": "SMU",
        "min_platform_version": "1.0.0",
        "max_platform_version": None,
        "supported_methods": [],
        "supported_models": ["2400"],
        "driver_class": "",
        "dependencies": [],
        "config_schema": None,
    }


def test_the_default_folders_are_this_users_and_the_built_in_ones(home: Path) -> None:
    manager = PluginManager()

    assert home / "plugins" in manager.plugin_dirs
    assert Path(drivebay.__file__).parent / "drivers" in manager.plugin_dirs
    assert manager.logger.name == "drivebay.plugins"
