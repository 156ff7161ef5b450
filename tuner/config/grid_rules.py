"""What a grid needs: few dimensions, a number of points for each, and a round that runs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from tuner.config.condition_rules import Entry, entries, told
from tuner.config.problems import Problem
from tuner.config.scales import grid_axis
from tuner.config.schema import StudyConfig
from tuner.config.spaces import Branch, branches, scientific_values, setting_of, under

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
    found = [problem for entry in entries(config) if (problem := _axis_problem(entry, is_grid=is_grid))]
    yield from found
    if not is_grid or found or not space:
        return
    values = scientific_values(space)
    grids = [list(branches(under(space, value))) for value in values]
    largest = max((branch for grid in grids for branch in grid), key=lambda branch: len(branch.labels))
    if len(largest.labels) > MAX_GRID_DIMENSIONS:
        told_names = ", ".join(map(setting_of, largest.labels))
        yield Problem(
            path=("round_1", "sampler"),
            message=f"grid covers at most {MAX_GRID_DIMENSIONS} dimensions, search_space has {len(largest.labels)} "
            f"({told_names}); use halton, or fix some of them under training",
        )
        return
    sizes = [sum(_size(branch) for branch in grid) for grid in grids]
    if max(sizes) > min(sizes):
        few, many = sizes.index(min(sizes)), sizes.index(max(sizes))
        yield Problem(
            path=("search_space",),
            message=f"its grid has {sizes[few]} points for {told(values[few])} and {sizes[many]} for "
            f"{told(values[many])}; scientific values are sampled evenly: give their grids equally many points",
        )
        return
    size, wanted = sum(sizes), config.round_1.num_trials
    if size != wanted:
        yield Problem(
            path=("round_1", "num_trials"),
            message=f"{wanted} is not the size of the grid, {_told_size(grids, sizes)} points; "
            f"set it to {size}, or change num_points or choices",
        )


def _size(branch: Branch) -> int:
    return prod(len(grid_axis(dimension)) for dimension in branch.free.values())


def _told_size(grids: list[list[Branch]], sizes: list[int]) -> str:
    if len(sizes) > 1:
        return f"{len(sizes)} scientific values x {sizes[0]} = {sum(sizes)}"
    counts = [len(grid_axis(dimension)) for dimension in grids[0][0].free.values()]
    return f"{' x '.join(map(str, counts))} = {sizes[0]}" if len(counts) > 1 and len(grids[0]) == 1 else f"{sizes[0]}"


def _axis_problem(entry: Entry, *, is_grid: bool) -> Problem | None:
    path, dimension = entry.path, entry.dimension
    is_grid = is_grid or dimension.role == "scientific"
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
