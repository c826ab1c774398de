"""What the pages and ``examples/`` show, runs: each in a process of its own, on a simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivebay.sim import Diode, Keithley2400Server

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# The address every page writes; the simulator of a test listens elsewhere.
WRITTEN = "TCPIP::127.0.0.1::5025::SOCKET"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def simulated() -> Iterator[str]:
    """The resource of a simulated 2400 with a diode, quick: a tenth of the real one's time."""
    with Keithley2400Server(device=Diode(), time_scale=0.1) as server:
        yield server.resource


def run(program: list[str], folder: Path) -> str:
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, *program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example, tmp_path, simulated):
    said = run([str(example), simulated], tmp_path)

    assert said.strip()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_on_a_page_runs_from_top_to_bottom(
    page, tmp_path, blocks_of, generator, request
):
    blocks = [
        block
        for block in blocks_of(page)
        if block.language == "python" and not block.title and not block.fragment
    ]
    for block in blocks_of(page):
        if block.title:  # a file the reader writes
            (tmp_path / block.title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    generated = page.parent.name == "reference" and page.name in generator.PAGES
    if generated or not blocks:
        return  # signatures are no programs

    program = "\n".join(block.text for block in blocks)
    if WRITTEN in program:
        program = program.replace(WRITTEN, request.getfixturevalue("simulated"))
    run(["-c", program], tmp_path)


def test_no_page_or_example_searches_the_network_of_whoever_runs_the_tests(blocks_of):
    shown = [path.read_text(encoding="utf-8") for path in EXAMPLES]
    shown += [
        block.text for page in PAGES for block in blocks_of(page) if block.language == "python"
    ]

    assert not [text for text in shown if ".find()" in text.replace("# bay.find()", "")]


def test_there_is_python_to_run_in_the_readme_and_in_each_tutorial(blocks_of):
    for page in [ROOT / "README.md", ROOT / "docs/tutorials/first-measurement.md"]:
        assert [block for block in blocks_of(page) if block.language == "python"]
