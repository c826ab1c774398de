"""Software that others wrote against ours: their drivers on our simulators, ours on theirs.

Every entry of ``cases.yaml`` runs here. An instrument that another's simulator or driver rejects is
our bug until the manual says otherwise.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import drivebay
from drivebay import Bay, InstrumentError, LimitError, LinkTimeoutError
from drivebay.sim.circuit import Circuit
from drivebay.sim.devices import Resistor
from drivebay.sim.eventlog import EventLog
from drivebay.sim.registry import Options, kind_named
from drivebay.sim.server import ScpiServer

HERE = Path(__file__).parent
CASES = yaml.safe_load((HERE / "cases.yaml").read_text(encoding="utf-8"))
CLIENTS = [pytest.param(case, id=case["case"]) for case in CASES["clients"]]
SIMULATORS = [
    pytest.param(case, id=f"{case['driver']}-{case['file']}-{case['resource']}")
    for case in CASES["simulators"]
]
EXCHANGES = [pytest.param(case, id=case["file"]) for case in CASES["exchanges"]]
RECORDS = [pytest.param(case, id=case["file"]) for case in CASES["records"]]
SERVERS = [pytest.param(case, id=case["software"]) for case in CASES["servers"]]
PACKAGES = {
    "PyMeasure": "pymeasure",
    "QCoDeS": "qcodes",
    "pyvisa-sim": "pyvisa_sim",
    "instro": "instro",
}
# QCoDeS pins its own versions, so it lives in an environment beside ours.
PLACES = (HERE.parents[2], Path(sys.prefix).parent)


@cache
def interpreter(software: str) -> str | None:
    """A Python that has the software; None where there is none."""
    package = PACKAGES[software]
    if importlib.util.find_spec(package):
        return sys.executable
    for place in PLACES:
        python = place / ".venv-bench" / "bin" / "python"
        if python.exists() and _has(str(python), package):
            return str(python)
    return None


def _has(python: str, package: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def needed(software: str) -> str:
    python = interpreter(software)
    if python is None:
        pytest.skip(f"{software} is not installed, here or in .venv-bench")
    return python


def file_of(case: dict[str, Any]) -> Path:
    """Where the other program keeps a simulator file."""
    folder = folder_of(case["software"])
    return (folder / "instrument" / "sims" if folder.name == "qcodes" else folder) / case["file"]


def folder_of(software: str) -> Path:
    """Where the other program is installed."""
    found = f"importlib.util.find_spec({PACKAGES[software]!r})"
    code = f"import importlib.util; print(*{found}.submodule_search_locations)"
    done = subprocess.run(
        [needed(software), "-c", code], check=True, capture_output=True, text=True
    )
    return Path(done.stdout.strip())


def bench_of(tmp_path: Path, case: dict[str, Any]) -> Path:
    pytest.importorskip("pyvisa_sim")
    path = tmp_path / "bench.yaml"
    entry = {"resource": case["resource"], "visa_library": f"{file_of(case)}@sim"}
    entry |= {key: case[key] for key in ("limits", "terminator") if key in case}
    path.write_text(yaml.safe_dump({"instruments": {"theirs": entry}}), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("case", CLIENTS)
def test_a_driver_of_others_measures_a_resistor_on_our_simulator(case):
    python = needed(case["software"])
    kind = kind_named(case["simulator"])
    log = EventLog(None, True)
    port = Circuit.around(Resistor(1000.0))
    instrument = kind.make({kind.ports[0]: port}, Options(time_scale=0.0, log=log))

    with ScpiServer(instrument) as server:
        words = [python, str(HERE / "clients.py"), case["case"], server.resource]
        without = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, timeout=120, env=without
        )

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name, value in case.get("finds", {"current_a": 2e-3}).items():
        assert found[name] == pytest.approx(value, rel=1e-3), name
    for value in found.get("buffered", []):
        assert value == pytest.approx(2e-3, rel=1e-3)
    assert found["errors"] == []
    assert log.named("error", "internal_error") == []


@pytest.mark.parametrize("case", [each for each in SIMULATORS if "command" in each.values[0]])
def test_any_instrument_that_others_simulate_is_read_raw(case, tmp_path):
    how: dict[str, Any] = {"plugin": "scpi", "config": {"error_query": ""}}
    with Bay(bench=bench_of(tmp_path, case)) as bay, bay.open("theirs", **how) as instrument:
        run = instrument.measure("query", command=case["command"])

    assert run.state == "done"
    assert run["value"] == pytest.approx(np.atleast_1d(case["answers"]))


@pytest.mark.parametrize("case", [each for each in SIMULATORS if "refuses" in each.values[0]])
def test_what_was_left_in_another_command_set_is_refused_by_its_driver(
    case, tmp_path, tmp_path_factory, monkeypatch
):
    # Their file does not answer ":OUTP?", so it stays marked as not safe: not for other tests.
    monkeypatch.setenv("DRIVEBAY_LEASES", str(tmp_path_factory.mktemp("leases")))
    bench = bench_of(tmp_path, case)
    with Bay(bench=bench) as bay, bay.open("theirs", plugin=case["driver"]) as smu:
        with pytest.raises(InstrumentError, match=case["refuses"]):
            smu.measure("spot", level_v=1, compliance_a=0.01)

        assert not [each for each in smu.transcript if "OUTP ON" in str(each)]


@pytest.mark.parametrize("case", SIMULATORS)
def test_find_names_the_driver_for_it_or_none(case, tmp_path):
    with Bay(bench=bench_of(tmp_path, case)) as bay:
        (found,) = [each for each in bay.find() if each.alias == "theirs"]

    assert found.error is None
    assert (found.plugin or "") == case["finds"]


@pytest.mark.parametrize("case", [each for each in SIMULATORS if each.values[0]["finds"]])
def test_the_driver_that_is_found_opens_it_and_knows_its_model(case, tmp_path):
    with Bay(bench=bench_of(tmp_path, case)) as bay, bay.open("theirs") as instrument:
        model = instrument.identity["model"]
        idn = instrument.query("*IDN?")

    assert model
    assert model in idn


@pytest.mark.parametrize("case", EXCHANGES)
def test_what_is_set_on_what_others_simulate_is_read_back(case, tmp_path):
    how = {"plugin": case["plugin"]} if "plugin" in case else {}
    with Bay(bench=bench_of(tmp_path, case)) as bay, bay.open("theirs", **how) as instrument:
        for command in case["sends"]:
            instrument.write(command)
        if "beyond" in case:
            with pytest.raises(LimitError):
                instrument.write(case["beyond"])
        answers = {question: instrument.query(question) for question in case["asks"]}

        for command in case.get("restores", []):
            instrument.write(command)

        assert instrument.plugin_name == case["driver"]
    assert answers == case["asks"]


@pytest.mark.parametrize("case", RECORDS)
def test_what_others_simulate_is_recorded_over_time(case, tmp_path):
    how: dict[str, Any] = {"plugin": case["driver"], "config": case["config"]}
    asked = {"command": case["command"], "columns": case["columns"], "readings": 5}
    with Bay(bench=bench_of(tmp_path, case)) as bay, bay.open("theirs", **how) as instrument:
        run = instrument.measure("record", **asked)

    assert run.state == "done"
    for name, value in zip(case["columns"].split(","), case["row"], strict=True):
        assert run[name] == pytest.approx([value] * 5)
    assert (np.diff(run["time_s"]) > 0).all()


@contextmanager
def served(case: dict[str, Any]) -> Iterator[str]:
    """A simulator of others in a process of its own; where it listens."""
    # -P: the folder of the file is no place for imports; a file in it is called types.py.
    words = [
        needed(case["software"]),
        "-P",
        "-u",
        str(folder_of(case["software"]) / case["module"]),
    ]
    with subprocess.Popen([*words, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"TCPIP\S+SOCKET", process.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            process.kill()


@pytest.mark.parametrize("case", SERVERS)
def test_a_simulator_that_others_serve_is_read_and_its_refusals_are_told(case, tmp_path):
    how: dict[str, Any] = {"plugin": case["driver"], "config": {"timeout_s": 0.5}}
    with served(case) as resource, Bay() as bay, bay.open(resource, **how) as instrument:
        for command, value in case["finds"].items():
            run = instrument.measure("record", command=command, readings=3)
            assert run["value"] == pytest.approx([value] * 3, rel=0.05)

        with pytest.raises(LinkTimeoutError) as unanswered:
            instrument.measure("query", command=case["unknown"])
    told = "\n".join([str(unanswered.value), *getattr(unanswered.value, "__notes__", ())])
    assert case["unknown"] in told
    assert str(case["refuses"]) in told


@pytest.mark.parametrize("case", CASES["elsewhere"], ids=lambda case: case["test"])
def test_a_cross_test_that_is_listed_is_there(case):
    file, _, name = case["test"].partition("::")
    source = (HERE.parents[1] / file).read_text(encoding="utf-8")

    assert f"def {name}(" in source


def test_every_client_is_listed_and_every_driver_of_the_list_is_ours():
    source = (HERE / "clients.py").read_text(encoding="utf-8")
    defined = {line[4 : line.index("(")] for line in source.splitlines() if line[:4] == "def "}
    drivers = {path.parent.name for path in Path(drivebay.__file__).parent.glob("drivers/*/*.yaml")}

    assert {case["case"] for case in CASES["clients"]} == defined
    assert {case["driver"] for part in CASES.values() for case in part} <= drivers
