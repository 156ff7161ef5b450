"""Leases: who may write to a study (its planner) or a trial (its worker), until when, and under which epoch (D4).

Rule: every write names its lease, and `fence` refuses it unless that lease is still the row's own. The epoch grows with
each new owner, so a worker that was given up for dead cannot write even if it comes back.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Table, select, update

from tuner.errors import LeaseLost, StudyError
from tuner.storage import attempts
from tuner.storage.clock import as_text, now
from tuner.storage.owners import Owner
from tuner.storage.tables import studies, trials

__all__ = ["LEASE_SECONDS", "Lease", "Owner", "acquire_planner", "fence", "is_alive", "release", "renew", "take"]

LEASE_SECONDS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write: to a study's plan (`planner`, by the study's id) or to a trial (by the trial's id)."""

    kind: Literal["planner", "trial"]
    id: int
    epoch: int
    owner: Owner


FREE = {"lease_owner": None, "lease_expires": None, "lease_since": None}
"""What a row holds while nobody owns it; its epoch stays."""


def acquire_planner(connection: Connection, study: Row[Any], owner: Owner) -> Lease:
    """Make `owner` the one planner of a study.

    Trials whose workers are provably dead go back to waiting: no planner saw them die, so that counts as no crash (D6).

    Raises:
        StudyError: if another planner is alive.
    """
    at = now(connection)
    if is_alive(study, at):
        holder = owner_of(study)
        raise StudyError(
            f"study {study.name!r} is being run by pid {holder.pid} on {holder.hostname} since {study.lease_since}; "
            f"wait for it or stop it; `tuner status {study.name}` shows it"
        )
    for row in connection.execute(select(trials).where(trials.c.study_id == study.id, trials.c.state == "running")):
        if owner_of(row).is_provably_dead():
            attempts.end(connection, row.id, epoch=row.lease_epoch, how="died")
            connection.execute(update(trials).where(trials.c.id == row.id).values(state="waiting", **FREE))
    return take(connection, study, kind="planner", owner=owner, at=at)


def take(connection: Connection, row: Row[Any], *, kind: Literal["planner", "trial"], owner: Owner, at: float) -> Lease:
    """Compare-and-set: the row's next epoch belongs to `owner`.

    Raises:
        LeaseLost: if the row's epoch moved since it was read.
    """
    table = _table(kind)
    state = {"state": "running"} if kind == "trial" else {}
    done = connection.execute(
        update(table)
        .where(table.c.id == row.id, table.c.lease_epoch == row.lease_epoch)
        .values(
            lease_epoch=row.lease_epoch + 1,
            lease_expires=at + LEASE_SECONDS,
            lease_owner=json.dumps(asdict(owner)),
            lease_since=as_text(at),
            **state,
        )
    )
    if done.rowcount != 1:
        raise LeaseLost(f"{kind} {row.id} was taken by another in the same moment")
    return Lease(kind=kind, id=row.id, epoch=row.lease_epoch + 1, owner=owner)


def fence(connection: Connection, lease: Lease) -> Row[Any]:
    """The row that a lease gives the right to write to.

    Raises:
        LeaseLost: if the lease was taken over, or given back.
    """
    table = _table(lease.kind)
    row = connection.execute(select(table).where(table.c.id == lease.id)).one_or_none()
    if row is None or row.lease_epoch != lease.epoch or row.lease_owner is None:
        found = "it is gone" if row is None else f"its epoch is {row.lease_epoch}"
        raise LeaseLost(f"the lease of {lease.kind} {lease.id} (epoch {lease.epoch}) is no longer held: {found}")
    return row


def renew(connection: Connection, lease: Lease, *, seconds: int) -> None:
    """Put the expiry `seconds` from now, by the database's clock.

    Raises:
        LeaseLost: if the lease was taken over.
    """
    fence(connection, lease)
    table = _table(lease.kind)
    connection.execute(update(table).where(table.c.id == lease.id).values(lease_expires=now(connection) + seconds))


def release(connection: Connection, lease: Lease) -> None:
    """Give a lease back; a running trial waits for its next worker.

    Raises:
        LeaseLost: if the lease was taken over.
    """
    fence(connection, lease)
    if lease.kind == "trial":
        attempts.end(connection, lease.id, epoch=lease.epoch, how="released")
        connection.execute(update(trials).where(trials.c.id == lease.id).values(state="waiting", **FREE))
    else:
        connection.execute(update(studies).where(studies.c.id == lease.id).values(**FREE))


def is_alive(row: Row[Any], at: float) -> bool:
    """Whether the row is leased to an owner that may still write: not expired, and not provably dead."""
    if row.lease_owner is None or row.lease_expires < at:
        return False
    return not owner_of(row).is_provably_dead()


def abandoned(connection: Connection, study: Row[Any]) -> set[int]:
    """Trials of a study that are stored as running, though nobody trains them: they wait for their next worker."""
    at = now(connection)
    running = select(trials).where(trials.c.study_id == study.id, trials.c.state == "running")
    return {int(row.id) for row in connection.execute(running) if not is_alive(row, at)}


def owner_of(row: Row[Any]) -> Owner:
    """The owner of a leased row."""
    return Owner(**json.loads(row.lease_owner))


def _table(kind: str) -> Table:
    return studies if kind == "planner" else trials
