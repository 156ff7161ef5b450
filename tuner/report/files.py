"""Writes the report's files. Each appears whole under its name or not at all; nothing else in the folder is touched."""

from __future__ import annotations

import csv
import io
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from tuner.errors import HomeError, is_disk_full
from tuner.failpoints import failpoint
from tuner.report.section import Table

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet run a cell, in full width too."""


def write_atomically(path: Path, data: bytes) -> Path:
    """Write beside the file, then rename over it.

    Raises:
        HomeError: if the folder cannot be made or written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        failpoint("report.before_write")
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            failpoint("report.before_fsync")
            os.fsync(file.fileno())
        failpoint("report.before_rename")
        os.replace(beside, path)
        failpoint("report.after_rename")
    except OSError as error:
        # A full disk is no mistake of the user's: the command line has its own words for it.
        if is_disk_full(error):
            raise
        raise HomeError(
            f"--out: {path} cannot be written ({error.strerror}); choose another folder with --out"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return path


def check_folder(out: Path) -> None:
    """Make the folder and a file in it, before minutes are spent on drawing what could not be kept.

    Raises:
        HomeError: if the folder cannot be made or written to.
    """
    write_atomically(out / f".tuner.{os.getpid()}", b"").unlink(missing_ok=True)


def as_csv(table: Table) -> bytes:
    """A table with whole values; text that a spreadsheet would run as a formula is made plain by an apostrophe."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_plain(column) for column in table.columns])
    writer.writerows([_plain(value) for value in row] for row in table.rows)
    return buffer.getvalue().encode("utf-8", "backslashreplace")


def file_name(name: str) -> str:
    """A name from data as a file name: letters, digits, dots and dashes only."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip(".-") or "unnamed"


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
