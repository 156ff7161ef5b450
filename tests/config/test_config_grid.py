"""What a grid is refused for."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_studies import CLASSIFIER, complaints, load

GRID = ["round_1.sampler=grid", "search_space.learning_rate.num_points=3"]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (GRID, "round_1.num_trials: 8 is not the size of the grid, 3 x 2 = 6 points; set it to 6"),
        (GRID[:1], "search_space.learning_rate.num_points: missing; round_1.sampler grid needs the number of points"),
        (GRID[1:], "num_points: 3 applies to a grid only; remove it, or set round_1.sampler: grid"),
        ([*GRID, "search_space.beta1={choices: [0.8, 0.9]}"], "sampler: grid covers at most 2 dimensions"),
        ([*GRID, "search_space.width.num_points=2"], "width.num_points: 2 does not apply to choices"),
        (
            [*GRID, "search_space.width={low: 1, high: 3, integer: true, num_points: 5}"],
            "num_points: 5 points repeat a value within 1 to 3",
        ),
    ],
)
def test_a_contradictory_grid_is_refused(tmp_path: Path, overrides: list[str], complaint: str) -> None:
    assert any(complaint in line for line in complaints(tmp_path, CLASSIFIER, overrides))


def test_more_than_two_dimensions_are_told_to_use_halton(tmp_path: Path) -> None:
    found = complaints(tmp_path, CLASSIFIER, [*GRID, "search_space.beta1={choices: [0.8, 0.9]}"])
    assert "use halton" in found[0]


def test_a_grid_that_the_round_runs_whole_is_well_formed(tmp_path: Path) -> None:
    load(tmp_path, CLASSIFIER, [*GRID, "round_1.num_trials=6"])
