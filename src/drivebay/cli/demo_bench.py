"""A simulated bench as a process of its own, for the demonstrations.

What it is was asked for here, so its true values are known; what measures it is told its address
and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_READY_S: Final = 20.0


@dataclass(frozen=True)
class TrueDiode:
    """The diode the simulator is asked to be.

    Attributes:
        saturation_current_a: in amperes.
        ideality: dimensionless.
        series_resistance_ohm: in ohms.
        temperature_k: in kelvin.
    """

    saturation_current_a: float = 2.5e-9
    ideality: float = 1.75
    series_resistance_ohm: float = 0.6
    temperature_k: float = 300.0

    def options(self) -> list[str]:
        """As the simulator's command line takes it."""
        return [
            "--device=diode",
            f"--saturation-current-a={self.saturation_current_a!r}",
            f"--ideality={self.ideality!r}",
            f"--series-resistance-ohm={self.series_resistance_ohm!r}",
            f"--temperature-k={self.temperature_k!r}",
        ]


@dataclass(frozen=True)
class SimulatedBench:
    """A running simulator.

    Attributes:
        resource: its address.
        pid: its process.
        log: its own record of what happened when, JSON lines.
    """

    resource: str
    pid: int
    log: Path

    def events(self, *names: str) -> list[dict[str, Any]]:
        """What it recorded so far under these names; ``t`` is the machine's monotonic clock."""
        # A line that is being written has no end yet.
        lines = self.log.read_text("utf-8").rpartition("\n")[0].splitlines()
        return [each for each in map(json.loads, lines) if each["event"] in names]


class SimulatorError(RuntimeError):
    """The simulator did not start."""


@contextlib.contextmanager
def simulated_2400(options: Sequence[str]) -> Iterator[SimulatedBench]:
    """Run a simulated Keithley 2400 while inside.

    It ends with its standard input, so it does not outlive this program even if that is killed.

    Args:
        options: for ``python -m drivebay.sim keithley2400``.

    Raises:
        SimulatorError: it did not say that it is ready.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="drivebay-bench-"))
        log = Path(folder) / "events.jsonl"
        words = ["keithley2400", *options, f"--log={log}"]
        # A session of its own: Ctrl-C is for the measurement, which needs the instrument to stop.
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "drivebay.sim", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        try:
            yield SimulatedBench(_address(process), process.pid, log)
        finally:
            assert process.stdin is not None  # noqa: S101 - it was asked for
            process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    too_late = threading.Timer(_READY_S, process.kill)
    too_late.daemon = True
    too_late.start()
    line = process.stdout.readline()
    too_late.cancel()
    try:
        return str(json.loads(line)["resource"])
    except (ValueError, KeyError, TypeError) as exc:
        raise SimulatorError(f"the simulator did not start; it said {line.strip()!r}") from exc
