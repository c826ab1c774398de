"""What the pages and ``examples/`` show, runs: each in a process of its own, on a simulator.

A notebook runs in a real kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivebay.sim import Diode, Keithley2400Server

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
# The address every page writes; the simulator of a test listens elsewhere.
WRITTEN = "TCPIP::127.0.0.1::5025::SOCKET"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def simulated() -> Iterator[str]:
    """The resource of a simulated 2400 with a diode, quick: a tenth of the real one's time."""
    with Keithley2400Server(device=Diode(), time_scale=0.1) as server:
        yield server.resource


def run(program: list[str], folder: Path, **settings: str) -> str:
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT / "src")} | settings
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


_EXECUTE = """
import json, sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(json.dumps([cell.get("outputs", []) for cell in notebook.cells]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_in_a_kernel_and_shows_what_it_says(notebook, tmp_path, monkeypatch):
    pytest.importorskip("nbclient", reason="a development tool")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "DRIVEBAY_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))

    # Without MPLBACKEND, which would keep a kernel from showing figures as users see them.
    cells = json.loads(run(["-c", _EXECUTE, str(notebook)], tmp_path, MPLBACKEND=""))

    outputs = [output for cell in cells for output in cell]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert shown.count("image/png") >= 2  # the live figure and the last one
    assert shown.count("text/html") >= 2  # the run and its frame


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_put_out(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]

    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"]]


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
    files = {block.title: block.text for block in blocks_of(page) if block.title}
    generated = page.parent.name == "reference" and page.name in generator.PAGES
    if generated or not blocks:
        return  # signatures are no programs

    program = "\n".join(block.text for block in blocks)
    address = WRITTEN
    if any(WRITTEN in text for text in (program, *files.values())):
        address = request.getfixturevalue("simulated")
    for name, text in files.items():  # which the reader writes
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace(WRITTEN, address), encoding="utf-8")
    run(["-c", program.replace(WRITTEN, address)], tmp_path)


def test_no_page_or_example_searches_the_network_of_whoever_runs_the_tests(blocks_of):
    shown = [path.read_text(encoding="utf-8") for path in [*EXAMPLES, *NOTEBOOKS]]
    shown += [
        block.text for page in PAGES for block in blocks_of(page) if block.language == "python"
    ]

    assert not [text for text in shown if ".find()" in text.replace("# bay.find()", "")]


def test_there_is_python_to_run_in_the_readme_and_in_each_tutorial(blocks_of):
    for page in [ROOT / "README.md", ROOT / "docs/tutorials/first-measurement.md"]:
        assert [block for block in blocks_of(page) if block.language == "python"]
