"""Isolation: one scientific hyperparameter at a time, each value represented by the best point found for it.

Whatever else differs between two values' best points was tuned for each of them (the playbook's isolation plot). The
difference is told in seed deviations, which are unknown until something was replicated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from tuner.analysis.best_steps import sign_of
from tuner.analysis.intervals import student_quantile
from tuner.analysis.transfer import point_key
from tuner.records import Direction, TrialRecord, Value

CERTAINTY = 0.975
"""Two-sided 95 %."""


def deciding_deviations(freedom: int) -> float:
    """From how many of its standard deviations on a difference counts: more where few replicas tell what those are."""
    return student_quantile(CERTAINTY, freedom)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedValue:
    """One value of a scientific hyperparameter: its trials, and its best point by the mean over seeds.

    `behind` is how far that point lies behind the best of all, never negative; `deviations` is the same in standard
    deviations of the difference, None while the seed deviation is unknown or zero. `best_trial` is None where no trial
    was feasible.
    """

    value: Value
    num_trials: int
    num_infeasible: int
    num_feasible: int
    best_trial: int | None = None
    best_value: float | None = None
    num_seeds: int = 0
    behind: float | None = None
    deviations: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """A scientific hyperparameter with its values, in the order of the search space."""

    name: str
    values: tuple[IsolatedValue, ...]

    @property
    def ranked(self) -> tuple[IsolatedValue, ...]:
        """The values that have a feasible trial, the best first."""
        found = [value for value in self.values if value.behind is not None]
        return tuple(sorted(found, key=lambda value: value.behind or 0.0))


def isolate(
    name: str,
    values: Sequence[Value],
    trials: Iterable[TrialRecord],
    *,
    direction: Direction,
    seed_deviation: float | None,
) -> Isolation:
    """Compare the values of one scientific hyperparameter over the trials of one round that have it.

    Values that were tried beside `values` come after them.
    """
    groups: dict[str, list[TrialRecord]] = {_key(value): [] for value in values}
    known = {_key(value): value for value in values}
    for trial in trials:
        if name in trial.params:
            known.setdefault(_key(trial.params[name]), trial.params[name])
            groups.setdefault(_key(trial.params[name]), []).append(trial)
    sign = sign_of(direction)
    best = {key: point for key, group in groups.items() if (point := _best_point(group, sign))}
    top = min(best.values(), key=lambda point: sign * _mean(point), default=None)
    return Isolation(
        name=name,
        values=tuple(
            _isolated(known[key], group, point=best.get(key), top=top, sign=sign, seed_deviation=seed_deviation)
            for key, group in groups.items()
        ),
    )


def _isolated(
    value: Value,
    group: list[TrialRecord],
    *,
    point: list[TrialRecord] | None,
    top: list[TrialRecord] | None,
    sign: float,
    seed_deviation: float | None,
) -> IsolatedValue:
    infeasible = sum(trial.outcome is not None and trial.outcome.kind == "infeasible" for trial in group)
    counted = IsolatedValue(
        value=value,
        num_trials=len(group),
        num_infeasible=infeasible,
        num_feasible=sum(_is_judged(trial) for trial in group),
    )
    if point is None or top is None:
        return counted
    behind = sign * (_mean(point) - _mean(top))
    deviations = None
    if seed_deviation and point is not top:
        deviations = behind / (seed_deviation * sqrt(1 / len(point) + 1 / len(top)))
    return IsolatedValue(
        value=value,
        num_trials=counted.num_trials,
        num_infeasible=infeasible,
        num_feasible=counted.num_feasible,
        best_trial=min(point, key=lambda trial: (sign * _value(trial), trial.number)).trial,
        best_value=_mean(point),
        num_seeds=len(point),
        behind=behind,
        deviations=deviations,
    )


def _best_point(group: list[TrialRecord], sign: float) -> list[TrialRecord] | None:
    """The trials, one per seed, of the point with the best mean; ties by number."""
    points: dict[str, list[TrialRecord]] = {}
    for trial in group:
        if _is_judged(trial):
            points.setdefault(point_key(trial.params), []).append(trial)
    return min(points.values(), key=lambda point: (sign * _mean(point), point[0].number), default=None)


def _is_judged(trial: TrialRecord) -> bool:
    return trial.is_feasible and trial.best_value is not None


def _mean(point: list[TrialRecord]) -> float:
    return fmean(_value(trial) for trial in point)


def _value(trial: TrialRecord) -> float:
    assert trial.best_value is not None, "only judged trials have a point"
    return trial.best_value


def _key(value: Value) -> str:
    """1 and true are different values, 1 and 1.0 are one."""
    return json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
