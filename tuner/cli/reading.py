"""Opens the store for the commands that only read, and loads a study as it stands now.

Rule: a study is `running` only while its planner is alive; one that says so without a planner was interrupted.
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
    """One consistent picture of a study, with its state corrected by the planner's lease."""
    study = store.load(name, with_curves=with_curves)
    return replace(study, state=live_state(study.state, is_running=store.is_running(name)))


def live_state(stored: StudyState, *, is_running: bool) -> StudyState:
    """The state to show: the lease of the planner outranks what was stored."""
    if is_running:
        return "running"
    return "interrupted" if stored == "running" else stored
