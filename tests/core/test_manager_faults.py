"""Random faults in plugin folders: a look-up names only what works, what works goes on working.

150 edits with one seed in every run; ``HYPOTHESIS_PROFILE=soak`` makes it 1,000 with a new one.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivebay import InstrumentDriver, PluginManager, PluginStatus
from drivebay._core.loader import NAMESPACE

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EDITS = 1_000 if SOAK else 150
NAMES = ("alpha", "beta", "gamma")

KINDS = (
    *("good", "good", "good", "whole", "whole", "syntax", "raise", "exit", "base", "delete"),
    *("rename", "link", "part", "manifest", "empty", "manifest_gone", "folder_gone", "bytes"),
)

DRIVER = """\
from drivebay import InstrumentDriver
from . import part


class Driver(InstrumentDriver):
    def __init__(self, resource_name, config=None): self.resource_name = resource_name
    def connect(self): return True
    def disconnect(self): return True
    def reset(self): pass
    def get_identity(self): return {{}}
    def get_capabilities(self): return ["answer"]
    def configure(self, method, params): pass

    def measure(self, method, params):
        import late
        return {{"answer": [{value}, part.X, late.X]}}

    def abort(self): pass
    def get_status(self): return {{}}
"""


class Folder:
    """A plugin folder that is edited at random, well and badly."""

    def __init__(self, root: Path, name: str, dice: random.Random) -> None:
        self.root, self.name, self.dice = root, name, dice
        self.path = root / name
        self.value = 0
        self.write_whole()

    def write_whole(self) -> None:
        if self.path.is_symlink() or self.path.is_file():
            self.path.unlink()
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.write_manifest()
        self.write_driver()
        (self.path / "part.py").write_text("X = 'part'\n")
        (self.path / "late.py").write_text("X = 'late'\n")

    def write_manifest(self) -> None:
        (self.path / "plugin.yaml").write_text(
            f"name: {self.name}\nversion: 1.{self.value}\nauthor: A\ndescription: d\n"
            f"supported_methods: [answer]\nsupported_models: [Model {self.name}, Common]\n"
            "driver_class: driver.Driver\n"
        )

    def write_driver(self) -> None:
        self.value += 1
        self.replace("driver.py", DRIVER.format(value=self.value))

    def replace(self, name: str, text: str) -> None:
        target = self.path / name
        if target.is_symlink() or target.exists():
            target.unlink()
        self.path.mkdir(exist_ok=True)
        target.write_text(text)

    def faulty_line(self, line: str) -> None:
        lines = DRIVER.format(value=self.value).splitlines()
        place = self.dice.choice([0, 1, 2, len(lines)])
        self.replace("driver.py", "\n".join([*lines[:place], line, *lines[place:]]) + "\n")

    def edit(self) -> str:
        kind = self.dice.choice(KINDS)
        if not self.path.is_dir():
            kind = "whole"
        getattr(self, f"edit_{kind}")()
        return kind

    def edit_good(self) -> None:
        self.write_driver()

    def edit_syntax(self) -> None:
        self.faulty_line("def broken(:")

    def edit_raise(self) -> None:
        self.faulty_line("raise RuntimeError('by dice')")

    def edit_exit(self) -> None:
        self.faulty_line("import sys; sys.exit(1)")

    def edit_base(self) -> None:
        self.replace("driver.py", "class Driver: pass\n")

    def edit_delete(self) -> None:
        (self.path / self.dice.choice(["driver.py", "part.py", "late.py"])).unlink(missing_ok=True)

    def edit_rename(self) -> None:
        if (self.path / "driver.py").exists():
            (self.path / "driver.py").rename(self.path / "renamed.py")

    def edit_link(self) -> None:
        outside = self.root.parent / "outside.py"
        outside.write_text(DRIVER.format(value=-1))
        (self.path / "driver.py").unlink(missing_ok=True)
        (self.path / "driver.py").symlink_to(outside)

    def edit_part(self) -> None:
        self.replace("part.py", "X = 1 / 0\n")

    def edit_manifest(self) -> None:
        self.replace("plugin.yaml", f"name: {self.name}\nversion: [\n")

    def edit_empty(self) -> None:
        self.replace(self.dice.choice(["plugin.yaml", "driver.py"]), "")

    def edit_manifest_gone(self) -> None:
        (self.path / "plugin.yaml").unlink(missing_ok=True)

    def edit_folder_gone(self) -> None:
        shutil.rmtree(self.path)

    def edit_bytes(self) -> None:
        (self.path / "driver.py").unlink(missing_ok=True)
        (self.path / "driver.py").write_bytes(self.dice.randbytes(200))

    def edit_whole(self) -> None:
        self.write_whole()


def check_look_ups(manager: PluginManager) -> None:
    """What is named can be made; what cannot be made is not named any more."""
    for model in (*(f"Model {name}" for name in NAMES), "Common"):
        while (name := manager.find_driver_for_model(model)) is not None:
            if manager.load_plugin(name):
                assert manager.get_driver(name, "SIM::1").get_capabilities() == ["answer"]
                break
            assert manager.find_driver_for_model(model) != name
    for name in manager.find_drivers_for_method("answer"):
        assert manager.load_plugin(name)
        assert manager.get_driver(name, "SIM::1") is not None


def check_records(manager: PluginManager) -> None:
    live = set()
    for name, info in manager.list_plugins().items():
        if info.generation is not None:
            live.add(f"{NAMESPACE}.{name}.g{info.generation}")
            assert info.status is PluginStatus.LOADED
            assert info.driver_class is not None
        else:
            assert info.status in {PluginStatus.DISCOVERED, PluginStatus.ERROR}
        assert bool(info.error_message) == (info.degraded or info.status is PluginStatus.ERROR)
    packages = {
        ".".join(module.split(".")[:3])
        for module in sys.modules
        if module.startswith(f"{NAMESPACE}.") and module.split(".")[1] in NAMES
    }
    assert {package for package in packages if package.count(".") == 2} <= live


@pytest.mark.slow
def test_whatever_is_done_to_the_files_look_ups_stay_true_and_drivers_go_on(
    tmp_path: Path, found: Callable[..., PluginManager]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32) if SOAK else 20_240_607
    dice = random.Random(seed)
    root = tmp_path / "root"
    folders = [Folder(root, name, dice) for name in NAMES]
    manager = found(root)
    assert all(manager.load_all_plugins().values())
    working: dict[InstrumentDriver, Any] = {}
    done: list[str] = [f"seed {seed}"]

    for _ in range(EDITS):
        folder = dice.choice(folders)
        had = manager.plugins[folder.name].generation if folder.name in manager.plugins else None
        done.append(f"{folder.name}: {folder.edit()}")
        step = dice.choice(["reload", "discover", "both", "all"])
        if step in {"discover", "both"}:
            manager.discover_plugins()
        if step in {"reload", "both"}:
            manager.reload_plugin(folder.name)
        if step == "all":
            manager.load_all_plugins()

        info = manager.get_plugin_info(folder.name)
        manifest = (folder.path / "plugin.yaml").exists()
        if had is not None and manifest:
            assert info is not None, done[-5:]
            assert info.generation is not None, done[-5:]
        check_look_ups(manager)
        check_records(manager)
        for driver, answer in working.items():
            assert driver.measure("answer", {})["answer"] == answer, done[-5:]
        for name, each in manager.list_plugins().items():
            if each.driver_class is not None and len(working) < 60:
                made = manager.get_driver(name, "SIM::1")
                # One that was made of files without late.py never worked.
                with contextlib.suppress(ModuleNotFoundError):
                    working[made] = made.measure("answer", {})["answer"]


def test_control_the_check_notices_a_plugin_that_is_named_and_cannot_be_made(
    tmp_path: Path, found: Callable[..., PluginManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, "alpha", random.Random(1))
    folder.edit_syntax()
    manager = found(tmp_path)
    monkeypatch.setattr(manager, "find_driver_for_model", lambda model: "alpha")

    with pytest.raises(AssertionError):
        check_look_ups(manager)
