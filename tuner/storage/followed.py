"""A study as its planner follows it: read at each move, but only what has changed is fetched and made a record anew.

Rule: a trial whose row is the same has the same curve. Whatever writes evaluations changes their trial's row in the
same transaction; a test score, which decides nothing, is the one exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tuner.records import Curve, StudyRecord, TrialRecord
from tuner.storage import loading
from tuner.storage.database import Database

MAX_SINGLE = 500
"""With more changed trials than this, all are fetched: databases take only so many names in a query."""


class FollowedStudy:
    """One study of a database, for one reader."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name
        self._states: dict[int, tuple[Any, ...]] = {}
        self._records: dict[int, TrialRecord] = {}
        self._curves: dict[int, Mapping[tuple[str, str], Curve]] = {}

    def load(self) -> StudyRecord:
        """The whole study with all curves at one moment, as `Store.load` gives it.

        Raises:
            StudyError: if there is none of that name.
        """
        with self._database.read() as connection:
            states = loading.fetch_states(connection, self._name)
            changed = [state[0] for state in states if self._states.get(state[0]) != state]
            only = changed if len(changed) <= MAX_SINGLE else None
            rows = loading.fetch(connection, self._name, with_curves=False, only_trials=only)
            evals = loading.fetch_evals(connection, rows.study.id, only=only) if changed else ()
        for trial in changed:
            self._curves.pop(trial, None)
        self._curves |= loading.curves_of(evals)
        self._records |= {record.trial: record for record in loading.records_of(rows)}
        self._states = {state[0]: state for state in states}
        record = loading.build(rows, [self._records[trial] for trial in self._states])
        return replace(record, curves=MappingProxyType(dict(self._curves)))
