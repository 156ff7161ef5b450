"""The frontier: the metric against the step budget, what each further step gains, and where the gain ends.

A frontier of one learning rate flatters the budget that the rate was tuned for, so what counts is the envelope over
rates (PROTOCOL 8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from tuner.analysis.best_steps import sign_of
from tuner.analysis.seeds import pooled_seed_deviation
from tuner.records import Direction

FURTHEST = 2
"""So many times the largest budget measured may be extrapolated to (ours)."""

APART = 0.1
"""Gains are told between budgets at least this share of the larger one apart: nearer ones differ by chance (ours)."""

Values = Mapping[int, Sequence[float]]
"""Best values by budget: one for each seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPoint:
    """One budget. `rate` is the learning rate that did best there, by the mean over its seeds.

    `gain_per_step` is what each step gained since the nearest budget that is smaller by a tenth or more, positive for
    better; None where there is none.
    """

    budget: int
    value: float
    rate: float
    num_seeds: int
    gain_per_step: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The envelope over rates, budgets rising. `deviation` is the seed deviation that `knee` was judged by.

    `knee` is the smallest budget within one seed deviation of the best; None while the deviation is unknown.
    """

    points: tuple[BudgetPoint, ...]
    best: int
    knee: int | None
    deviation: float | None


def frontier(by_rate: Mapping[float, Values], direction: Direction, *, deviation: float | None = None) -> Frontier:
    """The frontier of trials by learning rate and budget; `deviation` is one measured elsewhere, used if none is here.

    Raises:
        ValueError: if there is no value at all.

    >>> found = frontier({1e-3: {100: [2.0, 2.25], 200: [1.6, 1.625], 400: [1.5, 1.5]}}, "minimize")
    >>> found.best, found.knee, [point.gain_per_step for point in found.points[1:]]
    (400, 400, [0.005125, 0.0005625])
    """
    own = pooled_seed_deviation(values for budgets in by_rate.values() for values in budgets.values())
    deviation = deviation if own is None else own
    sign = sign_of(direction)
    points: list[BudgetPoint] = []
    for budget in sorted({budget for budgets in by_rate.values() for budget in budgets}):
        means = {rate: fmean(budgets[budget]) for rate, budgets in by_rate.items() if budgets.get(budget)}
        # Ties go to the rate that was tuned: it comes first.
        rate = min(means, key=lambda rate: sign * means[rate])
        before = next((point for point in reversed(points) if point.budget <= (1 - APART) * budget), None)
        gain = None if before is None else round(sign * (before.value - means[rate]) / (budget - before.budget), 12)
        seeds = len(by_rate[rate][budget])
        points.append(BudgetPoint(budget=budget, value=means[rate], rate=rate, num_seeds=seeds, gain_per_step=gain))
    if not points:
        raise ValueError("a frontier needs a feasible trial")
    top = min(points, key=lambda point: (sign * point.value, point.budget))
    knee = None
    if deviation is not None:
        knee = min(point.budget for point in points if sign * (point.value - top.value) <= deviation)
    return Frontier(points=tuple(points), best=top.budget, knee=knee, deviation=deviation)


def value_at(found: Frontier, budget: float, direction: Direction) -> tuple[float, bool] | None:
    """What a budget is worth, and whether that is extrapolated; None where nothing near it was measured.

    Between budgets: on the line between its neighbours, over the logarithm of the budget. Beyond the largest, up to
    twice as far: the gain per doubling of the upper half of the budgets goes on, or stops if there was none.
    """
    points = found.points
    if budget < points[0].budget or budget > FURTHEST * points[-1].budget:
        return None
    for before, after in pairwise(points):
        if budget <= after.budget:
            share = math.log(budget / before.budget) / math.log(after.budget / before.budget)
            return before.value + share * (after.value - before.value), False
    last, base = points[-1], points[len(points) // 2 if len(points) > 2 else 0]
    if budget == last.budget or base is last:
        return last.value, budget > last.budget
    doublings = math.log2(last.budget / base.budget)
    change = (last.value - base.value) / doublings
    if sign_of(direction) * change > 0:
        change = 0.0
    return last.value + change * math.log2(budget / last.budget), True
