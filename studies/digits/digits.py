"""A workload of one's own: a small network on scikit-learn's handwritten digits.

Give the data by split and a model; the base class brings loss, error and accuracy. Whatever the constructor takes may
be set under `workload.options` or searched.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from tuner.workloads.classification import ArrayClassification, Arrays
from tuner.workloads.permutation import stream_indices

_SPLIT_SEED = 1
_NOISE_SEED = 2
_NUM_VALIDATION = _NUM_TEST = 270


class Digits(ArrayClassification):
    """A perceptron with one hidden layer on 1,797 images of 8 x 8 pixels, ten classes.

    `label_noise` is the share of training labels that are replaced by random ones; validation and test stay clean.
    """

    def __init__(
        self, *, hidden_size: int = 64, dropout: float = 0.0, label_smoothing: float = 0.0, label_noise: float = 0.0
    ) -> None:
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.label_noise = label_noise

    def load(self) -> Arrays:
        digits = load_digits()
        pixels = (digits.data / 16.0).astype(np.float32)  # (1797, 64), from 0 to 1
        order = stream_indices(_SPLIT_SEED, 0, len(pixels), len(pixels))
        validation, test, train = np.split(order, [_NUM_VALIDATION, _NUM_VALIDATION + _NUM_TEST])
        labels = digits.target.copy()
        generator = np.random.default_rng(_NOISE_SEED)
        noisy = train[generator.random(len(train)) < self.label_noise]
        labels[noisy] = generator.integers(0, 10, len(noisy))
        parts = {"train": train, "validation": validation, "test": test}
        return {split: (pixels[part], labels[part]) for split, part in parts.items()}

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(64, self.hidden_size),
            torch.nn.ReLU(),
            torch.nn.Dropout(self.dropout),
            torch.nn.Linear(self.hidden_size, 10),
        )
