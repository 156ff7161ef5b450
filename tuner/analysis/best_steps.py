"""Where a curve was best, and where it first became as good as it would get.

A curve is one trial's evaluations of one metric, `((global_step, value), ...)`, steps rising. The best step of a noisy
curve falls anywhere on its flat part; the first good step asks the question behind it, when the curve got there, with
the noise measured from the curve itself. Every function here is a pure function of one curve, or of one group of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from tuner.analysis.intervals import Share, share
from tuner.records import Curve, Direction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEAN_WINDOW = 5
"""Evaluations in the mean that ranks trials and that a good evaluation must come close to."""

NUM_DEVIATIONS = 2.0
"""A good evaluation lies within so many noise deviations of the best mean."""


def best(curve: Curve, direction: Direction) -> tuple[int, float] | None:
    """The step and value of the best evaluation, the earliest among ties; None for an empty curve.

    >>> best(((10, 2.0), (20, 1.5), (30, 1.5)), "minimize")
    (20, 1.5)
    """
    if not curve:
        return None
    return (min if direction == "minimize" else max)(curve, key=itemgetter(1))


def noise(curve: Curve) -> float:
    """Standard deviation of the evaluations about their trend; 0 for fewer than four of them.

    From the median absolute deviation of second differences: a trend that is locally a line leaves none, and a few
    steep steps at the start do not move a median. Independent noise of variance v gives second differences of 6 v.
    """
    return _noise(values_of(curve))


def _noise(values: NDArray[np.float64]) -> float:
    import numpy as np  # a tenth of a second, and `tuner check` measures nothing

    if len(values) < 4:
        return 0.0
    bends = np.diff(values, n=2)
    spread = float(np.median(np.abs(bends - np.median(bends))))
    return 1.4826 * spread / float(np.sqrt(6.0))


def best_mean(curve: Curve, direction: Direction) -> float | None:
    """The best mean of `MEAN_WINDOW` successive evaluations (of all, if fewer): ranks trials despite noise."""
    return _best_mean(values_of(curve), direction) if curve else None


def _best_mean(values: NDArray[np.float64], direction: Direction) -> float:
    import numpy as np

    window = min(MEAN_WINDOW, len(values))
    means = np.convolve(values, np.full(window, 1.0 / window), mode="valid")
    return float(means.min() if direction == "minimize" else means.max())


def first_good_step(curve: Curve, direction: Direction) -> int | None:
    """The earliest evaluation within two noise deviations of the best 5-evaluation mean (PROTOCOL 4).

    Never later than the best step: the best evaluation is at least as good as any mean. None for an empty curve.
    """
    top = best(curve, direction)
    if top is None:
        return None
    sign, values = sign_of(direction), values_of(curve)
    limit = sign * _best_mean(values, direction) + NUM_DEVIATIONS * _noise(values)
    good = sign * values <= limit
    return curve[int(good.argmax())][0] if good.any() else top[0]


def in_first_tenth(step: int, max_train_steps: int) -> bool:
    """Whether a step lies in the first 10 % of a budget, its end included."""
    return 10 * step <= max_train_steps


def in_last_quarter(step: int, max_train_steps: int) -> bool:
    """Whether a step lies in the last 25 % of a budget, its start included."""
    return 4 * step >= 3 * max_train_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class BestStepCounts:
    """How the best steps and the first good steps of a group of trials fall into the bands, with Wilson intervals."""

    num_trials: int
    best_early: Share
    best_late: Share
    still_best_late: Share
    """The best value was reached there, or reached again: coarse metrics tie, and the best step is the earliest."""
    good_early: Share


def count_bands(curves: Iterable[Curve], max_train_steps: int, *, direction: Direction) -> BestStepCounts:
    """Count a group's best steps in the first 10 % and last 25 %, and its first good steps in the first 10 %."""
    curves = list(curves)
    found = [(best(curve, direction), first_good_step(curve, direction)) for curve in curves]
    best_steps = [top[0] for top, _ in found if top is not None]
    again = [
        max(step for step, value in curve if value == top[1])
        for curve, (top, _) in zip(curves, found, strict=True)
        if top is not None
    ]
    good_steps = [good for _, good in found if good is not None]
    num_trials = len(best_steps)
    return BestStepCounts(
        num_trials=num_trials,
        best_early=share(sum(in_first_tenth(step, max_train_steps) for step in best_steps), num_trials),
        best_late=share(sum(in_last_quarter(step, max_train_steps) for step in best_steps), num_trials),
        still_best_late=share(sum(in_last_quarter(step, max_train_steps) for step in again), num_trials),
        good_early=share(sum(in_first_tenth(step, max_train_steps) for step in good_steps), num_trials),
    )


def sign_of(direction: Direction) -> float:
    """What turns a metric into one that is better when lower."""
    return 1.0 if direction == "minimize" else -1.0


def values_of(curve: Curve) -> NDArray[np.float64]:
    """The values of a curve, in the order of their steps."""
    import numpy as np

    return np.fromiter(map(itemgetter(1), curve), np.float64, len(curve))
