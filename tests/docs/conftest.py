"""What the documentation tests share: the pages, the generator, and code blocks cut from pages."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

# A fenced block, with the comment before it that says why it is not run.
BLOCK = re.compile(
    r"(?:<!-- fragment: (?P<reason>[^>]+) -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str
    line: int
    fragment: str


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """``docs/generate.py`` as a module; it is a program and no part of the package."""
    spec = importlib.util.spec_from_file_location(
        "drivebay_docs_generate", ROOT / "docs/generate.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def blocks_of():
    """Cut a page into its fenced blocks."""

    def cut(page: Path) -> list[Block]:
        text = page.read_text(encoding="utf-8")
        return [
            Block(
                match["language"],
                match["title"] or "",
                match["text"],
                text.count("\n", 0, match.start("text")),
                match["reason"] or "",
            )
            for match in BLOCK.finditer(text)
        ]

    return cut
