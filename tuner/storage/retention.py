"""What `execution.retention: answer` keeps of a finished study: the best weights of the leaders, and nothing else.

Rule: nothing goes before the study has its answer, and what another study's fork still needs stays. `extendable`, the
default, keeps all that `checkpoints.retain` kept: newest, last and planned forks in full, the best as weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from tuner.records import StudyRecord
from tuner.storage import checkpoints, endings, loading
from tuner.storage.tables import checkpoints as files
from tuner.storage.tables import pins


def leaders(study: StudyRecord, config: str) -> frozenset[int] | None:
    """The trials whose best weights are kept: the answer's and the best of each phase. None: everything is kept."""
    retention = json.loads(config).get("execution", {}).get("retention", "extendable")
    if study.answer is None or study.state != "finished" or retention != "answer":
        return None
    from tuner.protocol.answer import CANDIDATES  # Only here: numpy.
    from tuner.protocol.replicas import leader
    from tuner.protocol.rounds import feasible

    phases = [phase for phase in study.phases if phase.plan.kind in CANDIDATES and feasible(phase)]
    return frozenset({study.answer.best_trial, *(leader(phase).trial for phase in phases)})


def superfluous(connection: Connection, name: str) -> list[str]:
    """The paths of what a finished study's retention does not keep."""
    return [row.path for row in _plan(connection, name)[2]]


def keep_answer_only(connection: Connection, name: str) -> list[str]:
    """Drop what a finished study's retention does not keep; the paths to unlink after the commit."""
    own, kept, gone = _plan(connection, name)
    if gone:
        connection.execute(delete(pins).where(pins.c.trial_id.in_(own), pins.c.checkpoint_id.not_in(kept)))
        connection.execute(delete(files).where(files.c.id.in_([row.id for row in gone])))
    return [row.path for row in gone]


def _plan(connection: Connection, name: str) -> tuple[set[int], set[int], list[Row[Any]]]:
    """The study's trials, the checkpoints that stay for them, and the rows of their own that go."""
    rows = loading.fetch(connection, name, with_curves=False)
    own, kept_trials = {trial.id for trial in rows.trials}, leaders(loading.build(rows), rows.study.config)
    if kept_trials is None:
        return own, set(), []
    best = {trial.id: trial.best_step for trial in rows.trials if trial.id in kept_trials}
    kept = {file.id for trial, step in best.items() for file in checkpoints.weights_at(connection, trial, step)[:1]}
    for trial in best:
        spec = endings.objective_of(connection, trial)
        kept |= {file.id for file in checkpoints.best_averaged_files(connection, trial, spec)[:1]}
    by_others = connection.execute(select(pins.c.checkpoint_id).where(pins.c.trial_id.not_in(own))).scalars()
    stays = kept | set(by_others)
    stored: Iterable[Row[Any]] = connection.execute(select(files).where(files.c.trial_id.in_(own))).all()
    return own, kept, [row for row in stored if row.id not in stays]
