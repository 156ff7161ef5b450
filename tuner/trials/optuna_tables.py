"""Optuna's tables, made all at once or not at all."""

from __future__ import annotations

from optuna.storages._rdb.models import BaseModel
from sqlalchemy import create_engine

TIMEOUT_SECONDS = 30
"""As long as Optuna's own connections wait for a locked database."""


def make_tables(url: str) -> None:
    """Make what Optuna's `RDBStorage` would make in a SQLite database, in one transaction.

    By itself SQLite commits each statement. Whoever was killed in between left a table without its index, which
    nobody makes later: two studies of one name, and an error at each use of them.
    """
    engine = create_engine(url, connect_args={"timeout": TIMEOUT_SECONDS}, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            BaseModel.metadata.create_all(connection)
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()
