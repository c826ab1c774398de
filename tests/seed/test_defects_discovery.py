"""Defects 5c of the original platform (rows 27-40): discovery."""

from __future__ import annotations

import shutil
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import PluginManager, PluginStatus, driver_plugin
from drivebay._core.contract import plugin_metadata
from drivebay._core.manager import PluginEvent

Found = Callable[..., PluginManager]


@pytest.mark.parametrize(
    "place", ["tests/fixtures", ".git/x", "node_modules/x", ".venv/lib", "build/lib", "a.egg-info"]
)
def test_manifests_in_places_that_are_not_plugins_are_not_found(
    tmp_path: Path, write_plugin: Any, found: Found, place: str
) -> None:
    write_plugin(tmp_path / place, "hidden")
    write_plugin(tmp_path, "acme")

    assert list(found(tmp_path).plugins) == ["acme"]


def test_a_virtual_environment_of_any_name_is_not_searched(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "py311" / "lib", "hidden")
    (tmp_path / "py311" / "pyvenv.cfg").write_text("home = /usr\n")

    assert list(found(tmp_path).plugins) == []


def test_an_ignore_file_hides_what_it_names(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    for name in ("acme", "old_one", "old_two"):
        write_plugin(tmp_path, name)
    (tmp_path / ".drivebayignore").write_text("# retired\nold_*/\n")

    assert list(found(tmp_path).plugins) == ["acme"]


def test_the_search_ends_at_a_fixed_depth(tmp_path: Path, write_plugin: Any, found: Found) -> None:
    write_plugin(tmp_path / "a" / "b", "near")
    write_plugin(tmp_path / "1/2/3/4/5/6/7", "far")

    assert list(found(tmp_path).plugins) == ["near"]


def test_a_linked_plugin_folder_is_found_and_shown_as_linked(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "elsewhere", "acme")
    write_plugin(tmp_path / "root", "plain")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere" / "acme")

    manager = found(tmp_path / "root")

    assert manager.plugins["acme"].linked
    assert not manager.plugins["plain"].linked
    assert manager.load_all_plugins() == {"acme": True, "plain": True}


def test_links_in_a_circle_end_the_search_not_the_program(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "root", "acme")
    (tmp_path / "root" / "again").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "deep").mkdir()
    (tmp_path / "root" / "deep" / "up").symlink_to(tmp_path)

    assert list(found(tmp_path / "root").plugins) == ["acme"]


def test_the_order_of_plugins_does_not_depend_on_the_file_system(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    for name in ("bb", "mm", "aa", "zz"):
        write_plugin(tmp_path / "one", name)
    for name in ("zz", "aa", "mm", "bb"):
        write_plugin(tmp_path / "two", name)

    assert list(found(tmp_path / "one").plugins) == ["aa", "bb", "mm", "zz"]
    assert list(found(tmp_path / "two").plugins) == ["aa", "bb", "mm", "zz"]


def test_the_users_plugin_beats_the_built_in_one_and_the_loser_is_kept(
    home: Path, write_plugin: Any
) -> None:
    write_plugin(home / "plugins", "keithley_2400", version="99.0")
    manager = PluginManager()
    manager.discover_plugins()

    assert manager.plugins["keithley_2400"].metadata.version == "99.0"
    (loser,) = manager.shadowed
    assert loser.source == "builtin"
    assert loser.shadowed_by == manager.plugins["keithley_2400"].path
    assert "99.0" in (loser.reason or "")


def test_the_earlier_folder_wins_unless_the_later_one_overrides(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    write_plugin(tmp_path / "one", "acme", version="1.0")
    write_plugin(tmp_path / "two", "acme", version="2.0")
    assert found(tmp_path / "one", tmp_path / "two").plugins["acme"].metadata.version == "1.0"

    write_plugin(tmp_path / "two", "acme", version="2.0", overrides=["acme"])

    manager = found(tmp_path / "one", tmp_path / "two")
    assert manager.plugins["acme"].metadata.version == "2.0"
    assert [info.metadata.version for info in manager.shadowed] == ["1.0"]


def test_a_second_look_tells_added_changed_and_removed_and_nothing_else(
    tmp_path: Path, write_plugin: Any, found: Found, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("edited", "deleted", "untouched"):
        write_plugin(tmp_path, name)
    manager = found(tmp_path)
    events: list[PluginEvent] = []
    manager.subscribe(events.append)
    caplog.clear()

    write_plugin(tmp_path, "edited", version="2.0")
    shutil.rmtree(tmp_path / "deleted")
    write_plugin(tmp_path, "new")

    assert manager.discover_plugins() == ["new"]
    assert {(event.kind, event.plugin) for event in events} == {
        ("changed", "edited"),
        ("removed", "deleted"),
        ("discovered", "new"),
    }
    assert manager.plugins["edited"].metadata.version == "2.0"
    assert list(manager.plugins) == ["edited", "new", "untouched"]
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []


def test_every_record_knows_its_file(tmp_path: Path, write_plugin: Any, found: Found) -> None:
    folder = write_plugin(tmp_path, "acme")

    info = found(tmp_path).plugins["acme"]

    assert info.path == str(folder / "plugin.yaml")
    assert info.source == "folder"


def test_a_plugin_folder_that_is_a_file_is_said(tmp_path: Path, found: Found) -> None:
    (tmp_path / "file").write_text("")

    manager = found(tmp_path / "file")

    (diagnostic,) = manager.diagnostics
    assert diagnostic.code == "M031"
    assert diagnostic.path == str(tmp_path / "file")
    assert diagnostic.severity == "error"


def test_folders_that_come_and_go_during_the_search_do_not_end_it(
    tmp_path: Path, write_plugin: Any
) -> None:
    for number in range(6):
        write_plugin(tmp_path, f"stays_{number}")
    source = write_plugin(tmp_path.parent, "template_of_" + tmp_path.name[:20])
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for name in ("a_flicker", "m_flicker", "z_flicker"):
                shutil.copytree(source, tmp_path / name, dirs_exist_ok=True)
            for name in ("a_flicker", "m_flicker", "z_flicker"):
                shutil.rmtree(tmp_path / name)

    worker = threading.Thread(target=come_and_go)
    worker.start()
    try:
        for _ in range(40):
            manager = PluginManager([tmp_path])
            manager.discover_plugins()
            assert {f"stays_{number}" for number in range(6)} <= set(manager.plugins)
    finally:
        stop.set()
        worker.join()


def test_a_dangling_link_hides_none_of_its_neighbours(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "a_folder" / "plugin.yaml").symlink_to(tmp_path / "nowhere")
    write_plugin(tmp_path, "zz")

    assert "zz" in found(tmp_path).plugins


def test_a_decorated_class_is_found_without_being_imported(
    tmp_path: Path, driver_text: Any, found: Found, hook: types.ModuleType
) -> None:
    before = "import hook\nhook.seen.append('ran')\nfrom drivebay import driver_plugin\n"
    (tmp_path / "lockin.py").write_text(decorated(driver_text(before=before), "lockin"))

    manager = found(tmp_path)

    assert list(manager.plugins) == ["lockin"]
    assert hook.seen == []
    assert manager.load_plugin("lockin")
    assert hook.seen == ["ran"]


def test_a_subclass_does_not_claim_to_be_its_decorated_parent() -> None:
    @driver_plugin("parent", "1.0", "Lab", "d", ["answer"], ["2400"])
    class Parent:
        pass

    class Child(Parent):
        pass

    assert plugin_metadata(Parent) is not None
    assert plugin_metadata(Child) is None


def test_a_nested_decorated_class_has_its_whole_path_and_loads(
    tmp_path: Path, driver_text: Any, found: Found
) -> None:
    inner = decorated(driver_text(), "nested").replace("from drivebay import InstrumentDriver", "")
    body = "\n".join("    " + line if line else line for line in inner.splitlines())
    text = f"from drivebay import InstrumentDriver, driver_plugin\n\nclass Outer:\n{body}\n"
    (tmp_path / "lockin.py").write_text(text)

    manager = found(tmp_path)

    assert manager.plugins["nested"].metadata.driver_class == "lockin:Outer.Driver"
    assert manager.load_plugin("nested"), manager.plugins["nested"].error_message


def test_the_decorator_accepts_driver_class_and_refuses_unknown_keys() -> None:
    @driver_plugin("one", "1.0", "Lab", "d", ["answer"], ["2400"], driver_class="a.B")
    class One:
        pass

    assert One._plugin_metadata.driver_class == "a.B"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="unknown key 'colour'"):
        driver_plugin("two", "1.0", "Lab", "d", ["answer"], ["2400"], colour="red")(One)


def test_relative_folders_are_resolved_when_the_manager_is_made(
    tmp_path: Path, write_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "plugins", "acme")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    manager = PluginManager([Path("plugins")])
    monkeypatch.chdir(tmp_path / "other")

    assert manager.discover_plugins() == ["acme"]
    assert manager.load_plugin("acme")


@pytest.mark.parametrize("folders", ["plugins", b"plugins", Path("plugins")])
def test_one_folder_instead_of_a_list_is_refused(folders: Any) -> None:
    with pytest.raises(TypeError, match="must be a list of folders"):
        PluginManager(plugin_dirs=folders)


def test_a_plugin_that_starts_a_discovery_does_not_end_load_all(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: types.ModuleType
) -> None:
    for name in ("a_one", "b_two", "c_three"):
        write_plugin(
            tmp_path, name, driver_source=driver_text(before="import hook; hook.discover()\n")
        )
    manager = found(tmp_path)
    extra = iter(["d_new", "e_new", "f_new"])

    def discover() -> None:
        write_plugin(tmp_path, next(extra))
        hook.seen.extend(manager.discover_plugins())

    hook.discover = discover  # type: ignore[attr-defined]

    assert manager.load_all_plugins() == {"a_one": True, "b_two": True, "c_three": True}
    assert hook.seen == ["d_new", "e_new", "f_new"]


def test_control_a_plain_dictionary_of_plugins_cannot_grow_under_its_loop() -> None:
    plugins = {"one": 1}

    def load_all() -> None:
        for name in plugins:
            plugins[name + "x"] = 1

    with pytest.raises(RuntimeError, match="changed size during iteration"):
        load_all()


OPENED: list[str] = []
WATCHING: list[str] = []


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHING and event == "open" and str(arguments[0]).startswith(WATCHING[0]):
        OPENED.append(str(arguments[0]))


def test_an_unchanged_manifest_is_not_read_again_by_the_next_manager(
    tmp_path: Path, write_plugin: Any, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the interpreter opens is counted; a hook of sys cannot be removed, so it is switched."""
    # Without this every file younger than two seconds is read again, and rightly so.
    monkeypatch.setattr("drivebay._core.index.sources._RACY_NS", 0)
    write_plugin(tmp_path, "acme")
    sys.addaudithook(audit)
    WATCHING.append(str(tmp_path))
    try:
        found(tmp_path)
        first = list(OPENED)
        OPENED.clear()
        manager = found(tmp_path)
        again = list(OPENED)
    finally:
        WATCHING.clear()
        OPENED.clear()

    assert str(tmp_path / "acme" / "plugin.yaml") in first
    assert [path for path in again if not Path(path).is_dir()] == []
    assert manager.plugins["acme"].metadata.version == "1.0.0"


def test_threads_that_load_one_plugin_run_its_code_once(
    tmp_path: Path, write_plugin: Any, driver_text: Any, found: Found, hook: types.ModuleType
) -> None:
    write_plugin(
        tmp_path, "acme", driver_source=driver_text(before="import hook; hook.seen.append(1)\n")
    )
    manager = found(tmp_path)
    start = threading.Barrier(8)
    results: list[bool] = []

    def load() -> None:
        start.wait()
        results.append(manager.load_plugin("acme"))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True] * 8
    assert hook.seen == [1]
    assert manager.capability_index == {"answer": ["acme"]}
    assert manager.plugins["acme"].status is PluginStatus.LOADED


def decorated(source: str, name: str) -> str:
    if "driver_plugin" not in source:
        source = "from drivebay import driver_plugin\n" + source
    claim = (
        f"@driver_plugin(name={name!r}, version='1.0', author='Lab', description='d',\n"
        "               supported_methods=['answer'], supported_models=['Model 1'])\n"
    )
    return source.replace("class Driver", claim + "class Driver")


ROWS = {
    27: [
        test_manifests_in_places_that_are_not_plugins_are_not_found,
        test_a_virtual_environment_of_any_name_is_not_searched,
        test_an_ignore_file_hides_what_it_names,
        test_the_search_ends_at_a_fixed_depth,
    ],
    28: [
        test_a_linked_plugin_folder_is_found_and_shown_as_linked,
        test_links_in_a_circle_end_the_search_not_the_program,
    ],
    29: [test_the_order_of_plugins_does_not_depend_on_the_file_system],
    30: [
        test_the_users_plugin_beats_the_built_in_one_and_the_loser_is_kept,
        test_the_earlier_folder_wins_unless_the_later_one_overrides,
    ],
    31: [test_a_second_look_tells_added_changed_and_removed_and_nothing_else],
    32: [test_every_record_knows_its_file],
    33: [test_a_plugin_folder_that_is_a_file_is_said],
    34: [
        test_folders_that_come_and_go_during_the_search_do_not_end_it,
        test_a_dangling_link_hides_none_of_its_neighbours,
    ],
    35: [test_a_decorated_class_is_found_without_being_imported],
    36: [
        test_a_subclass_does_not_claim_to_be_its_decorated_parent,
        test_a_nested_decorated_class_has_its_whole_path_and_loads,
        test_the_decorator_accepts_driver_class_and_refuses_unknown_keys,
    ],
    37: [
        test_relative_folders_are_resolved_when_the_manager_is_made,
        test_one_folder_instead_of_a_list_is_refused,
    ],
    38: [
        test_a_plugin_that_starts_a_discovery_does_not_end_load_all,
        test_control_a_plain_dictionary_of_plugins_cannot_grow_under_its_loop,
    ],
    39: [test_an_unchanged_manifest_is_not_read_again_by_the_next_manager],
    40: [test_threads_that_load_one_plugin_run_its_code_once],
}
