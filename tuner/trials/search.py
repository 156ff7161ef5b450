"""Points of the search space by index: scrambled Halton, the playbook's choice for exploration.

A point depends on (study seed, phase, index) alone, never on the results or the order of other trials.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np

from tuner.config.schema import Dimension
from tuner.records import Value

SIGNIFICANT_DIGITS = 4
"""Sampled values are rounded to so many digits: a rate that can be read aloud is a rate that can be typed again."""


def halton_points(space: Mapping[str, Dimension], num_points: int, *, seed: int, phase: str) -> list[dict[str, Value]]:
    """The first `num_points` of the phase's scrambled Halton sequence (playbook, "quasi-random search").

    >>> space = {"learning_rate": Dimension(low=1e-4, high=1e-2, scale="log")}
    >>> points = halton_points(space, 3, seed=0, phase="round_1")
    >>> points == halton_points(space, 5, seed=0, phase="round_1")[:3]
    True
    """
    from scipy.stats import qmc  # most of a second, and only where points are proposed

    names = sorted(space)
    digest = hashlib.sha256(f"{seed}/{phase}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    uniform = qmc.Halton(d=len(names), scramble=True, rng=generator).random(num_points)  # [num_points, dimensions]
    return [{name: place(space[name], float(u)) for name, u in zip(names, row, strict=True)} for row in uniform]


def place(dimension: Dimension, u: float) -> Value:
    """The value at share `u` in [0, 1) of a dimension."""
    if dimension.choices is not None:
        return dimension.choices[min(int(u * len(dimension.choices)), len(dimension.choices) - 1)]
    assert dimension.low is not None
    assert dimension.high is not None
    low, high = dimension.low, dimension.high
    if dimension.integer:
        return min(math.floor(_interpolate(dimension.scale, low, high + 1, u)), int(high))
    value = _rounded(dimension.scale, _interpolate(dimension.scale, low, high, u))
    return min(max(value, low), high)


def _interpolate(scale: str, low: float, high: float, u: float) -> float:
    if scale == "log":
        return float(low * (high / low) ** u)
    if scale == "one_minus_log":
        return float(1 - (1 - low) * ((1 - high) / (1 - low)) ** u)
    return low + (high - low) * u


def _rounded(scale: str, value: float) -> float:
    # For betas the digits that matter are those of 1 - beta.
    if scale == "one_minus_log":
        return round(1 - float(f"{1 - value:.{SIGNIFICANT_DIGITS}g}"), 15)
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
