"""Where a value stands on its dimension: the share in [0, 1] in the scale that is searched, and the way back.

Samplers and grids think in shares; what a trial gets is a value rounded so that it can be read aloud and typed again.
"""

from __future__ import annotations

import math

from tuner.config.dimension import Dimension
from tuner.records import Value

SIGNIFICANT_DIGITS = 4
"""Sampled values are rounded to so many digits: a rate that can be read aloud is a rate that can be typed again."""


def place(dimension: Dimension, u: float) -> Value:
    """The value at share `u` in [0, 1) of a dimension."""
    if dimension.choices is not None:
        return dimension.choices[min(int(u * len(dimension.choices)), len(dimension.choices) - 1)]
    low, high = _ends(dimension)
    if dimension.integer:
        return min(math.floor(_interpolate(dimension.scale, low, high + 1, u)), int(high))
    value = _rounded(dimension.scale, _interpolate(dimension.scale, low, high, u))
    return min(max(value, low), high)


def share_of(dimension: Dimension, value: float) -> float:
    """The share at which a number stands; the way back from `place`, whole numbers from their middle.

    >>> share_of(Dimension(low=1e-4, high=1e-2, scale="log"), 1e-3)
    0.5
    """
    low, high = _ends(dimension)
    if dimension.integer:
        # A whole number owns the stretch up to the next one; a range keeps its first number whole, too.
        value, high = value + 0.5, high + 1
    if dimension.scale == "log":
        return math.log(value / low) / math.log(high / low)
    if dimension.scale == "one_minus_log":
        return math.log((1 - low) / (1 - value)) / math.log((1 - low) / (1 - high))
    return (value - low) / (high - low)


def grid_axis(dimension: Dimension) -> tuple[Value, ...]:
    """A dimension's points on a grid: its choices, or `num_points` evenly spaced values, both ends included.

    >>> grid_axis(Dimension(low=1e-4, high=1e-2, scale="log", num_points=3))
    (0.0001, 0.001, 0.01)
    """
    if dimension.choices is not None:
        return dimension.choices
    (low, high), count = _ends(dimension), dimension.num_points or 2
    inner = [_interpolate(dimension.scale, low, high, index / (count - 1)) for index in range(1, count - 1)]
    if dimension.integer:
        return (math.ceil(low), *(round(value) for value in inner), math.floor(high))
    return (low, *(_rounded(dimension.scale, value) for value in inner), high)


def _ends(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None
    assert dimension.high is not None
    return dimension.low, dimension.high


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
