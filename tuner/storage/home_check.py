"""Whether a home folder and its database can carry a study: tried for real, not looked up.

Rule: it leaves nothing behind. A home that does not exist yet is tried where it would be created.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tuner.errors import HomeError
from tuner.storage.database import Database, parse_url
from tuner.storage.file_system import NETWORK_FILE_SYSTEMS, file_system_kind
from tuner.storage.upgrade import SCHEMA_VERSION, refuse_newer, stored_version

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    sys.exit(7 if "locked" in str(error) else 8)
"""
"""What another process does to a database that is held here: it must be refused."""


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    path = path.expanduser().resolve()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def try_locks(home: Path) -> str:
    """Hold a database as a writer does, and see that another process is refused until it is let go.

    Raises:
        HomeError: the folder cannot be written, or its locks do not hold.
    """
    with _scratch(home) as folder:
        file = folder / "locks.db"
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=EXTRA")
            connection.execute("CREATE TABLE held (x)")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO held VALUES (1)")
            while_held = _try_to_write(file)
            connection.execute("COMMIT")
            afterwards = _try_to_write(file)
    if while_held != 7 or afterwards != 0:
        wrong = "two processes could write at once" if while_held == 0 else "a database cannot be locked"
        raise HomeError(
            f"--home {home}: {wrong} there, so workers would take each other's trials; use a local disk, or PostgreSQL "
            "(--storage postgresql://...)"
        )
    return "a second writer is refused while one is at work"


def try_durable_writes(home: Path) -> str:
    """Write a file as a checkpoint is written: fsync, rename, fsync of the folder.

    Raises:
        HomeError: one of these fails.
    """
    with _scratch(home) as folder:
        try:
            with (folder / ".whole.tmp").open("xb") as file:
                file.write(b"whole")
                file.flush()
                os.fsync(file.fileno())
            (folder / ".whole.tmp").rename(folder / "whole")
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HomeError(
                f"--home {home}: a file cannot be made durable there ({error.strerror}); use another disk with --home"
            ) from None
    return "fsync and rename work"


def kind_of_file_system(home: Path, *, holds_database: bool, mountinfo: str | None = None) -> str:
    """The kind of file system that holds the home folder.

    Raises:
        HomeError: a network file system, and the database lies on it.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return "unknown"
    kind = file_system_kind(nearest_folder(home), mountinfo) or "unknown"
    if kind in NETWORK_FILE_SYSTEMS and holds_database:
        raise HomeError(
            f"--home {home} lies on a network file system ({kind}), where SQLite's locks fail; use a local disk "
            "(--home), or PostgreSQL (--storage postgresql://...)"
        )
    return kind


def open_to_others(home: Path, database: Path) -> list[str]:
    """The commands that make the home folder and the database private again; none if they are."""
    wanted = ((home.expanduser(), 0o700), (database, 0o600))
    return [
        f"chmod {mode:o} {path}"
        for path, mode in wanted
        if os.name == "posix" and path.exists() and path.stat().st_mode & 0o077
    ]


def schema_of(url: str | None, default: Path) -> str:
    """The schema of the database, reached for real; the password of its URL is in no message.

    Raises:
        HomeError, TryAgainLater: it cannot be reached or used.
    """
    parsed = parse_url(url or f"sqlite:///{default}")
    place = parsed.render_as_string(hide_password=True) if url else str(default)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return f"{place}: no studies yet"
    database = Database(parsed, place=place)
    try:
        with database.read() as connection:
            version = stored_version(connection)
    finally:
        database.close()
    refuse_newer(version, place)
    if version is None:
        return f"{place}: no studies yet"
    upgrade = "" if version == SCHEMA_VERSION else f", which the next command brings to {SCHEMA_VERSION}"
    return f"{place}: schema {version}{upgrade}"


def _try_to_write(file: Path) -> int:
    return subprocess.run([sys.executable, "-c", _HOLD, str(file)], check=False, capture_output=True).returncode


@contextlib.contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    place = nearest_folder(home)
    try:
        folder = tempfile.TemporaryDirectory(dir=place, prefix=".tuner-doctor-")
    except OSError as error:
        raise HomeError(
            f"--home {home}: {place} cannot be written ({error.strerror}); change its permissions, or name another "
            "folder with --home"
        ) from None
    with folder as name:
        yield Path(name)
