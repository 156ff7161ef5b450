"""Learning-rate schedules as pure functions of the step.

`global_step` counts updates: 0 before the first, `max_train_steps` after the last. Micro-batches never advance it.
The one rule: where two runs part is found by comparing their rates bit for bit, never by a formula.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tuner.errors import ConfigError
from tuner.records import DecayShape, RunSpec

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupStableDecay:
    """Linear warmup, a plateau, a decay to zero (arXiv:2404.06395); without `decay_steps` a constant rate after warmup.

    Ten updates, two of warmup and four of decay:

    >>> lr = WarmupStableDecay(max_train_steps=10, warmup_steps=2, decay_steps=4)
    >>> [lr.multiplier(step) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]

    No update is spent at zero: warmup starts at 1/warmup_steps, a linear decay ends at 1/decay_steps. The first update
    of the decay still runs at 1.0, whatever its shape.

    Raises:
        ConfigError: warmup and decay together outlast the run.
    """

    max_train_steps: int
    warmup_steps: int = 0
    decay_steps: int = 0
    decay_shape: DecayShape = "linear"

    def __post_init__(self) -> None:
        if self.max_train_steps < 1 or self.warmup_steps < 0 or self.decay_steps < 0:
            raise ConfigError(
                f"max_train_steps={self.max_train_steps}, warmup_steps={self.warmup_steps}, "
                f"decay_steps={self.decay_steps}: a run has at least one update and no negative number of them; "
                "raise what is below"
            )
        if self.warmup_steps + self.decay_steps > self.max_train_steps:
            parts = [f"{name}={steps}" for name, steps in self._parts() if steps]
            raise ConfigError(
                f"{' plus '.join(parts)} is longer than max_train_steps={self.max_train_steps}; "
                f"shorten {'one' if len(parts) == 2 else 'it'}, or give the round a larger budget"
            )

    def multiplier(self, step: int) -> float:
        """The rate of the update that follows `global_step == step`, as a share of the peak."""
        return float(self.multipliers(step, step + 1)[0])

    def multipliers(self, start: int, stop: int) -> Float64Array:
        """Shares of the peak for updates start .. stop - 1; float64, shape (stop - start,)."""
        if not 0 <= start <= stop <= self.max_train_steps:
            raise ValueError(f"updates {start} to {stop} are not within 0 to max_train_steps={self.max_train_steps}")
        steps = np.arange(start, stop, dtype=np.float64)
        shares = np.ones_like(steps)
        if self.warmup_steps:
            shares = np.minimum(shares, (steps + 1.0) / self.warmup_steps)
        if self.decay_steps:
            num_left = self.max_train_steps - steps
            decaying = num_left <= self.decay_steps
            shares[decaying] = self._decay(num_left[decaying])
        return shares

    def _decay(self, num_left: Float64Array) -> Float64Array:
        if self.decay_shape == "linear":
            return num_left / self.decay_steps
        progress = (self.decay_steps - num_left) / self.decay_steps
        if self.decay_shape == "1-sqrt":
            return 1.0 - np.sqrt(progress)
        return 0.5 * (1.0 + np.cos(np.pi * progress))

    def _parts(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return (("warmup_steps", self.warmup_steps), ("decay_steps", self.decay_steps))


def learning_rates(spec: RunSpec, start: int, stop: int) -> Float64Array:
    """The rates of updates start .. stop - 1 of a run: peak times multiplier, float64, shape (stop - start,).

    Raises:
        ConfigError: warmup and decay outlast the run, or another schedule than warmup_stable_decay has decay_steps.
    """
    return spec.learning_rate * _shape(spec).multipliers(start, stop)


def shared_prefix(a: RunSpec, b: RunSpec) -> int:
    """The number of leading updates at equal rates, to the bit."""
    length = min(a.max_train_steps, b.max_train_steps)
    differs = np.flatnonzero(learning_rates(a, 0, length) != learning_rates(b, 0, length))
    return int(differs[0]) if differs.size else length


def trunk_end(spec: RunSpec) -> int:
    """The last step that the same run with a larger budget still shares: where a fork can start.

    Linear and cosine schedules share their warmup and one update at the peak, and nothing else (PROTOCOL.md 8).
    """
    return shared_prefix(spec, replace(spec, max_train_steps=2 * spec.max_train_steps))


def kept_steps(spec: RunSpec) -> frozenset[int]:
    """The steps whose full state is kept: where a longer plateau would leave this run, planned forks, and the end."""
    return frozenset({trunk_end(spec), spec.max_train_steps, *spec.fork_steps})


def _shape(spec: RunSpec) -> WarmupStableDecay:
    schedule = spec.schedule
    if schedule.kind != "warmup_stable_decay" and schedule.decay_steps:
        raise ConfigError(
            f"decay_steps={schedule.decay_steps} with a {schedule.kind} schedule; use warmup_stable_decay, or no "
            "decay_steps"
        )
    if schedule.kind == "linear" or schedule.kind == "cosine":
        # No plateau: the decay takes all that warmup leaves, so the horizon is in every rate after it.
        return WarmupStableDecay(
            max_train_steps=spec.max_train_steps,
            warmup_steps=schedule.warmup_steps,
            decay_steps=max(0, spec.max_train_steps - schedule.warmup_steps),
            decay_shape=schedule.kind,
        )
    return WarmupStableDecay(
        max_train_steps=spec.max_train_steps,
        warmup_steps=schedule.warmup_steps,
        decay_steps=schedule.decay_steps,
        decay_shape=schedule.decay_shape,
    )
