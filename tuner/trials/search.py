"""Points of the search space by index: scrambled Halton, the playbook's choice for exploration, and grids.

A point depends on (study seed, phase, index) alone, never on the results or the order of other trials.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from tuner.config.scales import place
from tuner.config.schema import Dimension
from tuner.config.spaces import num_distinct, point_of
from tuner.records import Value

MAX_DRAWS = 200
"""Times 64 points are drawn in search of new ones; a space whose last points hide longer repeats some."""


def halton_points(
    space: Mapping[str, Dimension], num_points: int, *, seed: int, phase: str, first: int = 0
) -> list[dict[str, Value]]:
    """`num_points` of the phase's scrambled Halton sequence from index `first` (playbook, "quasi-random search").

    >>> space = {"learning_rate": Dimension(low=1e-4, high=1e-2, scale="log")}
    >>> points = halton_points(space, 3, seed=0, phase="round_1")
    >>> points == halton_points(space, 5, seed=0, phase="round_1")[:3]
    True
    """
    from scipy.stats import qmc  # most of a second, and only where points are proposed

    wanted, size = first + num_points, num_distinct(space)
    if size is not None:
        return _distinct_points(space, min(wanted, size), seed=seed, phase=phase)[first:]
    halton = qmc.Halton(d=len(space), scramble=True, rng=np.random.default_rng(point_seed(seed, phase)))
    uniform = halton.random(wanted)[first:]  # [num_points, dimensions]
    return [_point(space, row) for row in uniform]


def _point(space: Mapping[str, Dimension], row: Iterable[float]) -> dict[str, Value]:
    """Every dimension has its share, also where it does not exist: so no condition moves the others' shares."""
    values = {label: place(space[label], float(u)) for label, u in zip(sorted(space), row, strict=True)}
    return point_of(space, values)


def _distinct_points(
    space: Mapping[str, Dimension], num_points: int, *, seed: int, phase: str
) -> list[dict[str, Value]]:
    """The first points of a finite space in the order of its Halton sequence, each once: a repetition tells nothing."""
    from scipy.stats import qmc

    if not space:
        return [{}] * num_points
    halton = qmc.Halton(d=len(space), scramble=True, rng=np.random.default_rng(point_seed(seed, phase)))
    found: dict[tuple[tuple[str, Value], ...], dict[str, Value]] = {}
    for _ in range(MAX_DRAWS):
        if len(found) >= num_points:
            break
        for row in halton.random(64):
            point = _point(space, row)
            found.setdefault(tuple(point.items()), point)
    points = list(found.values())
    return [points[index % len(points)] for index in range(num_points)]


def point_seed(seed: int, *parts: object) -> int:
    """H(study seed, phase, number): the seed of one proposal, which no other proposal moves (D3)."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little")
