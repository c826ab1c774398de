"""Defects 5e of the original platform that hold by now (rows 74-77, 80, 81): use of a driver."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import (
    DriverError,
    InstrumentDriver,
    LinkError,
    LinkOpenError,
    LoadError,
    PluginManager,
    PluginNotFoundError,
    PluginStatus,
)
from drivebay._core.manager import PluginEvent
from drivebay.driver import CONTRACT_VERSION, Resumable, ScpiDriver, Streaming

Found = Callable[..., PluginManager]


def loaded(found: Found, write_plugin: Any, folder: Path, source: str) -> PluginManager:
    write_plugin(folder, "acme", driver_source=source)
    manager = found(folder)
    assert manager.load_plugin("acme"), manager.plugins["acme"].error_message
    return manager


@pytest.mark.parametrize("code", ["raise OSError('no such port')", "raise SystemExit(2)"])
def test_a_constructor_that_fails_names_plugin_resource_and_line(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, code: str
) -> None:
    source = driver_text().replace("self.resource_name,", f"{code}; self.resource_name,")
    manager = loaded(found, write_plugin, tmp_path, source)
    events: list[str] = []
    manager.subscribe(lambda event: events.append(event.kind))

    with pytest.raises(DriverError) as caught:
        manager.get_driver("acme", "GPIB0::24::INSTR")

    error = caught.value
    assert (error.plugin, error.resource) == ("acme", "GPIB0::24::INSTR")
    assert str(error).startswith("acme on GPIB0::24::INSTR: ")
    assert "driver.py:8 in __init__" in str(error)
    assert error.__cause__ is not None
    info = manager.plugins["acme"]
    assert info.error_message == str(error)
    assert "__init__" in (info.traceback or "")
    assert events == ["driver_failed"]


@pytest.mark.parametrize("returned", ["False", "None"])
def test_the_body_of_with_does_not_run_when_connect_fails(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, returned: str
) -> None:
    source = driver_text().replace(
        "connect(self): return True", f"connect(self): return {returned}", 1
    )
    manager = loaded(found, write_plugin, tmp_path, source)
    ran = []

    with (
        pytest.raises(LinkOpenError, match=f"returned {returned}"),
        manager.get_driver("acme", "SIM::1"),
    ):
        ran.append(True)

    assert ran == []
    assert manager.plugins["acme"].status is PluginStatus.LOADED


CALLS = """
import hook


class Noting(Driver):
    def connect(self):
        hook.seen.append("connect")
        return True

    def abort(self):
        hook.seen.append("abort")
        hook.fail("abort")

    def disconnect(self):
        hook.seen.append("disconnect")
        hook.fail("disconnect")
        return True


Driver = Noting
"""


def test_a_body_that_raises_aborts_then_disconnects_and_keeps_every_error(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: Any
) -> None:
    def fail(step: str) -> None:
        raise OSError(f"{step} went wrong")

    hook.fail = fail
    manager = loaded(found, write_plugin, tmp_path, driver_text() + CALLS)

    with (
        pytest.raises(ZeroDivisionError) as caught,
        manager.get_driver("acme", "SIM::1"),
    ):
        _ = 1 / 0

    assert hook.seen == ["connect", "abort", "disconnect"]
    notes = "\n".join(caught.value.__notes__)
    assert "abort() raised OSError: abort went wrong" in notes
    assert "disconnect() raised OSError: disconnect went wrong" in notes


def test_a_body_that_is_fine_only_disconnects(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: Any
) -> None:
    hook.fail = lambda step: None
    manager = loaded(found, write_plugin, tmp_path, driver_text() + CALLS)

    with manager.get_driver("acme", "SIM::1"):
        pass

    assert hook.seen == ["connect", "disconnect"]


def test_a_disconnect_that_returns_false_is_an_error_after_a_good_body(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    source = driver_text().replace(
        "disconnect(self): return True", "disconnect(self): return False"
    )
    manager = loaded(found, write_plugin, tmp_path, source)

    with pytest.raises(LinkError, match="returned False"), manager.get_driver("acme", "SIM::1"):
        pass


def test_a_driver_whose_capabilities_cannot_be_asked_still_connects(
    tmp_path: Path,
    write_plugin: Any,
    driver_text: Any,
    found: Found,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = driver_text().replace('return ["answer"]', 'raise OSError("busy")')
    manager = loaded(found, write_plugin, tmp_path, source)

    with manager.get_driver("acme", "SIM::1"):
        assert manager.plugins["acme"].status is PluginStatus.ACTIVE

    assert "get_capabilities() raised OSError: busy" in caplog.text


def test_the_old_calls_return_bool_with_the_reason_kept_and_the_new_one_raises(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme", driver_source="raise ValueError('the reason')\n")
    manager = found(tmp_path)

    assert manager.load_plugin("acme") is False
    assert manager.reload_plugin("acme") is False
    assert "ValueError: the reason" in (manager.plugins["acme"].error_message or "")
    with pytest.raises(LoadError, match="ValueError: the reason"):
        manager.require("acme")
    with pytest.raises(PluginNotFoundError):
        manager.require("nobody")


def test_capabilities_are_known_from_the_class_and_the_manifest_without_an_instance(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    source = (
        "from drivebay.driver import ScpiDriver, method\n"
        "class Driver(ScpiDriver):\n"
        "    def __init__(self, *_): raise RuntimeError('needs hardware')\n"
        "    @method('answer')\n"
        "    def answer(self, p): yield {'x': [1.0]}\n"
    )
    write_plugin(tmp_path, "acme", driver_source=source)
    manager = found(tmp_path)
    assert manager.find_drivers_for_method("answer") == ["acme"]
    assert manager.load_plugin("acme"), manager.plugins["acme"].error_message

    cls = manager.plugins["acme"].driver_class

    assert cls is not None
    assert issubclass(cls, ScpiDriver)
    assert cls.supported_methods() == ("answer",)


def test_what_came_after_the_original_contract_is_optional(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    manager = loaded(found, write_plugin, tmp_path, driver_text())
    driver = manager.get_driver("acme", "SIM::1")

    assert len(InstrumentDriver.__abstractmethods__) == 10
    assert CONTRACT_VERSION.startswith("1.")
    assert not isinstance(driver, Streaming)
    assert not isinstance(driver, Resumable)
    for protocol in (Streaming, Resumable):
        assert not inspect.isabstract(protocol) or not issubclass(InstrumentDriver, protocol)


def test_every_change_is_an_event_with_a_growing_epoch(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme")
    manager = PluginManager([tmp_path])
    events: list[PluginEvent] = []
    stop = manager.subscribe(events.append)

    manager.discover_plugins()
    manager.load_plugin("acme")
    with manager.get_driver("acme", "SIM::1"):
        pass
    manager.reload_plugin("acme")
    (folder / "driver.py").write_text("raise ValueError('broken')\n")
    manager.reload_plugin("acme")
    manager.unload_plugin("acme")
    manager.load_plugin("acme")
    manager.disable_plugin("acme", "why")
    manager.enable_plugin("acme")
    stop()
    manager.discover_plugins()

    assert [event.kind for event in events] == [
        "discovered",
        "loaded",
        "activated",
        "deactivated",
        "reloaded",
        "reload_failed",
        "unloaded",
        "load_failed",
        "disabled",
        "enabled",
    ]
    epochs = [event.epoch for event in events]
    assert epochs == sorted(set(epochs))
    assert manager.snapshot.epoch >= epochs[-1]
    messages = {event.kind: event.message for event in events}
    assert "ValueError: broken" in messages["reload_failed"]
    assert messages["disabled"] == "why"


def test_a_subscriber_that_fails_hinders_nobody(
    tmp_path: Path, write_plugin: Any, found: Found, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    heard: list[str] = []

    def fails(event: PluginEvent) -> None:
        raise ValueError("a bad listener")

    manager.subscribe(fails)
    manager.subscribe(lambda event: heard.append(event.kind))

    assert manager.load_plugin("acme")
    assert heard == ["loaded"]
    assert "a bad listener" in caplog.text
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_a_waiting_thread_learns_of_a_change_without_polling(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    seen = threading.Event()
    manager.subscribe(lambda event: seen.set() if event.kind == "loaded" else None)

    worker = threading.Thread(target=manager.load_plugin, args=("acme",))
    worker.start()

    assert seen.wait(60)
    worker.join()


ROWS = {
    74: [test_a_constructor_that_fails_names_plugin_resource_and_line],
    75: [
        test_the_body_of_with_does_not_run_when_connect_fails,
        test_a_body_that_raises_aborts_then_disconnects_and_keeps_every_error,
        test_a_body_that_is_fine_only_disconnects,
        test_a_disconnect_that_returns_false_is_an_error_after_a_good_body,
        test_a_driver_whose_capabilities_cannot_be_asked_still_connects,
    ],
    76: [test_the_old_calls_return_bool_with_the_reason_kept_and_the_new_one_raises],
    77: [test_capabilities_are_known_from_the_class_and_the_manifest_without_an_instance],
    80: [test_what_came_after_the_original_contract_is_optional],
    81: [
        test_every_change_is_an_event_with_a_growing_epoch,
        test_a_subscriber_that_fails_hinders_nobody,
        test_a_waiting_thread_learns_of_a_change_without_polling,
    ],
}
