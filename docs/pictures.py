"""Draws the pictures of the documentation: ``make docs-images``.

Where a picture says "simulated" its points were measured through Drivebay on a simulated
instrument, which knows its commands and a device; where it says "computed" they come from the
equations written here, with noise from a seeded generator, because no simulated device does that.
None is of a real device. Ids and dates are fixed, so that a picture changes only when plots do.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from drivebay import Bay
from drivebay.analysis import (
    fit_diode,
    fit_mos_capacitor,
    mos_capacitance_f,
)
from drivebay.plotting import ascii_plot, plot_run, plot_runs
from drivebay.sim import Diode, Keithley2400Server, Resistor
from drivebay.sim.virtualbench import VirtualBench

FOLDER = Path(__file__).parent / "images"
PAGE = Path(__file__).parent / "how-to/plot-a-run.md"
DOTS_PER_INCH = 110
UNITS = {
    "voltage_v": "V", "current_a": "A", "time_s": "s", "in_compliance": "", "frequency_hz": "Hz",
    "capacitance_f": "F", "gate_voltage_v": "V", "drain_voltage_v": "V", "drain_current_a": "A",
    "gate_current_a": "A", "conductance_s": "S", "overload": "",
}  # fmt: skip
COMPUTED = {"model": "computed from equations"}
GATE_AREA_M2 = 1e-8


@dataclass
class Shown:
    """What a plot reads of a run."""

    method: str
    columns: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=lambda: COMPUTED)
    plugin: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    id: str = "20261125-101500-k3f9"
    started_at: str = "2026-11-25T10:15:00+00:00"
    state: str = "done"

    @property
    def units(self) -> dict[str, str]:
        return {name: UNITS[name] for name in self.columns}


def measured(device: Any, *, noise: float = 1.0, **parameters: Any) -> Shown:
    """Sweep a simulated device with the simulated 2400."""
    with (
        tempfile.TemporaryDirectory() as home,
        Keithley2400Server(device=device, time_scale=0, noise=noise) as server,
        Bay(home=home) as bay,
        bay.open(server.resource) as smu,
    ):
        return shown(smu.iv_sweep(**parameters), "Simulated Keithley", "2400")


def shown(run: Any, maker: str, model: str) -> Shown:
    """What a picture shows of a run: all but its own id and time, and which instrument it was."""
    conditions = ("compliance_a", "nplc", "frequency_hz")
    return Shown(
        run.method,
        run.columns,
        {name: run.parameters[name] for name in conditions if name in run.parameters},
        {"manufacturer": maker, "model": model},
        {"name": run.plugin["name"], "version": run.plugin["version"]},
    )


def noise(size: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=size)


def there_and_back(low: float, high: float, points: int) -> Any:
    up = np.linspace(low, high, points)
    return np.concatenate([up, up[-2::-1]])


def diode() -> Shown:
    return measured(
        Diode(), start_v=-1, stop_v=1, points=81, compliance_a=0.01, up_and_down=True, nplc=1
    )


def warming_resistor() -> Shown:
    """A resistor that its own current warms: the way back is of a higher resistance (computed)."""
    volts = there_and_back(-1, 1, 41)
    warmth = np.cumsum(volts**2) / len(volts)
    amps = volts / (4700 * (1 + 0.6 * warmth))
    limited = np.abs(amps) > 1.6e-4
    return Shown(
        "iv_sweep",
        {
            "voltage_v": volts,
            "current_a": np.clip(amps, -1.6e-4, 1.6e-4),
            "time_s": np.arange(len(volts)) * 0.02,
            "in_compliance": limited,
        },
        {"compliance_a": 1.6e-4},
    )


def transistor(method: str, **parameters: Any) -> Shown:
    """Two simulated 2400 of the virtual bench on one simulated transistor."""
    limits = {"drain_compliance_a": 0.02, "gate_compliance_a": 1e-6}
    with (
        tempfile.TemporaryDirectory() as home,
        VirtualBench(free_ports=True, time_scale=0) as bench,
        Bay(home=home) as bay,
        bay.pair(gate=bench.resource("gate"), drain=bench.resource("drain")) as pair,
    ):
        return shown(pair.measure(method, **limits, **parameters), "Two simulated Keithley", "2400")


def varactor() -> Shown:
    """The simulated LCR meter of the virtual bench on a varactor; reverse is positive there."""
    with (
        tempfile.TemporaryDirectory() as home,
        VirtualBench(free_ports=True, time_scale=0) as bench,
        Bay(home=home) as bay,
        bay.open(bench.resource("lcr")) as lcr,
    ):
        sweep = {"start_v": 0, "stop_v": 10, "points": 41, "up_and_down": True}
        run = lcr.measure("cv_measurement", frequency_hz=1e6, **sweep)
        return shown(run, "Simulated Keysight", "E4980A")


def mos_capacitor() -> Shown:
    volts = np.linspace(-4, 3, 71)
    farads = mos_capacitance_f(
        volts, oxide_thickness_m=20e-9, doping_per_m3=1e22, flat_band_v=-0.9, area_m2=GATE_AREA_M2
    )
    farads = farads * (1 + 2e-3 * noise(len(volts)))
    return Shown(
        "cv_measurement", {"voltage_v": volts, "capacitance_f": farads}, {"frequency_hz": 1e6}
    )


def relaxation() -> Shown:
    """Debye's relaxation of a dielectric."""
    hertz = np.geomspace(100, 1e6, 41)
    farads = 1e-10 + 1e-9 / (1 + (hertz / 2e4) ** 2)
    return Shown("cf_sweep", {"frequency_hz": hertz, "capacitance_f": farads})


def charging() -> Shown:
    """An absorbing dielectric under a steady voltage."""
    seconds = np.arange(600) * 0.1
    amps = 1e-6 * (1 + np.exp(-seconds / 10)) + 5e-9 * noise(600)
    volts = 5 + 1e-6 * noise(600, 2)
    return Shown("iv_monitor", {"voltage_v": volts, "current_a": amps, "time_s": seconds})


def warm_diodes() -> list[Shown]:
    found = []
    for kelvin, saturation_a in ((300.0, 1e-12), (330.0, 3e-11), (360.0, 5e-10)):
        device = Diode(saturation_current_a=saturation_a, temperature_k=kelvin)
        run = measured(device, start_v=0, stop_v=0.9, points=46, compliance_a=0.01)
        run.parameters = {**run.parameters, "temperature_k": kelvin}
        found.append(run)
    return found


def three_resistors() -> list[Shown]:
    found = []
    for ohm in (1000.0, 2200.0, 4700.0):
        run = measured(Resistor(ohm), start_v=-1, stop_v=1, points=21, compliance_a=0.01)
        run.tags = (f"R{ohm / 1000:g}k",)
        found.append(run)
    return found


def fitted_diode() -> Any:
    run = measured(Diode(), start_v=-0.2, stop_v=1, points=61, compliance_a=0.01)
    columns = run.columns
    fit = fit_diode(columns["voltage_v"], columns["current_a"], 300.0, columns["in_compliance"])
    return plot_run(run, fit=fit.current_a)


def fitted_mos() -> Any:
    run = mos_capacitor()
    fit = fit_mos_capacitor(run.columns["voltage_v"], run.columns["capacitance_f"], GATE_AREA_M2)
    return plot_run(run, fit=fit.capacitance_f)


PICTURES: dict[str, Callable[[], Any]] = {
    "diode": lambda: plot_run(diode()),
    "hysteresis": lambda: plot_run(warming_resistor()),
    "transfer-curve": lambda: plot_run(
        transistor(
            "transfer_curve", gate_start_v=0, gate_stop_v=3, points=61, drain_v=[0.05, 0.5, 1.5]
        )
    ),
    "output-curve": lambda: plot_run(
        transistor(
            "output_curve",
            drain_start_v=0,
            drain_stop_v=3,
            points=61,
            gate_v=[1.5, 2, 2.5, 3, 3.5],
        )
    ),
    "varactor": lambda: plot_run(varactor()),
    "relaxation": lambda: plot_run(relaxation()),
    "monitor": lambda: plot_run(charging()),
    "overlay-diodes": lambda: plot_runs(warm_diodes()),
    "overlay-resistors": lambda: plot_runs(three_resistors()),
    "fitted-diode": fitted_diode,
    "fitted-mos": fitted_mos,
}
TEXTS: dict[str, Callable[[], str]] = {
    "hysteresis": lambda: ascii_plot(warming_resistor(), 76, 20),
    "diode-plain": lambda: ascii_plot(diode(), 76, 18, ascii_only=True),
}


def main(folder: Path = FOLDER) -> None:
    for name, draw in PICTURES.items():
        metadata = {"Software": None}  # the same bytes, whichever release of matplotlib drew them
        draw().savefig(folder / f"plot-{name}.png", dpi=DOTS_PER_INCH, metadata=metadata)
    if folder == FOLDER:
        PAGE.write_text(with_texts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_texts(page: str) -> str:
    """Put the pictures made of text into the page, in their order."""
    texts = iter(TEXTS.values())

    def block(_: re.Match[str]) -> str:
        lines = (line.rstrip() for line in next(texts)().split("\n"))
        return "```text\n" + "\n".join(lines) + "\n```"

    return re.sub(r"```text\n.*?\n```", block, page, flags=re.S)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
