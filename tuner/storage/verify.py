"""Verifies a stored study: every invariant of what our tables and files promise, with counts.

Rule: it reads one consistent moment and writes nothing, so it is safe beside running workers.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import inspect as inspect_database
from sqlalchemy import select

from tuner.storage import inspection
from tuner.storage.check_curves import check_curves
from tuner.storage.check_files import check_checkpoints, count_unreferenced
from tuner.storage.check_pins import check_pins
from tuner.storage.check_trials import check_bill, check_decisions, check_leases, check_phases, check_trials
from tuner.storage.findings import Check
from tuner.storage.inspection import Inspection
from tuner.storage.store import Store
from tuner.storage.tables import checkpoints


def inspect(store: Store, name: str) -> Inspection:
    """Everything that is stored of a study, at one moment.

    Raises:
        StudyError: if there is no such study.
    """
    with store.database.read() as connection:
        return inspection.fetch(connection, name)


def verify(store: Store, study: Inspection) -> tuple[Check, ...]:
    """Every invariant but the mirror's (see `trials.mirror_check`), in the order in which they build on each other."""

    def still_stored(ids: Collection[int]) -> set[int]:
        with store.database.read() as connection:
            return set(connection.execute(select(checkpoints.c.id).where(checkpoints.c.id.in_(ids))).scalars())

    return (
        check_phases(study),
        check_trials(study),
        check_curves(study),
        check_checkpoints(study, store.paths, still_stored=still_stored),
        count_unreferenced(study, store.paths),
        check_pins(study),
        check_leases(study),
        check_decisions(study),
        check_bill(study),
    )


def has_optuna_tables(store: Store) -> bool:
    """Whether anything was mirrored yet; asked before Optuna is opened, which would make its tables."""
    with store.database.read() as connection:
        return inspect_database(connection).has_table("trial_user_attributes")
