"""One way of discovering a tree, in this fresh process; prints seconds as JSON.

The clocks, of the wall and of this process's CPU, run around the discovery alone: imports are not
counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def drivebay(root: str) -> int:
    from drivebay import PluginManager

    start()
    return len(PluginManager([Path(root)]).discover_plugins())


def scan_and_stat(root: str) -> int:
    """The least a plain-Python program can do: list the root, stat every manifest."""
    count = 0
    with os.scandir(root) as entries:
        for entry in entries:
            os.stat(f"{root}/{entry.name}/plugin.yaml")
            count += 1
    return count


def walk_and_stat(root: str) -> int:
    """A plain walk of the tree with a stat of every file."""
    count = 0
    for folder, _, files in os.walk(root):
        for name in files:
            os.stat(os.path.join(folder, name))
            count += name == "plugin.yaml"
    return count


def seed(root: str) -> int:
    """What the original platform does: rglob, yaml.safe_load, a dataclass from the mapping."""
    import yaml

    from drivebay import PluginMetadata

    start()
    plugins: dict[str, Any] = {}
    for file in Path(root).rglob("plugin.yaml"):
        with open(file) as handle:
            data = yaml.safe_load(handle)
        metadata = PluginMetadata(**data)
        if metadata.name not in plugins:
            plugins[metadata.name] = metadata
    return len(plugins)


def npe2(root: str) -> int:
    from npe2 import PluginManager, PluginManifest

    start()
    manager = PluginManager()
    for file in sorted(Path(root).glob("*/napari.yaml")):
        manager.register(PluginManifest.from_file(file))
    return len(list(manager.iter_manifests()))


def stevedore(root: str) -> int:
    """Entry points from stevedore's cache, which it revalidates by a stat of each file."""
    os.environ["XDG_CACHE_HOME"] = os.environ["DRIVEBAY_HOME"]
    sys.path.append(root)
    from stevedore import _cache

    start()
    return len(_cache.get_group_all("benchmark.drivers"))


started = (0.0, 0.0)


def start() -> None:
    """Begin to count from here."""
    global started
    started = (time.perf_counter(), time.process_time())


if __name__ == "__main__":
    case, tree = sys.argv[1:3]
    start()
    found = globals()[case](tree)
    wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    print(json.dumps({"seconds": wall_s, "cpu_s": cpu_s, "found": found}))
