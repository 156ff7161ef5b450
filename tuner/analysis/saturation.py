"""Has a training curve stopped moving before it was perfect? Compared over the last doubling of its length.

Label noise, contradictory duplicates, frozen layers or adapters leave a training metric at a level that more steps
hardly better (PROTOCOL 1, "saturated"; ours). Levels are means of five evaluations, so that one lucky evaluation
neither makes nor breaks the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from tuner.analysis.best_steps import MEAN_WINDOW, noise
from tuner.records import Curve

STILL_SHARE = 0.02
"""Less than 2 % better over the last doubling: it has stopped. Within 2 % of the level: it has arrived."""

NUM_ERRORS = 2.0
"""Standard errors of the difference of two means that noise alone is granted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A curve that is to fall, over the last doubling: means at half its length and at its end.

    `chance` is what noise alone moves the difference of two such means by.
    """

    before: float
    level: float
    chance: float

    @property
    def gain(self) -> float:
        """How much lower it became; negative if it rose."""
        return self.before - self.level

    @property
    def needed(self) -> float:
        """The gain below which it no longer moves."""
        return STILL_SHARE * abs(self.before)

    @property
    def is_still(self) -> bool:
        """Whether it moved by less than 2 %, or by no more than what noise gives, in either direction."""
        return abs(self.gain) < max(self.needed, self.chance)

    @property
    def arrived_at(self) -> float:
        """The value from which on the level is as good as reached."""
        return self.level + STILL_SHARE * abs(self.level)


def movement(curve: Curve, length: int) -> Movement | None:
    """The movement of a curve between `length / 2` and `length`; None with too few evaluations before either.

    >>> flat = tuple((step, 1.0) for step in range(10, 210, 10))
    >>> movement(flat, 200).is_still
    True
    """
    before, level = _mean_at(curve, length / 2), _mean_at(curve, length)
    if before is None or level is None:
        return None
    # The steep start is no noise: only what lies around the two means is measured.
    around = tuple(evaluation for evaluation in curve if length / 4 < evaluation[0] <= length)
    return Movement(before=before, level=level, chance=NUM_ERRORS * noise(around) * sqrt(2 / MEAN_WINDOW))


def trailing_means(curve: Curve) -> Curve:
    """Each evaluation as the mean of the last five up to it; the first four have none."""
    values = [value for _, value in curve]
    return tuple(
        (curve[end - 1][0], fmean(values[end - MEAN_WINDOW : end])) for end in range(MEAN_WINDOW, len(curve) + 1)
    )


def _mean_at(curve: Curve, step: float) -> float | None:
    """The mean of the last five evaluations up to a step."""
    values = [value for at, value in curve if at <= step]
    return fmean(values[-MEAN_WINDOW:]) if len(values) >= MEAN_WINDOW else None
