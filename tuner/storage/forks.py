"""Where a run may start: the deepest stored full state whose past is this run's own past (D2, D7).

Rule: recipe key *and* numerics must agree, so the numbers never notice; a donor must have been evaluated wherever this
run would have been, in the same way, so the curve never notices either. Resuming is forking from oneself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from tuner.errors import StudyError
from tuner.records import FitRule, RunSpec
from tuner.storage import evaluations
from tuner.storage.rows import AttemptRequest, StoredCheckpoint, checkpoint_of
from tuner.storage.tables import checkpoints, numerics


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The run that looks for its start. `exists` says whether a stored path still has its file."""

    trial: int
    spec: RunSpec
    fit: FitRule | None
    request: AttemptRequest
    exists: Callable[[str], bool]


def deepest_start(connection: Connection, run: Runner) -> StoredCheckpoint | None:
    """The checkpoint to start from, or None for step 0. At equal depth its own comes first, then the oldest donor's.

    Raises:
        StudyError: if the trial was started on other numerics and has no checkpoint of these.
    """
    _refuse_other_numerics(connection, run)
    return next((file for file in _same_recipe(connection, run) if _is_usable(connection, run, file)), None)


def _same_recipe(connection: Connection, run: Runner) -> Iterator[StoredCheckpoint]:
    """Full states whose weights this run would have had itself, deepest first."""
    own_first = checkpoints.c.trial_id != run.trial
    rows = connection.execute(
        select(checkpoints)
        .where(
            checkpoints.c.kind == "full",
            checkpoints.c.static_digest == run.request["static_digest"],
            checkpoints.c.global_step.between(1, run.spec.max_train_steps),
        )
        .order_by(checkpoints.c.global_step.desc(), own_first, checkpoints.c.trial_id, checkpoints.c.id.desc())
    ).all()
    for row in rows:
        is_candidate = row.trial_id == run.trial or run.request["share"]
        if is_candidate and row.recipe_key == run.request["key_at"](row.global_step):
            yield checkpoint_of(row)


def _is_usable(connection: Connection, run: Runner, file: StoredCheckpoint) -> bool:
    if not run.exists(file.path):
        return False  # Deleted by hand: the next shallower one serves.
    steps = [step for step in run.spec.eval_steps() if step <= file.global_step]
    if run.fit is not None:
        # Its run would have stopped there: nothing after that step is this run's past.
        fitted = evaluations.first_fit(connection, file.trial, run.fit, steps)
        if fitted is not None and fitted < file.global_step:
            return False
    if file.trial == run.trial:
        return file.numerics_key == run.request["numerics_key"] or _may_mix(run)
    if not _ran_on(connection, file, run.request["numerics_key"]):
        return False
    measured = evaluations.steps_measured(connection, file.trial, eval_key=run.request["eval_key"])
    return measured.issuperset(steps)


def _ran_on(connection: Connection, file: StoredCheckpoint, key: str) -> bool:
    """Whether the donor's whole past, not only its last segment, had these numerics."""
    if file.numerics_key != key:
        return False
    rows = connection.execute(
        select(numerics.c.from_step, numerics.c.numerics_key).where(numerics.c.trial_id == file.trial)
    )
    return all(row.numerics_key == key for row in rows if row.from_step < file.global_step)


def _refuse_other_numerics(connection: Connection, run: Runner) -> None:
    key = run.request["numerics_key"]
    segments = connection.execute(select(numerics).where(numerics.c.trial_id == run.trial)).all()
    if all(segment.numerics_key == key for segment in segments) or _may_mix(run):
        return
    own = connection.execute(
        select(checkpoints.c.path).where(
            checkpoints.c.trial_id == run.trial, checkpoints.c.kind == "full", checkpoints.c.numerics_key == key
        )
    ).all()
    if not any(run.exists(row.path) for row in own):
        latest = max(segments, key=lambda segment: int(segment.from_step))
        raise StudyError(
            f"trial {run.trial} was started on other numerics: {_differences(latest.segment, run)}; it goes on bit for "
            "bit only on equal ones: set that back, or accept a trial that is not bit-exact with --allow-other-numerics"
        )


def _differences(stored: str, run: Runner) -> str:
    """What changed, as `name: before -> now`."""
    before, now = json.loads(stored), run.request["numerics"]
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return ", ".join(f"{name}: {before.get(name)} -> {now.get(name)}" for name in names) or "nothing that is named"


def _may_mix(run: Runner) -> bool:
    return run.request.get("other_numerics", False)
