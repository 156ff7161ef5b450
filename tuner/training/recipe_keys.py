"""The recipe keys of one run by step, apart from what needs torch: verifying a study recomputes them."""

from __future__ import annotations

import bisect
import hashlib

from tuner.records import RunSpec
from tuner.training.schedule import learning_rates


class RecipeKeys:
    """Recipe keys of one run, by step: sha256(static digest || learning_rates[:step] as little-endian float64)."""

    def __init__(self, static_digest: str, spec: RunSpec) -> None:
        self._rates = learning_rates(spec, 0, spec.max_train_steps).astype("<f8")
        self._steps = [0]
        self._hashes = [hashlib.sha256(bytes.fromhex(static_digest))]

    def key_at(self, step: int) -> str:
        """The key of the weights after `step` updates.

        Hashing goes on from the nearest step asked before, so that asking for many steps is one pass over the rates.
        """
        if not 0 <= step <= len(self._rates):
            raise ValueError(f"step {step} is not within 0 to max_train_steps={len(self._rates)}")
        place = bisect.bisect_right(self._steps, step) - 1
        known = self._steps[place]
        if known != step:
            running = self._hashes[place].copy()
            running.update(self._rates[known:step].tobytes())
            place += 1
            self._steps.insert(place, step)
            self._hashes.insert(place, running)
        return self._hashes[place].hexdigest()
