"""Devices against the closed forms and the limits they are made from."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.sim import Diode, Resistor
from drivebay.sim.circuit import (
    Capacitor,
    Circuit,
    Inductor,
    MosCapacitor,
    Mosfet,
    Plain,
    SeriesRC,
    SolarCell,
    Varactor,
    Zener,
    volts,
)

THERMAL_V = 1.380649e-23 * 300 / 1.602176634e-19
EVERY = [
    Plain(Resistor(47.0)),
    Plain(Resistor(0.0)),
    Plain(Diode()),
    Plain(Diode(series_resistance_ohm=0.0)),
    Zener(),
    SolarCell(),
    Varactor(),
    Capacitor(1e-9, 1e9),
    SeriesRC(1e3, 1e-9, 1e8),
    Inductor(),
    Mosfet(gate_source_f=1e-11, gate_drain_f=2e-12),
    Mosfet(p_channel=True, threshold_v=-1.5),
    MosCapacitor(),
    MosCapacitor(n_type=True, flat_band_v=0.3),
]


def names(component):
    return repr(component)[:40]


@pytest.mark.parametrize("component", EVERY, ids=names)
@given(data=st.data())
def test_every_law_is_conserved_and_has_the_derivative_it_says(component, data):
    count = len(component.terminals) + component.inner
    volt = st.floats(-3.0, 3.0)
    at = [data.draw(volt) for _ in range(count)]

    for law in (component.flow, component.store):
        values, slopes = law(at)
        scale = max(map(abs, values)) or 1e-30
        assert abs(math.fsum(values)) <= 1e-9 * scale
        for column in range(count):
            step = 1e-6
            up, down = list(at), list(at)
            up[column] += step
            down[column] -= step
            for row in range(count):
                by_difference = (law(up)[0][row] - law(down)[0][row]) / (2 * step)
                largest = max(abs(each) for line in slopes for each in line)
                assert slopes[row][column] == pytest.approx(
                    by_difference, rel=2e-3, abs=1e-4 * largest + 1e-9 * scale / step
                )


# Light drives a solar cell, and a flat-band voltage a MOS capacitor.
PASSIVE = [each for each in EVERY if not isinstance(each, (SolarCell, MosCapacitor))]


@pytest.mark.parametrize("component", PASSIVE, ids=names)
def test_nothing_flows_and_nothing_is_stored_without_a_voltage(component):
    count = len(component.terminals) + component.inner

    assert component.flow([0.0] * count)[0] == pytest.approx([0.0] * count, abs=1e-24)
    assert component.store([0.0] * count)[0] == pytest.approx([0.0] * count, abs=1e-24)


def test_a_zener_holds_its_voltage_at_its_test_current():
    port = Circuit.around(Zener(zener_v=5.1, test_a=5e-3, zener_ohm=10.0))

    assert port.voltage_v(-5e-3) == pytest.approx(-5.1, rel=1e-6)
    dynamic_ohm = (port.voltage_v(-5e-3) - port.voltage_v(-6e-3)) / 1e-3
    assert dynamic_ohm == pytest.approx(10.0 + THERMAL_V / 5.5e-3, rel=0.02)
    assert abs(port.current_a(-4.0)) < 1e-10


def test_a_solar_cell_has_its_short_circuit_current_and_open_circuit_voltage():
    cell = SolarCell(0.035, 1e-10, 1.2, 1e-3, 1e9)
    port = Circuit.around(cell)

    assert port.current_a(0.0) == pytest.approx(-0.035, rel=1e-5)
    open_v = 1.2 * THERMAL_V * math.log1p(0.035 / 1e-10)
    assert port.voltage_v(0.0) == pytest.approx(open_v, rel=1e-6)


def test_a_mosfet_follows_the_square_law_in_strong_inversion():
    mosfet = Mosfet(1.0, 2e-3, 1.3, modulation_per_v=0.0, body_saturation_a=1e-18)

    current_a = mosfet.flow([20.0, 5.0, 0.0])[0][0]

    assert current_a == pytest.approx(2e-3 / (2 * 1.3) * 4.0**2, rel=1e-6)


def test_a_mosfet_has_its_subthreshold_swing():
    mosfet = Mosfet(1.5, 2e-3, 1.3, modulation_per_v=0.0, body_saturation_a=1e-24)
    decade_v = 1.3 * THERMAL_V * math.log(10)

    low, high = (mosfet.flow([5.0, gate, 0.0])[0][0] for gate in (0.8, 0.8 + decade_v))

    assert high / low == pytest.approx(10.0, rel=1e-3)


def test_a_p_channel_is_the_mirror_of_an_n_channel():
    n, p = Mosfet(1.5), Mosfet(-1.5, p_channel=True)

    for drain, gate in ((5.0, 3.0), (0.2, 4.0), (-0.3, 2.0)):
        mirrored = [-each for each in n.flow([drain, gate, 0.0])[0]]
        assert p.flow([-drain, -gate, 0.0])[0] == pytest.approx(mirrored)


@pytest.mark.parametrize("reverse_v", [0.0, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("frequency_hz", [1e3, 1e6])
def test_an_lcr_meter_sees_the_varactors_capacitance_at_its_bias(reverse_v, frequency_hz):
    port = Circuit.around(Varactor(30e-12, 0.7, 0.5, 0.2e-12))
    port.present(volts(-reverse_v, 1e-3, ohm=100.0))

    admittance_s = port.admittance_s(frequency_hz, window_s=1e-3)

    expected_f = 30e-12 / math.sqrt(1 + reverse_v / 0.7) + 0.2e-12
    measured_f = admittance_s.imag / (2 * math.pi * frequency_hz)
    assert measured_f == pytest.approx(expected_f, rel=1e-4)


def test_an_rc_has_the_impedance_of_its_parts():
    port = Circuit.around(SeriesRC(1e3, 1e-8))

    impedance_ohm = 1 / port.admittance_s(1e4)

    assert impedance_ohm == pytest.approx(1e3 + 1 / (2j * math.pi * 1e4 * 1e-8), rel=1e-6)


def test_an_inductor_has_the_impedance_of_its_winding():
    port = Circuit.around(Inductor(1e-3, 2.0))

    assert 1 / port.admittance_s(1e3) == pytest.approx(2 + 2j * math.pi, rel=1e-6)


def test_a_mos_capacitor_goes_from_the_oxide_through_depletion_to_inversion():
    mos = MosCapacitor()
    curves = {volt: mos.gate(volt) for volt in (-4.0, 0.0, 4.0)}

    assert curves[-4.0][1] / mos.oxide_f == pytest.approx(1.0, abs=0.05)
    assert curves[0.0][1] < 0.3 * mos.oxide_f
    assert curves[4.0][1] / mos.oxide_f == pytest.approx(1.0, abs=0.05)
    assert curves[4.0][2] < 0.3 * mos.oxide_f


def test_the_slow_curve_of_a_mos_capacitor_is_the_fast_one_where_there_are_no_minorities():
    _, low_f, high_f = MosCapacitor().gate(-2.0)

    assert low_f == pytest.approx(high_f, rel=1e-6)


def test_a_mos_capacitors_signal_is_slow_below_and_fast_above_its_response():
    mos = MosCapacitor(response_s=0.05)
    port = Circuit.around(mos)
    port.present(volts(3.0, 1e-3, ohm=100.0))
    port.settle()

    def seen_f(hertz):
        return port.admittance_s(hertz).imag / (2 * math.pi * hertz)

    assert seen_f(0.01) == pytest.approx(mos.gate(3.0)[1], rel=1e-3)
    assert seen_f(1e5) == pytest.approx(mos.gate(3.0)[2], rel=1e-3)


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (Zener, {"zener_v": 0}),
        (SolarCell, {"photo_a": -1}),
        (Varactor, {"grading": 1.0}),
        (Capacitor, {"farad": math.inf}),
        (Capacitor, {"leakage_ohm": 0}),
        (SeriesRC, {"ohm": 0}),
        (Inductor, {"henry": -1}),
        (Mosfet, {"slope_factor": 0}),
        (MosCapacitor, {"oxide_m": 0}),
    ],
)
def test_a_device_that_cannot_be_is_refused(made, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        made(**options)
