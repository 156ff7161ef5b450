"""Was the budget too long or too short? Judged by where the retrospectively best checkpoints fell.

After the playbook's "Determining the number of steps for each training run" (Round 1; PROTOCOL 4). A verdict holds for
both groups, all feasible trials and the best of them, and always carries its counts; "undecided" is a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Final, Literal

from tuner.analysis.best_steps import (
    BestStepCounts,
    best,
    best_mean,
    count_bands,
    first_good_step,
    sign_of,
)
from tuner.records import Curve, Direction

Verdict = Literal["too long", "too short", "adequate", "undecided", "undecided (decay-confounded)"]
Adjust = Literal["probe", "raw", "none"]

CONFOUNDED: Final = "undecided (decay-confounded)"

MIN_FEASIBLE_TRIALS = 5
MIN_EVALUATIONS = 20
MIN_PERCENT = 75
"""So many percent of *both* groups must agree."""

BEST_GROUP_SHARE = 4
MIN_BEST_GROUP = 4
"""The best group is the best quarter of the feasible trials, but at least four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCheck:
    """A budget's verdict with everything it was made from. Steps are known to one evaluation interval.

    `everyone` counts all feasible trials, `leaders` the best quarter of them by their best 5-evaluation mean;
    `leading_trials` are its members, best first. Steps are None when no trial is feasible.
    """

    max_train_steps: int
    eval_every_steps: int
    verdict: Verdict
    reason: str
    num_feasible: int
    min_evals: int
    everyone: BestStepCounts
    leaders: BestStepCounts
    leading_trials: tuple[int, ...]
    median_best_step: float | None
    median_first_good_step: float | None
    latest_good_step_of_leaders: int | None

    @property
    def num_early(self) -> int:
        """Feasible trials whose best step lies in the first 10 % of the budget."""
        return self.everyone.best_early.count

    @property
    def num_late(self) -> int:
        """Feasible trials whose best step lies in the last 25 % of the budget."""
        return self.everyone.best_late.count


def judge_budget(
    curves: Mapping[int, Curve],
    max_train_steps: int,
    *,
    direction: Direction,
    eval_every_steps: int,
    adjust: Adjust = "none",
) -> BudgetCheck:
    """Judge a round's budget by the validation curves of its feasible trials, by trial id.

    `adjust`: "raw" takes late best steps at their word (too short); else they stay undecided until a probe decides,
    because a decaying rate pulls the best step into the decay whatever the budget. "probe" measures, and so also asks
    where the best value was only reached again that late: errors of few examples tie. The first 10 % ends with its last
    step, 0.1 T; the last 25 % begins with its first, 0.75 T.
    """
    seen = {trial: curve for trial, curve in curves.items() if curve}
    ranked = rank_by_best_mean(seen, direction)
    leading = ranked[: max(MIN_BEST_GROUP, ceil(len(ranked) / BEST_GROUP_SHARE))]
    everyone = count_bands(seen.values(), max_train_steps, direction=direction)
    leaders = count_bands((seen[trial] for trial in leading), max_train_steps, direction=direction)
    best_steps = [top[0] for curve in seen.values() if (top := best(curve, direction))]
    good_steps = {
        trial: good for trial, curve in seen.items() if (good := first_good_step(curve, direction)) is not None
    }
    min_evals = min((len(curve) for curve in seen.values()), default=0)
    verdict = _verdict(everyone, leaders, min_evals=min_evals, adjust=adjust)
    return BudgetCheck(
        max_train_steps=max_train_steps,
        eval_every_steps=eval_every_steps,
        verdict=verdict,
        reason=_reason(verdict, everyone, leaders=leaders, min_evals=min_evals, max_train_steps=max_train_steps),
        num_feasible=len(seen),
        min_evals=min_evals,
        everyone=everyone,
        leaders=leaders,
        leading_trials=leading,
        median_best_step=median(best_steps) if best_steps else None,
        median_first_good_step=median(good_steps.values()) if good_steps else None,
        latest_good_step_of_leaders=max((good_steps[trial] for trial in leading), default=None),
    )


def rank_by_best_mean(curves: Mapping[int, Curve], direction: Direction) -> tuple[int, ...]:
    """Trials from best to worst by their best 5-evaluation mean; ties by trial id. Empty curves are left out."""
    means = {trial: mean for trial, curve in curves.items() if (mean := best_mean(curve, direction)) is not None}
    return tuple(sorted(means, key=lambda trial: (sign_of(direction) * means[trial], trial)))


def _verdict(everyone: BestStepCounts, leaders: BestStepCounts, *, min_evals: int, adjust: Adjust) -> Verdict:
    if everyone.num_trials < MIN_FEASIBLE_TRIALS or min_evals < MIN_EVALUATIONS:
        return "undecided"
    if everyone.good_early.is_at_least(MIN_PERCENT) and leaders.good_early.is_at_least(MIN_PERCENT):
        return "too long"
    if everyone.best_late.is_at_least(MIN_PERCENT) and leaders.best_late.is_at_least(MIN_PERCENT):
        return "too short" if adjust == "raw" else CONFOUNDED
    if adjust == "probe" and all(group.still_best_late.is_at_least(MIN_PERCENT) for group in (everyone, leaders)):
        # A tie at the end leaves open whether more steps would help; here that is about to be measured.
        return CONFOUNDED
    return "adequate"


def _reason(
    verdict: Verdict, everyone: BestStepCounts, *, leaders: BestStepCounts, min_evals: int, max_train_steps: int
) -> str:
    late = (
        f"best in the last 25 % of {max_train_steps:,} steps: "
        f"{everyone.best_late} of all, {leaders.best_late} of the best"
    )
    good = (
        f"as good as they get within the first 10 % of {max_train_steps:,} steps: "
        f"{everyone.good_early} of all, {leaders.good_early} of the best"
    )
    if verdict == "too long":
        return f"trials {good} (raw rule, best step in the first 10 %: {everyone.best_early})"
    if verdict == "too short":
        return f"trials {late}; round_1.adjust=raw takes that as too short"
    if verdict == CONFOUNDED:
        if everyone.best_late != everyone.still_best_late or leaders.best_late != leaders.still_best_late:
            late += f" (with ties {everyone.still_best_late} and {leaders.still_best_late})"
        return (
            f"trials {late}; the decaying rate pulls best steps there whatever the budget, "
            "so that only longer runs can tell"
        )
    if verdict == "adequate":
        return f"neither early nor late: trials {good}; {late}"
    return f"{_too_few(everyone.num_trials, min_evals, max_train_steps)}; trials {good}; {late}"


def _too_few(num_feasible: int, min_evals: int, max_train_steps: int) -> str:
    lacks = []
    if num_feasible < MIN_FEASIBLE_TRIALS:
        lacks.append(
            f"{num_feasible} feasible trials are fewer than {MIN_FEASIBLE_TRIALS} (more trials would decide it)"
        )
    if num_feasible and min_evals < MIN_EVALUATIONS:
        every = max_train_steps // MIN_EVALUATIONS
        remedy = (
            f"evaluation.every_steps of at most {every} would decide it" if every else "so short a run holds no more"
        )
        lacks.append(f"{min_evals} evaluations are fewer than {MIN_EVALUATIONS} ({remedy})")
    return " and ".join(lacks)
