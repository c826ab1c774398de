"""The whole virtual bench from the command line: found, measured, recorded and drawn.

What is tried is read from the registry of simulators, the packaged circuit and the manifests of the
built-in drivers; a new instrument is tried as soon as it is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import drivebay
from drivebay import PluginMetadata, ranges_for
from drivebay.cli import command_tree
from drivebay.driver import STANDARD
from drivebay.sim.circuitfile import read_circuit
from drivebay.sim.registry import KINDS
from drivebay.testing import sample

SOURCE = Path(__file__).parents[2] / "src"
DRIVERS = Path(drivebay.__file__).parent / "drivers"
MANIFESTS = {
    path.parent.name: PluginMetadata.from_yaml(path) for path in DRIVERS.glob("*/plugin.yaml")
}
# All methods of every driver that serves a model; the raw one is tried on each instrument below.
CLAIMS = [
    pytest.param(name, method, id=f"{name}-{method}")
    for name, manifest in sorted(MANIFESTS.items())
    for method in manifest.supported_methods
    if manifest.supported_models
]
ENTRIES = {entry.name: entry for entry in read_circuit().instruments}
# Two instruments and a transistor; the figures are of the packaged circuit.
CURVE = (
    "--gate gate --drain drain --gate-start-v 0 --gate-stop-v 3 --points 7 --drain-v 100mV"
    " --drain-compliance-a 10mA --gate-compliance-a 1uA"
)


def command(*words: str) -> tuple[int, Any, str]:
    """Exit code, standard output as JSON and standard error of a command with ``--json``."""
    result = CliRunner().invoke(command_tree(), [*words, "--json"], prog_name="drivebay")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout) if result.stdout else None, result.stderr


@pytest.fixture(scope="module")
def bench_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``drivebay sim --all`` in a process of its own; the bench file that it wrote."""
    path = tmp_path_factory.mktemp("bench") / "virtual.yaml"
    words = ["sim", "--all", "--free-ports", "--time-scale", "0", "--json", "--bench-file", path]
    with subprocess.Popen(
        [sys.executable, "-m", "drivebay", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert json.loads(program.stdout.readline())["instruments"]
        yield path
        program.stdin.close()  # it stops at the end of its input
        assert program.wait(timeout=30) == 0


@cache
def found_on(bench: Path) -> tuple[dict[str, Any], ...]:
    code, listed, _ = command("find", "--bench", str(bench))
    assert code == 0
    return tuple(listed)


def words_of(params: dict[str, Any]) -> list[str]:
    """Parameters as options of the command line."""
    words: list[str] = []
    for name, value in params.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, list | tuple):
            words += [option, ",".join(map(str, value))]
        else:
            words += [option, str(value)]
    return words


def test_every_kind_of_simulator_is_on_the_packaged_bench():
    assert {entry.kind.name for entry in ENTRIES.values()} == set(KINDS)


def test_find_lists_and_identifies_every_instrument(bench_file):
    found = found_on(bench_file)

    assert [each["alias"] for each in found] == list(ENTRIES)
    for each in found:
        entry = ENTRIES[each["alias"]]
        model = entry.settings.get("model") or entry.kind.models[0]
        assert model.upper() in each["identity"]["model"].upper()
        assert each["plugin"] in MANIFESTS, each["error"]


def test_every_driver_that_claims_a_model_has_an_instrument_there(bench_file):
    claiming = {name for name, manifest in MANIFESTS.items() if manifest.supported_models}

    assert {each["plugin"] for each in found_on(bench_file)} == claiming


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_each_claimed_method_runs_is_recorded_and_drawn(bench_file, tmp_path, name, method):
    there = next((each for each in found_on(bench_file) if each["plugin"] == name), None)
    assert there is not None, f"no instrument of the packaged bench is served by {name}"
    ranges = ranges_for(MANIFESTS[name], there["identity"]["model"]) or {}
    # What a method of a driver's own takes has defaults, or its test could not be generated.
    spec = STANDARD.get(method)
    params = sample.smallest(spec, ranges) if spec is not None else {}
    picture = tmp_path / "run.png"
    where = ["--on", there["alias"], "--bench", str(bench_file), "--plot", str(picture)]

    code, run, said = command("measure", method, *words_of(params), *where)

    assert code == 0, said
    assert run["state"] == "done"
    assert run["columns"]
    if spec is not None:
        assert set(run["columns"]) == {column.name for column in spec.columns or ()}
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, shown, _ = command("runs", "show", run["run"])
    assert code == 0
    assert shown["method"] == method
    assert shown["state"] == "done"


@pytest.mark.parametrize("alias", sorted(ENTRIES))
def test_any_instrument_can_be_asked_raw(bench_file, alias):
    # No error queue: it is asked for in another language by each family.
    raw = ["--plugin", "scpi", "--config", "error_query=", "--bench", str(bench_file)]
    asked = ["--set", "command=*STB?", "--set", "columns=status", "--set", "readings=2"]

    code, run, said = command("measure", "record", "--on", alias, *raw, *asked)

    assert code == 0, said
    assert len(run["columns"]["status"]) == 2


def test_two_source_meters_measure_the_transfer_curve_of_one_transistor(bench_file, tmp_path):
    picture = tmp_path / "curve.png"
    where = ["--bench", str(bench_file), "--plot", str(picture)]

    code, run, said = command("measure", "transfer_curve", *CURVE.split(), *where)

    assert code == 0, said
    assert run["state"] == "done"
    drain_a = run["columns"]["drain_current_a"]
    assert drain_a[-1] > 1e-4
    assert abs(drain_a[0]) < 1e-7
    assert picture.read_bytes().startswith(b"\x89PNG")
