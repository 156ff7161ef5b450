"""`limits.study_hours`: what a phase will cost, what is cut so that it fits, and the end when time is up.

The order is stated (PROTOCOL 1): seeds first, then points (never below five in round 1 while that fits), then
widenings of the sweep's grid and of round 1's rates, then whole phases: the probe, a longer round 1, later rounds. What
was measured for a cut stays in its decision (D8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from tuner.analysis.verdict import MIN_FEASIBLE_TRIALS
from tuner.config.schema import LaterRound, StudyConfig
from tuner.config.spaces import scientific_values
from tuner.protocol.answer import CANDIDATES, conclude
from tuner.protocol.compute_bound import production_steps
from tuner.protocol.failures import give_up, goes_on
from tuner.protocol.generations import CUT, is_adaptive, num_drawn, wanted_points
from tuner.protocol.joined import EXTENDED, joined_name
from tuner.protocol.lengths import expected_lengths, one_seed_steps, trunk_steps
from tuner.protocol.measured import SECONDS_PER_HOUR, Measured
from tuner.protocol.rounds import ROUND_1, feasible
from tuner.protocol.shared_steps import Price, price_of
from tuner.protocol.words import json_safe, number, steps, trials
from tuner.records import (
    VALIDATION,
    AddTrials,
    ClosePhase,
    Conclude,
    Decision,
    GiveUp,
    Move,
    OpenPhase,
    Outcome,
    PhaseRecord,
    StudyRecord,
)

OUT_OF_TIME: Final = "study_hours"
LEFT_OUT: Final = "left_out"
SWEEP_SHARE: Final = 0.15
"""The sweep's share of `study_hours` (ours)."""

WIDENED: Final = "widened"
"""Decisions to look beyond an edge of the rates."""


def is_out_of_time(config: StudyConfig, measured: Measured) -> bool:
    """Whether the study's hours are over."""
    hours = config.limits.study_hours
    return hours is not None and measured.elapsed_seconds >= hours * SECONDS_PER_HOUR


def seconds_left(config: StudyConfig, measured: Measured, *, share: float = 1.0) -> float | None:
    """Seconds until a share of the study's hours is over; None without a limit."""
    hours = config.limits.study_hours
    return None if hours is None else share * hours * SECONDS_PER_HOUR - measured.elapsed_seconds


def fits(
    config: StudyConfig, measured: Measured, num_steps: float, *, share: float = 1.0, longest: float = 0.0
) -> bool:
    """Whether so many updates of all trials fit into what is left; what was never measured is not held back.

    `longest` are those of one trial, which no number of workers makes faster.
    """
    left, needed = seconds_left(config, measured, share=share), measured.seconds_for(num_steps, longest=longest)
    return left is None or needed is None or needed <= left


def cut(
    phase: str | None, what: str, config: StudyConfig, measured: Measured, *, num_steps: float, longest: float = 0.0
) -> Decision:
    """What does not fit, with the numbers that say so."""
    hours = (measured.seconds_for(num_steps, longest=longest) or 0.0) / SECONDS_PER_HOUR
    left = (seconds_left(config, measured) or 0.0) / SECONDS_PER_HOUR
    reason = (
        f"limits.study_hours={number(config.limits.study_hours or 0)}: {what}; uncut {number(hours)} hours, "
        f"{number(max(left, 0.0))} are left ({speed(measured)})."
    )
    numbers = {"hours": hours, "hours_left": left, **measured_numbers(measured)}
    return Decision(kind=CUT, phase=phase, reason=reason, numbers=json_safe(numbers))


def with_cost(config: StudyConfig, study: StudyRecord, move: OpenPhase, measured: Measured) -> OpenPhase:
    """The phase with what it is expected to cost beside what the study has trained, an upper bound."""
    if config.limits.study_hours is None or measured.seconds_per_step is None:
        return move
    each, count, price = move.plan.max_train_steps, len(move.trials) + move.num_points, price_of(study, move, measured)
    if not move.trials and is_adaptive(config):
        count, measured = wanted_points(config, move.decisions, move.plan.name), _at_a_time(config, measured)
        price = Price(steps=count * each, longest=each)
    told = cost(move.plan.name, config, measured, num_trials=count, num_steps=price.steps, longest=price.longest)
    return replace(move, decisions=(*move.decisions, told))


def cost(
    phase: str, config: StudyConfig, measured: Measured, *, num_trials: int, num_steps: int, longest: int
) -> Decision:
    """What is to come of a phase, in hours, before it starts."""
    hours = (measured.seconds_for(num_steps, longest=longest) or 0.0) / SECONDS_PER_HOUR
    left = (seconds_left(config, measured) or 0.0) / SECONDS_PER_HOUR
    what = f"The first rung of {phase}" if phase == "budget_sweep" else phase
    reason = (
        f"{what} is expected to take at most {number(hours)} hours: {trials(num_trials)}, {steps(num_steps)} to train "
        f"({speed(measured)}); {number(left)} hours are left."
    )
    numbers = {
        "num_trials": num_trials,
        "num_steps": num_steps,
        "hours": hours,
        "hours_left": left,
        **measured_numbers(measured),
    }
    return Decision(kind="cost", phase=phase, reason=reason, numbers=json_safe(numbers))


def cut_round_1(
    config: StudyConfig,
    move: OpenPhase,
    measured: Measured,
    *,
    production: int | None,
    opened_with: Callable[[int], Move],
) -> OpenPhase | GiveUp:
    """Round 1 with as many points as fit beside later rounds of one seed; with five, if it is to be without them.

    `opened_with` opens it with fewer points: what is told of it is what runs.
    """
    each, asked = move.plan.max_train_steps, config.round_1.num_trials
    measured, later = _at_a_time(config, measured), one_seed_steps(config, each, production=production)
    num_values = len(scientific_values(config.given_space))
    few = min(asked, max(MIN_FEASIBLE_TRIALS, num_values))
    tries = [(n, later) for n in range(asked, few - 1, -1)] + [(n, 0.0) for n in range(few, 0, -1)]
    num_points = next((n for n, beside in tries if fits(config, measured, n * each + beside, longest=each)), 0)
    if num_points == 0:
        reason = (
            f"limits.study_hours={number(config.limits.study_hours or 0)} does not hold one trial of {steps(each)} "
            f"({speed(measured)}); raise it, or give the study a shorter budget; "
            + goes_on(config, "limits.study_hours")
        )
        return give_up(reason, phase=move.plan.name, numbers=measured_numbers(measured))
    if num_points == asked:
        return move
    what = f"{move.plan.name} has {num_points} of {asked} points"
    what += f", too few for each of the {num_values} scientific values" if num_points < num_values else ""
    told = cut(move.plan.name, what, config, measured, num_steps=asked * each, longest=each)
    # A sampler that learns asks for the rest generation by generation, up to this number.
    told = replace(told, numbers={**told.numbers, "num_points": num_points})
    fewer = opened_with(num_points)
    assert isinstance(fewer, OpenPhase), "its budget holds a trial, however many there are"
    return replace(fewer, decisions=(*fewer.decisions, told))


def is_widening(move: object) -> bool:
    """Whether a move looks beyond an edge of the rates, in the sweep or in round 1."""
    return isinstance(move, AddTrials) and any(decision.kind == WIDENED for decision in move.decisions)


def cut_widening(config: StudyConfig, study: StudyRecord, move: AddTrials, measured: Measured) -> Decision | None:
    """The decision to leave a widening out, None if it fits beside the least of what follows it.

    That is five points of round 1, if they are still to come, and one trial of each later round: seeds and points go
    before it.
    """
    each = max((t.spec.max_train_steps for t in move.trials), default=study.phase(move.phase).plan.max_train_steps)
    num_steps = sum(trial.spec.max_train_steps for trial in move.trials) or move.num_points * each
    least = 0 if move.phase == ROUND_1 else min(config.round_1.num_trials, MIN_FEASIBLE_TRIALS) * each
    least += least_of_later_rounds(config, each, production=production_steps(study))
    if fits(config, measured, num_steps + least, longest=each):
        return None
    what = f"no rate joins {move.phase} beyond the edge that its best one lies on, where a better one may hide"
    told = cut(move.phase, what, config, measured, num_steps=num_steps, longest=each)
    return replace(told, numbers={**told.numbers, WIDENED: False})


def least_of_later_rounds(config: StudyConfig, before: int, *, production: int | None = None) -> int:
    """Updates of one trial of each later round after a budget of `before`: seeds and points go before these."""
    lengths = [before, *(length for _, length in expected_lengths(config, before, production=production))]
    return round(sum(after - trunk_steps(config, first) for first, after in pairwise(lengths)))


def is_widening_cut(study: StudyRecord, phase: str) -> bool:
    """Whether it was decided that a phase's rates are not widened, for want of hours."""
    return any((d.kind, d.phase) == (CUT, phase) and WIDENED in d.numbers for d in study.decisions)


def cut_joining(config: StudyConfig, study: StudyRecord, move: AddTrials, measured: Measured) -> Decision | None:
    """The decision that what an extension adds to an open round 1 stays out, None if it fits."""
    phase = study.phase(move.phase)
    each = phase.plan.max_train_steps
    num_steps = (len(move.trials) + move.num_points) * each
    if fits(config, measured, num_steps, longest=each):
        return None
    told = cut(move.phase, f"nothing more joins {move.phase}", config, measured, num_steps=num_steps, longest=each)
    # A sampler that learns asks for no more than it has.
    told = replace(told, numbers={**told.numbers, "num_points": num_drawn(study.decisions, phase)})
    return leave_out(told, move.phase)


def leave_out(told: Decision, name: str) -> Decision:
    """A cut that takes a whole phase, or what would join it, away: it is not asked for again (`is_left_out`)."""
    return replace(told, numbers={**told.numbers, LEFT_OUT: joined_name(name)})


def is_left_out(study: StudyRecord, name: str) -> bool:
    """Whether a phase, or what would join it, was left out for want of hours and nothing was extended since."""
    name = joined_name(name)
    for decision in reversed(study.decisions):
        if decision.kind == EXTENDED:
            return False
        if decision.kind == CUT and decision.numbers.get(LEFT_OUT) == name:
            return True
    return False


def cut_later_round(
    config: StudyConfig,
    study: StudyRecord,
    move: OpenPhase,
    measured: Measured,
    *,
    tries: Sequence[OpenPhase | Decision],
    beside: float = 0.0,
) -> OpenPhase | tuple[Decision, ...]:
    """A later round with the seeds, then the points, that fit `beside` the rounds after it, or else without them.

    `tries` are the rounds that `fewer` ask for, as they would open, so that what is told of it is what runs. The
    decision to leave it out if not even one trial fits; that and its own if what fits would measure nothing.
    """
    uncut, name = price_of(study, move, measured), move.plan.name
    for later in (beside, 0.0):
        for opened in tries:
            kept = price_of(study, opened, measured) if isinstance(opened, OpenPhase) else Price(steps=0, longest=0)
            if fits(config, measured, kept.steps + later, longest=kept.longest):
                if isinstance(opened, OpenPhase) and len(opened.trials) == len(move.trials):
                    return move
                what = f"{name} keeps no seed that is new"
                if isinstance(opened, OpenPhase):
                    what = f"{name} has {len(opened.trials)} of {len(move.trials)} trials, seeds cut before points"
                    what += ", beside one seed of the rounds after it" if later else ""
                told = cut(name, what, config, measured, num_steps=uncut.steps + later, longest=uncut.longest)
                if isinstance(opened, Decision):
                    return told, opened
                decided = [decision for decision in move.decisions if decision.phase != name]
                return replace(opened, decisions=(*decided, *opened.decisions, told))
    what = f"{name} is skipped" + (" with the rounds after it" if beside else "")
    return (cut(None, what, config, measured, num_steps=uncut.steps + beside, longest=uncut.longest),)


def fewer(asked: LaterRound) -> Iterator[LaterRound]:
    """A round with fewer and fewer seeds, then without its twin, then with fewer points."""
    for num_seeds in range(asked.num_seeds, 0, -1):
        yield asked.model_copy(update={"num_seeds": num_seeds})
    for num_trials in range(asked.num_trials, 0, -1):
        yield asked.model_copy(update={"num_seeds": 1, "lower_rate_twin": False, "num_trials": num_trials})


def end_out_of_time(config: StudyConfig, study: StudyRecord, *, sharing: str) -> ClosePhase | Conclude | GiveUp:
    """Close what is open, the latest phase first, then conclude with the best so far.

    Without anything that may answer, what is open stays so: giving up closes it, and more hours open it again.
    """
    opened = next((phase for phase in reversed(study.phases) if not phase.is_closed), None)
    hours = number(config.limits.study_hours or 0)
    if not any(phase.plan.kind in CANDIDATES and _may_answer(study, phase) for phase in study.phases):
        reason = (
            f"limits.study_hours={hours} were over before any trial of round 1 was evaluated; raise it, or "
            "let the sweep be shorter (budget.first_guess_steps, budget.max_steps); "
            + goes_on(config, "limits.study_hours")
        )
        return give_up(reason, phase=study.phases[-1].name)
    if opened is not None:
        return _close(config, study, opened)
    reason = f"limits.study_hours={hours} are over: the study ends with the best so far."
    ended = Decision(kind="out_of_time", reason=reason, numbers={"study_hours": config.limits.study_hours})
    move = conclude(study, sharing=sharing)
    return replace(move, decisions=(ended, *move.decisions))


def _may_answer(study: StudyRecord, phase: PhaseRecord) -> bool:
    """Whether a phase has a feasible trial, or one that is still open and was evaluated."""
    metric = phase.plan.eval.metric
    return bool(feasible(phase)) or any(
        study.curve(trial.trial, VALIDATION, metric) for trial in phase.trials if not trial.is_ended
    )


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


def _at_a_time(config: StudyConfig, measured: Measured) -> Measured:
    """A sampler that learns keeps no more workers busy than it proposes points at a time."""
    if not is_adaptive(config):
        return measured
    return replace(measured, num_workers=min(measured.num_workers, config.round_1.parallelism))


def speed(measured: Measured) -> str:
    """What a cost was made from, in words."""
    each = number(measured.seconds_per_step or 0.0)
    return f"measured {each} seconds per step, {measured.num_workers} at a time"


def measured_numbers(measured: Measured) -> dict[str, float | int | None]:
    """What a cost was made from, as its decision keeps it."""
    return {
        "seconds_per_step": measured.seconds_per_step,
        "num_workers": measured.num_workers,
        "elapsed_seconds": measured.elapsed_seconds,
        "measured_steps": measured.num_steps,
    }
