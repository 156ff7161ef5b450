"""One widening of the rate range: a best point on the edge of what was searched may have a better one beyond it.

The sweep's answer has the same rule (playbook, Step 1a); here it is applied once, before round 1 is judged, since rates
that are best in the sweep are not exactly those that are best with a decay.
"""

from __future__ import annotations

from typing import Final

from tuner.config.scales import share_of
from tuner.config.schema import Dimension, StudyConfig
from tuner.protocol.joined import open_part
from tuner.protocol.limits import is_widening_cut
from tuner.protocol.replicas import leader, value_of
from tuner.protocol.rounds import CITED, ROUND_1, feasible
from tuner.protocol.scientific import why_not_widened
from tuner.protocol.space import SPACE, space_of, told_space
from tuner.protocol.standings import Edge
from tuner.protocol.words import json_safe, number
from tuner.records import AddTrials, Decision, PhaseRecord, StudyRecord, TrialRecord

RATE: Final = "learning_rate"

EDGE_SHARE = 0.1
"""The outermost share of the log range that counts as its edge (ours)."""

WIDENING = 3
"""The range grows by this factor, on the side of the best point (ours)."""


def may_widen(config: StudyConfig) -> bool:
    """Whether round 1 may be widened at all: one log range of rates for all trials, and no grid, which has its size."""
    rates = None if why_not_widened(config) else config.given_space.get(RATE)
    is_range = config.search_space == "auto" or (rates is not None and is_log_range(rates))
    return config.round_1.widen_at_edge and config.round_1.sampler != "grid" and is_range


def is_log_range(rates: Dimension) -> bool:
    """Whether a range has an edge that can be moved by a factor."""
    return rates.choices is None and rates.scale == "log" and not rates.integer


def num_extra_points(config: StudyConfig) -> int:
    """Points that join on the widened side: a quarter of the round's, at least two (ours)."""
    return max(2, config.round_1.num_trials // 4)


def widen(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> AddTrials | None:
    """A few points beyond the edge that the best point of round 1 lies on; None if it does not, or it was done."""
    is_done = any(decision.kind == "widened" and decision.phase == phase.name for decision in study.decisions)
    # What follows the round was decided from the points that it had; what joined it may lie anywhere.
    is_done = is_done or study.phases[-1].name != phase.name or open_part(phase) != phase.name
    is_done = is_done or is_widening_cut(study, phase.name)
    if phase.name != ROUND_1 or is_done or not may_widen(config) or not feasible(phase):
        return None
    space, best = space_of(config, study.decisions), leader(phase)
    edge = _edge(space[RATE], phase, best=best)
    return None if edge is None else _widened(config, phase, best=best, edge=edge, rates=space[RATE], study=study)


def _edge(rates: Dimension, phase: PhaseRecord, *, best: TrialRecord) -> Edge | None:
    rate = best.spec.learning_rate
    place = share_of(rates, rate)
    if EDGE_SHARE <= place <= 1 - EDGE_SHARE:
        return None
    edge: Edge = "lower" if place < EDGE_SHARE else "upper"
    beyond = [t for t in phase.trials if (t.spec.learning_rate > rate) == (edge == "upper") and t.trial != best.trial]
    # An infeasible rate beyond the best one closes the range on its side, as it closes the sweep's grid.
    is_closed = any(trial.outcome is not None and trial.outcome.kind == "infeasible" for trial in beyond)
    return None if is_closed else edge


def _widened(
    config: StudyConfig,
    phase: PhaseRecord,
    *,
    best: TrialRecord,
    edge: Edge,
    rates: Dimension,
    study: StudyRecord,
) -> AddTrials:
    assert rates.low is not None
    assert rates.high is not None
    ends = (rates.low / WIDENING, rates.low) if edge == "lower" else (rates.high, rates.high * WIDENING)
    low, high = (float(f"{end:.4g}") for end in ends)
    wider = rates.model_copy(update={"low": low} if edge == "lower" else {"high": high})
    count, rate = num_extra_points(config), best.spec.learning_rate
    reason = (
        f"The best point of {phase.name} ({phase.plan.eval.metric} {number(value_of(best))} at learning_rate "
        f"{number(rate)}) lies on the {edge} edge of the rates searched, {number(rates.low)} to {number(rates.high)}, "
        f"where a better one may hide: {count} points join it between {number(low)} and {number(high)}, once{CITED}"
    )
    numbers = {
        "edge": edge,
        RATE: rate,
        "num_points": count,
        SPACE: told_space({**space_of(config, study.decisions), RATE: wider}),
    }
    decision = Decision(kind="widened", phase=phase.name, reason=reason, numbers=json_safe(numbers))
    return AddTrials(phase=phase.name, num_points=count, within={RATE: (low, high)}, decisions=(decision,))
