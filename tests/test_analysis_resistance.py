"""Resistance: the truth comes back within what is stated, and what is no resistor is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.analysis import fit_resistance, parameters_of

VOLTS = np.linspace(-1, 1, 21)


def measured(seed: int, ohm: float, offset_v: float, relative: float, floor: float, points=21):
    noise = np.random.default_rng(seed)
    volts = np.linspace(-1, 1, points)
    amps = (volts - offset_v) / ohm
    amps = amps * (1 + relative * noise.normal(size=points))
    return volts, amps + floor / ohm * noise.normal(size=points)


@pytest.mark.parametrize(
    ("relative", "floor", "points"),
    [(0, 1e-3, 21), (1e-3, 1e-4, 21), (1e-3, 0, 41), (1e-3, 1e-3, 101)],
)
def test_the_stated_uncertainties_are_standard_deviations(relative, floor, points):
    dice = np.random.default_rng(1)
    deviations, chances = [], []
    for seed in range(200):
        ohm, offset_v = 10 ** dice.uniform(0, 9), dice.normal() * 1e-2
        fit = fit_resistance(*measured(seed, ohm, offset_v, relative, floor, points))
        deviations.append(
            [
                (fit.resistance_ohm - ohm) / fit.resistance_u_ohm,
                (fit.offset_v - offset_v) / fit.offset_u_v,
            ]
        )
        chances.append(fit.nonlinearity_p)

    # 200 draws: three standard deviations of the share are 10 % and 5 %.
    assert (np.abs(deviations) < 1).mean(axis=0) == pytest.approx([0.68] * 2, abs=0.1)
    assert (np.abs(deviations) < 2).mean(axis=0) == pytest.approx([0.95] * 2, abs=0.05)
    # A straight line is called bent about as rarely as the level says.
    assert np.mean(np.array(chances) < 0.001) <= 0.03


@given(st.floats(1e-2, 1e12), st.floats(-0.1, 0.1))
def test_data_without_noise_gives_resistance_and_offset_to_many_digits(ohm, offset_v):
    fit = fit_resistance(VOLTS, (VOLTS - offset_v) / ohm)

    assert fit.resistance_ohm == pytest.approx(ohm, rel=1e-9)
    assert fit.offset_v == pytest.approx(offset_v, abs=1e-9)
    assert fit.linear
    assert fit.current_a(VOLTS) == pytest.approx((VOLTS - offset_v) / ohm, rel=1e-6, abs=1e-9 / ohm)


def test_what_was_sourced_is_exact_whichever_it_was():
    amps = np.linspace(-1e-3, 1e-3, 21)
    volts = 1e-3 + 470 * amps + 1e-4 * np.random.default_rng(3).normal(size=21)

    fit = fit_resistance(volts, amps, sourced="current")

    assert abs(fit.resistance_ohm - 470) < 3 * fit.resistance_u_ohm
    assert abs(fit.offset_v - 1e-3) < 3 * fit.offset_u_v


def test_points_are_weighted_by_the_uncertainties_that_are_given():
    volts, amps = VOLTS, VOLTS / 100
    spoiled = amps.copy()
    spoiled[-1] *= 1.5
    sigma = np.full(21, 1e-6)
    sigma[-1] = 1.0

    fit = fit_resistance(volts, spoiled, measured_u=sigma)

    assert fit.resistance_ohm == pytest.approx(100, rel=1e-5)
    # slope's sigma is sigma / sqrt(sum of squared distances), ohms are slope**-1
    spread = np.sqrt(np.sum((volts[:-1] - volts[:-1].mean()) ** 2))
    assert fit.resistance_u_ohm == pytest.approx(1e-6 / spread * 100**2, rel=1e-3)
    assert fit_resistance(volts, spoiled).resistance_ohm < 98  # without them the point counts


def test_leads_are_taken_off_with_their_uncertainty():
    fit = fit_resistance(VOLTS, VOLTS / 10.4, leads_ohm=0.4, leads_u_ohm=0.05)

    assert fit.resistance_ohm == pytest.approx(10)
    assert fit.resistance_u_ohm == pytest.approx(0.05)
    assert fit.current_a(1.0) == pytest.approx(1 / 10.4)
    with pytest.raises(ValueError, match="four wires do not measure them"):
        fit_resistance(VOLTS, VOLTS / 10.4, wires=4, leads_ohm=0.4)
    assert fit_resistance(VOLTS, VOLTS / 10.4, wires=4).wires == 4


def test_points_in_compliance_do_not_count():
    limited = VOLTS > 0.5
    amps = np.where(limited, 0.005, VOLTS / 100)

    assert fit_resistance(VOLTS, amps, limited).resistance_ohm == pytest.approx(100)
    assert fit_resistance(VOLTS, amps, limited).points_used == int((~limited).sum())


def test_a_bend_that_is_no_chance_is_told():
    noise = 1e-6 * np.random.default_rng(1).normal(size=21)

    bent = fit_resistance(VOLTS, VOLTS / 100 * (1 + 0.02 * VOLTS**2) + noise)
    straight = fit_resistance(VOLTS, VOLTS / 100 + noise)

    assert not bent.linear
    assert bent.nonlinearity == pytest.approx(0.003, abs=0.002)
    assert straight.linear


NOISE = np.random.default_rng(7).normal(size=21)


@pytest.mark.parametrize(
    ("volts", "amps", "message"),
    [
        (VOLTS, 1e-12 * np.expm1(VOLTS / 0.05), "not a resistor: the curve bends"),
        (VOLTS, 1e-12 * NOISE, "no resistance to be told"),
        (VOLTS, 0 * VOLTS, "no current in any of 21 points"),
        (VOLTS, -VOLTS / 100, "measured the other way round"),
        (VOLTS[:3], VOLTS[:3], "at least 4 at 3 are needed"),
        (0 * VOLTS + 1, VOLTS, "21 points below compliance at 1 levels"),
        (VOLTS, VOLTS[:5], "lists of one length"),
        ([], [], "0 points"),
    ],
)
def test_what_is_no_resistor_is_refused_with_the_reason(volts, amps, message):
    with pytest.raises(ValueError, match=message):
        fit_resistance(volts, amps)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_uncertainties_that_cannot_be_are_refused(sigma):
    with pytest.raises(ValueError, match="finite and above 0"):
        fit_resistance(VOLTS, VOLTS, measured_u=sigma)


def test_results_can_be_listed_with_units_and_uncertainties():
    fit = fit_resistance(*measured(1, 100.0, 0.0, 1e-3, 1e-4))
    listed = {parameter.name: parameter for parameter in parameters_of(fit)}

    assert listed["resistance"].unit == "ohm"
    assert listed["resistance"].uncertainty == fit.resistance_u_ohm
    assert listed["offset"].uncertainty == fit.offset_u_v
    assert listed["nonlinearity"].uncertainty is None
    assert "points_used" not in listed
