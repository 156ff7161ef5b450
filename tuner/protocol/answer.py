"""The answer: the best trial of all rounds, and the budget of the phase that produced it.

Within round 2 points are compared by their mean over seeds; a lucky seed does not make a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tuner.analysis.best_steps import sign_of
from tuner.analysis.seeds import pooled_seed_deviation
from tuner.analysis.transfer import point_key
from tuner.protocol.rounds import feasible
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import Answer, Conclude, Decision, PhaseRecord, TrialRecord


def conclude(rounds: Sequence[PhaseRecord], *, round_2: PhaseRecord | None, sharing: str) -> Conclude:
    """Choose among the closed rounds; at least one of `rounds` has a feasible trial."""
    phases = [phase for phase in (*rounds, *([round_2] if round_2 else [])) if feasible(phase)]
    sign = sign_of(phases[0].plan.eval.direction)
    leaders = [(phase, leader(phase)) for phase in phases]
    # Ties go to the shorter budget, and at the same budget to the later phase, which was replicated.
    winner, best = min(
        enumerate(leaders), key=lambda item: (sign * value_of(item[1][1]), item[1][0].plan.max_train_steps, -item[0])
    )[1]
    judged = [phase for phase in rounds if phase.verdict is not None]
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
    decision = _decision(answer, winner, leaders=leaders, round_2=round_2)
    return Conclude(answer=answer, decisions=(decision,))


def leader(phase: PhaseRecord) -> TrialRecord:
    """The best trial of the point with the best mean over its seeds."""
    sign = sign_of(phase.plan.eval.direction)
    points = replicas(phase)
    group = min(points.values(), key=lambda trials: (sign * fmean(map(value_of, trials)), trials[0].number))
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


def _decision(
    answer: Answer,
    winner: PhaseRecord,
    *,
    leaders: list[tuple[PhaseRecord, TrialRecord]],
    round_2: PhaseRecord | None,
) -> Decision:
    deviation = None
    if round_2 is not None:
        deviation = pooled_seed_deviation([[value_of(t) for t in group] for group in replicas(round_2).values()])
    reason = (
        f"{answer.metric} {number(answer.best_value)} at step {answer.best_step:,} of {answer.max_train_steps:,}, from "
        f"{winner.name} with {point(answer.params)}; {_about_round_2(winner, leaders, round_2=round_2)}; "
        f"seed deviation {'unknown' if deviation is None else number(deviation)}; round 1's budget: {answer.verdict}."
    )
    numbers = {
        "best_by_phase": {phase.name: value_of(trial) for phase, trial in leaders},
        "seed_deviation": deviation,
        "max_train_steps": answer.max_train_steps,
        "best_trial": answer.best_trial,
    }
    return Decision(kind="answer", phase=winner.name, reason=reason, numbers=json_safe(numbers))


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
