"""Rules over roles and conditions: which dimensions exist in which trials, and what each trial then needs to know.

First each condition is judged by itself, then all combinations of the values that conditions ask for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError
from itertools import islice

from tuner.config.problems import KeyPath, Problem, dotted
from tuner.config.schema import Dimension, StudyConfig, Training
from tuner.config.spaces import (
    Branch,
    branches,
    in_order,
    is_finite,
    is_same,
    label_of,
    scientific_names,
    scientific_values,
    setting_of,
)
from tuner.config.wording import shown
from tuner.records import Params

MAX_COMBINATIONS = 1000
"""Of values that conditions ask for, or that the study asks about; beyond it no study could cover them."""

OPTIMIZER_SETTINGS = {"adamw": ("beta1", "beta2", "epsilon"), "sgd": ("momentum",)}
RATE = "learning_rate"
EXCLUDE = "a trial has one value of each setting, so let their conditions (when) exclude each other"


@dataclass(frozen=True, slots=True)
class Entry:
    """A dimension with the setting that it is about and its place in the study."""

    name: str
    path: KeyPath
    dimension: Dimension


def entries(config: StudyConfig) -> list[Entry]:
    """All dimensions of the search space as the user listed them."""
    if isinstance(config.search_space, str):
        return []
    found = []
    for name, given in config.search_space.items():
        path: KeyPath = ("search_space", name)
        if isinstance(given, tuple):
            found += [Entry(name, (*path, index), dimension) for index, dimension in enumerate(given)]
        else:
            found.append(Entry(name, path, given))
    return found


def condition_problems(config: StudyConfig) -> list[Problem]:
    """What is wrong with roles and conditions; where there is anything, no other rule can tell which trials exist."""
    listed = entries(config)
    found = [*_empty_lists(config), *_own_problems(listed), *_repeated(listed), *_role_problems(listed)]
    return found or [*_circles(config)] or [*_size_problems(config)] or [*_combination_problems(config)]


def scientific_warnings(config: StudyConfig) -> Iterator[str]:
    """What may run but compares unequally."""
    values = scientific_values(config.given_space)
    first = config.later_rounds[0] if config.later_rounds else None
    if first is not None and first.num_trials < len(values):
        where = "round_2" if config.rounds is None else "rounds.0"
        yield (
            f"{where}.num_trials={first.num_trials} is less than the {len(values)} scientific values: those "
            f"whose best points do not go on are not replicated; give it at least {len(values)}"
        )


def told(value: Params) -> str:
    """A combination of values as it would be written: `optimizer=sgd, depth=2`."""
    return ", ".join(f"{name}={shown(each).strip(chr(34))}" for name, each in value.items())


def _empty_lists(config: StudyConfig) -> Iterator[Problem]:
    if isinstance(config.search_space, str):
        return
    for name, given in config.search_space.items():
        if given == ():
            yield Problem(
                path=("search_space", name), message="[] lists no dimension; give at least one, or remove the line"
            )


def _own_problems(listed: list[Entry]) -> Iterator[Problem]:
    for entry in listed:
        for other, asked in entry.dimension.conditions.items():
            path = (*entry.path, "when", other)
            targets = [each.dimension for each in listed if each.name == other]
            if not targets:
                yield Problem(path=path, message=_unknown(other, listed))
            elif not asked:
                yield Problem(path=path, message="[] is never met; list at least one of its choices")
            elif other != entry.name:
                yield from _value_problems(path, targets, asked=asked)
        if entry.dimension.role == "scientific" and not is_finite(entry.dimension):
            message = "scientific values are compared one by one, and a range has too many; add num_points, or choices"
            yield Problem(path=(*entry.path, "role"), message=message)


def _value_problems(path: KeyPath, targets: list[Dimension], *, asked: tuple[object, ...]) -> Iterator[Problem]:
    choices = [choice for each in targets for choice in each.choices or ()]
    if any(each.choices is None for each in targets):
        message = f"{path[-1]} is a range, and conditions ask for single values; give it choices"
        yield Problem(path=path, message=message)
        return
    for value in asked:
        if not any(is_same(value, choice) for choice in choices):  # type: ignore[arg-type]
            yield Problem(
                path=path, message=f"{shown(value)} is not among the choices of {path[-1]}; use one of {shown(choices)}"
            )


def _unknown(other: str, listed: list[Entry]) -> str:
    if other in Training.model_fields:
        return (
            f"training.{other} is fixed, so that nothing can depend on it; search {other} too, or remove the condition"
        )
    names = list(dict.fromkeys(entry.name for entry in listed))
    close = difflib.get_close_matches(other, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"no dimension of search_space; {hint}name one that has choices"


def _repeated(listed: list[Entry]) -> Iterator[Problem]:
    """Two dimensions of one setting under the very same conditions."""
    first: dict[str, Entry] = {}
    for entry in listed:
        earlier = first.setdefault(label_of(entry.name, entry.dimension), entry)
        if earlier is not entry:
            yield Problem(path=entry.path, message=f"{_together(earlier.path)}; {EXCLUDE}")


def _role_problems(listed: list[Entry]) -> Iterator[Problem]:
    roles: dict[str, str] = {}
    for entry in listed:
        role = entry.dimension.role
        if roles.setdefault(entry.name, role) != role:
            message = f"{role} here and {roles[entry.name]} before; the dimensions of one setting share their role"
            yield Problem(path=(*entry.path, "role"), message=message)
    for entry in listed:
        for other in entry.dimension.when:
            if entry.dimension.role == "scientific" and roles.get(other) == "nuisance":
                yield Problem(
                    path=(*entry.path, "when", other),
                    message=f"{other} is nuisance, and what the study asks about cannot depend on what it tunes; "
                    f"give {other} role: scientific, or remove the condition",
                )


def _circles(config: StudyConfig) -> Iterator[Problem]:
    try:
        in_order(config.given_space)
    except CycleError as error:
        circle = list(dict.fromkeys(error.args[1]))
        name = circle[0]
        place = next(entry for entry in entries(config) if entry.name == name and entry.dimension.when)
        round_again = " -> ".join([*circle, name])
        message = f"circular ({round_again}): none of them could be drawn first; remove one of the conditions"
        yield Problem(path=(*place.path, "when"), message=message)


def _size_problems(config: StudyConfig) -> Iterator[Problem]:
    space = config.given_space
    asked = {label: dimension for label, dimension in space.items() if dimension.role == "scientific"}
    names = scientific_names(space)
    num_values = _count(branches(asked, also=frozenset(names)))
    wanted = config.round_1.num_trials
    verb = "has" if len(names) == 1 else "combine to"
    if num_values > min(MAX_COMBINATIONS, wanted):
        counted = num_values if num_values <= MAX_COMBINATIONS else f"more than {MAX_COMBINATIONS:,}"
        at_least = f"set it to at least {num_values}, or " if num_values <= MAX_COMBINATIONS else ""
        yield Problem(
            path=("round_1", "num_trials"),
            message=f"{wanted} leaves scientific values without a trial: {', '.join(names)} {verb} {counted}; "
            f"{at_least}ask for fewer values",
            cause=("search_space",),
        )
    elif _count(branches(space)) > MAX_COMBINATIONS:
        message = f"its conditions combine to more than {MAX_COMBINATIONS:,} cases; use fewer choices or conditions"
        yield Problem(path=("search_space",), message=message)


def _count(found: Iterator[Branch]) -> int:
    return sum(1 for _ in islice(found, MAX_COMBINATIONS + 1))


def _combination_problems(config: StudyConfig) -> Iterator[Problem]:
    listed, space = entries(config), config.given_space
    paths = {label: entry.path for label, entry in zip(space, listed, strict=True)}
    everywhere = list(islice(branches(space, also=frozenset(["optimizer"])), MAX_COMBINATIONS))
    met = {label for branch in everywhere for label in branch.labels}
    for label, path in paths.items():
        if label not in met:
            yield Problem(path=(*path, "when"), message="is never met: its conditions exclude each other; mend them")
    for branch in everywhere:
        yield from _overlaps(branch, paths)
        if "optimizer" in map(setting_of, space):  # A fixed one is judged by name.
            yield from _strangers(branch, paths, fixed=config.training.optimizer)
    without = [branch for branch in everywhere if RATE not in map(setting_of, branch.labels)]
    if config.training.learning_rate is None and 0 < len(without) < len(everywhere):
        where = told(without[0].chosen)
        yield Problem(
            path=("search_space", RATE),
            message=f"has no value in trials with {where}; add a dimension for them, or fix the rate there by "
            "training.learning_rate",
        )


def _overlaps(branch: Branch, paths: dict[str, KeyPath]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for label in branch.labels:
        name = setting_of(label)
        if first.setdefault(name, label) != label:
            earlier, later = sorted([paths[first[name]], paths[label]], key=str)
            where = f" in trials with {told(branch.chosen)}" if branch.chosen else ""
            yield Problem(
                path=later,
                message=f"{_together(earlier)}{where}; {EXCLUDE}",
            )


def _together(earlier: KeyPath) -> str:
    return f"exists together with {dotted(earlier)}"


def _strangers(branch: Branch, paths: dict[str, KeyPath], *, fixed: str) -> Iterator[Problem]:
    """Settings of one optimizer in trials of another, where they would have no effect."""
    optimizer = branch.chosen.get("optimizer", fixed)
    if optimizer not in OPTIMIZER_SETTINGS:
        return
    for label in branch.labels:
        owner = next((known for known, names in OPTIMIZER_SETTINGS.items() if setting_of(label) in names), optimizer)
        if owner != optimizer:
            yield Problem(
                path=paths[label],
                message=f"has no effect in trials with optimizer={optimizer}; add when: {{optimizer: {owner}}}",
            )
