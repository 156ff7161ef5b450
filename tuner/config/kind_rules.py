"""What `workload_kind`, the thresholds and the limits may say together: a kind that contradicts a setting is refused.

Each kind reads only its own settings; one that would be ignored is named instead (D8).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

from tuner.config.problems import Problem
from tuner.config.schedule_rules import PLATEAU
from tuner.config.schema import StudyConfig

KIND = ("workload_kind",)

ROUND_1_SHARE: Final = 0.1
"""Round 1's budget as a share of the production length: about 10 % of it answers many questions (PROTOCOL 1)."""

MIN_EVALUATIONS: Final = 20
"""Below these a budget cannot be judged (PROTOCOL 4)."""


def kind_problems(config: StudyConfig) -> Iterator[Problem]:
    """Settings that the stated kind of workload would ignore, or cannot do without."""
    kind, budget = config.workload_kind, config.budget
    if kind in ("saturated", "compute_bound") and budget.perfect_fit is not None:
        message = f"{kind} looks for no perfect fit, but budget.perfect_fit is given; remove it, or use auto"
        yield Problem(path=KIND, message=message, cause=("budget", "perfect_fit"))
    if kind in ("saturated", "not_compute_bound") and budget.production_steps is not None:
        message = (
            f"{kind} takes its length from the sweep, but budget.production_steps={budget.production_steps} is given; "
            "remove it, or use compute_bound or auto"
        )
        yield Problem(path=KIND, message=message, cause=("budget", "production_steps"))
    if kind in ("compute_bound", "auto") and budget.production_steps is not None:
        too_short = too_short_for(config, budget.production_steps)
        if too_short is not None:
            message = f"{budget.production_steps} gives round 1 10 % of it: {too_short}; raise it"
            yield Problem(path=("budget", "production_steps"), message=message, cause=("training", "warmup_steps"))
    if kind in ("saturated", "not_compute_bound") and config.limits.run_hours is not None:
        message = (
            f"{kind} takes its length from the sweep, but limits.run_hours={config.limits.run_hours:g} is given; "
            "remove it, or use compute_bound or auto"
        )
        yield Problem(path=KIND, message=message, cause=("limits", "run_hours"))
    if kind == "compute_bound" and not has_length(config):
        message = (
            "compute_bound needs a length that patience sets; add budget.production_steps, or limits: {run_hours: ...}"
        )
        yield Problem(path=KIND, message=message)


def has_length(config: StudyConfig) -> bool:
    """Whether anything says how long a compute-bound run is to be."""
    limits = config.limits
    return any(given is not None for given in (config.budget.production_steps, limits.run_hours, limits.study_hours))


def round_1_steps(production: int) -> int:
    """Round 1's budget in a compute-bound study."""
    return max(1, round(ROUND_1_SHARE * production))


def least_production(config: StudyConfig) -> int:
    """The shortest production length whose 10 % hold the warmup, its decay, and an update for each evaluation."""
    training = config.training
    warmup = 0 if training.warmup_steps == "auto" else training.warmup_steps
    share = training.decay_share if training.schedule == PLATEAU else 0.0
    return ceil(max(MIN_EVALUATIONS, (warmup + 1) / (1 - share)) / ROUND_1_SHARE)


def too_short_for(config: StudyConfig, production: int) -> str | None:
    """Why a production length gives round 1 too little, in a clause; None if it does not."""
    least = least_production(config)
    if production >= least:
        return None
    tenth = round_1_steps(production) if production else 0
    if least == round(MIN_EVALUATIONS / ROUND_1_SHARE):
        return (
            f"{tenth} steps are fewer than the {MIN_EVALUATIONS} evaluations that judge a budget ({least} in all are)"
        )
    warmup, decay = config.training.warmup_steps, config.training.decay_share
    after = f" with a decay of {100 * decay:g} %" if config.training.schedule == PLATEAU else ""
    return (
        f"{tenth} steps do not hold training.warmup_steps={warmup}{after} ({least} in all would; or shorten the warmup)"
    )
