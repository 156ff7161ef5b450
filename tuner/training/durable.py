"""Files that are whole or not there, and known by their digest; whatever they hold.

The one rule: a name in the file system is a whole file. Write beside it, fsync, rename, fsync the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import TryAgainLater, TunerError, is_disk_full
from tuner.failpoints import failpoint


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


def write_durably(path: Path, data: bytes) -> str:
    """Write a file and return its SHA-256; once this returns, no crash undoes it.

    Raises:
        TryAgainLater: the disk is full; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        if is_disk_full(error):
            raise TryAgainLater(
                f"the disk is full: {path} could not be written; free some space and run the command again"
            ) from None
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()


def require_whole(path: Path, sha256: str | None) -> None:
    """Refuse a file that is not the one that was written; without a digest, one that is not there.

    Raises:
        CheckpointDamaged: missing, altered or cut short.
    """
    if not path.is_file():
        raise CheckpointDamaged(f"checkpoint {path} is missing; resume takes an older one")
    if sha256 is None:
        return
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointDamaged(f"checkpoint {path} cannot be read ({error}); resume takes an older one") from None
    if found != sha256:
        raise CheckpointDamaged(
            f"checkpoint {path} was altered: sha256 {found[:12]}, recorded {sha256[:12]}; resume takes an older one"
        )


def set_aside(path: Path) -> str:
    """Put a damaged file where nothing looks for it, and say so; one that is missing stays missing."""
    with contextlib.suppress(FileNotFoundError):
        return f"it was set aside as {path.rename(path.with_name(f'{path.name}.damaged')).name}"
    return "nothing was there to be set aside"


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
