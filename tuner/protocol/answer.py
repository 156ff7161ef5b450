"""The answer: the best trial of all rounds, and the budget of the phase that produced it.

Points are compared by their means over seeds; a lucky seed does not make a point: a round that trained the best points
again at the same budget with further seeds stands for the one before. A budget that was too long answers only where the
shorter one is worse by more than chance. Probes only measure: they are no candidates. A lower-rate twin is one, and the
answer says so when it wins. Trials, steps and budgets are compared by the
weights themselves; only then may the best trial's averaged weights be the model that is handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuner.analysis.best_averaged import better_averaged_of
from tuner.analysis.best_steps import NUM_DEVIATIONS, noise, sign_of
from tuner.protocol.joined import ADDED, EXTENDED
from tuner.protocol.replicas import known_seed_deviation, leader, value_of
from tuner.protocol.rounds import feasible
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import VALIDATION, Answer, Conclude, Decision, PhaseRecord, StudyRecord, TrialRecord

CANDIDATES = ("round_1", "decay", "round_2")

Led = tuple[PhaseRecord, TrialRecord]
"""A phase with its leader: the best trial of its best point."""


def conclude(study: StudyRecord, *, sharing: str) -> Conclude:
    """Choose among the phases that may answer; at least one of them has a feasible trial."""
    phases = [phase for phase in study.phases if phase.plan.kind in CANDIDATES and feasible(phase)]
    leaders = [(phase, leader(phase)) for phase in phases]
    winner, best = _winner(study, leaders)
    judged = [phase for phase in study.phases if phase.plan.kind == "round_1" and phase.verdict is not None]
    answer = Answer(
        max_train_steps=winner.plan.max_train_steps,
        verdict=judged[-1].verdict or "undecided" if judged else "undecided",
        best_trial=best.trial,
        best_step=best.best_step if best.best_step is not None else best.last_step,
        best_value=value_of(best),
        metric=winner.plan.eval.metric,
        params=dict(best.params),
        sharing=sharing,
        averaged=better_averaged_of(study, best),
    )
    if study.answer is not None and study.answer.best_trial == answer.best_trial:
        if not _is_extended_since_answer(study):
            # A study that went on beyond its end for a frontier keeps its answer, as it was told then.
            return Conclude(answer=study.answer)
        # Its best steps are the same, and so are the test scores.
        kept = study.answer.averaged or answer.averaged
        answer = replace(answer, test_value=study.answer.test_value, averaged=kept)
    decision = _decision(study, answer, winner, leaders=leaders)
    return Conclude(answer=answer, decisions=(decision,))


def _winner(study: StudyRecord, leaders: Sequence[Led]) -> Led:
    """The best of the phases; ties go to the shorter budget, and at the same budget to the later phase."""
    sign = sign_of(leaders[0][0].plan.eval.direction)

    def best_of(led: Sequence[Led]) -> Led:
        return min(reversed(led), key=lambda item: (sign * value_of(item[1]), item[0].plan.max_train_steps))

    best = best_of([led for place, led in enumerate(leaders) if not _is_replicated(led[0], leaders[place + 1 :])])
    shorter = [led for led in leaders if _is_too_long_beside(study, best[0], led[0])]
    if shorter:
        found = best_of(shorter)
        if sign * (value_of(found[1]) - value_of(best[1])) <= _chance(study, *best):
            return found
    return best


def _is_replicated(phase: PhaseRecord, after: Sequence[Led]) -> bool:
    """Whether a later round has trained the best points of a phase again, at the same budget and with further seeds."""
    return any(
        later.plan.kind == "round_2"
        and later.is_closed
        and later.plan.max_train_steps == phase.plan.max_train_steps
        and len({trial.spec.seed for trial in feasible(later)}) > 1
        for later, _ in after
    )


def _is_too_long_beside(study: StudyRecord, best: PhaseRecord, later: PhaseRecord) -> bool:
    """Whether a later round is the smaller budget that a verdict of too long carried forward from that of the best."""
    if later.plan.kind != "round_2" or later.plan.max_train_steps >= best.plan.max_train_steps:
        return False
    return any(
        phase.verdict == "too long" and phase.plan.max_train_steps >= best.plan.max_train_steps
        for phase in study.phases
        if phase.plan.kind == "round_1"
    )


def _chance(study: StudyRecord, phase: PhaseRecord, best: TrialRecord) -> float:
    """What a budget must be ahead by to be better: a seed deviation, or the noise that "too long" was judged by."""
    noisy = NUM_DEVIATIONS * noise(study.curve(best.trial, VALIDATION, phase.plan.eval.metric))
    return max(known_seed_deviation(study) or 0.0, noisy)


def _is_extended_since_answer(study: StudyRecord) -> bool:
    kinds = [decision.kind for decision in study.decisions if decision.kind in (EXTENDED, "answer")]
    return kinds[-1:] == [EXTENDED]


def twins(study: StudyRecord) -> list[TrialRecord]:
    """The later rounds' trials at a lower rate than their point's, in the order of the rounds."""
    opened = (d for d in study.decisions if d.kind in ("round_opened", ADDED))
    numbers = {(d.phase, d.numbers.get("twin")) for d in opened}
    return [t for phase in study.phases for t in phase.trials if (phase.name, t.number) in numbers]


def _decision(study: StudyRecord, answer: Answer, winner: PhaseRecord, *, leaders: list[Led]) -> Decision:
    later, deviation = [phase for phase in study.phases if phase.plan.kind == "round_2"], known_seed_deviation(study)
    reason = (
        f"{answer.metric} {number(answer.best_value)} at step {answer.best_step:,} of {answer.max_train_steps:,}, from "
        f"{winner.name} with {point(answer.params)}; {_about_later(winner, leaders, later=later)}"
        f"{_about_twins(study, answer)}; "
        f"seed deviation {'unknown' if deviation is None else number(deviation)}; round 1's budget: {answer.verdict}"
        f"{_about_averaged(answer)}."
    )
    numbers = {
        "best_by_phase": {phase.name: value_of(trial) for phase, trial in leaders},
        "seed_deviation": deviation,
        "max_train_steps": answer.max_train_steps,
        "best_trial": answer.best_trial,
    }
    return Decision(kind="answer", phase=winner.name, reason=reason, numbers=json_safe(numbers))


def _about_averaged(answer: Answer) -> str:
    best = answer.averaged
    if best is None:
        return ""
    return (
        f"; its weights averaged over about {steps(best.horizon)} do better on validation, {number(best.value)} at "
        f"step {best.step:,}: they are the model"
    )


def _about_twins(study: StudyRecord, answer: Answer) -> str:
    """What the last twin came to, and which earlier one the answer goes back to."""
    lower, told = twins(study), ""
    won = [trial for trial in lower if trial.trial != answer.best_trial and trial.params == answer.params]
    if won:
        told = f"; its rate is that of the lower-rate twin of {won[0].phase}, which went on as a point of its own"
    if not lower:
        return told
    last, rate = lower[-1], number(lower[-1].spec.learning_rate)
    if last.trial == answer.best_trial:
        return (
            f"{told}; this is the lower-rate twin: at this length the best point does better at half its rate, {rate}, "
            "with one seed; rates below that were not tried"
        )
    if last in won:
        return told
    if not last.is_feasible or last.best_value is None:
        return f"{told}; the lower-rate twin ({rate}) was not feasible"
    return f"{told}; the lower-rate twin ({rate}) did not win: {number(last.best_value)}"


def _about_later(winner: PhaseRecord, leaders: list[Led], *, later: list[PhaseRecord]) -> str:
    """What the last of the later rounds came to."""
    if not later:
        return "no longer round was trained"
    last, sign = later[-1], sign_of(winner.plan.eval.direction)
    best = next((trial for phase, trial in leaders if phase.name == last.name), None)
    if best is None:
        return f"no trial of {last.name} was feasible"
    reached = f"{last.name} reached {number(value_of(best))} in {steps(last.plan.max_train_steps)}"
    if winner.name != last.name:
        is_longer = last.plan.max_train_steps > winner.plan.max_train_steps
        return f"longer training did not help: {reached}" if is_longer else f"shorter training was worse: {reached}"
    top, found = min(leaders, key=lambda led: (sign * value_of(led[1]), led[0].name != last.name))
    if top.name == last.name:
        return f"{last.name} is the best of all rounds"
    again = [phase.name for phase in later if _is_replicated(top, [(phase, found)])]
    if again:
        return (
            f"{again[-1]} trained the best points again with further seeds and stands for {top.name}, whose "
            f"{number(value_of(found))} is one seed's"
        )
    return (
        f"{top.name} reached {number(value_of(found))} in {steps(top.plan.max_train_steps)}, better by no "
        "more than chance: the shorter budget is enough"
    )
