"""Intermediate values of a trial in Optuna's tables, all in one transaction.

Optuna's own `report` asks the database for each value whether it is there and commits it: milliseconds a value, most of
the planner's time on long curves. The rows written here are the very same; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, column, insert, inspect, table

COLUMNS = ("trial_id", "step", "intermediate_value", "intermediate_value_type")
VALUES = table("trial_intermediate_values", *(column(name) for name in COLUMNS))
FINITE = "FINITE"
"""How Optuna marks a value that is a number; ours all are."""


def is_known_layout(engine: Engine) -> bool:
    """Whether Optuna's table is the one that is known here; of another release, only Optuna itself may write."""
    found = {each["name"] for each in inspect(engine).get_columns(VALUES.name)}
    return found == {*COLUMNS, "trial_intermediate_value_id"}


def insert_values(engine: Engine, optuna_trial: int, values: Sequence[tuple[int, float]]) -> None:
    """Add values that the trial does not have yet, as (step, value)."""
    rows = [dict(zip(COLUMNS, (optuna_trial, step, value, FINITE), strict=True)) for step, value in values]
    if rows:
        with engine.begin() as connection:
            connection.execute(insert(VALUES), rows)
