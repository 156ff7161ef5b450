"""What the kernel counts: processes of this control group that it killed because memory ran out.

The one rule: no counter, no claim. A process that is gone by signal 9 may have been killed by anyone.
"""

from __future__ import annotations

from pathlib import Path

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def num_memory_kills(groups: Path = _GROUPS, mount: Path = _MOUNT) -> int | None:
    """Processes of this process' control group (version 2 or 1) killed for memory so far; None if nobody counts."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, place = line.split(":", 2)
        if number == "0":
            found = _counted(mount, place, "memory.events")
        elif "memory" in controllers.split(","):
            found = _counted(mount / "memory", place, "memory.oom_control")
        else:
            continue
        if found is not None:
            return found
    return None


def _counted(mount: Path, place: str, name: str) -> int | None:
    # Inside a container the group may be mounted as the root, whatever its path is outside.
    for folder in (mount / place.lstrip("/"), mount):
        try:
            words = (folder / name).read_text(encoding="utf-8").split()
        except OSError:
            continue
        counts = dict(zip(words[::2], words[1::2], strict=False))
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return None
