"""Intervals that cover, and comparisons that count."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.evaluation.statistics import MANY_VALUES, bootstrap_interval, compare_pairs


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        low, high = bootstrap_interval(rng.exponential(1, 40), confidence=0.9, seed=trial)
        covered += low <= 1 <= high
    # Binomial: 60 trials of 0.9 are below 46 once in 10,000.
    assert 46 <= covered < 60


def test_the_interval_is_reproducible_and_narrows_with_more_values() -> None:
    values = np.random.default_rng(0).normal(30, 2, 200)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    wide, narrow = (np.ptp(bootstrap_interval(values[:n])) for n in (20, 200))
    assert narrow < wide
    assert np.ptp(bootstrap_interval(values, confidence=0.5)) < narrow


def test_many_values_have_the_interval_that_the_bootstrap_would_find() -> None:
    values = np.random.default_rng(0).gamma(2, 1, MANY_VALUES)
    found, nearly = bootstrap_interval(values), bootstrap_interval(values[:-1])
    assert found == pytest.approx(nearly, abs=0.01)


@given(value=st.floats(-100, 100), number=st.integers(1, 30))
def test_one_value_or_equal_ones_are_their_own_interval(value: float, number: int) -> None:
    assert bootstrap_interval([value] * number) == (value, value)


@pytest.mark.parametrize("values", [[30.0] * 3 + [30 + 4e-15], [1.0] * 4 + [1 + 2.3e-16]])
def test_values_that_are_equal_but_for_rounding_have_an_interval(values: list[float]) -> None:
    assert bootstrap_interval(values) == (min(values), max(values))


def test_of_no_value_nothing_is_known() -> None:
    assert all(map(math.isnan, bootstrap_interval([])))
    nothing = compare_pairs([None, 1.0], [2.0, None], "higher")
    assert (nothing.won, nothing.lost, nothing.tied) == (0, 0, 0)
    assert math.isnan(nothing.difference)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_every_pair_is_won_lost_or_tied_and_the_other_side_sees_the_mirror(
    pairs: list[tuple[int, int]],
) -> None:
    ours, theirs = ([float(pair[i]) for pair in pairs] for i in (0, 1))
    found = compare_pairs(ours, theirs, "higher")
    other, less = compare_pairs(theirs, ours, "higher"), compare_pairs(ours, theirs, "lower")
    assert found.won == sum(a > b for a, b in pairs)
    assert found.won + found.lost + found.tied == len(pairs)
    assert (found.won, found.lost) == (other.lost, other.won) == (less.lost, less.won)
    assert found.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert found.low - 1e-9 <= found.difference <= found.high + 1e-9


def test_an_image_that_one_side_could_not_measure_is_left_out() -> None:
    found = compare_pairs([1.0, None, 3.0, math.nan], [0.0, 9.0, None, 1.0], "higher")
    assert (found.won, found.lost, found.tied) == (1, 0, 0)
    assert (found.difference, found.low, found.high) == (1, 1, 1)
