"""Plots of several runs, of families and of the other standard methods; and all of it as text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.plotting import ascii_plot, plot_run, plot_runs
from drivebay.plotting.curves import directions, spots, strokes, thinned, turns
from drivebay.plotting.facts import differences
from drivebay.plotting.numbers import round_ticks

UNITS = {"voltage_v": "V", "current_a": "A", "time_s": "s", "in_compliance": ""}


@dataclass
class Measured:
    """What a plot reads of a run, and nothing else."""

    columns: dict[str, Any]
    units: dict[str, str]
    id: str = "20261122-231502-k3f9"
    method: str = "iv_sweep"
    state: str = "done"
    started_at: str = "2026-11-22T23:15:02.5+00:00"
    identity: Any = field(default_factory=lambda: {"manufacturer": "Maker", "model": "X1"})
    plugin: dict[str, str] = field(default_factory=lambda: {"name": "x1", "version": "1.0.0"})
    parameters: dict[str, Any] = field(default_factory=lambda: {"compliance_a": 0.01})
    tags: tuple[str, ...] = ()


def sweep(*, back: bool = False, slope: float = 1e-3, limit: float = np.inf, **about: Any):
    volts = np.linspace(-1, 1, 41)
    if back:
        volts = np.concatenate([volts, volts[-2::-1]])
    amps = slope * volts
    columns = {
        "voltage_v": volts,
        "current_a": np.clip(amps, -limit, limit),
        "time_s": np.arange(len(volts)) * 0.02,
        "in_compliance": np.abs(amps) > limit,
    }
    return Measured(columns, UNITS, **about)


def diode(**about: Any):
    run = sweep(**about)
    run.columns["current_a"] = 1e-10 * np.expm1(run.columns["voltage_v"] / 0.05)
    return run


def output_curves(levels=(1.0, 1.5, 2.0)):
    drain = np.tile(np.linspace(0, 2, 21), len(levels))
    gate = np.repeat(levels, 21) + 1e-5 * np.random.default_rng(1).normal(size=len(drain))
    columns = {
        "gate_voltage_v": gate,
        "drain_voltage_v": drain,
        "drain_current_a": gate * np.tanh(drain) * 1e-3,
        "gate_current_a": 0 * drain,
        "time_s": np.arange(float(len(drain))),
        "in_compliance": drain > 9,
    }
    units = {name: {"v": "V", "a": "A", "s": "s"}.get(name[-1], "") for name in columns}
    return Measured(columns, units | {"in_compliance": ""}, method="output_curve")


def labels(figure: Any) -> list[str]:
    legends = [axes.get_legend() for axes in figure.axes] + list(figure.legends)
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def texts(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


# -- one run -----------------------------------------------------------------------------------


def test_a_family_has_a_curve_for_each_level_whatever_noise_it_was_measured_with():
    figure = plot_run(output_curves())
    (axes,) = figure.axes

    assert labels(figure) == ["Gate voltage 1 V", "Gate voltage 1.5 V", "Gate voltage 2 V"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Drain voltage (V)", "Drain current (mA)")
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 21]
    assert len(drawn) == len({line.get_color() for line in drawn}) == 3
    assert len({line.get_marker() for line in drawn}) == 3


def test_a_family_of_one_is_a_curve():
    assert labels(plot_run(output_curves((1.5,)))) == []


def test_capacitance_is_drawn_against_bias_and_nothing_else():
    volts = np.linspace(-5, 0, 11)
    columns = {"voltage_v": volts, "frequency_hz": volts * 0 + 1e6, "capacitance_f": 1e-10 - volts}
    units = {"voltage_v": "V", "frequency_hz": "Hz", "capacitance_f": "F"}
    run = Measured(columns, units, method="cv_measurement", parameters={"frequency_hz": 1e6})
    figure = plot_run(run)
    (axes,) = figure.axes

    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Voltage (V)", "Capacitance (F)")
    assert "1 MHz" in texts(figure)


def test_frequencies_over_decades_are_drawn_over_decades():
    hertz = np.geomspace(100, 1e6, 9)
    columns = {"frequency_hz": hertz, "capacitance_f": 1e-9 + 0 * hertz}
    run = Measured(columns, {"frequency_hz": "Hz", "capacitance_f": "F"}, method="cf_sweep")
    (axes,) = plot_run(run).axes

    assert axes.get_xscale() == "log"
    assert axes.xaxis.get_major_formatter()(0.1, 0) == "100 kHz"


def test_what_is_watched_is_drawn_against_time_each_quantity_in_its_panel():
    run = sweep(method="iv_monitor")
    first, second = plot_run(run).axes

    assert second.get_xlabel() == "Time (s)"
    assert (first.get_ylabel(), second.get_ylabel()) == ("Current (mA)", "Voltage (V)")


def test_a_run_whose_level_stands_still_is_drawn_against_time():
    run = sweep(method="own")
    run.columns["voltage_v"] = 1 + 1e-7 * run.columns["time_s"]

    assert plot_run(run).axes[-1].get_xlabel() == "Time (s)"


@pytest.mark.parametrize("levels", [3, 5, 11])
def test_a_large_legend_lies_below_the_curves_and_within_the_picture(levels):
    figure = plot_run(output_curves(tuple(np.linspace(1, 3, levels))))
    figure.canvas.draw()

    among = figure.axes[0].get_legend()
    assert (among is not None) == (levels == 3)
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.axes[0].get_window_extent().y0


def test_a_value_that_hardly_changes_is_shown_by_how_far_it_is_from_its_median():
    run = sweep(method="iv_monitor")
    run.columns["voltage_v"] = 5 + 1e-6 * np.sin(run.columns["time_s"] * 20)
    figure = plot_run(run)

    assert figure.axes[1].get_ylabel() == "Voltage \u2212 5 V (\u00b5V)"
    assert np.abs(figure.axes[1].lines[0].get_ydata()).max() == pytest.approx(1, abs=0.1)


def test_what_is_taken_off_leaves_no_more_than_the_change():
    run = sweep(method="iv_monitor")
    run.columns["voltage_v"] = 1000.4 + 1.5e-3 * np.sin(run.columns["time_s"] * 20)
    figure = plot_run(run)

    assert figure.axes[1].get_ylabel() == "Voltage \u2212 1.0004 kV (mV)"
    assert np.abs(figure.axes[1].lines[0].get_ydata()).max() < 2


def test_the_fit_is_drawn_over_the_points_and_does_not_stretch_the_axes():
    run = sweep()
    without = plot_run(run).axes[0].get_ylim()
    figure = plot_run(run, fit=lambda volts: 1e-3 * volts + 1e3 * (volts > 0.99))

    assert "fit" in labels(figure)
    assert figure.axes[0].get_ylim() == without


def test_the_heading_says_when_in_universal_time():
    assert "2026-11-22 23:15 UTC" in texts(plot_run(sweep()))


def test_a_million_points_give_a_small_picture_with_every_spike(tmp_path: Path):
    y = np.zeros(1_000_000)
    y[123_456] = 1.0
    run = Measured({"x": np.arange(1e6), "y": y}, {"x": "V", "y": "A"}, method="own")

    figure = plot_run(run, tmp_path / "big.svg")

    assert (tmp_path / "big.svg").stat().st_size < 300_000
    assert figure.axes[0].lines[0].get_ydata().max() == 1.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 400))
def test_thinning_keeps_the_ends_and_the_extremes(values, times):
    y = np.tile(np.array(values), times)
    kept = thinned(np.arange(len(y)), y)

    assert kept[0] == 0
    assert kept[-1] == len(y) - 1
    assert (np.diff(kept) > 0).all()
    assert (y[kept].min(), y[kept].max()) == (y.min(), y.max())
    assert len(kept) <= 6002


def swept(times: int, noise: float) -> tuple[Any, Any, list[slice]]:
    """A sweep that was repeated, with noise of a part of its height, and its pieces."""
    x = np.tile(np.linspace(0, 1, 201), times)
    y = np.sin(6 * x) + noise * np.random.default_rng(7).normal(size=len(x))
    return x, y, [slice(at, at + 201) for at in range(0, len(x), 201)]


@pytest.mark.parametrize("noise", [0, 1e-6, 1e-3, 0.1])
def test_a_sweep_repeated_often_is_drawn_once_with_every_extreme(noise: float):
    x, y, pieces = swept(500, noise)
    y[77_777] = 3.0

    a, b = strokes(x, y, pieces)

    assert len(a) < (2_000 if noise < 1e-3 else 20_000)
    for level in np.unique(x):
        there = y[x == level]
        drawn = b[a == level]
        dot = np.ptp(y) / 1000
        assert drawn.min() - there.min() <= dot
        assert there.max() - drawn.max() <= dot
    assert np.nanmax(b) == 3.0


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12),
        min_size=1,
        max_size=6,
    )
)
def test_strokes_are_steps_of_the_pieces_and_nothing_else(lines):
    x, y = (np.array([point[at] for line in lines for point in line]) for at in (0, 1))
    ends = np.cumsum([len(line) for line in lines])
    pieces = [slice(end - len(line), end) for line, end in zip(lines, ends, strict=True)]

    a, b = strokes(x, y, pieces)

    steps = {(p, q) for line in lines for p, q in pairwise(line) if p != q}
    drawn = list(zip(a.tolist(), b.tolist(), strict=True))
    found = {(p, q) for p, q in pairwise(drawn) if not np.isnan([*p, *q]).any() and p != q}
    assert found <= steps


@given(
    st.lists(
        st.one_of(st.floats(-2, 2), st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf])), max_size=60
    )
)
def test_a_way_is_split_as_a_look_at_every_point_splits_it(values):
    x = np.array(values, dtype=float)

    every = [(at, value) for at, value in enumerate(values) if np.isfinite(value)]

    assert list(directions(x)) == list(turns(every, len(x)))


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=30))
def test_a_mark_stands_for_others_only_on_the_same_dot(points):
    x, y = (np.tile([point[at] for point in points], 300) for at in (0, 1))

    kept = spots(x, y)

    assert len(kept) <= len(x)
    for values in (x, y):
        span = np.ptp(values) or 1.0
        near = np.abs(values[:, None] - values[kept]).min(axis=1)
        assert near.max() <= span / 1000


def test_many_sweeps_up_and_down_make_a_small_picture(tmp_path: Path):
    run = sweep(back=True, limit=5e-4)
    columns = {name: np.tile(values, 2_000) for name, values in run.columns.items()}

    figure = plot_run(Measured(columns, UNITS), tmp_path / "many.svg")

    lines = figure.axes[0].lines
    assert labels(figure) == ["up", "down", "in compliance"]
    assert sum(len(line.get_xdata()) for line in lines if line.get_label() in {"up", "down"}) < 500
    assert (tmp_path / "many.svg").stat().st_size < 600_000


# -- several runs ------------------------------------------------------------------------------


def test_the_legend_names_what_differs_and_the_heading_what_does_not():
    figure = plot_runs(
        [
            sweep(parameters={"compliance_a": 0.01, "nplc": 1.0}),
            sweep(parameters={"compliance_a": 0.01, "nplc": 10.0}, slope=2e-3),
        ]
    )

    assert labels(figure) == ["nplc 1", "nplc 10"]
    assert "I-V sweep · Maker X1 · 2 runs" in texts(figure)
    assert "compliance 10 mA" in texts(figure)
    first, second = figure.axes[0].lines[:2]
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()


def test_runs_with_a_way_back_say_which_dash_is_which():
    figure = plot_runs([sweep(back=True), sweep(back=True, tags=("cold",))])

    assert labels(figure) == ["run 1", "#cold", "up", "down"]


def test_runs_share_one_prefix():
    (axes,) = plot_runs([sweep(slope=1e-6), sweep(slope=1e-3)]).axes

    assert axes.get_ylabel() == "Current (mA)"


def test_one_diode_among_runs_brings_the_logarithmic_panel():
    assert len(plot_runs([sweep(), diode()]).axes) == 2
    assert len(plot_runs([sweep(), diode()], log=False).axes) == 1


def test_more_runs_than_colours_still_look_different():
    runs = [sweep(slope=1e-3 * n, parameters={"gain": n}) for n in range(1, 16)]
    figure = plot_runs(runs)
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines[:15]}

    assert len(looks) == 15
    assert len(labels(figure)) == 15


@pytest.mark.parametrize("drawn", [plot_runs, ascii_plot])
def test_runs_of_different_things_are_refused(drawn):
    with pytest.raises(ValueError, match="cannot share axes"):
        drawn([sweep(), output_curves()])
    with pytest.raises(ValueError, match="no runs"):
        drawn([])


def test_the_same_runs_give_the_same_bytes(tmp_path: Path):
    for name in ("one.svg", "two.svg", "one.png", "two.png"):
        plot_runs([sweep(back=True), diode()], tmp_path / name)

    for ending in ("svg", "png"):
        first, second = ((tmp_path / f"{n}.{ending}").read_bytes() for n in ("one", "two"))
        assert first == second


ABOUT = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b"]),
        "state": st.sampled_from(["done", "aborted"]),
        "started_at": st.sampled_from(["", "2026-11-22T23:15:02"]),
        "tags": st.sampled_from([(), ("hot",), ("hot", "dry")]),
        "parameters": st.dictionaries(
            st.sampled_from(["compliance_a", "nplc", "four_wire", "note"]),
            st.sampled_from([0.01, 1, True, "x" * 99, None]),
        ),
    }
)


@given(st.lists(ABOUT, min_size=2, max_size=6))
def test_no_two_runs_are_called_the_same(abouts):
    names = differences([sweep(**about) for about in abouts])

    assert len(set(names)) == len(names)
    assert all(names)


# -- text --------------------------------------------------------------------------------------

RUNS = st.sampled_from(
    [
        [sweep()],
        [sweep(back=True, limit=5e-4)],
        [diode(back=True)],
        [output_curves()],
        [sweep(), sweep(slope=5e-4)],
        [Measured({"x": np.array([])}, {"x": "V"}, method="own")],
        [Measured({"x": np.array([np.nan, 1, np.inf])}, {"x": ""}, method="")],
    ]
)


@given(RUNS, st.integers(40, 120), st.integers(10, 40), st.sampled_from([None, True, False]))
def test_text_is_as_wide_and_as_high_as_was_asked(runs, width, height, log):
    for ascii_only in (False, True):
        lines = ascii_plot(runs, width, height, log=log, ascii_only=ascii_only).split("\n")

        assert {len(line) for line in lines} == {width}
        assert len(lines) == height
        assert not ascii_only or "\n".join(lines).isascii()


def test_text_has_frequencies_over_decades_and_ticks_that_differ():
    run = sweep(method="cf_sweep", identity={"manufacturer": "Keysight Technologies", "model": "E"})
    hertz = np.logspace(3, 6, 31)
    run.columns = {"frequency_hz": hertz, "capacitance_f": 30.2e-12 + 1e-18 * hertz / 1e3}
    run.units = {"frequency_hz": "Hz", "capacitance_f": "F"}

    title, _, *body, ticks = ascii_plot(run, 80, 24).split("\n")

    assert "· Keysight E ·" in title
    assert ticks.split() == ["1", "kHz", "10", "kHz", "100", "kHz", "1", "MHz"]
    labels = [line.partition("┤")[0].strip() for line in body if "┤" in line]
    assert len(labels) > 2
    assert len(set(labels)) == len(labels)


def test_text_shows_a_value_that_hardly_changes_as_a_picture_does():
    run = sweep(method="iv_monitor")
    run.columns["current_a"] = 1e-3 + 1e-9 * np.sin(run.columns["time_s"] * 20)

    _, title, *body, _ = ascii_plot(run, ascii_only=True).split("\n")

    assert title.startswith("Current - 1 mA against time")
    assert any(line.lstrip().startswith("0 A +") for line in body)


def test_a_transfer_curve_is_logarithmic_though_it_is_below_the_resolution_at_first():
    gate = np.tile(np.linspace(0, 3, 61), 2)
    amps = np.round(1e-3 / (1 + np.exp(-(gate - 2) * 15)) / 1e-11) * 1e-11
    run = sweep(method="transfer_curve")
    run.columns = {
        "gate_voltage_v": gate,
        "drain_voltage_v": np.repeat([0.1, 1.0], 61),
        "drain_current_a": amps,
    }
    run.units = {"gate_voltage_v": "V", "drain_voltage_v": "V", "drain_current_a": "A"}

    assert "|Drain current| (logarithmic)" in ascii_plot(run)
    run.columns["drain_current_a"] = 1e-3 * run.columns["drain_voltage_v"] * (gate > 1.5)
    assert "logarithmic" in ascii_plot(run, log=True)
    assert "logarithmic" not in ascii_plot(run)


def test_text_says_title_quantities_and_round_ticks_with_units():
    picture = ascii_plot(sweep(), 60, 16)
    lines = picture.split("\n")

    assert lines[0].startswith("I-V sweep · Maker X1 · 20261122-231502-k3f9")
    assert lines[1].startswith("Current against voltage")
    assert any(line.lstrip().startswith("1 mA ┤") for line in lines)
    assert lines[-1].split() == ["-1", "V", "-500", "mV", "0", "V", "500", "mV", "1", "V"]


def body(picture: str) -> str:
    return "\n".join(
        line.partition("│")[2] or line.partition("┤")[2] for line in picture.split("\n")
    )


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=40),
    st.integers(1, 400),
    st.integers(40, 100),
    st.integers(10, 30),
)
def test_text_has_a_mark_where_each_point_is_and_nowhere_else(points, times, width, height):
    x, y = (np.tile([point[at] for point in points], times) for at in (0, 1))
    if not (np.ptp(x) > 1e-3 and np.ptp(y) > 1e-3):
        return
    columns = {"x": np.append(x, np.nan), "y": np.append(y, 1.0)}
    picture = ascii_plot(Measured(columns, {"x": "V", "y": "V"}, method="own"), width, height)
    lines = [re.split("[│┤]", line)[1] for line in picture.split("\n") if re.search("[│┤]", line)]
    rows, inner = len(lines), len(lines[0])
    marks = {
        (column, rows - 1 - number)
        for number, line in enumerate(lines)
        for column, mark in enumerate(line)
        if mark in "●○◉"
    }

    wanted = {
        (int(column), int(row))
        for column, row in zip(
            np.rint((x - x.min()) / np.ptp(x) * (inner - 1)),
            np.rint((y - y.min()) / np.ptp(y) * (rows - 1)),
            strict=True,
        )
    }
    assert marks == wanted


def test_text_tells_up_from_down_and_shows_compliance():
    run = sweep(back=True, limit=5e-4)
    run.columns["current_a"][41:] -= 3e-4
    picture = ascii_plot(run, 60, 20)

    assert all(mark in body(picture) for mark in "●○\u00d7")
    assert picture.split("\n")[-1].startswith("● up   ○ down   ◉ both   \u00d7 in compliance")
    one_way = ascii_plot(sweep(), 60, 20)
    assert "●" in body(one_way)
    assert not any(mark in one_way for mark in "○◉\u00d7")


def test_text_of_several_runs_has_a_mark_and_a_name_for_each():
    runs = [sweep(slope=s, parameters={"gain": s}) for s in (1e-3, 5e-4)]

    assert ascii_plot(runs, 60, 20).split("\n")[-1].startswith("● gain 0.001   ▲ gain 0.0005")
    plain = ascii_plot(runs, 60, 20, ascii_only=True)
    assert plain.split("\n")[-1].startswith("A gain 0.001   B gain 0.0005")


def test_text_of_a_diode_is_logarithmic_unless_told_otherwise():
    assert "|Current| (logarithmic)" in ascii_plot(diode())
    assert "logarithmic" not in ascii_plot(diode(), log=False)
    assert "logarithmic" not in ascii_plot(sweep())


def test_text_shows_all_that_was_swept_also_where_nothing_flowed():
    run = diode()
    run.columns["current_a"][run.columns["voltage_v"] < 0] = 0.0

    assert ascii_plot(run, 60, 20).split("\n")[-1].split()[:2] == ["-1", "V"]


def test_text_without_room_is_refused():
    with pytest.raises(ValueError, match="39 x 10 characters is too small"):
        ascii_plot(sweep(), 39, 10)


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9), st.integers(2, 12))
def test_ticks_are_inside_evenly_spaced_and_not_too_many(low, span, about):
    high = low + span
    if not high > low or span < 1e-9 * abs(low):
        return
    ticks = round_ticks(low, high, about)

    assert len(ticks) <= about + 1
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in ticks)
    assert np.allclose(np.diff(ticks, 2), 0, atol=1e-6 * span)
