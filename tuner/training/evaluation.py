"""Metrics per target over a split, measured in eval mode on batches of their own.

The one rule: an evaluation leaves no trace. Random states, `train()` flags and data position are as it found them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tuner.errors import DataError
from tuner.records import TRAIN_SAMPLE, VALIDATION, EvalSpec, Precision
from tuner.training.memory import noticing_memory
from tuner.training.precision import autocast
from tuner.workloads.interface import Batch, Workload
from tuner.workloads.permutation import mix, stream_indices

_SAMPLE_SEED = 0x5A3
_RANDOM_SEED = 0xE7A1
_LARGEST_EXPONENT = 700.0


def evaluate(
    model: nn.Module, workload: Workload, *, split: str, spec: EvalSpec, precision: Precision, device: torch.device
) -> dict[str, float]:
    """Each metric of a split per target, and `perplexity` = exp(loss).

    Sums are kept in float64 over the whole split: neither the last short batch nor the training's micro-batch counts.
    A loss above 700 gives the perplexity of 700: exp would overflow.

    Raises:
        OutOfMemory: a batch of the evaluation does not fit.
    """
    indices = evaluated_examples(workload.num_examples(split), split, spec)
    totals: dict[str, torch.Tensor] = {}
    num_targets = 0
    with (
        noticing_memory("evaluation", spec.batch_size),
        leaves_no_trace(model, device),
        torch.inference_mode(),
        autocast(precision, device),
    ):
        model.eval()
        for start in range(0, len(indices), spec.batch_size):
            batch = workload.batch(split, indices[start : start + spec.batch_size])
            num_targets += workload.num_targets(batch)
            for name, value in workload.score_sums(model, on_device(batch, device)).items():
                totals[name] = totals.get(name, 0.0) + value.double()
        values = {name: float(total) for name, total in totals.items()}
    if not num_targets:
        raise DataError(f"the {split} split has no targets; give it labels that carry loss")
    values = {name: value / num_targets for name, value in values.items()}
    return {**values, "perplexity": math.exp(min(values["loss"], _LARGEST_EXPONENT))}


def evaluated_examples(num_examples: int, split: str, spec: EvalSpec) -> NDArray[np.int64]:
    """Examples of a split that are measured: all, or a sample that is the same in every run; int64, rising."""
    caps = {TRAIN_SAMPLE: spec.num_train_examples, VALIDATION: spec.max_validation_examples}
    cap = caps.get(split)
    if cap is None or cap >= num_examples:
        return np.arange(num_examples, dtype=np.int64)
    return np.sort(stream_indices(_SAMPLE_SEED, 0, cap, num_examples))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on the device; to CUDA through pinned memory, without waiting."""
    if device.type == "cpu":
        return batch
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}


@contextmanager
def leaves_no_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore every random state and every module's train flag at the end; random draws inside are always the same."""
    flags = [(module, module.training) for module in model.modules()]
    torch_state = torch.default_generator.get_state()
    cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    python_state, numpy_state = random.getstate(), np.random.get_state()
    seed_torch(mix(_RANDOM_SEED), device)
    try:
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for module, flag in flags:
            module.training = flag


def seed_everything(seed: int, device: torch.device) -> None:
    """Seed torch, numpy and random: whatever a user's code may draw from."""
    seed_torch(seed, device)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the default generators; 1 us on the CPU, where `torch.manual_seed` takes 85."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
