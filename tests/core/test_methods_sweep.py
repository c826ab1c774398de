"""The levels of a sweep: each once, in order, inside the limits, in pieces that lose none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.methods import IVSweep

VOLTS = st.floats(-1100, 1100, allow_nan=False)
POSITIVE = st.floats(1e-6, 1100)


def sweep(start_v: float = -1.0, stop_v: float = 1.0, points: int = 11, **more: Any) -> IVSweep:
    return IVSweep(start_v=start_v, stop_v=stop_v, points=points, compliance_a=1e-3, **more)


@given(VOLTS, VOLTS, st.integers(2, 3000), st.booleans())
def test_a_sweep_starts_and_stops_where_it_should_and_never_leaves_its_own_limits(
    start_v, stop_v, points, up_and_down
):
    p = sweep(start_v, stop_v, points, up_and_down=up_and_down)

    levels = p.levels

    assert levels[0] == start_v
    assert levels[points - 1] == stop_v
    assert min(start_v, stop_v) <= levels.min()
    assert levels.max() <= max(start_v, stop_v)
    assert np.abs(levels).max() == p.max_abs_v
    assert len(levels) == p.steps


SPAN = st.floats(-1e300, 1e300)


@given(SPAN, SPAN, st.integers(2, 3000))
def test_levels_are_evenly_spaced_to_a_billionth_of_a_step_whatever_their_size(
    start_v, stop_v, points
):
    whole = stop_v - start_v

    levels = sweep(start_v, stop_v, points).levels

    assert np.all(np.diff(levels) * np.sign(whole) >= 0)
    with np.errstate(under="ignore"):
        error = np.abs(levels - np.linspace(start_v, stop_v, points))
    ulp = math.ulp(max(abs(start_v), abs(stop_v)))
    assert error.max() <= 1e-9 * abs(whole) / (points - 1) + 2 * ulp


def test_levels_are_short_decimals_and_not_their_nearest_neighbours():
    levels = sweep(0.0, 0.8, 1001).levels

    assert [repr(float(each)) for each in levels[201:204]] == ["0.1608", "0.1616", "0.1624"]


@given(POSITIVE, POSITIVE, st.integers(2, 500), st.sampled_from([1, -1]))
def test_a_log_sweep_goes_one_way_in_equal_ratios(first, last, points, sign):
    levels = sweep(sign * first, sign * last, points, spacing="log").levels

    assert levels[0] == sign * first
    assert levels[-1] == sign * last
    assert np.all(np.diff(levels) * np.sign(levels[-1] - levels[0]) >= 0)
    if points > 2:
        ratios = levels[1:] / levels[:-1]
        assert ratios == pytest.approx((last / first) ** (1 / (points - 1)), rel=1e-6)


@given(st.integers(2, 400), st.integers(1, 120), st.floats(1e-3, 10), st.booleans())
def test_segments_are_the_levels_in_order_with_none_lost_or_taken_twice(
    points, at_most, seconds, up_and_down
):
    p = sweep(points=points, up_and_down=up_and_down)

    pieces = list(p.segments(at_most=at_most, seconds=seconds))

    assert np.array_equal(np.concatenate(pieces), p.levels)
    assert all(1 <= len(piece) <= at_most for piece in pieces)
    longest_s = seconds * (1 + 1e-12)
    assert all(len(piece) * p.step_s <= longest_s for piece in pieces if len(piece) > 1)


def test_the_way_back_does_not_take_the_turning_point_twice():
    levels = sweep(0, 2, 3, up_and_down=True).levels

    assert levels.tolist() == [0, 1, 2, 1, 0]


def test_a_list_is_sourced_as_it_was_given():
    p = sweep(3, 2, 3, spacing="list", levels_v=(3.0, -7.0, 2.0), up_and_down=True)

    assert p.levels.tolist() == [3, -7, 2, -7, 3]
    assert p.max_abs_v == 7


def test_a_slow_level_is_a_segment_of_its_own():
    p = sweep(points=3, delay_s=10)

    assert [len(piece) for piece in p.segments(seconds=0.25)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("at_most", "seconds"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, float("nan"))]
)
def test_segments_of_no_size_are_refused(at_most, seconds):
    with pytest.raises(ValueError, match="at_most"):
        list(sweep().segments(at_most, seconds))


def test_duration_counts_delay_and_integration_on_both_ways():
    p = sweep(points=101, delay_s=0.1, nplc=5, up_and_down=True)

    assert p.duration_s == pytest.approx(201 * (0.1 + 5 / 50))
