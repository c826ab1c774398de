"""``drivebay demo``: the main job from end to end, on a simulated bench.

The bench is started, and its true values are compared at the end; between those two steps nothing
knows that the instrument is simulated.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.demo_bench import SimulatedBench, TrueDiode, simulated_2400
from drivebay.cli.failures import ABORTED
from drivebay.cli.measure import Aborted, record, tell_abort
from drivebay.cli.output import emit, heading, json_option
from drivebay.cli.runs import rows_table

if TYPE_CHECKING:
    from drivebay import Bay, Found, Instrument, Run

DIODE: Final = TrueDiode()
SWEEP: Final = {
    "start_v": 0.0,
    "stop_v": 0.8,
    "points": 161,
    "compliance_a": 0.01,
    "nplc": 0.5,
}
_SERIAL: Final = "SIM2400"
_ROWS: Final = 11


class Story:
    """Numbered steps on standard output; silent when the result is to be JSON."""

    def __init__(self, silent: bool) -> None:
        self.silent = silent
        self._count = 0

    def step(self, name: str, text: str) -> None:
        """Say what was done."""
        self._count += 1
        self.line(f"{self._count:2}  {click.style(name.ljust(9), bold=True)} {text}")

    def line(self, text: str = "") -> None:
        """Say something."""
        if not self.silent:
            click.echo(text)


@click.command()
@click.option(
    "--reload", "live_edit", is_flag=True, help="Edit a copy of the driver while it is in use."
)
@click.option("--crash", is_flag=True, help="Kill the driver's process in the middle of a sweep.")
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the plot; by default beside the run.",
)
@json_option
def demo(live_edit: bool, crash: bool, output: Path | None, as_json: bool) -> int | None:
    """Find a simulated instrument, sweep a diode with it, show and keep the result.

    Starts a simulated Keithley 2400 in a process of its own, finds it, chooses and loads its
    driver, measures an I-V curve, fits it and compares the fit with the simulated diode. The run
    and a plot are kept. With --reload it edits a copy of the driver, and breaks it, under an open
    instrument. With --crash it kills the driver's process in the middle of a sweep and goes on.
    """
    if live_edit and crash:
        raise click.UsageError("give either --reload or --crash")
    if live_edit:
        from drivebay.cli.demo_reload import demo_reload

        return demo_reload(as_json)
    if crash:
        from drivebay.cli.demo_crash import demo_crash

        return demo_crash(as_json)
    story = Story(as_json)
    started_s = time.monotonic()
    try:
        with simulated_2400([*DIODE.options(), f"--serial-number={_SERIAL}"]) as bench:
            introduce(story, bench, f"a diode ({_true_text()})")
            result = _measure_diode(story, bench.resource, output)
    except Aborted as exc:
        tell_abort(exc, as_json)
        return ABORTED
    result["elapsed_s"] = round(time.monotonic() - started_s, 3)
    if as_json:
        emit(result)
    return None


def introduce(story: Story, bench: SimulatedBench, device: str) -> None:
    """Say what the bench is, before anything is measured."""
    story.line(heading("The instrument in this demonstration is simulated."))
    story.line(
        "It is a process of its own that speaks SCPI on a TCP socket, as the real one would."
    )
    story.line()
    story.step("bench", f"a simulated Keithley 2400 with {device}, process {bench.pid}")


def _true_text() -> str:
    from drivebay.plotting import engineering

    return (
        f"n = {DIODE.ideality:g}, Is = {engineering(DIODE.saturation_current_a, 'A')}, "
        f"Rs = {engineering(DIODE.series_resistance_ohm, 'ohm')}"
    )


def _measure_diode(story: Story, resource: str, output: Path | None) -> dict[str, Any]:
    from drivebay import Bay
    from drivebay.plotting import engineering

    with Bay() as bay:
        found = look(story, bay, resource)
        with bay.open(found.resource) as smu:
            told_load(story, smu)
            story.step(
                "sweep",
                f"iv_sweep {SWEEP['start_v']:g} to {SWEEP['stop_v']:g} V, {SWEEP['points']} points,"
                f" never above {engineering(SWEEP['compliance_a'], 'A')}",
            )
            with _importing("scipy.optimize", "matplotlib.figure"):
                run, _ = record(smu, "iv_sweep", SWEEP, curve=not story.silent, on_stderr=False)
        _show_rows(story, run)
        fit = _fit(story, run)
        plot = _plot(story, run, output)
        story.step("run", f"{run.id}, {run.state}: {run.path}")
        _next_commands(story, run)
        return {
            "simulated": True,
            "run": run.id,
            "state": run.state,
            "file": str(run.path),
            "plot": str(plot) if plot else None,
            "resource": found.resource,
            "idn": found.idn,
            "plugin": run.plugin,
            "rows": len(run),
            "fit": fit,
            "true": {
                "ideality": DIODE.ideality,
                "saturation_current_a": DIODE.saturation_current_a,
                "series_resistance_ohm": DIODE.series_resistance_ohm,
            },
        }


@contextlib.contextmanager
def _importing(*modules: str) -> Iterator[None]:
    """Import what comes next while the instrument is busy; what is not installed is left out."""

    def work() -> None:
        for name in modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)

    importing = threading.Thread(target=work, name="drivebay-imports", daemon=True)
    importing.start()
    yield
    importing.join()


def look(story: Story, bay: Bay, resource: str) -> Found:
    """Discover plugins, find the instrument and choose the plugin, telling each step."""
    from drivebay import LinkOpenError, NoDriverError

    names = list(bay.plugins.plugins)
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    story.step("plugins", f"{len(names)} found, none imported yet: {shown}")
    found = bay.find([resource])[0]
    if found.idn is None:
        raise LinkOpenError(f"{found.resource}: {found.error}", resource=found.resource)
    story.step("find", f"{found.resource} answers *IDN? with")
    story.line(f"              {found.idn}")
    if found.plugin is None:
        raise NoDriverError(f"no usable plugin serves {found.idn!r}")
    chosen = next(each for each in found.candidates if each.plugin == found.plugin)
    story.step("choose", f"{found.plugin}, because it {', and '.join(chosen.why)}")
    return found


def told_load(story: Story, smu: Instrument) -> None:
    """Say which code is in service, and where it runs."""
    plugin = smu.plugin
    metadata = plugin.metadata
    took = f", in {plugin.load_duration_s * 1000:.0f} ms" if plugin.load_duration_s else ""
    story.step(
        "load",
        f"{metadata.name} {metadata.version} ({plugin.source}), generation {plugin.generation},"
        f" sha256 {(plugin.sha256 or '')[:12]}{took}",
    )
    story.line(
        f"              in a process of its own, {smu.host_pid}; the keeper, process"
        f" {smu.keeper_pid}, holds the link"
    )


def _show_rows(story: Story, run: Run) -> None:
    limited = int(run["in_compliance"].sum())
    story.line()
    for line in rows_table(run, _ROWS).splitlines():
        story.line(f"    {line}")
    story.line()
    story.line(f"    {len(run)} points, {limited} of them in compliance")
    story.line()


def _missing(*modules: str) -> list[str]:
    return [name for name in modules if importlib.util.find_spec(name) is None]


def _fit(story: Story, run: Run) -> dict[str, Any] | None:
    if _missing("scipy"):
        story.step("fit", "left out: scipy is not installed (pip install 'drivebay[analysis]')")
        return None
    from drivebay.analysis import fit_diode
    from drivebay.plotting import engineering

    limited = run["in_compliance"]
    try:
        fit = fit_diode(run["voltage_v"], run["current_a"], DIODE.temperature_k, limited)
    except ValueError as exc:
        story.step("fit", f"none: {exc}")
        return None
    story.step("fit", "Shockley's law with a series resistance, compliance left out")
    story.line(f"              {'':24}{'measured':>22}   {'simulated':>10}")
    found: dict[str, Any] = {}
    for label, name, error_name, unit in (
        ("ideality factor n", "ideality", "ideality_u", ""),
        ("saturation current Is", "saturation_current_a", "saturation_current_u_a", "A"),
        ("series resistance Rs", "series_resistance_ohm", "series_resistance_u_ohm", "ohm"),
    ):
        value, error = float(getattr(fit, name)), float(getattr(fit, error_name))
        found[name], found[error_name] = value, error
        text = with_uncertainty(value, error, unit)
        true = engineering(getattr(DIODE, name), unit)
        story.line(f"              {label:<24}{text:>22}   {true:>10}")
    return found


def with_uncertainty(value: float, error: float, unit: str) -> str:
    """A value and its uncertainty, with as many digits as the uncertainty has a say in.

    >>> with_uncertainty(2.50012e-9, 1.5e-13, "A")
    '(2.50012 ± 0.00015) nA'
    >>> with_uncertainty(1.75, 0.02, "")
    '1.750 ± 0.020'
    """
    from drivebay.plotting import engineering

    _, _, prefixed = engineering(value, unit).partition(" ")
    scale = value / float(engineering(value, unit, 15).split()[0]) if value else 1.0
    if not (error > 0 and math.isfinite(error)):
        return engineering(value, unit)
    decimals = max(0, 1 - math.floor(math.log10(error / scale)))
    text = f"{value / scale:.{decimals}f} ± {error / scale:.{decimals}f}"
    return f"({text}) {prefixed}" if prefixed else text


def _plot(story: Story, run: Run, output: Path | None) -> Path | None:
    if _missing("matplotlib"):
        story.step("plot", "left out: matplotlib is not installed (pip install 'drivebay[plot]')")
        return None
    from drivebay.plotting import plot_run

    path = run.path.with_suffix(".png")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        path = output / path.name
    plot_run(run, path)
    story.step("plot", str(path))
    return path


def _next_commands(story: Story, run: Run) -> None:
    story.line()
    story.line(heading("Next:"))
    program = how_to_call()
    for command, what in next_commands(run.id):
        story.line(f"  {program} {command:<34} {what}")


def how_to_call() -> str:
    """How the person at this prompt calls the command line: without activating anything."""
    script = Path(sys.executable).with_name("drivebay")
    if not script.exists():
        return f"{shlex.quote(_from_here(Path(sys.executable)))} -m drivebay"
    on_path = shutil.which("drivebay")
    if on_path is not None and Path(on_path).absolute() == script.absolute():
        return "drivebay"
    return shlex.quote(_from_here(script))


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def next_commands(run_id: str) -> Sequence[tuple[str, str]]:
    """What to try after the demonstration."""
    return (
        (f"runs show {run_id}", "the run again"),
        ("runs export last --output iv.csv", "its points for another program"),
        ("demo --reload", "edit the driver while it is in use"),
        ("demo --crash", "kill it in the middle of a sweep"),
        ("new my_smu", "a driver of your own"),
        ("report RESOURCE", "a real instrument: it only reads"),
    )
