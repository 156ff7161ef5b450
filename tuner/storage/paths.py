"""Where everything of a home folder lies; no other file spells a path.

Names of studies and phases are data: a folder is a readable slug plus a short hash of the exact name, so no name can
leave the home folder, collide with another or trip over the file system.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner.errors import HomeError

CheckpointKind = Literal["full", "weights", "averaged"]
"""full: everything needed to go on bit for bit. weights: the model alone, kept for the best step. averaged: so are the
weights averaged over the horizon that was best there."""


@dataclass(frozen=True, slots=True)
class HomePaths:
    """The folders and files of one home folder. `home` is absolute, symbolic links resolved."""

    home: Path

    @property
    def database(self) -> Path:
        """The SQLite file, unless `--storage` names another database."""
        return self.home / "tuner.db"

    @property
    def data(self) -> Path:
        """Tokenized data, memory-mapped and shared by all trials."""
        return self.home / "data"

    def checkpoint(self, study: str, trial: int, *, global_step: int, kind: CheckpointKind, epoch: int) -> Path:
        """A checkpoint file. The lease epoch is in its name, so a stale worker cannot overwrite a new one's (D5)."""
        name = f"step-{global_step:09d}.epoch-{epoch}.{kind}.safetensors"
        return self.home / "checkpoints" / folder_name(study) / str(int(trial)) / name

    def tensorboard(self, study: str, phase: str, number: int) -> Path:
        """The log folder of one trial, by its number in its phase."""
        return self.home / "tensorboard" / folder_name(study) / _phase_folder(phase) / str(int(number))

    def resolve(self, stored: str) -> Path:
        """The file of a path as stored (relative to the home folder).

        Raises:
            HomeError: if the stored path would leave the home folder.
        """
        path = (self.home / stored).resolve()
        if not path.is_relative_to(self.home):
            raise HomeError(
                f"checkpoint path {stored!r} leaves the home folder {self.home}; the database was tampered with"
            )
        return path


def folder_name(name: str) -> str:
    """A name as a folder: what is plain ASCII of it, and eight digits of its hash.

    >>> folder_name("../My study")
    'my-study-acf31d7c'
    """
    slug = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:40]
    return f"{slug or 'study'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _phase_folder(phase: str) -> str:
    return phase if re.fullmatch(r"[a-z0-9_]+(\.[0-9]+)?", phase) else folder_name(phase)
