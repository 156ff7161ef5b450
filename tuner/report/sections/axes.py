"""Axis plots of all searched hyperparameters, and whether the best point leans on an edge of the search."""

from __future__ import annotations

from tuner.config.spaces import at_point, exists, setting_of
from tuner.protocol.joined import joined_name
from tuner.records import TrialRecord
from tuner.report.figures.axes import AxisPanel, AxisPoint, draw_axes
from tuner.report.search_edges import edges_of
from tuner.report.section import Drawing, Section
from tuner.report.source import Source
from tuner.report.wording import value_text


def axis_sections(source: Source) -> list[Section]:
    """One section with a panel per searched hyperparameter that the rounds have tried."""
    trials = [trial for phase in source.rounds for trial in phase.trials if trial.outcome is not None]
    shown = [trial for trial in trials if trial.outcome and trial.outcome.kind in ("complete", "infeasible")]
    panels = [panel for label in source.space if (panel := _panel(source, label, shown)).points]
    if not panels or not any(point.value is not None for panel in panels for point in panel.points):
        return []
    plan = source.rounds[0].plan.eval
    figure = draw_axes(
        tuple(panels), metric=plan.metric, direction=plan.direction, phases=tuple(phase.name for phase in source.rounds)
    )
    return [
        Section(
            title="Hyperparameters",
            claim=_claim(source),
            drawings=(
                Drawing(
                    name="axes", figure=figure, alt="Best value of every trial against each searched hyperparameter"
                ),
            ),
            caveat="Each panel shows one axis of points that differ in all axes: a cloud without a slope may still "
            "hide an effect. Longer rounds start from the better points of shorter ones.",
        )
    ]


def _claim(source: Source) -> str:
    best = source.best_trial()
    if best is None:
        return "No trial is best yet."
    leaning = edges_of(source.space, best.params)
    at = ", ".join(f"{name}={value_text(best.params[name])}" for name in at_point(source.space, best.params))
    if not leaning:
        return f"The best point ({at}) lies inside the search space on every axis."
    told = ", ".join(f"{name} at its {edge} edge" for name, edge in leaning.items())
    return f"The best point ({at}) leans on the search space: {told}. A wider range may hold a better one."


def _panel(source: Source, label: str, trials: list[TrialRecord]) -> AxisPanel:
    dimension, best, name = source.space[label], source.best_trial(), setting_of(label)
    edges = None if dimension.low is None or dimension.high is None else (dimension.low, dimension.high)
    points = tuple(
        AxisPoint(
            x=_place(trial.params[name]),
            value=trial.best_value if trial.is_feasible else None,
            phase=joined_name(trial.phase),
            is_best=best is not None and trial.trial == best.trial,
        )
        for trial in trials
        if trial.params.get(name) is not None and exists(dimension, trial.params)
    )
    return AxisPanel(name=label, scale=dimension.scale, edges=edges, points=points)


def _place(value: object) -> float | str:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
