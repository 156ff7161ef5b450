"""The score of saved weights on a split: the final number on the test set.

The one rule: it goes the way of every other evaluation, so that its number may stand beside theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner.records import EvalSpec, ExecutionSpec, Precision
from tuner.training.checkpoint import copy_into, read_weights, weight_tensors
from tuner.training.evaluation import evaluate
from tuner.training.numerics import set_global_flags
from tuner.training.precision import usable_device
from tuner.workloads.interface import Workload


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
