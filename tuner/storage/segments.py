"""On what trials ran: their numerics segments (D2). More than one means that a trial is not bit-exact."""

from __future__ import annotations

import json

from sqlalchemy import Connection, func, select

from tuner.storage.rows import NumericsSegment
from tuner.storage.tables import numerics, trials


def of_trial(connection: Connection, trial: int) -> tuple[NumericsSegment, ...]:
    """The segments of a trial, by their first step."""
    rows = connection.execute(select(numerics).where(numerics.c.trial_id == trial).order_by(numerics.c.from_step))
    return tuple(
        NumericsSegment(from_step=row.from_step, segment=json.loads(row.segment), numerics_key=row.numerics_key)
        for row in rows
    )


def mixed_trials(connection: Connection, study: int) -> list[int]:
    """The trials of a study that went on with other numerics than they began with."""
    found = (
        select(numerics.c.trial_id)
        .join(trials, trials.c.id == numerics.c.trial_id)
        .where(trials.c.study_id == study)
        .group_by(numerics.c.trial_id)
        .having(func.count() > 1)
        .order_by(numerics.c.trial_id)
    )
    return list(connection.execute(found).scalars())
