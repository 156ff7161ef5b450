"""All rows of one study at one moment, for verifying it: the record that everything is checked against.

Rule: one short transaction and no query per trial. Files are looked at afterwards, for hashing them takes long and a
reader holds SQLite's writers up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from tuner.records import PhasePlan, StudyRecord
from tuner.storage import bill, loading, retention
from tuner.storage.clock import now
from tuner.storage.leases import is_alive
from tuner.storage.rows import StoredCheckpoint, checkpoint_of, plan_of
from tuner.storage.tables import attempts, checkpoints, evals, pins, trials

Rows = Sequence[Row[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A study as it stood at `at`, by the database's clock.

    `checkpoints` are those of its trials and those that they pinned elsewhere, `donors` all full states of the trials
    that its forks started from; `donated` are the original rows of what forks took over, by (trial, split, metric,
    step).
    """

    rows: loading.StudyRows
    bill: bill.BillRows
    attempts: Mapping[int, Rows]
    evals: Mapping[int, Rows]
    donated: Mapping[tuple[int, str, str, int], Row[Any]]
    checkpoints: tuple[StoredCheckpoint, ...]
    donors: tuple[StoredCheckpoint, ...]
    pins: tuple[tuple[int, int], ...]
    at: float
    is_running: bool

    @property
    def name(self) -> str:
        return str(self.rows.study.name)

    @property
    def trials(self) -> Rows:
        return self.rows.trials

    def plan(self, trial: Row[Any]) -> PhasePlan:
        """The plan of a trial's phase."""
        return plan_of(self.phase(trial).plan)

    def phase(self, trial: Row[Any]) -> Row[Any]:
        """The row of a trial's phase."""
        return next(phase for phase in self.rows.phases if phase.id == trial.phase_id)

    def leaders(self) -> frozenset[int] | None:
        """The trials that keep their best weights, and nothing else is kept; None if everything is."""
        return retention.leaders(self.record(), self.rows.study.config)

    def record(self) -> StudyRecord:
        """The study as the other layers read it."""
        return loading.build(self.rows)

    def of_trial(self, trial: int) -> list[StoredCheckpoint]:
        """The checkpoints that a trial's own run wrote."""
        return [file for file in self.checkpoints if file.trial == trial]

    def pinned_by(self, trial: int) -> list[StoredCheckpoint]:
        """The checkpoints of others that a trial pinned."""
        ids = {checkpoint for checkpoint, pinned_by in self.pins if pinned_by == trial}
        return [file for file in self.checkpoints if file.id in ids]

    def start_of(self, trial: int) -> int:
        """The step of the deepest full state that a trial can go on from: its own, or what it pinned; 0 for none."""
        files = (*self.of_trial(trial), *self.pinned_by(trial))
        return max((file.global_step for file in files if file.kind == "full"), default=0)


def fetch(connection: Connection, name: str) -> Inspection:
    """Everything that is stored of a study.

    Raises:
        StudyError: if there is no such study.
    """
    rows = loading.fetch(connection, name, with_curves=True)
    own = select(trials.c.id).where(trials.c.study_id == rows.study.id)
    by_pin = select(pins.c.checkpoint_id).where(pins.c.trial_id.in_(own))
    files = connection.execute(
        select(checkpoints)
        .where(or_(checkpoints.c.trial_id.in_(own), checkpoints.c.id.in_(by_pin)))
        .order_by(checkpoints.c.trial_id, checkpoints.c.global_step, checkpoints.c.id)
    ).all()
    by_fork = select(trials.c.forked_from_trial).where(trials.c.id.in_(own))
    donors = connection.execute(
        select(checkpoints).where(checkpoints.c.trial_id.in_(by_fork), checkpoints.c.kind == "full")
    ).all()
    held = connection.execute(
        select(pins)
        .join(checkpoints, checkpoints.c.id == pins.c.checkpoint_id)
        .where(or_(pins.c.trial_id.in_(own), checkpoints.c.trial_id.in_(own)))
        .order_by(pins.c.trial_id, pins.c.checkpoint_id)
    ).all()
    curves = connection.execute(
        select(evals).where(evals.c.trial_id.in_(own)).order_by(evals.c.trial_id, evals.c.global_step)
    ).all()
    at = now(connection)
    return Inspection(
        rows=rows,
        bill=bill.fetch(connection, name),
        attempts=_by_trial(
            connection.execute(
                select(attempts)
                .where(attempts.c.trial_id.in_(own))
                .order_by(attempts.c.trial_id, attempts.c.lease_epoch)
            ).all()
        ),
        evals=_by_trial(curves),
        donated=_measured_by_others(connection, curves),
        checkpoints=tuple(checkpoint_of(row) for row in files),
        donors=tuple(checkpoint_of(row) for row in donors),
        pins=tuple((row.checkpoint_id, row.trial_id) for row in held),
        at=at,
        is_running=is_alive(rows.study, at),
    )


def _measured_by_others(connection: Connection, curves: Rows) -> dict[tuple[int, str, str, int], Row[Any]]:
    """The original rows of what forks took over, also from trials of other studies."""
    measurers = {row.measured_by_trial for row in curves if row.measured_by_trial != row.trial_id}
    originals = connection.execute(
        select(evals).where(evals.c.trial_id.in_(measurers), evals.c.measured_by_trial == evals.c.trial_id)
    )
    return {(row.trial_id, row.split, row.metric, row.global_step): row for row in originals}


def _by_trial(rows: Rows) -> dict[int, Rows]:
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.trial_id].append(row)
    return {trial: tuple(own) for trial, own in found.items()}
