"""``drivebay demo --reload``: a driver is edited, and broken, under an open instrument.

The driver is a copy of the built-in one in a temporary folder. The edits are text edits, saved as
an editor saves; everything after the save is the engine's own doing.
"""

from __future__ import annotations

import difflib
import os
import queue
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.demo import Story, introduce, look, told_load
from drivebay.cli.demo_bench import SimulatedBench, SimulatorError, simulated_2400
from drivebay.cli.failures import ABORTED
from drivebay.cli.measure import Aborted, record, tell_abort
from drivebay.cli.output import emit
from drivebay.plotting import engineering

if TYPE_CHECKING:
    from drivebay import Bay, Instrument, PluginEvent, Run

PLUGIN: Final = "keithley_2400"
OHM: Final = 1e6
SWEEP: Final = {
    "start_v": -1.0,
    "stop_v": 1.0,
    "points": 201,
    "compliance_a": 1e-5,
    "nplc": 0.01,
}
# What the driver says and what the edit makes of it: the instrument's filter, ten readings each.
BEFORE: Final = '":SENS:AVER OFF"'
AFTER: Final = '":SENS:AVER:TCON REP", ":SENS:AVER:COUN 10", ":SENS:AVER ON"'
BROKEN: Final = "\n    def unfinished(self\n"
_WAIT_S: Final = 20.0


@dataclass(frozen=True)
class Edit:
    """A save, and what the engine made of it."""

    event: PluginEvent
    took_s: float


class LiveDriver:
    """The driver file being edited, and the news of its plugin.

    The bay listens first: when the news is here, the open instrument has the new code.
    """

    def __init__(self, bay: Bay, file: Path) -> None:
        self.file = file
        self._news: queue.Queue[tuple[PluginEvent, float]] = queue.Queue()
        bay.plugins.subscribe(lambda event: self._news.put((event, time.monotonic())))

    def save(self, text: str) -> Edit:
        """Save the file as an editor does, and wait for what the watch makes of it.

        Raises:
            SimulatorError: the watch said nothing.
        """
        beside = self.file.with_name("driver.py~")
        beside.write_text(text, encoding="utf-8")
        saved_s = time.monotonic()
        os.replace(beside, self.file)
        while True:
            try:
                event, came_s = self._news.get(timeout=_WAIT_S)
            except queue.Empty:
                raise SimulatorError(
                    f"no reload within {_WAIT_S:g} s of saving {self.file}"
                ) from None
            if event.kind in {"reloaded", "reload_failed"}:
                return Edit(event, came_s - saved_s)


@contextmanager
def _copy_of_built_in() -> Iterator[Path]:
    """A temporary plugin folder with a copy of the built-in driver; the path of the folder."""
    from drivebay import PluginManager

    manager = PluginManager()
    manager.discover_plugins()
    sources = [*manager.plugins.values(), *manager.shadowed]
    original = next(
        (i for i in sources if i.metadata.name == PLUGIN and i.source == "builtin"), None
    )
    if original is None:
        raise SimulatorError(f"the built-in driver {PLUGIN} is not installed")
    with tempfile.TemporaryDirectory(prefix="drivebay-demo-") as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(original.path).parent, Path(folder) / PLUGIN, ignore=ignored)
        yield Path(folder)


def demo_reload(as_json: bool) -> int | None:
    """Sweep, edit the driver, sweep, break it, sweep; one open instrument throughout."""
    story = Story(as_json)
    # Readings as quick as they come: it is their noise that shows which code ran.
    options = ["--device=resistor", f"--ohm={OHM!r}", "--serial-number=SIM2400"]
    try:
        with simulated_2400(options) as bench, _copy_of_built_in() as folder:
            introduce(story, bench, "a resistor of 1 MΩ")
            result = _edit_live(story, bench, folder)
    except Aborted as exc:
        tell_abort(exc, as_json)
        return ABORTED
    if as_json:
        emit(result)
    return None


def _edit_live(story: Story, bench: SimulatedBench, folder: Path) -> dict[str, Any]:
    from drivebay import Bay

    file = folder / PLUGIN / "driver.py"
    first = file.read_text(encoding="utf-8")
    second = first.replace(BEFORE, AFTER)
    if second == first:
        raise SimulatorError(f"{file} does not contain {BEFORE}, which the demonstration edits")
    with Bay(plugin_dirs=[folder]) as bay:
        story.step("copy", f"the built-in driver, into {folder}")
        found = look(story, bay, bench.resource)
        with bay.open(found.resource) as smu, bay.watch():
            driver = LiveDriver(bay, file)
            told_load(story, smu)
            connections = len(bench.events("connection_opened"))
            keepers, hosts = [smu.keeper_pid], [smu.host_pid]
            sweeps = [_sweep(story, smu)]

            edit = driver.save(second)
            story.step("edit", f"{file.name}: ten readings a point, by the instrument's own filter")
            _tell_difference(story, first, second)
            _tell_reload(story, smu, edit, hosts[0])
            keepers.append(smu.keeper_pid)
            hosts.append(smu.host_pid)
            sweeps.append(_sweep(story, smu))
            better = sweeps[0]["noise_a"] / sweeps[1]["noise_a"]
            story.line(f"              {better:.1f} times less noise: that is the new code")

            broken = driver.save(second + BROKEN)
            story.step("break", f"{file.name}: a line that is no Python")
            _tell_difference(story, second, second + BROKEN)
            for line in broken.event.message.splitlines():
                story.line(click.style(f"              {line}", fg="red"))
            story.line(f"              generation {smu.plugin.generation} goes on (degraded)")
            sweeps.append(_sweep(story, smu))
            connections = len(bench.events("connection_opened")) - connections
            story.line()
            story.line(
                "The instrument was opened once. Code that loads takes over the open session;"
            )
            story.line("code that does not changes nothing but the plugin's record.")
            return {
                "simulated": True,
                "idn": found.idn,
                "sweeps": sweeps,
                "reloaded_after_s": edit.took_s,
                "reloads": smu.reloads,
                "reconnects": smu.reconnects,
                "new_connections": connections,
                "keeper_pids": keepers,
                "host_pids": hosts,
                "reload_error": broken.event.message,
                "degraded": smu.plugin.degraded,
            }


def _sweep(story: Story, smu: Instrument) -> dict[str, Any]:
    info = smu.plugin
    run, _ = record(smu, "iv_sweep", SWEEP, on_stderr=False)
    noise_a = noise_of(run)
    story.step(
        "sweep",
        f"{len(run)} points with generation {info.generation} (sha256 {run.plugin['sha256'][:12]}):"
        f" noise {engineering(noise_a, 'A', 2)}, {engineering(run.duration_s, 's', 2)}",
    )
    return {
        "run": run.id,
        "generation": info.generation,
        "sha256": run.plugin["sha256"],
        "noise_a": noise_a,
        "duration_s": run.duration_s,
    }


def noise_of(run: Run) -> float:
    """Standard deviation of the current about the best straight line, in amperes."""
    import numpy as np

    volt, amp = run["voltage_v"], run["current_a"]
    return float(np.std(amp - np.polyval(np.polyfit(volt, amp, 1), volt)))


def _tell_difference(story: Story, old: str, new: str) -> None:
    for line in difflib.ndiff(old.splitlines(), new.splitlines()):
        if line[:1] in "+-" and line[2:].strip():
            colour = "green" if line[0] == "+" else "red"
            story.line(click.style(f"              {line[0]} {line[2:].strip()}", fg=colour))


def _tell_reload(story: Story, smu: Instrument, edit: Edit, before: int | None) -> None:
    info = smu.plugin
    story.step(
        "reload",
        f"generation {info.generation}, sha256 {(info.sha256 or '')[:12]}, has the open instrument"
        f" {edit.took_s * 1000:.0f} ms after the save",
    )
    story.line(
        f"              driver's process {before} -> {smu.host_pid}, keeper {smu.keeper_pid} as"
        f" before, {smu.reconnects} reconnects"
    )
