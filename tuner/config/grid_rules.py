"""What a grid needs: few dimensions, a number of points for each, and a round that runs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from tuner.config.problems import Problem
from tuner.config.scales import grid_axis
from tuner.config.schema import Dimension, StudyConfig

MAX_GRID_DIMENSIONS = 2
"""Above two dimensions a grid spends its points badly: quasi-random search covers each axis better (playbook)."""


def grid_problems(config: StudyConfig) -> Iterator[Problem]:
    """What contradicts `round_1.sampler: grid`, or its absence."""
    space, is_grid = config.given_space, config.round_1.sampler == "grid"
    if is_grid and config.search_space == "auto":
        yield Problem(
            path=("search_space",),
            message="auto says nothing of the points of a grid; give learning_rate: {low: ..., high: ..., scale: log, "
            "num_points: ...}, or use another round_1.sampler",
        )
    found = [problem for name in space if (problem := _axis_problem(name, space[name], is_grid=is_grid))]
    yield from found
    if not is_grid or found or not space:
        return
    path = ("round_1", "sampler")
    if len(space) > MAX_GRID_DIMENSIONS:
        yield Problem(
            path=path,
            message=f"grid covers at most {MAX_GRID_DIMENSIONS} dimensions, search_space has {len(space)} "
            f"({', '.join(space)}); use halton, or fix some of them under training",
        )
        return
    counts = [len(grid_axis(dimension)) for dimension in space.values()]
    size, wanted = prod(counts), config.round_1.num_trials
    if size != wanted:
        told = " x ".join(map(str, counts))
        yield Problem(
            path=("round_1", "num_trials"),
            message=f"{wanted} is not the size of the grid, {told}{f' = {size}' if len(counts) > 1 else ''} points; "
            f"set it to {size}, or change num_points or choices",
        )


def _axis_problem(name: str, dimension: Dimension, *, is_grid: bool) -> Problem | None:
    path = ("search_space", name)
    if dimension.num_points is not None and dimension.choices is not None:
        return Problem(
            path=(*path, "num_points"),
            message=f"{dimension.num_points} does not apply to choices, which are all taken; remove it",
        )
    if dimension.num_points is not None and not is_grid:
        return Problem(
            path=(*path, "num_points"),
            message=f"{dimension.num_points} applies to a grid only; remove it, or set round_1.sampler: grid",
        )
    if not is_grid or dimension.choices is not None:
        return None
    if dimension.num_points is None:
        return Problem(
            path=(*path, "num_points"),
            message="missing; round_1.sampler grid needs the number of points along this range, or choices",
        )
    values = grid_axis(dimension)
    if len(set(values)) < len(values):
        return Problem(
            path=(*path, "num_points"),
            message=f"{dimension.num_points} points repeat a value within {dimension.low:g} to {dimension.high:g}; "
            "use fewer points, or list choices",
        )
    return None
