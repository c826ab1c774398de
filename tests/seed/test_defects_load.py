"""Defects 5d of the original platform (rows 41-57): loading code.

Rows 58-71 (look-ups, states, needs, messages) are in test_defects_lookup.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import drivebay
from drivebay import InstrumentDriver, LoadError, ManifestError, PluginManager, PluginStatus
from drivebay._core.loader import NAMESPACE

Found = Callable[..., PluginManager]


def error_of(manager: PluginManager, name: str = "acme") -> str:
    """Load a plugin that must fail and return what is said of it."""
    assert manager.load_plugin(name) is False
    info = manager.plugins[name]
    assert info.status is PluginStatus.ERROR
    assert info.driver_class is None
    return info.error_message or ""


def measured(manager: PluginManager, name: str = "acme") -> object:
    return manager.get_driver(name, "SIM::1").measure("answer", {})["answer"]


def test_the_module_beside_the_manifest_is_loaded(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    write_plugin(tmp_path / "deep", "acme", driver_source=driver_text("beside"))
    (tmp_path / "driver.py").write_text(driver_text("root"))
    manager = found(tmp_path)

    assert manager.load_plugin("acme")
    assert measured(manager) == "beside"


def test_packages_and_sibling_and_relative_imports_work(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    before = (
        "import sibling\nfrom . import near\nfrom .tables import steps\nfrom .. import upper\n"
        "import pkg.tables.steps as dotted\nfrom ..sibling import X as again\n"
    )
    source = driver_text(before=before).replace(
        "return {", "return {'all': [sibling.X, near.X, steps.X, dotted.X, upper.X, again], "
    )
    folder = write_plugin(tmp_path, "acme", driver_class="pkg.driver.Driver")
    (folder / "driver.py").unlink()
    for name, text in {
        "__init__.py": "",
        "sibling.py": "X = 1\n",
        "upper.py": "X = 5\n",
        "pkg/__init__.py": "from . import near\n",
        "pkg/driver.py": source,
        "pkg/near.py": "X = 2\n",
        "pkg/tables/__init__.py": "",
        "pkg/tables/steps.py": "from ..near import X as N\nX = N + 1\n",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    manager = found(tmp_path)

    assert manager.load_plugin("acme"), manager.plugins["acme"].error_message
    result = manager.get_driver("acme", "SIM::1").measure("answer", {})
    assert result["all"] == [1, 2, 3, 3, 5, 1]


def test_two_plugins_with_the_same_module_names_never_meet(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    for name in ("one", "two"):
        source = driver_text(before="import shared\n").replace("self.VALUE", "shared.X")
        folder = write_plugin(tmp_path / name, name, driver_source=source)
        (folder / "shared.py").write_text(f"X = {name!r}\n")
    manager = found(tmp_path / "one", tmp_path / "two")
    manager.load_all_plugins()

    assert measured(manager, "one") == "one"
    assert measured(manager, "two") == "two"


def test_a_plugin_with_a_json_module_leaves_the_hosts_json_alone(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text(before="import json\nfrom . import json as own\n").replace(
        "self.VALUE", "[json.dumps({}), own.X]"
    )
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    (folder / "json.py").write_text("X = 'the plugins own'\n")
    before = set(sys.modules)
    manager = found(tmp_path)

    assert manager.load_plugin("acme")

    assert importlib.import_module("json") is json
    assert measured(manager) == ["{}", "the plugins own"]
    assert {n for n in set(sys.modules) - before if not n.startswith(NAMESPACE)} <= stdlib()


def test_control_a_naive_loader_replaces_the_hosts_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "json", json)
    (tmp_path / "json.py").write_text("X = 1\n")

    naive_load("json", tmp_path / "json.py")

    assert not hasattr(importlib.import_module("json"), "dumps")


def test_no_plugin_module_can_be_imported_by_its_bare_name(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(
        tmp_path, "acme", driver_source=driver_text(before="import peculiar_sibling\n")
    )
    (folder / "peculiar_sibling.py").write_text("")
    manager = found(tmp_path)
    assert manager.load_plugin("acme")

    for name in ("peculiar_sibling", "driver", "acme"):
        assert importlib.util.find_spec(name) is None


def test_a_plugin_named_like_the_host_does_not_hide_the_host(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    for name in ("first", "second"):
        folder = write_plugin(tmp_path, name, driver_source=driver_text(name))
        (folder / "plugin_manager.py").write_text("raise RuntimeError('wrong one')\n")
    manager = found(tmp_path)

    assert manager.load_all_plugins() == {"first": True, "second": True}
    assert "plugin_manager" not in sys.modules


def test_a_module_that_failed_leaves_nothing_behind(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(
        tmp_path, "half", driver_source="import sibling\nX = 1\nraise RuntimeError('half way')\n"
    )
    (folder / "sibling.py").write_text("")
    manager = found(tmp_path)

    assert "half way" in error_of(manager, "half")
    assert [name for name in sys.modules if name.startswith(NAMESPACE + ".half.")] == []
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAMESPACE + ".half.g1.driver")


def test_an_interrupt_from_the_keyboard_is_the_users_and_leaves_nothing_behind(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(
        tmp_path, "interrupted", driver_source="import sibling\nraise KeyboardInterrupt\n"
    )
    (folder / "sibling.py").write_text("")
    manager = found(tmp_path)

    with pytest.raises(KeyboardInterrupt):
        manager.load_plugin("interrupted")

    assert [name for name in sys.modules if name.startswith(NAMESPACE + ".interrupted.")] == []


def test_load_all_tries_failed_ones_again_and_says_that_they_failed(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source="raise RuntimeError('no')\n")
    write_plugin(tmp_path, "fine")
    manager = found(tmp_path)
    assert manager.load_all_plugins() == {"acme": False, "fine": True}
    assert manager.load_all_plugins() == {"acme": False}

    (folder / "driver.py").write_text(driver_text())

    assert manager.load_all_plugins() == {"acme": True}
    info = manager.plugins["acme"]
    assert info.status is PluginStatus.LOADED
    assert info.error_message is None
    assert info.traceback is None


def test_loading_again_adds_nothing_to_the_indexes(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)

    for _ in range(5):
        assert manager.load_plugin("acme")
        assert manager.reload_plugin("acme")

    assert manager.capability_index == {"answer": ["acme"]}
    assert manager.find_drivers_for_method("answer") == ["acme"]


def test_models_and_methods_that_were_dropped_leave_the_indexes(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme", supported_models=["1", "2"], supported_methods=["a", "b"])
    manager = found(tmp_path)
    manager.load_plugin("acme")

    write_plugin(tmp_path, "acme", supported_models=["2"], supported_methods=["b"])
    assert manager.reload_plugin("acme")

    assert manager.model_index == {"2": "acme"}
    assert manager.capability_index == {"b": ["acme"]}


def test_a_plugin_that_is_no_longer_usable_leaves_the_indexes(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    assert manager.model_index

    write_plugin(tmp_path, "acme", min_platform_version="9.0")
    manager.discover_plugins()

    assert manager.model_index == {}
    assert manager.capability_index == {}


def test_forty_quick_saves_of_one_size_are_the_newest_forty_times(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(100))
    manager = found(tmp_path)
    manager.load_plugin("acme")

    stale = 0
    for value in range(101, 141):
        (folder / "driver.py").write_text(driver_text(value))
        assert manager.reload_plugin("acme")
        stale += measured(manager) != value

    assert stale == 0
    assert not list(tmp_path.rglob("*.pyc"))


def test_control_a_naive_reload_loses_quick_saves_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "naive_driver.py"
    stale = 0
    for value in range(100, 140):
        path.write_text(f"VALUE = {value}\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))  # saves within one second of .pyc's clock
        stale += value != naive_load("naive_driver", path).VALUE
    sys.modules.pop("naive_driver", None)

    assert stale == 39


def test_a_failed_reload_leaves_the_old_class_in_service_and_says_so(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("old"))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    events: list[str] = []
    manager.subscribe(lambda event: events.append(event.kind))
    before = manager.plugins["acme"]

    (folder / "driver.py").write_text("def broken(:\n")
    assert manager.reload_plugin("acme") is False

    info = manager.plugins["acme"]
    assert info.driver_class is before.driver_class
    assert (info.status, info.degraded, info.generation) == (
        PluginStatus.LOADED,
        True,
        before.generation,
    )
    assert "driver.py:1" in (info.error_message or "")
    assert measured(manager) == "old"
    assert manager.find_driver_for_model("Model 1") == "acme"
    assert events == ["reload_failed"]
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert any("Failed to reload plugin 'acme'; generation" in text for text in errors)


def test_a_broken_manifest_leaves_the_old_one_in_service_and_says_so(
    tmp_path: Path, write_plugin: Any, found: Found, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_plugin(tmp_path, "acme")
    text = (folder / "plugin.yaml").read_text()
    manager = found(tmp_path)
    manager.load_plugin("acme")

    for broken in (text + "colour: red\n", "", "name: [\n"):
        (folder / "plugin.yaml").write_text(broken)
        assert manager.reload_plugin("acme") is False
        info = manager.plugins["acme"]
        assert info.degraded
        assert info.diagnostics
        assert "plugin.yaml" in (info.error_message or "")
        assert measured(manager) == [1.0, 2.0]
        assert manager.find_driver_for_model("Model 1") == "acme"
        assert manager.find_drivers_for_method("answer") == ["acme"]
    assert "unknown key 'colour'" in caplog.text

    (folder / "plugin.yaml").write_text(text)
    manager.discover_plugins()

    assert not manager.plugins["acme"].degraded
    assert manager.plugins["acme"].error_message is None
    assert manager.reload_plugin("acme")


def test_reload_takes_the_manifest_as_it_is_now(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")

    write_plugin(tmp_path, "acme", version="2.0", driver_class="other.Other")
    (folder / "other.py").write_text(driver_text("other", "Other"))

    assert manager.reload_plugin("acme")
    assert manager.plugins["acme"].metadata.version == "2.0"
    assert measured(manager) == "other"


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(3)",
        "raise SystemExit",
        "raise BaseException('all of it')",
        "raise RecursionError",
        "def f(): f()\nf()",
        "raise GeneratorExit",
        "assert False",
        "class Odd(type):\n    def __hash__(c): raise ValueError('no hash')\n"
        "from drivebay import InstrumentDriver\nimport abc\n"
        "class Both(Odd, abc.ABCMeta): pass\n"
        "class Driver(InstrumentDriver, metaclass=Both): pass",
        "def __getattr__(name): raise OSError('module getattr')",
    ],
)
def test_whatever_a_plugin_raises_while_it_is_imported_is_contained(
    tmp_path: Path, write_plugin: Any, found: Found, code: str
) -> None:
    write_plugin(tmp_path, "acme", driver_source=code + "\n")
    write_plugin(tmp_path, "fine")
    manager = found(tmp_path)

    assert error_of(manager)
    assert manager.load_plugin("fine")


def test_a_sys_exit_is_named_for_what_it_is(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme", driver_source="import sys\nsys.exit(3)\n")

    assert error_of(found(tmp_path)) == (
        "called sys.exit(3) while it was imported (driver.py:2 in <module>)"
    )


@pytest.mark.parametrize("written", ["''", "Driver", "5", "[a, b]", "../driver.Driver", "a..B"])
def test_a_driver_class_of_no_known_form_is_a_problem_of_the_manifest(
    tmp_path: Path, write_plugin: Any, found: Found, written: str
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_class=None)
    with (folder / "plugin.yaml").open("a") as file:
        file.write(f"driver_class: {written}\n")

    info = found(tmp_path).plugins["acme"]

    assert info.status is PluginStatus.ERROR
    assert "driver_class" in (info.error_message or "")
    assert info.diagnostics[0].line > 0


@pytest.mark.parametrize("written", ["driver:Driver", "driver.Driver", "driver:Outer.Driver"])
def test_every_documented_form_of_driver_class_loads(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, written: str
) -> None:
    source = driver_text() + "\nclass Outer:\n    Driver = Driver\n"
    write_plugin(tmp_path, "acme", driver_class=written, driver_source=source)
    manager = found(tmp_path)

    assert manager.load_plugin("acme"), manager.plugins["acme"].error_message


@pytest.mark.parametrize("written", [".driver.Driver", "/etc/driver.Driver", "a/b.Driver"])
def test_a_driver_class_cannot_name_a_path(
    tmp_path: Path, write_plugin: Any, found: Found, written: str
) -> None:
    write_plugin(tmp_path, "acme", driver_class=written)

    assert found(tmp_path).plugins["acme"].status is PluginStatus.ERROR


def test_a_link_out_of_the_plugins_folder_is_refused(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: types.ModuleType
) -> None:
    (tmp_path / "outside.py").write_text(driver_text(before="import hook; hook.seen.append(1)\n"))
    folder = write_plugin(tmp_path / "root", "acme")
    (folder / "driver.py").unlink()
    (folder / "driver.py").symlink_to(tmp_path / "outside.py")

    said = error_of(found(tmp_path / "root"))

    assert "driver.py is a link to" in said
    assert "outside" in said
    assert hook.seen == []


def test_control_a_link_inside_the_plugins_folder_is_followed(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme")
    (folder / "driver.py").rename(folder / "real.py")
    (folder / "driver.py").symlink_to("real.py")

    assert found(tmp_path).load_plugin("acme")


def test_what_is_no_class_and_the_contract_itself_are_named(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "function", driver_source="def Driver(*_): pass\n")
    write_plugin(tmp_path, "absent", driver_source="class Drivre: pass\n")
    contract = "from drivebay import InstrumentDriver as Driver\n"
    write_plugin(tmp_path, "contract", driver_source=contract)
    manager = found(tmp_path)

    assert error_of(manager, "function") == "'Driver' in driver.py is a function, not a class"
    assert error_of(manager, "absent") == "class 'Driver' not in driver.py (has: Drivre)"
    assert "is the contract itself, not a driver" in error_of(manager, "contract")


def test_a_class_without_its_methods_is_refused_with_their_names(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text().replace("def abort", "def abort_").replace("def reset", "def reset_")
    write_plugin(tmp_path, "acme", driver_source=source)

    assert error_of(found(tmp_path)) == "Driver does not implement: abort, reset"


def test_a_method_that_cannot_be_called_as_the_contract_does_is_refused(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text().replace("measure(self, method, params)", "measure(self)")
    write_plugin(tmp_path, "acme", driver_source=source)

    assert "Driver.measure cannot be called as the contract does" in error_of(found(tmp_path))


def test_a_base_class_of_another_origin_is_named_with_both_origins(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text().replace("from drivebay", "from contract_copy")
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    (folder / "contract_copy.py").write_text("class InstrumentDriver:\n    pass\n")

    said = error_of(found(tmp_path))

    assert "contract_copy" in said
    assert "import it from drivebay" in said


def test_a_scpi_driver_must_have_the_methods_its_manifest_declares(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    source = "from drivebay.driver import ScpiDriver\nclass Driver(ScpiDriver):\n    pass\n"
    write_plugin(tmp_path, "acme", supported_methods=["iv_sweep"], driver_source=source)

    said = error_of(found(tmp_path))

    assert "manifest declares 'iv_sweep', Driver has no such @method" in said


def test_a_method_a_connected_driver_lacks_is_no_longer_looked_up(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_plugin(tmp_path, "acme", supported_methods=["answer", "boast"], driver_source=None)
    (tmp_path / "acme" / "driver.py").write_text(driver_text())
    manager = found(tmp_path)
    manager.load_plugin("acme")
    assert manager.find_drivers_for_method("boast") == ["acme"]

    with manager.get_driver("acme", "SIM::1"):
        pass

    assert manager.find_drivers_for_method("boast") == []
    assert manager.find_drivers_for_method("answer") == ["acme"]
    assert "manifest declares boast, the driver does not have it" in caplog.text


def test_two_plugins_that_claim_a_model_are_a_conflict_with_one_choice(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    for name in ("bb", "aa"):
        write_plugin(tmp_path, name, supported_models=["2400"])
    manager = found(tmp_path)

    (conflict,) = manager.conflicts
    assert (conflict.model, conflict.plugins, conflict.chosen) == ("2400", ("aa", "bb"), "aa")
    manager.load_plugin("bb")
    manager.load_plugin("aa")
    assert manager.find_driver_for_model("2400") == "aa"


def test_a_users_pin_decides_a_conflict_and_is_kept(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    for name in ("bb", "aa"):
        write_plugin(tmp_path, name, supported_models=["2400"])
    manager = found(tmp_path)

    manager.pin("2400", "bb")

    assert manager.find_driver_for_model("MODEL 2400") == "bb"
    assert manager.conflicts[0].reason == "pinned"
    assert found(tmp_path).find_driver_for_model("2400") == "bb"


def test_a_class_loads_in_another_process_from_a_plan_that_was_pickled(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("from the worker"))
    manager = found(tmp_path)
    manager.load_plugin("acme")

    assert in_worker(manager, tmp_path) == "from the worker"
    (folder / "driver.py").write_text(driver_text("a changed file"))
    assert in_worker(manager, tmp_path).startswith("LoadError")


WORKER = """\
import pickle, sys
from drivebay import LoadError
from drivebay._core.loader import stage_generation
plan, metadata = pickle.load(open(sys.argv[1], "rb"))
try:
    cls = stage_generation(plan, metadata).driver_class
except LoadError as error:
    print(f"LoadError: {error}")
else:
    print(cls("SIM::1").measure("answer", {})["answer"])
"""


def in_worker(manager: PluginManager, scratch: Path) -> str:
    import pickle
    from dataclasses import replace

    from drivebay._core.manager import plan_for

    record = manager.snapshot.catalog.records["acme"]
    plan = replace(plan_for(record), sha256=manager.plugins["acme"].sha256 or "")
    (scratch / "plan.pickle").write_bytes(pickle.dumps((plan, record.metadata)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WORKER, str(scratch / "plan.pickle")],
        env={**os.environ, "PYTHONPATH": str(Path(drivebay.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nobody_sees_a_plugin_whose_import_is_not_finished(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: types.ModuleType
) -> None:
    hook.begun, hook.go_on = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    before = "import hook\nhook.begun.set()\nassert hook.go_on.wait(60)\n"
    write_plugin(tmp_path, "acme", driver_source=driver_text(before=before))
    manager = found(tmp_path)
    results: list[object] = []
    first = threading.Thread(target=lambda: results.append(manager.load_plugin("acme")))
    first.start()
    assert hook.begun.wait(60)

    with pytest.raises(RuntimeError, match="not loaded"):
        manager.get_driver("acme", "SIM::1")
    assert manager.plugins["acme"].driver_class is None
    second = threading.Thread(target=lambda: results.append(manager.load_plugin("acme")))
    second.start()
    hook.go_on.set()
    first.join()
    second.join()

    assert results == [True, True]


def test_a_late_import_in_two_threads_waits_for_the_whole_module(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: types.ModuleType
) -> None:
    hook.begun, hook.go_on = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    source = driver_text().replace("self.VALUE", "__import__('late').AT_THE_END")
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    (folder / "late.py").write_text(
        "import hook\nhook.seen.append(1)\nhook.begun.set()\nassert hook.go_on.wait(60)\n"
        "AT_THE_END = 7\n"
    )
    manager = found(tmp_path)
    manager.load_plugin("acme")
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(measured(manager))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert hook.begun.wait(60)
    hook.go_on.set()
    for thread in threads:
        thread.join()

    assert results == [7] * 4
    assert hook.seen == [1]


def test_the_loaders_errors_carry_the_plugin(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme", driver_source="raise RuntimeError('no')\n")
    write_plugin(tmp_path, "worse", driver_class="nowhere")
    manager = found(tmp_path)

    with pytest.raises(LoadError) as load:
        manager.require("acme")
    with pytest.raises(ManifestError):
        manager.require("worse")

    assert load.value.plugin == "acme"
    assert "RuntimeError: no" in load.value.traceback


def test_the_interpreters_caches_can_still_be_invalidated(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    assert found(tmp_path).load_plugin("acme")

    importlib.invalidate_caches()


def naive_load(name: str, path: Path) -> Any:
    """What the original platform did."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def stdlib() -> set[str]:
    return {name for name in sys.modules if name.partition(".")[0] in sys.stdlib_module_names}


def test_control_the_contract_is_abstract() -> None:
    with pytest.raises(TypeError):
        InstrumentDriver("SIM::1")  # type: ignore[abstract]


ROWS = {
    41: [test_the_module_beside_the_manifest_is_loaded],
    42: [test_packages_and_sibling_and_relative_imports_work],
    43: [test_two_plugins_with_the_same_module_names_never_meet],
    44: [
        test_a_plugin_with_a_json_module_leaves_the_hosts_json_alone,
        test_control_a_naive_loader_replaces_the_hosts_json,
        test_no_plugin_module_can_be_imported_by_its_bare_name,
        test_a_plugin_named_like_the_host_does_not_hide_the_host,
    ],
    45: [
        test_a_module_that_failed_leaves_nothing_behind,
        test_an_interrupt_from_the_keyboard_is_the_users_and_leaves_nothing_behind,
    ],
    46: [test_load_all_tries_failed_ones_again_and_says_that_they_failed],
    47: [
        test_loading_again_adds_nothing_to_the_indexes,
        test_models_and_methods_that_were_dropped_leave_the_indexes,
        test_a_plugin_that_is_no_longer_usable_leaves_the_indexes,
    ],
    48: [
        test_forty_quick_saves_of_one_size_are_the_newest_forty_times,
        test_control_a_naive_reload_loses_quick_saves_of_one_size,
    ],
    49: [
        test_a_failed_reload_leaves_the_old_class_in_service_and_says_so,
        test_a_broken_manifest_leaves_the_old_one_in_service_and_says_so,
        test_reload_takes_the_manifest_as_it_is_now,
    ],
    50: [
        test_whatever_a_plugin_raises_while_it_is_imported_is_contained,
        test_a_sys_exit_is_named_for_what_it_is,
    ],
    51: [
        test_a_driver_class_of_no_known_form_is_a_problem_of_the_manifest,
        test_every_documented_form_of_driver_class_loads,
    ],
    52: [
        test_a_driver_class_cannot_name_a_path,
        test_a_link_out_of_the_plugins_folder_is_refused,
        test_control_a_link_inside_the_plugins_folder_is_followed,
    ],
    53: [test_what_is_no_class_and_the_contract_itself_are_named],
    54: [
        test_a_class_without_its_methods_is_refused_with_their_names,
        test_a_method_that_cannot_be_called_as_the_contract_does_is_refused,
        test_control_the_contract_is_abstract,
    ],
    55: [test_a_base_class_of_another_origin_is_named_with_both_origins],
    56: [
        test_a_scpi_driver_must_have_the_methods_its_manifest_declares,
        test_a_method_a_connected_driver_lacks_is_no_longer_looked_up,
    ],
    57: [
        test_two_plugins_that_claim_a_model_are_a_conflict_with_one_choice,
        test_a_users_pin_decides_a_conflict_and_is_kept,
    ],
    68: [test_a_class_loads_in_another_process_from_a_plan_that_was_pickled],
    69: [
        test_nobody_sees_a_plugin_whose_import_is_not_finished,
        test_a_late_import_in_two_threads_waits_for_the_whole_module,
    ],
}
