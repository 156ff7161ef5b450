"""A study as its planner follows it: read at each move, but only what has changed is fetched and made a record anew.

Rule: a trial whose row is the same has the same curve. Whatever writes evaluations changes their trial's row in the
same transaction; a test score, which decides nothing, is the one exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from tuner.records import Curve, StudyRecord, TrialRecord
from tuner.storage import loading
from tuner.storage.database import Database
from tuner.storage.rows import trial_of

MAX_SINGLE = 500
"""With more changed trials than this, the curves of all are fetched: databases take only so many names in a query."""


class FollowedStudy:
    """One study of a database, for one reader."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name
        self._trials: dict[int, tuple[Row[Any], TrialRecord]] = {}
        self._curves: dict[int, Mapping[tuple[str, str], Curve]] = {}

    def load(self) -> StudyRecord:
        """The whole study with all curves at one moment, as `Store.load` gives it.

        Raises:
            StudyError: if there is none of that name.
        """
        with self._database.read() as connection:
            rows = loading.fetch(connection, self._name, with_curves=False)
            changed = [row.id for row in rows.trials if self._is_new(row)]
            only = changed if len(changed) <= MAX_SINGLE else None
            evals = loading.fetch_evals(connection, rows.study.id, only=only) if changed else ()
        for trial in changed:
            self._trials.pop(trial, None)
            self._curves.pop(trial, None)
        self._curves |= loading.curves_of(evals)
        record = loading.build(rows, trial=self._record)
        return replace(record, curves=MappingProxyType(dict(self._curves)))

    def _is_new(self, row: Row[Any]) -> bool:
        known = self._trials.get(row.id)
        return known is None or known[0] != row

    def _record(self, row: Row[Any], phase: str) -> TrialRecord:
        if row.id not in self._trials:
            self._trials[row.id] = row, trial_of(row, phase)
        return self._trials[row.id][1]
