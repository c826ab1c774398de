"""What the command-line tests share: the command in this process, and as one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from drivebay.cli import command_tree
from drivebay.sim import Diode, Keithley2400Server

SOURCE = Path(__file__).parents[2] / "src"
SWEEP = ["--start-v", "0", "--stop-v", "0.6", "--points", "13", "--compliance-a", "10mA"]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON value it must be."""
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def drivebay() -> Command:
    """Run a command in this process: ``drivebay("plugins", "list")``."""

    def run(*words: str) -> Outcome:
        result = CliRunner().invoke(command_tree(), list(words), prog_name="drivebay")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment in which another Python finds this checkout, with or without installing it."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return dict(os.environ)


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process of its own; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(
        *words: str, add: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        settings: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": environment | (add or {}),
            # A runner started in the background ignores SIGINT, and its children inherit that.
            "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        } | options
        process = subprocess.Popen([sys.executable, "-m", "drivebay", *words], **settings)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def process(start: Callable[..., subprocess.Popen[str]]) -> Command:
    """Run a command as a process of its own, to its end."""

    def run(*words: str, **options: Any) -> Outcome:
        running = start(*words, **options)
        out, err = running.communicate(timeout=60)
        return Outcome(running.returncode, out, err)

    return run


@pytest.fixture
def bench() -> Iterator[Keithley2400Server]:
    """A simulated 2400 with a diode that takes no time to measure."""
    with Keithley2400Server(device=Diode(), time_scale=0, log_traffic=True) as server:
        yield server


@pytest.fixture
def user_plugins(home: Path) -> Path:
    """The folder in which a user keeps plugins."""
    folder = home / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture
def bench_file(home: Path, bench: Keithley2400Server) -> Callable[..., Path]:
    """Write a bench file into the home folder that calls the simulated instrument ``smu1``."""

    def write(**more: Any) -> Path:
        path = home / "bench.yaml"
        keys = {"resource": bench.resource} | more
        path.write_text(yaml.safe_dump({"instruments": {"smu1": keys}}), encoding="utf-8")
        return path

    return write


HOLDING = """\
import sys
from drivebay import Bay
with Bay() as bay, bay.open(sys.argv[1]) as smu:
    smu.write(":OUTP ON")
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(bench: Keithley2400Server, environment: dict[str, str]) -> Iterator[int]:
    """Another program that holds the simulated instrument, its output on; its process id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, bench.resource],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "holding\n"
        yield program.pid
