"""Random order that can be entered anywhere: an endless stream of per-epoch permutations, computed by position.

The one rule: an output is a function of its arguments alone and never changes within a `PERMUTATION_VERSION`
(libraries change their random streams between versions; recipes outlive them).

A permutation of n items is a keyed Feistel network over the grid a x b >= n, a about sqrt(n). Each round adds a hash of
one coordinate to the other, which can be undone, so the network is a bijection of the grid; a value that falls outside
the n items is sent through again until it falls inside (cycle walking), which keeps it a bijection of the n items.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

PERMUTATION_VERSION = 1

_NUM_ROUNDS = 8
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FACTOR_1 = 0xBF58476D1CE4E5B9
_FACTOR_2 = 0x94D049BB133111EB


def mix(*parts: int) -> int:
    """64 well-mixed bits from integers, for seeds such as (seed, global_step, micro-batch).

    The order of the parts matters. The finaliser is splitmix64's (Steele, Lea and Flood, 2014).

    >>> mix(0, 1) != mix(1, 0)
    True
    """
    state = len(parts)
    for part in parts:
        state = ((state ^ (part & _MASK)) + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _FACTOR_1) & _MASK
        state = ((state ^ (state >> 27)) * _FACTOR_2) & _MASK
        state ^= state >> 31
    return state


def stream_indices(seed: int, start: int, count: int, num_examples: int) -> NDArray[np.int64]:
    """Examples at positions `start .. start + count - 1` of the endless stream; int64, shape (count,).

    Position p belongs to epoch p // num_examples; each epoch holds every example once, in an order of its own.
    Any position costs the same: there is nothing to fast-forward on resume.

    >>> sorted(stream_indices(7, 0, 5, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    if num_examples < 1 or start < 0 or count < 0:
        raise ValueError(
            f"stream_indices needs num_examples >= 1, start >= 0, count >= 0; got {num_examples}, {start}, {count}"
        )
    epochs, offsets = np.divmod(np.arange(start, start + count, dtype=np.int64), num_examples)
    keys = _hash(epochs.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(mix(seed)))
    values = _network(offsets.astype(np.uint64), keys, num_examples)
    outside = np.flatnonzero(values >= num_examples)
    while outside.size:
        values[outside] = _network(values[outside], keys[outside], num_examples)
        outside = outside[values[outside] >= num_examples]
    return values.astype(np.int64)


def _network(values: NDArray[np.uint64], keys: NDArray[np.uint64], num_examples: int) -> NDArray[np.uint64]:
    """One pass through the network: a bijection of 0 .. a * b - 1 for each key."""
    rows = math.isqrt(num_examples - 1) + 1
    columns = -(-num_examples // rows)
    a, b = np.uint64(rows), np.uint64(columns)
    left, right = np.divmod(values, b)
    for round_number in range(_NUM_ROUNDS):
        round_keys = _hash(keys + np.uint64(mix(round_number)))
        if round_number % 2 == 0:
            left = (left + _hash(round_keys + right) % a) % a
        else:
            right = (right + _hash(round_keys + left) % b) % b
    return left * b + right


def _hash(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser, elementwise; products wrap modulo 2^64."""
    values = values ^ (values >> np.uint64(30))
    values = values * np.uint64(_FACTOR_1)
    values = values ^ (values >> np.uint64(27))
    values = values * np.uint64(_FACTOR_2)
    return values ^ (values >> np.uint64(31))
