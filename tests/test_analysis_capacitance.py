"""C-V: the truth comes back within the stated uncertainty, and another device is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.analysis import (
    doping_profile,
    fit_junction,
    fit_mos_capacitor,
    junction_capacitance_f,
    mos_capacitance_f,
    parameters_of,
)
from drivebay.analysis.semiconductor import (
    ELEMENTARY_CHARGE_C,
    SILICON_PERMITTIVITY,
    VACUUM_PERMITTIVITY_F_PER_M,
    debye_length_m,
    intrinsic_density_per_m3,
    thermal_v,
)

AREA_M2 = 1e-6
SILICON = SILICON_PERMITTIVITY * VACUUM_PERMITTIVITY_F_PER_M
VOLTS = np.linspace(-10, 0, 51)


def doping_of(zero_bias_f: float, intercept_v: float) -> float:
    """Doping of an abrupt junction, from the width of its depletion layer at 0 V."""
    width_m = SILICON * AREA_M2 / zero_bias_f
    return 2 * SILICON * intercept_v / (ELEMENTARY_CHARGE_C * width_m**2)


def junction(seed: int, zero_bias_f: float, intercept_v: float, grading=0.5, relative=1e-3):
    farads = junction_capacitance_f(
        VOLTS, zero_bias_f=zero_bias_f, intercept_v=intercept_v, grading=grading
    )
    return farads * (1 + relative * np.random.default_rng(seed).normal(size=len(VOLTS)))


# -- junctions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("imposed", [0.5, None])
def test_the_uncertainties_of_a_junction_are_standard_deviations(imposed):
    dice = np.random.default_rng(1)
    deviations = []
    for seed in range(200):
        c0, vi = 10 ** dice.uniform(-11, -9), dice.uniform(0.4, 0.9)
        m = imposed or dice.uniform(0.33, 0.5)
        fit = fit_junction(VOLTS, junction(seed, c0, vi, m), AREA_M2, grading=imposed)
        doping = doping_of(c0, vi) * 0.5 / m
        row = [
            (fit.zero_bias_f - c0) / fit.zero_bias_u_f,
            (fit.intercept_v - vi) / fit.intercept_u_v,
            (fit.doping_per_m3 - doping) / fit.doping_u_per_m3,
        ]
        deviations.append(row if imposed else [*row, (fit.grading - m) / fit.grading_u])

    count = len(deviations[0])
    assert (np.abs(deviations) < 1).mean(axis=0) == pytest.approx([0.68] * count, abs=0.1)
    assert (np.abs(deviations) < 2).mean(axis=0) == pytest.approx([0.95] * count, abs=0.05)


@given(st.floats(-12, -8).map(lambda d: 10.0**d), st.floats(0.3, 2.0))
def test_a_junction_without_noise_comes_back_to_many_digits(zero_bias_f, intercept_v):
    fit = fit_junction(VOLTS, junction(0, zero_bias_f, intercept_v, relative=0), AREA_M2)

    assert fit.zero_bias_f == pytest.approx(zero_bias_f, rel=1e-6)
    assert fit.intercept_v == pytest.approx(intercept_v, rel=1e-5)
    assert fit.built_in_v == pytest.approx(intercept_v + 2 * thermal_v(300), rel=1e-5)
    assert fit.doping_per_m3 == pytest.approx(doping_of(zero_bias_f, intercept_v), rel=1e-5)
    assert fit.capacitance_f(VOLTS) == pytest.approx(
        junction(0, zero_bias_f, intercept_v, relative=0)
    )


def test_a_schottky_barrier_has_its_potential_one_thermal_voltage_above_the_intercept():
    farads = junction(0, 1e-10, 0.7, relative=0)

    assert fit_junction(VOLTS, farads, AREA_M2, kind="schottky").built_in_v == pytest.approx(
        0.7 + thermal_v(300), rel=1e-5
    )


def test_a_linear_grade_is_told_from_an_abrupt_junction():
    fit = fit_junction(VOLTS, junction(1, 1e-10, 0.7, 1 / 3), AREA_M2, grading=None)

    assert fit.grading == pytest.approx(1 / 3, abs=4 * fit.grading_u)
    with pytest.raises(ValueError, match="grading=None fits it"):
        fit_junction(VOLTS, junction(1, 1e-10, 0.7, 1 / 3, 1e-5), AREA_M2)


def test_the_stray_capacitance_is_taken_off_first():
    farads = junction(0, 1e-10, 0.7, relative=0)
    fit = fit_junction(VOLTS, farads + 5e-12, AREA_M2, stray_f=5e-12)

    assert fit.zero_bias_f == pytest.approx(1e-10)
    assert fit.capacitance_f(VOLTS) == pytest.approx(farads + 5e-12)


def test_the_uncertainty_of_the_area_counts_twice_in_the_doping():
    farads = junction(0, 1e-10, 0.7, relative=1e-6)
    fit = fit_junction(VOLTS, farads, AREA_M2, area_u_m2=0.01 * AREA_M2)

    assert fit.doping_u_per_m3 == pytest.approx(0.02 * fit.doping_per_m3, rel=1e-3)


# -- profiles ----------------------------------------------------------------------------------


def test_the_uncertainties_of_a_profile_are_standard_deviations():
    dice = np.random.default_rng(1)
    deviations = []
    for seed in range(200):
        c0, vi = 10 ** dice.uniform(-11, -9), dice.uniform(0.4, 0.9)
        profile = doping_profile(VOLTS, junction(seed, c0, vi, relative=1e-4), AREA_M2)
        off = (profile.doping_per_m3 - doping_of(c0, vi)) / profile.doping_u_per_m3
        deviations += off[::5].tolist()  # every fifth shares no points with the next

    assert np.mean(np.abs(deviations) < 1) == pytest.approx(0.68, abs=0.06)
    assert np.mean(np.abs(deviations) < 2) == pytest.approx(0.95, abs=0.03)


def test_a_step_of_doping_is_found_at_its_depth():
    # 1e22 to 0.5 um, then 4e22: the voltage over the layer is the integral of q N x / eps.
    depth = np.linspace(0.3e-6, 0.8e-6, 201)
    shallow = ELEMENTARY_CHARGE_C / (2 * SILICON) * 1e22 * np.minimum(depth, 0.5e-6) ** 2
    deep = ELEMENTARY_CHARGE_C / (2 * SILICON) * 4e22 * np.maximum(depth**2 - 0.5e-6**2, 0)
    volts = 0.6 - shallow - deep

    profile = doping_profile(volts, SILICON * AREA_M2 / depth, AREA_M2)

    before, after = profile.depth_m < 0.49e-6, profile.depth_m > 0.51e-6
    assert profile.doping_per_m3[before] == pytest.approx(1e22, rel=1e-3)
    assert profile.doping_per_m3[after] == pytest.approx(4e22, rel=1e-3)
    assert (np.diff(profile.depth_m) > 0).all()
    assert profile.debye_length_m == pytest.approx(debye_length_m(4e22), rel=0.02)


def test_the_way_up_and_the_way_down_are_joined():
    farads = junction(0, 1e-10, 0.7, relative=1e-4)
    both = doping_profile(np.tile(VOLTS, 2), np.tile(farads, 2), AREA_M2)

    assert both.doping_per_m3 == pytest.approx(
        doping_profile(VOLTS, farads, AREA_M2).doping_per_m3, rel=1e-6
    )


NOISE = np.random.default_rng(7).normal(size=51)
GOOD = junction(0, 1e-10, 0.7)


@pytest.mark.parametrize("fit", [fit_junction, doping_profile])
@pytest.mark.parametrize(
    ("volts", "farads", "message"),
    [
        (VOLTS, 0 * VOLTS + 1e-10, "it goes to 1.000 of itself"),
        (VOLTS, GOOD[::-1], "not a depletion capacitance"),
        (-VOLTS, GOOD, "is it connected the other way round"),
        (VOLTS, GOOD - 1e-10, "are not above the stray"),
        (VOLTS[:5], GOOD[:5], "at least 8 are needed"),
        (VOLTS, GOOD[:5], "lists of one length"),
    ],
)
def test_what_is_no_junction_is_refused_with_the_reason(fit, volts, farads, message):
    with pytest.raises(ValueError, match=message):
        fit(volts, farads, AREA_M2)


def test_noise_without_a_junction_is_refused():
    with pytest.raises(ValueError, match=r"not a depletion|tell"):
        fit_junction(VOLTS, GOOD * (1 + 0.2 * NOISE), AREA_M2)
    with pytest.raises(ValueError, match=r"the noise is .* % of the reading"):
        doping_profile(VOLTS, GOOD * (1 + 0.2 * NOISE), AREA_M2, window=3)


@pytest.mark.parametrize("area_m2", [0.0, -1.0, float("nan")])
def test_an_area_that_cannot_be_is_refused(area_m2):
    for fit in (fit_junction, doping_profile):
        with pytest.raises(ValueError, match="expected more than 0"):
            fit(VOLTS, GOOD, area_m2)
    with pytest.raises(ValueError, match="expected more than 0"):
        fit_mos_capacitor(GATE, mos(), area_m2)


# -- MOS capacitors ----------------------------------------------------------------------------

GATE = np.linspace(-5, 5, 101)
GATE_AREA_M2 = 1e-8
DEVICE = {"oxide_thickness_m": 1e-8, "doping_per_m3": 1e22, "flat_band_v": -0.9}


def mos(volts=GATE, **other):
    return mos_capacitance_f(volts, area_m2=GATE_AREA_M2, **(DEVICE | other))


@pytest.mark.parametrize("quasi_static", [False, True])
def test_the_uncertainties_of_a_mos_capacitor_are_standard_deviations(quasi_static):
    dice = np.random.default_rng(1)
    deviations = []
    for seed in range(200):
        thickness, doping = 10 ** dice.uniform(-8.5, -7), 10 ** dice.uniform(21, 23.5)
        flat_band, kind = dice.uniform(-1, 1), str(dice.choice(["p", "n"]))
        reach = 3 + 2 * (thickness / 1e-8) ** 0.5 * (doping / 1e22) ** 0.25
        volts = np.linspace(-reach, reach, 81)
        farads = mos(
            volts,
            oxide_thickness_m=thickness,
            doping_per_m3=doping,
            flat_band_v=flat_band,
            substrate=kind,
            quasi_static=quasi_static,
        ) * (1 + 2e-3 * np.random.default_rng(seed).normal(size=81))
        given = {"substrate": kind, "quasi_static": True} if quasi_static else {}
        fit = fit_mos_capacitor(volts, farads, GATE_AREA_M2, **given)
        assert fit.substrate == kind
        deviations.append(
            [
                (fit.oxide_thickness_m - thickness) / fit.oxide_thickness_u_m,
                np.log(fit.doping_per_m3 / doping) / (fit.doping_u_per_m3 / fit.doping_per_m3),
                (fit.flat_band_v - flat_band) / fit.flat_band_u_v,
            ]
        )

    assert (np.abs(deviations) < 1).mean(axis=0) == pytest.approx([0.68] * 3, abs=0.1)
    assert (np.abs(deviations) < 2).mean(axis=0) == pytest.approx([0.95] * 3, abs=0.05)


def test_the_capacitance_at_flat_band_is_oxide_and_debye_length_in_series():
    oxide = 3.9 * VACUUM_PERMITTIVITY_F_PER_M * GATE_AREA_M2 / 1e-8
    below = SILICON * GATE_AREA_M2 / debye_length_m(1e22)

    for quasi_static in (False, True):
        assert float(mos(-0.9, quasi_static=quasi_static)) == pytest.approx(
            oxide * below / (oxide + below), rel=1e-6
        )


def test_in_depletion_the_capacitance_follows_the_depletion_approximation():
    # C/Cox = 1 / sqrt(1 + 2 Cox^2 (V - Vfb) / (q N eps)), good to a few kT/q (Sze and Ng, 4.3).
    volts = np.linspace(-0.6, -0.2, 9)
    oxide = 3.9 * VACUUM_PERMITTIVITY_F_PER_M / 1e-8
    simple = oxide / np.sqrt(
        1 + 2 * oxide**2 * (volts + 0.9 - thermal_v(300)) / (ELEMENTARY_CHARGE_C * 1e22 * SILICON)
    )

    assert mos(volts) / GATE_AREA_M2 == pytest.approx(simple, rel=0.02)


def test_the_quasi_static_curve_comes_back_to_the_oxide_and_the_fast_one_stays_down():
    oxide = 3.9 * VACUUM_PERMITTIVITY_F_PER_M * GATE_AREA_M2 / 1e-8

    assert float(mos(5.0, quasi_static=True)) == pytest.approx(oxide, rel=0.03)
    widest_m = np.sqrt(
        4 * SILICON * thermal_v(300) * np.log(1e22 / intrinsic_density_per_m3(300.0))
        / (ELEMENTARY_CHARGE_C * 1e22)
    )  # fmt: skip
    below = SILICON * GATE_AREA_M2 / widest_m
    assert float(mos(5.0)) == pytest.approx(oxide * below / (oxide + below), rel=0.02)


def test_an_n_substrate_is_the_mirror_of_a_p_substrate():
    right = mos(-GATE, flat_band_v=0.9, substrate="n")

    assert right == pytest.approx(mos(GATE), rel=1e-12)


def test_threshold_and_flat_band_are_where_theory_has_them():
    fit = fit_mos_capacitor(GATE, mos(), GATE_AREA_M2)
    bulk_v = thermal_v(300) * np.log(1e22 / intrinsic_density_per_m3(300.0))
    oxide = 3.9 * VACUUM_PERMITTIVITY_F_PER_M / 1e-8
    charge = np.sqrt(4 * SILICON * ELEMENTARY_CHARGE_C * 1e22 * bulk_v)

    assert fit.flat_band_v == pytest.approx(-0.9, abs=1e-5)
    assert fit.threshold_v == pytest.approx(-0.9 + 2 * bulk_v + charge / oxide, abs=1e-4)
    assert fit.flat_band_capacitance_f == pytest.approx(float(mos(-0.9)), rel=1e-4)
    assert fit.oxide_thickness_m == pytest.approx(1e-8, rel=1e-5)
    assert fit.capacitance_f(GATE) == pytest.approx(mos(), rel=1e-5)


def test_the_uncertainty_of_the_gate_area_goes_into_the_results():
    sure = fit_mos_capacitor(GATE, mos(), GATE_AREA_M2)
    unsure = fit_mos_capacitor(GATE, mos(), GATE_AREA_M2, area_u_m2=0.01 * GATE_AREA_M2)

    assert unsure.oxide_thickness_u_m == pytest.approx(0.01 * sure.oxide_thickness_m, rel=0.05)
    assert unsure.oxide_capacitance_u_f < 1e-4 * sure.oxide_capacitance_f  # measured, whatever A


def test_the_results_are_listed_with_their_units():
    listed = {p.name: p for p in parameters_of(fit_mos_capacitor(GATE, mos(), GATE_AREA_M2))}

    assert listed["doping"].unit == "1/m3"
    assert listed["oxide_thickness"].unit == "m"
    assert listed["threshold"].uncertainty is not None


@pytest.mark.parametrize(
    ("volts", "farads", "options", "message"),
    [
        (GATE, 0 * GATE + 1e-11, {}, "the largest capacitance is 1.000 of the smallest"),
        (GATE, -mos(), {}, "are not above 0"),
        (GATE[:9], mos()[:9], {}, "at least 12 are needed"),
        (GATE, mos(), {"quasi_static": True}, "say substrate='p' or 'n'"),
        (GATE, mos(quasi_static=True), {"substrate": "p"}, "% off"),
        (GATE, 1e-11 * (1.5 + np.sin(3 * GATE)), {}, "not an ideal MOS capacitor"),
        (GATE[48:], mos()[48:], {}, "MOS capacitor"),
    ],
)
def test_what_is_no_mos_capacitor_is_refused_with_the_reason(volts, farads, options, message):
    with pytest.raises(ValueError, match=message):
        fit_mos_capacitor(volts, farads, GATE_AREA_M2, **options)


@pytest.mark.parametrize("fit", [fit_junction, fit_mos_capacitor])
def test_a_temperature_that_cannot_be_is_refused(fit):
    volts, farads = (VOLTS, GOOD) if fit is fit_junction else (GATE, mos())

    with pytest.raises(ValueError, match="expected more than 0"):
        fit(volts, farads, AREA_M2, temperature_k=0.0)
