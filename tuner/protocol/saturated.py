"""A sweep whose training metric stopped moving: its level takes the place of a threshold, the rest goes as for a fit.

Looked at when a rung has ended, over the last doubling of the best rate. The budget is the first step at which the
fastest rate, as a mean of as many evaluations as its noise asks for, is within 2 % of the level (PROTOCOL 2, item 4).
"""

from __future__ import annotations

from tuner.analysis.best_steps import MEAN_WINDOW
from tuner.analysis.saturation import Movement, movement, trailing_means
from tuner.analysis.steps_to_fit import steps_to_fit
from tuner.protocol.kinds import kind_decision
from tuner.protocol.standings import DOMINATED, DROPPED, Standing, Standings, learning_rate_of, train_curve, watched
from tuner.protocol.words import number, steps
from tuner.records import Decision, FitRule, Outcome, PhaseRecord, StudyRecord, TrialRecord

SATURATED = Outcome("complete", "saturated")


def best_movement(study: StudyRecord, phase: PhaseRecord) -> tuple[TrialRecord, Movement] | None:
    """The rate with the lowest level on the longest rung, and how it moved; None where no curve is long enough."""
    rung = max(trial.spec.max_train_steps for trial in phase.trials)
    metric = watched(phase.plan)
    seen = [
        (trial, moved)
        for trial in phase.trials
        if trial.state == "paused"
        and trial.last_step == rung
        and (moved := movement(train_curve(study, trial, metric), rung)) is not None
    ]
    return min(seen, key=lambda pair: (pair[1].level, pair[0].number)) if seen else None


def saturated(phase: PhaseRecord, leader: TrialRecord, moved: Movement) -> Decision:
    """The sweep has saturated, with the level that stands for a threshold from here on."""
    metric, rung = watched(phase.plan), leader.last_step
    reason = (
        f"train {metric} of the best rate, {number(learning_rate_of(leader))}, stopped moving before it was perfect: "
        f"{number(moved.before)} at {steps(rung // 2)}, {number(moved.level)} at {rung:,}, a gain of "
        f"{number(moved.gain)}, less than 2 % ({number(moved.needed)}; noise alone gives up to "
        f"{number(moved.chance)}); "
        "regularisation will hardly help a model that cannot fit its training set"
    )
    if phase.plan.fit is not None:
        reason += "; workload_kind: not_compute_bound would go on to budget.max_steps"
    numbers = {
        "metric": metric,
        "level": moved.level,
        "at_most": moved.arrived_at,
        "before": moved.before,
        "gain": moved.gain,
        "needed": moved.needed,
        "chance": moved.chance,
        "window": moved.window,
        "rung": rung,
        "learning_rate": learning_rate_of(leader),
    }
    return kind_decision("saturated", reason, numbers)


def goal_of(decision: Decision) -> FitRule:
    """The level of a saturated sweep as the threshold that it stands for: as decided, never measured again."""
    return FitRule(str(decision.numbers["metric"]), float(decision.numbers["at_most"]))


def saturated_standings(study: StudyRecord, phase: PhaseRecord, decided: Decision) -> Standings | None:
    """How the rates stand by when they came to the level; None if the level was reached by none."""
    goal, window = goal_of(decided), int(decided.numbers.get("window", MEAN_WINDOW))
    curves = {trial.trial: trailing_means(train_curve(study, trial, goal.metric), window) for trial in phase.trials}
    arrived = {id_: step for id_, curve in curves.items() if (step := steps_to_fit(curve, goal.at_most)) is not None}
    judged = [trial for trial in phase.trials if trial.trial in arrived and not _is_out(trial)]
    if not judged:
        return None
    fastest = min(arrived[trial.trial] for trial in judged)
    everyone = tuple(
        Standing(
            trial=trial,
            learning_rate=learning_rate_of(trial),
            outcome=_outcome(trial, arrived.get(trial.trial), fastest=fastest),
            curve=curves[trial.trial],
        )
        for trial in phase.trials
    )
    tied = [s for s in everyone if s.outcome == SATURATED and arrived[s.trial.trial] == fastest]
    at = {s.trial.trial: dict(s.curve)[fastest] for s in tied}
    tied.sort(key=lambda standing: (at[standing.trial.trial], standing.trial.number))
    return Standings(fastest_step=fastest, everyone=everyone, tied=tuple(tied))


def _is_out(trial: TrialRecord) -> bool:
    """Infeasible and crashed rates are no candidates, however low they were before."""
    return trial.outcome is not None and trial.outcome.kind in ("infeasible", "crashed")


def _outcome(trial: TrialRecord, arrived_at: int | None, *, fastest: int) -> Outcome:
    if trial.outcome is not None and _is_out(trial):
        return trial.outcome
    if arrived_at is not None:
        return SATURATED
    return DOMINATED if trial.last_step >= fastest else DROPPED
