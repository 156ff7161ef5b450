"""A compute-bound sweep: longer runs would help for ever, so that patience sets the length, not the curves.

The length is `budget.production_steps`, or what the hours buy by the sweep's measured step time; round 1 uses 10 % of
it (PROTOCOL 2, item 7). A constant rate hides progress, so the best rate is found after a short forked cooldown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tuner.config.kind_rules import ROUND_1_SHARE, least_production, round_1_steps, too_short_for
from tuner.config.schema import StudyConfig
from tuner.protocol.cooldown import advance_cooldown, best_rate, cooldown_of, cooldown_steps, open_cooldown
from tuner.protocol.failures import PRODUCTION_STEPS, give_up, goes_on
from tuner.protocol.lengths import expected_lengths, has_twin, trunk_steps
from tuner.protocol.measured import SECONDS_PER_HOUR, Measured, makespan
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

COOLED: Final = Outcome("complete", "cooled down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """The production length, and what it was made from. `remedy` says what longer ones take."""

    steps: int
    why: str
    remedy: str
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
        length = production_length(config, measured, rung=max(trial.last_step for trial in phase.trials))
        if isinstance(length, str):
            return give_up(length, phase=phase.name, numbers=_numbers(config, measured, bought=None))
        decided = () if found is None else (found,)
        return open_cooldown(phase, (*decided, _decision(config, facts, length)))
    return advance_cooldown(study, sweep=phase) or _close(config, facts, study=study, phase=phase)


def production_steps(study: StudyRecord) -> int | None:
    """The length of the real run, as decided; None if the study is not compute-bound."""
    for decision in reversed(study.decisions):
        if decision.kind == PRODUCTION:
            return int(decision.numbers["production_steps"])
    return None


def production_length(config: StudyConfig, measured: Measured, *, rung: int) -> Length | str:
    """The length that the user stated, or what the hours buy; or why there is none, with what would help.

    `rung` is the sweep's longest: what its cooldown takes is not there for the rounds. A length costs its updates and
    evaluations: setup and checkpoints are most of a short sweep and little of a long run, which also evaluates less.
    """
    found = _length(config, measured.training_only(), rung=rung)
    if isinstance(found, str):
        return found
    problem = too_short_for(config, found.steps)
    return found if problem is None else f"{found.why}, of which round 1 gets 10 %: {problem}. {found.remedy}"


def _length(config: StudyConfig, measured: Measured, *, rung: int) -> Length | str:
    stated, hours = config.budget.production_steps, config.limits.run_hours
    least, each = least_production(config), measured.seconds_per_step
    if hours is not None and each is None and stated is None:
        return (
            f"limits.run_hours={number(hours)}: no step was measured in this study, since all were shared with others; "
            f"state {PRODUCTION_STEPS}; {goes_on(config, PRODUCTION_STEPS)}"
        )
    if hours is not None and each is not None:
        return _bought(config, measured, hours=hours, each=each)
    if stated is not None:
        # The config was refused if it was too short.
        numbers = _numbers(config, measured, bought=None)
        return Length(steps=stated, why=f"budget.production_steps={stated}", remedy="", numbers=numbers)
    shared = _steps_left(config, measured, rung=rung)
    if shared is None:
        return (
            f"nothing says how long a compute-bound run is to be; state {PRODUCTION_STEPS}, or limits: "
            f"{{run_hours: ...}}; {goes_on(config, PRODUCTION_STEPS)}"
        )
    study_hours, left = config.limits.study_hours or 0.0, seconds_for_rounds(config, measured, rung=rung)
    enough = study_hours + (least / max(shared, 1) - 1) * max(left, 0.0) / SECONDS_PER_HOUR
    return Length(
        steps=shared,
        why=f"what is left of limits.study_hours={number(study_hours)} buys {steps(shared)} for all rounds",
        remedy=f"Raise limits.study_hours{f' to at least {number(1.05 * enough)}' if shared else ''}, or lower "
        f"budget.first_guess_steps, which the sweep starts with; {goes_on(config, 'limits.study_hours')}",
        numbers=_numbers(config, measured, bought=None),
    )


def bought_steps(config: StudyConfig, measured: Measured) -> int | None:
    """The steps that `limits.run_hours` buy at the measured step time; None if either is unknown."""
    hours, each = config.limits.run_hours, measured.training_only().seconds_per_step
    return None if hours is None or each is None else int(hours * SECONDS_PER_HOUR / each)


def _bought(config: StudyConfig, measured: Measured, *, hours: float, each: float) -> Length | str:
    """What `run_hours` buy at the measured step time; a stated length beyond that contradicts them."""
    stated, bought = config.budget.production_steps, int(hours * SECONDS_PER_HOUR / each)
    told = f"limits.run_hours={number(hours)} buys {steps(bought)} at the measured {number(each)} seconds per step"
    if stated is not None and stated > bought:
        return (
            f"{told}, budget.production_steps={stated} asks for more: raise run_hours to "
            f"{number(1.05 * stated * each / SECONDS_PER_HOUR)}, or lower production_steps to {bought}; "
            + goes_on(config, "limits.run_hours")
        )
    enough = 1.05 * least_production(config) * each / SECONDS_PER_HOUR
    return Length(
        steps=bought if stated is None else stated,
        why=told if stated is None else f"budget.production_steps={stated}",
        remedy=f"Raise limits.run_hours to at least {number(enough)}; {goes_on(config, 'limits.run_hours')}",
        numbers=_numbers(config, measured, bought=bought),
    )


def _steps_left(config: StudyConfig, measured: Measured, *, rung: int) -> int | None:
    """The length at which round 1, at 10 % of it, and the later rounds take what is left of the study's hours."""
    if config.limits.study_hours is None or measured.seconds_per_step is None:
        return None
    left, workers = seconds_for_rounds(config, measured, rung=rung), measured.num_workers
    before = ROUND_1_SHARE
    runs = makespan(ROUND_1_SHARE * config.round_1.num_trials, longest=ROUND_1_SHARE, num_workers=workers)
    for item, share in expected_lengths(config, ROUND_1_SHARE, production=1.0):
        # The first seed of each point goes on from the plateau of the round before.
        trunk, alone = trunk_steps(config, before), item.num_trials * (item.num_seeds - 1) + has_twin(config, item)
        longest = share if alone else share - trunk
        runs += makespan(item.num_trials * (share - trunk) + alone * share, longest=longest, num_workers=workers)
        before = share
    return max(0, int(left / measured.seconds_per_step / runs))


def seconds_for_rounds(config: StudyConfig, measured: Measured, *, rung: int) -> float:
    """What the study's hours leave after the cooldown that follows the sweep's longest rung."""
    longest = cooldown_steps(rung)
    cooldown = measured.seconds_for(longest * config.budget_sweep.learning_rates.num_rates, longest=longest) or 0.0
    return (config.limits.study_hours or 0.0) * SECONDS_PER_HOUR - measured.elapsed_seconds - cooldown


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
