"""fp32, bf16 and fp16 by autocast; fp16 with a gradient scaler, on the CPU too.

The one rule: parameters and optimizer state stay float32; a precision that the device lacks is refused, never replaced.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler

from tuner.errors import ConfigError
from tuner.records import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def usable_device(name: str, precision: Precision) -> torch.device:
    """The device, once it is known to be there and to have the precision.

    Raises:
        ConfigError: it is not, or has not.
    """
    device = torch.device(name)
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"execution.device={name}: runs are made on cpu or cuda; use one of them")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"execution.device={name}: torch {torch.__version__} finds no CUDA device here; use device: cpu"
        )
    if device.type == "cuda" and device.index is not None:
        # A user's bare .cuda(), and what torch asks of "the" device, mean this worker's.
        torch.cuda.set_device(device)
    if device.type == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(
            f"training.precision=bf16: {torch.cuda.get_device_name(device)} has no bfloat16; use fp16 or fp32"
        )
    return device


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """A context for forward passes; it may be entered again and again."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device_type=device.type, dtype=_DTYPES[precision])


def gradient_scaler(precision: Precision, device: torch.device) -> GradScaler | None:
    """A scaler for fp16, whose gradients would else underflow; None for the others, which need none."""
    return GradScaler(device.type) if precision == "fp16" else None
