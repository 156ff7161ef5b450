"""What the training core knows of a workload: model, data, loss and metric behind six methods.

Losses and metrics are *sums* over targets (tokens, labels); the core divides by the true count, once, over the whole
global batch. A workload draws no random number of its own: whatever is random in a forward pass comes from torch's
default generator, which the core seeds by (seed, step, micro-batch) (D1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Batch = Mapping[str, torch.Tensor]
"""CPU tensors of one micro-batch by name; the core moves them to the device."""


class Workload(Protocol):
    """One kind of model on one data set."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names that `score_sums` returns; always holds "loss"."""
        ...

    def num_examples(self, split: str) -> int:
        """Examples of "train", "validation" or "test"."""
        ...

    def build_model(self) -> torch.nn.Module:
        """A new model; its initial weights are drawn from torch's default generator."""
        ...

    def batch(self, split: str, indices: NDArray[np.int64]) -> Batch:
        """The examples at `indices` of a split, stacked (and padded, if they differ in length)."""
        ...

    def num_targets(self, batch: Batch) -> int:
        """Targets that carry loss; padding does not."""
        ...

    def loss_sum(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Training loss summed over targets: a scalar with a gradient."""
        ...

    def score_sums(self, model: torch.nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Each metric summed over targets, in eval mode and without gradients; "loss" without regularisation."""
        ...

    def recipe(self) -> Mapping[str, Any]:
        """What decides the weights beside the run's own settings: data digest, tokenizer, architecture, source.

        JSON values only. Two workloads with equal recipes train to equal weights.
        """
        ...


class TellsConstantLoss(Protocol):
    """What a workload may tell beside: then a run that learned nothing is known by it (PROTOCOL 6, collapsed)."""

    def constant_loss(self, split: str, indices: NDArray[np.int64]) -> float | None:
        """The lowest "loss" per target that one prediction for all of these examples can have; None if unknown.

        For classes and tokens that is the entropy of their frequencies, see `entropy`.
        """
        ...


def entropy(targets: NDArray[np.integer[Any]]) -> float:
    """Cross-entropy, in nats per target, of the best constant prediction: the frequencies of the targets themselves.

    >>> round(entropy(np.array([0, 0, 1, 1])), 4)
    0.6931
    """
    _, counts = np.unique(targets, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
