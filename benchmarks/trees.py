"""Plugin folders by the thousand, of the size real manifests have."""

from __future__ import annotations

import sys
import time
from pathlib import Path

MANIFEST = """\
name: vendor_{n:05d}
version: 1.2.3
author: Lab Team <lab@example.org>
description: Driver number {n} for a source measure unit of the example vendor
min_platform_version: 1.0.0
max_platform_version: 2.0.0
supported_methods:
- iv_sweep
- cv_measurement
- method_{m}
supported_models:
- M{n}A
- M{n}B
- {wild}
driver_class: driver.Driver
dependencies:
- pyvisa>=1.13
- numpy>=1.24
config_schema:
  type: object
  properties:
    nplc:
      type: number
      minimum: 0.01
      maximum: 10
      default: 1
    compliance:
      type: number
      minimum: 0
      maximum: 1.05
    wires:
      type: integer
      enum:
      - 2
      - 4
  required:
  - nplc
"""


def make_tree(root: Path, plugins: int, *, wildcards: bool = False) -> Path:
    """Write ``plugins`` folders, each a manifest of about 700 bytes and a driver file."""
    for n in range(plugins):
        folder = root / f"vendor_{n:05d}"
        folder.mkdir(parents=True)
        wild = f"W{n:05d}*" if wildcards else f"M{n}C"
        (folder / "plugin.yaml").write_text(MANIFEST.format(n=n, m=n % 50, wild=wild))
        (folder / "driver.py").write_text("# a driver\n")
    return root


def make_npe2_tree(root: Path, plugins: int) -> Path:
    """The same number of manifests of about the same content, in npe2's form."""
    for n in range(plugins):
        name = f"vendor_{n:05d}"
        folder = root / name
        folder.mkdir(parents=True)
        commands = "".join(
            f"  - id: {name}.{m}\n    title: run {m}\n    python_name: {name}.driver:{m}\n"
            for m in ("iv_sweep", "cv_measurement", f"method_{n % 50}")
        )
        (folder / "napari.yaml").write_text(
            f"name: {name}\ndisplay_name: Driver number {n}\nschema_version: 0.2.1\n"
            f"contributions:\n  commands:\n{commands}"
        )
    return root


def make_entry_points(root: Path, plugins: int) -> Path:
    """The same number of installed distributions, each with one entry point for its driver."""
    for n in range(plugins):
        name = f"vendor_{n:05d}"
        folder = root / f"{name}-1.2.3.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
        (folder / "entry_points.txt").write_text(
            f"[benchmark.drivers]\n{name} = {name}.driver:Driver\n"
        )
    return root


def settle() -> None:
    """Wait until files just written no longer count as touched within the clock's grain."""
    time.sleep(2.1)


if __name__ == "__main__":
    make_tree(Path(sys.argv[1]), int(sys.argv[2]))
