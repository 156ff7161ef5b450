"""Checkpoint files: safetensors with canonical JSON under one metadata key; no pickle.

The one rule: a name in the file system is a whole file. Write beside it, fsync, rename, fsync the folder. With one
metadata key equal states give equal bytes (with two or more safetensors orders them at random).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from tuner.errors import ConfigError, TryAgainLater, TunerError
from tuner.failpoints import failpoint

CHECKPOINT_FORMAT = 1
MODEL_PREFIX = "model."
"""Before the names of a model's own tensors in every checkpoint file."""

_METADATA_KEY = "tuner"


class CheckpointDamaged(TunerError):  # noqa: N818
    """A checkpoint file that is missing, cut short or altered: take an older one."""


class CheckpointMismatch(TunerError):  # noqa: N818
    """A whole checkpoint, but of another run, model or format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFile:
    """A file just written. `sha256` is its integrity, `weights_digest` the identity of the weights in it."""

    path: Path
    sha256: str
    weights_digest: str
    size_bytes: int


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
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> tuple[str, int]:
    """Write a file durably and return its SHA-256 and size in bytes.

    Raises:
        TryAgainLater: the disk is full; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    text = json.dumps({"format": CHECKPOINT_FORMAT, **facts}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    # In memory first: safetensors' own writer leaves files of its own naming behind when it is killed.
    data = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata={_METADATA_KEY: text})
    try:
        failpoint("blob.before_write")
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            failpoint("blob.before_fsync")
            os.fsync(file.fileno())
        failpoint("blob.before_rename")
        temporary.rename(path)
        failpoint("blob.after_rename")
        _fsync_folder(path.parent)
        failpoint("blob.after_directory_fsync")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise TryAgainLater(
                f"the disk is full: {path} could not be written; free some space and run the command again"
            ) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest(), len(data)


def read_checkpoint(path: Path, *, sha256: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and facts of a file, verified against its digest if one is given.

    Raises:
        CheckpointDamaged: missing, altered or cut short.
        CheckpointMismatch: another program's file, or another format.
    """
    if not path.is_file():
        raise CheckpointDamaged(f"checkpoint {path} is missing; resume takes an older one")
    if sha256 is not None:
        _verify(path, sha256)
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


def _verify(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise CheckpointDamaged(
            f"checkpoint {path} was altered: sha256 {found[:12]}, recorded {sha256[:12]}; resume takes an older one"
        )


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
