"""Roles and conditions of the search space: what is refused, each in a line, and which points there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_studies import CLASSIFIER, complaints, load
from hypothesis import given
from hypothesis import strategies as st

from tuner.config.changes import compare
from tuner.config.schema import Dimension
from tuner.config.spaces import at_point, branches, grid_points, num_distinct, point_of, scientific_values, under

ROLES = """\
study: which
workload: {kind: python, class: "digits:Digits"}
evaluation: {metric: error}
budget: {max_steps: 4000}
search_space:
  optimizer: {choices: [adamw, sgd], role: scientific}
  learning_rate:
    - {low: 3e-4, high: 1e-2, scale: log, when: {optimizer: adamw}}
    - {low: 1e-2, high: 1.0, scale: log, when: {optimizer: sgd}}
  beta1: {low: 0.8, high: 0.99, scale: one_minus_log, when: {optimizer: adamw}}
  momentum: {low: 0.8, high: 0.99, scale: one_minus_log, when: {optimizer: [sgd]}}
"""
GRID = (
    "search_space={optimizer: {choices: [adamw, sgd], role: scientific}, learning_rate: ["
    "{low: 1e-3, high: 1e-2, num_points: 3, when: {optimizer: adamw}}, {choices: [0.1, 0.5, 1.0], "
    "when: {optimizer: sgd}}]}"
)


def test_a_setting_may_be_a_list_of_dimensions_for_different_trials(tmp_path: Path) -> None:
    space = load(tmp_path, ROLES).config.given_space
    assert list(space) == [
        *("optimizer", "learning_rate[optimizer=adamw]", "learning_rate[optimizer=sgd]", "beta1", "momentum")
    ]
    assert [dimension.role for dimension in space.values()] == ["scientific", *["nuisance"] * 4]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["search_space.beta1.when={optimizer: adam}"],
            'beta1.when.optimizer: "adam" is not among the choices of optimizer; use one of ["adamw", "sgd"]',
        ),
        (
            ["search_space.beta1.when={optimiser: adamw}"],
            "when.optimiser: no dimension of search_space; did you mean optimizer?",
        ),
        (
            ["search_space.beta1.when={precision: fp32}"],
            "when.precision: training.precision is fixed, so that nothing can depend on it; search precision too",
        ),
        (["search_space.beta1.when={momentum: 0.9}"], "momentum is a range, and conditions ask for single values"),
        (["search_space.beta1.when={optimizer: []}"], "when.optimizer: [] is never met; list at least one of its"),
        (["search_space.beta1.when={beta1: 0.9}"], "beta1.when: circular (beta1 -> beta1)"),
        (
            [
                "search_space.width={choices: [16, 32], when: {depth: 2}}",
                "search_space.depth={choices: [1, 2], when: {width: 16}}",
            ],
            "circular (",
        ),
        (
            ["search_space.learning_rate.1.when={optimizer: adamw}"],
            "learning_rate.1: exists together with search_space.learning_rate.0; a trial has one value of each",
        ),
        (
            ["search_space.learning_rate.1.when={optimizer: [sgd, adamw]}"],
            "learning_rate.1: exists together with search_space.learning_rate.0 in trials with optimizer=adamw",
        ),
        (
            ["search_space.learning_rate.1.when={}"],
            "learning_rate.1: exists together with search_space.learning_rate.0",
        ),
        (["search_space.learning_rate=[]"], "learning_rate: [] lists no dimension; give at least one"),
        (
            ["search_space.beta1.role=scientific"],
            "beta1.role: scientific values are compared one by one, and a range has too many; add num_points, or",
        ),
        (
            ["search_space.learning_rate.1.role=scientific", "search_space.learning_rate.1.num_points=3"],
            "learning_rate.1.role: scientific here and nuisance before; the dimensions of one setting share their role",
        ),
        (
            ["search_space.width={choices: [1, 2]}", "search_space.optimizer.when={width: 1}"],
            "optimizer.when.width: width is nuisance, and what the study asks about cannot depend on what it tunes",
        ),
        (
            ["search_space.width={choices: [1, 2, 3, 4, 5], role: scientific}"],
            "num_trials: 8 leaves scientific values without a trial: optimizer, width combine to 10; set it to at",
        ),
        (
            ["search_space.learning_rate=[{low: 1e-3, high: 1e-2, when: {optimizer: adamw}}]"],
            "learning_rate: has no value in trials with optimizer=sgd; add a dimension for them, or fix the rate there",
        ),
        (
            ["search_space.beta1.when={}"],
            "beta1: has no effect in trials with optimizer=sgd; add when: {",
        ),
        (["search_space.optimizer.choices=[adamw, sgd, lion]"], '"lion" is not one of the choices; use adamw or sgd'),
        (["search_space.optimizer={low: 0, high: 1}"], "optimizer: a range of names cannot be drawn; use choices: ["),
        (
            [
                "search_space={learning_rate: {low: 1e-3, high: 1e-2}, optimizer: {choices: [adamw, sgd]}, "
                "beta1: {low: 0.8, high: 0.9, when: {optimizer: adamw, depth: 1}}, "
                "depth: {choices: [1], when: {optimizer: sgd}}}"
            ],
            "beta1.when: is never met: its conditions exclude each other",
        ),
        (
            ["search_space={optimizer: {choices: [adamw, sgd], role: scientific}}", "training.learning_rate=1e-3"],
            "num_trials: 8 gives optimizer=adamw 4 trials, which is more than its 1 different point of search_space; "
            "set it to 2, or search a range",
        ),
        (
            ["round_1.sampler=grid", GRID],
            "num_trials: 8 is not the size of the grid, 2 scientific values x 3 = 6 points",
        ),
        (
            ["round_1.sampler=grid", GRID, "search_space.learning_rate.1.choices=[0.1]"],
            "its grid has 1 points for optimizer=sgd and 3 for optimizer=adamw; scientific values are sampled evenly",
        ),
    ],
)
def test_a_contradictory_role_or_condition_is_refused(tmp_path: Path, overrides: list[str], complaint: str) -> None:
    assert any(complaint in line for line in complaints(tmp_path, ROLES, overrides)), complaints(
        tmp_path, ROLES, overrides
    )


def test_a_rate_may_be_fixed_where_it_is_not_searched(tmp_path: Path) -> None:
    part = "search_space.learning_rate=[{low: 1e-3, high: 1e-2, scale: log, when: {optimizer: adamw}}]"
    load(tmp_path, ROLES, [part, "training.learning_rate=0.1"])
    found = complaints(tmp_path, ROLES, ["training.learning_rate=0.1"])
    assert "0.1 is fixed here and searched in search_space.learning_rate; remove one" in found[0]


def test_a_scientific_range_with_points_needs_no_grid(tmp_path: Path) -> None:
    width = "search_space.width={low: 16, high: 64, integer: true, scale: log, num_points: 3, role: scientific}"
    config = load(tmp_path, ROLES, [width]).config
    assert [value["width"] for value in scientific_values(config.given_space)] == [16, 32, 64] * 2


def test_a_grid_of_two_dimensions_per_scientific_value_is_well_formed(tmp_path: Path) -> None:
    load(tmp_path, ROLES, ["round_1.sampler=grid", GRID, "round_1.num_trials=6"])


def test_a_round_2_that_leaves_a_scientific_value_behind_is_warned_of(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, ROLES, ["round_2.num_trials=1"]).warnings
    assert "round_2.num_trials=1 is less than the 2 scientific values" in warning


def test_endless_combinations_are_refused_in_no_time(tmp_path: Path) -> None:
    many = [
        f"search_space.w{index}={{choices: [{', '.join(map(str, range(50)))}], role: scientific}}" for index in range(9)
    ]
    assert any("combine to more than 1,000" in line for line in complaints(tmp_path, CLASSIFIER, many))


def test_endless_combinations_of_conditions_are_refused_too(tmp_path: Path) -> None:
    names = [f"w{index}" for index in range(9)]
    many = [f"search_space.{name}={{choices: [1, 2, 3, 4, 5]}}" for name in names]
    last = f"search_space.width.when={{{', '.join(f'{name}: 1' for name in names)}}}"
    found = complaints(tmp_path, CLASSIFIER, [*many, last])
    assert any("its conditions combine to more than 1,000 cases; use fewer" in line for line in found)


def test_a_changed_condition_is_a_change_of_the_study(tmp_path: Path) -> None:
    old, new = load(tmp_path, ROLES).config, load(tmp_path, ROLES, ["search_space.learning_rate.1.high=2.0"]).config
    assert [change.path for change in compare(old, new)] == ["search_space.learning_rate.1.high"]
    assert not compare(old, load(tmp_path, ROLES).config)


SPACE = {
    "a": Dimension(choices=("x", "y"), role="scientific"),
    "b[a=x]": Dimension(choices=(1, 2, 3), when={"a": "x"}),
    "b[a=y]": Dimension(choices=(4, 5), when={"a": "y"}),
    "c": Dimension(low=1, high=2, integer=True, num_points=2, when={"b": (1, 4)}),
}


def test_points_hold_only_what_exists() -> None:
    points = grid_points(SPACE)
    assert num_distinct(SPACE) == len(points) == len({tuple(point.items()) for point in points})
    expected = [("x", 1, 1), ("x", 1, 2), ("x", 2), ("x", 3), ("y", 4, 1), ("y", 4, 2), ("y", 5)]
    assert sorted(tuple(point.values()) for point in points) == expected


def test_under_a_scientific_value_stands_a_space_of_its_own() -> None:
    below = under(SPACE, {"a": "y"})
    assert [*below] == ["b[a=y]", "c"]
    assert num_distinct(below) == 3
    assert [branch.chosen["b"] for branch in branches(below)] == [4, 5]


@given(a=st.sampled_from("xy"), low=st.integers(1, 3), high=st.integers(4, 5), c=st.integers(1, 2))
def test_every_value_of_a_point_has_the_label_that_it_was_drawn_under(a: str, low: int, high: int, c: int) -> None:
    point = point_of(SPACE, {"a": a, "b[a=x]": low, "b[a=y]": high, "c": c})
    assert at_point(SPACE, point).keys() == point.keys()
    assert point["b"] == (low if a == "x" else high)
    assert ("c" in point) == (point["b"] in (1, 4))
