"""Checkpoints: rows that name durable files, which of them are kept, and who needs another's.

Rule: a file is durable before it has a row, and loses its row before it is deleted (D5). What a fork needs is pinned,
and a pinned row stays whatever its own trial does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, and_, delete, insert, or_, select
from sqlalchemy.sql.elements import ColumnElement

from tuner.analysis.best_averaged import best_averaged
from tuner.records import Curve, EvalSpec
from tuner.storage import evaluations
from tuner.storage.clock import timestamp
from tuner.storage.rows import NewCheckpoint, StoredCheckpoint, checkpoint_of
from tuner.storage.tables import checkpoints, pins

WITHOUT_MODEL = ("budget_sweep", "instability_probe")
"""Phases among whose trials no model is ever chosen: they keep no best weights."""


def insert_row(
    connection: Connection, new: NewCheckpoint, *, trial: int, epoch: int, static_digest: str, num_skipped_updates: int
) -> None:
    """Store that a durable file exists."""
    connection.execute(
        insert(checkpoints).values(
            trial_id=trial,
            global_step=new.global_step,
            kind=new.kind,
            path=new.path,
            sha256=new.sha256,
            weights_digest=new.weights_digest,
            size_bytes=new.size_bytes,
            static_digest=static_digest,
            recipe_key=new.recipe_key,
            numerics_key=new.numerics_key,
            num_skipped_updates=num_skipped_updates,
            lease_epoch=epoch,
            created_at=timestamp(connection),
        )
    )


def of_trial(connection: Connection, trial: int) -> tuple[StoredCheckpoint, ...]:
    """The checkpoints that a trial's own run wrote, by step."""
    return _select(connection, checkpoints.c.trial_id == trial)


def within_reach(connection: Connection, trial: int) -> tuple[StoredCheckpoint, ...]:
    """A trial's own checkpoints and those that it pinned, by step."""
    pinned = select(pins.c.checkpoint_id).where(pins.c.trial_id == trial)
    return _select(connection, or_(checkpoints.c.trial_id == trial, checkpoints.c.id.in_(pinned)))


def weights_at(connection: Connection, trial: int, step: int | None) -> list[StoredCheckpoint]:
    """The files within the trial's reach that hold its weights at `step`; first those of weights alone."""
    files = [file for file in within_reach(connection, trial) if file.global_step == step and file.kind != "averaged"]
    return sorted(files, key=lambda file: (file.kind != "weights", file.trial != trial, -file.id))


def best_averaged_files(connection: Connection, trial: int, spec: EvalSpec) -> list[StoredCheckpoint]:
    """The files within the trial's reach that hold its best averaged weights.

    One that was kept at that step is of the horizon that was best by then, which is the best of all: no other is named.
    """
    found = best_averaged(evaluations.averaged(connection, trial, spec), spec.direction)
    if found is None:
        return []
    files = [file for file in within_reach(connection, trial) if file.kind == "averaged"]
    return sorted((f for f in files if f.global_step == found.step), key=lambda file: (file.trial != trial, -file.id))


def of_recipe(connection: Connection, static_digest: str, *, until: int) -> tuple[StoredCheckpoint, ...]:
    """Full states up to a step of all runs with a static recipe, by step."""
    return _select(
        connection,
        and_(
            checkpoints.c.kind == "full",
            checkpoints.c.static_digest == static_digest,
            checkpoints.c.global_step <= until,
        ),
    )


def pin(connection: Connection, trial: int, files: Iterable[StoredCheckpoint]) -> None:
    """Keep other trials' checkpoints for as long as `trial` exists, in place of what it kept before."""
    unpin(connection, trial)
    ids = sorted({file.id for file in files if file.trial != trial})
    if ids:
        connection.execute(insert(pins), [{"checkpoint_id": id_, "trial_id": trial} for id_ in ids])


def unpin(connection: Connection, trial: int) -> None:
    """Let go of all that a trial kept of others."""
    connection.execute(delete(pins).where(pins.c.trial_id == trial))


def delete_beyond(connection: Connection, trial: int, step: int) -> list[str]:
    """Drop a trial's own checkpoints after `step`, but for those that forks need; the paths to unlink."""
    return _delete(connection, [file for file in of_trial(connection, trial) if file.global_step > step])


def retain(
    connection: Connection,
    trial: int,
    *,
    keep_steps: Collection[int],
    num_newest: int,
    measured: EvalSpec,
) -> list[str]:
    """Drop what is no longer needed of a trial's own checkpoints; the paths to unlink.

    Kept are: the `num_newest` newest full states and those at `keep_steps`; the weights that are the best at or before
    each of them, so that a resume finds its best so far; the weights of the best step; averaged ones in the same way;
    and whatever is pinned.
    """
    from tuner.analysis.best_steps import best  # numpy stays unloaded where nothing is written

    files = of_trial(connection, trial)
    pinned = _pinned(connection, files)
    full = [file for file in files if file.kind == "full"]
    newest = sorted(file.global_step for file in full)[-num_newest:]
    kept_full = [
        file for file in full if file.global_step in keep_steps or file.global_step in newest or file.id in pinned
    ]
    objective = evaluations.objective(connection, trial, measured)
    averages = evaluations.averaged(connection, trial, measured)
    kept_best: set[tuple[str, int]] = set()
    for bound in (None, *(file.global_step for file in kept_full)):
        if (found := best(_up_to(objective, bound), measured.direction)) is not None:
            kept_best.add(("weights", found[0]))
        up_to = {horizon: _up_to(curve, bound) for horizon, curve in averages.items()}
        if (average := best_averaged(up_to, measured.direction)) is not None:
            kept_best.add(("averaged", average.step))
    kept = {file.id for file in kept_full} | pinned
    kept |= {file.id for file in files if (file.kind, file.global_step) in kept_best}
    return _delete(connection, [file for file in files if file.id not in kept])


def _up_to(curve: Curve, bound: int | None) -> Curve:
    return curve if bound is None else tuple(point for point in curve if point[0] <= bound)


def _delete(connection: Connection, files: Collection[StoredCheckpoint]) -> list[str]:
    pinned = _pinned(connection, files)
    gone = [file for file in files if file.id not in pinned]
    if gone:
        connection.execute(delete(checkpoints).where(checkpoints.c.id.in_([file.id for file in gone])))
    return [file.path for file in gone]


def _pinned(connection: Connection, files: Collection[StoredCheckpoint]) -> set[int]:
    ids = [file.id for file in files]
    return set(connection.execute(select(pins.c.checkpoint_id).where(pins.c.checkpoint_id.in_(ids))).scalars())


def _select(connection: Connection, condition: ColumnElement[bool]) -> tuple[StoredCheckpoint, ...]:
    rows = connection.execute(
        select(checkpoints).where(condition).order_by(checkpoints.c.global_step, checkpoints.c.id)
    )
    return tuple(checkpoint_of(row) for row in rows)
