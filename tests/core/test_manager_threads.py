"""Threads and the manager: readers never wait or miss, loads run once, nobody locks out another."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import PluginManager, PluginNotFoundError, PluginStatus

Found = Callable[..., PluginManager]


def together(*jobs: Callable[[], object]) -> list[object]:
    """Run jobs in threads that start at once; return what they returned or raised, in order."""
    start = threading.Barrier(len(jobs))
    results: list[object] = [None] * len(jobs)

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = jobs[number]()
        except Exception as exc:  # noqa: BLE001 - the test compares it with what was expected
            results[number] = exc

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive(), "threads wait for each other"
    return results


@pytest.mark.slow
def test_readers_never_miss_a_plugin_during_two_hundred_reloads(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(0))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    done = threading.Event()

    def read() -> int:
        looks = last = 0
        # Readers that spin take the interpreter lock from the one whose work they watch.
        while not done.wait(0.001):
            assert manager.find_driver_for_model("Model 1") == "acme"
            assert manager.find_drivers_for_method("answer") == ["acme"]
            info = manager.plugins["acme"]
            assert info.driver_class is not None
            assert info.status is PluginStatus.LOADED
            value = manager.get_driver("acme", "SIM::1").measure("answer", {})["answer"]
            assert value >= last
            last = value
            looks += 1
        return looks

    def reload() -> int:
        try:
            for value in range(1, 201):
                (folder / "driver.py").write_text(driver_text(value))
                assert manager.reload_plugin("acme")
        finally:
            done.set()
        return 1

    results = together(*[read] * 8, reload)

    assert [result for result in results if not isinstance(result, int)] == []
    assert all(isinstance(result, int) and result > 0 for result in results)


def test_threads_in_a_circle_of_plugins_are_told_and_do_not_wait_for_each_other(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    names = ["one", "two", "three"]
    for name, used in zip(names, ["two", "three", "one"], strict=True):
        write_plugin(tmp_path, name, uses=[used])
    manager = found(tmp_path)

    for _ in range(20):
        results = together(*[lambda name=name: manager.load_plugin(name) for name in names])
        assert results == [False] * 3
    for name in names:
        assert "circle" in (manager.plugins[name].error_message or "")


def test_a_shared_base_is_loaded_once_by_all_that_use_it(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: Any
) -> None:
    write_plugin(
        tmp_path, "base", driver_source=driver_text(before="import hook; hook.seen.append(1)\n")
    )
    names = [f"child_{number}" for number in range(6)]
    source = "from base.driver import Driver as Base\nclass Driver(Base):\n    pass\n"
    for name in names:
        write_plugin(tmp_path, name, uses=["base"], driver_source=source)
    manager = found(tmp_path)

    results = together(*[lambda name=name: manager.load_plugin(name) for name in names])

    assert results == [True] * 6
    assert hook.seen == [1]


def test_a_plugin_removed_while_it_is_imported_is_not_put_in_service(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: Any
) -> None:
    folder = write_plugin(
        tmp_path, "gone", driver_source=driver_text(before="import hook; hook.remove()\n")
    )
    manager = found(tmp_path)

    def remove() -> None:
        (folder / "plugin.yaml").unlink()
        manager.discover_plugins()

    hook.remove = remove

    assert manager.load_plugin("gone") is False
    assert "gone" not in manager.plugins
    with pytest.raises(PluginNotFoundError):
        manager.require("gone")


def test_a_plugin_that_loads_itself_while_it_is_imported_is_told_and_goes_on(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    hook: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_plugin(tmp_path, "acme", driver_source=driver_text(before="import hook; hook.load()\n"))
    manager = found(tmp_path)
    hook.load = lambda: hook.seen.append(manager.load_plugin("acme"))

    assert manager.load_plugin("acme") is True

    assert hook.seen == [False]
    assert "its code loads itself while it is imported" in caplog.text


def test_a_constructor_that_fails_during_a_reload_does_not_bring_the_old_class_back(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: Any, measured: Any
) -> None:
    source = driver_text("old").replace("self.resource_name,", "__import__('hook').fail(); self.x,")
    folder = write_plugin(tmp_path, "acme", driver_source=source)
    manager = found(tmp_path)
    manager.load_plugin("acme")

    def fail() -> None:
        (folder / "driver.py").write_text(driver_text("new"))
        assert manager.reload_plugin("acme")
        raise OSError("no such port")

    hook.fail = fail
    with pytest.raises(RuntimeError, match="no such port"):
        manager.get_driver("acme", "SIM::1")

    assert measured(manager) == "new"


def test_discoveries_loads_and_state_changes_at_once_end_in_a_whole_snapshot(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    names = [f"plugin_{number}" for number in range(5)]
    for name in names:
        write_plugin(tmp_path, name)
    manager = found(tmp_path)

    def cycle(name: str) -> bool:
        for _ in range(6):
            assert manager.load_plugin(name)
            with manager.get_driver(name, "SIM::1"):
                pass
            assert manager.reload_plugin(name)
            assert manager.unload_plugin(name)
            assert manager.disable_plugin(name)
            assert manager.enable_plugin(name)
        return manager.load_plugin(name)

    def look() -> bool:
        for number in range(30):
            write_plugin(tmp_path, "changing", version=f"1.{number}")
            manager.discover_plugins()
        return True

    results = together(*[lambda name=name: cycle(name) for name in names], look, look)

    assert results == [True] * 7
    assert all(manager.plugins[name].status is PluginStatus.LOADED for name in names)
    assert manager.plugins["changing"].metadata.version == "1.29"


def test_instances_that_the_collector_ends_never_lock_up_the_manager(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:

        def make() -> bool:
            for _ in range(60):
                driver: Any = manager.get_driver("acme", "SIM::1")
                driver.itself = driver
                driver.connect()
            return True

        results = together(make, make, make)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()

    assert results == [True] * 3
    assert manager.plugins["acme"].status is PluginStatus.LOADED
