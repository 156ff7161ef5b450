"""The budget sweep: which constant rate fitted the training set first, and whether it lies on the grid's edge."""

from __future__ import annotations

from tuner.analysis.steps_to_fit import TOLERANCE, steps_to_fit
from tuner.protocol.kinds import decided_kind, is_compute_bound, is_saturated
from tuner.protocol.saturated import goal_of, saturated_standings
from tuner.protocol.standings import Standings, learning_rate_of, standings, train_curve, watched
from tuner.records import Curve, FitRule, PhaseRecord, TrialRecord
from tuner.report.figures.sweep import RateFate, RatePoint, SweepPicture, draw_sweep
from tuner.report.section import Drawing, Section, Table
from tuner.report.source import Source
from tuner.report.wording import outcome_text


def sweep_sections(source: Source) -> list[Section]:
    """The sweep's section, once it has measured something."""
    phase = source.sweep
    if phase is None or not any(trial.num_evals for trial in phase.trials):
        return []
    found = _standings(source, phase)
    picture = _picture(source, phase, found)
    if not picture.points:
        return []
    claim = _claim(source, phase, found)
    return [
        Section(
            title="Budget sweep",
            claim=claim,
            evidence=_evidence(source, phase),
            drawings=(Drawing(name="sweep", figure=draw_sweep(picture), alt=claim),),
            tables=(_table(source, phase),),
            caveat="The fastest rate favours high rates, and perfect fit is measured without regularisation: this is "
            "the first candidate for the budget, not the answer. Steps to fit are known to one evaluation interval.",
            tone="open" if found is None else "plain",
        )
    ]


def _goal(source: Source, phase: PhaseRecord) -> FitRule | None:
    """What the rates raced to: the level at which the sweep saturated, or its threshold; None if there is neither."""
    decided = decided_kind(source.study)
    return goal_of(decided) if decided is not None and is_saturated(source.study) else phase.plan.fit


def _standings(source: Source, phase: PhaseRecord) -> Standings | None:
    goal = _goal(source, phase)
    if goal is None:
        return None
    decided = decided_kind(source.study)
    if decided is not None and is_saturated(source.study):
        return saturated_standings(source.study, phase, decided)
    return standings(source.study, phase, goal)


def _claim(source: Source, phase: PhaseRecord, found: Standings | None) -> str:
    if is_compute_bound(source.study) and phase.reason:
        return phase.reason
    fit = _goal(source, phase)
    if fit is None:
        return f"Train {watched(phase.plan)} has not come to rest at any rate{'' if phase.is_closed else ' so far'}."
    goal = f"train {fit.metric} ≤ {fit.at_most:.4g}"
    if is_saturated(source.study):
        goal += ", within 2 % of the level where it saturates"
    if found is None:
        return f"No rate reached {goal}." if phase.is_closed else f"No rate has reached {goal} so far."
    edge = "inside the grid" if found.edge is None else f"on the {found.edge} edge of the grid"
    rate, length = found.fastest.learning_rate, source.lengths().text(found.fastest_step)
    return f"Learning rate {rate:.4g} was the first to reach {goal}, after {length}; it lies {edge}."


def _evidence(source: Source, phase: PhaseRecord) -> tuple[str, ...]:
    told = [decision.reason for decision in source.study.decisions if decision.phase == phase.name]
    is_told = any(phase.reason in reason for reason in told) if phase.reason else True
    if not is_told and phase.reason is not None:
        told.append(phase.reason)
    return (*told, *_nearby(source, phase))


def _nearby(source: Source, phase: PhaseRecord) -> tuple[str, ...]:
    """How much the budget owes to the threshold: the measurements that the decision on the budget kept."""
    decided = [d for d in source.study.decisions if d.kind == "budget" and d.phase == phase.name]
    found = decided[-1].numbers.get("nearby_thresholds") if decided else None
    if not isinstance(found, list | tuple):
        return ()
    told = []
    for entry in found:
        length, rate = entry.get("steps_to_fit"), entry.get("learning_rate")
        reached = f"{source.lengths().text(length)}, by learning rate {rate:.4g}" if length else "not reached so far"
        told.append(f"≤ {entry['at_most']:.4g}: {reached}")
    return (f"Steps to fit at the threshold ± {TOLERANCE:.0%}: {'; '.join(told)}".replace("%", " %"),)


def _picture(source: Source, phase: PhaseRecord, found: Standings | None) -> SweepPicture:
    fit, metric = _goal(source, phase), watched(phase.plan)
    curves = {trial.trial: train_curve(source.study, trial, metric) for trial in phase.trials}
    if found is not None:
        curves |= {standing.trial.trial: standing.curve for standing in found.everyone}
    points = tuple(
        RatePoint(
            rate=learning_rate_of(trial),
            step=_steps_to(fit, curves[trial.trial]) or trial.last_step,
            fate=_fate(trial, curves[trial.trial], fit=fit, found=found),
            curve=curves[trial.trial],
        )
        for trial in phase.trials
        # A rate that blew up before its first evaluation has no curve, and is a point of the grid all the same.
        if curves[trial.trial] or (trial.outcome is not None and trial.outcome.kind == "infeasible")
    )
    at_most = None if fit is None else fit.at_most
    return SweepPicture(metric=metric, at_most=at_most, is_saturated=is_saturated(source.study), points=points)


def _steps_to(goal: FitRule | None, curve: Curve) -> int | None:
    return None if goal is None else steps_to_fit(curve, goal.at_most)


def _fate(trial: TrialRecord, curve: Curve, *, fit: FitRule | None, found: Standings | None) -> RateFate:
    if trial.outcome is not None and trial.outcome.kind == "infeasible":
        return "infeasible"
    if found is not None and trial.trial == found.fastest.trial.trial:
        return "fastest"
    if _steps_to(fit, curve) is not None:
        return "fitted"
    return "not fitted" if trial.is_ended else "unfinished"


def _table(source: Source, phase: PhaseRecord) -> Table:
    fit, found, metric = _goal(source, phase), _standings(source, phase), watched(phase.plan)
    judged = {} if found is None else {standing.trial.trial: standing.curve for standing in found.everyone}
    rows = []
    for trial in sorted(phase.trials, key=learning_rate_of):
        curve = train_curve(source.study, trial, metric)
        last = curve[-1][1] if curve else None
        fitted = _steps_to(fit, judged.get(trial.trial, curve))
        rows.append((learning_rate_of(trial), fitted, trial.last_step, last, outcome_text(trial), trial.trial))
    columns = ("learning rate", "steps to fit", "last step", f"last train {metric}", "outcome", "trial")
    return Table(name="sweep", title="Rates of the sweep", columns=columns, rows=tuple(rows))
