"""Grids cover exactly their points."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trials_adaptive import PLAN, config_of

from tuner.config.scales import grid_axis, place, share_of
from tuner.config.schema import Dimension
from tuner.config.spaces import grid_points
from tuner.records import PhaseRecord
from tuner.trials.proposals import propose

SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log", "num_points": 3}, "act": {"choices": ["a", "b"]}}


def test_a_grid_covers_exactly_its_points() -> None:
    config = config_of("grid", num_trials=6, search_space=SPACE)
    points = propose(config, config.search_space, PhaseRecord(plan=PLAN), num_points=6)
    expected = {(rate, act) for rate, act in product((1e-4, 1e-3, 1e-2), ("a", "b"))}
    assert {(point["learning_rate"], point["act"]) for point in points} == expected
    assert len(points) == 6


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        (Dimension(low=0, high=1, num_points=3), (0, 0.5, 1)),
        (Dimension(low=0.9, high=0.999, scale="one_minus_log", num_points=3), (0.9, 0.99, 0.999)),
        (Dimension(low=1, high=4, integer=True, num_points=4), (1, 2, 3, 4)),
        (Dimension(low=16, high=64, integer=True, scale="log", num_points=3), (16, 32, 64)),
        (Dimension(choices=(3, 1)), (3, 1)),
    ],
)
def test_an_axis_is_even_in_its_scale_with_both_ends(dimension: Dimension, values: tuple[float, ...]) -> None:
    assert grid_axis(dimension) == pytest.approx(values)


def test_points_of_a_grid_are_all_different() -> None:
    space = {name: Dimension.model_validate(dimension) for name, dimension in SPACE.items()}
    assert len({tuple(point.items()) for point in grid_points(space)}) == 6


@given(u=st.floats(0.001, 0.999))
@pytest.mark.parametrize(
    "dimension",
    [
        Dimension(low=1e-4, high=1e-2, scale="log"),
        Dimension(low=0.8, high=0.999, scale="one_minus_log"),
        Dimension(low=-1, high=3),
    ],
)
def test_a_share_is_the_way_back_from_a_value(dimension: Dimension, u: float) -> None:
    value = place(dimension, u)
    assert isinstance(value, float)
    assert share_of(dimension, value) == pytest.approx(u, abs=2e-3)


@given(value=st.integers(1, 9))
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_whole_number_comes_back(scale: str, value: int) -> None:
    dimension = Dimension.model_validate({"low": 1, "high": 9, "integer": True, "scale": scale})
    assert place(dimension, share_of(dimension, value)) == value
