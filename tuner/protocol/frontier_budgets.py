"""The budgets of a frontier, and where its trunk keeps full states for them: closed form, from one run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tuner.config.schema import Frontier, LaterRound, StudyConfig
from tuner.protocol.runs import has_plateau, lengthened
from tuner.records import DecayShape, RunSpec

FRONTIER: Final = "frontier"
"""The phase's kind, and the name of the first."""


def budgets_of(asked: Frontier, spec: RunSpec) -> dict[int, int]:
    """The budgets of a trunk, rising, each with its decay: budget -> updates of decay.

    A decay starts at an evaluation of the trunk, so that the trunk has measured all that the fork would have (D7).
    """
    longest, every = spec.max_train_steps, spec.eval_every_steps
    share = decay_share_of(asked, spec)
    first, found = longest / 2, dict[int, int]()
    wanted = (
        [first + (longest - first) * place / (asked.num_budgets - 1) for place in range(asked.num_budgets)]
        if asked.budgets is None
        else list(asked.budgets)
    )
    for each in wanted:
        budget = round(each)
        start = every * round((1 - share) * budget / every)
        if budget == longest and asked.decay_share is None:
            start = longest - spec.schedule.decay_steps  # the run itself, which stands already
        if start > spec.schedule.warmup_steps and start < budget:
            found[budget] = budget - start
    return dict(sorted(found.items()))


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
