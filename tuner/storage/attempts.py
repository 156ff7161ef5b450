"""Attempts: one row for each time a worker took up a trial, with the steps and seconds that it spent.

Rule: an attempt's numbers only say what was spent, never what the trial is worth; the bill is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, func, insert, select, update

from tuner.protocol.measured import Measured
from tuner.storage.clock import timestamp
from tuner.storage.tables import attempts, trials

ACCOUNTS = ("train", "eval", "checkpoint", "setup")

HowEnded = Literal["ended", "paused", "released", "failed", "died", "closed"]
"""ended, paused, released: by the worker. failed: an exception in training. died: found dead. closed: by its phase."""


def begin(connection: Connection, trial: int, *, epoch: int, from_step: int, owner: str) -> None:
    """Store a new attempt and count it."""
    connection.execute(
        insert(attempts).values(
            trial_id=trial,
            lease_epoch=epoch,
            from_step=from_step,
            to_step=from_step,
            started_at=timestamp(connection),
            owner=owner,
        )
    )
    connection.execute(update(trials).where(trials.c.id == trial).values(num_attempts=trials.c.num_attempts + 1))


def advance(connection: Connection, trial: int, *, epoch: int, to_step: int, seconds: Mapping[str, float]) -> None:
    """Store how far an attempt came and what it spent; totals, so that storing them twice is the same as once.

    Raises:
        ValueError: for an unknown account.
    """
    unknown = set(seconds) - set(ACCOUNTS)
    if unknown:
        raise ValueError(f"no such account of seconds: {', '.join(sorted(unknown))}; there are {', '.join(ACCOUNTS)}")
    connection.execute(
        update(attempts)
        .where(attempts.c.trial_id == trial, attempts.c.lease_epoch == epoch)
        .values(to_step=to_step, **{f"seconds_{account}": spent for account, spent in seconds.items()})
    )
    executed = select(func.coalesce(func.sum(attempts.c.to_step - attempts.c.from_step), 0)).where(
        attempts.c.trial_id == trial
    )
    connection.execute(update(trials).where(trials.c.id == trial).values(steps_executed=executed.scalar_subquery()))


def measured(connection: Connection, study: int) -> Measured:
    """Steps and seconds of all attempts of a study, those of its running trials included."""
    spent = [func.coalesce(func.sum(attempts.c[f"seconds_{account}"]), 0.0) for account in ACCOUNTS]
    row = connection.execute(
        select(func.coalesce(func.sum(attempts.c.to_step - attempts.c.from_step), 0), *spent)
        .join(trials, trials.c.id == attempts.c.trial_id)
        .where(trials.c.study_id == study)
    ).one()
    seconds = dict(zip(ACCOUNTS, row[1:], strict=True))
    return Measured(
        num_steps=row[0], worker_seconds=sum(seconds.values()), training_seconds=seconds["train"] + seconds["eval"]
    )


def elapsed_seconds(connection: Connection, study: int) -> float:
    """How long at least one worker was at work on a study: interruptions do not count."""
    spent = sum((attempts.c[f"seconds_{account}"] for account in ACCOUNTS[1:]), attempts.c.seconds_train)
    rows = connection.execute(
        select(attempts.c.started_at, spent.label("spent"))
        .join(trials, trials.c.id == attempts.c.trial_id)
        .where(trials.c.study_id == study)
        .order_by(attempts.c.started_at)
    )
    total, until = 0.0, float("-inf")
    for row in rows:
        start = datetime.fromisoformat(row.started_at).timestamp()
        total += max(0.0, start + row.spent - max(start, until))
        until = max(until, start + row.spent)
    return total


def end(connection: Connection, trial: int, *, epoch: int, how: HowEnded) -> None:
    """Store how an attempt ended; nothing if the worker never began, or it had ended before."""
    connection.execute(
        update(attempts)
        .where(attempts.c.trial_id == trial, attempts.c.lease_epoch == epoch, attempts.c.how_ended.is_(None))
        .values(how_ended=how, ended_at=timestamp(connection))
    )
