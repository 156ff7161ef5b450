"""Does a point lean on the edge of the search space, measured in the scale that was searched?"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Literal

from tuner.config.schema import Dimension
from tuner.config.spaces import at_point, setting_of
from tuner.records import Params

EDGE_SHARE = 0.05
"""A value within this share of the range from its end counts as being at the edge (ours)."""


Edge = Literal["lower", "upper"]


def edges_of(space: Mapping[str, Dimension], params: Params) -> dict[str, Edge]:
    """The edges that a point leans on, by the setting's name."""
    labels = at_point(space, params)
    return {name: edge for name, label in labels.items() if (edge := edge_of(space, label, params=params))}


def edge_of(space: Mapping[str, Dimension], label: str, *, params: Params) -> Edge | None:
    """The edge that a point's value leans on; None inside the range, and for choices."""
    dimension, value = space[label], params.get(setting_of(label))
    if isinstance(value, bool) or not isinstance(value, int | float) or dimension.low is None or dimension.high is None:
        return None
    place = _share(dimension, float(value), low=dimension.low, high=dimension.high)
    if place < EDGE_SHARE:
        return "lower"
    return "upper" if place > 1 - EDGE_SHARE else None


def _share(dimension: Dimension, value: float, *, low: float, high: float) -> float:
    if dimension.scale == "log" and min(low, value) > 0:
        return log(value / low) / log(high / low)
    if dimension.scale == "one_minus_log" and max(high, value) < 1:
        return log((1 - low) / (1 - value)) / log((1 - low) / (1 - high))
    return (value - low) / (high - low)
