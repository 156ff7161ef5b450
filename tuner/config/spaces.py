"""A search space as a whole: which dimensions exist at a point, and what it holds under each scientific value.

A space maps labels to dimensions. A label is the setting's name; where a setting has several dimensions it also says
when each of them exists (`learning_rate[optimizer=sgd]`). Points carry the settings' plain names, and only what exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import product
from math import ceil, floor, prod

from tuner.config.dimension import Choice, Dimension
from tuner.config.scales import grid_axis
from tuner.records import Params, Value

Space = Mapping[str, Dimension]


@dataclass(frozen=True, slots=True)
class Branch:
    """One combination of the values that conditions ask for, and the other dimensions that exist with it, by label."""

    chosen: dict[str, Value]
    free: dict[str, Dimension]
    labels: tuple[str, ...]


def flat_space(space: Mapping[str, Dimension | tuple[Dimension, ...]]) -> dict[str, Dimension]:
    """The space of a study by label."""
    flat: dict[str, Dimension] = {}
    for name, entry in space.items():
        entries = entry if isinstance(entry, tuple) else (entry,)
        for dimension in entries:
            flat[name if len(entries) == 1 else label_of(name, dimension)] = dimension
    return flat


def setting_of(label: str) -> str:
    """The setting that a label is about.

    >>> setting_of("learning_rate[optimizer=sgd]")
    'learning_rate'
    """
    return label.partition("[")[0]


def label_of(name: str, dimension: Dimension) -> str:
    """The label of one of several dimensions of a setting; the name itself if it has no conditions."""
    told = [f"{other}={'|'.join(_text(value) for value in asked)}" for other, asked in dimension.conditions.items()]
    return f"{name}[{','.join(told)}]" if told else name


def is_same(a: Value, b: Value) -> bool:
    """Whether two values are one choice: 1 and 1.0 are, 1 and true are not."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def exists(dimension: Dimension, point: Params) -> bool:
    """Whether a dimension exists at a point that holds all that its conditions ask for."""
    return _holds(dimension.conditions, point)


def at_point(space: Space, point: Params) -> dict[str, str]:
    """The label of each setting that the space has at a point, by setting."""
    return {setting_of(label): label for label, dimension in space.items() if exists(dimension, point)}


def in_order(space: Space) -> list[str]:
    """The labels, each after those that its conditions ask for.

    Raises:
        graphlib.CycleError: if conditions go round in a circle.
    """
    asked: dict[str, dict[str, None]] = {setting_of(label): {} for label in sorted(space)}
    for label in sorted(space):
        asked[setting_of(label)].update(dict.fromkeys(sorted(space[label].when)))
    names = {name: rank for rank, name in enumerate(TopologicalSorter(asked).static_order())}
    return sorted(space, key=lambda label: (names[setting_of(label)], label))


def point_of(space: Space, values: Mapping[str, Value]) -> dict[str, Value]:
    """The point that values by label stand for: those that exist, by setting."""
    point: dict[str, Value] = {}
    for label in in_order(space):
        if exists(space[label], point):
            point[setting_of(label)] = values[label]
    return dict(sorted(point.items()))


def branches(space: Space, *, also: frozenset[str] = frozenset()) -> Iterator[Branch]:
    """All combinations of the settings that conditions ask for, and of those named in `also`, one by one."""
    order = in_order(space)
    deciding = also.union(*(dimension.when for dimension in space.values())) if space else also
    open_ones: list[tuple[int, Branch]] = [(0, Branch({}, {}, ()))]
    while open_ones:
        place, found = open_ones.pop()
        if place == len(order):
            yield found
            continue
        label, dimension = order[place], space[order[place]]
        if not exists(dimension, found.chosen):
            open_ones.append((place + 1, found))
            continue
        name, labels = setting_of(label), (*found.labels, label)
        if name in deciding and is_finite(dimension):
            for value in reversed(grid_axis(dimension)):
                open_ones.append((place + 1, Branch({**found.chosen, name: value}, found.free, labels)))
        else:
            open_ones.append((place + 1, Branch(found.chosen, {**found.free, label: dimension}, labels)))


def is_finite(dimension: Dimension) -> bool:
    """Whether its values can be listed: choices, or points along a range."""
    return dimension.choices is not None or dimension.num_points is not None


def scientific_names(space: Space) -> tuple[str, ...]:
    """The settings that the study asks about."""
    return tuple(dict.fromkeys(setting_of(label) for label, each in space.items() if each.role == "scientific"))


def scientific_values(space: Space) -> list[dict[str, Value]]:
    """All combinations of scientific values, in the order of their choices; one empty one where nothing is asked."""
    asked = {label: dimension for label, dimension in space.items() if dimension.role == "scientific"}
    return [branch.chosen for branch in branches(asked, also=frozenset(scientific_names(space)))]


def under(space: Space, value: Params) -> dict[str, Dimension]:
    """The nuisance dimensions that exist under a scientific value, with what is left of their conditions."""
    names, found = scientific_names(space), {}
    for label, dimension in space.items():
        decided = {name: asked for name, asked in dimension.conditions.items() if name in names}
        if dimension.role == "nuisance" and _holds(decided, value):
            left = {name: asked for name, asked in dimension.when.items() if name not in names}
            found[label] = dimension.model_copy(update={"when": left})
    return found


def is_under(value: Params, params: Params) -> bool:
    """Whether a point has this scientific value."""
    return all(name in params and is_same(params[name], each) for name, each in value.items())


def num_distinct(space: Space) -> int | None:
    """How many points a space holds; None for one with a range of real numbers, which holds any number."""
    total = 0
    for branch in branches(space):
        counts = [_count(dimension) for dimension in branch.free.values()]
        if None in counts:
            return None
        total += prod(count for count in counts if count is not None)
    return total


def grid_points(space: Space) -> list[dict[str, Value]]:
    """All points of the grid, the last dimension (by label) varying fastest."""
    points = []
    for branch in branches(space):
        labels = sorted(branch.free)
        for values in product(*(grid_axis(branch.free[label]) for label in labels)):
            named = {setting_of(label): value for label, value in zip(labels, values, strict=True)}
            points.append(dict(sorted({**branch.chosen, **named}.items())))
    return points


def _count(dimension: Dimension) -> int | None:
    if dimension.choices is not None:
        return len(dimension.choices)
    if dimension.integer and dimension.low is not None and dimension.high is not None:
        return floor(dimension.high) - ceil(dimension.low) + 1
    return None


def _holds(conditions: Mapping[str, tuple[Choice, ...]], point: Params) -> bool:
    return all(
        name in point and any(is_same(point[name], value) for value in asked) for name, asked in conditions.items()
    )


def _text(value: Choice) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
