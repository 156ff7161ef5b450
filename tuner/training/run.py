"""One training run: its state, one update, and its checkpoints.

The one rule: whatever an update does follows from (seed, global_step) and the weights before it (D1). Nothing else is
carried from update to update, so a run that is saved and loaded anywhere goes on bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tuner.errors import ConfigError, DataError
from tuner.records import TRAIN_SAMPLE, VALIDATION, EvalSpec, ExecutionSpec, RunSpec
from tuner.training.averages import Averages
from tuner.training.checkpoint import (
    MODEL_PREFIX,
    copy_into,
    digest_of,
    read_checkpoint,
    weight_tensors,
)
from tuner.training.durable import CheckpointMismatch
from tuner.training.evaluation import evaluate, on_device, seed_everything, seed_torch
from tuner.training.gradient_norms import GradientNorms
from tuner.training.memory import noticing_memory
from tuner.training.numerics import set_global_flags
from tuner.training.optimizer import build_optimizer, optimizer_tensors
from tuner.training.order import DataOrder
from tuner.training.precision import autocast, gradient_scaler, usable_device
from tuner.training.recipe import RecipeKeys, static_digest
from tuner.training.schedule import learning_rates
from tuner.training.snapshot import Snapshot
from tuner.workloads.interface import Batch, Workload
from tuner.workloads.permutation import mix

INITIAL_WEIGHTS, _BATCH, _FORWARD = 0, 1, 2
_OPTIMIZER = "optimizer."
_NORMS = "updates.grad_norms"


class TrainingRun:
    """A run at some `global_step`; a new one stands at 0.

    Attributes:
        global_step: updates attempted.
        model: the model, on the device, in train mode.
        seconds: time spent in "train" and "eval"; the loop fills it.
        num_targets_seen: training targets since this object was made, for throughput.

    Raises:
        ConfigError: a precision that the device lacks, a micro-batch that does not divide, a schedule too long.
    """

    def __init__(self, spec: RunSpec, eval_spec: EvalSpec, execution: ExecutionSpec, workload: Workload) -> None:
        _require_divides(spec, execution)
        self.spec, self.eval_spec, self.execution = spec, eval_spec, execution
        self.device = usable_device(execution.device, spec.precision)
        set_global_flags(execution)
        self._workload = workload
        self._rates = learning_rates(spec, 0, spec.max_train_steps)
        self._keys = RecipeKeys(static_digest(spec, workload.recipe()), spec)
        self._order = DataOrder(spec.seed, spec.global_batch_size, workload.num_examples(TRAIN_SAMPLE))
        # Drawn on the CPU: the same initial weights on every device.
        seed_torch(mix(spec.seed, INITIAL_WEIGHTS), torch.device("cpu"))
        self.model = workload.build_model().to(self.device).train()
        self._weights = weight_tensors(self.model)
        self._optimizer = build_optimizer(self.model, spec.optimizer)
        self._state = optimizer_tensors(self.model, self._optimizer)
        self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._autocast = autocast(spec.precision, self.device)
        self._scaler = gradient_scaler(spec.precision, self.device)
        self.global_step = 0
        self.num_targets_seen = 0
        self.seconds = {"train": 0.0, "eval": 0.0}
        self._skipped = torch.zeros((), dtype=torch.float32, device=self.device)
        self._loss_total = torch.zeros((), dtype=torch.float64, device=self.device)
        self._norms = GradientNorms(self.device)
        self._averages = Averages(self.model, eval_spec.averaged_horizons)

    def update(self) -> None:
        """One optimizer update. Nothing is read back from the device.

        Raises:
            OutOfMemory: a micro-batch does not fit; this run is void then.
        """
        with noticing_memory("update", self.execution.micro_batch_size):
            self._update(self.global_step)

    def _update(self, step: int) -> None:
        batches, num_targets = self._batches(step)
        rate = float(self._rates[step])
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for parameter in self._parameters:
            parameter.grad = None
        for micro, batch in enumerate(batches):
            self._backward(batch, num_targets, mix(self.spec.seed, _FORWARD, step, micro))
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        if self.spec.max_grad_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.spec.max_grad_norm, foreach=True)
        else:
            norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None], foreach=True)
        self._norms.record(step, norm)
        self._step_optimizer()
        self._averages.update(step)
        self.num_targets_seen += num_targets
        self.global_step = step + 1

    @property
    def learning_rate(self) -> float:
        """The rate of the latest update (of the first, before it)."""
        return float(self._rates[max(0, self.global_step - 1)])

    @property
    def loss_total(self) -> torch.Tensor:
        """Training losses per target of all updates since this object was made, added up on the device, float64.

        Non-finite from the first update whose loss was; differences give the mean loss of an interval.
        """
        return self._loss_total

    @property
    def num_skipped_updates(self) -> int:
        """Updates that the fp16 scaler skipped, of all `global_step`; waits for the device."""
        return int(self._skipped)

    def grad_norm(self) -> torch.Tensor:
        """The latest update's gradient norm before clipping, on the device."""
        return self._norms.of(self.global_step - 1)

    def gradient_summary(self) -> dict[str, float]:
        """What the latest updates' unclipped gradient norms were, see `GradientNorms.summary`; waits for the device."""
        return self._norms.summary(self.global_step, self.spec.max_grad_norm)

    def is_finite(self) -> bool:
        """No training loss was non-finite so far; waits for the device."""
        return math.isfinite(float(self._loss_total))

    def evaluate(self, split: str) -> dict[str, float]:
        """Metrics of a split, see `evaluation.evaluate`; leaves no trace."""
        return evaluate(
            self.model,
            self._workload,
            split=split,
            spec=self.eval_spec,
            precision=self.spec.precision,
            device=self.device,
        )

    def evaluate_averages(self) -> dict[int, dict[str, float]]:
        """Metrics of the averaged weights on validation, by horizon; leaves no trace."""
        values = {}
        for horizon in self._averages.horizons:
            with self._averages.in_place(horizon):
                values[horizon] = self.evaluate(VALIDATION)
        return values

    def recipe_key(self) -> str:
        """The recipe key of the weights as they are now."""
        return self._keys.key_at(self.global_step)

    def weights_digest(self) -> str:
        return digest_of(self._weights)

    def copy_full(self) -> Snapshot:
        """Everything that a run needs to go on from here."""
        tensors = {f"{_OPTIMIZER}{name}": tensor for name, tensor in self._state.items()}
        tensors |= self._averages.tensors()
        tensors[_NORMS] = self._norms.window
        facts = {
            "kind": "full",
            "num_skipped_updates": self.num_skipped_updates,
            "is_finite": self.is_finite(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }
        return self._copied(tensors, facts)

    def copy_weights(self) -> Snapshot:
        """The weights as they are now: enough to score or export them."""
        return self._copied({}, {"kind": "weights"})

    def copy_averaged(self, horizon: int) -> Snapshot:
        """The averaged weights as they are now, with the run's own buffers."""
        with self._averages.in_place(horizon):
            return self._copied({}, {"kind": "averaged", "horizon": horizon})

    def load(self, path: Path, *, sha256: str | None = None) -> None:
        """Go on from a full-state file of this run or of one with the same recipe up to there.

        Averages that the file lacks are not measured from here on, see `Averages.adopt`.

        Raises:
            CheckpointDamaged: missing, altered or cut short.
            CheckpointMismatch: of another recipe or model, or weights only.
        """
        tensors, facts = read_checkpoint(path, sha256=sha256)
        self._require_ours(path, facts)
        live = {f"{MODEL_PREFIX}{name}": tensor for name, tensor in self._weights.items()}
        live |= {f"{_OPTIMIZER}{name}": tensor for name, tensor in self._state.items()}
        tensors = self._averages.adopt(tensors)
        live |= self._averages.tensors()
        # Files of before the norms were kept go on without those of their last updates.
        tensors.setdefault(_NORMS, GradientNorms(self.device).window)
        copy_into({**live, _NORMS: self._norms.window}, tensors, path)
        if self._scaler is not None:
            self._scaler.load_state_dict(facts["scaler"])
        self.global_step = facts["global_step"]
        self._skipped.fill_(facts["num_skipped_updates"])
        self._loss_total.fill_(0.0 if facts["is_finite"] else math.nan)

    def _batches(self, step: int) -> tuple[list[Batch], int]:
        """The update's micro-batches, and the targets of all of them, by which each loss is divided before backward."""
        examples = self._order.examples(step)
        size = self.execution.micro_batch_size
        batches = []
        for micro, start in enumerate(range(0, len(examples), size)):
            # Augmentation in a workload's batch() is a function of (seed, step, micro-batch) too.
            seed_everything(mix(self.spec.seed, _BATCH, step, micro), self.device)
            batches.append(self._workload.batch(TRAIN_SAMPLE, examples[start : start + size]))
        num_targets = sum(self._workload.num_targets(batch) for batch in batches)
        if not num_targets:
            raise DataError(
                f"update {step}: none of its {len(examples)} examples has a target; drop examples without labels"
            )
        return batches, num_targets

    def _backward(self, batch: Batch, num_targets: int, seed: int) -> None:
        seed_torch(seed, self.device)
        with self._autocast:
            loss = self._workload.loss_sum(self.model, on_device(batch, self.device)) / num_targets
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        self._loss_total.add_(loss.detach())

    def _step_optimizer(self) -> None:
        if self._scaler is None:
            self._optimizer.step()
            return
        # The fused optimizers take this flag and skip on the device; scaler.step() hands it to them, then forgets it.
        found = self._scaler._found_inf_per_device(self._optimizer)
        for flag in found.values():
            self._skipped.add_(flag.to(self.device, non_blocking=True))
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _copied(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Snapshot:
        """The weights, and other tensors beside them, on the CPU and apart from the live ones; waits for the device."""
        live = {f"{MODEL_PREFIX}{name}": tensor for name, tensor in self._weights.items()} | dict(tensors)
        return Snapshot(
            global_step=self.global_step,
            tensors={name: tensor.detach().to("cpu", copy=True) for name, tensor in live.items()},
            facts={**facts, "recipe_key": self.recipe_key()},
        )

    def _require_ours(self, path: Path, facts: dict[str, Any]) -> None:
        if facts["kind"] != "full":
            raise CheckpointMismatch(f"checkpoint {path} holds weights only; a run goes on from a full-state file")
        step = facts["global_step"]
        if step > self.spec.max_train_steps or facts["recipe_key"] != self._keys.key_at(step):
            raise CheckpointMismatch(
                f"checkpoint {path} at step {step} was made by another recipe; a run goes on from its own only"
            )


def _require_divides(spec: RunSpec, execution: ExecutionSpec) -> None:
    if spec.global_batch_size % execution.micro_batch_size:
        raise ConfigError(
            f"execution.micro_batch_size={execution.micro_batch_size} does not divide "
            f"training.global_batch_size={spec.global_batch_size}; use a divisor of {spec.global_batch_size}"
        )
