"""Failpoints: named places before and after every durable operation, where a fault can be made to happen.

`TUNER_FAILPOINTS=name:hit:action[,name:hit:action...]` lets the `hit`-th passing of a place in one process fail; the
tests do so to every place. The one rule: a passing changes nothing, and costs a microsecond, unless a fault was asked
for.

Actions: `kill` (SIGKILL of this process), `killgroup` (of its process group: planner and workers at once), `raise` (an
exception that nobody expects), `enospc` (the disk is full). A fault happens in every process that comes so far; with
`TUNER_FAILPOINTS_ONCE` naming a folder, where each fault leaves an empty file, in the first one only.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from tuner.errors import ConfigError

VARIABLE = "TUNER_FAILPOINTS"
ONCE_VARIABLE = "TUNER_FAILPOINTS_ONCE"
ACTIONS = ("kill", "killgroup", "raise", "enospc")

TRANSACTIONS = (
    *("upgrade", "create_study", "update_config", "set_state", "apply", "record_test_value", "note_death"),
    *("acquire_planner", "renew_planner", "release_planner", "claim", "renew_trial", "release_trial"),
    *("begin_attempt", "record_evaluation", "add_checkpoint", "pause_trial", "end_trial", "fail_trial"),
    *("record_idle", "repair", "collect_garbage", "extend"),
)
"""Ours in the database: `.before` their commit, when all else of them is done, and `.after` it."""

FILES = ("blob", "cache", "report", "export")
"""Checkpoints, tokens, the report's files, exported models: each is written beside its place, then renamed."""

OTHERS = ("unlink", "mirror_study", "mirror_add", "mirror_tell")

NAMES = (
    *(f"{name}.{when}" for name in TRANSACTIONS for when in ("before", "after")),
    *(f"{name}.{when}" for name in FILES for when in ("before_write", "before_fsync", "before_rename", "after_rename")),
    "blob.after_directory_fsync",
    *(
        f"{name}.{when}"
        for name in ("unlink", "mirror_study", "mirror_add", "mirror_tell")
        for when in ("before", "after")
    ),
)
"""Every place, by name."""

_passed: Counter[str] = Counter()
_counting = threading.Lock()


class FaultInjected(Exception):  # noqa: N818
    """What the action `raise` raises: no error of ours, so that nothing is prepared for it."""


def failpoint(name: str) -> None:
    """Pass the place of that name; what was asked for in the environment happens here.

    Raises:
        FaultInjected, OSError: if that was asked for.
        ConfigError: if the variable cannot be read.
    """
    faults = armed()
    if not faults:
        return
    with _counting:
        _passed[name] += 1
        hit = _passed[name]
    action = faults.get((name, hit))
    if action is not None and _is_first(f"{name}.{hit}.{action}"):
        _happen(action, name)


def armed() -> Mapping[tuple[str, int], str]:
    """The faults that this process was asked for, by place and hit.

    Raises:
        ConfigError: as `faults_of`.
    """
    return faults_of(os.environ.get(VARIABLE, ""))


@cache
def faults_of(text: str) -> Mapping[tuple[str, int], str]:
    """The faults that the variable asks for, by place and hit.

    >>> dict(faults_of("claim.after:2:kill"))
    {('claim.after', 2): 'kill'}

    Raises:
        ConfigError: for a place, a number or an action that there is not.
    """
    faults: dict[tuple[str, int], str] = {}
    for fault in filter(None, text.split(",")):
        name, hit, action = (*fault.split(":"), "", "")[:3]
        if fault.count(":") != 2 or not hit.isdecimal() or int(hit) < 1:
            raise ConfigError(f"{VARIABLE}={fault}: write name:hit:action, hits counted from 1")
        if name not in NAMES:
            raise ConfigError(f"{VARIABLE}={fault}: there is no failpoint {name}; there are {', '.join(NAMES)}")
        if action not in ACTIONS:
            raise ConfigError(f"{VARIABLE}={fault}: there is no action {action}; there are {', '.join(ACTIONS)}")
        faults[name, int(hit)] = action
    return MappingProxyType(faults)


def _is_first(fault: str) -> bool:
    folder = os.environ.get(ONCE_VARIABLE)
    if not folder:
        return True
    try:
        os.close(os.open(os.path.join(folder, fault), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _happen(action: str, name: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "killgroup":
        os.killpg(0, signal.SIGKILL)
    elif action == "raise":
        raise FaultInjected(f"failpoint {name}")
    else:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"failpoint {name}")
