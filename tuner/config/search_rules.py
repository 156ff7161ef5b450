"""What may stand in `search_space`: settings of the run that trials can differ in, within the settings' own bounds.

The budget is never among them: it is what the study derives (DESIGN.md, promise 1).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator

from tuner.config.condition_rules import OPTIMIZER_SETTINGS, RATE, Entry, condition_problems, entries, told
from tuner.config.grid_rules import grid_problems
from tuner.config.problems import KeyPath, Problem, dotted
from tuner.config.schema import CausalLMWorkload, Dimension, StudyConfig, Training
from tuner.config.settings import ABBREVIATIONS, Node, node_at
from tuner.config.spaces import branches, num_distinct, scientific_values, setting_of, under
from tuner.config.wording import DERIVED_BUDGETS, fault, in_range, shown

BATCH_SIZES = frozenset(["global_batch_size", "batch_size", "micro_batch_size", "gradient_accumulation_steps"])
SEARCHABLE_ALWAYS = ("learning_rate", "weight_decay", "max_grad_norm", "optimizer")


def search_problems(config: StudyConfig) -> Iterator[Problem]:
    """Everything wrong with `search_space`, and with the learning rate's place in it."""
    unsound = condition_problems(config)
    yield from unsound
    for entry in entries(config):
        problem = _name_problem(entry.name, config)
        if problem is not None:
            yield Problem(path=("search_space", entry.name), message=problem)
        else:
            yield from _range_problems(entry, config)
    if not unsound:
        yield from _learning_rate_problems(config)
        yield from _size_problems(config)
        yield from grid_problems(config)


def searchable_names(config: StudyConfig) -> tuple[str, ...]:
    """The settings that this study's trials may differ in; a python workload adds the arguments of its class."""
    optimizers: set[object] = {config.training.optimizer}
    for entry in entries(config):
        optimizers |= set(entry.dimension.choices or ()) if entry.name == "optimizer" else set()
    own = (name for optimizer, names in OPTIMIZER_SETTINGS.items() if optimizer in optimizers for name in names)
    names = (*SEARCHABLE_ALWAYS, *own)
    return (*names, "dropout") if isinstance(config.workload, CausalLMWorkload) else names


def _size_problems(config: StudyConfig) -> Iterator[Problem]:
    """More trials than there are points, of the whole space or under one scientific value."""
    space, wanted = config.given_space, config.round_1.num_trials
    if not space or config.round_1.sampler == "grid":
        return
    values = scientific_values(space)
    for index, value in enumerate(values):
        share = wanted // len(values) + (index < wanted % len(values))
        size = num_distinct(under(space, value))
        if size is not None and size < share:
            here = f"{size} different point{'s' if size > 1 else ''} of search_space"
            message = f"{wanted} is more than the {here}; lower it, or search a range"
            if value:
                message = f"{wanted} gives {told(value)} {share} trials, which is more than its {here}"
                message = f"{message}; set it to {size * len(values)}, or search a range"
            yield Problem(path=("round_1", "num_trials"), message=message, cause=("search_space",))
            return


def _learning_rate_problems(config: StudyConfig) -> Iterator[Problem]:
    fixed = config.training.learning_rate
    if config.search_space == "auto":
        if fixed is not None:
            yield Problem(
                path=("training", "learning_rate"),
                message=f"{fixed:g} is fixed here and searched by search_space: auto; remove one of them",
            )
    elif not config.search_space:
        yield Problem(
            path=("search_space",),
            message="has nothing in it, so nothing is tuned; add learning_rate: {low: 1e-4, high: 1e-2, scale: log}",
        )
    elif fixed is not None and all(RATE in map(setting_of, each.labels) for each in branches(config.given_space)):
        yield Problem(
            path=("training", "learning_rate"),
            message=f"{fixed:g} is fixed here and searched in search_space.learning_rate; remove one of them",
        )
    elif "learning_rate" not in config.search_space and fixed is None:
        yield Problem(
            path=("search_space", "learning_rate"),
            message="missing; add {low: 1e-4, high: 1e-2, scale: log} here, or fix the rate by training.learning_rate",
        )


def _name_problem(name: str, config: StudyConfig) -> str | None:
    optimizer = config.training.optimizer
    allowed = searchable_names(config)
    if name in allowed:
        return None
    if name in DERIVED_BUDGETS or name == "max_steps":
        return (
            "the number of steps is never searched: the budget sweep derives it and later rounds check it; "
            "remove it (budget.max_steps bounds the runs)"
        )
    if name in BATCH_SIZES:
        return "the batch size is not tuned: choose it before, by throughput, and set training.global_batch_size"
    owner = next((known for known, settings in OPTIMIZER_SETTINGS.items() if name in settings), None)
    if owner is not None:
        return f"belongs to training.optimizer {owner}, this study uses {optimizer}; remove it or change the optimizer"
    if name in Training.model_fields:
        return f"training.{name} cannot be searched; fix it under training and search {', '.join(allowed)}"
    if isinstance(config.workload, CausalLMWorkload):
        last = name.rsplit(".", 1)[-1]
        close = difflib.get_close_matches(ABBREVIATIONS.get(last, last), allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"not a setting that can be searched; {hint}use {', '.join(allowed)}"
    if not name.isidentifier():
        return "cannot be an argument of the workload's class; use the argument's name"
    return None


def _range_problems(entry: Entry, config: StudyConfig) -> Iterator[Problem]:
    path, dimension, target = entry.path, entry.dimension, target_of(entry.name, config)
    yield from _shape_problems(path, dimension)
    if target is None:
        return
    node = node_at(target, {"workload": {"kind": config.workload.kind}}) or {}
    if "enum" in node:
        yield from _named_problems(path, dimension, node)
        return
    for key, value in _values(dimension):
        if isinstance(value, str | bool):
            yield Problem(path=(*path, *key), message=f"{shown(value)} is not a number; {dotted(target)} takes numbers")
            continue
        rule = in_range(value, target, {"workload": {"kind": config.workload.kind}})
        if rule is not None:
            yield Problem(
                path=(*path, *key), message=f"{shown(value)} is out of range for {dotted(target)}; use {rule}"
            )


def _named_problems(path: KeyPath, dimension: Dimension, node: Node) -> Iterator[Problem]:
    """A setting whose values are names."""
    if dimension.choices is None:
        yield Problem(path=path, message=f"a range of names cannot be drawn; use choices: {shown(node['enum'])}")
    for index, choice in enumerate(dimension.choices or ()):
        if choice not in node["enum"]:
            yield Problem(path=(*path, "choices", index), message=fault(choice, node))


def _shape_problems(path: KeyPath, dimension: Dimension) -> Iterator[Problem]:
    choices, low, high = dimension.choices, dimension.low, dimension.high
    if choices is not None:
        if len({(type(choice), choice) for choice in choices}) < len(choices):
            yield Problem(path=(*path, "choices"), message=f"{shown(choices)} repeats a value; list each once")
        for key, value, default in (("scale", dimension.scale, "linear"), ("integer", dimension.integer, False)):
            if value != default:
                message = f"{shown(value)} does not apply to choices; remove it, or give low and high instead"
                yield Problem(path=(*path, key), message=message)
    elif dimension.integer and low is not None and high is not None:
        if dimension.scale == "one_minus_log":
            yield Problem(
                path=(*path, "integer"), message="whole numbers cannot be drawn with scale one_minus_log; remove one"
            )
        elif math.ceil(low) >= math.floor(high):
            message = f"low={low:g} to high={high:g} holds fewer than two whole numbers; widen the range"
            yield Problem(path=path, message=message)


def target_of(name: str, config: StudyConfig) -> KeyPath | None:
    """The setting whose bounds hold; None for an argument of the user's own class."""
    if name in Training.model_fields:
        return ("training", name)
    return ("workload", "model", name) if isinstance(config.workload, CausalLMWorkload) else None


def _values(dimension: Dimension) -> Iterator[tuple[KeyPath, float | int | str | bool]]:
    for index, choice in enumerate(dimension.choices or ()):
        yield ("choices", index), choice
    for key, bound in (("low", dimension.low), ("high", dimension.high)):
        if bound is not None:
            yield (key,), bound
