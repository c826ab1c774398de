"""Folders that are never searched: passed over, but not without a word when they hold a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import PluginManager

Found = Callable[..., PluginManager]
NEVER_SEARCHED = ["build", "dist", "env", "fixtures", "test", "testing", "tests", "venv"]


@pytest.mark.parametrize("name", NEVER_SEARCHED)
def test_a_plugin_in_a_folder_that_is_never_searched_is_shown_with_folder_and_reason(
    tmp_path: Path, write_plugin: Any, found: Found, name: str
) -> None:
    folder = write_plugin(tmp_path / "group", name)

    manager = found(tmp_path)

    (diagnostic,) = manager.diagnostics
    assert (diagnostic.code, diagnostic.path) == ("M034", str(folder))
    assert repr(name) in diagnostic.message
    assert name not in manager.plugins


@pytest.mark.parametrize("name", NEVER_SEARCHED)
def test_control_such_a_folder_without_a_manifest_is_passed_over_in_silence(
    tmp_path: Path, write_plugin: Any, found: Found, name: str
) -> None:
    write_plugin(tmp_path, "acme")
    write_plugin(tmp_path / name, "inside")

    manager = found(tmp_path)

    assert manager.diagnostics == ()
    assert list(manager.plugins) == ["acme"]


def test_a_folder_that_its_owner_ignores_or_hides_is_passed_over_in_silence(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path, "test")
    write_plugin(tmp_path, ".hidden")
    (tmp_path / ".drivebayignore").write_text("test\n")

    assert found(tmp_path).diagnostics == ()


def test_a_folder_that_is_named_as_the_source_is_searched_whatever_it_is_called(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "tests", "acme")

    manager = found(tmp_path / "tests")

    assert list(manager.plugins) == ["acme"]
    assert manager.diagnostics == ()
