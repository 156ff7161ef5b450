"""Disks that fill up: a study meets the end of its space anywhere, and ends as if there had always been enough.

Two kinds of end: a limit on the size of every file (as of a quota; EFBIG), and a small file system (ENOSPC), where one
can be mounted.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from campaign import Campaign
from failpoint_faults import SMALL, hurried, run
from toy_study import ToyStudy, reference_of, require_same

LARGEST_FILE_BYTES = (20_000, 900_000)
SMALLEST_DISK_BYTES = 100_000
ENOUGH_BYTES = 1_200_000
"""What the whole study needs, and a little more."""


def under_limit(file_bytes: str, *arguments: str) -> None:
    """`tuner` with little patience, under a limit on the size of its files."""
    # Python ignores SIGXFSZ by itself, so that writing too much is an error.
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_bytes), int(file_bytes)))
    hurried(*arguments)


def nobody_reads(*arguments: str) -> None:
    """`tuner` whose output nobody reads: every write to it fails."""
    read, written = os.pipe()
    os.close(read)
    os.dup2(written, 1)
    os.dup2(written, 2)
    hurried(*arguments)


def waits_for_workers(*arguments: str) -> None:
    """`tuner` that waits for its workers to leave, however long that takes."""
    from tuner.engines import pool

    pool.STOP_SECONDS = 1e9
    hurried(*arguments)


def require_paused(ended: tuple[int, str]) -> None:
    """For lack of space a command ends with 75 in clear lines, if it does not end well."""
    exit_code, said = ended
    assert exit_code in (0, 75), f"exit {exit_code}\n{said}"
    assert "Traceback" not in said, said


def require_whole_files(home: Path) -> None:
    """No file has its final name without being whole, and no row is without its file."""
    import hashlib
    import sqlite3
    from contextlib import closing

    if not (home / "tuner.db").exists():
        return
    with closing(sqlite3.connect(home / "tuner.db", timeout=60)) as connection:
        try:
            rows = connection.execute("select path, sha256 from tuner_checkpoints").fetchall()
        except sqlite3.OperationalError:
            return
    for path, sha256 in rows:
        assert hashlib.sha256((home / path).read_bytes()).hexdigest() == sha256, path
    for file in (home / "checkpoints").rglob("*.safetensors"):
        header = int.from_bytes(file.read_bytes()[:8], "little")
        assert 0 < header < file.stat().st_size, f"{file} is a half file"


def small_files(seed: int, folder: Path) -> None:
    """A file may only grow so far; then the limit falls."""
    draw = random.Random(seed)
    study = ToyStudy(folder, SMALL)
    for _ in range(draw.randint(1, 3)):
        require_paused(run(study, entry="pressure_faults:under_limit", first=(str(draw.randint(*LARGEST_FILE_BYTES)),)))
        require_whole_files(study.home)
    require_ends_as_undisturbed(study)


def small_disk(seed: int, folder: Path) -> None:
    """The home folder lies on a file system that is too small, and then grows."""
    draw = random.Random(seed)
    study = ToyStudy(folder, SMALL)
    study.home.mkdir()
    sizes = sorted(draw.randint(SMALLEST_DISK_BYTES, ENOUGH_BYTES) for _ in range(draw.randint(1, 3)))
    with small_file_system(study.home, sizes[0]) as resize:
        for size in [*sizes[1:], 64 * ENOUGH_BYTES]:
            require_paused(run(study))
            require_whole_files(study.home)
            resize(size)
        require_ends_as_undisturbed(study)


def require_ends_as_undisturbed(study: ToyStudy) -> None:
    exit_code, said = run(study)
    assert exit_code == 0, f"exit {exit_code}\n{said}"
    require_same(study, reference_of(SMALL))


@contextmanager
def small_file_system(place: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A file system in memory at `place`, and what changes its size."""

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True, capture_output=True)

    def resize(new: int) -> None:
        mount(f"remount,size={new}")

    mount(f"size={size},mode=700")
    try:
        yield resize
    finally:
        subprocess.run(["umount", str(place)], check=True)


def can_mount(place: Path) -> bool:
    """Whether this user may mount a small file system."""
    place.mkdir(exist_ok=True)
    try:
        with small_file_system(place, SMALLEST_DISK_BYTES):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def pressure(seed: int, folder: Path) -> None:
    """A small disk and a limit on files in turn; only the latter where nothing can be mounted."""
    if seed % 2 and can_mount(folder / "probe"):
        small_disk(seed, folder)
    else:
        small_files(seed, folder)


CAMPAIGNS = (
    Campaign(
        name="full-disk",
        promise="exit 75 without a traceback, no half file, no row without its file; with space it ends as undisturbed",
        num_ci=3,
        num_full=50,
        run=pressure,
    ),
)
