"""Fits: the truth comes back within the stated uncertainty, and what is no diode is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.analysis import DiodeFit, diode_current_a, fit_diode

COMPLIANCE_A = 0.01


@dataclass(frozen=True)
class Truth:
    """A simulated diode on a simulated instrument."""

    ideality: float
    saturation_current_a: float
    series_resistance_ohm: float
    leakage_s: float = 0.0

    def measured(
        self, seed: int, relative: float = 1e-3, floor_a: float = 1e-12, points: int = 101
    ):
        """Return voltage, current with noise, and where it was limited."""
        noise = np.random.default_rng(seed)
        volts = np.linspace(-1.0, 1.0, points)
        amps = self.leakage_s * volts + diode_current_a(
            volts,
            ideality=self.ideality,
            saturation_current_a=self.saturation_current_a,
            series_resistance_ohm=self.series_resistance_ohm,
        )
        amps = amps * (1 + relative * noise.normal(size=points)) + floor_a * noise.normal(
            size=points
        )
        return volts, np.minimum(amps, COMPLIANCE_A), amps > COMPLIANCE_A

    def deviations(self, fit: DiodeFit) -> list[float]:
        """How far each fitted parameter is from the truth, in its own standard uncertainties."""
        relative_u = fit.saturation_current_u_a / fit.saturation_current_a
        return [
            (fit.ideality - self.ideality) / fit.ideality_u,
            np.log(fit.saturation_current_a / self.saturation_current_a) / relative_u,
            (fit.series_resistance_ohm - self.series_resistance_ohm) / fit.series_resistance_u_ohm,
        ]


TRUTHS = st.builds(
    Truth,
    ideality=st.floats(1.0, 2.5),
    saturation_current_a=st.floats(-14.0, -7.0).map(lambda decade: 10.0**decade),
    series_resistance_ohm=st.floats(0.0, 50.0),
    leakage_s=st.sampled_from([0.0, 1e-11, 1e-9]),
)


@given(TRUTHS, st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 1e-3, 1e-2]))
def test_the_truth_is_recovered_within_the_stated_uncertainty(truth, seed, relative):
    volts, amps, limited = truth.measured(seed, relative)

    fit = fit_diode(volts, amps, in_compliance=limited)

    # Five of them: a few hundred values are looked at, and some fits have only ten points.
    assert np.abs(truth.deviations(fit)).max() < 5
    assert fit.ideality_u < 0.05
    assert fit.ideality == pytest.approx(truth.ideality, rel=0.05)


def test_the_stated_uncertainties_are_standard_deviations_neither_more_nor_less():
    dice = np.random.default_rng(1)
    deviations = []
    for seed in range(200):
        truth = Truth(dice.uniform(1, 2.5), 10 ** dice.uniform(-14, -7), dice.uniform(1, 50), 1e-11)
        volts, amps, limited = truth.measured(seed, relative=3e-3)
        deviations.append(truth.deviations(fit_diode(volts, amps, in_compliance=limited)))

    # A normal distribution has 68 % within one and 95 % within two.
    assert (np.abs(deviations) < 1).mean(axis=0) == pytest.approx([0.68] * 3, abs=0.1)
    assert ((np.abs(deviations) < 2).mean(axis=0) > 0.91).all()


def test_data_without_noise_gives_the_parameters_to_many_digits():
    truth = Truth(1.8, 2.5e-9, 0.6)
    volts, amps, limited = truth.measured(0, relative=0.0, floor_a=0.0)

    fit = fit_diode(volts, amps, in_compliance=limited)

    assert fit.ideality == pytest.approx(1.8, rel=1e-6)
    assert fit.saturation_current_a == pytest.approx(2.5e-9, rel=1e-5)
    assert fit.series_resistance_ohm == pytest.approx(0.6, rel=1e-4)
    assert fit.residual < 1e-6
    assert fit.points_used == int((~limited & (volts > 0)).sum())


@pytest.mark.parametrize("step_a", [1e-11, 1e-9, 1e-7])
def test_a_meter_whose_last_digit_stands_still_is_not_free_of_noise(step_a):
    truth = Truth(1.5, 1e-12, 10.0)
    volts = np.linspace(-0.2, 0.9, 56)
    amps = diode_current_a(
        volts, ideality=1.5, saturation_current_a=1e-12, series_resistance_ohm=10.0
    )

    fit = fit_diode(volts, np.round(amps / step_a) * step_a)

    assert np.abs(truth.deviations(fit)).max() < 4
    assert fit.ideality == pytest.approx(1.5, rel=0.01)


def test_points_in_compliance_do_not_count():
    volts, amps, limited = Truth(1.5, 1e-10, 5.0).measured(0)
    spoiled = np.where(limited, 123.0, amps)

    assert limited.sum() > 3
    assert fit_diode(volts, spoiled, in_compliance=limited) == fit_diode(
        volts[~limited], amps[~limited]
    )


def test_reverse_breakdown_does_not_spoil_the_forward_fit():
    truth = Truth(1.5, 1e-10, 5.0)
    volts, amps, limited = truth.measured(0)
    amps = np.where(volts < -0.5, -1e-4 * (volts + 0.5) ** 2, amps)

    fit = fit_diode(volts, amps, in_compliance=limited)

    assert np.abs(truth.deviations(fit)).max() < 5


def test_ohmic_leakage_is_not_taken_for_saturation_current():
    truth = Truth(1.2, 1e-13, 2.0, leakage_s=1e-8)
    volts, amps, limited = truth.measured(3, relative=1e-4, floor_a=1e-11)

    fit = fit_diode(volts, amps, in_compliance=limited)

    assert fit.leakage_s == pytest.approx(1e-8, rel=0.01)
    assert np.abs(truth.deviations(fit)).max() < 5


def test_points_in_any_order_give_the_same_fit():
    volts, amps, limited = Truth(1.5, 1e-10, 5.0).measured(0)
    order = np.random.default_rng(0).permutation(len(volts))

    assert fit_diode(volts[order], amps[order], in_compliance=limited[order]) == fit_diode(
        volts, amps, in_compliance=limited
    )


def test_the_product_of_ideality_and_temperature_is_what_is_measured():
    volts, amps, limited = Truth(1.5, 1e-10, 5.0).measured(0)

    cold = fit_diode(volts, amps, temperature_k=250.0, in_compliance=limited)

    assert cold.ideality * 250 == pytest.approx(
        fit_diode(volts, amps, in_compliance=limited).ideality * 300, rel=1e-6
    )


def test_the_fitted_curve_lies_on_the_points():
    volts, amps, limited = Truth(1.5, 1e-10, 5.0).measured(0)
    fit = fit_diode(volts, amps, in_compliance=limited)
    seen = ~limited & (volts > 0.2)

    assert fit.current_a(volts)[seen] == pytest.approx(amps[seen], rel=6e-3)
    assert fit.residual == pytest.approx(1e-3, rel=0.5)


@given(TRUTHS, st.floats(-2.0, 3.0))
def test_the_closed_form_solves_the_diode_equation(truth, volts):
    amps = float(
        diode_current_a(
            volts,
            ideality=truth.ideality,
            saturation_current_a=truth.saturation_current_a,
            series_resistance_ohm=truth.series_resistance_ohm,
        )
    )
    scale_v = truth.ideality * 0.025852  # kT/e at 300 K

    # Both sides of I = I_s (exp((V - I R) / nVt) - 1), the exponential undone.
    junction_v = volts - amps * truth.series_resistance_ohm
    if volts > 0:
        undone = scale_v * np.log1p(amps / truth.saturation_current_a)
        assert undone == pytest.approx(junction_v, rel=1e-4, abs=1e-9)
    else:
        assert (
            -truth.saturation_current_a * (1 + 1e-9) <= amps <= 1e-12 * truth.saturation_current_a
        )


VOLTS = np.linspace(-1, 1, 101)
NOISE = np.random.default_rng(7).normal(size=101)


@pytest.mark.parametrize(
    ("volts", "amps", "message"),
    [
        (VOLTS, VOLTS / 1000, r"not a diode: the current grows no faster than V\^1.0"),
        (VOLTS, VOLTS / 50 + 1e-5 * NOISE, "not a diode: the current grows no faster"),
        (VOLTS, VOLTS * abs(VOLTS) * 1e-3, r"no faster than V\^2.00"),
        (VOLTS, 0 * VOLTS, "no current in any of 101 points"),
        (VOLTS, 1e-12 * NOISE, "0 forward points above the noise"),
        (VOLTS[::20], VOLTS[::20] ** 3, "at least 8 are needed"),
        (-VOLTS, -Truth(1.5, 1e-10, 5.0).measured(0)[1], "is it connected the other way round"),
        (VOLTS, VOLTS[:50], "lists of one length"),
        ([], [], "no current in any of 0 points"),
    ],
)
def test_what_is_no_diode_is_refused_with_the_reason(volts, amps, message):
    with pytest.raises(ValueError, match=message):
        fit_diode(volts, amps)


def test_a_resistor_that_was_swept_again_and_again_is_seen_as_one():
    noise = np.random.default_rng(4)
    volts = np.tile(np.linspace(-1, 1, 101), 100)
    amps = volts / 1000 + 1e-8 * noise.standard_normal(len(volts))

    with pytest.raises(ValueError, match="a resistor's grows as"):
        fit_diode(volts + 1e-6 * noise.standard_normal(len(volts)), amps)


@pytest.mark.parametrize("temperature_k", [0.0, -1.0, float("nan")])
def test_a_temperature_that_cannot_be_is_refused(temperature_k):
    with pytest.raises(ValueError, match="expected more than 0"):
        fit_diode(*Truth(1.5, 1e-10, 5.0).measured(0)[:2], temperature_k=temperature_k)


def test_the_example_in_the_reference_holds():
    page = Path(__file__).parents[1] / "docs/reference/analysis.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]

    exec(code, {})
