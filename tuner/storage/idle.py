"""Idle time: how long each worker of a study was up with nothing to train.

Rule: totals by worker's life, so that storing them twice is the same as once. What a killed worker had not stored yet
is lost, a few seconds at most.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import Connection, func, insert, select, update

from tuner.storage.database import Database
from tuner.storage.owners import Owner
from tuner.storage.studies import find
from tuner.storage.tables import idle


def record_idle(database: Database, study: str, worker: Owner, *, seconds: float) -> None:
    """Store a worker's idle seconds since it started, in place of what it stored before.

    Raises:
        StudyError: if there is no such study.
    """
    with database.write("record_idle") as connection:
        key = {"study_id": find(connection, study).id, "worker": json.dumps(asdict(worker), sort_keys=True)}
        own = [idle.c[name] == value for name, value in key.items()]
        if connection.execute(update(idle).where(*own).values(seconds=seconds)).rowcount == 0:
            connection.execute(insert(idle).values(**key, seconds=seconds))


def idle_seconds(connection: Connection, study: int) -> float:
    """Idle seconds of all workers that a study ever had."""
    total = func.coalesce(func.sum(idle.c.seconds), 0.0)
    return float(connection.execute(select(total).where(idle.c.study_id == study)).scalar_one())
