"""Intervals, steps to fit, divergence, seed deviation and transfer on values worked out by hand."""

from __future__ import annotations

import random

import pytest
from scipy.stats import spearmanr

from tuner.analysis.divergence import is_diverged
from tuner.analysis.intervals import share, wilson
from tuner.analysis.seeds import pooled_seed_deviation
from tuner.analysis.steps_to_fit import nearby_thresholds, steps_to_fit, truncate
from tuner.analysis.transfer import compare_rounds, point_key
from tuner.records import Curve


def curve_of(values: list[float]) -> Curve:
    return tuple((10 * index, value) for index, value in enumerate(values, start=1))


def test_wilson_intervals_are_those_of_the_textbook() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="not between"):
        wilson(3, 2)


def test_a_share_of_nothing_reaches_no_percentage() -> None:
    assert share(3, 4).is_at_least(75)
    assert not share(2, 3).is_at_least(75)
    assert not share(0, 0).is_at_least(0)


def test_steps_to_fit_is_the_first_evaluation_at_the_threshold() -> None:
    curve = curve_of([2.0, 1.2, 1.3, 1.1])
    assert steps_to_fit(curve, 1.2) == 20
    assert steps_to_fit(curve, 1.0) is None
    assert truncate(curve, 20) == curve[:2]
    assert truncate(curve, None) == curve
    assert nearby_thresholds(-2.0) == pytest.approx((-2.2, -1.8))


def test_a_loss_that_falls_and_explodes_is_diverged() -> None:
    learned = [4.0, 3.0, 2.4, 2.1, 1.9, 1.8, 1.8]
    assert not is_diverged(curve_of(learned))
    assert is_diverged(curve_of([*learned, 5.0, 6.0]))


@pytest.mark.parametrize(
    "values",
    [
        [4.0, 1.0, 9.0, 9.0],
        [2.0, 2.5, 3.0, 3.5, 4.0, 4.5],
        [2.0, 1.995, 1.99, 1.99, 1.999, 2.0, 2.0, 2.0],
        [4.0, 3.0, 2.0, 1.5, 1.4, 2.4, 1.4, 1.4],
    ],
    ids=["too few evaluations", "never learned anything", "learned next to nothing", "one spike"],
)
def test_what_is_not_divergence_is_left_alone(values: list[float]) -> None:
    assert not any(is_diverged(curve_of(values[:end])) for end in range(len(values) + 1))


def test_flat_noise_is_hardly_ever_called_divergence() -> None:
    false_alarms = 0
    for seed in range(200):
        generator = random.Random(seed)
        values = [2.0 + generator.gauss(0, 0.1) for _ in range(25)]
        false_alarms += any(is_diverged(curve_of(values[:end])) for end in range(5, 26))
    assert false_alarms <= 4


def test_seed_deviation_is_pooled_and_unknown_without_replicas() -> None:
    assert pooled_seed_deviation([[1.0], [2.0]]) is None
    assert pooled_seed_deviation([[1.0, 3.0], [10.0, 12.0], [5.0]]) == pytest.approx(2**0.5)
    assert pooled_seed_deviation([[1.0, 2.0, 3.0], [4.0, 4.0]]) == pytest.approx((2 / 3) ** 0.5)


def test_transfer_counts_order_changes_on_shared_points_only() -> None:
    found = compare_rounds(
        {"a": 1.0, "b": 2.0, "c": 3.0, "gone": 0.0},
        {"a": 0.9, "b": 0.5, "c": 3.5},
        direction="minimize",
        seed_deviation=0.5,
    )
    assert (found.points, found.num_pairs, found.num_order_changes) == (("a", "b", "c"), 3, 1)
    assert found.gains == pytest.approx((0.1, 1.5, -0.5))
    assert found.gains_in_deviations == pytest.approx((0.2, 3.0, -1.0))
    assert found.spearman is None


def test_rank_correlation_is_told_from_six_points_up() -> None:
    earlier = {str(index): float(index) for index in range(6)}
    assert compare_rounds(earlier, earlier, direction="maximize").spearman == pytest.approx(1.0)
    mirrored = {key: -value for key, value in earlier.items()}
    assert compare_rounds(earlier, mirrored, direction="maximize").spearman == pytest.approx(-1.0)
    tied = dict(zip(earlier, [0.0, 0.0, 0.0, 1.0, 3.0, 2.0], strict=True))
    known = float(spearmanr(list(earlier.values()), list(tied.values())).statistic)
    assert compare_rounds(earlier, tied, direction="minimize").spearman == pytest.approx(known)
    assert compare_rounds(earlier, dict.fromkeys(earlier, 1.0), direction="minimize").spearman is None


def test_a_point_has_one_name_whatever_the_order_of_its_settings() -> None:
    assert point_key({"b": 1, "a": 0.5}) == point_key({"a": 0.5, "b": 1})


def test_a_rate_that_blew_up_before_its_first_evaluation_is_diverged() -> None:
    curve = tuple((step, 5000.0 + step) for step in range(5, 50, 5))
    assert not is_diverged(curve)
    assert is_diverged(curve, initial_loss=0.69)


def test_a_run_that_never_learned_is_not_diverged() -> None:
    curve = tuple((step, 0.7) for step in range(5, 50, 5))
    assert not is_diverged(curve, initial_loss=0.69)
