"""Evaluations: the rows of every curve, and the numbers of a trial that follow from them.

Rule: `best_step`, `best_value`, `last_value`, `first_good_step` and `num_evals` are always computed anew from the rows,
so whatever changes the rows (a resume, a fork, a truncation) cannot leave them stale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from tuner.analysis.averages import averaged_split
from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION, Curve, EvalSpec, Evaluation, FitRule
from tuner.storage.tables import evals, trials


def insert_rows(connection: Connection, trial: int, rows: Iterable[Evaluation], *, eval_key: str) -> None:
    """Store measurements of a trial. A value that is not finite has no row."""
    values = [
        {
            "trial_id": trial,
            "global_step": row.global_step,
            "split": row.split,
            "metric": row.metric,
            "value": row.value,
            "eval_key": eval_key,
            "measured_by_trial": trial,
        }
        for row in rows
        if math.isfinite(row.value)
    ]
    if values:
        connection.execute(insert(evals), values)


def replace_test_rows(connection: Connection, trial: int, rows: Iterable[Evaluation]) -> None:
    """Store the test score of a trial, in place of an earlier one."""
    connection.execute(delete(evals).where(evals.c.trial_id == trial, evals.c.split == TEST))
    key = connection.execute(select(evals.c.eval_key).where(evals.c.trial_id == trial).limit(1)).scalar()
    insert_rows(connection, trial, [row for row in rows if row.split == TEST], eval_key=key or "")


def delete_beyond(connection: Connection, trial: int, step: int) -> None:
    """Drop the rows of a trial after `step`."""
    connection.execute(delete(evals).where(evals.c.trial_id == trial, evals.c.global_step > step))


def delete_up_to(connection: Connection, trial: int, step: int) -> None:
    """Drop the rows of a trial up to `step`, its test score excepted."""
    connection.execute(
        delete(evals).where(evals.c.trial_id == trial, evals.c.global_step <= step, evals.c.split != TEST)
    )


def keep_only(connection: Connection, trial: int, steps: Iterable[int]) -> None:
    """Drop rows that are not at the trial's own steps: the last step of an earlier, shorter target (D7)."""
    wanted = set(steps)
    extra = [step for step in _steps(connection, trial) if step not in wanted]
    if extra:
        connection.execute(
            delete(evals).where(evals.c.trial_id == trial, evals.c.split != TEST, evals.c.global_step.in_(extra))
        )


def copy_rows(connection: Connection, donor: int, *, to: int, steps: list[int]) -> None:
    """Give a fork its donor's curves at `steps`; who measured them is kept."""
    rows = connection.execute(
        select(evals).where(evals.c.trial_id == donor, evals.c.split != TEST, evals.c.global_step.in_(steps))
    )
    values = [{**row._mapping, "trial_id": to} for row in rows]
    if values:
        connection.execute(insert(evals), values)


def steps_measured(connection: Connection, trial: int, *, eval_key: str) -> frozenset[int]:
    """The steps at which a trial was evaluated exactly as `eval_key` says."""
    return frozenset(_steps(connection, trial, evals.c.eval_key == eval_key))


def first_fit(connection: Connection, trial: int, fit: FitRule, steps: Iterable[int]) -> int | None:
    """The first of `steps` at which the training sample was fitted."""
    wanted = set(steps)
    rows = connection.execute(
        select(evals.c.global_step)
        .where(
            evals.c.trial_id == trial,
            evals.c.split == TRAIN_SAMPLE,
            evals.c.metric == fit.metric,
            evals.c.value <= fit.at_most,
        )
        .order_by(evals.c.global_step)
    )
    return next((row.global_step for row in rows if row.global_step in wanted), None)


def curve(connection: Connection, trial: int, *, split: str, metric: str) -> Curve:
    """One curve of a trial, steps rising."""
    rows = connection.execute(
        select(evals.c.global_step, evals.c.value)
        .where(evals.c.trial_id == trial, evals.c.split == split, evals.c.metric == metric)
        .order_by(evals.c.global_step)
    )
    return tuple((row.global_step, row.value) for row in rows)


def objective(connection: Connection, trial: int, spec: EvalSpec) -> Curve:
    """The curve that decides the best step."""
    return curve(connection, trial, split=VALIDATION, metric=spec.metric)


def averaged(connection: Connection, trial: int, spec: EvalSpec) -> dict[int, Curve]:
    """The objective of a trial's averaged weights, by horizon."""
    return {
        horizon: curve(connection, trial, split=averaged_split(horizon), metric=spec.metric)
        for horizon in spec.averaged_horizons
    }


def summarise(connection: Connection, trial: int, spec: EvalSpec, *, is_final: bool = False) -> None:
    """Bring the trial's numbers up to date with its rows; the first good step only once the curve is whole."""
    from tuner.analysis.best_steps import best, first_good_step  # numpy stays unloaded where nothing is written

    values = objective(connection, trial, spec)
    top = best(values, spec.direction)
    connection.execute(
        update(trials)
        .where(trials.c.id == trial)
        .values(
            best_step=top[0] if top else None,
            best_value=top[1] if top else None,
            last_value=values[-1][1] if values else None,
            num_evals=len(values),
            first_good_step=first_good_step(values, spec.direction) if is_final else None,
        )
    )


def all_rows(connection: Connection, trial: int) -> tuple[Evaluation, ...]:
    """Every measurement of a trial, by step, split and metric."""
    rows = connection.execute(
        select(evals.c.global_step, evals.c.split, evals.c.metric, evals.c.value)
        .where(evals.c.trial_id == trial)
        .order_by(evals.c.global_step, evals.c.split, evals.c.metric)
    )
    return tuple(Evaluation(row.global_step, row.split, row.metric, row.value) for row in rows)


def _steps(connection: Connection, trial: int, *conditions: ColumnElement[bool]) -> list[int]:
    rows = connection.execute(
        select(func.distinct(evals.c.global_step)).where(evals.c.trial_id == trial, evals.c.split != TEST, *conditions)
    )
    return [row[0] for row in rows]
