"""The bench of real training: workloads, models and numbers by torch."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path

from tuner.config.canonical import config_from_json
from tuner.config.resolve import execution_spec, plain_eval_spec
from tuner.config.schema import StudyConfig
from tuner.errors import ConfigError, DataError, TunerError, is_disk_full
from tuner.records import (
    TEST,
    TRAIN_SAMPLE,
    VALIDATION,
    EvalSpec,
    ExecutionSpec,
    TrialRecord,
    Value,
    WorkloadFacts,
)
from tuner.storage.store import Store, StoredCheckpoint, StudyRow
from tuner.training.evaluation import evaluated_examples
from tuner.training.memory import OutOfMemory
from tuner.training.monitor import Monitor
from tuner.training.numerics import numerics_key, numerics_segment, sharing
from tuner.training.recipe import RecipeKeys, eval_key, static_digest
from tuner.training.run import TrainingRun
from tuner.training.scoring import ScoredFile, score_weights, untrained_loss
from tuner.trials.bench import Control, Prepared, Sharing
from tuner.trials.devices import resolve_device
from tuner.trials.messages import WorkerJob
from tuner.trials.micro_batches import MicroBatches, remedy
from tuner.workloads.build import (
    build_workload,
    constant_loss,
    regularisers_off,
    tokenizer_digest,
    workload_hyperparameters,
)
from tuner.workloads.interface import Workload


def torch_bench(store: Store, study: StudyRow, job: WorkerJob, control: Control) -> TorchBench:
    """The bench of a worker process, on its device."""
    config = config_from_json(study.config)
    return TorchBench(
        store,
        config,
        folder=Path(study.folder),
        device=resolve_device(config.execution.device, worker=job.index),
        sharing=Sharing(share=job.share, other_numerics=job.other_numerics),
        control=control,
    )


class TorchBench:
    """Workloads are kept between trials (warm worker); models never are."""

    def __init__(
        self, store: Store, config: StudyConfig, *, folder: Path, device: str, sharing: Sharing, control: Control
    ) -> None:
        self.store, self.config, self.sharing, self.control = store, config, sharing, control
        self.device = device
        self.on_progress: Callable[[int, int], None] = lambda trial, step: None
        self.on_warning: Callable[[str], None] = lambda message: None
        self._micro_batches = MicroBatches(config)
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
                if isinstance(error, TunerError) or is_disk_full(error) or self.config.workload.kind != "python":
                    raise
                raise DataError(_about_user_code(self.config.workload.class_, error)) from error
        return self._workloads[key]

    def prepare(self, trial: TrialRecord, eval_spec: EvalSpec) -> Prepared:
        """A new run on this worker's device."""
        spec, micro = trial.spec, self._micro_batches
        # Read only where they decide: under `auto` a trial that has begun goes on at its own size.
        segments = self.store.numerics(trial.trial) if micro.is_auto and trial.attempts else ()
        execution = micro.fitted(self._execution(spec.eval_every_steps), trial, segments)
        workload = self.workload(spec.workload_options)
        run, recipe = TrainingRun(spec, eval_spec, execution, workload), workload.recipe()
        static, numerics = static_digest(spec, recipe), numerics_segment(execution)
        return Prepared(
            run=run,
            execution=execution,
            static_digest=static,
            key_at=RecipeKeys(static, spec).key_at,
            numerics=numerics,
            numerics_key=numerics_key(numerics),
            eval_key=eval_key(eval_spec, recipe, spec.precision),
            initial_loss=self._initial_loss(static, run),
            follows_others=micro.goes_on(numerics, segments),
        )

    def after_memory(self, trial: TrialRecord, error: OutOfMemory) -> tuple[bool, str]:
        """Under `micro_batch_size: auto` a trial goes on with the next smaller micro-batch, if there is one."""
        less = self._micro_batches.halve(trial, error.size) if error.doing == "update" else None
        if less is None:
            return False, remedy(error, self.config)
        return True, (
            f"{error} with micro-batches of {error.size}; it goes on with {less} from its newest "
            "checkpoint, not bit-exact with what was before that, and later trials begin with this size"
        )

    def monitor(self, prepared: Prepared, folder: Path, *, from_step: int) -> Monitor:
        """TensorBoard scalars of a run."""
        assert isinstance(prepared.run, TrainingRun)
        every = prepared.execution.log_every_steps
        return Monitor(prepared.run, folder, log_every_steps=every, from_step=from_step)

    def test_values(self, trial: TrialRecord, eval_spec: EvalSpec, best: StoredCheckpoint) -> dict[str, float]:
        """The metrics of a trial's best weights on the test set, which selection never saw.

        Raises:
            CheckpointDamaged: their file is missing, altered or cut short.
        """
        spec = trial.spec
        file = ScoredFile(path=self.store.paths.resolve(best.path), precision=spec.precision, sha256=best.sha256)
        workload, execution = self.workload(spec.workload_options), self._execution(spec.eval_every_steps)
        return score_weights(file, workload, split=TEST, eval_spec=eval_spec, execution=execution)

    def sharing_kind(self) -> str:
        """Whether equal recipes give equal bits on this device: exact or statistical (D2)."""
        return sharing(numerics_segment(self._execution(eval_every_steps=1)))

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
            workload_digest=eval_key(plain_eval_spec(self.config), workload.recipe(), self.config.training.precision),
            tokenizer_digest=tokenizer_digest(workload),
            constant_loss=self._constant_loss(workload),
        )

    def _execution(self, eval_every_steps: int) -> ExecutionSpec:
        return execution_spec(self.config, device=self.device, eval_every_steps=eval_every_steps)

    def _initial_loss(self, static_digest: str, run: TrainingRun) -> float:
        """The untrained model's loss on the training sample; measured once per recipe and sample, on a run at step 0.

        The sample is part of it: an early probe evaluates a smaller one.
        """
        key = (static_digest, run.eval_spec)
        if key not in self._initial_losses:
            self._initial_losses[key] = run.evaluate(TRAIN_SAMPLE)["loss"]
        return self._initial_losses[key]

    def _constant_loss(self, workload: Workload) -> float | None:
        """What a run must beat to have learned anything: the best constant prediction, else the untrained model."""
        spec = plain_eval_spec(self.config)
        examples = evaluated_examples(workload.num_examples(TRAIN_SAMPLE), TRAIN_SAMPLE, spec)
        known = constant_loss(workload, TRAIN_SAMPLE, examples)
        if known is None:
            execution = self._execution(eval_every_steps=1)
            try:
                known = untrained_loss(workload, spec, seed=self.config.seed, execution=execution)
            except OutOfMemory as error:
                raise ConfigError(remedy(error, self.config)) from None
        return known if isfinite(known) else None


def _about_user_code(name: str, error: Exception) -> str:
    """An exception of a user's class in one line, with the place where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"workload.class: {name} raised {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
