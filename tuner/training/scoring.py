"""Scores of weights that no run is training: saved ones on the test set, and those of a model that never trained.

The one rule: each goes the way of every other evaluation, so that its number may stand beside theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tuner.records import TRAIN_SAMPLE, EvalSpec, ExecutionSpec, Precision
from tuner.training.checkpoint import copy_into, read_weights, weight_tensors
from tuner.training.evaluation import evaluate, seed_torch
from tuner.training.numerics import set_global_flags
from tuner.training.precision import usable_device
from tuner.training.run import INITIAL_WEIGHTS
from tuner.workloads.interface import Workload
from tuner.workloads.permutation import mix


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFile:
    """A weights or full-state file, its digest if it is known, and the precision of the run that wrote it."""

    path: Path
    precision: Precision
    sha256: str | None = None


def score_weights(
    file: ScoredFile, workload: Workload, *, split: str, eval_spec: EvalSpec, execution: ExecutionSpec
) -> dict[str, float]:
    """Metrics of a weights or full-state file on a split, in a fresh model.

    Raises:
        CheckpointDamaged: missing, altered or cut short.
        CheckpointMismatch: the weights of another model.
    """
    device = usable_device(execution.device, file.precision)
    set_global_flags(execution)
    model = workload.build_model().to(device)
    copy_into(weight_tensors(model), read_weights(file.path, sha256=file.sha256), file.path)
    return evaluate(model, workload, split=split, spec=eval_spec, precision=file.precision, device=device)


def untrained_loss(workload: Workload, eval_spec: EvalSpec, *, seed: int, execution: ExecutionSpec) -> float:
    """The loss on the training sample of the model that a run of this seed begins with, in fp32."""
    device = usable_device(execution.device, "fp32")
    set_global_flags(execution)
    seed_torch(mix(seed, INITIAL_WEIGHTS), torch.device("cpu"))
    model = workload.build_model().to(device)
    values = evaluate(model, workload, split=TRAIN_SAMPLE, spec=eval_spec, precision="fp32", device=device)
    return values["loss"]
