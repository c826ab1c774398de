"""Makes the run files of format 1 in this folder; they are kept, because today's code cannot.

Run it with the sources of a commit whose ``FORMAT_VERSION`` is 1 (the last is cf5bea8):
``git worktree add OLD cf5bea8 && PYTHONPATH=OLD/src python tests/core/format1/make.py``
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from drivebay._core.runs import RunStore, RunWriter, fileformat

HERE = Path(__file__).parent
COLUMNS = [("voltage_v", "V", "float"), ("count", "", "int"), ("ok", "", "bool")]


def begin(folder: Path) -> RunWriter:
    return RunStore(folder).create(
        method="iv_sweep",
        plugin={"name": "keithley_2400", "version": "1.0.0", "sha256": "ab" * 32},
        identity={"manufacturer": "KEITHLEY", "model": "2400", "serial": "1", "firmware": "C30"},
        resource="TCPIP::127.0.0.1::5025::SOCKET",
        parameters={"start_v": -1.0, "stop_v": 1.0, "points": 30},
        columns=COLUMNS,
        provenance={"user": "ada"},
    )


def chunk(number: int) -> dict[str, Any]:
    count = np.arange(10) + 10 * number
    return {"voltage_v": count / 8, "count": count, "ok": count % 2 == 0}


def done(folder: Path) -> Path:
    with begin(folder) as writer:
        for number in range(3):
            writer.append(chunk(number))
    return writer.path


def interrupted(folder: Path) -> Path:
    """Its writer is killed; the store has made one file of it."""
    if not (pid := os.fork()):
        writer = begin(folder)
        for number in range(2):
            writer.append(chunk(number))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    return RunStore(folder).open("last").path


def with_all(folder: Path) -> Path:
    """Results, events, and an end that was not done."""
    writer = begin(folder)
    writer.add_event("reload", {"plugin": "keithley_2400"})
    writer.append(chunk(0))
    writer.add_values({"resistance_ohm": 50.0, "hole": float("nan")})
    writer.add_event("abort", "by ada")
    writer.finish("aborted", "by ada")
    return writer.path


if __name__ == "__main__":
    if fileformat.FORMAT_VERSION != 1:
        sys.exit("this needs the sources of an old commit, see above")
    for make in (done, interrupted, with_all):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(make(Path(folder)), HERE / f"{make.__name__}.sqlite")
