"""The discovery cache changes nothing but time, and an edit is seen however little it shows."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay import PluginManager

Found = Callable[..., PluginManager]


def answers(manager: PluginManager) -> dict[str, Any]:
    """Everything a manager can be asked after a discovery."""
    return {
        "plugins": {
            name: (info.metadata.to_dict(), info.status, info.path, info.error_message)
            for name, info in manager.plugins.items()
        },
        "models": manager.model_index,
        "methods": manager.capability_index,
        "idn": manager.find_driver_for_model("ACME,Model 1,1,1"),
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four plugins, one of them broken, and a decorated class."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("one", "two", "three"):
        (root / name).mkdir()
        (root / name / "plugin.yaml").write_text(
            f"name: {name}\nversion: 1.0\nauthor: A\ndescription: d\nmanufacturer: ACME\n"
            f"supported_models: [Model {len(name)}, Model 1]\nsupported_methods: [answer]\n"
            "driver_class: driver.Driver\n"
        )
    (root / "broken").mkdir()
    (root / "broken" / "plugin.yaml").write_text("name: broken\ncolour: red\n")
    (root / "lockin.py").write_text(
        "from drivebay import driver_plugin\n"
        "@driver_plugin('lockin', '1.0', 'A', 'd', ['read'], ['SR830'])\nclass L: pass\n"
    )
    return root


@pytest.fixture(scope="module")
def written(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any]]:
    """A good cache file's bytes, and what was answered without it."""
    import drivebay._core.index.sources as sources

    patch = pytest.MonkeyPatch()
    patch.setattr(sources, "_RACY_NS", 0)
    home = tmp_path_factory.mktemp("writer")
    manager = PluginManager([tree], home=home)
    manager.discover_plugins()
    patch.undo()
    return cache_of(home).read_bytes(), answers(manager)


def cache_of(home: Path) -> Path:
    return home / "cache" / "discovery.bin"


def with_cache(tree: Path, home: Path, data: bytes) -> dict[str, Any]:
    cache_of(home).parent.mkdir(parents=True, exist_ok=True)
    cache_of(home).write_bytes(data)
    manager = PluginManager([tree], home=home)
    manager.discover_plugins()
    return answers(manager)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_good_cache_gives_the_same_answers(
    tree: Path, tmp_path: Path, written: tuple[bytes, dict[str, Any]]
) -> None:
    assert with_cache(tree, tmp_path, written[0]) == written[1]


@given(data=st.data())
def test_a_cache_with_changed_bytes_gives_the_same_answers(
    tree: Path, tmp_path: Path, written: tuple[bytes, dict[str, Any]], data: st.DataObject
) -> None:
    blob = bytearray(written[0])
    places = st.integers(0, len(blob) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        blob[place] ^= data.draw(st.integers(1, 255))

    assert with_cache(tree, tmp_path, bytes(blob)) == written[1]


@given(length=st.integers(0, 4_000), tail=st.binary(max_size=40))
def test_a_cache_that_is_cut_off_or_longer_gives_the_same_answers(
    tree: Path, tmp_path: Path, written: tuple[bytes, dict[str, Any]], length: int, tail: bytes
) -> None:
    assert with_cache(tree, tmp_path, written[0][:length] + tail) == written[1]


@given(data=st.binary(max_size=300))
def test_a_foreign_file_in_its_place_gives_the_same_answers(
    tree: Path, tmp_path: Path, written: tuple[bytes, dict[str, Any]], data: bytes
) -> None:
    assert with_cache(tree, tmp_path, data) == written[1]


def test_a_deleted_or_unwritable_cache_gives_the_same_answers(
    tree: Path, tmp_path: Path, written: tuple[bytes, dict[str, Any]]
) -> None:
    with_cache(tree, tmp_path, written[0])
    cache_of(tmp_path).unlink()
    again = PluginManager([tree], home=tmp_path)
    again.discover_plugins()
    (tmp_path / "no_folder").write_text("")
    nowhere = PluginManager([tree], home=tmp_path / "no_folder")
    nowhere.discover_plugins()

    assert answers(again) == answers(nowhere) == written[1]


def test_a_cache_written_by_another_version_is_not_used(
    tree: Path, tmp_path: Path, written: tuple[bytes, dict[str, Any]]
) -> None:
    from drivebay._core.index import CacheFile

    good = CacheFile(cache_of(tmp_path), "another version")
    cache_of(tmp_path).parent.mkdir()
    cache_of(tmp_path).write_bytes(written[0])

    assert good.load() == {}


def test_a_manager_whose_file_vanishes_between_looks_goes_on(
    tree: Path, tmp_path: Path, written: tuple[bytes, dict[str, Any]]
) -> None:
    manager = PluginManager([tree], home=tmp_path)
    manager.discover_plugins()
    cache_of(tmp_path).unlink(missing_ok=True)

    assert manager.discover_plugins() == []
    assert answers(manager) == written[1]


def edited(folder: Path, old: str, new: str, keep_times: bool) -> None:
    path = folder / "plugin.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    assert len(old) == len(new)
    before = path.stat()
    path.write_text(text.replace(old, new))
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("racy", [True, False], ids=["within the grain", "long after"])
def test_an_edit_of_the_same_size_with_its_time_put_back_is_seen(
    tmp_path: Path, write_plugin: Any, found: Found, racy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not racy:
        monkeypatch.setattr("drivebay._core.index.sources._RACY_NS", 0)
    folder = write_plugin(tmp_path, "acme", supported_models=["Model 1"])
    manager = found(tmp_path)

    edited(folder, "Model 1", "Model 2", keep_times=True)
    manager.discover_plugins()

    assert manager.find_driver_for_model("Model 2") == "acme"
    assert found(tmp_path).find_driver_for_model("Model 2") == "acme"


def test_every_one_of_many_edits_within_a_clock_tick_is_seen(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    folder = write_plugin(tmp_path, "acme", supported_models=["Model 10"])
    manager = found(tmp_path)
    missed = 0

    for number in range(11, 51):
        edited(folder, f"Model {number - 1}", f"Model {number}", keep_times=False)
        manager.discover_plugins()
        missed += manager.find_driver_for_model(f"Model {number}") != "acme"
        missed += found(tmp_path).find_driver_for_model(f"Model {number}") != "acme"

    assert missed == 0


def test_control_modification_time_and_size_alone_miss_such_an_edit(
    tmp_path: Path, write_plugin: Any
) -> None:
    folder = write_plugin(tmp_path, "acme", supported_models=["Model 1"])
    path = folder / "plugin.yaml"
    naive = (path.stat().st_mtime_ns, path.stat().st_size)

    edited(folder, "Model 1", "Model 2", keep_times=True)

    assert (path.stat().st_mtime_ns, path.stat().st_size) == naive


def test_two_managers_that_write_the_cache_at_once_leave_a_whole_one(
    tmp_path: Path, write_plugin: Any, home: Path
) -> None:
    import threading

    for number in range(4):
        write_plugin(tmp_path / f"root_{number}", f"plugin_{number}")
    start = threading.Barrier(4)

    def look(number: int) -> None:
        start.wait()
        for _ in range(15):
            manager = PluginManager([tmp_path / f"root_{number}"])
            manager.discover_plugins()
            assert list(manager.plugins) == [f"plugin_{number}"]

    threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    from drivebay._core.index import CONTRACT_VERSION, CacheFile
    from drivebay._version import __version__

    assert CacheFile(cache_of(home), f"{__version__} {CONTRACT_VERSION}").load()
    assert [path.name for path in cache_of(home).parent.iterdir()] == ["discovery.bin"]


def test_a_tree_that_changes_at_random_is_the_same_with_and_without_the_cache(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    dice = random.Random(7)
    root = tmp_path / "root"
    manager = found(root) if root.mkdir() is None else None
    assert manager is not None
    for step in range(25):
        name = f"plugin_{dice.randrange(4)}"
        if dice.random() < 0.3 and (root / name).exists():
            (root / name / "plugin.yaml").unlink(missing_ok=True)
        else:
            write_plugin(root, name, version=f"1.{step}", supported_models=[f"M{step % 3}"])
        manager.discover_plugins()
        fresh = PluginManager([root], home=tmp_path / f"home_{step}")
        fresh.discover_plugins()
        warm = found(root)

        assert answers(manager) == answers(warm) == answers(fresh)
        assert list(manager.plugins) == list(warm.plugins) == list(fresh.plugins)


def halves(blob: bytes) -> tuple[int, int]:
    """Where the second half of a cache file begins and ends."""
    from drivebay._core.index.cache import _START, _header

    header = _header(blob[:_START])
    assert header is not None
    begin = _START + header[0]
    return begin, begin + header[2]


@pytest.fixture
def warm(
    tmp_path: Path, write_plugin: Any, found: Found, monkeypatch: pytest.MonkeyPatch
) -> PluginManager:
    """A manager over two good plugins that knows them from a cache file."""
    monkeypatch.setattr("drivebay._core.index.sources._RACY_NS", 0)
    for name in ("one", "two"):
        write_plugin(tmp_path / "root", name, supported_models=[f"Model {name}"])
    found(tmp_path / "root", home=tmp_path / "home")
    return found(tmp_path / "root", home=tmp_path / "home")


def test_a_look_at_an_unchanged_tree_reads_half_of_the_file_and_a_look_up_the_rest(
    warm: PluginManager,
) -> None:
    bodies = warm._cache.bodies

    assert list(warm.plugins) == ["one", "two"]
    assert bodies._known is None
    assert warm.find_driver_for_model("Model two") == "two"
    assert len(bodies._known or ()) == 2


@pytest.mark.parametrize("harm", ["damaged", "cut off", "deleted", "replaced by another's"])
def test_a_second_half_that_is_lost_after_the_look_changes_no_answer(
    tmp_path: Path, warm: PluginManager, found: Found, harm: str
) -> None:
    file = cache_of(tmp_path / "home")
    blob = file.read_bytes()
    begin, end = halves(blob)
    fresh = found(tmp_path / "root", home=tmp_path / "another home")

    if harm == "damaged":
        file.write_bytes(blob[:begin] + bytes(end - begin))
    elif harm == "cut off":
        file.write_bytes(blob[: begin + 10])
    elif harm == "deleted":
        file.unlink()
    else:
        file.unlink()
        (tmp_path / "elsewhere").mkdir()
        found(tmp_path / "elsewhere", home=tmp_path / "home")

    assert answers(warm) == answers(fresh)
    assert file.exists() == (harm == "replaced by another's")
    warm.discover_plugins()
    assert answers(warm) == answers(fresh)
    assert answers(found(tmp_path / "root", home=tmp_path / "home")) == answers(fresh)


def test_a_manifest_edited_after_the_look_and_lost_from_the_cache_says_that_it_changed(
    tmp_path: Path, warm: PluginManager
) -> None:
    cache_of(tmp_path / "home").unlink()
    edited(tmp_path / "root" / "one", "Model one", "Model 111", keep_times=True)

    assert warm.find_driver_for_model("Model one") is None
    assert "changed since" in str(warm.plugins["one"].diagnostics[0])
    assert warm.find_driver_for_model("Model two") == "two"
    warm.discover_plugins()
    assert warm.find_driver_for_model("Model 111") == "one"
    assert warm.plugins["one"].diagnostics == ()
