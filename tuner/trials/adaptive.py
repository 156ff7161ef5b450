"""TPE and GP proposals as a pure function of stored rows: asking again gives the same points (D3).

Each proposal comes from a fresh sampler seeded by H(study seed, phase, number), on an in-memory study rebuilt from the
generations that have ended. Points of one generation see each other as running, so that they spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial

from tuner.config.scales import place, share_of
from tuner.config.schema import Dimension
from tuner.config.spaces import at_point, exists, in_order, is_same, setting_of
from tuner.records import Direction, Params, TrialRecord, Value
from tuner.trials.outcomes import sampler_end
from tuner.trials.search import point_seed

SAMPLERS: dict[str, type[TPESampler] | type[GPSampler]] = {"tpe": TPESampler, "gp": GPSampler}


def adaptive_points(
    sampler: str, space: Mapping[str, Dimension], numbers: Sequence[int], *, seed: tuple[int, str], past: Past
) -> list[dict[str, Value]]:
    """One generation: a point for each of `numbers`, in that order; `seed` is the study's with the phase's name."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=past.direction)
    for trial in past.told():
        labels = at_point(space, trial.params)
        if labels.keys() <= trial.params.keys() and _is_searched(trial, space, labels=labels):
            study.add_trial(_rebuilt(trial, space, labels=labels, worst=past.worst()))
    points = []
    for number in numbers:
        study.sampler = _fresh(sampler, point_seed(*seed, number))
        points.append(_asked(study.ask(), space))
    return points


def _is_searched(trial: TrialRecord, space: Mapping[str, Dimension], *, labels: Mapping[str, str]) -> bool:
    """Whether a point lies in the space: one of a user's beyond it would be told at a place that is not its own."""
    return all(_lies_in(space[label], trial.params[name]) for name, label in labels.items())


def _lies_in(dimension: Dimension, value: Value) -> bool:
    if dimension.choices is not None:
        return any(is_same(value, choice) for choice in dimension.choices)
    assert isinstance(value, int | float)
    assert dimension.low is not None
    assert dimension.high is not None
    return dimension.low <= value <= dimension.high


def _asked(trial: optuna.Trial, space: Mapping[str, Dimension]) -> dict[str, Value]:
    """One point: each dimension that exists is suggested after those that its conditions ask for."""
    point: dict[str, Value] = {}
    for label in in_order(space):
        dimension = space[label]
        if not exists(dimension, point):
            continue
        if dimension.choices is not None:
            share: float = trial.suggest_categorical(label, range(len(dimension.choices)))
        else:
            share = trial.suggest_float(label, 0.0, 1.0)
        point[setting_of(label)] = _value(dimension, share)
    return dict(sorted(point.items()))


class Past:
    """The trials of the generations that have ended, as a sampler may see them."""

    def __init__(self, trials: Sequence[TrialRecord], direction: Direction) -> None:
        assert all(trial.is_ended for trial in trials), "a generation sees only complete earlier ones"
        self._trials, self.direction = sorted(trials, key=lambda trial: trial.number), direction

    def told(self) -> list[TrialRecord]:
        """Those that say something about their point, by number: not the crashed ones."""
        return [trial for trial in self._trials if sampler_end(trial, worst=0.0) is not None]

    def worst(self) -> float:
        """The worst value of a feasible trial, which stands for what an infeasible one has not."""
        values = [trial.best_value for trial in self._trials if trial.is_feasible and trial.best_value is not None]
        return (max if self.direction == "minimize" else min)(values, default=0.0)


def _fresh(sampler: str, seed: int) -> BaseSampler:
    # The first points are Halton's: no sampler starts up by itself.
    return SAMPLERS[sampler](seed=seed % 2**32, n_startup_trials=1)


def _distribution(dimension: Dimension) -> BaseDistribution:
    """Shares of the range in the searched scale: Optuna has no `1 - x` in log scale. Choices go by their index."""
    if dimension.choices is not None:
        return CategoricalDistribution(range(len(dimension.choices)))
    return FloatDistribution(0.0, 1.0)


def _value(dimension: Dimension, share: float) -> Value:
    return dimension.choices[int(share)] if dimension.choices is not None else place(dimension, share)


def _share(dimension: Dimension, value: Value) -> float:
    if dimension.choices is not None:
        return next(index for index, choice in enumerate(dimension.choices) if is_same(value, choice))
    assert isinstance(value, int | float)
    return min(max(share_of(dimension, value), 0.0), 1.0)


def _rebuilt(
    trial: TrialRecord,
    space: Mapping[str, Dimension],
    *,
    labels: Mapping[str, str],
    worst: float,
) -> FrozenTrial:
    end = sampler_end(trial, worst=worst)
    assert end is not None
    params: Params = trial.params
    return create_trial(
        state=end.state,
        value=end.value,
        params={label: _share(space[label], params[name]) for name, label in labels.items()},
        distributions={label: _distribution(space[label]) for label in labels.values()},
        constraints={"infeasible": end.constraint},
    )
