"""A folder that appears whole or not at all: filled beside its place, made durable, renamed.

The one rule: nothing that is already there is touched; a folder with anything in it is refused.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.errors import HomeError, is_disk_full
from tuner.failpoints import failpoint


def refuse_occupied(target: Path) -> None:
    """Raise unless there is nothing at `target`, or an empty folder.

    Raises:
        HomeError: with the remedy.
    """
    try:
        if target.is_dir() and not any(target.iterdir()):
            return
    except OSError as error:
        raise HomeError(f"{target} cannot be read ({error.strerror}); name another folder") from None
    if target.is_dir():
        raise HomeError(f"{target} is not empty, and nothing is ever overwritten; name a new folder or empty this one")
    if target.exists() or target.is_symlink():
        raise HomeError(f"{target} exists and is no folder; name a new folder")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when the block ends without an error.

    Raises:
        HomeError: something is at `target`, or the folder cannot be made there.
    """
    refuse_occupied(target)
    place = target.resolve()
    beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        failpoint("export.before_write")
        beside.mkdir()
        yield beside
        failpoint("export.before_fsync")
        _make_durable(beside)
        failpoint("export.before_rename")
        # Onto an empty folder this is one step; a folder that was filled meanwhile is refused by the system.
        beside.rename(place)
        failpoint("export.after_rename")
        _fsync(place.parent)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise _unwritable(target, error) from None
    except OSError as error:
        if beside.is_dir() and place.is_dir() and not is_disk_full(error):
            raise _unwritable(target, error) from None
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> HomeError:
    return HomeError(f"{target} cannot be written ({error.strerror}); name a new folder in a place that can")


def _make_durable(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        _fsync(path)
    _fsync(folder)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
