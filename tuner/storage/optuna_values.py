"""Optuna's tables by plain rows, where Optuna's own calls take milliseconds for each value of a curve.

Its `report` asks the database for each value whether it is there and commits it, and whoever asks it for a study's
trials gets every value of every curve. The rows written here are the very same; a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    String,
    cast,
    column,
    create_engine,
    insert,
    inspect,
    select,
    table,
)

from tuner.records import StudyRecord

COLUMNS = ("trial_id", "step", "intermediate_value", "intermediate_value_type")
VALUES = table("trial_intermediate_values", *(column(name) for name in COLUMNS))
STUDIES = table("studies", column("study_id"), column("study_name"))
TRIALS = table("trials", column("trial_id"), column("study_id"), column("state"))
ATTRIBUTES = table("trial_user_attributes", column("trial_id"), column("key"), column("value_json"))
FINITE = "FINITE"
"""How Optuna marks a value that is a number; ours all are."""
FINISHED = ("COMPLETE", "FAIL", "PRUNED")
TIMEOUT_SECONDS = 30
"""How long Optuna waits for a database that is locked."""
TRIAL_ATTRIBUTE = "tuner_trial"
"""User attribute of an Optuna trial: the id of our trial."""


@dataclass(frozen=True, slots=True)
class Twin:
    """What stands for one of our trials in Optuna's tables."""

    trial: int
    optuna_id: int
    is_finished: bool


def is_known_layout(bind: Engine | Connection) -> bool:
    """Whether Optuna's tables are those that are known here; of another release, only Optuna itself may write."""
    found = inspect(bind)
    known = (VALUES, STUDIES, TRIALS, ATTRIBUTES)
    if not all(found.has_table(each.name) for each in known):
        return False
    names = {each.name: {one["name"] for one in found.get_columns(each.name)} for each in known}
    is_read = all(set(each.columns.keys()) <= names[each.name] for each in known)
    return is_read and names[VALUES.name] == {*COLUMNS, "trial_intermediate_value_id"}


def make_tables(url: str, tables: MetaData) -> None:
    """Make in a SQLite database what Optuna would make, in one transaction.

    By itself SQLite commits each statement. Whoever was killed in between left a table without its index, which
    nobody makes later: two studies of one name, and an error at each use of them.
    """
    engine = create_engine(url, connect_args={"timeout": TIMEOUT_SECONDS}, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            tables.create_all(connection)
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def insert_values(engine: Engine, optuna_trial: int, values: Sequence[tuple[int, float]]) -> None:
    """Add values that the trial does not have yet, as (step, value)."""
    rows = [dict(zip(COLUMNS, (optuna_trial, step, value, FINITE), strict=True)) for step, value in values]
    if rows:
        with engine.begin() as connection:
            connection.execute(insert(VALUES), rows)


def twins(connection: Connection, study_name: str) -> list[Twin]:
    """The trials of an Optuna study that stand for ours, without their curves."""
    statement = (
        select(ATTRIBUTES.c.value_json, TRIALS.c.trial_id, cast(TRIALS.c.state, String).label("state"))
        .join(TRIALS, TRIALS.c.trial_id == ATTRIBUTES.c.trial_id)
        .join(STUDIES, STUDIES.c.study_id == TRIALS.c.study_id)
        .where(STUDIES.c.study_name == study_name, ATTRIBUTES.c.key == TRIAL_ATTRIBUTE)
        .order_by(TRIALS.c.trial_id)
    )
    rows = connection.execute(statement).all()
    return [Twin(json.loads(row.value_json), row.trial_id, row.state in FINISHED) for row in rows]


def is_mirrored(connection: Connection, record: StudyRecord) -> bool:
    """Whether every trial that was started has ended in Optuna's tables, so that a mirror would find nothing to do."""
    if not is_known_layout(connection):
        return False
    for phase in record.phases:
        started = {trial.trial for trial in phase.trials if trial.state != "waiting"}
        found = twins(connection, f"{record.name}/{phase.name}") if started else []
        if not started <= {twin.trial for twin in found if twin.is_finished}:
            return False
    return True
