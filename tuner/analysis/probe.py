"""Does training twice as long help? Measured on the best trials, not read off from where best steps fell.

Each point is its best value at a budget and at the longer one, grown from the same plateau. A gain counts if its mean
is worth having *and* larger than what chance moves (PROTOCOL 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev

from tuner.analysis.best_steps import best, sign_of
from tuner.analysis.intervals import student_quantile
from tuner.records import Curve, Direction

CERTAINTY = 0.9
"""One-sided: a mean that exceeds Student's quantile is no chance in 9 of 10 cases. In doubt, longer (PROTOCOL 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeGain:
    """What the longer budget gained, in the metric's unit, positive when better; one of `gains` per point.

    `needed_gain` is the smallest mean worth twice the budget; `chance` is what the mean may be by chance: the seed
    deviation if `is_seed_deviation`, else, while nothing was replicated, Student's 90 % of the gains' own standard
    error. Both runs of a pair have one past, so that their difference holds no luck of the seed; gains of different
    points scatter more than gains of one, which errs on the side of no gain. Infinite for a single pair.
    """

    gains: tuple[float, ...]
    mean_gain: float
    needed_gain: float
    chance: float
    is_seed_deviation: bool

    @property
    def is_gain(self) -> bool:
        """Whether the mean gain exceeds both bars."""
        return self.mean_gain > self.needed_gain and self.mean_gain > self.chance


def measure_probe(
    pairs: Sequence[tuple[Curve, Curve]],
    *,
    direction: Direction,
    min_gain: float,
    seed_deviation: float | None = None,
) -> ProbeGain:
    """The gain over pairs of curves, (shorter, longer) of one point each; none of them empty.

    `min_gain` is a share of the shorter runs' mean best value, so that one setting serves losses of any size.

    >>> short, long = ((10, 2.0), (20, 1.5)), ((10, 2.0), (40, 1.25))
    >>> measure_probe([(short, long)], direction="minimize", min_gain=0.01).mean_gain
    0.25

    Raises:
        ValueError: for no pairs, or an empty curve.
    """
    if not pairs:
        raise ValueError("a gain needs at least one pair of curves")
    sign = sign_of(direction)
    before, after = zip(*((_best_value(a, direction), _best_value(b, direction)) for a, b in pairs), strict=True)
    gains = tuple(sign * (first - second) for first, second in zip(before, after, strict=True))
    return ProbeGain(
        gains=gains,
        mean_gain=fmean(gains),
        needed_gain=min_gain * abs(fmean(before)),
        chance=_chance(gains) if seed_deviation is None else seed_deviation,
        is_seed_deviation=seed_deviation is not None,
    )


def _chance(gains: tuple[float, ...]) -> float:
    if len(gains) < 2:
        return inf
    return student_quantile(CERTAINTY, len(gains) - 1) * stdev(gains) / sqrt(len(gains))


def _best_value(curve: Curve, direction: Direction) -> float:
    top = best(curve, direction)
    if top is None:
        raise ValueError("a curve without evaluations has no best value")
    return top[1]
