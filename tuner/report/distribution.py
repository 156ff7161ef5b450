"""Where the best checkpoints of each round fell: the numbers behind `tuner best-steps` and the report's histograms.

The counts come from `check_round`, the function that judged; binning never moves a step across a band's border.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tuner.analysis.averaged_steps import AveragedSteps
from tuner.analysis.best_steps import BestStepCounts, best, first_good_step, in_first_tenth, in_last_quarter
from tuner.analysis.intervals import Share
from tuner.analysis.verdict import BudgetCheck
from tuner.config.schema import StudyConfig
from tuner.protocol.averaged import averaged_numbers, averaged_of
from tuner.protocol.joined import joined
from tuner.protocol.rounds import check_round, feasible
from tuner.protocol.words import json_safe
from tuner.records import VALIDATION, Curve, PhaseRecord, StudyRecord

NUM_BINS = 20
FIRST_BAND_BINS, LAST_BAND_BINS = 2, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One feasible trial: when it was best, and when it first was as good as it would get."""

    trial: int
    best_step: int
    first_good_step: int
    in_best_group: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSteps:
    """A round's best steps. `verdict` and `reason` are the stored ones, None while the phase is open.

    `num_infeasible` trials have none that counts.
    """

    phase: str
    check: BudgetCheck
    marks: tuple[Mark, ...]
    verdict: str | None
    reason: str | None
    num_infeasible: int = 0
    averaged: AveragedSteps | None = None


def best_steps(config: StudyConfig, study: StudyRecord) -> tuple[BestSteps, ...]:
    """The distribution of every judged round that has feasible trials; the sweep is judged by steps to fit instead."""
    found = [_of_phase(config, study, phase=phase) for phase in judged_rounds(study)]
    return tuple(distribution for distribution in found if distribution.marks)


def judged_rounds(study: StudyRecord) -> tuple[PhaseRecord, ...]:
    """Rounds of all points at one budget, with what joined them, as they were judged.

    A probe, or another decay, holds the best few only: they judge no budget.
    """
    return tuple(phase for phase in joined(study).phases if phase.plan.kind in ("round_1", "round_2"))


def feasible_curves(study: StudyRecord, phase: PhaseRecord) -> dict[int, Curve]:
    """The objective's curve of every feasible trial that has one, by trial."""
    metric = phase.plan.eval.metric
    curves = {trial.trial: study.curve(trial.trial, VALIDATION, metric) for trial in feasible(phase)}
    return {trial: curve for trial, curve in curves.items() if curve}


def _of_phase(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> BestSteps:
    check, direction = check_round(config, study, phase=phase), phase.plan.eval.direction
    marks = []
    for trial, curve in feasible_curves(study, phase).items():
        top, good = best(curve, direction), first_good_step(curve, direction)
        if top is not None and good is not None:
            leads = trial in check.leading_trials
            marks.append(Mark(trial=trial, best_step=top[0], first_good_step=good, in_best_group=leads))
    return BestSteps(
        phase=phase.name,
        check=check,
        marks=tuple(marks),
        verdict=phase.verdict,
        reason=phase.reason,
        averaged=averaged_of(config, study, phase=phase, check=check),
        num_infeasible=sum(trial.outcome is not None and trial.outcome.kind == "infeasible" for trial in phase.trials),
    )


def bin_of(step: int, max_train_steps: int) -> int:
    """The twentieth of the budget that a step falls in; bins 0-1 are the first 10 %, bins 15-19 the last 25 %.

    >>> [bin_of(step, 100) for step in (1, 10, 11, 74, 75, 100)]
    [0, 1, 2, 14, 15, 19]
    """
    index = min(NUM_BINS - 1, NUM_BINS * step // max_train_steps)
    if in_first_tenth(step, max_train_steps):
        return min(index, FIRST_BAND_BINS - 1)
    return max(index, NUM_BINS - LAST_BAND_BINS) if in_last_quarter(step, max_train_steps) else index


def histogram(steps: list[int], max_train_steps: int) -> list[int]:
    """Counts per twentieth of the budget."""
    counts = [0] * NUM_BINS
    for step in steps:
        counts[bin_of(step, max_train_steps)] += 1
    return counts


def best_steps_payload(study: str, found: tuple[BestSteps, ...]) -> dict[str, Any]:
    """`tuner best-steps NAME --json`."""
    return {"study": study, "phases": [_payload(distribution) for distribution in found]}


def _payload(found: BestSteps) -> dict[str, Any]:
    check = found.check
    return {
        "phase": found.phase,
        "max_train_steps": check.max_train_steps,
        "eval_every_steps": check.eval_every_steps,
        "verdict": found.verdict,
        "reason": found.reason,
        "num_feasible": check.num_feasible,
        "averaged": None if found.averaged is None else json_safe(averaged_numbers(found.averaged)),
        "counts": {"all": _counts(check.everyone), "best_group": _counts(check.leaders)},
        "trials": [
            {
                "trial": mark.trial,
                "best_step": mark.best_step,
                "first_good_step": mark.first_good_step,
                "in_best_group": mark.in_best_group,
            }
            for mark in found.marks
        ],
    }


def _counts(counts: BestStepCounts) -> dict[str, Any]:
    return {
        "best_in_first_10_percent": _share(counts.best_early),
        "best_in_last_25_percent": _share(counts.best_late),
        "first_good_in_first_10_percent": _share(counts.good_early),
    }


def _share(share: Share) -> dict[str, Any]:
    return {"count": share.count, "total": share.total, "low": share.low, "high": share.high}
