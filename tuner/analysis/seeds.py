"""How much do equal runs differ by seed alone? Unknown until something was replicated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import variance


def pooled_seed_deviation(groups: Iterable[Sequence[float]]) -> float | None:
    """The standard deviation over seeds, pooled over points: each group holds one point's values, a seed each.

    Groups of one value carry no information; None if there is no other.

    >>> pooled_seed_deviation([[1.0, 3.0], [5.0]])
    1.4142135623730951
    """
    groups = list(groups)
    replicated = [group for group in groups if len(group) > 1]
    freedom = degrees_of_freedom(groups)
    if freedom == 0:
        return None
    return sqrt(sum((len(group) - 1) * variance(group) for group in replicated) / freedom)


def degrees_of_freedom(groups: Iterable[Sequence[float]]) -> int:
    """How many independent differences between seeds a pooled deviation rests on.

    >>> degrees_of_freedom([[1.0, 3.0], [5.0], [2.0, 2.5, 2.0]])
    3
    """
    return sum(max(0, len(group) - 1) for group in groups)
