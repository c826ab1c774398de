"""Pages lead where they say, and the commands they show exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def pages(root: Path) -> list[Path]:
    return [
        root / "README.md",
        root / "CONTRIBUTING.md",
        root / "tests/README.md",
        *sorted((root / "docs").rglob("*.md")),
    ]


def test_every_relative_link_leads_to_a_file(root):
    dead = []
    for page in pages(root):
        for target in re.finditer(LINK, page.read_text(encoding="utf-8")):
            link = target[1] or target[2]
            if "://" in link or link.startswith(("#", "mailto:")):
                continue
            if not (page.parent / link.split("#")[0]).exists():
                dead.append(f"{page.relative_to(root)}: {link}")

    assert not dead


def test_every_page_under_docs_is_in_the_navigation(root):
    navigation = (root / "mkdocs.yml").read_text(encoding="utf-8")
    docs = root / "docs"

    lost = [
        str(page.relative_to(docs))
        for page in sorted(docs.rglob("*.md"))
        if f" {page.relative_to(docs)}\n" not in navigation
        and page.parent.name != "decisions"  # reached through their index
    ]

    assert not lost


def test_the_readme_is_one_screen_and_says_what_was_proven_and_what_only_reads(root):
    text = (root / "README.md").read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 70
    assert "proven on simulators" in text
    assert "`drivebay report RESOURCE`" in text


def shown_commands(text: str) -> list[list[str]]:
    """Every ``drivebay ...`` that a page shows at a prompt or as inline code."""
    at_prompt = re.findall(r"^\$ (?:\S+/)?(drivebay .*)$", text, re.M)
    inline = re.findall(r"`(drivebay [^`\n]+)`", text)
    return [shlex.split(line.split(" | ")[0].split(" > ")[0]) for line in at_prompt + inline]


def test_every_command_and_option_the_pages_show_exists(root, generator):
    known = {name: (command, context) for name, command, context in generator.commands()}
    wrong = []
    for page in pages(root):
        if page.name == "cli.md":
            continue
        for words in shown_commands(page.read_text(encoding="utf-8")):
            name = longest_command(words, known)
            command, context = known[name]
            options = {
                option
                for parameter in command.get_params(context)
                for option in [*parameter.opts, *parameter.secondary_opts]
            }
            if name == "drivebay" and len(words) > 1 and not words[1].startswith("-"):
                wrong.append(f"{page.relative_to(root)}: {' '.join(words)}: no such command")
            if context.ignore_unknown_options:
                continue  # its options are those of the method, or of the simulator
            wrong += [
                f"{page.relative_to(root)}: {' '.join(words)}: no option {word}"
                for word in words
                if word.startswith("--") and word.split("=")[0] not in options
            ]

    assert not wrong


def longest_command(words: list[str], known: dict[str, object]) -> str:
    for end in range(len(words), 0, -1):
        if " ".join(words[:end]) in known:
            return " ".join(words[:end])
    raise AssertionError(words)


@pytest.mark.parametrize(
    "line", ["$ drivebay plugins list --json | head", "use `drivebay plugins list --json` for"]
)
def test_commands_are_found_at_prompts_and_in_sentences(line):
    assert shown_commands(line) == [["drivebay", "plugins", "list", "--json"]]
