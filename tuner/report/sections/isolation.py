"""The study's question: each scientific value by the best point that was found for it."""

from __future__ import annotations

from tuner.protocol.joined import joined_name
from tuner.report.figures.isolation import IsolationPanel, IsolationPoint, draw_isolation
from tuner.report.isolations import RoundIsolation, claim, conditions, deciding, is_decided, isolations, trials_of
from tuner.report.section import Drawing, Section, Table
from tuner.report.source import Source
from tuner.report.wording import number, value_text

COLUMNS = (
    *("round", "hyperparameter", "value", "trials", "infeasible", "best trial", "best value", "seeds"),
    *("behind the best", "in standard deviations"),
)


def isolation_sections(source: Source) -> list[Section]:
    """One section with a panel per scientific hyperparameter, once a trial of round 1 has ended."""
    found = isolations(source.config, source.study)
    panels = tuple(_panel(rounds) for rounds in found.values())
    if not any(point.value is not None for panel in panels for point in panel.points):
        return []
    last = [deciding(rounds) for rounds in found.values()]
    plan, told = last[0].phase.plan.eval, " ".join(claim(each) for each in last)
    figure = draw_isolation(
        panels, metric=plan.metric, direction=plan.direction, phases=tuple(phase.name for phase in source.rounds)
    )
    names = ", ".join(found)
    return [
        Section(
            title=f"The question: {names}",
            claim=told,
            evidence=_evidence(last),
            drawings=(
                Drawing(
                    name="isolation",
                    figure=figure,
                    alt=f"Best validation {plan.metric} of every trial by {names}. {told}",
                ),
            ),
            tables=(
                Table(
                    name="isolation",
                    title="Each value by its best point",
                    columns=COLUMNS,
                    rows=tuple(row for rounds in found.values() for each in rounds for row in _rows(each)),
                ),
            ),
            caveat=_caveat(source, last),
            tone="plain" if all(map(is_decided, last)) else "open",
        )
    ]


def _panel(rounds: list[RoundIsolation]) -> IsolationPanel:
    name, decided = rounds[0].isolation.name, deciding(rounds)
    best = {value.best_trial for value in decided.isolation.values}
    values = dict.fromkeys(value_text(value.value) for each in rounds for value in each.isolation.values)
    tops = {value_text(value.value): value.best_value for value in decided.isolation.values}
    points = tuple(
        IsolationPoint(
            x=value_text(trial.params[name]),
            value=trial.best_value if trial.is_feasible else None,
            phase=joined_name(trial.phase),
            is_best=trial.trial in best,
        )
        for each in rounds
        for trial in trials_of(each.phase)
        if name in trial.params
    )
    return IsolationPanel(name=name, values=tuple(values), best=tuple(map(tops.get, values)), points=points)


def _evidence(last: list[RoundIsolation]) -> tuple[str, ...]:
    deviation = last[0].seed_deviation
    known = "unknown, nothing was replicated" if deviation is None else f"{number(deviation)}, pooled over all rounds"
    counts = [
        f"{value_text(value.value)} {value.num_trials}"
        + (f" ({value.num_infeasible} infeasible)" if value.num_infeasible else "")
        for value in last[0].isolation.values
    ]
    trials = f"Trials in {last[0].phase.name} by {last[0].isolation.name}: {', '.join(counts)}"
    return (f"Seed deviation: {known}", trials)


def _rows(each: RoundIsolation) -> list[tuple[object, ...]]:
    return [
        (
            each.phase.name,
            each.isolation.name,
            value_text(value.value),
            value.num_trials,
            value.num_infeasible,
            value.best_trial,
            value.best_value,
            value.num_seeds,
            value.behind,
            value.deviations,
        )
        for value in each.isolation.values
        if value.num_trials
    ]


def _caveat(source: Source, last: list[RoundIsolation]) -> str:
    told = dict.fromkeys(
        condition for each in last for condition in conditions(source.config, source.study, found=each)
    )
    told_now = "; ".join(told)
    return (
        "Each value stands for the best point found for it, its nuisance hyperparameters tuned by equally many trials "
        f"of round 1; more of them may change the order. Conditional on this: {told_now}."
    )
