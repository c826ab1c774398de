"""Generations: each its own namespace, alive as long as its objects, gone from everywhere after."""

from __future__ import annotations

import gc
import importlib
import inspect
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import LoadError, PluginManager
from drivebay._core.loader import NAMESPACE, LoadPlan, folders_of, hash_of, stage_generation
from drivebay._core.loader.generation import MAX_FILES, _Finder
from drivebay._core.manager import plan_for

Found = Callable[..., PluginManager]


def plugin_modules(name: str) -> list[str]:
    return [key for key in sys.modules if key.startswith(f"{NAMESPACE}.{name}.")]


def test_a_hundred_reloads_leave_one_generation_in_memory_and_in_sys_modules(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text(before="import sibling\n")
    folder = write_plugin(tmp_path, "collected", driver_source=source)
    (folder / "sibling.py").write_text("class Part: pass\n")
    manager = found(tmp_path)
    manager.load_plugin("collected")
    classes: list[weakref.ref[type]] = []

    for _ in range(100):
        cls = manager.plugins["collected"].driver_class
        assert cls is not None
        classes.append(weakref.ref(cls))
        del cls
        assert manager.reload_plugin("collected")
    gc.collect()

    assert [ref for ref in classes if ref() is not None] == []
    packages = {name.split(".")[2] for name in plugin_modules("collected")}
    assert packages == {f"g{manager.plugins['collected'].generation}"}
    parent = vars(sys.modules[f"{NAMESPACE}.collected"])
    assert [name for name in parent if name.startswith("g") and name[1:].isdigit()] == [*packages]


def test_control_an_old_class_lives_while_an_instance_of_it_does(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "held")
    manager = found(tmp_path)
    manager.load_plugin("held")
    driver = manager.get_driver("held", "SIM::1")
    old = weakref.ref(type(driver))

    manager.reload_plugin("held")
    gc.collect()
    alive = old() is not None
    del driver
    gc.collect()

    assert alive
    assert old() is None


def test_unloading_and_dropping_a_manager_empty_sys_modules(
    tmp_path: Path, write_plugin: Any
) -> None:
    for name in ("unloaded", "dropped"):
        write_plugin(tmp_path, name)
    manager = PluginManager([tmp_path])
    manager.discover_plugins()
    manager.load_all_plugins()
    assert plugin_modules("unloaded")

    manager.unload_plugin("unloaded")
    assert plugin_modules("unloaded") == []
    assert plugin_modules("dropped")
    del manager
    gc.collect()

    assert plugin_modules("dropped") == []


def test_a_late_import_in_an_old_generation_finds_the_files_it_was_made_of(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text().replace(
        'return {"answer": self.VALUE}',
        "import late, pkg.part\n        from . import late as again\n"
        "        from .pkg import part\n"
        '        return {"answer": [late.X, pkg.part.X, again is late, part is pkg.part]}',
    )
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    (folder / "pkg").mkdir()
    for file in ("late.py", "pkg/part.py"):
        (folder / file).write_text("X = 'old'\n")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    old = manager.get_driver("acme", "SIM::1")

    for file in ("late.py", "pkg/part.py"):
        (folder / file).write_text("X = 'new'\n")
    assert manager.reload_plugin("acme")
    new = manager.get_driver("acme", "SIM::1")
    (folder / "late.py").unlink()

    assert old.measure("answer", {})["answer"] == ["old", "old", True, True]
    assert new.measure("answer", {})["answer"] == ["new", "new", True, True]
    assert old.measure("answer", {})["answer"] == ["old", "old", True, True]
    assert {name.split(".")[2] for name in plugin_modules("acme")} == {
        f"g{manager.plugins['acme'].generation}"
    }


def test_late_imports_of_many_threads_in_a_retired_generation_all_succeed(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text().replace(
        'return {"answer": self.VALUE}',
        "names = params['names']\n"
        '        return {"answer": [__import__(name).X for name in names]}',
    )
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    names = [f"late_{number}" for number in range(25)]
    for name in names:
        (folder / f"{name}.py").write_text(f"from . import driver\nX = {name!r}\n")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    old = manager.get_driver("acme", "SIM::1")
    manager.reload_plugin("acme")
    start = threading.Barrier(8)
    results: list[Any] = []

    def use(turned: int) -> None:
        order = names[turned:] + names[:turned]
        start.wait()
        for _ in range(5):
            try:
                results.append(old.measure("answer", {"names": order})["answer"] == order)
            except Exception as exc:  # noqa: BLE001 - the assertion below shows it
                results.append(exc)

    threads = [threading.Thread(target=use, args=(number * 3,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True] * 40
    current = f"g{manager.plugins['acme'].generation}"
    assert {name.split(".")[2] for name in plugin_modules("acme")} == {current}


def test_names_left_by_importlib_in_a_retired_generation_go_with_the_next_one(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text(before="import importlib\n").replace(
        "self.VALUE", "importlib.import_module('.late', __package__).X"
    )
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    (folder / "late.py").write_text("X = 1\n")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    old = manager.get_driver("acme", "SIM::1")
    manager.reload_plugin("acme")

    assert old.measure("answer", {}) == {"answer": 1}
    manager.reload_plugin("acme")

    current = f"g{manager.plugins['acme'].generation}"
    assert {name.split(".")[2] for name in plugin_modules("acme")} == {current}


def calls_of(name: str, action: Callable[[], object]) -> int:
    """Count the calls of a built-in method during an action."""
    count = 0

    def profile(frame: Any, event: str, called: Any) -> None:
        nonlocal count
        count += event == "c_call" and called.__name__ == name

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def test_an_import_in_a_retired_generation_does_not_look_through_all_that_is_imported(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = driver_text().replace("self.VALUE", "__import__('late').X")
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    (folder / "late.py").write_text("X = 1\n")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    old = manager.get_driver("acme", "SIM::1")
    manager.reload_plugin("acme")
    for number in range(3000):
        monkeypatch.setitem(sys.modules, f"imported_{number}", sys)

    late = calls_of("startswith", lambda: old.measure("answer", {}))
    retiring = calls_of("startswith", lambda: manager.unload_plugin("acme"))

    assert late < 100
    assert plugin_modules("acme") == []
    # Control: the one look through everything, when a generation retires, is counted.
    assert retiring > 3000


def test_a_name_that_a_plugin_put_into_sys_modules_by_hand_goes_with_its_generation(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    by_hand = "import sys, types\nsys.modules[__name__ + '.made'] = types.ModuleType('made')\n"
    write_plugin(tmp_path, "acme", driver_source=driver_text(before=by_hand))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    while_loaded = [name for name in plugin_modules("acme") if name.endswith(".made")]

    manager.unload_plugin("acme")

    assert len(while_loaded) == 1
    assert plugin_modules("acme") == []


def test_a_generation_is_retired_while_other_threads_stage_theirs(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    """At every step of the one thread the other is one stage further."""
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    staged: list[Any] = []

    def trace(frame: Any, event: str, _: Any) -> Any:
        if event == "line" and frame.f_code.co_filename.endswith(("generation.py", "weakref.py")):
            staged.append(type("Staged", (), {"retired": False})())
            _Finder.stages[f"elsewhere.{len(staged)}"] = staged[-1]
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        unloaded = manager.unload_plugin("acme")
    finally:
        sys.settrace(before)

    assert unloaded
    assert len(staged) > 3
    assert plugin_modules("acme") == []


def test_tracebacks_and_inspection_show_the_source_that_runs(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("first"))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    cls = manager.plugins["acme"].driver_class
    assert cls is not None

    (folder / "driver.py").write_text("# rewritten\n")

    module = inspect.getmodule(cls)
    assert module is not None
    assert module.__file__ == str(folder / "driver.py")
    assert "'first'" in module.__loader__.get_source(module.__name__)  # type: ignore[union-attr]


def test_a_loaded_class_can_be_pickled_by_its_name(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    cls = manager.plugins["acme"].driver_class

    assert pickle.loads(pickle.dumps(cls)) is cls


def test_a_plan_with_a_hash_refuses_any_other_files(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    record = manager.snapshot.catalog.records["acme"]
    plan = plan_for(record)
    fixed = pickle.loads(
        pickle.dumps(
            LoadPlan(**{**{f: getattr(plan, f) for f in plan.__slots__}, "sha256": hash_of(plan)})
        )
    )

    assert stage_generation(fixed, record.metadata).sha256 == fixed.sha256
    (folder / "notes.py").write_text("")
    with pytest.raises(LoadError, match="files hash to"):
        stage_generation(fixed, record.metadata)


def test_the_hash_covers_names_and_every_python_file_and_the_manifest(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme")
    plan = plan_for(found(tmp_path).snapshot.catalog.records["acme"])
    hashes = [hash_of(plan)]

    (folder / "extra.py").write_text("X = 1\n")
    hashes.append(hash_of(plan))
    (folder / "extra.py").rename(folder / "other.py")
    hashes.append(hash_of(plan))
    (folder / "plugin.yaml").write_text((folder / "plugin.yaml").read_text() + "# note\n")
    hashes.append(hash_of(plan))
    (folder / "data.txt").write_text("not code")

    assert len(set(hashes)) == 4
    assert hash_of(plan) == hashes[-1]


def test_the_folders_of_a_plan_are_those_a_load_looks_at(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme")
    for below in ("pkg/deep", "empty", ".git/x", "node_modules/x"):
        (folder / below).mkdir(parents=True)
    plan = plan_for(found(tmp_path).snapshot.catalog.records["acme"])

    assert folders_of(plan) == {
        str(folder / below) if below else str(folder) for below in ("", "pkg", "pkg/deep", "empty")
    }
    (folder / "driver.py").unlink()
    assert folders_of(plan) == {str(folder)}


def test_a_folder_with_too_many_files_is_refused_with_the_limit(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme")
    for number in range(MAX_FILES):
        (folder / f"m{number}.py").touch()
    manager = found(tmp_path)

    assert not manager.load_plugin("acme")
    assert f"{MAX_FILES:,} files" in (manager.plugins["acme"].error_message or "")


def test_the_finder_answers_for_its_namespace_and_nothing_else(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    assert found(tmp_path).load_plugin("acme")

    assert sum(isinstance(finder, _Finder) for finder in sys.meta_path) == 1
    assert _Finder().find_spec("json") is None
    assert _Finder().find_spec(f"{NAMESPACE}.acme.g999999.driver") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{NAMESPACE}.acme.g999999")
    importlib.invalidate_caches()


def test_the_standard_library_is_the_hosts_and_an_alias_is_the_plugins_own(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, measured: Any
) -> None:
    before = "import os.path, collections.abc\nfrom vendor.tools import X\nimport vendor.tools\n"
    source = driver_text(before=before).replace("self.VALUE", "[X, vendor.tools.X, os.sep]")
    folder = write_plugin(tmp_path, "vendor", driver_source=source)
    (folder / "tools.py").write_text("X = 3\n")
    manager = found(tmp_path)

    assert manager.load_plugin("vendor"), manager.plugins["vendor"].error_message
    assert measured(manager, "vendor") == [3, 3, "/"]
    assert "vendor" not in sys.modules
