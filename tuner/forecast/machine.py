"""What this machine has, asked of the system alone: cores, memory, graphics cards. No torch.

Rule: a container's limits count, not the host's size. Where a system does not tell, nothing is claimed.
"""

from __future__ import annotations

import os
from pathlib import Path

NVIDIA = "0x10de"
"""The PCI vendor of NVIDIA's cards."""


def num_cores(root: Path = Path("/")) -> float:
    """Cores that this process may use: its affinity, and the cgroup's quota if that is less."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    limit = _cgroup(root, "cpu.max", "cpu/cpu.cfs_quota_us").split()
    if len(limit) == 2 and limit[0].isdigit():
        return min(cores, int(limit[0]) / int(limit[1]))
    period = _cgroup(root, "cpu/cpu.cfs_period_us")
    if len(limit) == 1 and limit[0].isdigit() and period.isdigit():
        return min(cores, int(limit[0]) / int(period))
    return cores


def memory_bytes(root: Path = Path("/")) -> tuple[int, int] | None:
    """Memory that this process may use, and how much of it is free now; None where the system does not tell."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
        total, free = sizes["MemTotal"], sizes["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return None
    limit = _cgroup(root, "memory.max", "memory/memory.limit_in_bytes")
    if limit.isdigit() and int(limit) < total:
        used = _cgroup(root, "memory.current", "memory/memory.usage_in_bytes")
        total, free = int(limit), min(free, max(0, int(limit) - (int(used) if used.isdigit() else 0)))
    return total, free


def nvidia_card(root: Path = Path("/")) -> str | None:
    """How the system shows an NVIDIA card, whether or not torch can use it; None if it shows none."""
    cards = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    for card in cards:
        model = [line for line in card.read_text().splitlines() if line.startswith("Model:")]
        return model[0].removeprefix("Model:").strip() if model else "an NVIDIA card"
    for vendor in sorted((root / "sys/bus/pci/devices").glob("*/vendor")):
        try:
            # Class 03: display controllers; a network card may be NVIDIA's too.
            if vendor.read_text().strip() == NVIDIA and (vendor.parent / "class").read_text().startswith("0x03"):
                return f"an NVIDIA card at PCI {vendor.parent.name}"
        except OSError:
            continue
    return "an NVIDIA driver" if (root / "proc/driver/nvidia/version").exists() else None


def _cgroup(root: Path, *names: str) -> str:
    """The first of these files of our cgroup, version 2 or 1; empty if there is none. A container sees its own as /."""
    for name in names:
        for folder in _own_cgroups(root):
            try:
                return (folder / name).read_text().strip()
            except OSError:
                continue
    return ""


def _own_cgroups(root: Path) -> list[Path]:
    """The folders of this process's cgroup and those above it, the nearest first."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return [base]
    own = next((line.split("::", 1)[1].lstrip("/") for line in lines if line.startswith("0::")), "")
    folder = Path(own)
    return [base / folder, *(base / parent for parent in folder.parents), base]
