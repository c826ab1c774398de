"""Edits become reloads, with inotify and with watchfiles: what runs at the end is the last save."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import PluginManager, PluginStatus
from drivebay._core.loader.watch import InotifyWatch, WatchfilesWatch

Found = Callable[..., PluginManager]
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares both Linux backends")


@pytest.fixture(params=[InotifyWatch, WatchfilesWatch], ids=["inotify", "watchfiles"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with each of the two ways of watching folders."""
    if request.param is WatchfilesWatch:
        pytest.importorskip("watchfiles", reason="needed only where there is no inotify")
    monkeypatch.setattr("drivebay._core.manager.watcher.folder_watch", request.param)


def by_writing(path: Path, text: str) -> None:
    path.write_text(text)


def by_replacing(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text)
    os.replace(path.with_suffix(".tmp"), path)


def by_deleting_first(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def by_linking(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text)
    path.unlink()
    os.link(path.with_suffix(".tmp"), path)
    path.with_suffix(".tmp").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "save", [by_writing, by_replacing, by_deleting_first, by_linking], ids=lambda f: f.__name__
)
@pytest.mark.usefixtures("backend")
def test_after_forty_saves_at_full_speed_the_last_one_runs(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    heard: Any,
    measured: Any,
    save: Callable[[Path, str], None],
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(100))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    events = heard(manager)

    with manager.watch():
        for value in range(101, 141):
            save(folder / "driver.py", driver_text(value))
        events.until(lambda: measured(manager) == 140 and not manager.plugins["acme"].degraded)

    assert measured(manager) == 140


@pytest.mark.usefixtures("backend")
def test_a_broken_edit_keeps_the_old_code_and_says_so_loudly(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    heard: Any,
    measured: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("old"))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    events = heard(manager)

    with manager.watch():
        by_replacing(folder / "driver.py", "def broken(:\n")
        events.until(lambda: "reload_failed" in events.kinds())
        info = manager.plugins["acme"]
        assert (info.status, info.degraded) == (PluginStatus.LOADED, True)
        assert measured(manager) == "old"
        assert manager.find_driver_for_model("Model 1") == "acme"

        by_replacing(folder / "driver.py", driver_text("new"))
        events.until(lambda: measured(manager) == "new")

    info = manager.plugins["acme"]
    assert (info.degraded, info.error_message) == (False, None)
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert any("Failed to reload plugin 'acme'; generation" in text for text in errors)


@pytest.mark.usefixtures("backend")
def test_taking_a_broken_edit_back_ends_the_degraded_state(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("old"))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    generation = manager.plugins["acme"].generation
    events = heard(manager)

    with manager.watch():
        by_replacing(folder / "driver.py", "raise ValueError\n")
        events.until(lambda: manager.plugins["acme"].degraded)
        by_replacing(folder / "driver.py", driver_text("old"))
        events.until(lambda: not manager.plugins["acme"].degraded)

    assert manager.plugins["acme"].generation == generation


@pytest.mark.usefixtures("backend")
def test_new_plugins_appear_and_deleted_ones_leave(
    tmp_path: Path, write_plugin: Any, found: Found, heard: Any
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    events = heard(manager)

    with manager.watch():
        for number in range(5):
            write_plugin(tmp_path / "shelf" / "deeper", f"new_{number}")
        events.until(lambda: len(manager.plugins) == 6)
        shutil.rmtree(tmp_path / "acme")
        events.until(lambda: "acme" not in manager.plugins)

    assert sorted(manager.plugins) == [f"new_{number}" for number in range(5)]


@pytest.mark.usefixtures("backend")
def test_a_manifest_that_is_written_long_after_its_folder_is_seen(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any, measured: Any
) -> None:
    folder = write_plugin(tmp_path / "root", "acme", driver_source=driver_text(1))
    late = write_plugin(tmp_path, "late")
    manager = found(tmp_path / "root")
    manager.load_plugin("acme")
    events = heard(manager)

    with manager.watch():
        (tmp_path / "root" / "late").mkdir()
        # Once this edit is live, the one before it was taken note of as well.
        by_replacing(folder / "driver.py", driver_text(2))
        events.until(lambda: measured(manager) == 2)
        shutil.copy(late / "driver.py", tmp_path / "root" / "late")
        shutil.copy(late / "plugin.yaml", tmp_path / "root" / "late")
        events.until(lambda: "late" in manager.plugins)


@pytest.mark.usefixtures("backend")
def test_an_edited_manifest_is_taken_over_with_its_code(
    tmp_path: Path, write_plugin: Any, found: Found, heard: Any
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    first = manager.plugins["acme"].generation
    events = heard(manager)

    with manager.watch():
        write_plugin(tmp_path, "acme", version="2.0", supported_models=["Model 2"])
        events.until(lambda: manager.find_driver_for_model("Model 2") == "acme")
        events.until(lambda: manager.plugins["acme"].generation != first)

    assert manager.plugins["acme"].metadata.version == "2.0"
    assert manager.find_driver_for_model("Model 1") is None


def test_an_edit_of_a_module_in_the_root_folder_reaches_its_plugin(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any, measured: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_class="keithley.Driver")
    (folder / "driver.py").unlink()
    (tmp_path / "keithley.py").write_text(driver_text("old"))
    manager = found(tmp_path)
    assert manager.load_plugin("acme")
    events = heard(manager)

    with manager.watch():
        (tmp_path / "keithley.py").write_text(driver_text("new"))
        events.until(lambda: measured(manager) == "new")


def test_a_plugin_that_never_loaded_is_tried_again_when_any_of_its_files_is_mended(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any
) -> None:
    before = "from pkg.deep.part import X\n"
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(before=before))
    (folder / "pkg" / "deep").mkdir(parents=True)
    (folder / "pkg" / "deep" / "part.py").write_text("X = 1 / 0\n")
    manager = found(tmp_path)
    assert not manager.load_plugin("acme")
    events = heard(manager)

    with manager.watch():
        (folder / "pkg" / "deep" / "part.py").write_text("X = 1\n")
        events.until(lambda: manager.plugins["acme"].status is PluginStatus.LOADED)


def test_a_package_added_after_the_edit_that_needs_it_mends_the_plugin(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any, measured: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    events = heard(manager)

    with manager.watch():
        (folder / "driver.py").write_text(driver_text(2, before="import parts.late\n"))
        events.until(lambda: manager.plugins["acme"].degraded)
        (folder / "parts").mkdir()
        (folder / "parts" / "late.py").write_text("")
        events.until(lambda: measured(manager) == 2)


def test_an_edit_of_a_used_plugin_reloads_those_that_use_it(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any, measured: Any
) -> None:
    base = write_plugin(tmp_path, "base", driver_source=driver_text("old"))
    child = "from base.driver import Driver as Base\nclass Driver(Base):\n    pass\n"
    write_plugin(tmp_path, "child", uses=["base"], driver_source=child)
    manager = found(tmp_path)
    manager.load_all_plugins()
    events = heard(manager)

    with manager.watch():
        (base / "driver.py").write_text(driver_text("new"))
        events.until(lambda: measured(manager, "child") == "new")


def test_a_new_decorated_class_is_found_as_it_is_saved(
    tmp_path: Path, driver_text: Any, found: Found, heard: Any
) -> None:
    manager = found(tmp_path)
    events = heard(manager)
    claim = "@driver_plugin('lockin', '1.0', 'Lab', 'd', ['answer'], ['SR830'])\nclass Driver"
    text = driver_text(before="from drivebay import driver_plugin\n").replace("class Driver", claim)

    with manager.watch():
        (tmp_path / "lockin.py").write_text(text)
        events.until(lambda: manager.find_driver_for_model("SR830") == "lockin")


def test_a_folder_that_takes_the_place_of_another_is_watched(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any, measured: Any
) -> None:
    folder = write_plugin(tmp_path / "root", "acme", driver_source=driver_text(1))
    new = write_plugin(tmp_path / "staging", "acme", driver_source=driver_text(2))
    manager = found(tmp_path / "root")
    manager.load_plugin("acme")
    events = heard(manager)

    def runs(value: int) -> bool:
        if "acme" not in manager.plugins:
            return False
        return manager.load_plugin("acme") and measured(manager) == value

    with manager.watch():
        folder.rename(tmp_path / "retired")
        new.rename(folder)
        (folder / "driver.py").write_text(driver_text(3))
        events.until(lambda: runs(3))


@pytest.mark.usefixtures("backend")
def test_a_lost_event_leads_to_a_look_at_everything(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, measured: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("old"))
    manager = found(tmp_path)
    manager.load_plugin("acme")

    with manager.watch() as watcher:
        watcher._watch.cover(())
        (folder / "driver.py").write_text(driver_text("new"))
        write_plugin(tmp_path, "another")
        watcher._changed((), True)

    assert measured(manager) == "new"
    assert "another" in manager.plugins


@pytest.mark.slow
def test_when_the_kernels_queue_overflows_no_edit_is_lost(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any, measured: Any
) -> None:
    room = int(QUEUE.read_text())
    if room > 70_000:
        pytest.skip(f"the queue of this system holds {room} events; filling it takes too long")
    one = write_plugin(tmp_path, "one", driver_source=driver_text("old"))
    two = write_plugin(tmp_path, "two", driver_source=driver_text("old"))
    manager = found(tmp_path)
    manager.load_all_plugins()
    events = heard(manager)
    busy, go_on = threading.Event(), threading.Event()
    overflows: list[bool] = []

    def hold(event: Any) -> None:
        if event.plugin == "one":
            busy.set()
            assert go_on.wait(60)

    with manager.watch() as watcher:
        changed = watcher._watch._on_change
        watcher._watch._on_change = lambda paths, anything: (  # type: ignore[attr-defined]
            overflows.append(anything),
            changed(paths, anything),
        )
        manager.subscribe(hold)
        (one / "driver.py").write_text(driver_text("new"))
        assert busy.wait(60)
        here, there = tmp_path / "a.txt", tmp_path / "b.txt"
        here.write_text("")
        for _ in range(room // 2 + 10):  # two events a round
            os.rename(here, there)
            here, there = there, here
        (two / "driver.py").write_text(driver_text("the edit whose event is lost"))
        go_on.set()
        events.until(lambda: measured(manager, "two") == "the edit whose event is lost")

    assert any(overflows)


def test_a_watch_that_is_stopped_stays_stopped(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, measured: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    watcher = manager.watch()

    watcher.stop()
    watcher.stop()
    (folder / "driver.py").write_text(driver_text(2))

    assert not [t for t in threading.enumerate() if t.name == "drivebay-watch"]
    assert measured(manager) == 1


@pytest.mark.usefixtures("backend")
def test_a_watch_can_be_stopped_from_the_event_it_caused(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    stopped = threading.Event()
    watcher = manager.watch()
    thread = watcher._watch._thread  # type: ignore[attr-defined]

    def stop(event: Any) -> None:
        watcher.stop()
        stopped.set()

    manager.subscribe(stop)
    (folder / "driver.py").write_text(driver_text(2))

    assert stopped.wait(60)
    thread.join(60)
    assert not thread.is_alive()


def test_a_watch_outlives_what_goes_wrong_while_it_looks(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    heard: Any,
    measured: Any,
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    events = heard(manager)
    with manager.watch():
        for code in ("import sys; sys.exit(9)\n", "raise BaseException\n", "\0", "é = \\"):
            count = len(events.events)
            (folder / "driver.py").write_text(code)
            events.until(lambda count=count: len(events.events) > count)
        (folder / "driver.py").write_text(driver_text(2))
        events.until(lambda: measured(manager) == 2)


def test_control_without_a_watch_an_edit_goes_unnoticed(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, measured: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text("old"))
    manager = found(tmp_path)
    manager.load_plugin("acme")

    (folder / "driver.py").write_text(driver_text("new"))

    assert measured(manager) == "old"
