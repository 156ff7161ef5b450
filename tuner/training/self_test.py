"""What torch can do on this machine: its devices, and the precisions in which updates really work.

Rule: nothing is taken from a table of devices; each precision makes a few small updates, which must lower the loss.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from tuner.records import Precision
from tuner.training.precision import autocast, gradient_scaler, usable_device

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
NUM_UPDATES = 20
"""The fp16 scaler begins too high, and skips its first updates until it has come down."""


def cuda_devices() -> list[str]:
    """The CUDA devices that torch can use, with their memory."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{device.name}, {device.total_memory / 2**30:.1f} GiB" for device in found]


def broken_precisions(device: str) -> dict[Precision, str]:
    """Why a precision does not work on a device, for those that do not."""
    broken: dict[Precision, str] = {}
    for precision in PRECISIONS:
        try:
            before, after = _train(device, precision)
        except Exception as error:  # Whatever torch and its libraries raise: that is the answer.
            broken[precision] = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            if not after < before:
                broken[precision] = f"{NUM_UPDATES} updates took the loss from {before:.4g} to {after:.4g}"
    return broken


def _train(name: str, precision: Precision) -> tuple[float, float]:
    """The loss of a small linear model before and after some updates, made as the training loop makes them."""
    device = usable_device(name, precision)
    inputs = torch.linspace(-1, 1, 64).reshape(16, 4).to(device)
    targets = inputs.sum(dim=1, keepdim=True)
    weights = torch.zeros(4, 1, device=device, requires_grad=True)
    optimizer, scaler = torch.optim.SGD([weights], lr=0.1), gradient_scaler(precision, device)
    losses = []
    for _ in range(NUM_UPDATES):
        optimizer.zero_grad()
        with autocast(precision, device):
            loss = functional.mse_loss(inputs @ weights, targets)
        losses.append(float(loss.detach()))
        if scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        else:
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
    return losses[0], losses[-1]
