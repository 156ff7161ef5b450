"""Does it still hold? The same points at two budgets: did their order change, and by how much their values.

Differences are told in seed deviations where those are known; a rank correlation only from six points up, with n.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from tuner.analysis.best_steps import sign_of
from tuner.records import Direction, Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_POINTS_FOR_SPEARMAN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Shared points of two rounds.

    `gains` are the improvements from the earlier to the later round, positive when better, in the order of `points`;
    `gains_in_deviations` the same divided by the seed deviation, None while that is unknown or zero.
    """

    points: tuple[str, ...]
    num_pairs: int
    num_order_changes: int
    gains: tuple[float, ...]
    gains_in_deviations: tuple[float, ...] | None
    spearman: float | None


def point_key(params: Params) -> str:
    """One name per point of the search space, the same in every phase."""
    return json.dumps(dict(params), sort_keys=True, separators=(",", ":"))


def compare_rounds(
    earlier: Mapping[str, float],
    later: Mapping[str, float],
    *,
    direction: Direction,
    seed_deviation: float | None = None,
) -> Transfer:
    """Compare two rounds on the points that both hold (by `point_key`), each with its value (a mean over seeds)."""
    import numpy as np  # only where rounds are compared

    points = tuple(point for point in earlier if point in later)
    before = sign_of(direction) * np.array([earlier[point] for point in points], dtype=np.float64)
    after = sign_of(direction) * np.array([later[point] for point in points], dtype=np.float64)
    pairs = list(combinations(range(len(points)), 2))
    gains = tuple(float(gain) for gain in before - after)
    return Transfer(
        points=points,
        num_pairs=len(pairs),
        num_order_changes=sum(bool((before[a] - before[b]) * (after[a] - after[b]) < 0) for a, b in pairs),
        gains=gains,
        gains_in_deviations=tuple(gain / seed_deviation for gain in gains) if seed_deviation else None,
        spearman=_spearman(before, after) if len(points) >= MIN_POINTS_FOR_SPEARMAN else None,
    )


def _spearman(before: NDArray[np.float64], after: NDArray[np.float64]) -> float | None:
    import numpy as np

    first, second = _ranks(before), _ranks(after)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; ties share their mean rank."""
    import numpy as np

    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(below + (equal - 1) / 2, dtype=np.float64)
