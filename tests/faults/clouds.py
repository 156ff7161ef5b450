"""A real workload of a hundred weights: two clouds of points, told apart with dropout."""

from __future__ import annotations

import numpy as np
import torch

from tuner.workloads.classification import ArrayClassification


class Clouds(ArrayClassification):
    """60 points for training; `data_seed` makes other ones."""

    def __init__(self, *, dropout: float = 0.0, data_seed: int = 0) -> None:
        super().__init__()
        self.dropout, self.data_seed = dropout, data_seed

    def load(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        generator = np.random.default_rng(self.data_seed)
        labels = generator.integers(0, 2, 100)
        points = (generator.normal(size=(100, 3)) + labels[:, None]).astype(np.float32)
        cuts = {"train": slice(0, 60), "validation": slice(60, 80), "test": slice(80, 100)}
        return {split: (points[cut], labels[cut]) for split, cut in cuts.items()}

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(3, 12), torch.nn.LayerNorm(12), torch.nn.Dropout(self.dropout), torch.nn.Linear(12, 2)
        )
