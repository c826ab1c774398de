"""What import-linter cannot see: the built-in drivers are plugin folders, not packages.

They use what any driver author may use, and nothing imports them: they are found by manifest.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

SOURCE = Path(__file__).parents[1] / "src/drivebay"
DRIVERS = sorted((SOURCE / "drivers").rglob("*.py"))
PLATFORM = sorted(path for path in SOURCE.rglob("*.py") if path not in DRIVERS)


def imported(code: str) -> set[str]:
    """Every module of Drivebay that some source names in an import, with the names taken."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "drivebay"}


def outside(names: set[str], allowed: tuple[str, ...]) -> set[str]:
    return {
        name
        for name in names
        if name not in allowed and not name.startswith(tuple(f"{each}." for each in allowed))
    }


@pytest.mark.parametrize("path", DRIVERS, ids=lambda path: path.parent.name)
def test_a_built_in_driver_imports_what_any_author_may(path):
    manifest = yaml.safe_load(path.with_name("plugin.yaml").read_text("utf-8"))
    used = tuple(f"drivebay.drivers.{name}" for name in manifest.get("uses") or ())

    assert not outside(imported(path.read_text("utf-8")), ("drivebay.driver", *used))


@pytest.mark.parametrize(
    "code",
    ["from drivebay._core.links import tcp", "import drivebay.sim", "from drivebay import Bay"],
)
def test_control_other_imports_are_seen(code):
    assert outside(imported(code), ("drivebay.driver",))


def test_the_platform_imports_no_driver():
    assert not [
        path
        for path in PLATFORM
        if any(name.startswith("drivebay.drivers") for name in imported(path.read_text("utf-8")))
    ]


def test_there_are_drivers_to_look_at():
    assert DRIVERS
