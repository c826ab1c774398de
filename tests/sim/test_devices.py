"""The devices against closed forms, limits and their own inverse."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.sim.devices import Diode, OpenCircuit, Resistor, ShortCircuit, lambert_w_of_exp

DIODES = st.builds(
    Diode,
    saturation_current_a=st.floats(1e-18, 1e-5),
    ideality=st.floats(0.5, 5.0),
    series_resistance_ohm=st.one_of(st.just(0.0), st.floats(1e-3, 1e5)),
    temperature_k=st.floats(20.0, 500.0),
    shunt_resistance_ohm=st.one_of(st.just(math.inf), st.floats(1e3, 1e12)),
)


@given(st.floats(-700, 1e6))
def test_lambert_w_solves_its_equation_from_underflow_to_a_million(exponent):
    w = lambert_w_of_exp(exponent)

    assert w > 0
    assert w + math.log(w) == pytest.approx(exponent, rel=4e-15, abs=4e-15)


@given(DIODES, st.floats(-1100, 1100))
def test_a_diode_satisfies_its_own_law_at_any_voltage_an_instrument_can_set(diode, voltage_v):
    current_a = diode.current_a(voltage_v)
    if math.isinf(current_a):
        assert diode.series_resistance_ohm == 0
        return

    junction_v = voltage_v - current_a * diode.series_resistance_ohm
    exponent = junction_v / diode.slope_v
    sat = diode.saturation_current_a
    expected_a = sat * math.expm1(min(exponent, 700.0)) + junction_v / diode.shunt_resistance_ohm
    # The junction voltage is a difference: its rounding is amplified by the exponential.
    drop_v = (abs(current_a) + sat) * diode.series_resistance_ohm
    amplified = 1 + (abs(voltage_v) + drop_v) / diode.slope_v
    rounding_a = 1e-15 * amplified * (abs(expected_a) + abs(current_a) + sat)
    assert current_a == pytest.approx(expected_a, rel=1e-9, abs=10 * rounding_a)


@given(DIODES, st.lists(st.floats(-200, 200), min_size=2, max_size=30))
def test_more_voltage_never_gives_less_current(diode, voltages_v):
    currents_a = diode.currents_a(sorted(voltages_v))

    for low_a, high_a in itertools.pairwise(currents_a):
        if math.isfinite(high_a):
            rounding_a = 1e-9 * (abs(low_a) + abs(high_a) + diode.saturation_current_a)
            assert high_a >= low_a - rounding_a


@given(DIODES, st.floats(1e-12, 5.0))
def test_the_voltage_at_a_current_is_the_inverse_of_the_current_at_a_voltage(diode, current_a):
    voltage_v = diode.voltage_v(current_a)

    assert diode.current_a(voltage_v) == pytest.approx(current_a, rel=1e-6, abs=1e-15)


def test_deep_reverse_is_the_saturation_current():
    assert Diode(saturation_current_a=3e-9).current_a(-100.0) == pytest.approx(-3e-9, rel=1e-12)


def test_a_shunt_carries_the_reverse_current():
    diode = Diode(saturation_current_a=1e-15, shunt_resistance_ohm=1e6, series_resistance_ohm=0.0)

    assert diode.current_a(-10.0) == pytest.approx(-1e-5, rel=1e-6)


def test_far_forward_is_the_series_resistance():
    diode = Diode(series_resistance_ohm=100.0)

    step_a = diode.current_a(1000.0) - diode.current_a(900.0)
    assert 100.0 / step_a == pytest.approx(100.0, rel=1e-3)


def test_small_forward_currents_follow_the_exponential_law():
    diode = Diode(
        saturation_current_a=1e-12, ideality=1.5, series_resistance_ohm=1.0, temperature_k=300.0
    )

    ratio = diode.current_a(0.4) / diode.current_a(0.3)
    kt_q = 1.380649e-23 * 300.0 / 1.602176634e-19
    assert math.log(ratio) == pytest.approx(0.1 / (1.5 * kt_q), rel=1e-3)


def test_an_ideal_junction_without_resistance_has_the_textbook_current():
    diode = Diode(
        saturation_current_a=1e-12, ideality=1.0, series_resistance_ohm=0.0, temperature_k=300.0
    )

    kt_q = 1.380649e-23 * 300.0 / 1.602176634e-19
    assert diode.current_a(0.6) == pytest.approx(1e-12 * (math.exp(0.6 / kt_q) - 1), rel=1e-12)


def test_no_voltage_drives_more_reverse_current_than_saturation():
    assert Diode(saturation_current_a=1e-12).voltage_v(-1e-9) == -math.inf


def test_nothing_overflows():
    diode = Diode(series_resistance_ohm=0.0, temperature_k=4.0)

    assert diode.current_a(1e6) == math.inf
    assert math.isfinite(Diode(temperature_k=4.0).current_a(1e6))


def test_a_device_at_rest_passes_nothing():
    assert Resistor(5.0).current_a(0.0) == 0.0
    assert OpenCircuit().current_a(100.0) == 0.0
    assert abs(Diode().current_a(0.0)) < 1e-26


def test_an_open_circuit_takes_any_voltage_and_a_short_none():
    assert OpenCircuit().voltage_v(1e-9) == math.inf
    assert OpenCircuit().voltage_v(-1e-9) == -math.inf
    assert ShortCircuit().voltage_v(1.0) == 0.0
    assert ShortCircuit().current_a(-1e-3) == -math.inf


def test_leads_add_to_what_two_wire_sensing_sees():
    assert Resistor(100.0).with_leads(2.0).voltage_v(1.0) == 102.0
    assert ShortCircuit().with_leads(0.5).current_a(1.0) == 2.0
    assert Diode(series_resistance_ohm=1.0).with_leads(2.0).series_resistance_ohm == 3.0
    assert OpenCircuit().with_leads(2.0).current_a(1.0) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Resistor(-1.0),
        lambda: Resistor(math.nan),
        lambda: Diode(saturation_current_a=0.0),
        lambda: Diode(ideality=-1.0),
        lambda: Diode(temperature_k=0.0),
        lambda: Diode(series_resistance_ohm=-1.0),
        lambda: Diode(shunt_resistance_ohm=math.nan),
    ],
)
def test_an_impossible_device_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        wrong()
