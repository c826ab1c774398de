"""Draws the pictures of the documentation: ``make docs-images``.

Where a picture says "simulated" its points were measured through Drivebay on the simulated Keithley
2400, which knows SCPI and a device; where it says "computed" they come from the equations written
here, with noise from a seeded generator, because the instrument that would measure them is not
simulated. None is of a real device. Ids and dates are fixed, so that a picture changes only when
plots do.
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
    junction_capacitance_f,
    mos_capacitance_f,
)
from drivebay.plotting import ascii_plot, plot_run, plot_runs
from drivebay.sim import Diode, Keithley2400Server, Resistor

FOLDER = Path(__file__).parent / "images"
PAGE = Path(__file__).parent / "how-to/plot-a-run.md"
DOTS_PER_INCH = 110
UNITS = {
    "voltage_v": "V", "current_a": "A", "time_s": "s", "in_compliance": "", "frequency_hz": "Hz",
    "capacitance_f": "F", "gate_voltage_v": "V", "drain_voltage_v": "V", "drain_current_a": "A",
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
        run = smu.iv_sweep(**parameters)
        return Shown(
            "iv_sweep",
            run.columns,
            {"compliance_a": run.parameters["compliance_a"], "nplc": run.parameters["nplc"]},
            {"manufacturer": "Simulated Keithley", "model": "2400"},
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


def transistor_a(gate_v: Any, drain_v: Any) -> Any:
    """C. C. Enz, F. Krummenacher and E. A. Vittoz, the EKV model: one equation for all regions."""
    slope, thermal_v, threshold_v, per_v2 = 1.3, 0.025852, 0.7, 2e-3

    def part(volts: Any) -> Any:
        return np.log1p(np.exp(volts / (2 * thermal_v))) ** 2

    pinch_v = (gate_v - threshold_v) / slope
    return 2 * slope * per_v2 * thermal_v**2 * (part(pinch_v) - part(pinch_v - drain_v))


def transistor(method: str) -> Shown:
    if method == "transfer_curve":
        gate, drain = np.tile(np.linspace(-0.5, 3, 71), 3), np.repeat([0.05, 0.5, 1.5], 71)
    else:
        gate, drain = np.repeat([1.0, 1.5, 2.0, 2.5, 3.0], 61), np.tile(np.linspace(0, 3, 61), 5)
    amps = transistor_a(gate, drain) + 1e-12 * noise(len(gate))
    return Shown(
        method,
        {
            "gate_voltage_v": gate + 1e-5 * noise(len(gate), 2),
            "drain_voltage_v": drain + 1e-5 * noise(len(gate), 3),
            "drain_current_a": np.minimum(amps, 5e-3),
            "in_compliance": amps > 5e-3,
        },
        {"compliance_a": 5e-3},
    )


def varactor() -> Shown:
    volts = there_and_back(-10, 0, 41)
    farads = junction_capacitance_f(volts, zero_bias_f=120e-12, intercept_v=0.7)
    farads *= 1 + 1e-3 * noise(len(volts))
    return Shown(
        "cv_measurement", {"voltage_v": volts, "capacitance_f": farads}, {"frequency_hz": 1e6}
    )


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
    "transfer-curve": lambda: plot_run(transistor("transfer_curve")),
    "output-curve": lambda: plot_run(transistor("output_curve")),
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
