"""How many steps a rate needs to fit the training set: the measure that the budget sweep ranks by (PROTOCOL 2)."""

from __future__ import annotations

from tuner.records import Curve

TOLERANCE = 0.1
"""Steps-to-fit is also printed at the threshold plus and minus this share of it."""


def steps_to_fit(curve: Curve, at_most: float) -> int | None:
    """The first evaluation at or below the threshold; None if the curve does not get there.

    >>> steps_to_fit(((10, 2.0), (20, 1.1), (30, 1.2)), 1.2)
    20
    """
    return next((step for step, value in curve if value <= at_most), None)


def nearby_thresholds(at_most: float) -> tuple[float, float]:
    """The threshold made stricter and looser by `TOLERANCE`."""
    margin = TOLERANCE * abs(at_most)
    return at_most - margin, at_most + margin


def truncate(curve: Curve, last_step: int | None) -> Curve:
    """The evaluations up to and including a step; all of them for None."""
    if last_step is None:
        return curve
    return tuple(evaluation for evaluation in curve if evaluation[0] <= last_step)
