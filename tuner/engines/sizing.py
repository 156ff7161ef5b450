"""How many workers this machine runs by default: one per core on CPU, one per GPU otherwise."""

from __future__ import annotations

import os
from pathlib import Path

GPU_DEVICE_FILES = ("/dev/nvidia0", "/dev/kfd")


def default_num_workers(device: str) -> int:
    """Workers for `execution.device`; imports torch only where the system shows a GPU."""
    if device != "cpu" and any(Path(file).exists() for file in GPU_DEVICE_FILES):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
