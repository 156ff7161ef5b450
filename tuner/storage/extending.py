"""Opens a study again with a config that asks for more: config, decisions and phases in one transaction.

Rule: only what giving up had closed is opened again; what the protocol closed stays closed.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from tuner.records import Decision
from tuner.storage import leases, moves
from tuner.storage.leases import Lease
from tuner.storage.store import Store
from tuner.storage.tables import phases, studies, trials


def extend(store: Store, lease: Lease, *, config: str, decisions: Sequence[Decision]) -> None:
    """Commit an extension; the answer so far stays until there is another one.

    Raises:
        LeaseLost: if another planner took over.
    """
    with store.database.write("extend") as connection:
        leases.fence(connection, lease)
        values = {"config": config, "state": "running", "reason": None}
        connection.execute(update(studies).where(studies.c.id == lease.id).values(**values))
        given_up = (phases.c.study_id == lease.id, phases.c.is_closed.is_(True), phases.c.verdict == "no answer")
        for phase in connection.execute(select(phases.c.id).where(*given_up)).scalars().all():
            _reopen(connection, phase)
        moves.add_decisions(connection, lease.id, decisions)


def _reopen(connection: Connection, phase: int) -> None:
    """Its unfinished trials wait again: at the end of their rung, or for a worker."""
    opened = {"is_closed": False, "verdict": None, "reason": None, "stop_step": None, "closed_at": None}
    connection.execute(update(phases).where(phases.c.id == phase).values(**opened))
    unfinished = (trials.c.phase_id == phase, trials.c.outcome == "stopped", trials.c.reason == "no answer")
    is_at_target = trials.c.last_step >= trials.c.max_train_steps
    for state, where in (("paused", is_at_target), ("waiting", ~is_at_target)):
        values = {"state": state, "outcome": None, "reason": None}
        connection.execute(update(trials).where(*unfinished, where).values(**values))
