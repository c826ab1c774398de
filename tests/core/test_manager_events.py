"""Events: in order, once, with nothing locked, whatever their subscribers do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import PluginManager
from drivebay._core.manager import PluginEvent

Found = Callable[..., PluginManager]


def elsewhere(job: Callable[[], object]) -> None:
    """Do a job on another thread and wait for it; a job that waits for the caller fails."""
    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for the subscriber that waits for it"


def subscribe(manager: PluginManager, kind: str, job: Callable[[], object]) -> list[object]:
    """At the first event of a kind do a job; return what went wrong, or "done"."""
    outcome: list[object] = []

    def heard(event: PluginEvent) -> None:
        if event.kind == kind and not outcome:
            outcome.append("begun")
            try:
                job()
            except BaseException as exc:
                outcome[:] = [exc]
                raise
            outcome[:] = ["done"]

    manager.subscribe(heard)
    return outcome


JOBS: dict[str, Callable[[PluginManager], object]] = {
    "loads it": lambda manager: manager.load_plugin("acme"),
    "reloads it": lambda manager: manager.reload_plugin("acme"),
    "unloads it": lambda manager: manager.unload_plugin("acme"),
    "disables it": lambda manager: manager.disable_plugin("acme"),
    "looks for plugins": lambda manager: manager.discover_plugins(),
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("kind", ["loaded", "reloaded", "unloaded", "disabled", "load_failed"])
def test_a_subscriber_may_wait_for_a_thread_that_works_on_the_same_plugin(
    tmp_path: Path, write_plugin: Any, found: Found, job: str, kind: str
) -> None:
    folder = write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    if kind == "load_failed":
        (folder / "driver.py").write_text("raise ValueError\n")
    outcome = subscribe(manager, kind, lambda: elsewhere(lambda: JOBS[job](manager)))

    manager.load_plugin("acme")
    manager.reload_plugin("acme")
    manager.unload_plugin("acme")
    manager.disable_plugin("acme")

    assert outcome == ["done"]


def test_a_subscriber_may_wait_for_a_thread_that_stops_the_watch_it_is_called_by(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, heard: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    watcher = manager.watch()
    outcome = subscribe(manager, "reloaded", lambda: elsewhere(watcher.stop))
    events = heard(manager)

    (folder / "driver.py").write_text(driver_text(2))
    events.until(lambda: "reloaded" in events.kinds())

    assert outcome == ["done"]


def test_a_subscriber_may_stop_a_watch_that_wants_the_plugin_whose_event_it_is(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    watcher = manager.watch()

    def edit_and_stop() -> None:
        (folder / "driver.py").write_text(driver_text(2))
        elsewhere(watcher.stop)

    outcome = subscribe(manager, "unloaded", edit_and_stop)
    manager.unload_plugin("acme")

    assert outcome == ["done"]


def test_control_a_stop_waits_for_a_reload_that_is_running(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", driver_source=driver_text(1))
    manager = found(tmp_path)
    manager.load_plugin("acme")
    hook.begun, hook.go_on = threading.Event(), threading.Event()
    watcher = manager.watch()
    slow = "import hook\nhook.begun.set()\nassert hook.go_on.wait(60)\nhook.seen.append('ran')\n"

    (folder / "driver.py").write_text(driver_text(2, before=slow))
    assert hook.begun.wait(60)
    stopping = threading.Thread(target=lambda: (watcher.stop(), hook.seen.append("stopped")))
    stopping.start()
    while watcher._running:
        os.sched_yield()
    hook.go_on.set()
    stopping.join(60)

    assert hook.seen == ["ran", "stopped"]


def test_what_a_subscriber_causes_is_told_after_what_it_was_told_of(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    subscribe(manager, "loaded", lambda: manager.reload_plugin("acme"))
    kinds: list[str] = []
    manager.subscribe(lambda event: kinds.append(event.kind))

    manager.load_plugin("acme")
    manager.unload_plugin("acme")

    assert kinds == ["loaded", "reloaded", "unloaded"]


def test_events_of_many_threads_come_in_the_order_of_what_happened_and_none_is_lost(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    names = [f"plugin_{number}" for number in range(4)]
    for name in names:
        write_plugin(tmp_path, name)
    manager = found(tmp_path)
    events: list[PluginEvent] = []
    manager.subscribe(events.append)

    def cycle(name: str) -> None:
        for _ in range(10):
            manager.load_plugin(name)
            manager.unload_plugin(name)

    threads = [threading.Thread(target=cycle, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()

    epochs = [event.epoch for event in events]
    assert epochs == sorted(epochs)
    for name in names:
        kinds = [event.kind for event in events if event.plugin == name]
        assert kinds == ["loaded", "unloaded"] * 10


def test_a_subscriber_that_raises_is_logged_and_the_others_are_told(
    tmp_path: Path, write_plugin: Any, found: Found, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.subscribe(lambda event: 1 / 0)  # type: ignore[arg-type, return-value]
    kinds: list[str] = []
    end = manager.subscribe(lambda event: kinds.append(event.kind))

    manager.load_plugin("acme")
    end()
    manager.unload_plugin("acme")

    assert kinds == ["loaded"]
    assert "a subscriber failed" in caplog.text
