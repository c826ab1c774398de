"""Plots: what is on them, without looking; how they look was judged by eye."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.plotting import engineering, plot_run, plot_text

SRC = Path(__file__).parents[1] / "src"
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Measured:
    """What plot_run reads of a run, and nothing else."""

    columns: dict[str, Any]
    units: dict[str, str]
    id: str = "20261122-231502-k3f9"
    method: str = "iv_sweep"
    state: str = "done"
    identity: Any = field(
        default_factory=lambda: {
            "manufacturer": "KEITHLEY INSTRUMENTS INC.",
            "model": "MODEL 2400",
            "serial": "1234567",
        }
    )
    plugin: dict[str, str] = field(
        default_factory=lambda: {"name": "keithley_2400", "version": "1.0.0"}
    )
    parameters: dict[str, Any] = field(default_factory=lambda: {"compliance_a": 0.01, "nplc": 1.0})


def sweep(amps_of: Any, *, back: bool = False, limit: float = np.inf) -> Measured:
    volts = np.linspace(-1, 1, 41)
    if back:
        volts = np.concatenate([volts, volts[-2::-1]])
    amps = amps_of(volts)
    return Measured(
        {
            "voltage_v": volts,
            "current_a": np.clip(amps, -limit, limit),
            "time_s": np.arange(len(volts)) * 0.02,
            "in_compliance": np.abs(amps) > limit,
        },
        {"voltage_v": "V", "current_a": "A", "time_s": "s", "in_compliance": ""},
    )


def resistor(volts: Any) -> Any:
    return volts / 47


def diode(volts: Any) -> Any:
    return 1e-10 * np.expm1(volts / 0.05)


def texts(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def labels(axes: Any) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_axes_carry_units_with_engineering_prefixes():
    figure = plot_run(sweep(resistor))

    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Voltage (V)", "Current (mA)")
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(1000 / 47)


def test_the_heading_says_method_instrument_run_plugin_and_conditions():
    said = texts(plot_run(sweep(resistor)))

    assert "I-V sweep · Keithley 2400 (no. 1234567)" in said
    assert "20261122-231502-k3f9  ·  keithley_2400 1.0.0  ·  compliance 10 mA  ·  1 PLC" in said


def test_a_run_that_did_not_end_well_says_so_on_its_plot():
    run = sweep(resistor)
    run.state = "aborted"

    assert "aborted" in texts(plot_run(run))
    assert "done" not in texts(plot_run(sweep(resistor)))


def test_the_way_up_and_the_way_back_can_be_told_apart():
    up, down, *_ = plot_run(sweep(resistor, back=True)).axes[0].lines

    assert (up.get_label(), down.get_label()) == ("up", "down")
    assert up.get_color() != down.get_color()
    assert up.get_linestyle() != down.get_linestyle()
    assert up.get_xdata()[-1] == down.get_xdata()[0] == 1.0  # they share the turning point
    assert len(up.get_xdata()) == len(down.get_xdata()) == 41


def test_noise_of_the_measured_voltage_in_compliance_is_no_way_back():
    run = sweep(resistor, limit=0.01)
    limited = run.columns["in_compliance"]
    noise = np.random.default_rng(1).normal(size=len(limited))
    volts = run.columns["voltage_v"]
    run.columns["voltage_v"] = np.where(limited, 0.47 * np.sign(volts), volts) + 1e-4 * noise

    assert labels(plot_run(run).axes[0]) == ["measured", "in compliance"]


@pytest.mark.parametrize("points", [2, 3, 5, 50, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_turn_is_found_at_its_very_point(points, sign):
    x = sign * np.linspace(-1, 1, points)
    run = Measured(
        {"v": np.concatenate([x, x[-2::-1]]), "i": np.arange(2.0 * points - 1)},
        {"v": "V", "i": "A"},
    )
    first, second, *_ = plot_run(run).axes[0].lines

    assert len(first.get_xdata()) == len(second.get_xdata()) == points
    assert (first.get_label() == "up") == (sign == 1)
    assert len({first.get_label(), second.get_label()}) == 2


def test_one_way_needs_no_names_for_directions():
    figure = plot_run(sweep(resistor))

    assert labels(figure.axes[0]) == []


def test_points_in_compliance_are_ringed():
    run = sweep(resistor, limit=0.01)
    axes = plot_run(run).axes[0]

    assert labels(axes) == ["measured", "in compliance"]
    (rings,) = [line for line in axes.lines if line.get_label() == "in compliance"]
    assert len(rings.get_xdata()) == run.columns["in_compliance"].sum() > 0
    assert rings.get_linestyle() == "None"


@pytest.mark.parametrize(
    ("curve", "log", "panels"),
    [(resistor, None, 1), (diode, None, 2), (resistor, True, 2), (diode, False, 1)],
)
def test_a_diode_gets_a_logarithmic_panel_unless_told_otherwise(curve, log, panels):
    figure = plot_run(sweep(curve), log=log)

    assert len(figure.axes) == panels
    if panels == 2:
        assert figure.axes[1].get_yscale() == "log"
        assert figure.axes[1].get_ylabel() == "|Current| (A)"


def test_several_quantities_are_drawn_one_panel_a_unit():
    volts = np.linspace(0, 1, 5)
    run = Measured(
        {"bias_v": volts, "capacitance_f": volts * 1e-10, "drain_a": volts, "gate_a": volts / 2},
        {"bias_v": "V", "capacitance_f": "F", "drain_a": "A", "gate_a": "A"},
        method="own_method",
    )
    figure = plot_run(run)

    assert [axes.get_ylabel() for axes in figure.axes] == ["Capacitance (pF)", "Drain, Gate (A)"]
    assert figure.axes[-1].get_xlabel() == "Bias (V)"
    assert labels(figure.axes[1]) == ["Drain", "Gate"]
    assert "Own method" in texts(figure)


def test_a_single_column_is_drawn_against_its_number_or_its_time():
    alone = plot_run(Measured({"x": np.arange(3.0)}, {"x": "V"})).axes[0]
    assert (alone.get_xlabel(), alone.get_ylabel()) == ("Point", "X (V)")

    timed = Measured({"v": np.arange(3.0), "time_s": np.arange(3.0)}, {"v": "V", "time_s": "s"})
    axes = plot_run(timed).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Time (s)", "V (V)")


@pytest.mark.parametrize("values", [[], [1.0], [np.nan, np.nan], [0.0, 0.0], [1.0, np.inf]])
@pytest.mark.parametrize("log", [None, True])
def test_poor_data_still_gives_a_picture(values, log, tmp_path: Path):
    y = np.array(values, dtype=float)
    run = Measured({"x": np.arange(float(len(y))), "y": y}, {"x": "V", "y": "A"})

    plot_run(run, tmp_path / "poor.png", log=log)

    assert (tmp_path / "poor.png").read_bytes().startswith(PNG)


def test_a_run_without_numbers_is_refused():
    with pytest.raises(ValueError, match=r"no column of numbers \(columns: ok"):
        plot_run(Measured({"ok": np.array([True])}, {"ok": ""}))


def test_the_ending_chooses_the_format_and_text_stays_text(tmp_path: Path):
    run = sweep(diode, back=True, limit=0.01)
    plot_run(run, tmp_path / "plot.png")
    plot_run(run, tmp_path / "plot.svg")

    assert (tmp_path / "plot.png").read_bytes().startswith(PNG)
    assert "Keithley 2400 (no. 1234567)" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="xyz"):
        plot_run(run, tmp_path / "plot.xyz")


def test_the_same_run_gives_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        plot_run(sweep(diode), tmp_path / f"{name}.png")
        plot_run(sweep(diode), tmp_path / f"{name}.svg")

    for ending in ("png", "svg"):
        first, second = ((tmp_path / f"{n}.{ending}").read_bytes() for n in ("one", "two"))
        assert first == second


def test_a_notebook_gets_a_picture():
    assert plot_run(sweep(resistor))._repr_png_().startswith(PNG)


def test_plots_can_be_drawn_in_a_thread(tmp_path: Path):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(plot_run, sweep(resistor), tmp_path / "thread.png").result()

    assert (tmp_path / "thread.png").read_bytes().startswith(PNG)


def test_neither_pyplot_nor_matplotlib_is_touched_before_it_is_needed():
    code = (
        "import sys; import drivebay.plotting as p; p.plot_text([1, 2], [3, 4]);"
        "assert not {'matplotlib', 'numpy'} & set(sys.modules);"
        "import numpy as np; from types import SimpleNamespace as Run;"
        "p.plot_run(Run(columns={'x': np.arange(3.0)}, units={'x': 'V'}));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)}, check=True
    )


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'drivebay\[plot\]'"):
        plot_run(sweep(resistor))


# -- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.01, "A", "10 mA"),
        (1.05e-4, "A", "105 \u00b5A"),
        (0.9999, "A", "1 A"),
        (999.6e-6, "A", "1 mA"),
        (1e-3, "V", "1 mV"),
        (4.7e4, "ohm", "47 kΩ"),
        (300.0, "K", "300 K"),
        (0.5, "", "0.5"),
        (0.0, "A", "0 A"),
        (-2.5e-13, "A", "-250 fA"),
        (float("nan"), "V", "nan V"),
        (1e-30, "A", "1e-12 aA"),
    ],
)
def test_numbers_are_said_as_a_person_would(value, unit, said):
    assert engineering(value, unit) == said


@given(st.floats(-1e11, 1e11).filter(lambda v: v == 0 or abs(v) > 1e-17), st.integers(2, 6))
def test_a_number_said_is_the_number_to_its_digits(value, digits):
    number, unit = engineering(value, "V", digits).split(" ")
    powers = {"a": -18, "f": -15, "p": -12, "n": -9, "\u00b5": -6, "m": -3, "k": 3, "M": 6, "G": 9}
    power = powers.get(unit.removesuffix("V"), 0)
    assert float(number) * 10.0**power == pytest.approx(value, rel=10.0 ** (1 - digits))
    assert value == 0 or 1 <= abs(float(number)) < 1000


# -- the terminal --------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(st.tuples(FLOATS, FLOATS), max_size=40),
    st.integers(30, 100),
    st.integers(3, 20),
    st.booleans(),
    st.sampled_from([None, (-1.0, 1.0)]),
)
def test_a_curve_always_fills_the_same_rectangle(points, width, height, log, x_range):
    picture = plot_text(
        [x for x, _ in points],
        [y for _, y in points],
        width,
        height,
        x_unit="V",
        y_unit="A",
        log=log,
        x_range=x_range,
    )
    lines = picture.split("\n")

    assert len(lines) == height + 2
    assert {len(line) for line in lines} == {width}


def dots(picture: str) -> list[tuple[int, int]]:
    """Rows and columns of the characters that have any dot."""
    return [
        (row, column)
        for row, line in enumerate(picture.split("\n"))
        for column, sign in enumerate(line)
        if 0x2800 < ord(sign) <= 0x28FF
    ]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right():
    found = dots(plot_text([0, 1], [0, 1], 40, 10))

    by_row = dict(sorted(found, reverse=True))
    columns = list(by_row.values())
    assert columns == sorted(columns)
    assert min(found)[0] == 0
    assert max(found)[0] == 9
    assert max(found, key=lambda at: at[1]) == (0, 39)


def test_labels_say_the_range_in_units_and_small_is_called_zero():
    picture = plot_text([-1, 1], [-1e-10, 0.01], 60, 8, x_unit="V", y_unit="A", title="diode")
    lines = picture.split("\n")

    assert lines[0] == "diode"
    assert lines[1].lstrip().startswith("10 mA ┤")
    assert lines[8].lstrip().startswith("0 A ┤")
    assert lines[-1].split() == ["-1", "V", "0", "V", "1", "V"]


def test_a_live_curve_keeps_its_axis_and_grows_from_the_left():
    half = dots(plot_text([0, 0.5], [0, 1], 60, 8, x_range=(0, 1), y_range=(0, 2)))
    whole = dots(plot_text([0, 0.5, 1], [0, 1, 2], 60, 8, x_range=(0, 1), y_range=(0, 2)))

    assert set(half) < set(whole)
    assert max(column for _, column in half) < 36


def test_a_logarithmic_curve_of_an_exponential_is_straight():
    x = list(range(9))
    log = dots(plot_text(x, [10.0**k for k in x], 60, 12, log=True))
    straight = dots(plot_text(x, x, 60, 12))

    assert log == straight


def test_a_curve_of_unequal_lists_or_without_room_is_refused():
    with pytest.raises(ValueError, match="x has 1 points and y has 2"):
        plot_text([1], [1, 2])
    with pytest.raises(ValueError, match="29 x 3 characters is too small"):
        plot_text([1], [1], 29, 3)
