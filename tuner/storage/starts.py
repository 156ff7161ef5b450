"""Begins an attempt: finds its start, and makes the trial's rows exactly what they were at that step.

Rule: one transaction. Whatever lies beyond the start is deleted, whatever is shared is copied and pinned, so that
resume, fork and extension leave the same rows as a run that was never interrupted (D5).
"""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select, update

from tuner.analysis.best_averaged import best_averaged
from tuner.errors import StudyError
from tuner.records import EvalSpec, Fork, Json, RunSpec
from tuner.storage import attempts, checkpoints, evaluations
from tuner.storage.forks import Runner, deepest_start
from tuner.storage.leases import Lease
from tuner.storage.rows import Start, StoredCheckpoint, dump
from tuner.storage.tables import numerics, trials


def begin_attempt(connection: Connection, lease: Lease, *, run: Runner, objective: EvalSpec) -> tuple[Start, list[str]]:
    """Where the run starts, and the paths to unlink after the commit.

    Raises:
        StudyError: if the trial was started from another recipe, or on other numerics and has no checkpoint of these.
    """
    _refuse_other_recipe(connection, run)
    file = deepest_start(connection, run)
    step = 0 if file is None else file.global_step
    if file is not None and file.trial != run.trial:
        gone = _become_fork(connection, run.spec, trial=run.trial, file=file, objective=objective)
    else:
        gone = _go_back(connection, run.spec, trial=run.trial, step=step)
    _note_numerics(
        connection, run.trial, from_step=step, segment=run.request["numerics"], key=run.request["numerics_key"]
    )
    attempts.begin(
        connection, run.trial, epoch=lease.epoch, from_step=step, owner=json.dumps(asdict(lease.owner), sort_keys=True)
    )
    connection.execute(
        update(trials)
        .where(trials.c.id == run.trial)
        .values(
            static_digest=run.request["static_digest"],
            last_step=step,
            num_skipped_updates=0 if file is None else file.num_skipped_updates,
            weights_digest=None,
        )
    )
    evaluations.summarise(connection, run.trial, objective)
    return Start(from_step=step, checkpoint=file, forked_from=_fork_of(connection, run.trial)), gone


def _refuse_other_recipe(connection: Connection, run: Runner) -> None:
    """A started trial whose data, code or libraries changed would silently become another one (D8)."""
    known = connection.execute(select(trials.c.static_digest).where(trials.c.id == run.trial)).scalar()
    if known is not None and known != run.request["static_digest"]:
        raise StudyError(
            f"trial {run.trial} was started with other data, user code or library versions than this worker finds; "
            "bring those back and resume, or run the study under another name"
        )


def _go_back(connection: Connection, spec: RunSpec, *, trial: int, step: int) -> list[str]:
    """Return a trial to its own past at `step`. It stays a fork if that is after the step where it forked."""
    evaluations.delete_beyond(connection, trial, step)
    evaluations.keep_only(connection, trial, spec.eval_steps())
    gone = checkpoints.delete_beyond(connection, trial, step)
    fork = _fork_of(connection, trial)
    if fork is not None and step < fork.step:
        checkpoints.unpin(connection, trial)
        _set_fork(connection, trial, None)
    return gone


def _become_fork(
    connection: Connection, spec: RunSpec, *, trial: int, file: StoredCheckpoint, objective: EvalSpec
) -> list[str]:
    """Replace a trial's past by its donor's: curves, full state, and the best weights and averages they share."""
    evaluations.delete_beyond(connection, trial, 0)
    gone = checkpoints.delete_beyond(connection, trial, 0)
    shared = [step for step in spec.eval_steps() if step <= file.global_step]
    evaluations.copy_rows(connection, file.trial, to=trial, steps=shared)
    evaluations.summarise(connection, trial, objective)
    best_step = connection.execute(select(trials.c.best_step).where(trials.c.id == trial)).scalar()
    weights = checkpoints.weights_at(connection, file.trial, best_step)
    averaged = _averaged_files(connection, file.trial, trial=trial, objective=objective)
    checkpoints.pin(connection, trial, [file, *weights[:1], *averaged[:1]])
    _set_fork(connection, trial, Fork(file.trial, file.global_step))
    return gone


def _averaged_files(connection: Connection, donor: int, *, trial: int, objective: EvalSpec) -> list[StoredCheckpoint]:
    """The donor's files of the best averaged weights of the shared part, whose rows the trial has taken over."""
    found = best_averaged(evaluations.averaged(connection, trial, objective), objective.direction)
    files = checkpoints.within_reach(connection, donor)
    return [file for file in files if found and (file.kind, file.global_step) == ("averaged", found.step)]


def _note_numerics(connection: Connection, trial: int, *, from_step: int, segment: dict[str, Json], key: str) -> None:
    """Append a segment if the run goes on differently from here; segments beyond the start never happened."""
    connection.execute(delete(numerics).where(numerics.c.trial_id == trial, numerics.c.from_step >= from_step))
    last = connection.execute(
        select(numerics.c.numerics_key)
        .where(numerics.c.trial_id == trial)
        .order_by(numerics.c.from_step.desc())
        .limit(1)
    ).scalar()
    if last != key:
        connection.execute(
            insert(numerics).values(trial_id=trial, from_step=from_step, segment=dump(segment), numerics_key=key)
        )


def _fork_of(connection: Connection, trial: int) -> Fork | None:
    row = connection.execute(
        select(trials.c.forked_from_trial, trials.c.forked_from_step).where(trials.c.id == trial)
    ).one()
    return None if row.forked_from_trial is None else Fork(row.forked_from_trial, row.forked_from_step)


def _set_fork(connection: Connection, trial: int, fork: Fork | None) -> None:
    connection.execute(
        update(trials)
        .where(trials.c.id == trial)
        .values(
            forked_from_trial=None if fork is None else fork.trial, forked_from_step=None if fork is None else fork.step
        )
    )
