"""How a trial leaves its worker: paused at a rung, or ended with an outcome (D6).

Rule: an ended trial has an outcome, no lease, and numbers that agree with its rows.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from tuner.records import EvalSpec, Outcome
from tuner.storage import attempts, evaluations
from tuner.storage.leases import FREE, Lease
from tuner.storage.rows import plan_of
from tuner.storage.tables import phases, trials


def pause(connection: Connection, lease: Lease) -> None:
    """The trial reached its target; the protocol may raise it."""
    attempts.end(connection, lease.id, epoch=lease.epoch, how="paused")
    connection.execute(update(trials).where(trials.c.id == lease.id).values(state="paused", **FREE))


def end(connection: Connection, trial: int, outcome: Outcome, *, weights_digest: str | None) -> None:
    """Give a trial its outcome. The digest of a stopped trial's weights means nothing, and is not kept."""
    evaluations.summarise(connection, trial, objective_of(connection, trial), is_final=True)
    connection.execute(
        update(trials)
        .where(trials.c.id == trial)
        .values(
            state="ended",
            outcome=outcome.kind,
            reason=outcome.reason,
            weights_digest=None if outcome.kind == "stopped" else weights_digest,
            **FREE,
        )
    )


def crash(connection: Connection, trial: int, *, reason: str) -> None:
    """End a trial that could not be trained; the reason is one line."""
    first_line = reason.strip().splitlines()[0][:500]
    end(connection, trial, Outcome("crashed", first_line), weights_digest=None)


def objective_of(connection: Connection, trial: int) -> EvalSpec:
    """What the trial's phase measures."""
    plan = connection.execute(
        select(phases.c.plan).join(trials, trials.c.phase_id == phases.c.id).where(trials.c.id == trial)
    ).scalar_one()
    return plan_of(plan).eval


def first_fit(connection: Connection, study: int, *, phase: str) -> int | None:
    """The earliest step at which a trial of a phase fitted."""
    step: int | None = connection.execute(
        select(func.min(trials.c.last_step))
        .join(phases, phases.c.id == trials.c.phase_id)
        .where(
            phases.c.study_id == study,
            phases.c.name == phase,
            trials.c.outcome == "complete",
            trials.c.reason == "fitted",
        )
    ).scalar()
    return step
