"""A trainer of four parameters in NumPy behind the same interface as the real one: no torch, milliseconds a run.

The same rules bind it (D1): an update is a function of (seed, step) and the state before it, with noise and dropout
drawn anew at each step; momentum is state that a checkpoint must hold. Its files go the real durable way to the disk.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from tuner.config.canonical import config_from_json
from tuner.config.resolve import execution_spec
from tuner.config.schema import StudyConfig
from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION, EvalSpec, Evaluation, RunSpec, TrialRecord, WorkloadFacts
from tuner.storage.store import Store, StoredCheckpoint, StudyRow
from tuner.training.durable import CheckpointDamaged, CheckpointMismatch, SavedFile, require_whole, write_durably
from tuner.training.recipe import RecipeKeys
from tuner.training.schedule import learning_rates
from tuner.trials.bench import Control, Prepared, Sharing
from tuner.trials.messages import WorkerJob
from tuner.trials.worker import work

Vector = NDArray[np.float64]

CURVATURE = np.array([1.0, 0.3, 0.1, 0.03])
OPTIMUM = {
    TRAIN_SAMPLE: np.array([1.0, -1.0, 1.0, -1.0]),
    VALIDATION: np.array([1.1, -1.1, 1.1, -1.2]),
    TEST: np.array([0.9, -1.0, 1.1, -0.9]),
}
DROPOUT, NOISE, LOWEST_LOSS = 0.25, 0.1, 0.05
METRICS = ("loss", "perplexity")


@dataclass(frozen=True, slots=True)
class Copied:
    """A state, or weights alone, as they were after so many updates; each update makes new arrays."""

    global_step: int
    state: dict[str, Vector]
    kind: str
    recipe_key: str

    def save(self, path: Path) -> SavedFile:
        data = save(self.state, metadata={"facts": json.dumps([self.kind, self.global_step, self.recipe_key])})
        digest = digest_of(self.state["weights"])
        return SavedFile(path=path, sha256=write_durably(path, data), weights_digest=digest, size_bytes=len(data))


class ToyRun:
    """Descends into a quadratic valley by noisy gradients with momentum; a rate above about 3 leaves it for ever."""

    def __init__(self, spec: RunSpec, key_at: Callable[[int], str], horizons: tuple[int, ...]) -> None:
        self._spec, self._key_at = spec, key_at
        self._rates = learning_rates(spec, 0, spec.max_train_steps)
        self._weights, self._velocity = np.zeros(4), np.zeros(4)
        self._norm = math.nan
        self._averages = {str(horizon): self._weights for horizon in horizons}
        self.global_step = 0
        self.num_skipped_updates = 0
        self.seconds = {"train": 0.0, "eval": 0.0}

    def update(self) -> None:
        random = np.random.default_rng((self._spec.seed, self.global_step))
        kept = random.random(4) >= DROPOUT
        gradient = CURVATURE * (self._weights - OPTIMUM[TRAIN_SAMPLE]) * kept + NOISE * random.standard_normal(4)
        self._velocity = self._spec.optimizer.momentum * self._velocity + gradient
        self._weights = self._weights - self._rates[self.global_step] * self._velocity
        self._norm = float(np.linalg.norm(gradient))
        for horizon, average in self._averages.items():
            kept = min(1 - 1 / int(horizon), (self.global_step + 1) / (self.global_step + 10))
            self._averages[horizon] = kept * average + (1 - kept) * self._weights
        self.global_step += 1

    def is_finite(self) -> bool:
        return bool(np.isfinite(self._weights).all())

    def evaluate(self, split: str) -> dict[str, float]:
        return metrics_of(self._weights, split)

    def evaluate_averages(self) -> dict[int, dict[str, float]]:
        return {int(horizon): metrics_of(average, VALIDATION) for horizon, average in self._averages.items()}

    def gradient_summary(self) -> dict[str, float]:
        return {"grad_norm": self._norm}

    def weights_digest(self) -> str:
        return digest_of(self._weights)

    def copy_full(self) -> Copied:
        own = {"weights": self._weights, "velocity": self._velocity, "norm": np.array([self._norm])}
        return self._copied(own | self._averages, "full")

    def copy_weights(self) -> Copied:
        return self._copied({"weights": self._weights}, "weights")

    def copy_averaged(self, horizon: int) -> Copied:
        return self._copied({"weights": self._averages[str(horizon)]}, "averaged")

    def load(self, path: Path, *, sha256: str | None = None) -> None:
        state, (kind, step, key) = read_toy(path, sha256)
        if kind != "full" or step > self._spec.max_train_steps or key != self._key_at(step):
            raise CheckpointMismatch(f"checkpoint {path} at step {step} was made by another recipe")
        self._weights, self._velocity, self._norm = state["weights"], state["velocity"], float(state["norm"][0])
        self._averages = {horizon: state[horizon] for horizon in self._averages}
        self.global_step = step

    def _copied(self, state: dict[str, Vector], kind: str) -> Copied:
        return Copied(self.global_step, state, kind, self._key_at(self.global_step))


def read_toy(path: Path, sha256: str | None) -> tuple[dict[str, Vector], tuple[str, int, str]]:
    """The tensors of a file, and its kind, step and recipe key."""
    require_whole(path, sha256)
    data = path.read_bytes()
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        kind, step, key = json.loads(header["__metadata__"]["facts"])
        return load(data), (kind, step, key)
    except Exception as error:
        raise CheckpointDamaged(f"checkpoint {path} cannot be read ({error})") from None


def metrics_of(weights: Vector, split: str) -> dict[str, float]:
    """Loss and perplexity of weights on a split."""
    with np.errstate(over="ignore", invalid="ignore"):
        loss = LOWEST_LOSS + 0.5 * float(np.sum(CURVATURE * (weights - OPTIMUM[split]) ** 2))
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}


def digest_of(weights: Vector) -> str:
    """Names the weights."""
    return hashlib.sha256(weights.astype("<f8").tobytes()).hexdigest()


class Unwatched:
    """Logs nothing."""

    def after_update(self) -> None: ...

    def after_evaluation(self, evaluations: Iterable[Evaluation]) -> None: ...

    def close(self) -> None: ...


class ToyBench:
    """Makes toy runs; everything else of a worker is real."""

    def __init__(self, store: Store, config: StudyConfig, sharing: Sharing, control: Control) -> None:
        self.store, self.sharing, self.control = store, sharing, control
        self.on_progress: Callable[[int, int], None] = lambda trial, step: None
        self.on_warning: Callable[[str], None] = lambda message: None
        self._config = config

    def facts(self) -> WorkloadFacts:
        return WorkloadFacts(
            num_train_examples=100,
            num_validation_examples=100,
            num_test_examples=100,
            metrics=METRICS,
            regularisers_off={},
            workload_digest="toy",
            constant_loss=metrics_of(np.zeros(4), TRAIN_SAMPLE)["loss"],
        )

    def sharing_kind(self) -> str:
        return "exact"

    def prepare(self, trial: TrialRecord, eval_spec: EvalSpec) -> Prepared:
        spec = trial.spec
        static = hashlib.sha256(f"toy {spec.seed} {spec.optimizer}".encode()).hexdigest()
        key_at = RecipeKeys(static, spec).key_at
        return Prepared(
            run=ToyRun(spec, key_at, eval_spec.averaged_horizons),
            execution=execution_spec(self._config, device="cpu", eval_every_steps=spec.eval_every_steps),
            static_digest=static,
            key_at=key_at,
            numerics={"numpy": np.__version__},
            numerics_key="numpy",
            eval_key="toy",
            initial_loss=metrics_of(np.zeros(4), TRAIN_SAMPLE)["loss"],
        )

    def monitor(self, prepared: Prepared, folder: Path, *, from_step: int) -> Unwatched:
        return Unwatched()

    def test_values(self, trial: TrialRecord, eval_spec: EvalSpec, best: StoredCheckpoint) -> dict[str, float]:
        state, _ = read_toy(self.store.paths.resolve(best.path), best.sha256)
        return metrics_of(state["weights"], TEST)


def toy_bench(store: Store, study: StudyRow, job: WorkerJob, control: Control) -> ToyBench:
    """The bench of a worker process."""
    sharing = Sharing(share=job.share, other_numerics=job.other_numerics)
    return ToyBench(store, config_from_json(study.config), sharing, control)


def enter_toy_worker(connection: Connection, job: WorkerJob) -> None:
    """What a worker process does."""
    work(connection, job, toy_bench)
