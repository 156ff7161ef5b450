"""Points of the search space: scrambled Halton by index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.config.scales import place
from tuner.config.schema import Dimension
from tuner.trials.search import halton_points

RATE = Dimension(low=1e-4, high=1e-2, scale="log")
BETA = Dimension(low=0.8, high=0.999, scale="one_minus_log")


def test_points_are_the_same_whenever_they_are_asked_for() -> None:
    space = {"learning_rate": RATE, "beta1": BETA}
    assert halton_points(space, 12, seed=3, phase="round_1")[:5] == halton_points(space, 5, seed=3, phase="round_1")


def test_another_seed_or_phase_gives_other_points() -> None:
    points = {
        tuple(point["learning_rate"] for point in halton_points({"learning_rate": RATE}, 4, seed=seed, phase=phase))
        for seed in (0, 1)
        for phase in ("round_1", "round_3")
    }
    assert len(points) == 4


def test_points_of_a_log_scale_fill_each_decade_evenly() -> None:
    rates = [point["learning_rate"] for point in halton_points({"learning_rate": RATE}, 64, seed=0, phase="round_1")]
    below = np.mean([float(rate) < 1e-3 for rate in rates])  # type: ignore[arg-type]
    assert 0.45 <= below <= 0.55


def test_betas_are_spread_by_their_distance_from_one() -> None:
    assert place(BETA, 0.5) == pytest.approx(1 - (0.2 * 0.001) ** 0.5, rel=1e-3)


@given(u=st.floats(0, 1, exclude_max=True))
def test_every_point_lies_in_its_range(u: float) -> None:
    assert RATE.low <= place(RATE, u) <= RATE.high  # type: ignore[operator]
    assert BETA.low <= place(BETA, u) <= BETA.high  # type: ignore[operator]
    assert place(Dimension(low=1, high=3, integer=True), u) in (1, 2, 3)
    assert place(Dimension(choices=("relu", "gelu")), u) in ("relu", "gelu")


def test_whole_numbers_include_both_ends() -> None:
    dimension = Dimension(low=1, high=3, integer=True)
    assert {place(dimension, u) for u in (0.0, 0.5, 0.999)} == {1, 2, 3}


def test_a_finite_space_gives_each_of_its_points_once() -> None:
    space = {"optimizer_option": Dimension(choices=("a", "b", "c")), "depth": Dimension(low=1, high=3, integer=True)}
    points = halton_points(space, 9, seed=0, phase="round_1")
    assert len({tuple(point.items()) for point in points}) == 9
    assert halton_points(space, 4, seed=0, phase="round_1", first=5) == points[5:]
