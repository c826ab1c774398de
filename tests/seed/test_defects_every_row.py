"""Every row of the list of defects has a test that is really collected."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

DUE = [*range(1, 84)]


def rows() -> dict[int, list[Callable[..., Any]]]:
    table: dict[int, list[Callable[..., Any]]] = {}
    for path in sorted(Path(__file__).parent.glob("test_defects_*.py")):
        if path == Path(__file__):
            continue
        spec = importlib.util.spec_from_file_location(f"rows_of_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for row, tests in module.ROWS.items():
            for test in tests:
                assert getattr(module, test.__name__) is test, f"{test.__name__} is shadowed"
            table.setdefault(row, []).extend(tests)
    return table


def test_every_row_of_the_defects_has_a_test() -> None:
    table = rows()

    assert [row for row in DUE if not table.get(row)] == []
    assert sorted(set(table) - set(DUE)) == []


def test_every_rows_test_is_one_that_pytest_collects() -> None:
    names = [test.__name__ for tests in rows().values() for test in tests]

    assert all(name.startswith("test_") for name in names)
    assert len(names) > 100
