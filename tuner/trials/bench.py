"""What a worker has at hand for every trial of a study: storage, config, workloads, and whether it may go on."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from tuner.config.resolve import eval_spec, execution_spec
from tuner.config.schema import StudyConfig
from tuner.errors import ConfigError, DataError, TunerError
from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION, EvalSpec, ExecutionSpec, RunSpec, Value, WorkloadFacts
from tuner.storage.store import Store
from tuner.training.evaluation import evaluated_examples
from tuner.training.memory import OutOfMemory
from tuner.training.numerics import numerics_segment, sharing
from tuner.training.recipe import eval_key
from tuner.training.run import TrainingRun
from tuner.training.scoring import untrained_loss
from tuner.trials.micro_batches import MicroBatches, remedy
from tuner.workloads.build import (
    build_workload,
    constant_loss,
    regularisers_off,
    tokenizer_digest,
    workload_hyperparameters,
)
from tuner.workloads.interface import Workload


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


class Bench:
    """A worker's surroundings. Workloads are kept between trials (warm worker); models never are."""

    def __init__(
        self, store: Store, config: StudyConfig, *, folder: Path, device: str, sharing: Sharing, control: Control
    ) -> None:
        self.store, self.config, self.sharing, self.control = store, config, sharing, control
        self.device = device
        self.on_progress: Callable[[int, int], None] = lambda trial, step: None
        self.on_warning: Callable[[str], None] = lambda message: None
        self.micro_batches = MicroBatches(config)
        self._folder = folder
        self._workloads: dict[tuple[tuple[str, Value], ...], Workload] = {}
        self._initial_losses: dict[tuple[str, EvalSpec], float] = {}

    def workload(self, options: Mapping[str, Value]) -> Workload:
        """The workload under a run's options, built once per worker."""
        key = tuple(sorted(options.items()))
        if key not in self._workloads:
            cache = self.store.paths.data
            try:
                self._workloads[key] = build_workload(self.config.workload, options, folder=self._folder, cache=cache)
            except Exception as error:
                if isinstance(error, TunerError) or self.config.workload.kind != "python":
                    raise
                raise DataError(_about_user_code(self.config.workload.class_, error)) from error
        return self._workloads[key]

    def initial_loss(self, static_digest: str, run: TrainingRun) -> float:
        """The untrained model's loss on the training sample; measured once per recipe and sample, on a run at step 0.

        The sample is part of it: an early probe evaluates a smaller one.
        """
        key = (static_digest, run.eval_spec)
        if key not in self._initial_losses:
            self._initial_losses[key] = run.evaluate(TRAIN_SAMPLE)["loss"]
        return self._initial_losses[key]

    def execution(self, spec: RunSpec) -> ExecutionSpec:
        """How this worker carries out a run."""
        return execution_spec(self.config, device=self.device, eval_every_steps=spec.eval_every_steps)

    def sharing_kind(self) -> str:
        """Whether equal recipes give equal bits on this device: exact or statistical (D2)."""
        return sharing(numerics_segment(execution_spec(self.config, device=self.device, eval_every_steps=1)))

    def facts(self) -> WorkloadFacts:
        """What the protocol must know of the data.

        Raises:
            ConfigError: if the objective or the perfect-fit metric is none of the workload's.
        """
        workload = self.workload({})
        metrics = (*workload.metrics, "perplexity")
        fit = self.config.budget.perfect_fit
        for key, metric in (
            ("evaluation.metric", self.config.evaluation.metric),
            ("budget.perfect_fit.metric", fit and fit.metric),
        ):
            if metric is not None and metric not in metrics:
                raise ConfigError(f"{key}: {metric} is not measured by this workload; it has {', '.join(metrics)}")
        return WorkloadFacts(
            num_train_examples=workload.num_examples(TRAIN_SAMPLE),
            num_validation_examples=workload.num_examples(VALIDATION),
            num_test_examples=workload.num_examples(TEST),
            metrics=metrics,
            hyperparameters=workload_hyperparameters(self.config.workload),
            regularisers_off=regularisers_off(self.config.workload, folder=self._folder),
            workload_digest=eval_key(eval_spec(self.config), workload.recipe(), self.config.training.precision),
            tokenizer_digest=tokenizer_digest(workload),
            constant_loss=self._constant_loss(workload),
        )

    def _constant_loss(self, workload: Workload) -> float | None:
        """What a run must beat to have learned anything: the best constant prediction, else the untrained model."""
        spec = eval_spec(self.config)
        examples = evaluated_examples(workload.num_examples(TRAIN_SAMPLE), TRAIN_SAMPLE, spec)
        known = constant_loss(workload, TRAIN_SAMPLE, examples)
        if known is None:
            execution = execution_spec(self.config, device=self.device, eval_every_steps=1)
            try:
                known = untrained_loss(workload, spec, seed=self.config.seed, execution=execution)
            except OutOfMemory as error:
                raise ConfigError(remedy(error, self.config)) from None
        return known if isfinite(known) else None


def _about_user_code(name: str, error: Exception) -> str:
    """An exception of a user's class in one line, with the place where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"workload.class: {name} raised {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
