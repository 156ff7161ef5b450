"""Where training turns unstable, and what the playbook tries against it: the arithmetic, without a study.

After "How can optimization failures be debugged and mitigated?" (PROTOCOL 6). Numbers are the playbook's unless marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean, median
from typing import Final

from tuner.analysis.divergence import MIN_LEARNED_SHARE, SMOOTHING_WINDOW
from tuner.records import Curve

FREQUENT_SHARE: Final = 0.25
"""So large a share of infeasible trials is frequent (ours)."""

NEAR_FACTOR: Final = 3.2
"""Rates within half a decade, a step of the default grid, are neighbours whatever was tried in between (ours)."""

BASE_RATE_FACTOR: Final = 10
"""A warmup is tried at a base rate so many times the unstable one."""

WARMUP_LENGTHS: Final = (10, 1_000, 10_000, 100_000)
MAX_WARMUP_SHARE: Final = 0.1
SHORT_BUDGET: Final = 10_000
"""Below so many updates 1,000 of warmup are more than 10 %: shares of the budget take the lengths' place (ours)."""

SHORT_WARMUP_SHARES: Final = (0.01, 0.03, 0.1)
MAX_FREE_SHARE: Final = 0.05
"""A warmup that needs more of the budget than this asks for a larger budget."""

CONSTANT_AFTER: Final = 2
"""The constant part after a warmup on trial, as a multiple of it."""

MOST_CLIPPED: Final = 0.5
"""Clipping more of the updates than this is a lower rate in disguise."""


def ends_like_a_constant(train_curve: Curve, constant_loss: float) -> bool:
    """Whether a run's last losses, a mean of three, are no better than a constant predictor's; False without a curve.

    >>> ends_like_a_constant(((10, 2.0), (20, 0.7), (30, 0.7), (40, 0.7)), 0.69)
    True
    """
    return bool(train_curve) and _end(train_curve) >= constant_loss


def learned(train_curve: Curve, constant_loss: float) -> bool:
    """Whether a run's last losses are better than a constant predictor's, by at least 1 %."""
    return bool(train_curve) and _end(train_curve) <= constant_loss - MIN_LEARNED_SHARE * abs(constant_loss)


def unstable_next_to(best_rate: float, rates: Iterable[tuple[float, bool]]) -> float | None:
    """The lowest unstable rate above the best one, if it is a neighbour; `rates` are (rate, is infeasible).

    A neighbour is the next rate tried, or one within half a decade.

    >>> unstable_next_to(1e-3, [(1e-3, False), (1e-2, True)])
    0.01
    >>> unstable_next_to(1e-3, [(1e-3, False), (4e-3, False), (1e-2, True)]) is None
    True
    """
    above = sorted((rate, is_infeasible) for rate, is_infeasible in rates if rate > best_rate)
    lowest = next((rate for rate, is_infeasible in above if is_infeasible), None)
    if lowest is None or lowest > max(above[0][0], NEAR_FACTOR * best_rate):
        return None
    return lowest


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """A warmup to try, prepended to the schedule: `max_train_steps` is what budget and warmup make together."""

    warmup_steps: int
    constant_steps: int
    max_train_steps: int
    asks_for_more: bool
    """It takes more than 5 % of the budget, which is to be raised for it."""


def warmups_to_try(budget: int, *, longer_than: int = 0) -> tuple[Warmup, ...]:
    """Warmups for a budget, shortest first: the first that works is the one; none beyond 10 % of it.

    `longer_than` is the warmup that did not prevent the instability.

    >>> [warmup.warmup_steps for warmup in warmups_to_try(10_000)]
    [10, 1000]
    >>> warmups_to_try(10_000)[1].max_train_steps
    11000
    >>> [warmup.warmup_steps for warmup in warmups_to_try(600, longer_than=6)]
    [18, 60]
    """
    lengths: Sequence[int] = [length for length in WARMUP_LENGTHS if length <= MAX_WARMUP_SHARE * budget]
    if budget < SHORT_BUDGET:
        lengths = [max(1, round(share * budget)) for share in SHORT_WARMUP_SHARES]
    return tuple(
        Warmup(
            warmup_steps=length,
            constant_steps=CONSTANT_AFTER * length,
            max_train_steps=budget + length,
            asks_for_more=length > MAX_FREE_SHARE * budget,
        )
        for length in dict.fromkeys(lengths)
        if longer_than < length < budget
    )


def budget_for(warmup_steps: int) -> int:
    """The smallest budget of which a warmup is no more than 10 %."""
    return ceil(warmup_steps / MAX_WARMUP_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedNorms:
    """What the trials near the best one logged of their gradients before clipping: medians over their evaluations."""

    p90: float
    clipped_share: float | None


def gradient_norms(p90: Iterable[Curve], clipped: Iterable[Curve]) -> LoggedNorms | None:
    """Norms of several trials; each counts once. None if none was logged.

    A run's early norms are often far above the rest: a median over its evaluations is not moved by them.
    """
    percentiles = [median(value for _, value in curve) for curve in p90 if curve]
    if not percentiles:
        return None
    shares = [fmean(value for _, value in curve) for curve in clipped if curve]
    return LoggedNorms(p90=median(percentiles), clipped_share=median(shares) if shares else None)


def _end(train_curve: Curve) -> float:
    return fmean(value for _, value in train_curve[-SMOOTHING_WINDOW:])
