"""Best steps, noise and first good steps on curves whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.analysis.best_steps import (
    best,
    best_mean,
    count_bands,
    first_good_step,
    in_first_tenth,
    in_last_quarter,
    noise,
)
from tuner.records import Curve, Direction


def curve_of(values: list[float], every: int = 10) -> Curve:
    return tuple((every * index, float(value)) for index, value in enumerate(values, start=1))


def test_the_earliest_of_equal_best_steps_is_taken() -> None:
    assert best(curve_of([3, 1, 2, 1]), "minimize") == (20, 1.0)
    assert best(curve_of([1, 3, 2, 3]), "maximize") == (20, 3.0)


def test_an_empty_curve_has_no_best_step() -> None:
    assert best((), "minimize") is None
    assert best_mean((), "minimize") is None
    assert first_good_step((), "minimize") is None


def test_a_smooth_trend_is_not_noise() -> None:
    falling = [4 * 0.9**index for index in range(40)]
    assert noise(curve_of(falling)) < 0.02
    assert noise(curve_of([0.1 * (index - 12) ** 2 for index in range(25)])) == pytest.approx(0, abs=1e-12)
    assert noise(curve_of([5 - 0.1 * index for index in range(25)])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("deviation", [0.01, 0.2])
def test_noise_is_found_beneath_a_trend(deviation: float) -> None:
    generator = np.random.default_rng(0)
    found = [
        noise(curve_of([2 + 2 * 0.8**index + generator.normal(0, deviation) for index in range(60)])) for _ in range(40)
    ]
    assert np.mean(found) == pytest.approx(deviation, rel=0.2)


def test_a_single_spike_does_not_become_noise() -> None:
    values = [2.0] * 30
    values[12] = 50.0
    assert noise(curve_of(values)) == 0.0


def test_first_good_step_is_where_the_flat_part_begins_not_where_noise_was_lowest() -> None:
    generator = np.random.default_rng(5)
    values = [3.0, 2.0, 1.4, *(1.0 + generator.normal(0, 0.02, 30))]
    good = first_good_step(curve_of(values), "minimize")
    top = best(curve_of(values), "minimize")
    assert good is not None
    assert top is not None
    assert good in (40, 50)
    assert top[0] > 100


def test_a_rising_metric_is_judged_like_a_falling_one() -> None:
    values = [0.1, 0.5, 0.8, 0.9, 0.91, 0.9, 0.91, 0.9, 0.91, 0.9]
    mirrored = [-value for value in values]
    assert first_good_step(curve_of(values), "maximize") == first_good_step(curve_of(mirrored), "minimize")
    assert best_mean(curve_of(values), "maximize") == pytest.approx(0.906)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.sampled_from(["minimize", "maximize"]))
def test_a_trial_is_good_no_later_than_it_is_best(values: list[float], direction: Direction) -> None:
    curve = curve_of(values)
    good, top = first_good_step(curve, direction), best(curve, direction)
    assert good is not None
    assert top is not None
    assert good <= top[0]


def test_bands_include_their_borders() -> None:
    assert in_first_tenth(100, 1000)
    assert not in_first_tenth(101, 1000)
    assert in_last_quarter(750, 1000)
    assert not in_last_quarter(749, 1000)


def test_counts_are_of_best_and_of_first_good_steps() -> None:
    early = curve_of([1.0] + [2.0] * 9)
    late = curve_of([2.0] * 9 + [1.0])
    counts = count_bands([early, late, ()], 100, direction="minimize")
    assert (counts.num_trials, counts.best_early.count, counts.best_late.count) == (2, 1, 1)
