"""Who holds a lease, and whether that process is provably dead.

Proof needs the same boot of the same host, seen from the same process namespace, and a process that is gone, a zombie,
or another one that was given the same number. Whatever cannot be proven is left to the lease's expiry (D4).
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process. `process_started` is in clock ticks since boot, empty where the system does not tell.

    `parent` is the process that started it, as `pid/process_started`.
    """

    host_boot_id: str
    hostname: str
    pid: int
    process_started: str
    label: str
    parent: str = ""

    @classmethod
    def of_this_process(cls, label: str) -> Self:
        """This process, as `label` in messages ("planner", "worker 1")."""
        return cls(
            host_boot_id=_host_boot_id(),
            hostname=socket.gethostname(),
            pid=os.getpid(),
            process_started=_started(os.getpid()) or "",
            label=label,
            parent=f"{os.getppid()}/{_started(os.getppid()) or ''}",
        )

    def is_child_of(self, other: Owner) -> bool:
        """Whether that very process started this one, and so sees it die."""
        return self.host_boot_id == other.host_boot_id and self.parent == f"{other.pid}/{other.process_started}"

    def is_provably_dead(self) -> bool:
        """True only if this very process can no longer write anything."""
        if self.host_boot_id != _host_boot_id():
            return False
        if (PROC / "self/stat").exists():
            return _started(self.pid) != self.process_started
        return _is_gone(self.pid)


def _host_boot_id() -> str:
    """One boot of one host, seen from one process namespace: containers share the boot but not the numbers."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()}/{uuid.getnode():x}"


def _started(pid: int) -> str | None:
    """When a live process started; None if there is none of that number, or only its corpse."""
    try:
        # The name, in parentheses, may hold spaces and parentheses itself.
        state, *fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZXx" else fields[18]


def _is_gone(pid: int) -> bool:
    if os.name != "posix":
        return False  # There, signal 0 would interrupt the process instead of asking for it.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
