"""The reference names everything there is, and what is made from the code is fresh."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

GENERATED = [
    "api.md",
    "bench.md",
    "cli.md",
    "diagnostics.md",
    "driver-api.md",
    "errors.md",
    "instruments.md",
    "manifest.md",
    "methods.md",
    "testing.md",
]


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#{2,3} `([^`]+)`", page.read_text(encoding="utf-8"), re.M)
    return {name.split("(")[0] for name in found}


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_what_the_code_says_today(root, generator, name):
    written = (root / "docs/reference" / name).read_text(encoding="utf-8")

    assert written == generator.PAGES[name](), "run `make docs-reference`"


def test_every_page_the_generator_makes_is_checked(generator):
    assert sorted(generator.PAGES) == GENERATED


@pytest.mark.parametrize(
    ("module", "page"),
    [
        ("drivebay", "api.md"),
        ("drivebay.driver", "driver-api.md"),
        ("drivebay.testing", "testing.md"),
    ],
)
def test_every_public_name_is_in_the_reference(root, module, page):
    public = importlib.import_module(module).__all__

    missing = set(public) - headings(root / "docs/reference" / page)

    assert not missing


@pytest.mark.parametrize("module", ["drivebay", "drivebay.driver", "drivebay.testing"])
def test_every_public_class_and_function_has_a_docstring(module):
    public = importlib.import_module(module)

    bare = [
        name
        for name in public.__all__
        if callable(getattr(public, name)) and not (getattr(public, name).__doc__ or "").strip()
    ]

    assert not bare


def test_every_command_is_in_the_reference_with_a_sentence_of_help(root, generator):
    documented = headings(root / "docs/reference/cli.md")

    missing = [name for name, _, _ in generator.commands() if name not in documented]
    silent = [name for name, command, _ in generator.commands() if not command.help]

    assert not missing
    assert not silent


def test_every_exit_code_is_explained(generator):
    failures = importlib.import_module("drivebay.cli.failures")
    named = {name for name in dir(failures) if name.isupper() and not name.startswith("_")}

    assert named == set(generator.EXIT_CODES)


def test_every_error_class_is_in_the_reference_and_public(root, generator):
    drivebay = importlib.import_module("drivebay")
    classes = generator.error_classes()

    assert set(classes) <= headings(root / "docs/reference/errors.md")
    assert set(classes) <= set(drivebay.__all__)


def test_every_error_class_stands_in_the_tree_at_the_head_of_the_module(generator):
    tree = importlib.import_module("drivebay._core.errors").__doc__ or ""

    assert not [name for name in generator.error_classes() if name not in tree]


def test_every_diagnostic_code_in_the_code_is_in_the_reference(root):
    code = re.compile(r"\"([A-Z]\d{3})\b")
    page = (root / "docs/reference/diagnostics.md").read_text(encoding="utf-8")
    used = {
        found
        for source in (root / "src/drivebay").rglob("*.py")
        for found in code.findall(source.read_text(encoding="utf-8"))
    }
    documented = set(re.findall(r"^\| `([A-Z]\d{3})`", page, re.M))

    assert used == documented


def test_every_environment_variable_the_code_reads_is_in_the_reference(root):
    page = (root / "docs/reference/settings.md").read_text(encoding="utf-8")
    used = {
        found
        for source in (root / "src/drivebay").rglob("*.py")
        for found in re.findall(r"\bDRIVEBAY_[A-Z_]+\b", source.read_text(encoding="utf-8"))
    }

    assert not {name for name in used if f"`{name}`" not in page}


def test_every_page_the_code_refers_to_exists(root):
    named = {
        found
        for source in (root / "src/drivebay").rglob("*.py")
        for found in re.findall(r"docs/[\w/-]+\.md", source.read_text(encoding="utf-8"))
    }

    assert not {name for name in named if not (root / name).exists()}


def test_the_generator_makes_lists_of_docstring_sections(generator):
    text = generator.markdown(
        "Gives a thing.\n\nArgs:\n    start_v: first level,\n        in volts.\n"
        "\nRaises:\n    ValueError: too big.\n"
    )

    assert "- `start_v`: first level, in volts." in text
    assert "- `ValueError`: too big." in text
