"""The answer: the best trial of all rounds, and the budget of the phase that produced it.

Points are compared by their means over seeds; a lucky seed does not make a point. Probes only measure: they are no
candidates. A lower-rate twin is one, and the answer says so when it wins. Trials, steps and budgets are compared by the
weights themselves; only then may the best trial's averaged weights be the model that is handed out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean

from tuner.analysis.best_averaged import better_averaged_of
from tuner.analysis.best_steps import sign_of
from tuner.analysis.seeds import pooled_seed_deviation
from tuner.analysis.transfer import point_key
from tuner.protocol.joined import ADDED, EXTENDED
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


def _is_extended_since_answer(study: StudyRecord) -> bool:
    kinds = [decision.kind for decision in study.decisions if decision.kind in (EXTENDED, "answer")]
    return kinds[-1:] == [EXTENDED]


def leader(phase: PhaseRecord) -> TrialRecord:
    """The best trial of the point with the best mean over its seeds."""
    sign, group = sign_of(phase.plan.eval.direction), ranked_points(phase)[0]
    return min(group, key=lambda trial: (sign * value_of(trial), trial.number))


def ranked_points(phase: PhaseRecord) -> list[list[TrialRecord]]:
    """The feasible trials of each point, points by their mean over seeds, the best first; ties by number.

    A point that lacks a seed (a crash, a twin) is not paid for the luck of those it has: what a seed is worth, as
    measured on the points that have all of them, is taken off first.
    """
    sign, points = sign_of(phase.plan.eval.direction), replicas(phase)
    luck = _seed_effects(points.values())

    def score(trials: list[TrialRecord]) -> tuple[float, int]:
        return sign * fmean(value_of(t) - luck.get(t.spec.seed, 0.0) for t in trials), trials[0].number

    return sorted(points.values(), key=score)


def replicas(phase: PhaseRecord) -> dict[str, list[TrialRecord]]:
    """The feasible trials of a phase by point: one list per point, a trial per seed.

    A point that the search drew twice is one run, not two seeds: its first trial stands for it.
    """
    points: dict[str, dict[int, TrialRecord]] = {}
    for trial in feasible(phase):
        points.setdefault(point_key(trial.params), {}).setdefault(trial.spec.seed, trial)
    return {point: list(by_seed.values()) for point, by_seed in points.items()}


def paired_replicas(earlier: PhaseRecord, later: PhaseRecord) -> dict[str, tuple[list[TrialRecord], list[TrialRecord]]]:
    """Points that two phases share: their trials in each, those of the seeds that both have, in the same order.

    A point went on because its first seed did well: beside further seeds that luck would look like what length costs.
    Points without a common seed keep all that they have.
    """
    after, pairs = replicas(later), {}
    for key, firsts in replicas(earlier).items():
        if key in after:
            seconds = {trial.spec.seed: trial for trial in after[key]}
            common = [trial for trial in firsts if trial.spec.seed in seconds]
            pairs[key] = (common, [seconds[trial.spec.seed] for trial in common]) if common else (firsts, after[key])
    return pairs


def value_of(trial: TrialRecord) -> float:
    """The best value of a feasible trial."""
    assert trial.best_value is not None, "feasible trials have one"
    return trial.best_value


def twins(study: StudyRecord) -> list[TrialRecord]:
    """The later rounds' trials at a lower rate than their point's, in the order of the rounds."""
    opened = (d for d in study.decisions if d.kind in ("round_opened", ADDED))
    numbers = {(d.phase, d.numbers.get("twin")) for d in opened}
    return [t for phase in study.phases for t in phase.trials if (phase.name, t.number) in numbers]


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
    later = [phase for phase in study.phases if phase.plan.kind == "round_2"]
    deviation = pooled_seed_deviation(
        [value_of(trial) for trial in group] for phase in later for group in replicas(phase).values()
    )
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


def _about_later(
    winner: PhaseRecord, leaders: list[tuple[PhaseRecord, TrialRecord]], *, later: list[PhaseRecord]
) -> str:
    """What the last of the longer rounds came to."""
    if not later:
        return "no longer round was asked for"
    last = later[-1]
    best = next((trial for phase, trial in leaders if phase.name == last.name), None)
    if best is None:
        return f"no trial of {last.name} was feasible"
    if winner.name == last.name:
        return f"{last.name} is the best of all rounds"
    return (
        f"longer training did not help: {last.name} reached {number(value_of(best))} "
        f"in {steps(last.plan.max_train_steps)}"
    )
