"""The page of what was killed has every row, and says what is not promised."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def laboratory(root: Path) -> ModuleType:
    import sys

    path = root / "benchmarks/reliability.py"
    spec = importlib.util.spec_from_file_location("reliability", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reliability"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_the_page_has_every_row_with_a_figure_and_what_was_promised(root, laboratory):
    text = (root / "docs/reference/reliability.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+)\n\n((?:\|.*\n)+)", text, re.M))

    for title, rows in laboratory.TABLES.items():
        lines = [line.strip("| ").split(" | ") for line in sections[title].splitlines()]
        found = {line[0]: line[1:] for line in lines}
        for row in rows:
            measured, promised = found[row.text]
            assert measured.strip(), row.text
            assert promised == (row.promise or "-")


def test_every_figure_of_the_page_is_noted_by_a_test_of_the_laboratory(root, laboratory):
    notes = "".join(
        path.read_text(encoding="utf-8") for path in (root / "tests/system").glob("*.py")
    )
    for rows in laboratory.TABLES.values():
        for row in rows:
            subject = row.key.partition(": ")[0]
            assert f'figures[f"{subject}: ' in notes or f'figures["{row.key}"]' in notes, row.key


@pytest.mark.parametrize(
    "word", ["stays on", "interlock", "hardware watchdog", "cable that is pulled", "no safety"]
)
def test_the_page_says_what_is_not_promised(root, word):
    text = (root / "docs/reference/reliability.md").read_text(encoding="utf-8")

    assert word in text.partition("## What is not promised")[2].replace("\n", " ")


def test_the_page_is_whole_from_any_figures(laboratory):
    figures = {row.key: "x" for rows in laboratory.TABLES.values() for row in rows}

    assert laboratory.page(figures).count("| x |") == len(figures)
    with pytest.raises(KeyError):
        laboratory.page({})
