"""The folder under a SQLite file: made private, and refused where file locks cannot be trusted.

Rule: nothing is created before the place is known to be usable.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tuner.errors import HomeError, TryAgainLater, is_disk_full

NETWORK_FILE_SYSTEMS = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs"),
        *("glusterfs", "pvfs2", "orangefs", "panfs", "fuse.sshfs", "fuse.ceph", "fuse.glusterfs", "fuse.beegfs"),
        *("fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"),
    )
)

SMALL_FILE_BYTES = 64 * 1024


OTHERS = stat.S_IRWXG | stat.S_IRWXO
PRIVATE_FOLDERS = ("checkpoints", "data", "tensorboard")
"""Everything in a home folder but the database, which is a private file."""


def prepare_home(home: Path) -> None:
    """Create a home folder that only its owner can read, or check that an existing one can be written.

    An existing one that others may read keeps its rights: it may hold more than studies.

    Raises:
        HomeError: if it is a file, cannot be created, or cannot be written.
    """
    refuse_unusable_home(home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(home.stat().st_mode) & OTHERS:
            # A folder that was there keeps its rights; what a study writes into it is private all the same.
            for name in PRIVATE_FOLDERS:
                (home / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        _wait_for_space(error, home)
        raise HomeError(
            f"--home {home} cannot be created ({error.strerror}); name a folder that you may write to with --home"
        ) from error
    refuse_unusable_home(home)


def refuse_unusable_home(home: Path) -> None:
    """Stop before a home that is no folder, or cannot be written; one that does not exist yet is fine.

    Raises:
        HomeError: if it is a file, or cannot be written.
    """
    if not home.exists():
        return
    if not home.is_dir():
        raise HomeError(f"--home {home} is a file; it must be a folder: name another one with --home")
    if not os.access(home, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise HomeError(f"--home {home} cannot be written; change its permissions, or name another folder with --home")


def read_by_others(path: Path) -> bool:
    """Whether a file that was there before lets others read it: it is left so, for who shares a study on purpose."""
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & OTHERS)
    except OSError:
        return False


def create_private_file(path: Path) -> None:
    """Create an empty file that only its owner can read; leave an existing one as it is.

    Raises:
        HomeError: if it cannot be created, or exists and cannot be written.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        _wait_for_space(error, path)
        raise HomeError(
            f"database {path} cannot be written ({error.strerror}); change its permissions, or name another folder "
            "with --home"
        ) from error


def refuse_network_file_system(path: Path) -> None:
    """SQLite's locks are not reliable over a network: two workers could both believe that they own a trial.

    Raises:
        HomeError: if the nearest existing parent of `path` lies on a network file system.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return  # No such table on this system, hence nothing to judge by.
    kind = file_system_kind(path, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise HomeError(
            f"database {path} lies on a network file system ({kind}), where SQLite's locks fail; use a local disk "
            "(--home), or PostgreSQL (--storage postgresql://...)"
        )


def has_no_space(folder: Path) -> bool:
    """Whether not even a small file has room there now; False if that cannot be told."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < SMALL_FILE_BYTES or (room.f_files > 0 and room.f_favail == 0)


def _wait_for_space(error: OSError, path: Path) -> None:
    if is_disk_full(error):
        raise TryAgainLater(f"the disk is full: {path} cannot be created; free some space and run the command again")


def file_system_kind(path: Path, mountinfo: str) -> str | None:
    """The kind of file system that holds `path`, from the text of /proc/self/mountinfo.

    >>> table = "21 1 8:1 / / rw - ext4 /dev/a rw\\n30 21 0:5 / /mnt/big rw shared:1 - nfs4 server:/x rw"
    >>> file_system_kind(Path("/mnt/big/runs"), table), file_system_kind(Path("/home/runs"), table)
    ('nfs4', 'ext4')
    """
    target = Path(os.path.realpath(path))
    found: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4]))
        # A later mount on the same point hides an earlier one.
        if target.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = (len(point.parts), after.split()[0])
    return found[1] if found else None
