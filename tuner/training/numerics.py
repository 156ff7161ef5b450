"""What decides the bits beside the recipe: device, threads, micro-batch, library builds and global flags (D2).

The one rule: every global flag that can change a bit is set at the start of each run, whatever ran before in this
process, so that B after A equals B alone.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tuner.records import ExecutionSpec

NUMERICS_VERSION = 1


def set_global_flags(execution: ExecutionSpec) -> None:
    """Bring torch's process-wide switches into the one state that runs are made in."""
    torch.set_num_threads(execution.torch_threads)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
    torch.autograd.set_detect_anomaly(False)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Filling fresh memory with NaN is a debugging aid that costs time and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(_is_cpu(execution))


def numerics_segment(execution: ExecutionSpec) -> dict[str, Any]:
    """JSON values that name how the bits are made here; equal segments give equal bits for equal recipes."""
    device = torch.device(execution.device)
    return {
        "version": NUMERICS_VERSION,
        "device": device.type,
        "device_name": _device_name(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_build": torch.__version__,
        "mkldnn": bool(torch.backends.mkldnn.is_available()),  # type: ignore[no-untyped-call]
        "torch_threads": execution.torch_threads,
        "world_size": 1,
        "shard": "none",
        "micro_batch_size": execution.micro_batch_size,
        "fused": True,
        "compile": False,
        "deterministic_algorithms": _is_cpu(execution),
        # On the CPU it decides nothing, and its segments stay what they were.
        **({} if _is_cpu(execution) else {"cudnn_allow_tf32": False}),
    }


def numerics_key(segment: Mapping[str, Any]) -> str:
    """SHA-256 of a segment."""
    return hashlib.sha256(json.dumps(segment, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sharing(segment: Mapping[str, Any]) -> str:
    """`exact` where equal segments mean equal bits, else `statistical`: same recipe, not the same bits."""
    return "exact" if segment["deterministic_algorithms"] else "statistical"


def _is_cpu(execution: ExecutionSpec) -> bool:
    # On CUDA deterministic algorithms cost speed and refuse some operations: a choice for the user, not for us.
    return torch.device(execution.device).type == "cpu"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
