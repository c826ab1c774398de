"""``drivebay analyse``: numbers with uncertainties, or the reason why there are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from drivebay import Bay, RunStore
from drivebay.cli import failures
from drivebay.sim import Diode, Keithley2400Server, Resistor

analysis = pytest.importorskip("drivebay.analysis", reason="needs the extra [analysis]")
pytest.importorskip("lmfit", reason="needs the extra [analysis]")


@pytest.fixture
def sweep(home):
    """Sweep a device on the simulated 2400; gives the run's id."""

    def measure(device, **parameters) -> str:
        defaults = {"start_v": -0.2, "stop_v": 0.9, "points": 56, "compliance_a": 0.01}
        with (
            Keithley2400Server(device=device, time_scale=0) as server,
            Bay() as bay,
            bay.open(server.resource) as smu,
        ):
            return smu.iv_sweep(**(defaults | parameters)).id

    return measure


@pytest.fixture
def measured_cv(home: Path):
    """Keep a run of a C-V measurement, as one leaves it; gives its id."""

    def keep(volts, farads, **parameters) -> str:
        writer = RunStore(home / "runs").create(
            method="cv_measurement",
            columns=[("voltage_v", "V", "float"), ("capacitance_f", "F", "float")],
            parameters=parameters,
        )
        writer.append({"voltage_v": volts, "capacitance_f": farads})
        return writer.finish("done").id

    return keep


BIAS = np.linspace(-8, 0, 41)
NOISE = 1 + 1e-3 * np.random.default_rng(1).normal(size=41)
JUNCTION = analysis.junction_capacitance_f(BIAS, zero_bias_f=1e-10, intercept_v=0.7) * NOISE
GATE = np.linspace(-4, 4, 41)
MOS = {"oxide_thickness_m": 1e-8, "doping_per_m3": 1e22, "flat_band_v": -0.9, "area_m2": 1e-8}


def test_a_diode_is_recognised_and_its_numbers_hold_the_truth(drivebay, sweep):
    run = sweep(Diode(ideality=1.5, saturation_current_a=1e-12, series_resistance_ohm=10.0))

    done = drivebay("analyse", run, "--json")
    said = drivebay("analyse").out

    fit = done.json["fit"]
    assert (done.json["device"], done.json["run"]) == ("diode", run)
    assert fit["ideality"] == pytest.approx(1.5, abs=5 * fit["ideality_u"] + 1e-3)
    assert fit["series_resistance_ohm"] == pytest.approx(10, rel=0.02)
    assert "diode" in said
    assert re.search(r"ideality +1\.\d+ ± 0\.0", said)
    assert "at 300 K" in said


def test_what_is_no_diode_is_tried_as_a_resistor_and_both_are_told(drivebay, sweep):
    sweep(Resistor(470.0), start_v=-1, stop_v=1, four_wire=True)

    done = drivebay("analyse", "--json")
    said = drivebay("analyse").out

    assert done.json["device"] == "resistor"
    assert done.json["fit"]["resistance_ohm"] == pytest.approx(470, rel=1e-3)
    assert "not a diode" in done.json["refused"]["diode"]
    assert "470" in said
    assert "4 wires" in said
    assert "as a diode: not a diode" in said


def test_a_junction_gives_its_doping_per_cubic_centimetre_and_over_depth(drivebay, measured_cv):
    run = measured_cv(BIAS, JUNCTION)

    said = drivebay("analyse", run, "--area", "1mm2", "--profile").out
    done = drivebay("analyse", run, "--area", "1mm2", "--profile", "--grading", "0.5", "--json")

    assert "1/cm3" in said
    assert "depth (nm)" in said
    assert done.json["fit"]["grading"] == 0.5
    assert done.json["fit"]["area_m2"] == pytest.approx(1e-6)
    assert np.median(done.json["profile"]["doping_per_m3"]) == pytest.approx(
        done.json["fit"]["doping_per_m3"], rel=0.1
    )


def test_a_mos_capacitor_is_not_taken_for_a_junction(drivebay, measured_cv):
    run = measured_cv(GATE, analysis.mos_capacitance_f(GATE, **MOS) * NOISE)

    done = drivebay("analyse", run, "--area", "10000um2", "--json")

    assert done.json["device"] == "mos"
    assert done.json["fit"]["oxide_thickness_m"] == pytest.approx(1e-8, rel=0.01)
    assert "junction" in done.json["refused"]
    assert "p-type substrate" in drivebay("analyse", run, "--area", "10000um2").out


def test_the_technique_of_the_run_says_whether_minority_carriers_follow(drivebay, measured_cv):
    farads = analysis.mos_capacitance_f(GATE, quasi_static=True, **MOS)
    run = measured_cv(GATE, farads, technique="quasi_static")
    words = ["--as", "mos", "--area", "10000um2", "--substrate", "p"]

    assert drivebay("analyse", run, *words, "--json").json["fit"]["quasi_static"] is True


def test_the_points_and_the_fit_are_drawn_on_request(drivebay, sweep, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    sweep(Diode())

    done = drivebay("analyse", "--plot", str(tmp_path / "fit.svg"))

    assert done.code == failures.OK
    assert ">fit<" in (tmp_path / "fit.svg").read_text("utf-8")


def test_a_run_that_fits_nothing_fails_with_every_reason(drivebay, measured_cv):
    run = measured_cv(BIAS, 0 * BIAS + 1e-10)

    done = drivebay("analyse", run, "--area", "1mm2")

    assert done.code == failures.FAILED
    assert "as a junction capacitance:" in done.err
    assert "as a MOS capacitor:" in done.err


def test_a_run_without_the_columns_is_refused(drivebay, measured_cv, sweep):
    run = measured_cv(BIAS, JUNCTION)

    done = drivebay("analyse", run, "--as", "diode")

    assert done.code == failures.FAILED
    assert "has no voltage_v and current_a to fit (columns: voltage_v, capacitance_f)" in done.err


@pytest.mark.parametrize("area", ["3", "0mm2", "-1mm2", "mm2", "1e-2.5m2", "5 acres"])
def test_an_area_without_a_number_and_a_unit_is_a_usage_error(drivebay, area):
    done = drivebay("analyse", "--area", area)

    assert done.code == failures.USAGE
    assert "cm2" in done.err


def test_a_capacitance_needs_an_area(drivebay, measured_cv):
    done = drivebay("analyse", measured_cv(BIAS, JUNCTION))

    assert done.code == failures.USAGE
    assert "--area" in done.err


def test_without_the_extra_the_error_says_what_to_install(drivebay, sweep, monkeypatch):
    run = sweep(Diode())
    monkeypatch.setitem(__import__("sys").modules, "scipy.special", None)

    done = drivebay("analyse", run)

    assert done.code == failures.FAILED
    assert "pip install 'drivebay[analysis]'" in done.err


def test_a_device_that_was_named_and_does_not_fit_points_to_the_others(drivebay, sweep):
    run = sweep(Resistor(470.0), start_v=-1, stop_v=1)

    done = drivebay("analyse", run, "--as", "diode")

    assert done.code == failures.FAILED
    assert "try: --as resistor" in done.err
    assert drivebay("analyse", run, "--as", "resistor").code == failures.OK


def test_a_device_in_the_place_of_the_run_is_told_where_it_goes(drivebay, home):
    for words in (("diode",), ("diode", "last"), ("last", "diode")):
        done = drivebay("analyse", *words)

        assert done.code == failures.USAGE
        assert "drivebay analyse last --as diode" in done.err
    assert "name one run, not 2" in drivebay("analyse", "last", "last-1").err
