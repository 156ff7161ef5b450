"""The best evaluation of a run's averaged weights, over horizons and steps.

Averages compete for the model that a study hands out, never for anything that it decides: the ranking of trials, their
best steps and the verdict on the budget are read from the curves of the weights themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from tuner.analysis.averages import averaged_split
from tuner.records import AveragedBest, Curve, Direction, EvalSpec, StudyRecord, TrialRecord


def best_averaged(curves: Mapping[int, Curve], direction: Direction) -> AveragedBest | None:
    """The best of the averages' curves by horizon; ties go to the earliest step, then to the shortest horizon.

    >>> best_averaged({50: ((10, 2.0), (20, 1.5)), 200: ((10, 1.5), (20, 1.5))}, "minimize")
    AveragedBest(horizon=200, step=10, value=1.5, test_value=None)
    """
    sign = 1 if direction == "minimize" else -1
    found = ((sign * value, step, horizon) for horizon, curve in curves.items() for step, value in curve)
    top = min(found, default=None)
    return None if top is None else AveragedBest(horizon=top[2], step=top[1], value=sign * top[0])


def best_averaged_of(study: StudyRecord, trial: TrialRecord) -> AveragedBest | None:
    """The best of a trial's averages; None if it has none."""
    spec = study.phase_of(trial).plan.eval
    return best_averaged(averaged_curves(study, trial.trial, spec), spec.direction)


def better_averaged_of(study: StudyRecord, trial: TrialRecord) -> AveragedBest | None:
    """The best of a trial's averages, if it is better on validation than the best of its own weights."""
    found = best_averaged_of(study, trial)
    if found is None or trial.best_value is None:
        return None
    direction = study.phase_of(trial).plan.eval.direction
    is_better = found.value < trial.best_value if direction == "minimize" else found.value > trial.best_value
    return found if is_better else None


def averaged_curves(study: StudyRecord, trial: int, spec: EvalSpec) -> dict[int, Curve]:
    """The objective of a trial's averages on validation, by horizon."""
    return {horizon: study.curve(trial, averaged_split(horizon), spec.metric) for horizon in spec.averaged_horizons}
