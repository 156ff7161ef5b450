"""A run as it was after some update: tensors that training no longer touches, and what a checkpoint says of them.

The one rule: whoever holds a snapshot may write it from another thread, at any later time, and gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuner.training.checkpoint import MODEL_PREFIX, digest_of, write_checkpoint
from tuner.training.durable import SavedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run, or its weights alone, as they were after `global_step` updates.

    Attributes:
        tensors: copies on the CPU, by their names in a checkpoint file.
        facts: the file's other contents.
    """

    global_step: int
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]

    def save(self, path: Path) -> SavedFile:
        """Write it durably.

        Raises:
            TryAgainLater: the disk is full; nothing is left behind.
        """
        sha256, size = write_checkpoint(path, self.tensors, {**self.facts, "global_step": self.global_step})
        weights = {
            name.removeprefix(MODEL_PREFIX): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(MODEL_PREFIX)
        }
        return SavedFile(path=path, sha256=sha256, weights_digest=digest_of(weights), size_bytes=size)
