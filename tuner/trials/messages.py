"""What a worker and the process that started it say to each other; names and numbers only, never live objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tuner.records import Evaluation, WorkloadFacts

AVERAGED_TEST: Final = "test_averaged"
"""The split of the averaged weights' test score, from worker to planner: it is kept with the answer only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What a new worker process must know."""

    study: str
    home: Path
    storage_url: str | None = field(repr=False)
    index: int
    share: bool
    other_numerics: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker built the workload; `sharing` says whether equal recipes give equal bits here (D2)."""

    facts: WorkloadFacts
    sharing: str


@dataclass(frozen=True, slots=True)
class AtStep:
    """A trial was evaluated at a step."""

    trial: int
    step: int


@dataclass(frozen=True, slots=True)
class Left:
    """The worker left a trial: it ended, paused or was released."""

    trial: int
    ending: str


@dataclass(frozen=True, slots=True)
class Scored:
    """Metrics of the chosen weights on the test set; of averaged ones too, under the split `AVERAGED_TEST`."""

    trial: int
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True)
class Crashed:
    """An exception in training; the trial was handed back, or ended as crashed after too many."""

    trial: int
    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """What the user should know although the worker goes on: in one line."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The worker cannot work on this study: the user's mistake, in one line."""

    message: str
    exit_code: int


FromWorker = Ready | AtStep | Left | Scored | Crashed | Warned | Refused


@dataclass(frozen=True, slots=True)
class Wake:
    """There may be a trial to claim."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Save, release and leave."""


@dataclass(frozen=True, slots=True)
class Score:
    """Measure a trial's best weights on the test set, and those averaged over `horizon` updates, if one is given."""

    trial: int
    horizon: int | None = None


ToWorker = Wake | Stop | Score
