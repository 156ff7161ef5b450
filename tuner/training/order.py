"""Which examples an update sees: positions [s * G, (s + 1) * G) of the endless stream of per-epoch permutations (D1).

The one rule: the answer depends on (seed, step) alone; the chunk kept here only saves time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.workloads.permutation import mix, stream_indices

_ORDER = 1
_EXAMPLES_PER_CHUNK = 8192


class DataOrder:
    """The training examples of each update, G = `global_batch_size` of them."""

    def __init__(self, seed: int, global_batch_size: int, num_examples: int) -> None:
        self._stream = mix(seed, _ORDER)
        self._global_batch_size = global_batch_size
        self._num_examples = num_examples
        # Computed in chunks: numpy's cost per call would else be paid at each update.
        self._updates_per_chunk = max(1, _EXAMPLES_PER_CHUNK // global_batch_size)
        self._chunk = -1
        self._rows = np.empty((0, global_batch_size), dtype=np.int64)

    def examples(self, step: int) -> NDArray[np.int64]:
        """Examples of the update that follows `global_step == step`; int64, shape (global_batch_size,)."""
        chunk, row = divmod(step, self._updates_per_chunk)
        if chunk != self._chunk:
            count = self._updates_per_chunk * self._global_batch_size
            indices = stream_indices(self._stream, chunk * count, count, self._num_examples)
            self._rows = indices.reshape(self._updates_per_chunk, self._global_batch_size)
            self._chunk = chunk
        rows: NDArray[np.int64] = self._rows[row]
        return rows
