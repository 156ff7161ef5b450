"""The answer: the best trial of all rounds, and the budget of the phase that produced it.

Points are compared by their means over seeds; a lucky seed does not make a point. Probes only measure: they are no
candidates. A lower-rate twin is one, and the answer says so when it wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from tuner.analysis.best_steps import sign_of
from tuner.analysis.seeds import pooled_seed_deviation
from tuner.analysis.transfer import point_key
from tuner.protocol.rounds import feasible
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import Answer, Conclude, Decision, PhaseRecord, StudyRecord, TrialRecord

CANDIDATES = ("round_1", "decay", "round_2")


def conclude(study: StudyRecord, *, sharing: str) -> Conclude:
    """Choose among the phases that may answer; at least one of them has a feasible trial."""
    phases = [phase for phase in study.phases if phase.plan.kind in CANDIDATES and feasible(phase)]
    sign = sign_of(phases[0].plan.eval.direction)
    leaders = [(phase, leader(phase)) for phase in phases]
    # Ties go to the shorter budget, and at the same budget to the later phase, which was replicated.
    winner, best = min(
        enumerate(leaders), key=lambda item: (sign * value_of(item[1][1]), item[1][0].plan.max_train_steps, -item[0])
    )[1]
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
    )
    decision = _decision(study, answer, winner, leaders=leaders)
    return Conclude(answer=answer, decisions=(decision,))


def leader(phase: PhaseRecord) -> TrialRecord:
    """The best trial of the point with the best mean over its seeds.

    A point that lacks a seed (a crash, a twin) is not paid for the luck of those it has: what a seed is worth, as
    measured on the points that have all of them, is taken off first.
    """
    sign, points = sign_of(phase.plan.eval.direction), replicas(phase)
    luck = _seed_effects(points.values())

    def score(trials: list[TrialRecord]) -> tuple[float, int]:
        return sign * fmean(value_of(t) - luck.get(t.spec.seed, 0.0) for t in trials), trials[0].number

    group = min(points.values(), key=score)
    return min(group, key=lambda trial: (sign * value_of(trial), trial.number))


def replicas(phase: PhaseRecord) -> dict[str, list[TrialRecord]]:
    """The feasible trials of a phase by point: one list per point, a trial per seed."""
    points: dict[str, list[TrialRecord]] = {}
    for trial in feasible(phase):
        points.setdefault(point_key(trial.params), []).append(trial)
    return points


def value_of(trial: TrialRecord) -> float:
    """The best value of a feasible trial."""
    assert trial.best_value is not None, "feasible trials have one"
    return trial.best_value


def twin(study: StudyRecord) -> TrialRecord | None:
    """Round 2's trial at a lower rate than its point's; None if there is none."""
    for decision in study.decisions:
        if decision.kind == "round_opened" and decision.numbers.get("twin") is not None:
            trials = next((phase.trials for phase in study.phases if phase.name == decision.phase), ())
            return next((trial for trial in trials if trial.number == decision.numbers["twin"]), None)
    return None


def _seed_effects(points: Iterable[list[TrialRecord]]) -> dict[int, float]:
    """How far each seed lies from the mean over seeds, on the points that have every seed; empty if none has."""
    groups = [{trial.spec.seed: value_of(trial) for trial in trials} for trials in points]
    seeds = {seed for group in groups for seed in group}
    complete = [group for group in groups if group.keys() == seeds]
    if not complete or len(complete) == len(groups):
        return {}
    means = {seed: fmean(group[seed] for group in complete) for seed in sorted(seeds)}
    middle = fmean(means.values())
    return {seed: mean - middle for seed, mean in means.items()}


def _decision(
    study: StudyRecord, answer: Answer, winner: PhaseRecord, *, leaders: list[tuple[PhaseRecord, TrialRecord]]
) -> Decision:
    round_2 = next((phase for phase in study.phases if phase.plan.kind == "round_2"), None)
    deviation = None
    if round_2 is not None:
        deviation = pooled_seed_deviation([[value_of(t) for t in group] for group in replicas(round_2).values()])
    reason = (
        f"{answer.metric} {number(answer.best_value)} at step {answer.best_step:,} of {answer.max_train_steps:,}, from "
        f"{winner.name} with {point(answer.params)}; {_about_round_2(winner, leaders, round_2=round_2)}"
        f"{_about_twin(answer, twin(study))}; "
        f"seed deviation {'unknown' if deviation is None else number(deviation)}; round 1's budget: {answer.verdict}."
    )
    numbers = {
        "best_by_phase": {phase.name: value_of(trial) for phase, trial in leaders},
        "seed_deviation": deviation,
        "max_train_steps": answer.max_train_steps,
        "best_trial": answer.best_trial,
    }
    return Decision(kind="answer", phase=winner.name, reason=reason, numbers=json_safe(numbers))


def _about_twin(answer: Answer, lower: TrialRecord | None) -> str:
    if lower is None:
        return ""
    rate = number(lower.spec.learning_rate)
    if lower.trial == answer.best_trial:
        return (
            f"; this is the lower-rate twin: at this length the best point does better at half its rate, {rate}, with "
            "one seed; rates below that were not tried"
        )
    if not lower.is_feasible or lower.best_value is None:
        return f"; the lower-rate twin ({rate}) was not feasible"
    return f"; the lower-rate twin ({rate}) did not win: {number(lower.best_value)}"


def _about_round_2(
    winner: PhaseRecord, leaders: list[tuple[PhaseRecord, TrialRecord]], *, round_2: PhaseRecord | None
) -> str:
    if round_2 is None:
        return "no round 2 was asked for"
    later = next((trial for phase, trial in leaders if phase.name == round_2.name), None)
    if later is None:
        return f"no trial of {round_2.name} was feasible"
    if winner.name == round_2.name:
        return f"{round_2.name} is the best of all rounds"
    return (
        f"longer training did not help: {round_2.name} reached {number(value_of(later))} "
        f"in {steps(round_2.plan.max_train_steps)}"
    )
