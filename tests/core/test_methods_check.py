"""Parameters of a measurement: what is accepted, what is refused, and how it is told."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import ParameterError
from drivebay._core.methods import CODES, STANDARD, IVSweep, MethodSpec, quantity, validate

SPEC = STANDARD["iv_sweep"]
GOOD: dict[str, Any] = {"start_v": -1.0, "stop_v": 1.0, "points": 11, "compliance_a": 0.01}
RANGES = {
    "voltage_v": [-210.0, 210.0],
    "current_a": [-1.05, 1.05],
    "nplc": [0.01, 10.0],
    "delay_s": [0.0, 999.9999],
    "regions": [{"voltage_v": 21.0, "current_a": 1.05}, {"voltage_v": 210.0, "current_a": 0.105}],
}


def told(params: object, ranges: dict[str, Any] | None = RANGES) -> list[tuple[str, str]]:
    """Code and pointer of every problem."""
    with pytest.raises(ParameterError) as caught:
        validate(SPEC, params, ranges)  # type: ignore[arg-type]
    return [(problem.code, problem.path) for problem in caught.value.problems]


def test_good_parameters_become_the_struct_with_defaults_filled():
    sweep = validate(SPEC, GOOD, RANGES)

    assert isinstance(sweep, IVSweep)
    assert (sweep.delay_s, sweep.nplc, sweep.spacing, sweep.four_wire) == (
        0.0,
        1.0,
        "linear",
        False,
    )


def test_a_struct_is_checked_again_because_ranges_may_have_changed():
    sweep = validate(SPEC, GOOD, None)

    assert validate(SPEC, sweep, RANGES) is sweep
    with pytest.raises(ParameterError):
        validate(SPEC, sweep, {"voltage_v": [-0.5, 0.5]})


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**400, "1e-3", "", "NaN V", "inf V", True, [1.0], None, 1j],
)
def test_a_number_must_be_a_finite_number(value):
    assert told(GOOD | {"start_v": value}) == [("P001", "/start_v")]


@pytest.mark.parametrize("value", [0, 1, -5, 10**9, 2.5, True, "11", None, math.nan])
def test_points_must_be_a_whole_number_in_bounds(value):
    assert told(GOOD | {"points": value}) == [("P002", "/points")]


def test_a_browser_may_send_a_whole_number_as_a_float():
    assert validate(SPEC, GOOD | {"points": 101.0}, RANGES).points == 101


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"stop_v": -1.0}, "/stop_v"),
        ({"spacing": "log"}, "/start_v"),
        ({"spacing": "log", "start_v": 0.0}, "/start_v"),
    ],
)
def test_a_sweep_that_goes_nowhere_or_a_log_sweep_through_zero_has_its_own_code(change, where):
    assert told(GOOD | change) == [("P003", where)]


def test_every_level_outside_the_instruments_range_is_named_with_the_limit():
    with pytest.raises(ParameterError, match=r"250 V is outside -210 to 210 V \(instrument\)"):
        validate(SPEC, GOOD | {"stop_v": 250.0}, RANGES)


def test_a_limit_of_the_bench_says_which_file_it_is_in():
    ranges = RANGES | {"voltage_v": [-0.5, 0.5], "origins": {"voltage_v": "bench.yaml:12"}}

    with pytest.raises(ParameterError, match=r"bench\.yaml:12"):
        validate(SPEC, GOOD, ranges)
    assert told(GOOD, ranges) == [("P005", "/start_v"), ("P005", "/stop_v")]


def test_voltage_and_compliance_must_lie_in_one_region_of_the_power_envelope():
    inside = GOOD | {"stop_v": 21.0, "compliance_a": 1.05}

    validate(SPEC, inside, RANGES)

    assert told(GOOD | {"stop_v": 22.0, "compliance_a": 1.05}) == [("P004", "/compliance_a")]


def test_a_wide_source_range_counts_for_the_power_envelope_as_its_levels_do():
    wide = GOOD | {"source_range_v": 200.0, "compliance_a": 1.0}

    assert told(wide) == [("P004", "/compliance_a")]


@pytest.mark.parametrize("value", [0, -1e-3, 0.0])
def test_compliance_must_be_above_zero(value):
    assert told(GOOD | {"compliance_a": value}) == [("P006", "/compliance_a")]


def test_compliance_is_required_before_the_output_goes_on():
    params = {key: value for key, value in GOOD.items() if key != "compliance_a"}

    with pytest.raises(ParameterError, match="required before the output goes on"):
        validate(SPEC, params, RANGES)


def test_a_misspelt_parameter_is_told_with_the_nearest_that_exists():
    with pytest.raises(ParameterError, match="did you mean 'compliance_a'"):
        validate(SPEC, GOOD | {"complience_a": 1.0}, RANGES)


@pytest.mark.parametrize("key", ["complience", 3, None, "a/b~c", "x" * 500])
def test_an_unknown_key_of_any_kind_is_a_problem_and_not_a_crash(key):
    assert [code for code, _ in told({**GOOD, key: 1})] == ["P007"]


@pytest.mark.parametrize("params", [[], "start_v", 7, None])
def test_parameters_that_are_no_mapping_are_told_so(params):
    assert told(params) == [("P007", "")]


def test_text_with_the_right_unit_is_converted_and_with_another_refused():
    sweep = validate(SPEC, GOOD | {"compliance_a": "10 mA", "delay_s": "1.5ms"}, RANGES)

    assert (sweep.compliance_a, sweep.delay_s) == (0.01, 0.0015)
    assert told(GOOD | {"stop_v": "10 mA"}) == [("P008", "/stop_v")]


@pytest.mark.parametrize("text", ["1;:OUTP ON", "1 V\n", '1" V', ":OUTP ON", "1\x00V"])
def test_text_that_could_be_a_command_is_refused_for_its_characters(text):
    assert told(GOOD | {"stop_v": text}) == [("P009", "/stop_v")]
    assert told(GOOD | {"spacing": "log\n"}) == [("P009", "/spacing")]


def test_a_sweep_that_would_take_longer_than_allowed_is_refused():
    ranges = RANGES | {"max_duration_s": 60.0}

    validate(SPEC, GOOD | {"delay_s": 5.0}, ranges)

    assert told(GOOD | {"delay_s": 100.0}, ranges) == [("P011", "")]


@pytest.mark.parametrize(("name", "value"), [("delay_s", -1e-9), ("nplc", 0.0), ("nplc", -1)])
def test_a_negative_delay_and_no_integration_time_are_out_of_bounds(name, value):
    assert told(GOOD | {name: value}, None) == [("P014", f"/{name}")]


@pytest.mark.parametrize("value", ["yes", 1, 0.0, None])
def test_only_true_and_false_are_flags(value):
    assert told(GOOD | {"four_wire": value}) == [("P013", "/four_wire")]


def test_a_choice_is_told_with_what_there_is():
    with pytest.raises(ParameterError, match="linear, list, log; did you mean 'log'"):
        validate(SPEC, GOOD | {"spacing": "logg"}, RANGES)


def test_all_problems_come_at_once():
    params = {"start_v": math.nan, "stop_v": 250, "points": 1, "complience": 1}

    codes = [code for code, _ in told(params)]

    assert sorted(codes) == ["P001", "P002", "P004", "P006", "P007"]


def test_an_unbounded_pile_of_problems_is_cut():
    params = GOOD | {f"x{index}": 0 for index in range(10_000)}

    assert len(told(params)) == 50


@pytest.mark.parametrize("value", [np.float64(1.0), np.float32(1.0), np.int64(1), np.array(1.0), 1])
def test_numpy_scalars_are_numbers(value):
    assert validate(SPEC, GOOD | {"stop_v": value}, RANGES).stop_v == 1.0


def test_numpy_flags_are_flags_and_no_numbers():
    assert validate(SPEC, GOOD | {"four_wire": np.True_}, RANGES).four_wire is True
    assert told(GOOD | {"stop_v": np.True_}) == [("P001", "/stop_v")]


# -- lists of levels ------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [[0.0, 1.0, 0.5], (0, 1, 0.5), np.array([0.0, 1.0, 0.5])])
def test_a_list_of_levels_stands_for_its_ends_and_their_number(levels):
    params = {"spacing": "list", "levels_v": levels, "compliance_a": 0.01}

    sweep = validate(SPEC, params, RANGES)

    assert (sweep.start_v, sweep.stop_v, sweep.points) == (0.0, 0.5, 3)
    assert sweep.levels.tolist() == [0.0, 1.0, 0.5]


def test_a_set_of_levels_has_no_order_and_is_refused():
    params = {"spacing": "list", "levels_v": {1.0, 2.0}, "compliance_a": 0.01}

    assert ("P013", "/levels_v") in told(params)


def test_levels_may_have_units_one_by_one():
    params = {"spacing": "list", "levels_v": ["100 mV", 1], "compliance_a": 0.01}

    assert validate(SPEC, params, RANGES).levels.tolist() == [0.1, 1.0]


@pytest.mark.parametrize("levels", [None, [], ()])
def test_a_list_sweep_without_levels_is_asked_for_them(levels):
    params = {"spacing": "list", "levels_v": levels, "compliance_a": 0.01}

    assert told(params) == [("P012", "/levels_v")]


@pytest.mark.parametrize("levels", ["1,2,3", 5, {"a": 1}])
def test_levels_that_are_no_list_are_told_so(levels):
    params = {"spacing": "list", "levels_v": levels, "compliance_a": 0.01}

    assert ("P013", "/levels_v") in told(params)


def test_a_level_in_the_middle_of_a_list_is_held_against_the_limits():
    params = {"spacing": "list", "levels_v": [0, 300, 1], "compliance_a": 0.01}

    assert told(params) == [("P004", "/levels_v/1")]


def test_a_level_in_a_list_that_is_no_number_is_pointed_at():
    params = {"spacing": "list", "levels_v": [0, math.nan, 1], "compliance_a": 0.01}

    assert told(params) == [("P001", "/levels_v/1")]


def test_levels_without_spacing_list_are_at_odds_with_it():
    assert told(GOOD | {"levels_v": [0.0, 1.0]}) == [("P014", "/levels_v")]


def test_ends_that_disagree_with_the_list_are_refused():
    params = {"spacing": "list", "levels_v": [0, 1], "start_v": 5, "compliance_a": 0.01}

    assert told(params) == [("P014", "/levels_v")]


def test_a_source_range_must_hold_the_levels():
    validate(SPEC, GOOD | {"source_range_v": 1.0}, RANGES)

    assert told(GOOD | {"source_range_v": 0.2}) == [("P014", "/source_range_v")]


# -- methods of a driver's own --------------------------------------------------------------------


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    hold_s: float
    limit_a: Annotated[float, quantity("A", "Limit", limit="current_a", gt=0)] = 1e-3
    label: str = ""


def test_a_drivers_own_struct_is_checked_by_the_same_rules():
    spec = MethodSpec("soak", "Soak", Soak)

    assert validate(spec, {"hold_s": "250 ms", "label": "a"}).hold_s == 0.25
    with pytest.raises(ParameterError) as caught:
        validate(spec, {"hold_s": math.inf, "limit_a": 2.0, "label": "a;b"}, RANGES)
    codes = {problem.path: problem.code for problem in caught.value.problems}
    assert codes == {"/hold_s": "P001", "/limit_a": "P004", "/label": "P009"}


def test_a_parameter_that_a_drivers_own_struct_does_not_know_is_refused_and_not_dropped():
    spec = MethodSpec("soak", "Soak", Soak)

    with pytest.raises(ParameterError, match="did you mean 'limit_a'") as caught:
        validate(spec, {"hold_s": 1.0, "limmit_a": 5.0}, RANGES)

    assert [(each.code, each.path) for each in caught.value.problems] == [("P007", "/limmit_a")]


def test_a_method_without_declared_parameters_takes_any_by_name():
    spec = MethodSpec("anything", "Anything")
    given = {"whatever": object()}

    assert validate(spec, given) == given
    assert validate(spec, given) is not given


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=5)
    | st.lists(st.floats(), max_size=3)
)
KEYS = st.sampled_from([*IVSweep.__struct_fields__, "start", ""])


def outcome(params: dict[str, Any]) -> IVSweep | set[str]:
    try:
        sweep: IVSweep = validate(SPEC, params, RANGES)
    except ParameterError as exc:
        return {problem.code for problem in exc.problems}
    return sweep


@given(st.dictionaries(KEYS, SCALARS), st.booleans())
def test_anything_at_all_is_either_a_good_sweep_or_a_list_of_known_problems(params, base):
    result = outcome((GOOD | params) if base else params)

    if isinstance(result, set):
        assert result
        assert result <= set(CODES)
    else:
        assert np.isfinite(result.levels).all()
        assert np.abs(result.levels).max() <= 210
        assert 0 < result.compliance_a <= 1.05


class Labelled(msgspec.Struct):
    """Parameters whose types say more than a unit and bounds: how long, which letters, how many."""

    label: Annotated[str, msgspec.Meta(min_length=3, max_length=8)]
    lot: Annotated[str, msgspec.Meta(pattern="^[A-Z]+$")] = "A"
    biases_v: Annotated[tuple[float, ...], msgspec.Meta(min_length=2)] = (0.0, 1.0)
    delays_s: tuple[Annotated[float, msgspec.Meta(ge=0)], ...] = ()
    even: Annotated[int, msgspec.Meta(multiple_of=2)] = 2

    def __post_init__(self) -> None:
        if self.label == self.lot:
            raise ValueError("the label is the lot")


LABELLED = MethodSpec("labelled", "Labelled", Labelled)


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        ({"label": "ab"}, "/label", "length >= 3"),
        ({"label": "a" * 9}, "/label", "length <= 8"),
        ({"lot": "a1"}, "/lot", "matching regex"),
        ({"biases_v": [1.0]}, "/biases_v", "length >= 2"),
        ({"delays_s": [0.0, -1.0]}, "/delays_s/1", ">= 0"),
        ({"even": 3}, "/even", "multiple of 2"),
        ({"label": "ABC", "lot": "ABC"}, "", "the label is the lot"),
    ],
)
def test_what_only_a_parameters_type_refuses_is_a_problem_with_its_place(change, where, why):
    with pytest.raises(ParameterError) as caught:
        validate(LABELLED, {"label": "wafer", **change})

    assert [(each.code, each.path) for each in caught.value.problems] == [("P014", where)]
    assert why in str(caught.value)


def test_what_a_type_refuses_is_told_with_every_other_problem():
    with pytest.raises(ParameterError) as caught:
        validate(LABELLED, {"label": "ab", "even": 3, "lable": "x"})

    assert {each.path for each in caught.value.problems} == {"/label", "/even", "/lable"}


def test_control_what_such_types_allow_is_taken_the_quick_way_and_the_slow_way():
    quick = {"label": "abc", "biases_v": [0.0, 2.0], "delays_s": [0.0]}

    assert validate(LABELLED, quick).biases_v == (0.0, 2.0)
    assert validate(LABELLED, {**quick, "biases_v": np.array([0, 2])}).biases_v == (0.0, 2.0)
