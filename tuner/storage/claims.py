"""Which trial a worker may take up, and what becomes of a trial whose worker failed or died (D4, D6).

Rule: a trial has one owner at a time. A death counts against it only if a living planner saw its worker die alone;
three deaths in a row without a new checkpoint end it as crashed. Preemption, expiry and group kills never count.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Row, select, update

from tuner.records import TrialState
from tuner.storage import attempts, endings, trunks
from tuner.storage.clock import now
from tuner.storage.leases import FREE, Lease, fence, is_alive, owner_of, take
from tuner.storage.owners import Owner
from tuner.storage.rows import Claim, plan_of, trial_of
from tuner.storage.tables import phases, studies, trials

MAX_ATTEMPTS = 3
"""Deaths in a row, without a new checkpoint between them, that end a trial as crashed."""

_LEASED: tuple[Column[Any], ...] = (
    *(trials.c[name] for name in ("id", "study_id", "phase_id", "state", "spec")),
    *(trials.c[name] for name in ("num_deaths", "lease_epoch", "lease_expires", "lease_owner")),
    phases.c.plan,
)
"""What a claim looks at."""


def claim(connection: Connection, study: Row[Any], owner: Owner, *, share: bool) -> Claim | None:
    """Lease the first trial of the open phases that waits or whose owner is gone; None if there is none.

    With `share`, those that others will start from come first, and their dependants wait for them (see `trunks`).
    """
    at = now(connection)
    rows = _open_trials(connection, study.id)
    running = [row for row in rows if row.state == "running" and is_alive(row, at)]
    alive = {row.id for row in running}
    free = [row for row in rows if row.id not in alive]
    for row in trunks.in_order(connection, study.id, free=free, running=running) if share else free:
        if row.state == "running" and _bury(connection, row, at) == "ended":
            continue
        lease = take(connection, row, kind="trial", owner=owner, at=at)
        fresh = connection.execute(select(trials).where(trials.c.id == row.id)).one()
        phase = connection.execute(select(phases).where(phases.c.id == row.phase_id)).one()
        return Claim(study=study.name, trial=trial_of(fresh, phase.name), lease=lease, phase=plan_of(phase.plan))
    return None


def fail(connection: Connection, lease: Lease, reason: str, *, is_final: bool) -> TrialState:
    """An exception in training: back to waiting, or ended as crashed after too many, or at once if it `is_final`.

    Raises:
        LeaseLost: if the lease was taken over.
    """
    row = fence(connection, lease)
    attempts.end(connection, row.id, epoch=lease.epoch, how="failed")
    if is_final:
        endings.crash(connection, row.id, reason=reason)
        return "ended"
    return _count_death(connection, row, reason)


def note_death(connection: Connection, lease: Lease, pid: int, reason: str) -> int | None:
    """The planner saw a worker of this host die: count it against the trial that it held, and return that trial.

    Raises:
        LeaseLost: if the planner's lease was taken over.
    """
    fence(connection, lease)
    held = connection.execute(select(trials).where(trials.c.study_id == lease.id, trials.c.state == "running"))
    for row in held.all():
        owner = owner_of(row)
        if owner.pid == pid and owner.is_provably_dead():
            attempts.end(connection, row.id, epoch=row.lease_epoch, how="died")
            _count_death(connection, row, reason)
            return int(row.id)
    return None


def _open_trials(connection: Connection, study: int) -> list[Row[Any]]:
    rows = connection.execute(
        select(*_LEASED)
        .join(phases, phases.c.id == trials.c.phase_id)
        .where(trials.c.study_id == study, phases.c.is_closed.is_(False), trials.c.state.in_(("waiting", "running")))
        .order_by(phases.c.ordinal, trials.c.number)
    )
    return list(rows)


def _bury(connection: Connection, row: Row[Any], at: float) -> TrialState:
    """The owner is gone. It counts as a crash only if it is provably dead while the planner that started it lives.

    That one may see it a moment later, when the trial is another's already.
    """
    attempts.end(connection, row.id, epoch=row.lease_epoch, how="died")
    study = connection.execute(select(studies).where(studies.c.id == row.study_id)).one()
    owner = owner_of(row)
    if owner.is_provably_dead() and is_alive(study, at) and owner.is_child_of(owner_of(study)):
        return _count_death(connection, row, "its worker process died")
    return "waiting"


def _count_death(connection: Connection, row: Row[Any], reason: str) -> TrialState:
    num_deaths = row.num_deaths + 1
    connection.execute(update(trials).where(trials.c.id == row.id).values(num_deaths=num_deaths))
    if num_deaths >= MAX_ATTEMPTS:
        endings.crash(connection, row.id, reason=f"{num_deaths} times without a new checkpoint: {reason}")
        return "ended"
    connection.execute(update(trials).where(trials.c.id == row.id).values(state="waiting", **FREE))
    return "waiting"
