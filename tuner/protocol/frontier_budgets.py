"""The budgets of a frontier, and where its trunk keeps full states for them: closed form, from one run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from tuner.config.schema import Frontier, LaterRound, StudyConfig
from tuner.protocol.runs import has_plateau, lengthened
from tuner.records import DecayShape, RunSpec

FRONTIER: Final = "frontier"
"""The phase's kind, and the name of the first."""


def budgets_of(asked: Frontier, spec: RunSpec) -> dict[int, int]:
    """The budgets of a trunk that end in a cooldown, rising, each with its decay: budget -> updates of decay.

    A decay starts at an evaluation of the trunk, so that the trunk has measured all that the fork would have (D7). A
    proxy's cooldowns, which calibrate it, also end at one: their averaged values are those of the trunk.
    """
    longest, every = spec.max_train_steps, spec.eval_every_steps
    share, found = decay_share_of(asked, spec), dict[int, int]()
    for each in _wanted(asked, spec):
        budget = round(each)
        start = every * round((1 - share) * budget / every)
        if budget == longest and asked.decay_share is None:
            start = longest - spec.schedule.decay_steps  # the run itself, which stands already
        if start > spec.schedule.warmup_steps and start < budget:
            found[budget] = budget - start
    return dict(sorted(found.items()))


def ends_of(asked: Frontier, spec: RunSpec) -> tuple[int, int]:
    """The smallest and the largest budget asked for."""
    longest = spec.max_train_steps
    return (ceil(longest / 2), longest) if asked.budgets is None else (min(asked.budgets), max(asked.budgets))


def trunk_of(asked: Frontier, spec: RunSpec) -> RunSpec:
    """The run at a constant rate whose evaluations are a proxy's budgets: equal to `spec` up to its decay."""
    schedule = replace(spec.schedule, decay_steps=0)
    return replace(spec, max_train_steps=ends_of(asked, spec)[1], schedule=schedule)


def _wanted(asked: Frontier, spec: RunSpec) -> list[float]:
    if not asked.proxy and asked.budgets is not None:
        return list(asked.budgets)
    first, longest = (spec.max_train_steps / 2, spec.max_train_steps) if not asked.proxy else ends_of(asked, spec)
    num_budgets = asked.num_calibrations if asked.proxy else asked.num_budgets
    spread = [first + (longest - first) * place / (num_budgets - 1) for place in range(num_budgets)]
    if not asked.proxy:
        return spread
    able = [step for step in trunk_of(asked, spec).eval_steps() if step >= first]
    return [min(able, key=lambda step: abs(step - each)) for each in spread]


def with_reserved(config: StudyConfig, spec: RunSpec, *, rest: Sequence[LaterRound] = ()) -> RunSpec:
    """A run, keeping its full state where a planned frontier would leave what the rest of the rounds make of it.

    The trunk of the last round leaves that of the round before late: what lies below is kept there, or nowhere. Lengths
    that only measurements will tell (`auto`) count as no longer.
    """
    if config.frontier is None or not has_plateau(config):
        return spec
    last = spec
    for item in rest:
        if item.budget_multiple != "auto":
            length = max(1, round(item.budget_multiple * last.max_train_steps))
            last = lengthened(config, last, max_train_steps=length)
    reserved = fork_steps_of(budgets_of(config.frontier, last), until=spec.max_train_steps - spec.schedule.decay_steps)
    return replace(spec, fork_steps=tuple(sorted({*spec.fork_steps, *reserved})))


def fork_steps_of(budgets: dict[int, int], *, until: int) -> tuple[int, ...]:
    """Where the cooldowns leave a trunk whose own decay starts at `until`: after their first update, which runs at the
    peak rate still; before it where that is their last, whose evaluation is none of the trunk's (D7)."""
    starts = {budget: budget - decay for budget, decay in budgets.items()}
    return tuple(sorted({min(start + 1, budget - 1) for budget, start in starts.items() if start < until}))


def decay_share_of(asked: Frontier, spec: RunSpec) -> float:
    """The length of each cooldown as a share of its budget: as asked, or the run's own."""
    return spec.schedule.decay_steps / spec.max_train_steps if asked.decay_share is None else asked.decay_share


def shape_of(asked: Frontier, spec: RunSpec) -> DecayShape:
    """The shape of the cooldowns: as asked, or the run's own."""
    return spec.schedule.decay_shape if asked.decay_shape == "auto" else asked.decay_shape
