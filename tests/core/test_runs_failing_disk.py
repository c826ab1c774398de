"""A disk that fails under a run: said with a remedy, and nothing acknowledged is missing.

The same error at every single request to the disk, one run for each, and whole measurements on a
disk that is really full.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore
from powercut import Disk

SRC = Path(__file__).parents[2] / "src"
SOAK = int(os.environ.get("DRIVEBAY_SOAK", "1"))
COLUMNS = [("x", "V", "float")]
CHUNKS = 12
REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EIO: "copy what is there to another one",
}


@dataclass
class Attempt:
    """One run on a failing disk: what was acknowledged, what was said."""

    rows: int = 0
    id: str | None = None
    ended: bool = False
    said: list[str] = field(default_factory=list)


def measure(store: RunStore, attempt: Attempt) -> None:
    """As a recorder does it: the first error stops the run, which is ended as failed."""
    writer = store.create(method="m", columns=COLUMNS)
    attempt.id = writer.id
    try:
        for number in range(CHUNKS):
            writer.append({"x": np.arange(300.0) + 300 * number})
            attempt.rows += 300
        writer.finish("done")
        attempt.ended = True
    except StoreError as exc:
        attempt.said.append(str(exc))
        if not writer.ended:
            writer.finish("failed", str(exc))
            attempt.ended = True


def attempt_on(disk: Disk, fails_at: int, error: int, *, once: bool) -> tuple[Attempt, int]:
    """Run with an error at one request to the disk, or at all from that one on."""
    asked = 0

    def fault(kind: str, name: str) -> int:
        nonlocal asked
        if name.startswith("runs/catalogue"):
            return 0
        asked += 1
        wrong = asked == fails_at if once else asked >= fails_at
        return error if wrong else 0

    attempt = Attempt()
    with disk.recording():
        disk.fault = fault
        try:
            measure(RunStore(disk.root / "runs"), attempt)
        except StoreError as exc:
            attempt.said.append(str(exc))
        disk.fault = lambda kind, name: 0
    return attempt, asked


@pytest.mark.slow
@pytest.mark.parametrize("once", [True, False], ids=["once", "for good"])
@pytest.mark.parametrize("error", REMEDIES, ids=["full", "broken"])
def test_whichever_request_the_disk_refuses_nothing_acknowledged_is_missing(
    tmp_path: Path, error: int, once: bool
):
    _, requests = attempt_on(Disk(tmp_path / "fine"), 0, error, once=True)
    refused = 0
    for fails_at in range(1, requests + 1, max(1, 7 // SOAK)):
        disk = Disk(tmp_path / f"{fails_at}")
        disk.root.mkdir()

        attempt, _ = attempt_on(disk, fails_at, error, once=once)

        store = RunStore(disk.root / "runs")
        runs = store.list()
        assert [run.id for run in runs if run.id == attempt.id] == [attempt.id] * bool(attempt.id)
        for run in runs:
            assert run.verify() == ()
            assert len(run) % 300 == 0  # no half chunk
            assert len(run) >= attempt.rows
            assert run["x"].tolist() == list(range(len(run)))
            assert run.state in {"done", "failed", "interrupted"}
            assert run.state != "interrupted" or not attempt.ended
        refused += bool(attempt.said)
        assert all(REMEDIES[error] in text for text in attempt.said), attempt.said
        assert store.create(method="m").finish("done").state == "done"
    assert refused > 2


def test_without_a_fault_the_same_run_is_done(tmp_path: Path):
    """The control: what fails above fails because of the fault."""
    (tmp_path / "disk").mkdir()
    attempt, requests = attempt_on(Disk(tmp_path / "disk"), 0, errno.EIO, once=True)

    assert (attempt.ended, attempt.rows, attempt.said) == (True, 300 * CHUNKS, [])
    assert requests > 3 * CHUNKS


# Measures again and again on a disk with ever so little room, and says what came of each.
FILLING = """
import errno, json, os, random, sys
from pathlib import Path

from drivebay import Bay, StoreError
from drivebay.sim import Keithley2400Server, Resistor

home, times = Path(sys.argv[1]), int(sys.argv[2])
runs = home / "runs"
ballast = runs / "ballast"
dice = random.Random(9)


def leave(room):
    space = os.statvfs(runs)
    with ballast.open("wb") as file:
        file.write(bytes(max(0, space.f_bavail * space.f_frsize - room)))


def attempt(smu, server):
    said, rows, found = None, 0, None
    before = len(server.log.named("message"))
    try:
        stream = smu.stream("iv_sweep", start_v=0, stop_v=1, points=2500, compliance_a=0.1)
        for chunk in stream:
            rows += len(chunk["voltage_v"])
    except StoreError as exc:
        said, found = str(exc), exc.run_id
    ballast.unlink()
    on = len(server.log.named("output_on")) - len(server.log.named("output_off"))
    report = {"said": said, "acknowledged": rows, "on": on, "run": found,
              "asked": len(server.log.named("message")) - before}
    if found:
        run = bay.runs.open(found)
        report |= {"rows": len(run), "state": run.state, "reason": run.reason,
                   "whole": run.verify() == (), "same": len(run["voltage_v"]) == len(run)}
    return report


with Keithley2400Server(device=Resistor(1000.0), time_scale=0.0, log_traffic=True) as server:
    with Bay(home=home) as bay:
        smu = bay.open(server.resource)
        for _ in range(times):
            leave(dice.randrange(20_000, 500_000))
            report = attempt(smu, server)
            small = smu.measure("iv_sweep", start_v=0, stop_v=1, points=3, compliance_a=0.1)
            print(json.dumps(report | {"afterwards": small.state}), flush=True)
            for path in runs.rglob("2*"):
                if path.is_file():
                    path.unlink()
"""


def on_a_small_disk(script: str, home: Path, *given: object) -> list[dict[str, Any]]:
    """Run a program with its runs on a disk of 1 MB, in a mount namespace of its own."""
    (home / "runs").mkdir(parents=True)
    mount = f'mount -t tmpfs -o size=1m tmpfs "{home}/runs" && exec "$@"'
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1) here")
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk for a test")
    done = subprocess.run(
        [*inside, sys.executable, "-c", script, str(home), *map(str, given)],
        env=os.environ | {"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100 * SOAK,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_on_a_full_disk_the_output_is_off_the_run_says_why_and_the_bay_goes_on(tmp_path: Path):
    reports = on_a_small_disk(FILLING, tmp_path / "home", 20 * SOAK)

    assert len(reports) == 20 * SOAK
    for report in reports:
        assert report["on"] == 0, report
        assert report["afterwards"] == "done"
        if report["said"] is None:
            continue
        assert "make room on that disk" in report["said"]
        if report["run"] is None:
            assert report["acknowledged"] == 0
            continue
        assert report["rows"] >= report["acknowledged"], report
        assert report["whole"], report
        assert report["same"], report
        assert report["state"] in {"failed", "interrupted"}
        assert report["reason"]
    kinds = {(report["said"] is None, report["run"] is None) for report in reports}
    assert (False, False) in kinds, "some runs must really have been cut short"


# One run ends, the writer of another dies, and then the disk becomes read-only.
WRITING = """
import os, sys
from drivebay._core.runs import RunStore
store = RunStore(sys.argv[1])
for x, dies in ([1.0, 2.0], False), ([3.0], True):
    writer = store.create(method="m", columns=[("x", "V", "float")])
    writer.append({"x": x})
    if dies:
        os._exit(9)
    writer.finish("done")
"""
READ_ONLY = """
import json, subprocess, sys
from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore
folder = f"{sys.argv[1]}/runs"
subprocess.run([sys.executable, "-c", sys.argv[2], folder], check=False)
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
store, said = RunStore(folder), []
dead, done = store.list()
for attempt in lambda: store.create(method="m"), lambda: done.tag("good"):
    try:
        attempt()
    except StoreError as exc:
        said.append(str(exc))
found = [[run.state, run["x"].tolist()] for run in (dead, done)]
print(json.dumps({"said": said, "found": found}))
"""


@pytest.mark.slow
def test_a_read_only_disk_is_read_and_says_what_to_do_when_it_is_written(tmp_path: Path):
    (report,) = on_a_small_disk(READ_ONLY, tmp_path / "home", WRITING)

    assert report["found"] == [["interrupted", [3.0]], ["done", [1.0, 2.0]]]
    assert len(report["said"]) == 2
    assert all("a folder that may be written to" in text for text in report["said"])
