"""`limits.study_hours`: what a phase will cost, what is cut so that it fits, and the end when time is up.

The order is stated (PROTOCOL 1): seeds first, then points (never below five in round 1 while that fits), then whole
phases: the probe, a longer round 1, later rounds. What was measured for a cut stays in its decision (D8).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tuner.analysis.verdict import MIN_FEASIBLE_TRIALS
from tuner.config.schema import StudyConfig
from tuner.protocol.answer import CANDIDATES, conclude
from tuner.protocol.failures import AS_ANOTHER, give_up
from tuner.protocol.lengths import one_seed_steps
from tuner.protocol.measured import SECONDS_PER_HOUR, Measured
from tuner.protocol.rounds import feasible
from tuner.protocol.words import json_safe, number, steps
from tuner.records import (
    VALIDATION,
    ClosePhase,
    Conclude,
    Decision,
    GiveUp,
    OpenPhase,
    Outcome,
    PhaseRecord,
    StudyRecord,
    TrialPlan,
)

OUT_OF_TIME: Final = "study_hours"
SWEEP_SHARE: Final = 0.15
"""The sweep's share of `study_hours` (ours)."""


def is_out_of_time(config: StudyConfig, measured: Measured) -> bool:
    """Whether the study's hours are over."""
    hours = config.limits.study_hours
    return hours is not None and measured.elapsed_seconds >= hours * SECONDS_PER_HOUR


def seconds_left(config: StudyConfig, measured: Measured, *, share: float = 1.0) -> float | None:
    """Seconds until a share of the study's hours is over; None without a limit."""
    hours = config.limits.study_hours
    return None if hours is None else share * hours * SECONDS_PER_HOUR - measured.elapsed_seconds


def fits(config: StudyConfig, measured: Measured, num_steps: float, *, share: float = 1.0) -> bool:
    """Whether so many updates of all trials fit into what is left; what was never measured is not held back."""
    left, needed = seconds_left(config, measured, share=share), measured.seconds_for(num_steps)
    return left is None or needed is None or needed <= left


def cut(phase: str | None, what: str, config: StudyConfig, measured: Measured, *, num_steps: float) -> Decision:
    """What does not fit, with the numbers that say so."""
    hours = (measured.seconds_for(num_steps) or 0.0) / SECONDS_PER_HOUR
    left = (seconds_left(config, measured) or 0.0) / SECONDS_PER_HOUR
    reason = (
        f"limits.study_hours={number(config.limits.study_hours or 0)}: {what}; uncut {number(hours)} hours, "
        f"{number(max(left, 0.0))} are left ({_speed(measured)})."
    )
    numbers = {"hours": hours, "hours_left": left, **_numbers(measured)}
    return Decision(kind="cut", phase=phase, reason=reason, numbers=json_safe(numbers))


def with_cost(config: StudyConfig, move: OpenPhase, measured: Measured) -> OpenPhase:
    """The phase with what it is expected to cost, an upper bound: what trials share is not taken off."""
    if config.limits.study_hours is None or measured.seconds_per_step is None:
        return move
    count, num_steps = len(move.trials) or move.num_points, steps_of(move)
    hours = (measured.seconds_for(num_steps) or 0.0) / SECONDS_PER_HOUR
    left = (seconds_left(config, measured) or 0.0) / SECONDS_PER_HOUR
    reason = (
        f"{move.plan.name} is expected to take at most {number(hours)} hours: {count} trials, "
        f"{steps(num_steps)} in all ({_speed(measured)}); {number(left)} hours are left."
    )
    numbers = {"num_trials": count, "num_steps": num_steps, "hours": hours, "hours_left": left, **_numbers(measured)}
    cost = Decision(kind="cost", phase=move.plan.name, reason=reason, numbers=json_safe(numbers))
    return replace(move, decisions=(*move.decisions, cost))


def steps_of(move: OpenPhase) -> int:
    """Updates of all trials of a phase, before sharing."""
    return sum(t.spec.max_train_steps for t in move.trials) or move.num_points * move.plan.max_train_steps


def cut_round_1(
    config: StudyConfig, move: OpenPhase, measured: Measured, *, production: int | None
) -> OpenPhase | GiveUp:
    """Round 1 with as many points as fit beside later rounds of one seed; with five, if it is to be without them."""
    each, asked = move.plan.max_train_steps, move.num_points
    later = one_seed_steps(config, each, production=production)
    few = min(asked, MIN_FEASIBLE_TRIALS)
    tries = [(n, later) for n in range(asked, few - 1, -1)] + [(n, 0.0) for n in range(few, 0, -1)]
    num_points = next((n for n, beside in tries if fits(config, measured, n * each + beside)), 0)
    if num_points == 0:
        reason = (
            f"limits.study_hours={number(config.limits.study_hours or 0)} does not hold one trial of {steps(each)} "
            f"({_speed(measured)}); raise it, or give the study a shorter budget; {AS_ANOTHER}"
        )
        return give_up(reason, phase=move.plan.name, numbers=_numbers(measured))
    if num_points == asked:
        return move
    what = f"{move.plan.name} has {num_points} of {asked} points"
    told = cut(move.plan.name, what, config, measured, num_steps=asked * each)
    return replace(move, num_points=num_points, decisions=(*move.decisions, told))


def cut_later_round(
    config: StudyConfig, move: OpenPhase, measured: Measured, *, beside: float = 0.0
) -> OpenPhase | Decision:
    """A later round with the seeds, then the points, that fit `beside` the rounds after it, or else without them.

    The decision to skip it if not even one trial fits.
    """
    uncut, seeds = list(move.trials), list(dict.fromkeys(trial.spec.seed for trial in move.trials))
    first = [trial for trial in uncut if trial.spec.seed == seeds[0]]
    fewer = [[trial for trial in uncut if trial.spec.seed in seeds[:count]] for count in range(len(seeds), 0, -1)]
    fewer += [first[:count] for count in range(len(first) - 1, 0, -1)]
    for later in (beside, 0.0):
        for kept in fewer:
            if fits(config, measured, _total(kept) + later):
                return _kept(config, move, kept, measured=measured, beside=later)
    what = f"{move.plan.name} is skipped" + (" with the rounds after it" if beside else "")
    return cut(None, what, config, measured, num_steps=_total(uncut) + beside)


def end_out_of_time(config: StudyConfig, study: StudyRecord, *, sharing: str) -> ClosePhase | Conclude | GiveUp:
    """Close what is open, the latest phase first, then conclude with the best so far."""
    opened = next((phase for phase in reversed(study.phases) if not phase.is_closed), None)
    if opened is not None:
        return _close(config, study, opened)
    hours = number(config.limits.study_hours or 0)
    if not any(phase.plan.kind in CANDIDATES and feasible(phase) for phase in study.phases):
        reason = (
            f"limits.study_hours={hours} were over before any trial of round 1 was evaluated; raise it, or lower "
            f"budget.max_steps; {AS_ANOTHER}"
        )
        return give_up(reason, phase=study.phases[-1].name)
    reason = f"limits.study_hours={hours} are over: the study ends with the best so far."
    ended = Decision(kind="out_of_time", reason=reason, numbers={"study_hours": config.limits.study_hours})
    move = conclude(study, sharing=sharing)
    return replace(move, decisions=(ended, *move.decisions))


def _close(config: StudyConfig, study: StudyRecord, phase: PhaseRecord) -> ClosePhase:
    """Stop a phase where it is. If nothing else may answer, what its trials have measured does."""
    has_answer = any(other.plan.kind in CANDIDATES and feasible(other) for other in study.phases)
    may_answer = phase.plan.kind in CANDIDATES and not has_answer
    outcomes = {}
    for trial in phase.trials:
        if not trial.is_ended:
            measured = study.curve(trial.trial, VALIDATION, phase.plan.eval.metric)
            kind = "complete" if may_answer and measured else "stopped"
            outcomes[trial.trial] = Outcome(kind, OUT_OF_TIME)  # type: ignore[arg-type]
    left = len(outcomes)
    reason = (
        f"limits.study_hours={number(config.limits.study_hours or 0)} are over with {left} of {len(phase.trials)} "
        f"trials of {phase.name} unfinished: its budget is not judged; more hours would decide it"
    )
    is_judged = phase.plan.kind in ("round_1", "round_2")
    verdict = "undecided" if is_judged else "out of time"
    kind = "verdict" if is_judged else "stopped"
    numbers = {"num_unfinished": left, "carried_steps": phase.plan.max_train_steps}
    decision = Decision(kind=kind, phase=phase.name, reason=f"{reason}.", numbers=json_safe(numbers))
    return ClosePhase(phase=phase.name, verdict=verdict, reason=f"{reason}.", outcomes=outcomes, decisions=(decision,))


def _kept(
    config: StudyConfig, move: OpenPhase, kept: list[TrialPlan], *, measured: Measured, beside: float
) -> OpenPhase:
    if len(kept) == len(move.trials):
        return move
    what = f"{move.plan.name} has {len(kept)} of {len(move.trials)} trials, seeds cut before points"
    what += ", beside one seed of the rounds after it" if beside else ""
    told = cut(move.plan.name, what, config, measured, num_steps=_total(list(move.trials)) + beside)
    return replace(move, trials=tuple(kept), decisions=(*move.decisions, told))


def _total(trials: list[TrialPlan]) -> int:
    return sum(trial.spec.max_train_steps for trial in trials)


def _speed(measured: Measured) -> str:
    each = number(measured.seconds_per_step or 0.0)
    return f"measured {each} seconds per step, {measured.num_workers} at a time"


def _numbers(measured: Measured) -> dict[str, float | int | None]:
    return {
        "seconds_per_step": measured.seconds_per_step,
        "num_workers": measured.num_workers,
        "elapsed_seconds": measured.elapsed_seconds,
        "measured_steps": measured.num_steps,
    }
