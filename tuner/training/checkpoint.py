"""Checkpoint files: safetensors with canonical JSON under one metadata key; no pickle.

The one rule: equal states give equal bytes, by one metadata key (two or more safetensors orders at random).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from tuner.errors import ConfigError
from tuner.training.durable import CheckpointDamaged, CheckpointMismatch, require_whole, write_durably

CHECKPOINT_FORMAT = 1
MODEL_PREFIX = "model."
"""Before the names of a model's own tensors in every checkpoint file."""

_METADATA_KEY = "tuner"


def weight_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers by name, live; a tied tensor once, under its first name.

    Raises:
        ConfigError: the model keeps state that is no tensor, which a checkpoint could not hold.
    """
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            raise ConfigError(
                f"{type(model).__name__} keeps {name}, which is no tensor; keep it as a buffer or outside state_dict()"
            )
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over the sorted names, types, shapes and raw bytes of parameters and buffers."""
    return digest_of(weight_tensors(model))


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """`weights_digest` of tensors that were already taken from a model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> tuple[str, int]:
    """Write a file durably and return its SHA-256 and size in bytes.

    Raises:
        TryAgainLater: the disk is full; nothing is left behind.
    """
    text = json.dumps({"format": CHECKPOINT_FORMAT, **facts}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    # In memory first: safetensors' own writer leaves files of its own naming behind when it is killed.
    data = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata={_METADATA_KEY: text})
    return write_durably(path, data), len(data)


def read_checkpoint(path: Path, *, sha256: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and facts of a file, verified against its digest if one is given.

    Raises:
        CheckpointDamaged: missing, altered or cut short.
        CheckpointMismatch: another program's file, or another format.
    """
    require_whole(path, sha256)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointDamaged(f"checkpoint {path} cannot be read ({error}); resume takes an older one") from None
    facts = json.loads(metadata.get(_METADATA_KEY, "{}"))
    if facts.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointMismatch(
            f"checkpoint {path} has format {facts.get('format')}, not {CHECKPOINT_FORMAT}; "
            "use the version of tuner that wrote it"
        )
    return tensors, facts


def read_weights(path: Path, *, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """The model's tensors of a file, full state or weights only, under the model's own names.

    Raises:
        CheckpointDamaged, CheckpointMismatch: as `read_checkpoint`.
    """
    tensors, _ = read_checkpoint(path, sha256=sha256)
    return {
        name.removeprefix(MODEL_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(MODEL_PREFIX)
    }


def copy_into(live: Mapping[str, torch.Tensor], loaded: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy loaded tensors into the live ones of the same names, all or none.

    Raises:
        CheckpointMismatch: names, types or shapes differ.
    """
    for name in sorted({*live, *loaded}):
        if name not in live or name not in loaded:
            where = "the file" if name in live else "this run"
            raise CheckpointMismatch(f"checkpoint {path} is of another model: {name} is missing in {where}")
        have, found = live[name], loaded[name]
        if have.shape != found.shape or have.dtype != found.dtype:
            raise CheckpointMismatch(
                f"checkpoint {path} is of another model: {name} is {found.dtype} {tuple(found.shape)} there, "
                f"{have.dtype} {tuple(have.shape)} here"
            )
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(loaded[name])
