"""Best steps under the loss beside those under the objective: loss often bottoms before accuracy does.

Where the two fall into different bands of the budget, the choice of metric decides the verdict (PROTOCOL 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tuner.analysis.best_steps import best, in_first_tenth, in_last_quarter
from tuner.records import Curve, Direction

Band = Literal["the first 10 %", "the middle", "the last 25 %"]

SAME_AS_LOSS = ("loss", "perplexity")
"""Objectives that are best where the loss is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondMetric:
    """The median best step under the objective and under the loss, and the band of each."""

    objective_step: int
    loss_step: int
    objective_band: Band
    loss_band: Band

    @property
    def differs(self) -> bool:
        return self.objective_band != self.loss_band


def band_of(step: int, max_train_steps: int) -> Band:
    """The band of the budget that a best step lies in.

    >>> band_of(10, 100), band_of(11, 100), band_of(75, 100)
    ('the first 10 %', 'the middle', 'the last 25 %')
    """
    if in_first_tenth(step, max_train_steps):
        return "the first 10 %"
    return "the last 25 %" if in_last_quarter(step, max_train_steps) else "the middle"


def compare_with_loss(
    objective: Mapping[int, Curve],
    loss: Mapping[int, Curve],
    max_train_steps: int,
    *,
    direction: Direction,
) -> SecondMetric | None:
    """Compare the trials' curves of the objective with those of the loss; None without both."""
    ours = sorted(top[0] for curve in objective.values() if (top := best(curve, direction)))
    theirs = sorted(top[0] for curve in loss.values() if (top := best(curve, "minimize")))
    if not ours or not theirs:
        return None
    objective_step, loss_step = ours[len(ours) // 2], theirs[len(theirs) // 2]
    return SecondMetric(
        objective_step=objective_step,
        loss_step=loss_step,
        objective_band=band_of(objective_step, max_train_steps),
        loss_band=band_of(loss_step, max_train_steps),
    )
