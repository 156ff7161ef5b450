"""Do averaged weights stand in for a decay here? Measured on decays that were really run, never assumed.

A horizon is judged by its errors, averaged value minus decayed value at the same budget: their mean can be taken off,
so that what counts is how far they scatter about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

MIN_CALIBRATIONS = 2
"""One error has no scatter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How the averages over `horizon` updates differ from the decays, in the metric's unit.

    `errors` are averaged minus decayed, one for each decay; `spread` their standard deviation, `residual` the largest
    distance of one from their mean. Of the `num_pairs` pairs of decays whose values differ, the averages put
    `num_concordant` in the same order; `discordant_by` is the largest difference that they got wrong, 0 if none.
    """

    horizon: int
    errors: tuple[float, ...]
    mean_error: float
    spread: float
    residual: float
    num_concordant: int
    num_pairs: int
    discordant_by: float


def calibrate(averaged: Mapping[int, Sequence[float]], decayed: Sequence[float]) -> Calibration:
    """The horizon whose errors scatter least; ties go to the smaller mean error, then to the shorter horizon.

    `averaged` holds the values by horizon, each list in the order of `decayed`.

    >>> found = calibrate({50: [2.25, 2.0, 1.75], 200: [2.0, 2.25, 1.5]}, [2.0, 1.75, 1.5])
    >>> found.horizon, found.mean_error, found.residual, f"{found.num_concordant} of {found.num_pairs}"
    (50, 0.25, 0.0, '3 of 3')

    Raises:
        ValueError: fewer than two decays, or no horizon.
    """
    if len(decayed) < MIN_CALIBRATIONS or not averaged:
        raise ValueError("a calibration needs a horizon and at least two decays")
    found = [_of_horizon(horizon, values, decayed) for horizon, values in sorted(averaged.items())]
    return min(found, key=lambda each: (each.spread, abs(each.mean_error)))


def _of_horizon(horizon: int, averaged: Sequence[float], decayed: Sequence[float]) -> Calibration:
    errors = tuple(a - b for a, b in zip(averaged, decayed, strict=True))
    mean = fmean(errors)
    pairs = [(a, b) for a, b in combinations(zip(averaged, decayed, strict=True), 2) if a[1] != b[1]]
    discordant = [abs(a[1] - b[1]) for a, b in pairs if (a[0] - b[0]) * (a[1] - b[1]) <= 0]
    return Calibration(
        horizon=horizon,
        errors=errors,
        mean_error=round(mean, 12),
        spread=stdev(errors),
        residual=max(abs(error - mean) for error in errors),
        num_concordant=len(pairs) - len(discordant),
        num_pairs=len(pairs),
        discordant_by=max(discordant, default=0.0),
    )
