"""How much of a run was spent at a rate too low to learn much: the pitfall of longer schedules (PROTOCOL 5).

A longer run whose extra steps all lie in the tail of the decay trained hardly longer. The rates are those of
`training.schedule`, counted here from the schedule alone; a test holds the two together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.records import RunSpec

LOW_SHARE = 0.1
"""A rate below this share of the peak is low (ours)."""

MOST_OF_EXTRA = 0.5
"""A longer run is warned of when more than this share of its extra steps is low (ours)."""


def num_low_rate_steps(spec: RunSpec) -> int:
    """Updates of a run whose rate is below 10 % of the peak; the rest of the plateau is at the peak."""
    schedule = spec.schedule
    warmup = np.arange(1, schedule.warmup_steps + 1, dtype=np.float64) / max(1, schedule.warmup_steps)
    return int((warmup < LOW_SHARE).sum() + (_decay(spec) < LOW_SHARE).sum())


def low_rate_share(spec: RunSpec) -> float:
    """The same as a share of the run."""
    return num_low_rate_steps(spec) / spec.max_train_steps


def low_share_of_extra_steps(shorter: RunSpec, longer: RunSpec) -> float | None:
    """How much of what a longer run adds is low; None if it adds nothing."""
    extra = longer.max_train_steps - shorter.max_train_steps
    if extra <= 0:
        return None
    return max(0, num_low_rate_steps(longer) - num_low_rate_steps(shorter)) / extra


def _decay(spec: RunSpec) -> NDArray[np.float64]:
    """Shares of the peak over the decay."""
    schedule = spec.schedule
    length, shape = schedule.decay_steps, schedule.decay_shape
    if schedule.kind == "linear" or schedule.kind == "cosine":
        length, shape = spec.max_train_steps - schedule.warmup_steps, schedule.kind
    if not length:
        return np.empty(0)
    num_left = np.arange(length, 0, -1, dtype=np.float64)
    if shape == "linear":
        return num_left / length
    progress = (length - num_left) / length
    return 1.0 - np.sqrt(progress) if shape == "1-sqrt" else 0.5 * (1.0 + np.cos(np.pi * progress))
