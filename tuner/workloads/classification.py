"""A base class for a user's own classifier on arrays: give `load()` and `build_model()`, get a whole workload.

The one rule: a subclass's constructor takes its options as keyword arguments and keeps nothing else; data is loaded
once, on first use.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION
from tuner.workloads.interface import Batch, entropy

Arrays = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


class ArrayClassification(ABC):
    """Cross-entropy on (inputs, labels) arrays; metrics are loss, error and accuracy.

    A subclass that takes an option `label_smoothing` sets `self.label_smoothing`; scores are always without it.
    """

    metrics: tuple[str, ...] = ("loss", "error", "accuracy")
    label_smoothing: float = 0.0

    @abstractmethod
    def load(self) -> Arrays:
        """`{"train": (inputs, labels), "validation": ..., "test": ...}`.

        inputs: float or integer array, examples first; floats become float32. labels: integers, shape (examples,).
        """

    @abstractmethod
    def build_model(self) -> torch.nn.Module:
        """A new model from inputs to logits of shape (examples, classes)."""

    def num_examples(self, split: str) -> int:
        return len(self._tensors[split][1])

    def batch(self, split: str, indices: NDArray[np.int64]) -> Batch:
        """`inputs` (examples, ...) and `labels` int64 (examples,)."""
        inputs, labels = self._tensors[split]
        chosen = torch.from_numpy(indices)
        return {"inputs": inputs[chosen], "labels": labels[chosen]}

    def num_targets(self, batch: Batch) -> int:
        return len(batch["labels"])

    def loss_sum(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        logits = model(batch["inputs"]).float()
        return F.cross_entropy(logits, batch["labels"], reduction="sum", label_smoothing=self.label_smoothing)

    def score_sums(self, model: torch.nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        logits = model(batch["inputs"]).float()  # (examples, classes)
        num_right = (logits.argmax(-1) == batch["labels"]).sum()
        return {
            "loss": F.cross_entropy(logits, batch["labels"], reduction="sum"),
            "error": len(batch["labels"]) - num_right,
            "accuracy": num_right,
        }

    def constant_loss(self, split: str, indices: NDArray[np.int64]) -> float | None:
        """The entropy of the examples' class frequencies; unknown where a subclass scores another loss."""
        if type(self).score_sums is not ArrayClassification.score_sums:
            return None
        return entropy(self._tensors[split][1].numpy()[indices])

    def recipe(self) -> Mapping[str, Any]:
        """The data's digest; class, source, options and versions are added where the class is built (`build.py`)."""
        return {"kind": "array_classification", "data": self._data_digest, "metrics": list(self.metrics)}

    @cached_property
    def _tensors(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        arrays = self.load()
        return {split: _checked(type(self).__name__, split, arrays) for split in (TRAIN_SAMPLE, VALIDATION, TEST)}

    @cached_property
    def _data_digest(self) -> str:
        digest = hashlib.sha256()
        for split, pair in sorted(self._tensors.items()):
            for tensor in pair:
                digest.update(f"{split} {tensor.dtype} {tuple(tensor.shape)};".encode())
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def _checked(owner: str, split: str, arrays: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
    if split not in arrays:
        raise DataError(
            f"{owner}.load() returned {', '.join(arrays) or 'nothing'}; it must return train, validation and test"
        )
    inputs, labels = (np.ascontiguousarray(array) for array in arrays[split])
    if len(labels) == 0:
        raise DataError(f"{owner}.load(): the {split} split has no examples; give it at least one")
    if labels.ndim != 1 or len(inputs) != len(labels) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(
            f"{owner}.load(): {split} labels of shape {labels.shape} and type {labels.dtype} do not fit "
            f"{len(inputs)} inputs; labels are integers from 0, one per example"
        )
    dtype = np.float32 if inputs.dtype.kind == "f" else inputs.dtype
    # Copies, so that a batch can never write into the user's arrays, and read-only arrays are welcome.
    return torch.from_numpy(inputs.astype(dtype, copy=True)), torch.from_numpy(labels.astype(np.int64, copy=True))
