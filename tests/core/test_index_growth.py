"""What a look at many plugins costs, counted in steps: each costs what the one before did."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from drivebay import PluginManager

SIZES = (40, 80, 120)


def steps(action: Callable[[], object]) -> tuple[int, int]:
    """Count the lines of Python that run during an action, and the calls of ``os.stat``."""
    lines = stats = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    def profile(frame: FrameType, event: str, called: Any) -> None:
        nonlocal stats
        stats += event == "c_call" and called.__name__ == "stat"

    # What the collector ends (a generation of an earlier test) runs lines of its own.
    gc.collect()
    gc.disable()
    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(before[1])
        sys.settrace(before[0])
        gc.enable()
    return lines, stats


@pytest.fixture
def warm(tmp_path: Path, write_plugin: Any, monkeypatch: pytest.MonkeyPatch) -> list[PluginManager]:
    """Managers over 40, 80 and 120 plugins, each known from a cache file."""
    monkeypatch.setattr("drivebay._core.index.sources._RACY_NS", 0)
    managers = []
    for plugins in SIZES:
        root, home = tmp_path / f"root_{plugins}", tmp_path / f"home_{plugins}"
        for number in range(plugins):
            write_plugin(root, f"vendor_{number:03d}")
        PluginManager([root], home=home).discover_plugins()
        managers.append(PluginManager([root], home=home))
    return managers


def test_a_warm_look_takes_one_stat_and_the_same_steps_for_every_plugin(
    warm: list[PluginManager],
) -> None:
    few, more, most = (steps(manager.discover_plugins) for manager in warm)

    assert [len(manager.plugins) for manager in warm] == list(SIZES)
    assert most[0] - more[0] == more[0] - few[0]
    assert [most[1] - more[1], more[1] - few[1]] == [40, 40]


def test_a_second_look_of_the_same_manager_does_too(warm: list[PluginManager]) -> None:
    for manager in warm:
        manager.discover_plugins()

    few, more, most = (steps(manager.discover_plugins) for manager in warm)

    assert most[0] - more[0] == more[0] - few[0]
    assert [most[1] - more[1], more[1] - few[1]] == [40, 40]


def test_control_the_count_sees_a_cold_look(warm: list[PluginManager]) -> None:
    warm_lines, _ = steps(warm[0].discover_plugins)
    warm[0]._cache.path.unlink()
    cold = PluginManager(warm[0].plugin_dirs, home=warm[0].home)

    cold_lines, _ = steps(cold.discover_plugins)

    assert cold_lines > 10 * warm_lines
