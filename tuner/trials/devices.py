"""Which device a worker uses, and how many workers this machine runs: one per core on CPU, one per GPU otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from tuner.errors import ConfigError

GPU_DEVICE_FILES = ("/dev/nvidia0", "/dev/kfd")


def resolve_device(setting: str, *, worker: int = 0) -> str:
    """The device that `execution.device` means to worker number `worker` on this machine; GPUs are dealt in turn.

    Raises:
        ConfigError: if cuda is asked for and there is none.
    """
    num_gpus = 0 if setting == "cpu" else _num_gpus()
    if num_gpus:
        return f"cuda:{worker % num_gpus}"
    if setting == "cuda":
        raise ConfigError(
            "execution.device: torch has no CUDA here; use execution.device=cpu, or install torch with CUDA"
        )
    return "cpu"


def default_num_workers(setting: str) -> int:
    """Workers for `execution.device`; imports torch only where the system shows a GPU."""
    if setting != "cpu" and any(Path(file).exists() for file in GPU_DEVICE_FILES):
        num_gpus = _num_gpus()
        if num_gpus:
            return num_gpus
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
