"""What `workload_kind`, the thresholds and the limits may say together: a kind that contradicts a setting is refused.

Each kind reads only its own settings; one that would be ignored is named instead (D8).
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.config.problems import Problem
from tuner.config.schema import StudyConfig

KIND = ("workload_kind",)


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
    sampler = config.round_1.sampler
    if sampler in ("tpe", "gp") and config.limits.study_hours is not None:
        message = (
            f"{sampler} asks for its points generation by generation, which limits.study_hours="
            f"{config.limits.study_hours:g} cannot cut beforehand; use halton, or remove limits.study_hours"
        )
        yield Problem(path=("round_1", "sampler"), message=message, cause=("limits", "study_hours"))


def has_length(config: StudyConfig) -> bool:
    """Whether anything says how long a compute-bound run is to be."""
    limits = config.limits
    return any(given is not None for given in (config.budget.production_steps, limits.run_hours, limits.study_hours))
