"""Opens the store for the commands that only read, and loads a study as it stands now.

Rule: a study is `running` only while its planner is alive; one that says so without a planner was interrupted. A trial
is `running` only while its worker is alive; without one it waits for the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.records import StudyRecord, StudyState

if TYPE_CHECKING:
    from tuner.storage.store import Store


@contextmanager
def opened_store(home: Path, storage: str | None) -> Iterator[Store]:
    """The store of a home folder that must exist; closed afterwards.

    Raises:
        HomeError: if there are no studies there, or the database cannot be used.
    """
    from tuner.cli.console import note
    from tuner.storage.patience import Patience
    from tuner.storage.store import Store

    store = Store.open(storage, home, create=False, patience=Patience(on_wait=note))
    try:
        yield store
    finally:
        store.close()


def load_study_record(store: Store, name: str, *, with_curves: bool = False) -> StudyRecord:
    """One consistent picture of a study, with its state and its trials' corrected by who holds them."""
    study = store.load(name, with_curves=with_curves)
    if any(trial.state == "running" for trial in study.trials()):
        study = _without_abandoned(store, study)
    return replace(study, state=live_state(study.state, is_running=store.is_running(name)))


def _without_abandoned(store: Store, study: StudyRecord) -> StudyRecord:
    from tuner.storage.leases import abandoned
    from tuner.storage.studies import find

    with store.database.read() as connection:
        gone = abandoned(connection, find(connection, study.name))
    phases = tuple(
        replace(phase, trials=tuple(replace(t, state="waiting") if t.trial in gone else t for t in phase.trials))
        for phase in study.phases
    )
    return replace(study, phases=phases)


def live_state(stored: StudyState, *, is_running: bool) -> StudyState:
    """The state to show: the lease of the planner outranks what was stored."""
    if is_running:
        return "running"
    return "interrupted" if stored == "running" else stored
