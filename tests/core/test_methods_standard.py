"""Every standard method: what it refuses, what it takes, and that it means one thing."""

from __future__ import annotations

import math
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import ParameterError
from drivebay._core.methods import (
    STANDARD,
    IVMonitor,
    TransferCurve,
    VISweep,
    fields,
    parameter_schema,
    validate,
)
from drivebay.testing.sample import smallest

RANGES: dict[str, Any] = {
    "voltage_v": [-210, 210],
    "current_a": [-1.05, 1.05],
    "frequency_hz": [20, 2e6],
    "regions": [{"voltage_v": 21, "current_a": 1.05}, {"voltage_v": 210, "current_a": 0.105}],
    "source": "a model",
}
SPOT = {"level_v": 1, "compliance_a": 0.01}
VI = {"start_a": 0, "stop_a": 1e-3, "points": 3, "compliance_v": 2}
MONITOR = {**SPOT, "duration_s": 1, "interval_s": 0.1}
TRANSFER = {
    "gate_start_v": -1,
    "gate_stop_v": 3,
    "points": 5,
    "drain_v": [0.1, 1],
    "drain_compliance_a": 0.1,
    "gate_compliance_a": 1e-6,
}
CV = {"start_v": -1, "stop_v": 1, "points": 5}
CF = {"start_hz": 100, "stop_hz": 1e5, "points": 4}


def codes(method: str, params: dict[str, Any], ranges: Any = RANGES) -> list[tuple[str, str]]:
    """Code and place of every problem; empty for a measurement that may be run."""
    try:
        validate(STANDARD[method], params, ranges)
    except ParameterError as error:
        return [(problem.code, problem.path) for problem in error.problems]
    return []


@pytest.mark.parametrize("name", STANDARD)
def test_a_method_can_be_tried_with_its_smallest_parameters(name):
    small = smallest(STANDARD[name], RANGES)

    assert codes(name, small) == []
    assert jsonschema_rs.is_valid(parameter_schema(STANDARD[name]), small)


@pytest.mark.parametrize("name", STANDARD)
def test_every_parameter_and_column_says_what_it_is(name):
    spec = STANDARD[name]

    assert all(field.help for field in fields(spec))
    assert all(column.help for column in spec.columns or ())
    assert spec.title
    assert spec.help
    # A number without a unit is one of these, or it has its unit in its name.
    plain = {f.name for f in fields(spec) if f.kind in {"float", "floats"} and not f.unit}
    assert plain <= {"nplc"}


@pytest.mark.parametrize("name", STANDARD)
def test_a_parameter_that_means_the_same_has_the_same_unit_and_limit_everywhere(name):
    known: dict[str, Any] = {}
    for spec in STANDARD.values():
        for field in fields(spec):
            known.setdefault(field.name, (field.kind, field.unit, field.limit))

    for field in fields(STANDARD[name]):
        assert (field.kind, field.unit, field.limit) == known[field.name]


@pytest.mark.parametrize("name", STANDARD)
def test_columns_of_one_name_have_one_unit_in_all_methods(name):
    units = {c.name: (c.unit, c.kind) for spec in STANDARD.values() for c in spec.columns or ()}

    assert all((c.unit, c.kind) == units[c.name] for c in STANDARD[name].columns or ())


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("spot", {}, [("P012", "/level_v")]),
        ("spot", {"level_v": 1}, [("P006", "/compliance_a")]),
        ("spot", {"level_a": 1e-3}, [("P006", "/compliance_v")]),
        ("spot", {**SPOT, "level_a": 1e-3}, [("P014", "/level_a")]),
        ("spot", {**SPOT, "compliance_v": 1}, [("P014", "/compliance_v")]),
        ("spot", {**SPOT, "sense_range_v": 1}, [("P014", "/sense_range_v")]),
        ("spot", {"level_v": 100, "compliance_a": 1}, [("P004", "/compliance_a")]),
        ("spot", {"level_a": 1, "compliance_v": 100}, [("P004", "/compliance_v")]),
        ("spot", {"level_v": 300, "compliance_a": 0.1}, [("P004", "/level_v")]),
        ("spot", {**SPOT, "source_range_v": 0.1}, [("P014", "/source_range_v")]),
        ("vi_sweep", {**VI, "compliance_v": 0}, [("P006", "/compliance_v")]),
        ("vi_sweep", {**VI, "stop_a": 0}, [("P003", "/stop_a")]),
        ("vi_sweep", {**VI, "stop_a": 2}, [("P004", "/stop_a")]),
        ("vi_sweep", {**VI, "stop_a": 1, "compliance_v": 50}, [("P004", "/compliance_v")]),
        ("vi_sweep", {**VI, "spacing": "log"}, [("P003", "/start_a")]),
        ("vi_sweep", {"spacing": "list", "compliance_v": 1}, [("P012", "/levels_a")]),
        ("iv_monitor", {**MONITOR, "interval_s": 1e-9}, [("P014", "/interval_s")]),
        ("iv_monitor", {**MONITOR, "duration_s": 0}, [("P014", "/duration_s")]),
        ("transfer_curve", {**TRANSFER, "drain_v": []}, [("P012", "/drain_v")]),
        ("transfer_curve", {**TRANSFER, "drain_v": [1, 999]}, [("P004", "/drain_v/1")]),
        ("transfer_curve", {**TRANSFER, "gate_stop_v": -1}, [("P003", "/gate_stop_v")]),
        (
            "transfer_curve",
            {**TRANSFER, "points": 99_999, "drain_v": [1] * 101},
            [("P002", "/points")],
        ),
        (
            "transfer_curve",
            {**TRANSFER, "drain_v": 100, "drain_compliance_a": 1},
            [("P004", "/drain_compliance_a")],
        ),
        ("cv_measurement", {**CV, "technique": "guess"}, [("P013", "/technique")]),
        ("cv_measurement", {**CV, "frequency_hz": 1}, [("P004", "/frequency_hz")]),
        ("cf_sweep", {**CF, "start_hz": 0}, [("P014", "/start_hz")]),
        ("cf_sweep", {**CF, "stop_hz": 1e9}, [("P004", "/stop_hz")]),
        ("cf_sweep", {**CF, "bias_v": "9 A"}, [("P008", "/bias_v")]),
        ("dc_voltage", {"readings": 0}, [("P002", "/readings")]),
        ("dc_current", {"range_a": -1}, [("P014", "/range_a")]),
        ("resistance", {"range_ohm": "1 V"}, [("P008", "/range_ohm")]),
    ],
)
def test_what_cannot_be_measured_is_refused_by_the_name_of_its_parameter(method, params, expected):
    assert codes(method, params) == expected


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("spot", SPOT),
        ("spot", {"level_a": "1 mA", "compliance_v": "10 V", "source_range_a": 0.01}),
        ("vi_sweep", VI),
        ("vi_sweep", {"spacing": "list", "levels_a": [0, 1e-3, 5e-4], "compliance_v": 1}),
        ("iv_monitor", MONITOR),
        ("transfer_curve", TRANSFER),
        ("transfer_curve", {**TRANSFER, "drain_v": "100 mV"}),
        ("transfer_curve", {**TRANSFER, "drain_v": np.array([0.1, 0.2])}),
        ("cv_measurement", CV),
        ("cf_sweep", CF),
        ("cf_sweep", {"spacing": "list", "levels_hz": [100, 1e6]}),
        ("dc_voltage", {}),
        ("dc_current", {"range_a": "10 mA"}),
        ("resistance", {"four_wire": True, "range_ohm": "1 kohm"}),
    ],
)
def test_what_can_be_measured_is_taken(method, params):
    assert codes(method, params) == []


@pytest.mark.parametrize(
    "params",
    [SPOT, {"level_a": 1, "compliance_v": 2}, {"level_v": 0, "compliance_a": 1, "nplc": 2}],
)
def test_the_schema_of_a_spot_takes_a_level_with_its_limit(params):
    assert jsonschema_rs.is_valid(parameter_schema(STANDARD["spot"]), params)


@pytest.mark.parametrize("params", [{}, {"level_v": 1}, {"level_a": 1, "compliance_a": 2}])
def test_the_schema_of_a_spot_refuses_a_level_without_its_limit(params):
    assert not jsonschema_rs.is_valid(parameter_schema(STANDARD["spot"]), params)


def test_a_capacitance_by_a_ramp_needs_a_current_limit_and_one_by_ac_does_not():
    ramp = {**RANGES, "techniques": {"cv_measurement": "quasi_static"}}
    bridge = {**RANGES, "techniques": {"cv_measurement": "ac"}}

    assert codes("cv_measurement", CV, bridge) == []
    assert codes("cv_measurement", CV, ramp) == [("P006", "/compliance_a")]
    assert codes("cv_measurement", {**CV, "compliance_a": 1e-3}, ramp) == []


def test_an_instrument_is_not_asked_for_a_technique_it_does_not_have():
    ramp = {**RANGES, "techniques": {"cv_measurement": "quasi_static"}}
    params = {**CV, "compliance_a": 1e-3}

    assert codes("cv_measurement", {**params, "technique": "ac"}, ramp) == [("P004", "/technique")]
    assert codes("cv_measurement", {**params, "technique": "quasi_static"}, ramp) == []


def test_a_measurement_that_takes_too_long_is_refused_whatever_it_is():
    ranges = {"max_duration_s": 10}

    assert codes("iv_monitor", {**MONITOR, "duration_s": 11}, ranges) == [("P011", "")]
    assert codes("iv_monitor", MONITOR, ranges) == []
    assert codes("dc_voltage", {"readings": 1000, "nplc": 10}, ranges) == [("P011", "")]
    assert codes("transfer_curve", {**TRANSFER, "hold_s": 6}, ranges) == [("P011", "")]
    assert codes("transfer_curve", {**TRANSFER, "hold_s": 4}, ranges) == []


def test_a_monitor_reads_at_the_start_and_after_each_interval():
    p = IVMonitor(level_v=1, compliance_a=0.1, duration_s=0.3, interval_s=0.1)

    assert p.readings == 4
    assert p.times_s == pytest.approx([0, 0.1, 0.2, 0.3])


@given(st.floats(1e-3, 1e4), st.floats(1e-3, 1e3), st.integers(1, 100))
def test_pieces_of_a_monitor_are_all_its_readings(duration_s, interval_s, at_most):
    p = IVMonitor(level_v=1, compliance_a=0.1, duration_s=duration_s, interval_s=interval_s)

    pieces = [count for count, _ in zip(p.segments(at_most=at_most), range(10_000), strict=False)]

    assert all(1 <= count <= at_most for count in pieces)
    if len(pieces) < 10_000:
        assert sum(pieces) == p.readings
    assert (p.readings - 1) * interval_s <= duration_s * (1 + 1e-9)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5), st.integers(2, 300), st.booleans())
def test_curves_are_the_inner_sweep_once_for_each_outer_level(outer, points, both):
    p = TransferCurve(
        gate_start_v=-1,
        gate_stop_v=2,
        points=points,
        drain_v=tuple(outer),
        drain_compliance_a=0.1,
        gate_compliance_a=0.1,
        up_and_down=both,
    )

    pieces = list(p.curves(at_most=64))

    assert sum(len(levels) for _, _, levels in pieces) == p.rows
    assert [held for held, begins, _ in pieces if begins] == outer
    for index, held in enumerate(outer):
        begins = [i for i, piece in enumerate(pieces) if piece[1]]
        last = begins[index + 1] if index + 1 < len(begins) else len(pieces)
        own = pieces[begins[index] : last]
        assert np.array_equal(np.concatenate([levels for _, _, levels in own]), p.levels)
        assert {level for level, _, _ in own} == {held}


def test_a_current_sweep_has_the_levels_of_a_voltage_sweep_in_amperes():
    p = VISweep(start_a=0, stop_a=1e-3, points=3, compliance_v=1, up_and_down=True)

    assert list(p.levels) == [0, 5e-4, 1e-3, 5e-4, 0]
    assert (p.steps, p.max_abs_a) == (5, 1e-3)
    assert math.isclose(p.duration_s, 5 / 50)
