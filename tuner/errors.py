"""The error tree: what is broken is raised, sorted by what the caller can do about it.

TunerError
├── UserError            the user's mistake: one clear line, exit 2
│   ├── ConfigError      a setting in the YAML or an override
│   ├── StudyError       a study that does not exist, is running, or was started with other settings
│   ├── DataError        text or data that cannot be trained on
│   └── HomeError        a home folder or database that cannot be used as it is
├── NoAnswer             the study ended without an answer, exit 3
├── TryAgainLater        disk full, database away, exit 75
└── LeaseLost            another worker owns this trial now; stop quietly

Expected outcomes of training (diverged, stopped) are values, not errors: see `records.Outcome`.
A message names the setting as the user wrote it, the value found, the rule and the remedy.
"""

from __future__ import annotations

import errno


class TunerError(Exception):
    """Anything that this package raises on purpose."""

    exit_code = 1


class UserError(TunerError):
    """A mistake that the user can mend; shown as one line, without a traceback."""

    exit_code = 2


class ConfigError(UserError):
    """A setting that cannot be used; the message may hold one line per setting."""


class StudyError(UserError):
    """A study that is missing, already running, or was started with other settings."""


class DataError(UserError):
    """Data that is missing, empty or too small to train on."""


class HomeError(UserError):
    """A home folder or a database that cannot be used as it is."""


class NoAnswer(TunerError):
    """The protocol ended without an answer; the message says why and what would help."""

    exit_code = 3


class TryAgainLater(TunerError):
    """A passing condition outside the study: nothing was lost, run the command again.

    `may_repeat` says that what failed certainly left no trace and was not waited for: it may be done again as it is.
    """

    exit_code = 75

    def __init__(self, message: str, *, may_repeat: bool = True) -> None:
        super().__init__(message)
        self.may_repeat = may_repeat


class LeaseLost(TunerError):
    """The lease of this worker or planner was taken over; it must stop without writing."""


DISK_FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_FULL_WORDS = ("database or disk is full", "No space left on device")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that the disk, the quota or what a file may hold is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in DISK_FULL_NUMBERS:
            return True
        if any(words in str(seen) for words in DISK_FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
