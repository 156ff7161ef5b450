"""What a worker has at hand for every trial of a study: storage, runs ready to train, and whether it may go on.

The one rule: who trains is behind `Bench`; nothing here, in the runner or in the worker, knows torch. The real one is
`TorchBench`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tuner.records import EvalSpec, ExecutionSpec, TrialRecord, WorkloadFacts
from tuner.storage.store import Store, StoredCheckpoint, StudyRow
from tuner.training.durable import SavedFile
from tuner.training.loop import Updates, Watches
from tuner.training.memory import OutOfMemory
from tuner.trials.messages import WorkerJob


@dataclass(frozen=True, slots=True)
class Control:
    """Whether the current trial may go on. `stop`: save and release. `lost`: the lease is gone, write nothing."""

    stop: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)

    def is_interrupted(self) -> bool:
        return self.stop.is_set() or self.lost.is_set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How far a run may start from other work: `share` allows forks, `other_numerics` continues on other hardware."""

    share: bool = True
    other_numerics: bool = False


class Copied(Protocol):
    """A run, or its weights alone, as they were after `global_step` updates; `save` may run in another thread."""

    @property
    def global_step(self) -> int: ...

    def save(self, path: Path) -> SavedFile: ...


class Run(Updates, Protocol):
    """A run that can be kept: see `TrainingRun`."""

    def load(self, path: Path, *, sha256: str | None = None) -> None: ...

    def copy_full(self) -> Copied: ...

    def copy_weights(self) -> Copied: ...

    def copy_averaged(self, horizon: int) -> Copied: ...

    def weights_digest(self) -> str: ...


class Monitor(Watches, Protocol):
    """Watches one run and keeps what it saw."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run at step 0, and what names its recipe, numerics and evaluations (D2, D7).

    Attributes:
        key_at: the recipe key of the weights after so many updates.
        initial_loss: the untrained model's loss on the training sample.
        follows_others: whether the trial may go on here although it had other numerics before.
    """

    run: Run
    execution: ExecutionSpec
    static_digest: str
    key_at: Callable[[int], str]
    numerics: dict[str, Any]
    numerics_key: str
    eval_key: str
    initial_loss: float
    follows_others: bool = False


class Bench(Protocol):
    """A worker's surroundings.

    Attributes:
        on_progress: called with trial and step after each evaluation.
        on_warning: called with what the user should know although the worker goes on.
    """

    store: Store
    sharing: Sharing
    control: Control
    on_progress: Callable[[int, int], None]
    on_warning: Callable[[str], None]

    def facts(self) -> WorkloadFacts:
        """What the protocol must know of the data."""
        ...

    def sharing_kind(self) -> str:
        """Whether equal recipes give equal bits here: exact or statistical (D2)."""
        ...

    def prepare(self, trial: TrialRecord, eval_spec: EvalSpec) -> Prepared:
        """A new run."""
        ...

    def after_memory(self, trial: TrialRecord, error: OutOfMemory) -> tuple[bool, str]:
        """Whether a trial whose run met this error goes on, in less memory, when it is prepared again; what to tell."""
        ...

    def monitor(self, prepared: Prepared, folder: Path, *, from_step: int) -> Monitor:
        """What logs the run into a folder."""
        ...

    def test_values(self, trial: TrialRecord, eval_spec: EvalSpec, best: StoredCheckpoint) -> dict[str, float]:
        """The metrics of a trial's best weights on the test set, which selection never saw.

        Raises:
            CheckpointDamaged: their file is missing, altered or cut short.
        """
        ...


class BuildsBench(Protocol):
    """Makes a worker's bench in its process."""

    def __call__(self, store: Store, study: StudyRow, job: WorkerJob, control: Control) -> Bench: ...
