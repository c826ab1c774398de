"""A figure that grows while something is measured: outside a notebook, and in a real kernel."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay import AbortedError, Bay
from drivebay.plotting import LivePlot
from drivebay.sim import Diode, Keithley2400Server

pytest.importorskip("matplotlib", reason="an extra: drivebay[plot]")

ROOT = Path(__file__).parents[1]
Chunk = dict[str, Any]


def chunks(count: int) -> Iterator[Chunk]:
    for at in range(count):
        volts = np.linspace(at, at + 1, 10)
        yield {"voltage_v": volts, "current_a": volts / 50}


@pytest.fixture
def smu(tmp_path: Path) -> Iterator[Any]:
    with (
        Keithley2400Server(device=Diode(), time_scale=0.1) as server,
        Bay(home=tmp_path) as bay,
        bay.open(server.resource) as instrument,
    ):
        yield instrument


def test_the_chunks_come_through_and_nothing_is_drawn_where_nobody_looks():
    live = LivePlot(chunks(3))

    given = list(live)

    assert [chunk["voltage_v"][0] for chunk in given] == [0.0, 1.0, 2.0]
    assert (live.drawn, live.run) == (0, None)


def test_the_figure_has_all_points_so_far():
    live = LivePlot(chunks(3), units={"voltage_v": "V", "current_a": "A"})
    points = iter(live)

    next(points)
    (first,) = live.figure.axes[0].lines[:1]
    list(points)
    (last,) = live.figure.axes[0].lines[:1]

    assert (len(first.get_xdata()), len(last.get_xdata())) == (10, 30)
    assert live.figure.axes[0].get_xlabel() == "Voltage (V)"
    assert live.drawn == 2


def test_chunks_without_numbers_are_given_all_the_same():
    live = LivePlot([{"on": np.array([True])}])

    assert len(list(live)) == 1
    with pytest.raises(ValueError, match="nothing to plot"):
        _ = live.figure


def test_without_matplotlib_it_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'drivebay\[plot\]'"):
        LivePlot(chunks(1))


@pytest.mark.slow
def test_a_measurement_is_drawn_with_the_name_and_the_units_of_its_run(smu: Any):
    live = LivePlot(smu.stream("iv_sweep", start_v=0, stop_v=0.6, points=21, compliance_a=0.01))

    list(live)

    assert (live.run.state, len(live.run)) == ("done", 21)
    assert live.figure.axes[0].get_xlabel() == "Voltage (V)"
    assert live.run.id in " ".join(text.get_text() for text in live.figure.texts)


@pytest.mark.slow
def test_leaving_the_loop_stops_the_measurement_while_the_plot_is_still_held(smu: Any):
    live = LivePlot(smu.stream("iv_sweep", start_v=0, stop_v=0.6, points=2001, compliance_a=0.01))

    for _ in live:
        break

    assert live.run.state == "aborted"
    assert 0 < len(live.run) < 2001


@pytest.mark.slow
def test_an_abort_reaches_the_reader(smu: Any):
    live = LivePlot(smu.stream("iv_sweep", start_v=0, stop_v=0.6, points=2001, compliance_a=0.01))

    points = iter(live)
    next(points)
    smu.abort()
    with pytest.raises(AbortedError):
        list(points)

    assert len(live.figure.axes[0].lines[0].get_xdata()) > 0


# -- in a kernel -----------------------------------------------------------------------------------

# In a process of its own: what the Jupyter libraries warn of is not about us.
_EXECUTE = """
import json, sys, nbformat, nbclient
cells = [nbformat.v4.new_code_cell(text) for text in json.loads(sys.stdin.read())]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(json.dumps([cell.outputs for cell in notebook.cells]))
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Callable[..., list[list[dict[str, Any]]]]:
    """Run cells in a fresh kernel and return the outputs of each."""
    pytest.importorskip("nbclient", reason="a development tool")
    pytest.importorskip("ipykernel", reason="a development tool")
    import json

    def run(*cells: str) -> list[list[dict[str, Any]]]:
        places = {name: str(tmp_path / name) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
        done = subprocess.run(
            [sys.executable, "-c", _EXECUTE],
            input=json.dumps(cells),
            env=os.environ | places | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found: list[list[dict[str, Any]]] = json.loads(done.stdout)
        return found

    return run


_CHUNKS = """
import numpy as np
from drivebay.plotting import LivePlot
def chunks(count):
    for at in range(count):
        volts = np.linspace(at, at + 1, 10)
        yield {"voltage_v": volts, "current_a": volts / 50}
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["", "%matplotlib inline\n"])
def test_in_a_notebook_one_picture_is_drawn_anew(kernel: Any, backend: str):
    _, shown, said, last = kernel(
        backend + _CHUNKS,
        "live = LivePlot(chunks(4), every_s=0)\nfor chunk in live:\n    pass",
        "print(live.drawn)",
        "live.figure",
    )

    assert [output["output_type"] for output in shown] == ["display_data"]
    picture = base64.b64decode(shown[0]["data"]["image/png"])
    assert picture.startswith(b"\x89PNG")
    # Every drawing replaced the one before: what stands there is the figure with all points.
    assert shown[0]["data"]["image/png"] == last[0]["data"]["image/png"]
    assert 2 <= int(said[0]["text"]) <= 4


@pytest.mark.slow
def test_in_a_notebook_what_cannot_be_drawn_is_measured_all_the_same(kernel: Any):
    _, shown, said = kernel(
        _CHUNKS,
        "live = LivePlot([{'on': np.array([True])}] * 3, every_s=0)\nfor _ in live: pass",
        "print(live.drawn, live.problem)",
    )

    assert shown == []
    assert said[0]["text"].startswith("0 nothing to plot")


@pytest.mark.slow
def test_in_a_notebook_the_last_points_are_drawn_though_it_was_not_yet_time(kernel: Any):
    _, shown, last = kernel(
        _CHUNKS, "live = LivePlot(chunks(4), every_s=1e6)\nfor _ in live: pass", "live.figure"
    )

    assert shown[0]["data"]["image/png"] == last[0]["data"]["image/png"]
