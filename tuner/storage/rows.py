"""What the store takes and gives beside `tuner.records`: small frozen records, and how rows become them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NotRequired, TypedDict

from sqlalchemy import Row

from tuner.records import (
    Answer,
    Fork,
    Json,
    Outcome,
    PhasePlan,
    RunSpec,
    StudyState,
    TrialRecord,
)
from tuner.storage.leases import Lease
from tuner.storage.paths import CheckpointKind
from tuner.storage.record_json import from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A study without its phases. `config` is canonical JSON, `folder` where its YAML lay, `created_at` UTC text."""

    name: str
    state: StudyState
    reason: str | None
    config: str
    folder: str
    command: str
    created_at: str
    answer: Answer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A trial that this worker owns now, with its lease and its phase's plan."""

    study: str
    trial: TrialRecord
    lease: Lease
    phase: PhasePlan


class AttemptRequest(TypedDict):
    """What a worker tells about the run that it is about to begin; see `Store.begin_attempt`."""

    static_digest: str
    numerics: dict[str, Json]
    numerics_key: str
    eval_key: str
    key_at: Callable[[int], str]
    share: bool
    other_numerics: NotRequired[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt came: its step, and what it has spent so far in seconds by account.

    Accounts are `train`, `eval`, `checkpoint` and `setup`, each counted from the start of the attempt.
    """

    to_step: int
    num_skipped_updates: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCheckpoint:
    """A durable file that is about to become a row. `path` is relative to the home folder."""

    global_step: int
    kind: CheckpointKind
    path: str
    sha256: str
    weights_digest: str
    size_bytes: int
    recipe_key: str
    numerics_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint as stored. `path` is relative to the home folder; `trial` is whose run wrote it."""

    id: int
    trial: int
    global_step: int
    kind: CheckpointKind
    path: str
    sha256: str
    weights_digest: str
    size_bytes: int
    static_digest: str
    recipe_key: str
    numerics_key: str
    num_skipped_updates: int
    lease_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where an attempt begins; at step 0 without a checkpoint.

    `forked_from` is the trial's, also when it resumes from a later checkpoint of its own.
    """

    from_step: int
    checkpoint: StoredCheckpoint | None
    forked_from: Fork | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericsSegment:
    """On what a trial ran from `from_step` on (D2)."""

    from_step: int
    segment: dict[str, Json]
    numerics_key: str


def dump(value: Json) -> str:
    """Canonical JSON of plain data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@lru_cache(maxsize=4096)
def spec_of(text: str) -> RunSpec:
    """A stored spec; the planner reads the same ones again and again."""
    return from_json(RunSpec, text)


@lru_cache(maxsize=256)
def plan_of(text: str) -> PhasePlan:
    """A stored phase plan."""
    return from_json(PhasePlan, text)


def trial_of(row: Row[Any], phase: str) -> TrialRecord:
    """A row of `tuner_trials` as the record that the other layers read."""
    fork = None if row.forked_from_trial is None else Fork(row.forked_from_trial, row.forked_from_step)
    return TrialRecord(
        trial=row.id,
        phase=phase,
        number=row.number,
        params=json.loads(row.params),
        spec=spec_of(row.spec),
        state=row.state,
        outcome=None if row.outcome is None else Outcome(row.outcome, row.reason or ""),
        last_step=row.last_step,
        best_step=row.best_step,
        best_value=row.best_value,
        last_value=row.last_value,
        first_good_step=row.first_good_step,
        num_evals=row.num_evals,
        num_skipped_updates=row.num_skipped_updates,
        forked_from=fork,
        steps_executed=row.steps_executed,
        weights_digest=row.weights_digest,
        static_digest=row.static_digest,
        attempts=row.num_attempts,
    )


def checkpoint_of(row: Row[Any]) -> StoredCheckpoint:
    """A row of `tuner_checkpoints`."""
    return StoredCheckpoint(
        id=row.id,
        trial=row.trial_id,
        global_step=row.global_step,
        kind=row.kind,
        path=row.path,
        sha256=row.sha256,
        weights_digest=row.weights_digest,
        size_bytes=row.size_bytes,
        static_digest=row.static_digest,
        recipe_key=row.recipe_key,
        numerics_key=row.numerics_key,
        num_skipped_updates=row.num_skipped_updates,
        lease_epoch=row.lease_epoch,
    )
