"""A compute-bound sweep: longer runs would help for ever, so that patience sets the length, not the curves.

The length is `budget.production_steps`, or what the hours buy by the sweep's measured step time; round 1 uses 10 % of
it (PROTOCOL 2, item 7). A constant rate hides progress, so the best rate is found after a short forked cooldown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tuner.config.schema import StudyConfig
from tuner.protocol.cooldown import advance_cooldown, best_rate, cooldown_of, open_cooldown
from tuner.protocol.failures import AS_ANOTHER, give_up
from tuner.protocol.lengths import expected_lengths
from tuner.protocol.measured import SECONDS_PER_HOUR, Measured
from tuner.protocol.standings import DROPPED, learning_rate_of
from tuner.protocol.words import epochs, json_safe, number, steps
from tuner.records import (
    ClosePhase,
    Decision,
    Json,
    Move,
    Outcome,
    PhaseRecord,
    StudyRecord,
    WorkloadFacts,
)

PRODUCTION: Final = "production"
ROUND_1_SHARE: Final = 0.1
"""Round 1's budget as a share of the production length: about 10 % of it answers many questions (PROTOCOL 1)."""

COOLED: Final = Outcome("complete", "cooled down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """The production length, and what it was made from."""

    steps: int
    why: str
    numbers: dict[str, Json]


def end_compute_bound(
    config: StudyConfig,
    facts: WorkloadFacts,
    *,
    study: StudyRecord,
    phase: PhaseRecord,
    measured: Measured,
    found: Decision | None = None,
) -> Move:
    """The next move once patience is to set the length: length and cooldown, then the end of the sweep.

    `found` is the decision on the kind, if it was not made before.
    """
    if cooldown_of(study) is None:
        length = production_length(config, measured)
        if isinstance(length, str):
            return give_up(length, phase=phase.name)
        decided = () if found is None else (found,)
        return open_cooldown(phase, (*decided, _decision(config, facts, length)))
    return advance_cooldown(study, sweep=phase) or _close(config, facts, study=study, phase=phase)


def production_steps(study: StudyRecord) -> int | None:
    """The length of the real run, as decided; None if the study is not compute-bound."""
    for decision in reversed(study.decisions):
        if decision.kind == PRODUCTION:
            return int(decision.numbers["production_steps"])
    return None


def production_length(config: StudyConfig, measured: Measured) -> Length | str:
    """The length that the user stated, within what the hours buy; or why there is none, with what would help."""
    stated, hours = config.budget.production_steps, config.limits.run_hours
    bought = None if hours is None else steps_bought(hours, measured)
    if bought is not None and bought < 1:
        return (
            f"limits.run_hours={number(hours or 0)} buys no single step at the measured "
            f"{number(measured.seconds_per_step or 0)} seconds per step; raise it; {AS_ANOTHER}"
        )
    numbers = _numbers(config, measured, bought=bought)
    if stated is not None and (bought is None or stated <= bought):
        return Length(steps=stated, why=f"budget.production_steps={stated}", numbers=numbers)
    if bought is not None:
        told = (
            f"limits.run_hours={number(hours or 0)} buys at {number(measured.seconds_per_step or 0)} seconds per step"
        )
        cut = "" if stated is None else f", fewer than budget.production_steps={stated}, which is cut to it"
        return Length(steps=bought, why=f"what {told}{cut}", numbers=numbers)
    if hours is not None:
        return (
            f"limits.run_hours={number(hours)}: no step was measured in this study, since all were shared with others; "
            f"state budget.production_steps; {AS_ANOTHER}"
        )
    if (shared := _steps_left(config, measured)) is not None:
        told = f"what is left of limits.study_hours={number(config.limits.study_hours or 0)} buys for all rounds"
        return Length(steps=shared, why=told, numbers=numbers)
    return (
        "nothing says how long a compute-bound run is to be; state budget.production_steps, or limits: {run_hours: ...}"
        f"; {AS_ANOTHER}"
    )


def steps_bought(hours: float, measured: Measured) -> int | None:
    """The updates of one run that so many hours buy; None before any was measured."""
    each = measured.seconds_per_step
    return None if each is None else int(hours * SECONDS_PER_HOUR / each)


def _steps_left(config: StudyConfig, measured: Measured) -> int | None:
    """The length at which round 1, at 10 % of it, and the later rounds take what is left of the study's hours."""
    hours, each = config.limits.study_hours, measured.seconds_per_step
    if hours is None or each is None:
        return None
    left = max(0.0, hours * SECONDS_PER_HOUR - measured.elapsed_seconds)
    runs = ROUND_1_SHARE * config.round_1.num_trials
    for item, share in expected_lengths(config, ROUND_1_SHARE, production=1.0):
        runs += share * (item.num_trials * item.num_seeds + item.lower_rate_twin)
    return max(1, int(left * measured.num_workers / each / runs))


def round_1_steps(production: int) -> int:
    """Round 1's budget."""
    return max(1, round(ROUND_1_SHARE * production))


def _numbers(config: StudyConfig, measured: Measured, *, bought: int | None) -> dict[str, Json]:
    return {
        "stated": config.budget.production_steps,
        "run_hours": config.limits.run_hours,
        "steps_bought": bought,
        "seconds_per_step": measured.seconds_per_step,
        "measured_steps": measured.num_steps,
        "measured_seconds": measured.worker_seconds,
    }


def _decision(config: StudyConfig, facts: WorkloadFacts, length: Length) -> Decision:
    told = epochs(length.steps, config.training.global_batch_size, facts)
    num_later = len(config.later_rounds)
    last = f"round {num_later + 1} has all of it" if num_later else "no round is asked for that has all of it"
    between = ", the rounds between grow at equal ratios" if num_later > 1 else ""
    reason = (
        f"The production length is {steps(length.steps)} ({told}): {length.why}. Round 1 uses 10 % of it, {last}"
        f"{between} (playbook, Determining the number of steps for each training run: compute-bound)."
    )
    numbers = {"production_steps": length.steps, "round_1_steps": round_1_steps(length.steps), **length.numbers}
    return Decision(kind=PRODUCTION, phase="budget_sweep", reason=reason, numbers=json_safe(numbers))


def _close(config: StudyConfig, facts: WorkloadFacts, *, study: StudyRecord, phase: PhaseRecord) -> ClosePhase:
    production = production_steps(study)
    assert production is not None, "decided before the cooldown was opened"
    budget, best = round_1_steps(production), best_rate(study, phase)
    reason = (
        f"Compute-bound: round 1 trains for {steps(budget)} "
        f"({epochs(budget, config.training.global_batch_size, facts)}), 10 % of the production length of "
        f"{production:,}; the best constant rate is {best.told}"
    )
    numbers = {"max_train_steps": budget, "production_steps": production, **best.numbers}
    decision = Decision(
        kind="budget", phase=phase.name, reason=f"{reason} (playbook, Step 1a).", numbers=json_safe(numbers)
    )
    cooled = {learning_rate_of(trial) for trial in (cooldown_of(study) or phase).trials}
    outcomes = {
        trial.trial: COOLED if learning_rate_of(trial) in cooled else DROPPED
        for trial in phase.trials
        if trial.outcome is None
    }
    return ClosePhase(
        phase=phase.name,
        verdict=f"compute-bound at {steps(production)}",
        reason=f"{reason}.",
        outcomes=outcomes,
        decisions=(decision,),
    )
