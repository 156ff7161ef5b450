"""Has a training curve stopped moving before it was perfect? Compared over the last doubling of its length.

Label noise, contradictory duplicates, frozen layers or adapters leave a training metric at a level that more steps
hardly better (PROTOCOL 1, "saturated"; ours). Levels are means over the last eighth of a length, five evaluations at
least: the longer the run, the less can noise hide what a doubling gains, and where it still hides it nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import fmean

from tuner.analysis.best_steps import MEAN_WINDOW, noise
from tuner.records import Curve

STILL_SHARE = 0.02
"""Less than 2 % better over the last doubling: it has stopped. Within 2 % of the level: it has arrived."""

LEVEL_SHARE = 1 / 8
"""The share of a length that its level is the mean of (ours)."""

NUM_ERRORS = 2.0
"""Standard errors of the difference of two means that noise alone is granted."""

MOST_CHANCE = 2.0
"""Noise may give so many times the gain that is looked for; beyond, a doubling that gains could go unseen (ours)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A curve that is to fall, over the last doubling: means at half its length and at its end.

    `chance` is what noise alone moves the difference of two such means by; `window` are the evaluations whose mean
    comes near enough to the level to say when it was reached.
    """

    before: float
    level: float
    chance: float
    window: int = MEAN_WINDOW

    @property
    def gain(self) -> float:
        """How much lower it became; negative if it rose."""
        return self.before - self.level

    @property
    def needed(self) -> float:
        """The gain below which it no longer moves."""
        return STILL_SHARE * abs(self.before)

    @property
    def is_hidden(self) -> bool:
        """Whether noise is too strong to see a gain."""
        return self.chance > MOST_CHANCE * self.needed

    @property
    def is_still(self) -> bool:
        """Whether it moved by less than 2 % in either direction, and more would have been seen."""
        return abs(self.gain) < self.needed and not self.is_hidden

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
    before, after = _last_values(curve, length / 2), _last_values(curve, length)
    if before is None or after is None:
        return None
    # The steep start is no noise: only what lies around the two means is measured.
    each, level = noise(tuple(point for point in curve if length / 4 < point[0] <= length)), fmean(after)
    spread = each / (STILL_SHARE / 2 * abs(level)) if level else 0.0
    return Movement(
        before=fmean(before),
        level=level,
        chance=NUM_ERRORS * each * sqrt(1 / len(before) + 1 / len(after)),
        window=min(len(after), max(MEAN_WINDOW, ceil(spread**2))),
    )


def trailing_means(curve: Curve, window: int = MEAN_WINDOW) -> Curve:
    """Each evaluation as the mean of the last ones up to it; the first few have none.

    >>> trailing_means(((1, 3.0), (2, 1.0), (3, 2.0)), 2)
    ((2, 2.0), (3, 1.5))
    """
    values = [value for _, value in curve]
    return tuple((curve[end - 1][0], fmean(values[end - window : end])) for end in range(window, len(curve) + 1))


def _last_values(curve: Curve, length: float) -> list[float] | None:
    """The evaluations in the last eighth of a length, five at least; None if there are fewer."""
    values = [value for step, value in curve if step <= length]
    late = sum((1 - LEVEL_SHARE) * length < step <= length for step, _ in curve)
    return values[-max(late, MEAN_WINDOW) :] if len(values) >= MEAN_WINDOW else None
