"""Finds and removes files that nothing reaches: checkpoints without a row, leftovers of killed writers, empty folders.

Rule: row first, file later, and safe beside running workers, who write a file before its row (D5). So a file stays if
it is younger than three leases, or carries the lease epoch under which its trial runs now: its row may still come. Any
older epoch is fenced off, and can never name it. Folders of studies that this database does not know stay too: another
database may share the home. So do whole token caches: which study needs one, only its text could tell.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select

from tuner.storage import retention, studies
from tuner.storage.leases import LEASE_SECONDS
from tuner.storage.paths import folder_name
from tuner.storage.store import Store
from tuner.storage.tables import checkpoints, trials
from tuner.storage.tables import studies as study_table

YOUNG_SECONDS = 3 * LEASE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """A file or folder that nothing reaches, by its path in the home folder, and why it may go."""

    path: str
    size_bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What was removed, or would be; how many unreferenced files stay because their row may still come."""

    removed: tuple[Garbage, ...]
    num_left_alone: int
    unknown_folders: tuple[str, ...]

    @property
    def freed_bytes(self) -> int:
        return sum(garbage.size_bytes for garbage in self.removed)


def collect(store: Store, name: str | None, *, dry_run: bool) -> Collection:
    """Remove what nothing reaches in the folders of a study, or of all studies.

    Raises:
        StudyError: if there is no such study.
    """
    root = store.paths.home / "checkpoints"
    # Files first, rows later: a row that came in between is seen.
    found = [path for path in root.glob("*/*/*") if path.is_file()]
    empty = [path for path in root.glob("*/*") if path.is_dir() and not any(path.iterdir())]
    now = time.time()
    with store.database.read() as connection:
        names = studies.names(connection) if name is None else [studies.find(connection, name).name]
        known = set(connection.execute(select(checkpoints.c.path)).scalars())
        rows = connection.execute(
            select(trials.c.id, trials.c.state, trials.c.lease_epoch, study_table.c.name).join(
                study_table, study_table.c.id == trials.c.study_id
            )
        ).all()
    folders = {folder_name(study) for study in names}
    owners: dict[tuple[str, str], Any] = {(folder_name(row.name), str(row.id)): row for row in rows}
    removed, num_left_alone = _expired(store, names, dry_run=dry_run), 0
    for path in found:
        folder, trial = path.parts[-3:-1]
        stored = str(path.relative_to(store.paths.home))
        if folder not in folders or stored in known:
            continue
        if _may_get_a_row(path, owners.get((folder, trial)), now=now):
            num_left_alone += 1
        else:
            removed += _remove(path, stored, why=_why(path), dry_run=dry_run)
    for path in empty:
        owner = owners.get((path.parts[-2], path.name))
        if path.parts[-2] in folders and (owner is None or owner.state == "ended"):
            removed += _remove(path, str(path.relative_to(store.paths.home)), why="empty", dry_run=dry_run)
    if name is None:
        removed += _half_written_tokens(store, now=now, dry_run=dry_run)
    every = {folder_name(row.name) for row in rows} | folders
    unknown = sorted(path.name for path in root.glob("*") if path.name not in every) if name is None else []
    return Collection(removed=tuple(removed), num_left_alone=num_left_alone, unknown_folders=tuple(unknown))


def _expired(store: Store, names: list[str], *, dry_run: bool) -> list[Garbage]:
    """What the retention of finished studies does not keep: rows first."""
    removed: list[Garbage] = []
    for name in names:
        if dry_run:
            with store.database.read() as connection:
                gone = retention.superfluous(connection, name)
        else:
            with store.database.write("collect_garbage") as connection:
                gone = retention.keep_answer_only(connection, name)
        for stored in gone:
            removed += _remove(store.paths.resolve(stored), stored, why="retention: answer", dry_run=dry_run)
    return removed


def _may_get_a_row(path: Path, owner: Row[Any] | None, *, now: float) -> bool:
    """Whether a worker may be between writing this file and storing its row."""
    try:
        age = now - path.stat().st_mtime
    except FileNotFoundError:
        return True
    if age < YOUNG_SECONDS:
        return True
    epoch = re.search(r"\.epoch-(\d+)\.", path.name)
    if path.name.endswith(".damaged") or owner is None or owner.state != "running" or epoch is None:
        return False
    return bool(int(epoch[1]) == owner.lease_epoch)


def _why(path: Path) -> str:
    if path.name.endswith(".tmp"):
        return "half written"
    return "damaged" if path.name.endswith(".damaged") else "no row names it"


def _remove(path: Path, stored: str, *, why: str, dry_run: bool) -> list[Garbage]:
    """Remove one file or empty folder; nothing if somebody else did, or it is in use."""
    try:
        size = 0 if path.is_dir() else path.stat().st_size
        if not dry_run:
            path.rmdir() if path.is_dir() else path.unlink()
    except OSError:
        return []
    return [Garbage(path=stored, size_bytes=size, why=why)]


def _half_written_tokens(store: Store, *, now: float, dry_run: bool) -> list[Garbage]:
    """Folders of tokens that a killed worker left before it could name them."""
    removed = []
    for folder in store.paths.data.glob(".tokens-*"):
        with contextlib.suppress(OSError):
            files = [path for path in folder.iterdir() if path.is_file()]
            newest = max(path.stat().st_mtime for path in [folder, *files])
            size = sum(path.stat().st_size for path in files)
            if now - newest < YOUNG_SECONDS:
                continue
            if not dry_run:
                shutil.rmtree(folder)
            stored = str(folder.relative_to(store.paths.home))
            removed.append(Garbage(path=stored, size_bytes=size, why="half written"))
    return removed
