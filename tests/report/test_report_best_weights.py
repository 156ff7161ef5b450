"""Averaged weights compete for the model that is handed out, and for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from sample_studies import quickstart_study

from tuner.analysis.averages import averaged_split
from tuner.analysis.best_averaged import best_averaged
from tuner.protocol.answer import conclude
from tuner.records import AveragedBest, Curve, StudyRecord


def with_averages(study: StudyRecord, curves: Mapping[int, Mapping[int, Curve]]) -> StudyRecord:
    """The study as if all its phases had measured averages; `curves[trial][horizon]`."""
    horizons = tuple(sorted({horizon for found in curves.values() for horizon in found}))
    phases = tuple(
        replace(
            phase,
            plan=replace(phase.plan, eval=replace(phase.plan.eval, averaged_horizons=horizons)),
        )
        for phase in study.phases
    )
    rows = {trial: dict(found) for trial, found in study.curves.items()}
    for trial, found in curves.items():
        metric = study.phases[0].plan.eval.metric
        rows.setdefault(trial, {}).update({(averaged_split(h), metric): curve for h, curve in found.items()})
    return replace(study, phases=phases, curves=rows, answer=None)


def test_the_best_average_is_the_best_of_all_horizons_and_steps() -> None:
    curves = {3: ((10, 2.0), (20, 1.0)), 20: ((10, 1.0), (20, 1.0)), 60: ()}
    assert best_averaged(curves, "minimize") == AveragedBest(horizon=20, step=10, value=1.0)
    assert best_averaged(curves, "maximize") == AveragedBest(horizon=3, step=10, value=2.0)
    assert best_averaged({60: ()}, "minimize") is None


@pytest.mark.parametrize(("gain", "weights"), [(0.01, "averaged_50"), (0.0, "raw"), (-0.01, "raw")])
def test_the_model_is_the_better_of_the_best_trials_weights_and_nothing_else_moves(gain: float, weights: str) -> None:
    study = replace(quickstart_study(), answer=None)
    plain = conclude(study, sharing="exact").answer
    rival = next(t for t in study.trials() if t.trial != plain.best_trial and t.is_feasible)
    # Another trial's average may be the best of all: trials are ranked by their own weights.
    averages = {
        plain.best_trial: {50: ((plain.best_step, plain.best_value - gain),), 200: ((10, 1e9),)},
        rival.trial: {50: ((10, -1e9),)},
    }
    move = conclude(with_averages(study, averages), sharing="exact")
    assert move.answer.weights == weights
    assert replace(move.answer, averaged=None) == plain
    assert ("averaged over about 50 steps" in move.decisions[0].reason) == (weights != "raw")
