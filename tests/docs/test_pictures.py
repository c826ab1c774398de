"""The pictures of the pages are those the program draws, and each is shown."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("matplotlib", reason="needs the extra [plot]")
pytest.importorskip("lmfit", reason="needs the extra [analysis]")

PROGRAM = Path(__file__).parents[2] / "docs/pictures.py"


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    """``docs/pictures.py`` as a module; it is a program and no part of the package."""
    spec = importlib.util.spec_from_file_location("drivebay_docs_pictures", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_in_the_tree_and_on_the_page(pictures):
    shown = re.findall(r"\.\./images/(plot-[\w-]+\.png)", pictures.PAGE.read_text("utf-8"))
    drawn = {f"plot-{name}.png" for name in pictures.PICTURES}

    assert sorted(shown) == sorted(drawn)
    assert {path.name for path in pictures.FOLDER.glob("plot-*")} == drawn


@pytest.mark.slow
def test_the_program_draws_every_picture(pictures, tmp_path):
    pictures.main(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {
        f"plot-{name}.png" for name in pictures.PICTURES
    }


@pytest.mark.slow
def test_the_curves_of_text_on_the_page_are_what_is_drawn_today(pictures):
    page = pictures.PAGE.read_text("utf-8")

    assert pictures.with_texts(page) == page, "run `make docs-images`"
