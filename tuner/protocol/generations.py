"""How many points round 1 asks for at a time: all at once, or generation by generation if a sampler learns (D3).

A generation is asked for only when every earlier trial has ended. So proposals do not depend on who finished first, nor
on how many workers there are, and a crash in between changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil

from tuner.analysis.transfer import point_key
from tuner.config.schema import StudyConfig
from tuner.config.spaces import scientific_values
from tuner.protocol.joined import EXTENDED, is_taken_up
from tuner.records import AddTrials, Decision, Params, PhaseRecord

ADAPTIVE = ("tpe", "gp")

CUT = "cut"
"""Decisions on what limits.study_hours does not hold."""

MAX_STARTUP = 10
"""About so many points at most come from Halton before a sampler learns from them (ours; Optuna's own start-up)."""


def is_adaptive(config: StudyConfig) -> bool:
    """Whether the sampler learns from trials that ended."""
    return config.round_1.sampler in ADAPTIVE


def num_startup(config: StudyConfig) -> int:
    """Points that come from Halton first: half of the trials, at most ten, rounded up to whole generations.

    Where there are scientific values, at most ten for each, since a sampler learns from the trials of one alone.
    """
    wanted = min(MAX_STARTUP * len(scientific_values(config.given_space)), config.round_1.num_trials // 2)
    return config.round_1.parallelism * max(1, ceil(wanted / config.round_1.parallelism))


def first_points(config: StudyConfig) -> int:
    """Points that round 1 opens with."""
    wanted = config.round_1.num_trials
    return min(config.round_1.parallelism, wanted) if is_adaptive(config) else wanted


def wanted_points(config: StudyConfig, decisions: Iterable[Decision], phase: str) -> int:
    """Points that a phase is to have: as the study says, or as limits.study_hours cut them since it last changed."""
    wanted = config.round_1.num_trials
    for decision in decisions:
        count = decision.numbers.get("num_points")
        if decision.kind == EXTENDED:
            wanted = config.round_1.num_trials
        elif (decision.kind, decision.phase) == (CUT, phase) and count is not None:
            wanted = int(count)
    return wanted


def given_points(decisions: Iterable[Decision]) -> list[Params]:
    """The points that the user added, in the order in which they were given."""
    return [each for decision in decisions if decision.kind == EXTENDED for each in decision.numbers["points"]]


def num_drawn(decisions: Sequence[Decision], phase: PhaseRecord) -> int:
    """Points of a round that came from the whole search space: neither beyond an edge of it nor given by the user."""
    given = {point_key(each) for each in given_points(decisions)}
    own = [t for t in phase.trials if not is_taken_up(t) and point_key(t.params) not in given]
    widened = (d for d in decisions if d.kind == "widened" and d.phase is not None and d.phase.startswith("round_1"))
    return len(own) - sum(int(decision.numbers["num_points"]) for decision in widened)


def searched(config: StudyConfig, decisions: Sequence[Decision], rounds: Sequence[PhaseRecord]) -> PhaseRecord:
    """The last of the round-1 phases as the search is to see it, under the first one's name, which seeds it (D3).

    A sampler that learns sees every trial; for Halton, which counts, only its own points of the whole space count.
    """
    phase, given = rounds[-1], {point_key(each) for each in given_points(decisions)}
    if is_adaptive(config):
        return replace(phase, plan=rounds[0].plan)
    own = tuple(t for t in phase.trials if not is_taken_up(t) and point_key(t.params) not in given)
    return replace(phase, plan=rounds[0].plan, trials=own[: num_drawn(decisions, phase)])


def next_generation(config: StudyConfig, decisions: Sequence[Decision], phase: PhaseRecord) -> AddTrials | None:
    """The next generation of a phase whose trials have all ended; None when it has all that it was to have."""
    known, wanted = num_drawn(decisions, phase), wanted_points(config, decisions, phase.name)
    count = min(config.round_1.parallelism, wanted - known)
    if not is_adaptive(config) or count <= 0:
        return None
    infeasible = sum(trial.outcome is not None and trial.outcome.kind == "infeasible" for trial in phase.trials)
    # As the search counts (`trials/proposals.py`): whoever proposed a point, a sampler learns from its trial.
    source = config.round_1.sampler if len(phase.trials) >= num_startup(config) else "halton (the start of the search)"
    reason = (
        f"{count} more of {wanted} points join {phase.name}, proposed by {source} when the first {known} had "
        f"ended ({infeasible} infeasible) (playbook, Round 1)."
    )
    numbers = {"first": known, "num_points": count, "num_infeasible": infeasible}
    decision = Decision(kind="generation", phase=phase.name, reason=reason, numbers=numbers)
    return AddTrials(phase=phase.name, num_points=count, decisions=(decision,))
