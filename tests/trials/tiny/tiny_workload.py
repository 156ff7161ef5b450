"""A ten-second workload: rings of points with alternating labels, told apart by a small MLP with dropout."""

import numpy as np
import torch

from tuner.workloads.classification import ArrayClassification


class Rings(ArrayClassification):
    """Points in the plane; those of every second ring belong together."""

    def __init__(self, *, hidden_size: int = 24, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden_size, self.dropout = hidden_size, dropout

    def load(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        generator = np.random.default_rng(0)
        ring = generator.integers(0, 3, 900)
        labels = ring % 2
        angle = generator.uniform(0, 2 * np.pi, 900)
        radius = 0.5 + ring + generator.normal(0, 0.1, 900)
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)
        cuts = {"train": slice(0, 500), "validation": slice(500, 700), "test": slice(700, 900)}
        return {split: (points[cut], labels[cut]) for split, cut in cuts.items()}

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(2, self.hidden_size),
            torch.nn.ReLU(),
            torch.nn.Dropout(self.dropout),
            torch.nn.Linear(self.hidden_size, self.hidden_size),
            torch.nn.ReLU(),
            torch.nn.Dropout(self.dropout),
            torch.nn.Linear(self.hidden_size, 2),
        )
